/**
 * The daemon with plugins in files: started with one, or refused, and changed to one and back by an edit of its
 * configuration. In private namespaces, since what other backends left is cleaned up here.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isolateTests } from '../../netns/isolated.ts';
import { type Daemon, killAll, MAIN, manifest, NO_SERVERS, startProgram } from '../cli/program.ts';
import { at, begin, calls, config, folder, manifests, run, savedRules, source, told, until, write } from './telling.ts';

await isolateTests(['iptables', 'nftables']);

const start = suite('starting with a plugin');
start.before.each(begin);

/** Each fault at its start, with status 2 and before anything of the host is changed. */
const REFUSED: readonly (readonly [file: string, text: string, code: RegExp])[] = [
  [
    'none.js',
    '',
    /^kube-proxy: \S+\/missing\.js: does not exist; give the path of a plugin's file \(KP_PLUGIN_NOT_FOUND\)$/,
  ],
  ['bad.mjs', 'const = 1;', /^kube-proxy: \S+\/bad\.mjs: cannot be loaded: SyntaxError: .*\(line 1\); mend it, /],
  ['bad.ts', 'enum A { B }', /^kube-proxy: \S+\/bad\.ts: cannot be loaded: .*enum is not supported/],
  ['no.cjs', 'module.exports = {};', /^kube-proxy: \S+\/no\.cjs: exports no backend plugin, nothing of name/],
  ['v2.mjs', 'export default { name: "a", apiVersion: 2 };', /^kube-proxy: \S+\/v2\.mjs: was written for version 2 of/],
  ['n.mjs', source('N', {}), /^kube-proxy: \S+\/n\.mjs: calls itself "N"; a name is/],
];
for (const [file, text, expected] of REFUSED) {
  start(`${file} is refused with status 2 and one line`, async () => {
    write(file, text);
    const given = file === 'none.js' ? 'missing.js' : file;
    const { status, stderr } = await run(...NO_SERVERS, '--manifests', manifests, '--backend', `./${given}`);
    assert.is(status, 2, stderr);
    const said = stderr.split('\n').filter((line) => line.startsWith('kube-proxy: '));
    assert.is(said.length, 1, stderr);
    assert.match(said[0] ?? '', expected);
    assert.equal(told(), []);
  });
}

start('a name that is in no folder is refused with what is there', async () => {
  write('p/acme.mjs', source('acme', {}));
  const { status, stderr } = await run(...NO_SERVERS, '--manifests=web.json', '--plugin-dir=p', '--backend=acne');
  assert.is(status, 2);
  assert.match(
    stderr,
    /kube-proxy: backend acne: \S+\/p has no file acne\.js .*; did you mean acme\? \(KP_PLUGIN_NOT_FOUND\)\n$/,
  );
});

start('a plugin whose sibling every user may write is refused, and not a word of the sibling is run', async () => {
  const path = write('acme.mjs', source('acme', { head: "import './sibling.mjs';" }));
  const sibling = write('sibling.mjs', `import { writeFileSync } from 'node:fs';\nwriteFileSync('${calls}', 'ran');\n`);
  chmodSync(sibling, 0o666);
  const { status, stderr } = await run(...NO_SERVERS, '--manifests', manifests, '--backend', path);
  assert.is(status, 2, stderr);
  assert.ok(stderr.includes(`kube-proxy: ${sibling}, imported by ${path}: could be changed by others`), stderr);
  assert.ok(stderr.includes(`(chmod go-w ${sibling})`), stderr);
  assert.equal(told(), []);
  chmodSync(sibling, 0o644);
  const daemon = startProgram(MAIN, ...NO_SERVERS, '--manifests', manifests, '--backend', path);
  await daemon.says(/Ready backend="acme"/);
  await stop(daemon);
});

