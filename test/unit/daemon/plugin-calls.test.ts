import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createPluginCalls } from '../../../core/daemon/plugin-calls.ts';
import { culprit, type PluginContext } from '../../../core/daemon/plugin-context.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('calls into a plugin');

function scene() {
  const [base, log] = [fakeClock(), fakeLog()];
  let [skipped, cpu, stalls] = [0, 0, 0];
  // Time that passes while nothing else can happen; the timers come late.
  const clock = { now: () => base.now() + skipped, after: base.after };
  const context: PluginContext = { name: 'slow', escaped: () => {} };
  const calls = createPluginCalls({ context, clock, log, onStall: () => void stalls++, cpuMs: () => cpu });
  return {
    clock: base,
    log,
    calls,
    context,
    stalls: () => stalls,
    block(milliseconds: number, busyMs = milliseconds) {
      skipped += milliseconds;
      cpu += busyMs;
    },
  };
}

test('a call settles as the plugin does, in its context, thenables included', async () => {
  const { calls, context } = scene();
  const seen: unknown[] = [];
  const thenable = {
    // biome-ignore lint/suspicious/noThenProperty: a plugin may return one
    then(resolve: (value: string) => void) {
      seen.push(culprit());
      resolve('answer');
    },
  };
  assert.is(await calls.call('sync', () => thenable as unknown as Promise<string>), 'answer');
  assert.is(
    await calls.call('sync', async () => {
      await null;
      seen.push(culprit());
      return 7;
    }),
    7,
  );
  assert.equal(seen, [context, context]);
  assert.is(culprit(), undefined);
  const thrown = new Error('no');
  const fails = await calls
    .call('sync', () => {
      throw thrown;
    })
    .catch((error) => error);
  assert.is(fails, thrown);
  assert.equal(calls.pending(), []);
});

test('who waits is told for what, less and less often, until whoever called has given up', async () => {
  const { calls, clock, log } = scene();
  const { promise, resolve } = Promise.withResolvers<void>();
  const call = calls.call('IPv4: sync', () => promise);
  await clock.advance(9_900);
  assert.equal(log.lines, []);
  await clock.advance(290_000);
  assert.equal(
    log.at('warn').map(({ message, values }) => [message, values.backend, values.call, values.seconds]),
    [10, 20, 40, 80, 160].map((seconds) => ['Still waiting for the backend', 'slow', 'IPv4: sync', seconds]),
  );
  assert.equal(calls.pending(), ['IPv4: sync, for 300 s']);
  await clock.advance(1_000_000);
  assert.is(log.lines.length, 5);
  assert.is(clock.pending(), 0, 'nothing wakes the process for it any more');
  resolve();
  await call;
});

test('quick calls leave no timer and say nothing', async () => {
  const { calls, clock, log } = scene();
  await calls.call('sync', async () => 1);
  assert.is(clock.pending(), 0);
  assert.equal(log.lines, []);
});

test('a call that keeps the process busy is named and counted once', async () => {
  const { calls, clock, log, block, stalls } = scene();
  const call = calls.call('IPv4: sync', async () => block(2_500));
  await clock.advance(2_000);
  await call;
  assert.equal(
    log.at('warn').map(({ message, values }) => [message, values.call, values.seconds]),
    [['A call of the backend kept the process from everything else', 'IPv4: sync', 2.5]],
  );
  assert.is(stalls(), 1);
});

test('so is one that does it after a while, though then only what was under way is known', async () => {
  for (const answers of [true, false]) {
    const { calls, clock, log, block, stalls } = scene();
    const { promise, resolve } = Promise.withResolvers<void>();
    void calls.call('IPv4: sync', async () => {
      await promise;
      block(2_500);
      if (!answers) await new Promise(() => {});
    });
    await clock.advance(200);
    resolve();
    await clock.advance(2_000);
    assert.is(log.at('warn').length, 1);
    assert.match(
      log.at('warn')[0]?.message ?? '',
      /kept from everything else while calls of the backend were under way/,
    );
    assert.is(stalls(), 1);
  }
});

test('a machine that stood still accuses nobody', async () => {
  const { calls, clock, log, block, stalls } = scene();
  void calls.call('IPv4: sync', () => new Promise(() => {}));
  block(60_000, 3);
  await clock.advance(1_000);
  const [line] = log.at('warn').filter(({ message }) => !message.startsWith('Still'));
  assert.match(line?.message ?? '', /waits without giving way, or the machine was suspended/);
  assert.is(stalls(), 0);
});

test('less than a second is no stall', () => {
  const { calls, block, log } = scene();
  calls.now('health', () => block(900));
  assert.equal(log.lines, []);
});

test.run();
