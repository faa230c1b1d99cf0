import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { inPlugin } from '../../../core/daemon/plugin-context.ts';
import { guardProcess, type ProcessGuard, reachesUs, wasTold } from '../../../core/daemon/process-guard.ts';

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