start('a folder in a read-only mount may have any bits, as that of a ConfigMap has', async () => {
  const path = write('mount/acme.mjs', source('acme', { plugin: 'leavesHostAlone: true,' }));
  const mount = dirname(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=777', 'tmpfs', mount]);
  try {
    write('mount/acme.mjs', source('acme', { plugin: 'leavesHostAlone: true,' }));
    const refused = await run(...NO_SERVERS, '--manifests', manifests, '--backend', path);
    assert.is(refused.status, 2);
    assert.ok(refused.stderr.includes(`(chmod go-w ${mount})`), refused.stderr);
    execFileSync('mount', ['-o', 'remount,ro', mount]);
    const daemon = startProgram(MAIN, ...NO_SERVERS, '--manifests', manifests, '--backend', path);
    await daemon.says(/Ready backend="acme"/);
    await stop(daemon);
  } finally {
    execFileSync('umount', [mount]);
  }
});

for (const [file, text] of [
  ['acme.js', source('acme', {})],
  ['acme.mjs', `await null;\n${source('acme', {})}`],
  ['acme.ts', `const n: number = 1;\n${source('acme', {})}`],
  [
    'acme.cjs',
    source('acme', {})
      .replace(/^import (.*) from (.*);$/m, 'const $1 = require($2);')
      .replace('export default', 'module.exports ='),
  ],
] as const) {
  start(`${file} serves what the manifests say and follows their edits`, async () => {
    write(file, text);
    const daemon = startProgram(
      MAIN,
      ...NO_SERVERS,
      '--manifests',
      manifests,
      `--plugin-dir=${folder}`,
      '--backend=acme',
      '--backend-option=size=4',
    );
    await daemon.says(/Ready backend="acme" families="IPv4,IPv6"/);
    assert.is(told()[0], 'acme create {"size":"4"}');
    await until(/^acme sync IPv4 true default\/web\/TCP$/);
    writeFileSync(manifests, manifest('10.244.1.3'));
    await until(/^acme sync IPv4 false default\/web\/TCP$/);
    await stop(daemon);
    assert.is(told().at(-1), 'acme close');
  });
}

async function stop(daemon: Daemon): Promise<void> {
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0, daemon.log());
}

