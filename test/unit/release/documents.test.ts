/** What the pages on clusters tell to type: that it is shell, that files are there, and what can be tried without a cluster. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { getKubectl } from '../../../build/kubectl.ts';
import { opensslProblem } from '../../apiserver/certificates.ts';
import { startApiServer } from '../../apiserver/server.ts';
import { skip } from '../../skip.ts';
import { type ConfigMap, type DaemonSet, find, KUBERNETES, RELEASE, render } from './manifests.ts';

const test = suite('the pages on clusters');
const found = getKubectl();
const KUBECTL = 'command' in found ? found.command : '';
const PAGES = ['kubernetes/README.md', 'docs/migration.md', 'docs/cluster.md'];
const pageText = (path: string): string => readFileSync(join(RELEASE, path), 'utf8');

/** Indented code; what stands in fences is files. */
function commands(path: string): readonly string[] {
  const text = pageText(path).replace(/^```[\s\S]*?^```$/gm, '');
  return [...text.matchAll(/(?:^ {4,}.*\n)+/gm)].map(([block]) => block.replace(/^ +/gm, ''));
}

for (const path of PAGES) {
  test(`${path}: files that it names are there, and JSON in its commands is JSON`, () => {
    const text = pageText(path);
    const named = [...text.matchAll(/(?<![./])\brelease\/([\w./-]+\w)/g)].map(([, name]) => join(RELEASE, name!));
    const links = [...text.matchAll(/\]\(([^)#]+)/g)].map(([, name]) => join(RELEASE, dirname(path), name!));
    const folders = [...text.matchAll(/`((?:base|overlays|cleanup)\/[\w./-]*)`/g)].map(([, name]) =>
      join(KUBERNETES, name!),
    );
    assert.ok(named.length + links.length + folders.length >= 3, path);
    for (const file of [...named, ...links, ...folders]) assert.ok(existsSync(file), `${path}: there is no ${file}`);
    for (const [, json] of text.matchAll(/ -p '([^']*)'/g)) JSON.parse(json!);
    const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
      title!
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    );
    for (const [, anchor] of text.matchAll(/\]\(#([^)]+)\)/g))
      assert.ok(headings.includes(anchor!), `${path}: #${anchor}`);
  });

  test(`${path}: what it tells to type is shell, complete, and waits for what it needs`, () => {
    const blocks = commands(path);
    assert.ok(blocks.length > 0);
    for (const block of blocks) {
      const { status, stderr } = spawnSync('sh', ['-n'], { input: block, encoding: 'utf8' });
      assert.is(status, 0, `${stderr}${block}`);
      for (const line of block.split('\n')) {
        // Of each pod the last ten lines, if nothing else is said.
        if (/ logs -l /.test(line)) assert.match(line, / --tail=-1/);
        // Without this program kubectl has the same by itself.
        assert.not.match(line, /(?:^|&& |\| )kustomize /);
        // Back to which one, after more than one change?
        assert.not.match(line, /rollout undo/);
      }
      // While there is no such pod yet, waiting for its condition fails at once.
      assert.is(count(block, / wait pod -l /g), count(block, /^until kubectl .* wait pod -l /gm), block);
      if (/ port-forward /.test(block)) {
        // On a node, 10249 is its own kube-proxy's.
        const [, port] = / port-forward \S+ (\d+):10249 &/.exec(block) ?? [];
        assert.ok(port !== undefined && port !== '10249', block);
        const asked = block.split('\n').filter((line) => /^curl /.test(line));
        for (const line of asked) assert.ok(line.includes(` 127.0.0.1:${port}/`), line);
        // The first one may come before the port is open.
        assert.match(asked[0] ?? '', / --retry-connrefused /);
      }
    }
  });
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

const obstacle = 'missing' in found ? found.missing : opensslProblem();
const withKubectl = (title: string, run: () => Promise<void>): void =>
  obstacle === undefined ? test(title, run) : skip(title, obstacle);

withKubectl('what the migration saves can be put back after a change', async () => {
  const [block = ''] = commands('docs/migration.md').filter((each) => each.includes('> kube-proxy-$KIND.yaml'));
  const [save = ''] = /^for KIND .*\n.*done$/m.exec(block) ?? [];
  const server = await startApiServer();
  const folder = mkdtempSync(join(tmpdir(), 'migration-'));
  const environment = {
    ...process.env,
    PATH: `${dirname(KUBECTL)}:${process.env.PATH}`,
    KUBECONFIG: server.adminKubeconfig(),
    HOME: server.folder,
    KUBECACHEDIR: join(server.folder, 'cache'),
  };
  const sh = async (text: string): Promise<string> => {
    const { stdout } = await promisify(execFile)('sh', ['-ec', text], { cwd: folder, env: environment });
    return stdout.trim();
  };
  try {
    server.objects.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace: 'kube-system', name: 'kube-proxy', annotations: { like: '\nuid: 1\nresourceVersion: 2' } },
      spec: { ports: [{ port: 80 }] },
    });
    const get = async () => JSON.parse(await sh('kubectl -n kube-system get service kube-proxy -o json'));
    const before = await get();
    // The server of the tests has no DaemonSets; an object is an object.
    const ofServices = save.replace('daemonset configmap', 'service');
    assert.is.not(ofServices, save);
    await sh(ofServices);
    await sh('kubectl -n kube-system annotate service kube-proxy later=yes');
    await sh('kubectl -n kube-system replace -f kube-proxy-service.yaml');
    const after = await get();
    assert.is.not(after.metadata.resourceVersion, before.metadata.resourceVersion);
    const { resourceVersion } = after.metadata;
    assert.equal(after, { ...before, metadata: { ...before.metadata, resourceVersion } });

    await sh('kubectl -n kube-system delete service kube-proxy');
    server.objects.apply({ ...before, metadata: { namespace: 'kube-system', name: 'kube-proxy' } });
    await sh('kubectl -n kube-system replace -f kube-proxy-service.yaml');
    assert.equal((await get()).metadata.annotations, before.metadata.annotations, 'also over one that was made anew');
  } finally {
    rmSync(folder, { recursive: true });
    await server.stop();
  }
});

withKubectl('a folder of your own, as the README has it, sets image and files', async () => {
  const [, file = ''] = /```yaml\n([\s\S]*?)```/.exec(pageText('kubernetes/README.md')) ?? [];
  const folder = mkdtempSync(join(tmpdir(), 'own-overlay-'));
  try {
    const kustomization = file.replace('../release/kubernetes', relative(folder, KUBERNETES));
    assert.is.not(kustomization, file);
    writeFileSync(join(folder, 'kustomization.yaml'), kustomization);
    writeFileSync(join(folder, 'config.conf'), 'a: 1\n');
    writeFileSync(join(folder, 'kubeconfig.conf'), 'b: 2\n');
    const objects = render(KUBECTL, ['kustomize', folder]);
    const { data } = find<ConfigMap>(objects, 'ConfigMap', 'kube-proxy');
    assert.equal(data, { 'config.conf': 'a: 1\n', 'kubeconfig.conf': 'b: 2\n' });
    const { containers, initContainers = [] } = find<DaemonSet>(objects, 'DaemonSet').spec.template.spec;
    for (const { image } of [...containers, ...initContainers]) assert.is(image, 'REGISTRY/kube-proxy:1.2.3');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the rights that the migration takes away are taken by a DaemonSet with the image put in', () => {
  const [block = ''] = commands('docs/migration.md').filter((each) => each.startsWith('sed '));
  const [sed = '', rest] = block.split('|\nkubectl');
  assert.ok(rest);
  const text = execFileSync('sh', ['-c', sed], { cwd: dirname(RELEASE), encoding: 'utf8' });
  const { containers, initContainers } = parse(text).spec.template.spec;
  for (const { image } of [...containers, ...initContainers]) assert.is(image, 'REGISTRY/kube-proxy:1.2.3');
});

test.run();
