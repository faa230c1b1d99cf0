/** What `kube-proxy plugin new` writes works as it is: its own test, a strict compiler, the daemon. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { killAll, MAIN, start } from '../cli/program.ts';

const test = suite('kube-proxy plugin new');
const ROOT = join(import.meta.dirname, '../../..');
const NAME = 'acme-lb';

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'kube-proxy-new-'));
});
test.after.each(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

/** In the test's folder, under a umask that lets the group write, as many distributions have it. */
function run(command: string, args: readonly string[], cwd = folder) {
  const script = 'umask 002 && exec "$@"';
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script, 'sh', command, ...args], { cwd, encoding: 'utf8' });
  return { status, stdout, stderr };
}
const pluginNew = (...words: readonly string[]) => run(process.execPath, [MAIN, 'plugin', 'new', ...words]);

function made(): string {
  const { status, stderr } = pluginNew(NAME);
  assert.is(status, 0, stderr);
  return join(folder, NAME);
}

test('it writes a backend, its test, the types, a manifest and what to do next, and says so', () => {
  const { status, stdout, stderr } = pluginNew(NAME);
  assert.is(status, 0, stderr);
  const own = ['acme-lb.js', 'acme-lb.test.js', 'fake-host.js', 'kube-proxy.d.ts', 'services.yaml'];
  const files = [...own, 'README.md', 'package.json', 'tsconfig.json'];
  assert.equal(readdirSync(join(folder, NAME)).sort(), files.sort());
  for (const file of files) assert.ok(stdout.includes(file), `${file} is named`);
  assert.match(stdout, 'kube-proxy plugin test ./acme-lb.js');
});

test('nobody but its owner may write it, whatever the umask is, so that kube-proxy takes it', () => {
  const plugin = made();
  const modes = readdirSync(plugin).map((file) => statSync(join(plugin, file)).mode & 0o777);
  assert.equal([...new Set(modes)], [0o644]);
  assert.is(statSync(plugin).mode & 0o777, 0o755);
});

test('its name stands in it everywhere, and the name of the template nowhere', () => {
  const plugin = made();
  const own = readdirSync(plugin).filter((file) => file !== 'kube-proxy.d.ts');
  const text = own.map((file) => readFileSync(join(plugin, file), 'utf8')).join('\n');
  assert.not.match(text, /my-backend/);
  assert.match(text, "name: 'acme-lb'");
});

test('the types are those of release/sdk', () => {
  const types = readFileSync(join(ROOT, 'release/sdk/kube-proxy.d.ts'), 'utf8');
  assert.is(readFileSync(join(made(), 'kube-proxy.d.ts'), 'utf8'), types);
});

test('its own test passes, with Node.js alone, and fails when the backend is broken', () => {
  const plugin = made();
  const passed = run(process.execPath, ['--test'], plugin);
  assert.is(passed.status, 0, passed.stdout);
  assert.match(passed.stdout, /pass 9\b/);

  const file = join(plugin, `${NAME}.js`);
  const good = readFileSync(file, 'utf8');
  const slips: readonly (readonly [string, string])[] = [
    ['for (const key of change.remove) ports.delete(key);', ''],
    ['change.full ? [] : ', ''],
    ['if (!isRight) await replaceFile(file, text);', 'if (!isRight) void replaceFile(file, text).catch(() => {});'],
    ['await rm(fileOf(family), { force: true });', ''],
  ];
  for (const [from, to] of slips) {
    assert.ok(good.includes(from), from);
    writeFileSync(file, good.replace(from, to));
    assert.is(run(process.execPath, ['--test'], plugin).status, 1, `without ${from}`);
  }
});

/** `npx tsc -p .` after `npm install --save-dev typescript @types/node`, or with stricter options. */
function compiled(plugin: string, ...options: readonly string[]) {
  const installed = join(plugin, 'node_modules');
  if (!existsSync(installed)) symlinkSync(join(ROOT, 'node_modules'), installed);
  return run(join(ROOT, 'node_modules/.bin/tsc'), ['--pretty', 'false', '-p', '.', ...options], plugin);
}

test('a compiler with its tsconfig.json finds nothing in it, nor does a stricter one, and does find a slip', () => {
  const plugin = made();
  const nothing = { status: 0, stdout: '', stderr: '' };
  assert.equal(compiled(plugin), nothing);
  const all = ['exactOptionalPropertyTypes', 'noUncheckedIndexedAccess', 'noImplicitReturns', 'noUnusedLocals'];
  const stricter = [...all, 'noUnusedParameters'].map((option) => `--${option}`);
  assert.equal(compiled(plugin, ...stricter, '--skipLibCheck', 'false'), nothing);

  const file = join(plugin, `${NAME}.js`);
  writeFileSync(file, readFileSync(file, 'utf8').replace('change.upsert', 'change.upserted'));
  assert.match(compiled(plugin).stdout, /acme-lb\.js.*'upserted' does not exist/);
});

