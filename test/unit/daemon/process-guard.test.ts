import { abort, execve } from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { inPlugin } from '../../../core/daemon/plugin-context.ts';
import {
  guardProcess,
  keepListener,
  type ProcessGuard,
  reachesUs,
  wasTold,
} from '../../../core/daemon/process-guard.ts';

const test = suite('the guard of the process');
let guard: ProcessGuard | undefined;
const strangers: string[] = [];
test.before.each(() => {
  strangers.length = 0;
  guard = guardProcess({ onStranger: ({ message }) => strangers.push(message) });
});
test.after.each(() => guard?.release());

function refusal(call: () => unknown): Error & { code?: string } {
  try {
    call();
  } catch (error) {
    return error as Error & { code?: string };
  }
  throw new Error('it was not refused');
}

const CALLS: Readonly<Record<string, () => unknown>> = {
  'exit(3)': () => process.exit(3),
  'reallyExit(4)': () => Reflect.get(process, 'reallyExit')(4),
  'abort()': () => process.abort(),
  'chdir(/)': () => process.chdir('/'),
  'umask(0)': () => process.umask(0),
  'setuid(65534)': () => process.setuid?.(65534),
  'setgroups(object)': () => process.setgroups?.([]),
  'setUncaughtExceptionCaptureCallback(object)': () => process.setUncaughtExceptionCaptureCallback(null),
  [`kill(${process.pid})`]: () => process.kill(process.pid),
  [`_kill(${process.pid}, 9)`]: () => Reflect.get(process, '_kill')(process.pid, 9),
  'execve(/bin/true, object)': () => process.execve?.('/bin/true', ['true']),
  '_debugProcess(1)': () => Reflect.get(process, '_debugProcess')(1),
  // As modules get them that import them by name.
  'execve(/bin/false, object)': () => execve?.('/bin/false', ['false']),
  'abort(NaN)': () => Reflect.apply(abort, undefined, [Number.NaN]),
  'removeAllListeners()': () => process.removeAllListeners(),
  'removeAllListeners(SIGTERM)': () => process.removeAllListeners('SIGTERM'),
};

test('what would harm everyone throws and is told to whoever asked', () => {
  for (const [call, invoke] of Object.entries(CALLS)) {
    const told: unknown[][] = [];
    const context = { name: 'odd', escaped: (...args: unknown[]) => void told.push(args) };
    const error = refusal(() => inPlugin(context, invoke));
    assert.ok(error.message.startsWith(`process.${call} would `), error.message);
    assert.is(error.code, 'KP_REFUSED');
    assert.equal(told, [['refused', error]]);
    assert.ok(wasTold(error));
  }
  assert.equal(strangers, []);
});

test('so it is when it cannot be seen who asks', () => {
  for (const invoke of Object.values(CALLS)) refusal(invoke);
  assert.is(strangers.length, Object.keys(CALLS).length);
});

/** Functions of `process` that end nobody, and change what one can live with. */
const HARMLESS = `
  _rawDebug binding _linkedBinding dlopen uptime _getActiveRequests _getActiveHandles getActiveResourcesInfo
  loadEnvFile cpuUsage threadCpuUsage resourceUsage memoryUsage constrainedMemory availableMemory ref unref hrtime
  openStdin getuid geteuid getgid getegid getgroups _fatalException hasUncaughtExceptionCaptureCallback emitWarning
  nextTick _tickCallback setSourceMapsEnabled getBuiltinModule _debugEnd _startProfilerIdleNotifier
  _stopProfilerIdleNotifier cwd`
  .trim()
  .split(/\s+/);

test('every function of the process is refused, looked at, or known to be harmless', () => {
  const functions = (): Map<string, unknown> =>
    new Map(
      Object.getOwnPropertyNames(process)
        .filter((name) => typeof Reflect.get(process, name) === 'function')
        .map((name) => [name, Reflect.get(process, name)]),
    );
  const guarded = functions();
  guard?.release();
  const unguarded = [...functions()].filter(([name, value]) => guarded.get(name) === value);
  assert.equal(
    unguarded.map(([name]) => name).filter((name) => !HARMLESS.includes(name)),
    [],
  );
});

test('a number that changes is read once', () => {
  let asked = 0;
  const pid = { valueOf: () => (asked++ === 0 ? 2 ** 22 + 1 : process.pid) };
  try {
    Reflect.get(process, '_kill')(pid, 9);
  } catch {
    // There is no such process.
  }
  assert.is(asked, 1);
});

test('listeners of ours stay and stay the first, those of others come and go', () => {
  const heard: string[] = [];
  const ours = (): void => void heard.push('ours');
  const theirs = (): void => void heard.push('theirs');
  guard?.release();
  keepListener(ours);
  process.on('SIGINT', ours);
  guard = guardProcess({ onStranger: () => {} });
  process.prependListener('SIGINT', theirs);
  refusal(() => process.off('SIGINT', ours));
  refusal(() => process.removeListener('SIGINT', ours));
  process.emit('SIGINT', 'SIGINT');
  assert.equal(heard, ['ours', 'theirs']);
  process.off('SIGINT', theirs);
  guard.release();
  process.emit('SIGINT', 'SIGINT');
  process.off('SIGINT', ours);
  assert.equal(heard, ['ours', 'theirs', 'ours']);
  assert.is(process.listenerCount('SIGINT'), 0);
});

test('signals to us are those to our process, to our group and to everyone', () => {
  assert.equal(
    [42, -42, 0, -1, 1, 41, -41, Number.NaN].map((pid) => reachesUs(pid, 42)),
    [true, true, true, true, false, false, false, false],
  );
});

test('what harms nobody goes on working', () => {
  assert.type(process.umask(), 'number');
  assert.ok(process.kill(process.pid, 0));
  assert.equal(strangers, []);
});

test('afterwards everything is as it was', () => {
  const during = process.exit;
  guard?.release();
  assert.is.not(process.exit, during);
  const folder = process.cwd();
  process.chdir('/');
  process.chdir(folder);
  assert.is(process.umask(process.umask()), process.umask());
  assert.equal(strangers, []);
});

test.run();
