/** Programs that stay: real ones, mostly of a shell's few words. */
import { spawn as startProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Child, SpawnOptions } from '../../../core/backend.ts';
import { createHost } from '../../../core/node/host.ts';
import { createSpawner } from '../../../core/node/spawn.ts';
import { eventually } from '../observe/ask.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('programs that stay');
const LIMIT_MS = 20_000;
const running = new Set<Child>();
const folder = mkdtempSync(join(tmpdir(), 'kp-spawn-'));

test.after.each(async () => {
  for (const child of running) await child.end(0);
  running.clear();
});
test.after(() => rmSync(folder, { recursive: true }));

interface Started {
  readonly child: Child;
  readonly lines: readonly string[];
  readonly errorLines: readonly string[];
  /** Resolves with the reason. */
  readonly exit: Promise<string>;
  /** Resolves when the program has written so many lines. */
  wrote(count: number): Promise<void>;
}

async function start(
  command: string,
  args: readonly string[],
  { signal = new AbortController().signal, ...options }: Partial<SpawnOptions> & { signal?: AbortSignal } = {},
): Promise<Started> {
  const lines: string[] = [];
  const errorLines: string[] = [];
  const exit = Promise.withResolvers<string>();
  const child = await createSpawner(signal, () => undefined).spawn(command, args, {
    onLine: (line) => void lines.push(line),
    onErrorLine: (line) => void errorLines.push(line),
    onExit: exit.resolve,
    ...options,
  });
  running.add(child);
  return {
    child,
    lines,
    errorLines,
    exit: exit.promise,
    wrote: (count) => eventually(`${count} lines`, () => lines.length >= count, LIMIT_MS),
  };
}

const shell = (script: string, options: Parameters<typeof start>[2] = {}): Promise<Started> =>
  start('sh', ['-c', script], options);
const node = (script: string, options: Parameters<typeof start>[2] = {}): Promise<Started> =>
  start(process.execPath, ['-e', script], options);

test('lines go in and come out, and its end is told after its last line', async () => {
  const { child, lines, errorLines, exit, wrote } = await shell('read a; echo "got $a"; echo oops >&2; read b; exit 3');
  await child.write('one\n');
  await wrote(1);
  assert.equal(lines, ['got one']);
  await child.write('two\n');
  assert.is(await exit, 'ended with status 3');
  assert.equal(errorLines, ['oops']);
});

test('a line is whole however it arrives, in the middle of a character too', async () => {
  const script = `process.stdout.write(Buffer.from([0x61, 0xc3]));
    process.stdin.once('data', () => process.stdout.write(Buffer.from([0xa9, 10, 10, 0x62, 10]), () => process.exit()));
    process.stderr.write('up\\n');`;
  const { child, lines, errorLines, exit } = await node(script);
  await eventually('what is expected', () => errorLines.length === 1);
  assert.equal(lines, []);
  await child.write('go\n');
  assert.is(await exit, 'ended with status 0');
  assert.equal(lines, ['aé', '', 'b']);
});

test('a last line without an end is a line, and comes before the exit', async () => {
  const order: string[] = [];
  const { exit } = await shell('printf "a\\nb"', {
    onLine: (line) => void order.push(line),
    onExit: (reason) => void order.push(reason),
  });
  void exit;
  await eventually('what is expected', () => order.length === 3);
  assert.equal(order, ['a', 'b', 'ended with status 0']);
});

test('many lines in one piece come one by one, and in order', async () => {
  const { lines, exit } = await shell('seq 1 20000');
  await exit;
  assert.is(lines.length, 20_000);
  assert.is(lines.join(' '), Array.from({ length: 20_000 }, (_, index) => index + 1).join(' '));
});

test('a line as long as allowed is taken, a longer one ends the program', async () => {
  const fits = await shell('printf "%s\\n" 12345678', { longestLine: 8 });
  assert.is(await fits.exit, 'ended with status 0');
  assert.equal(fits.lines, ['12345678']);

  const whole = await shell('printf "ok\\n%s\\nlater\\n" 123456789; sleep 300', { longestLine: 8 });
  assert.is(await whole.exit, 'wrote a line of more than 8 bytes to its standard output, and was ended');
  assert.equal(whole.lines, ['ok']);

  const endless = await shell('cat /dev/zero >&2', { longestLine: 1000 });
  assert.is(await endless.exit, 'wrote a line of more than 1000 bytes to its standard error, and was ended');
  assert.equal(endless.errorLines, []);
});

test('a write waits for a program that does not read', async () => {
  const script = `process.once('SIGUSR1', () => process.stdin.resume());
    setInterval(() => console.log('not reading'), 20);`;
  const { child, wrote, lines } = await node(script);
  await wrote(1);
  let taken = false;
  const written = child.write('x'.repeat(8 << 20)).then(() => {
    taken = true;
  });
  await wrote(lines.length + 3);
  assert.is(taken, false);
  process.kill(child.pid, 'SIGUSR1');
  await written;
});

