/** Exit statuses while a plugin wants another one: by a timer, a tick, a listener, before and after the command. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isolateTests } from '../../netns/isolated.ts';
import { killAll, MAIN, NO_SERVERS, startProgram } from './program.ts';

await isolateTests([]);

const test = suite('the exit status with a plugin that wants another');
const folder = mkdtempSync(join(tmpdir(), 'liar-'));
test.after.each(killAll);
test.after(() => rmSync(folder, { recursive: true }));

/** Each ends the process some time later, or sets its status. */
const LIES: Readonly<Record<string, string>> = {
  tick: 'process.nextTick(() => process.exit(3));',
  turn: 'setImmediate(() => process.exit(3));',
  timer: 'setTimeout(() => process.exit(3), 50);',
  again: 'setInterval(() => process.reallyExit(3), 1);',
  named: 'setTimeout(() => exit(3), 1); setTimeout(() => abort(), 1);',
  listener: "process.on('exit', () => { process.exitCode = 3; });",
  ends: "process.on('exit', () => process.exit(3));",
  code: 'setInterval(() => { process.exitCode = 3; }, 1);',
};

function liar(name: string, lie: string): string {
  const path = join(folder, `${name}.mjs`);
  const text = `import { abort, exit } from 'node:process';
export default {
  name: 'liar', apiVersion: 1, summary: 'lies', leavesHostAlone: true,
  async create() {
    return {
      families: ['IPv4'],
      async sync() { return { operations: 0, bytes: 0 }; },
      async cleanup() { ${lie} throw new Error('nothing is clean'); },
      async close() { ${lie} },
    };
  },
  render() { ${lie} throw new Error('nothing to render'); },
};
`;
  writeFileSync(path, text, { mode: 0o644 });
  return path;
}

test('is that of the command', async () => {
  const manifests = join(folder, 'none.json');
  writeFileSync(manifests, '{"kind":"List","apiVersion":"v1","items":[]}');
  for (const [name, lie] of Object.entries(LIES)) {
    const path = liar(name, lie);
    const commands: readonly (readonly [status: number, says: RegExp, ...words: string[]])[] = [
      [1, /cleanup of liar: .*nothing is clean/, 'cleanup', '--backend', path],
      [0, /liar .*IPv4; /, 'plugins', '--backend', path],
      [1, /nothing to render/, 'render', '--backend', path, '--manifests', manifests],
    ];
    for (const [status, says, ...words] of commands) {
      const { exit, log, stdout } = startProgram(MAIN, ...words);
      assert.is(await exit, status, `${name}: ${words[0]}\n${log()}`);
      assert.match(log() + stdout(), says, name);
    }
  }
});

test('is that of the test of a plugin', async () => {
  const { exit, stdout } = startProgram(MAIN, 'plugin', 'test', liar('tested', LIES.timer ?? ''));
  assert.is(await exit, 1);
  assert.match(stdout(), /[1-9]\d* fail/);
});

/** What is broken before the signal comes. */
const BROKEN: readonly string[] = [
  'globalThis.setTimeout = () => { throw new Error("broken"); };',
  'performance.now = () => { throw new Error("broken"); };',
  'process.removeAllListeners();',
  "process.removeAllListeners('SIGTERM');",
  "for (const one of process.listeners('SIGTERM')) process.off('SIGTERM', one);",
  "process.prependListener('SIGTERM', () => { throw new Error('first'); });",
  "process.on('SIGTERM', () => process.exit(3));",
];

test('is 0 after SIGTERM, and the stop is an orderly one', async () => {
  const manifests = join(folder, 'empty.json');
  writeFileSync(manifests, '{"kind":"List","apiVersion":"v1","items":[]}');
  for (const [index, what] of BROKEN.entries()) {
    const path = join(folder, `broken-${index}.mjs`);
    const text = `export default {
  name: 'breaks', apiVersion: 1, summary: 'breaks', leavesHostAlone: true,
  async create() {
    try { ${what} } catch {}
    return { families: ['IPv4'], async sync() { return { operations: 0, bytes: 0 }; }, async cleanup() {}, async close() {} };
  },
};
`;
    writeFileSync(path, text, { mode: 0o644 });
    const flags = ['--manifests', manifests, '--hostname-override=n', '--backend', path];
    const daemon = startProgram(MAIN, ...NO_SERVERS, ...flags);
    await daemon.says(/ Ready /);
    daemon.child.kill('SIGTERM');
    assert.is(await daemon.exit, 0, `${what}\n${daemon.log()}`);
    assert.match(daemon.log(), /Stopping; the rules stay in place signal="SIGTERM"/, what);
    if (!/setTimeout|performance/.test(what)) assert.match(daemon.log(), /Stopped/, what);
  }
});

test('a removed working directory matters to relative paths alone', () => {
  const run = (path: string) => {
    const gone = mkdtempSync(join(tmpdir(), 'gone-'));
    const script = 'cd "$1" && rmdir "$1" && shift && exec "$@"';
    const words = [process.execPath, MAIN, 'plugins', '--backend', path];
    return spawnSync('sh', ['-c', script, 'sh', gone, ...words], { encoding: 'utf8' });
  };
  const absolute = run(liar('there', ''));
  assert.is(absolute.status, 0, absolute.stderr);
  assert.match(absolute.stdout, /liar .*IPv4/);
  const relative = run('./there.mjs');
  assert.is(relative.status, 2);
  assert.match(relative.stderr, /^kube-proxy: the working directory was removed, [^\n]*\n$/);
});

test.run();
