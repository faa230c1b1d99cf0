/** One backend after another in a whole daemon: what hangs is given up, and what is left behind is removed. */
import { isolateTests } from '../../netns/isolated.ts';

await isolateTests();

import { chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Daemon, killAll, manifest, start } from './program.ts';

const test = suite('one backend after another');
const folder = mkdtempSync(join(tmpdir(), 'takeover-'));
const manifests = join(folder, 'web.json');
const config = join(folder, 'config.yaml');
/** What the backends did, a line each. */
const deeds = join(folder, 'deeds');
const did = (): readonly string[] => readFileSync(deeds, 'utf8').split('\n').slice(0, -1);

function write(backend: string, ...options: readonly string[]): void {
  const lines = ['apiVersion: kubeproxy.config.k8s.io/v1alpha1', 'kind: KubeProxyConfiguration'];
  lines.push('healthzBindAddress: "0"', 'metricsBindAddress: "0"', 'hostnameOverride: worker-1', `backend: ${backend}`);
  if (options.length > 0) lines.push('backendOptions:', ...options.map((option) => `  ${option}`));
  writeFileSync(`${config}.new`, lines.join('\n'));
  renameSync(`${config}.new`, config);
}

/** A plugin's file that notes what is called; `name` is its own. */
function plugin(file: string, name: string, sync = ''): string {
  const path = join(folder, `${file}.mjs`);
  writeFileSync(
    path,
    `import { appendFileSync } from 'node:fs';
     const note = (what) => appendFileSync('${deeds}', '${file}: ' + what + '\\n');
     async function create(host, options) {
       const of = options.table ?? '';
       return {
         families: ['IPv4'],
         async sync(change) { note('sync ' + (change.full ? 'full' : 'partial')); ${sync} return { operations: 1, bytes: 1 }; },
         async cleanup() { note('cleanup ' + of); },
         async close() {},
       };
     }
     export default { name: '${name}', apiVersion: 1, summary: 'of a test', create };`,
  );
  return path;
}

/** A program for the exec backend; `onCleanup`: what it does when it is told to clean up. */
function program(name: string, onCleanup = ''): string {
  const path = join(folder, name);
  writeFileSync(
    path,
    `#!${process.execPath}
const { appendFileSync } = require('node:fs');
const note = (what) => appendFileSync('${deeds}', '${name}: ' + what + '\\n');
const say = (line) => console.log(JSON.stringify(line));
require('node:readline').createInterface({ input: process.stdin }).on('line', (text) => {
  const line = JSON.parse(text);
  if (line.type === 'hello') return say({ type: 'ready', version: 1 });
  if (line.type === 'cleanup') { note('cleanup ' + process.pid); ${onCleanup} }
  if (line.type === 'sync') note('sync');
  say({ type: 'done', id: line.id });
}).on('close', () => process.exit());
`,
  );
  chmodSync(path, 0o755);
  return path;
}

async function until(daemon: Daemon, pattern: RegExp): Promise<string> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const found = did().find((deed) => pattern.test(deed));
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`no ${pattern} in:\n${daemon.log()}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

function run(): Daemon {
  return start('--config', config, '--manifests', manifests);
}

async function stop(daemon: Daemon): Promise<void> {
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0, daemon.log());
}

test.before.each(() => {
  writeFileSync(manifests, manifest('10.244.1.2'));
  writeFileSync(deeds, '');
});
test.after.each(killAll);
test.after(() => rmSync(folder, { recursive: true }));

test('a backend that hangs gives way to another one within seconds', async () => {
  write(plugin('hangs', 'hangs', 'await new Promise(() => {});'));
  const daemon = run();
  await until(daemon, /^hangs: sync full/);
  write(plugin('works', 'works'));
  await daemon.says(/Ready backend="works"/);
  assert.match(daemon.log(), /hangs in a call; it is given up.*from="hangs" to="works"/);
  await daemon.says(/Cleaned up after other backends backend="works" of="[^"]*hangs"/);
  assert.ok(did().includes('hangs: cleanup '));
  await stop(daemon);
});

test('what another file of the same name left is removed, and the one in force made whole', async () => {
  write(plugin('first', 'same'), 'table: one');
  const daemon = run();
  await daemon.says(/Ready backend="same"/);
  write(plugin('second', 'same'), 'table: two');
  await daemon.says(/Another backend takes over[\s\S]*reason="what another backend left was cleaned up"/);
  await daemon.says(/A full sync was asked for[\s\S]*Synced/);
  await stop(daemon);
  assert.equal(did(), ['first: sync full', 'second: sync full', 'first: cleanup one', 'second: sync full']);
});

test('what the same file made with other options stays, and the log names them', async () => {
  const file = plugin('only', 'only');
  write(file, 'table: one', 'kept: 1');
  const daemon = run();
  await daemon.says(/Ready backend="only"/);
  write(file, 'table: two', 'kept: 1');
  await daemon.says(/had other options before; .*backend="only" changed="table" remedy="[^"]*cleanup --backend/);
  await stop(daemon);
  assert.not(
    did().some((deed) => deed.includes('cleanup')),
    did().join('\n'),
  );
});

test('what another program left is removed by that program', async () => {
  write('exec', `command: ${program('a')}`);
  const daemon = run();
  await daemon.says(/Ready backend="exec"/);
  write('exec', `command: ${program('b')}`);
  await daemon.says(/Cleaned up after other backends backend="exec" of="[^"]*exec"/);
  await stop(daemon);
  assert.ok(did().some((deed) => deed.startsWith('a: cleanup')));
  assert.not(did().some((deed) => deed.startsWith('b: cleanup')));
});

test('a program that hangs while it cleans up does not outlive the daemon', async () => {
  write('exec', `command: ${program('stuck', 'process.stdin.pause(); setInterval(() => {}, 1000); return;')}`);
  const daemon = run();
  await daemon.says(/Ready backend="exec"/);
  write(plugin('next', 'next'));
  await daemon.says(/Ready backend="next"/);
  const deed = await until(daemon, /^stuck: cleanup/);
  const stuck = Number(deed.split(' ').at(-1));
  await stop(daemon);
  assert.throws(() => process.kill(stuck, 0), /ESRCH/);
});

test.run();
