/** The way to a real cluster through relays, which only a run against one needs: tried with a server of our own. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stringify } from 'yaml';
import { opensslProblem } from '../apiserver/certificates.ts';
import { startApiServer } from '../apiserver/server.ts';
import { skip } from '../skip.ts';
import { openClient } from './client.ts';
import { readAccess, writeAccess } from './kubeconfig.ts';
import { startRelay } from './relay.ts';

const test = suite('the way to a real cluster');
const folder = mkdtempSync(join(tmpdir(), 'kubeconfig-'));
test.after(() => rmSync(folder, { recursive: true }));

function write(cluster: object, user: object): string {
  const path = join(folder, 'given');
  const config = {
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    contexts: [
      { name: 'other', context: { cluster: 'x', user: 'y' } },
      { name: 'mine', context: { cluster: 'c', user: 'u' } },
    ],
    'current-context': 'mine',
  };
  writeFileSync(path, stringify(config));
  return path;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

test('files that a kubeconfig names are copied into it, and the server keeps the name on its certificate', () => {
  for (const name of ['ca', 'cert', 'key', 'token']) writeFileSync(join(folder, name), `the ${name}\n`);
  const given = write(
    { server: 'https://api.example.org:6443/behind', 'certificate-authority': 'ca' },
    { 'client-certificate': join(folder, 'cert'), 'client-key': 'key', tokenFile: 'token' },
  );
  const { server, cluster, user } = readAccess(writeAccess(folder, 'written', readAccess(given), { port: 4711 }));
  assert.is(server.href, 'https://127.0.0.1:4711/behind');
  assert.equal(cluster, {
    server: 'https://127.0.0.1:4711/behind',
    'tls-server-name': 'api.example.org',
    'certificate-authority-data': base64('the ca\n'),
  });
  assert.equal(user, {
    'client-certificate-data': base64('the cert\n'),
    'client-key-data': base64('the key\n'),
    token: 'the token',
  });
});

test('a name that the kubeconfig gives for the certificate stays, and so do data', () => {
  const cluster = { server: 'https://10.0.0.1', 'tls-server-name': 'kubernetes', 'certificate-authority-data': 'eA==' };
  const access = readAccess(write(cluster, { token: 't' }));
  const written = readAccess(writeAccess(folder, 'written', access, { port: 443, as: 'system:kube-proxy' }));
  assert.equal(written.cluster, { ...cluster, server: 'https://127.0.0.1/' });
  assert.equal(written.user, { token: 't', as: 'system:kube-proxy' });
});

const title = 'through two relays and a unix socket the server is found to be the one that the kubeconfig names';
const problem = opensslProblem();
if (problem !== undefined) skip(title, problem);
else {
  test(title, async () => {
    const server = await startApiServer();
    const path = join(folder, 'api.sock');
    const outer = await startRelay({ path }, { host: '127.0.0.1', port: server.port });
    const inner = await startRelay({ host: '127.0.0.1', port: 0 }, { path });
    const namedBy = async (host: string): Promise<string> => {
      const given = join(folder, 'admin');
      writeFileSync(given, readFileSync(server.adminKubeconfig(), 'utf8').replace('127.0.0.1', host));
      const client = await openClient(writeAccess(folder, 'relayed', readAccess(given), { port: inner.port }));
      try {
        return String((await client.request('GET', '/api/v1/namespaces')).status);
      } catch (error) {
        return String((error as { code?: string }).code);
      } finally {
        client.close();
      }
    };
    try {
      assert.is(await namedBy('kubernetes.default.svc'), '200');
      assert.is(await namedBy('[::1]'), '200');
      assert.is(await namedBy('api.example.org'), 'KP_API_TLS');
      await inner.cut();
      assert.is(await namedBy('localhost'), 'KP_API_UNREACHABLE');
      await inner.restore();
      assert.is(await namedBy('localhost'), '200');
    } finally {
      await inner.close();
      await outer.close();
      await server.stop();
    }
  });
}

test.run();