const WRONG = 'async sync(change) { return change.foo.bar; },\nasync check() { return null.intact; },';
for (const [verbosity, says] of [
  ['0', /Sync failed; [^\n]*error="backend acme: IPv4: sync failed: Cannot read .*'bar'\) \(acme\.mjs:\d+\)"\n/],
  ['4', /Sync failed; [^\n]*sync failed: Cannot read .*'bar'\) \(acme\.mjs:\d+\)\\n +at [^"]*acme\.mjs:\d+:\d+/],
] as const) {
  start(`what a sync throws by mistake is told with its line, at -v ${verbosity}`, async () => {
    const path = write('acme.mjs', source('acme', { plugin: 'leavesHostAlone: true,', backend: WRONG }));
    const daemon = startProgram(MAIN, ...NO_SERVERS, '--manifests', manifests, '--backend', path, '-v', verbosity);
    await daemon.says(says);
    await stop(daemon);
  });
}

const edit = suite('changing to a plugin and back');
edit.before.each(begin);

function configure(body: string): void {
  const kind = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
  write('next.conf', `${kind}healthzBindAddress: "0"\nmetricsBindAddress: "0"\n${body}`);
  renameSync(at('next.conf'), config);
}
function startConfigured(): Daemon {
  return startProgram(MAIN, '--config', config, '--manifests', manifests);
}
const ready = (daemon: Daemon, backend: string, times: number) =>
  daemon.says(new RegExp(`(Ready backend="${backend}"[\\s\\S]*){${times}}`));
const rulesOfIptables = (): boolean => /^:KUBE-SERVICES/m.test(savedRules());

edit('a plugin that was edited since it was read is told of when it is chosen again', async () => {
  const path = write('acme.mjs', source('acme', { plugin: 'leavesHostAlone: true,' }));
  configure(`backend: ${path}\n`);
  const daemon = startConfigured();
  await ready(daemon, 'acme', 1);
  write('acme.mjs', source('acme', { plugin: 'leavesHostAlone: true, ', create: "throw new Error('new');" }));
  configure(`backend: ${path}\nbackendOptions: {size: 5}\n`);
  await daemon.says(
    /W.*has changed since it was read; restart kube-proxy to load it backend="acme" file="\S+acme\.mjs"/,
  );
  await ready(daemon, 'acme', 2);
  await stop(daemon);
});

edit('what each one left goes when the other has taken over, with the options that it had', async () => {
  const path = write('acme.mjs', source('acme', {}));
  configure('mode: iptables\n');
  const daemon = startConfigured();
  await ready(daemon, 'iptables', 1);
  assert.ok(rulesOfIptables());
  configure(`backend: ${path}\nbackendOptions: {size: 4, to: {a: [true]}}\n`);
  await ready(daemon, 'acme', 1);
  assert.is(told()[0], 'acme create {"size":4,"to":{"a":[true]}}');
  await poll(() => !rulesOfIptables());
  assert.not(told().some((line) => line.startsWith('acme cleanup')));
  configure('mode: iptables\n');
  await ready(daemon, 'iptables', 2);
  await until(/^acme cleanup \{"size":4,"to":\{"a":\[true\]\}\}$/);
  assert.ok(rulesOfIptables());
  await stop(daemon);
});

edit('other options are another backend, and what the same plugin made with the first ones stays', async () => {
  const path = write('acme.mjs', source('acme', { plugin: 'leavesHostAlone: true,' }));
  configure(`backend: ${path}\nbackendOptions: {size: 4}\n`);
  const daemon = startConfigured();
  await ready(daemon, 'acme', 1);
  configure(`backend: ${path}\nbackendOptions: {size: 5}\n`);
  await ready(daemon, 'acme', 2);
  await until(/^acme create \{"size":5\}$/);
  assert.not(told().some((line) => line.startsWith('acme cleanup')));
  await stop(daemon);
});

edit('a plugin in another folder is another backend', async () => {
  for (const name of ['one', 'two']) {
    write(`${name}/acme.mjs`, source('acme', { plugin: 'leavesHostAlone: true,', create: `tell('of ${name}');` }));
  }
  configure(`backend: acme\npluginDir: ${at('one')}\n`);
  const daemon = startConfigured();
  await ready(daemon, 'acme', 1);
  configure(`backend: acme\npluginDir: ${at('two')}\n`);
  await until(/^acme of two$/);
  await ready(daemon, 'acme', 2);
  await stop(daemon);
});

edit('one that leaves the host alone takes over from nobody', async () => {
  const path = write('acme.mjs', source('acme', { plugin: 'leavesHostAlone: true,' }));
  configure('mode: iptables\n');
  const daemon = startConfigured();
  await ready(daemon, 'iptables', 1);
  configure(`backend: ${path}\n`);
  await ready(daemon, 'acme', 1);
  writeFileSync(manifests, manifest('10.244.1.3'));
  await until(/^acme sync IPv4 false/);
  assert.ok(rulesOfIptables(), 'and so the rules of the one before stay');
  configure('backend: dry-run\n');
  await ready(daemon, 'dry-run', 1);
  assert.not(told().some((line) => line.startsWith('acme cleanup')));
  await stop(daemon);
});

edit('what a plugin that only half took over made goes as well', async () => {
  const failing =
    "async sync({ family }) { if (family === 'IPv6') throw new Error('no'); tell('sync'); return { operations: 0, bytes: 0 }; },";
  const path = write('acme.mjs', source('acme', { backend: failing }));
  configure('mode: iptables\niptables: {syncPeriod: 1s, minSyncPeriod: 100ms}\n');
  const daemon = startConfigured();
  await ready(daemon, 'iptables', 1);
  configure(`backend: ${path}\niptables: {syncPeriod: 1s, minSyncPeriod: 100ms}\n`);
  await daemon.says(/refused and the one before stays in force .*backend acme cannot program IPv6/);
  await until(/^acme cleanup \{\}$/);
  assert.ok(rulesOfIptables());
  await stop(daemon);
});

edit('an edit that names a faulty plugin is refused, and the one in force goes on', async () => {
  const path = write('acme.mjs', source('acme', { plugin: 'leavesHostAlone: true,' }));
  configure(`backend: ${path}\n`);
  const daemon = startConfigured();
  await ready(daemon, 'acme', 1);
  configure(`backend: ${write('bad.mjs', 'const = 1;')}\n`);
  await daemon.says(/refused and the one before stays in force .*bad\.mjs: cannot be loaded/);
  configure(`backend: ${at('none.mjs')}\n`);
  await daemon.says(/refused and the one before stays in force .*none\.mjs: does not exist/);
  configure('backend: ./acme.mjs\n');
  await daemon.says(/refused and the one before stays in force .*backend: .*acme\.mjs.* is relative/);
  chmodSync(write('open.mjs', source('open', {})), 0o646);
  configure(`backend: ${at('open.mjs')}\n`);
  await daemon.says(/refused and the one before stays in force .*open\.mjs may be written by every user/);
  writeFileSync(manifests, manifest('10.244.1.3'));
  await until(/^acme sync IPv4 false/);
  await stop(daemon);
});

async function poll(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error('not in time');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

for (const each of [start, edit]) each.after.each(killAll);
edit.after(() => rmSync(folder, { recursive: true }));
start.run();
edit.run();
