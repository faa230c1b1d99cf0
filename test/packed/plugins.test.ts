/** Backends of other people, of each kind of file, in the packed executable: loaded, served, listed, refused, tested. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isolateTests } from '../netns/isolated.ts';
import { manifests, startPacked } from './daemon.ts';
import { packed, run } from './executable.ts';

await isolateTests([]);
const test = suite('packed plugins');
let folder = '';
test.before.each(() => {
  folder = mkdtempSync('/run/plugins-');
  chmodSync(folder, 0o755);
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

/** The body of a backend that keeps what it is told in a file. `types`: an annotation that only TypeScript has. */
const plugin = (name: string, types = ''): string => `{
  name: '${name}',
  apiVersion: 1,
  summary: 'keeps the state in a file',
  leavesHostAlone: true,
  async create(host${types}, options${types}) {
    const ports = new Map();
    return {
      families: ['IPv4'],
      async sync(change${types}) {
        if (change.full) ports.clear();
        for (const key of change.remove) ports.delete(key);
        for (const port of change.upsert) ports.set(port.key, port.cluster.map(({ ip }) => ip));
        fs.writeFileSync(options.file, JSON.stringify([...ports]));
        return { operations: ports.size, bytes: 0 };
      },
      async cleanup() {},
      async close() {},
    };
  },
}`;

const KINDS: readonly (readonly [file: string, text: (name: string) => string])[] = [
  ['esm.js', (name) => `import fs from 'node:fs';\nexport default ${plugin(name)};`],
  ['common.js', (name) => `const fs = require('node:fs');\nmodule.exports = ${plugin(name)};`],
  ['module.mjs', (name) => `import fs from 'node:fs';\nexport default ${plugin(name)};`],
  ['common-2.cjs', (name) => `const fs = require('node:fs');\nmodule.exports.default = ${plugin(name)};`],
  ['typed.ts', (name) => `import fs from 'node:fs';\nexport default ${plugin(name, ': any')};`],
  ['awaits.mjs', (name) => `const fs = await import('node:fs');\nexport default ${plugin(name)};`],
  ['sibling.mjs', (name) => `import { fs } from './part.mjs';\nexport default ${plugin(name)};`],
];

for (const [file, text] of KINDS) {
  test(`a backend in ${file} is loaded and follows an edit`, async () => {
    const path = join(folder, file);
    const state = join(folder, 'state');
    writeFileSync(path, text('state-file'));
    writeFileSync(join(folder, 'part.mjs'), `import fs from 'node:fs';\nexport { fs };`);
    const objects = manifests('10.244.1.5');
    const words = ['--manifests', objects.file, `--backend=${path}`, '--backend-option', `file=${state}`, '-v=2'];
    const daemon = startPacked(words);
    try {
      await daemon.says(/Ready.*state-file/);
      assert.is(readFileSync(state, 'utf8'), '[["default/web/TCP",["10.244.1.5"]]]');
      objects.write('10.244.1.6');
      await daemon.says(/sync="partial"/);
      assert.is(readFileSync(state, 'utf8'), '[["default/web/TCP",["10.244.1.6"]]]');
      assert.is(await daemon.stop(), 0, daemon.log());
    } finally {
      await daemon.stop('SIGKILL');
      objects.remove();
    }
  });
}

test('a backend is found by its name in --plugin-dir, with structured options from the configuration', async () => {
  const state = join(folder, 'state');
  writeFileSync(join(folder, 'state-file.mjs'), KINDS[0]![1]('state-file'));
  const config = join(folder, 'config.yaml');
  writeFileSync(
    config,
    [
      'apiVersion: kubeproxy.config.k8s.io/v1alpha1',
      'kind: KubeProxyConfiguration',
      'backend: state-file',
      `pluginDir: ${folder}`,
      'healthzBindAddress: "0"',
      'metricsBindAddress: "0"',
      `backendOptions: {file: ${state}, list: [1, two, {three: true}]}`,
    ].join('\n'),
  );
  const objects = manifests('10.244.1.5');
  const daemon = startPacked(['--config', config, '--manifests', objects.file]);
  try {
    await daemon.says(/Ready.*state-file/);
    assert.match(readFileSync(state, 'utf8'), '10.244.1.5');
  } finally {
    await daemon.stop();
    objects.remove();
  }
});