test('writing to a program that has ended, or closed its input, is a rejection that says so', async () => {
  const ended = await shell('exit 0');
  await ended.exit;
  await rejects(ended.child.write('x\n'), /cannot write to sh: it has ended/);

  const closed = await shell('exec <&-; echo closed; exec sleep 300');
  await closed.wrote(1);
  await rejects(closed.child.write('x\n'), /cannot write to sh: its input is closed/);
});

test('a write that a program leaves behind unread when it ends is a rejection', async () => {
  const { child, exit } = await shell('read a; exit 0');
  const writing = child.write(`${'x'.repeat(8 << 20)}\n`);
  const kill = child.write('y');
  process.kill(child.pid, 'SIGKILL');
  await rejects(writing, /cannot write to sh/);
  await rejects(kill, /cannot write to sh/);
  assert.is(await exit, 'was ended by SIGKILL');
});

test('at its end a program sees the end of its input, after everything that was written', async () => {
  const { child, lines, exit } = await shell('cat; echo bye');
  void child.write('last\n');
  await child.end(LIMIT_MS);
  assert.equal(lines, ['last', 'bye']);
  assert.is(await exit, 'ended with status 0');
});

test('one that goes on after the end of its input is told to end, and then ended', async () => {
  const polite = await shell('echo up; exec sleep 300');
  await polite.wrote(1);
  await polite.child.end(10);
  assert.is(await polite.exit, 'was ended by SIGTERM');

  const deaf = await shell('trap "" TERM; echo up; sleep 300; sleep 300');
  await deaf.wrote(1);
  await deaf.child.end(10);
  assert.is(await deaf.exit, 'was ended by SIGKILL');
});

test('who asks again may want the end sooner', async () => {
  const { child, wrote, exit } = await shell('echo up; exec sleep 300');
  await wrote(1);
  const late = child.end(600_000);
  await child.end(10);
  await late;
  assert.is(await exit, 'was ended by SIGTERM');
});

test('what it started ends with it, also when it ends by itself', async () => {
  const told = await shell('sleep 300 & echo $!; cat');
  await told.wrote(1);
  await told.child.end(LIMIT_MS);
  await eventually('what is expected', () => isGone(Number(told.lines[0])));

  const left = await shell('sleep 300 & echo $!');
  assert.is(await left.exit, 'ended with status 0');
  await eventually('what is expected', () => isGone(Number(left.lines[0])));
});

test('a descendant that left its group and holds the output open is not waited for', async () => {
  const { child, lines, exit, wrote } = await shell('setsid sh -c "echo \\$\\$; exec sleep 300" & read go');
  await wrote(1);
  await child.write('go\n');
  assert.is(await exit, 'ended with status 0');
  process.kill(Number(lines[0]), 'SIGKILL');
});

test('it ends when the process shuts down, and none is started any more', async () => {
  const controller = new AbortController();
  const { exit, wrote } = await shell('echo up; cat; exit 4', { signal: controller.signal });
  await wrote(1);
  controller.abort();
  assert.is(await exit, 'ended with status 4');
  await rejects(shell('echo up', { signal: controller.signal }), /cannot start sh: kube-proxy is shutting down/);
});

test('a host that is closed ends the programs of its plugin', async () => {
  const host = createHost({ log: fakeLog(), signal: new AbortController().signal, requestFullSync() {} });
  const exit = Promise.withResolvers<string>();
  await host.spawn('cat', [], { onLine() {}, onErrorLine() {}, onExit: exit.resolve });
  host.close();
  assert.is(await exit.promise, 'ended with status 0');
});

test('the environment is that of all programs, and what the plugin adds', async () => {
  const { lines, exit } = await shell('echo "$LC_ALL $COLOUR"', { env: { COLOUR: 'blue' } });
  await exit;
  assert.equal(lines, ['C blue']);
});

test('it has a session of its own, so that a Ctrl-C for us does not reach it', async () => {
  const { child, exit, lines } = await shell('cut -d" " -f5,6 /proc/$$/stat');
  await exit;
  assert.equal(lines, [`${child.pid} ${child.pid}`]);
});

test('arguments are not interpreted', async () => {
  const { lines, exit } = await start('printf', ['%s\n', '$HOME; `id` * "x"']);
  await exit;
  assert.equal(lines, ['$HOME; `id` * "x"']);
});

test('a missing program, and one that may not be executed, are rejections with the remedy', async () => {
  await rejects(start('/nowhere/program', []), /cannot start \/nowhere\/program: it is not installed/, 'KP_EXEC');
  await rejects(start('/etc/passwd', []), /cannot start \/etc\/passwd: it may not be executed/, 'KP_EXEC');
  await rejects(start('/etc', []), /cannot start \/etc: it is a folder; give a program$/, 'KP_EXEC');
});

