/** The generated cluster is one that the server accepts, of the size asked for, and the program serves it. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { opensslProblem } from '../../apiserver/certificates.ts';
import { createCluster } from '../../apiserver/cluster.ts';
import { nodeCount, slicesOf, workload } from '../../apiserver/workload.ts';
import { skip } from '../../skip.ts';

const test = suite('apiserver workload');

type Slice = { addressType: string; endpoints: { addresses: string[]; nodeName: string }[] };

test('the objects are accepted, and as many as asked for', () => {
  const size = { services: 20, endpointsPerService: 250 };
  const { objects } = createCluster();
  objects.applyAll(workload(size));
  assert.is(objects.count('Service'), 20);
  assert.is(objects.count('EndpointSlice'), 60);
  assert.is(objects.count('Node'), nodeCount(size));
  const slices = objects.list('EndpointSlice') as unknown as Slice[];
  assert.ok(slices.every(({ endpoints }) => endpoints.length <= 100));
  const addresses = slices.flatMap(({ endpoints }) => endpoints.flatMap((endpoint) => endpoint.addresses));
  assert.is(addresses.length, 5000);
  assert.is(new Set(addresses).size, 5000);
  const nodes = new Set(objects.list('Node').map(({ metadata }) => metadata.name));
  assert.ok(slices.every(({ endpoints }) => endpoints.every(({ nodeName }) => nodes.has(nodeName))));
});

test('the same numbers give the same objects, and names do not collide', () => {
  const size = { services: 3000, endpointsPerService: 1 };
  const objects = workload(size) as { kind: string; metadata: { name: string } }[];
  assert.equal(workload(size), objects);
  assert.is(new Set(objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`)).size, objects.length);
});

test('the slices of one Service can be made anew with other addresses under the same names', () => {
  const size = { services: 10, endpointsPerService: 10 };
  const [before] = slicesOf(size, 3) as unknown as (Slice & { metadata: { name: string } })[];
  const [after] = slicesOf(size, 3, 500) as unknown as (Slice & { metadata: { name: string } })[];
  assert.is(after!.metadata.name, before!.metadata.name);
  assert.is.not(after!.endpoints[0]!.addresses[0], before!.endpoints[0]!.addresses[0]);
});

const MAIN = join(fileURLToPath(new URL('.', import.meta.url)), '..', '..', 'apiserver', 'main.ts');
const problem = opensslProblem();
const title = 'the program serves manifests and a workload until it is told to end';
if (problem !== undefined) skip(title, problem);
else {
  test(title, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'apiserver-main-'));
    const manifests = join(folder, 'objects.yaml');
    writeFileSync(
      manifests,
      'apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n---\n' +
        'apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n',
    );
    const args = [MAIN, '--folder', folder, '--manifests', manifests, '--services', '5', '--endpoints', '2'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const path = await new Promise<string>((resolve, reject) => {
        let output = '';
        child.on('exit', (status) => reject(new Error(`it ended with status ${status}`)));
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          output += text;
          if (output.includes('\n')) resolve(output.trim());
        });
      });
      assert.ok(parse(readFileSync(path, 'utf8')).users[0].user['client-key-data']);
      const config = parse(readFileSync(join(folder, 'kube-proxy', 'kubeconfig'), 'utf8'));
      assert.is(await countServices(config), 6);
      const exited = new Promise<number | null>((resolve) => child.on('exit', resolve));
      child.kill('SIGTERM');
      assert.is(await exited, 0);
    } finally {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test('the program says what is wrong with its flags', async () => {
  for (const args of [[], ['--folder', '/nowhere', '--services', 'many']]) {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const status = await new Promise((resolve) => child.on('close', resolve));
    assert.is(status, 2);
    assert.match(output, /^--(folder|services): /);
  }
});

type Kubeconfig = {
  clusters: [{ cluster: { server: string; 'certificate-authority-data': string } }];
  users: [{ user: { token: string } }];
};

function countServices({ clusters: [{ cluster }], users: [{ user }] }: Kubeconfig): Promise<number> {
  const options = {
    ca: Buffer.from(cluster['certificate-authority-data'], 'base64'),
    headers: { authorization: `Bearer ${user.token}` },
  };
  return new Promise((resolve, reject) => {
    get(`${cluster.server}/api/v1/services`, options, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve((JSON.parse(text) as { items: unknown[] }).items.length));
    }).on('error', reject);
  });
}

test.run();