test('the compiler takes a backend in TypeScript beside it, and refuses there what Node.js could not run', () => {
  const plugin = made();
  const file = join(plugin, 'typed.ts');
  const text = [
    "import { fakeHost } from './fake-host.js';",
    "import type { BackendPlugin, Host } from './kube-proxy.d.ts';",
    "import plugin from './acme-lb.js';",
    "export { type Named } from './named.ts';",
    'export const host: Host = fakeHost({ requestFullSync() {} });',
    "export default { ...plugin, name: 'typed' } satisfies BackendPlugin;",
  ].join('\n');
  writeFileSync(file, text);
  writeFileSync(join(plugin, 'named.ts'), 'export interface Named {\n  readonly name: string;\n}\n');
  assert.is(compiled(plugin).stdout, '');
  writeFileSync(join(plugin, 'plain.js'), "export const wrong = 'text'.nonsense();\n");
  assert.match(compiled(plugin).stdout, /plain\.js.*nonsense/);
  writeFileSync(file, `${text}\nexport enum Kind { Some }`);
  assert.match(compiled(plugin).stdout, /typed\.ts.*erasableSyntaxOnly/);
});

test('the conformance kit finds nothing wrong with it, and has no advice', () => {
  const { status, stdout } = run(process.execPath, [MAIN, 'plugin', 'test', join(made(), `${NAME}.js`)]);
  assert.is(status, 0, stdout);
  assert.match(stdout, /^\d+ hold, 0 fail, \d+ not tried$/m);
});

test('its test fakes what a backend is handed as kube-proxy hands it: frozen, and nothing that the test did not give', () => {
  const plugin = made();
  const script = `
    import assert from 'node:assert/strict';
    import { change, fakeHost, port } from './fake-host.js';
    const { upsert: [web] } = change({ upsert: [port('shop/web:http/UDP')] });
    assert.deepEqual([web.namespace, web.name, web.portName, web.protocol], ['shop', 'web', 'http', 'UDP']);
    assert.throws(() => web.cluster.push(1), TypeError);
    assert.throws(() => fakeHost().netlink.nftables(), /fakeHost/);
    assert.equal(fakeHost({ exec: () => 'mine' }).exec(), 'mine');`;
  const { status, stderr } = run(process.execPath, ['--input-type=module', '-e', script], plugin);
  assert.is(status, 0, stderr);
});

test('the daemon runs with it as the README says, and it follows an edit', async () => {
  const plugin = made();
  const manifests = join(plugin, 'services.yaml');
  const daemon = start(
    `--backend=${join(plugin, `${NAME}.js`)}`,
    `--backend-option=folder=${plugin}`,
    '--manifests',
    manifests,
  );
  await daemon.says(/Ready/);
  const state = join(plugin, `${NAME}.IPv4.json`);
  assert.match(readFileSync(state, 'utf8'), /"10\.244\.1\.12"/);
  writeFileSync(manifests, readFileSync(manifests, 'utf8').replace('10.244.1.12', '10.244.1.99'));
  await daemon.says(/Synced.*sync="partial"/);
  assert.match(readFileSync(state, 'utf8'), /"10\.244\.1\.99"/);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
});

test('it is found by its name where its folder lies in --plugin-dir', async () => {
  const plugin = made();
  const daemon = start(
    ...['--plugin-dir', folder, '--backend', NAME, `--backend-option=folder=${plugin}`],
    ...['--manifests', join(plugin, 'services.yaml')],
  );
  await daemon.says(/Ready backend="acme-lb"/);
});

test('kube-proxy render prints what it would write', () => {
  const plugin = made();
  const args = [
    MAIN,
    'render',
    `--backend=${join(plugin, `${NAME}.js`)}`,
    '--manifests',
    join(plugin, 'services.yaml'),
  ];
  const { status, stdout, stderr } = run(process.execPath, args);
  assert.is(status, 0, stderr);
  assert.match(stdout, /"key": "default\/web:http\/TCP"/);
});

test('what exists is never written into, be it a folder, a file, or a link to nowhere', () => {
  const existing: readonly (readonly [string, (path: string) => void])[] = [
    ['a-folder', (path) => mkdirSync(path)],
    ['a-file', (path) => writeFileSync(path, 'mine')],
    ['a-link', (path) => symlinkSync(join(folder, 'elsewhere'), path)],
  ];
  for (const [name, make] of existing) {
    make(join(folder, name));
    const { status, stderr } = pluginNew(name);
    assert.is(status, 2);
    assert.match(stderr, new RegExp(`^kube-proxy: plugin new: \\S*/${name} exists; [^\\n]*\\n$`));
  }
  assert.equal(readdirSync(join(folder, 'a-folder')), []);
  assert.is(readFileSync(join(folder, 'a-file'), 'utf8'), 'mine');
  assert.not.ok(existsSync(join(folder, 'elsewhere')));
});

test('a name that a plugin cannot have is refused in one line, and nothing is written', () => {
  const names = ['Acme', 'acme_lb', '-acme', 'acme-', '../acme', 'a/b', 'a'.repeat(64), '', 'nftables', 'exec', 'ipvs'];
  for (const name of [...names, 'kube-proxy']) {
    const { status, stderr } = pluginNew('--', name);
    assert.is(status, 2, `${name}: ${stderr}`);
    assert.match(stderr, /^kube-proxy: [^\n]+\n$/);
  }
  assert.equal(readdirSync(folder), []);
});

test('where nothing can be written it says so in one line', () => {
  const { status, stderr } = run(process.execPath, [MAIN, 'plugin', 'new', NAME], '/proc');
  assert.is(status, 1);
  assert.match(stderr, /^kube-proxy: plugin new: \/proc\/acme-lb: cannot be made \(\w+\); go to a folder[^\n]+\n$/);
});

test.run();