test('a file that others may change is not run', async () => {
  const host = createHost({ log: fakeLog(), signal: new AbortController().signal, requestFullSync() {} });
  const file = join(folder, 'program');
  writeFileSync(file, '#!/bin/sh\necho ran\n');
  const run = async (): Promise<string> => {
    const exit = Promise.withResolvers<string>();
    await host.spawn(file, [], { onLine() {}, onErrorLine() {}, onExit: exit.resolve });
    return exit.promise;
  };
  try {
    chmodSync(file, 0o757);
    await rejects(run(), /cannot start .*\/program: .*may be written by .*every user \(chmod o-w/, 'KP_EXEC');
    chmodSync(file, 0o755);
    assert.is(await run(), 'ended with status 0');
  } finally {
    host.close();
  }
});

const OWNER = `
  const { createSpawner } = await import(${JSON.stringify(resolve(import.meta.dirname, '../../../core/node/spawn.ts'))});
  const { spawn } = createSpawner(new AbortController().signal, () => undefined);
  const [script, then] = process.argv.slice(1);
  await spawn('sh', ['-c', script], {
    onLine(line) { console.log(line); if (then === 'exit') process.exit(0); }, onErrorLine() {}, onExit() {},
  });`;

test('if its owner is killed, it sees the end of its input', async () => {
  const file = join(folder, 'saw-the-end');
  const owner = startProcess(process.execPath, ['--input-type=module', '-e', OWNER, `echo up; cat; echo yes >${file}`]);
  await new Promise((done) => owner.stdout.once('data', done));
  owner.kill('SIGKILL');
  await eventually('what is expected', () => existsSync(file) && readFileSync(file, 'utf8') === 'yes\n');
});

test('if its owner exits without a word, it is ended whatever it ignores', async () => {
  const script = 'trap "" TERM; echo $$; while :; do sleep 1; done';
  const owner = startProcess(process.execPath, ['--input-type=module', '-e', OWNER, script, 'exit']);
  const pid = await new Promise<number>((done) => owner.stdout.once('data', (text) => done(Number(String(text)))));
  await eventually('what is expected', () => isGone(pid));
});

/** A zombie that nobody collects is gone, too. */
function isGone(pid: number): boolean {
  try {
    return /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

async function rejects(promise: Promise<unknown>, pattern: RegExp, code = 'KP_EXEC'): Promise<void> {
  const error = await promise.then(
    () => assert.unreachable('it succeeded'),
    (reason: unknown) => reason,
  );
  assert.match((error as Error).message, pattern);
  assert.is((error as { code?: string }).code, code);
}

test('a program that writes without end is not read without end, and what it wrote last is lost to nobody', async () => {
  let count = 0;
  const { child, exit } = await shell('yes ""', { onLine: () => void count++ });
  await eventually('lines', () => count > 0);
  count = 0;
  const since = performance.now();
  await eventually('a second', () => performance.now() - since >= 1000);
  // In each stretch 20000, and what came in one piece with the last; without a limit it is millions.
  const stretches = (performance.now() - since) / 100 + 2;
  assert.ok(count < stretches * (20_000 + 65_536), `${count} in ${stretches}`);
  await child.end(0);
  await exit;
  const { lines, exit: ended } = await shell('seq 1 60000');
  assert.is(await ended, 'ended with status 0');
  assert.is(lines.length, 60_000);
  assert.is(lines.at(-1), '60000');
});

test('nothing is started any more once it is closed', async () => {
  const spawner = createSpawner(new AbortController().signal, () => undefined);
  const options = { onLine() {}, onErrorLine() {}, onExit: () => ended.resolve() };
  const ended = Promise.withResolvers<void>();
  const starting = spawner.spawn('sh', ['-c', 'read a'], options);
  spawner.close();
  await starting;
  await ended.promise;
  const error = await spawner.spawn('true', [], options).catch((thrown) => thrown);
  assert.is(error.code, 'KP_CLOSED');
  assert.is(error.message, 'cannot start true: the backend is closed, and its Host with it');
});

test('who ends the process at once ends the programs that still run', async () => {
  const main = `
    import { createSpawner } from ${JSON.stringify(resolve('core/node/spawn.ts'))};
    import { endProcess } from ${JSON.stringify(resolve('core/node/end-process.ts'))};
    const spawner = createSpawner(new AbortController().signal, () => undefined);
    const ignore = { onLine() {}, onErrorLine() {}, onExit() {} };
    const child = await spawner.spawn('sleep', ['300'], ignore);
    process.stdout.write(String(child.pid), () => endProcess(7));`;
  const file = join(folder, 'ends.mjs');
  writeFileSync(file, main);
  const child = startProcess(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  let pid = '';
  child.stdout.on('data', (chunk) => {
    pid += chunk;
  });
  assert.is(await new Promise((done) => child.once('close', done)), 7);
  const isGone = (): boolean => !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  await eventually('its end', isGone, LIMIT_MS);
});

test.run();