test('what cannot be loaded ends it with status 2 and one line that says why', () => {
  const objects = manifests('10.244.1.5');
  const refusals: readonly (readonly [file: string, text: string, mode: number, pattern: RegExp])[] = [
    ['throws.js', `throw new Error('no license');`, 0o644, /throws\.js.*no license/],
    ['syntax.mjs', `export default {`, 0o644, /syntax\.mjs/],
    ['enum.ts', `enum A { B }\nexport default ${plugin('x')}`, 0o644, /enum\.ts/],
    ['nothing.js', `module.exports = 5;`, 0o644, /nothing\.js/],
    ['old.js', `module.exports = ${plugin('old').replace('apiVersion: 1', 'apiVersion: 99')};`, 0o644, /99/],
    ['name.js', `module.exports = ${plugin('Bad Name')};`, 0o644, /Bad Name/],
    ['world.js', `module.exports = ${plugin('world')};`, 0o666, /world\.js.*chmod/],
  ];
  try {
    for (const [file, text, mode, pattern] of refusals) {
      const path = join(folder, file);
      writeFileSync(path, text);
      chmodSync(path, mode);
      const { status, stdout, stderr } = packed(['--manifests', objects.file, '--backend', path]);
      assert.is(status, 2, `${file}: ${stderr}`);
      assert.is(stdout, '');
      const said = stderr.split('\n').filter((line) => line.startsWith('kube-proxy: '));
      assert.is(said.length, 1, stderr);
      assert.match(said[0]!, pattern, file);
    }
    const { status, stderr } = packed(['--manifests', objects.file, '--backend', join(folder, 'absent.js')]);
    assert.is(status, 2);
    assert.match(stderr, 'absent.js');
  } finally {
    objects.remove();
  }
});

test('a file mounted the way a ConfigMap is, through links, is loaded', () => {
  const data = join(folder, '..2026_11_23');
  mkdirSync(data);
  writeFileSync(join(data, 'state-file.mjs'), KINDS[0]![1]('state-file'));
  symlinkSync('..2026_11_23', join(folder, '..data'));
  symlinkSync('..data/state-file.mjs', join(folder, 'state-file.mjs'));
  const { status, stdout, stderr } = packed(['plugins', '--plugin-dir', folder]);
  assert.is(status, 0, stderr);
  assert.match(stdout, 'state-file');
});

test('plugin new writes a backend that passes plugin test and serves', async () => {
  const made = packed(['plugin', 'new', 'my-backend'], { cwd: folder });
  assert.is(made.status, 0, made.stderr);
  const path = join(folder, 'my-backend', 'my-backend.js');
  const tested = packed(['plugin', 'test', path], { cwd: folder });
  assert.is(tested.status, 0, `${tested.stdout}\n${tested.stderr}`);
  assert.match(tested.stdout, /\d+ hold, 0 fail/);
  const again = packed(['plugin', 'new', 'my-backend'], { cwd: folder });
  assert.is(again.status, 2);
  // Its own test needs Node.js and nothing else.
  const own = run([process.execPath, '--test', join(folder, 'my-backend', 'my-backend.test.js')]);
  assert.is(own.status, 0, own.stdout);
});

test('plugin test names what a backend does wrong', () => {
  const path = join(folder, 'forgetful.mjs');
  const forgetful = plugin('forgetful').replace('for (const key of change.remove) ports.delete(key);', '');
  writeFileSync(
    path,
    `import fs from 'node:fs';\nexport default ${forgetful.replace('async close() {}', 'async close() { throw new Error("no"); }')};`,
  );
  const { status, stdout } = packed(['plugin', 'test', path, '--backend-option', `file=${join(folder, 'state')}`]);
  assert.is(status, 1, stdout);
  assert.match(stdout, /close/);
});

test.run();
