import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exponentialBackoff, startRunner } from '../../../core/sync/runner.ts';
import { type FakeClock, fakeClock, settle } from './fake-clock.ts';

const test = suite('runner');

interface Jobs {
  readonly clock: FakeClock;
  /** When each job started, since the test began. */
  readonly starts: number[];
  readonly job: () => Promise<boolean>;
  /** What the next jobs answer; true when it runs out. */
  readonly results: boolean[];
}

function jobs(durationMs = 0): Jobs {
  const clock = fakeClock();
  const zero = clock.now();
  const starts: number[] = [];
  const results: boolean[] = [];
  const job = async (): Promise<boolean> => {
    starts.push(clock.now() - zero);
    if (durationMs > 0) await new Promise<void>((resolve) => clock.after(durationMs, resolve));
    return results.shift() ?? true;
  };
  return { clock, starts, job, results };
}

const limits = { minIntervalMs: 1_000, maxIntervalMs: 60_000, retryMs: exponentialBackoff(2_000, 8_000) };

test('nothing runs before it is asked for', async () => {
  const { clock, starts, job } = jobs();
  startRunner({ clock, job, ...limits });
  await clock.advance(200_000);
  assert.equal(starts, []);
});

test('the first run starts without delay, but not on the stack of the caller', async () => {
  const { clock, starts, job } = jobs();
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  assert.equal(starts, []);
  await clock.advance(0);
  assert.equal(starts, [0]);
});

test('the minimum interval counts from the end of the last run', async () => {
  const { clock, starts, job } = jobs(300);
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  await clock.advance(350);
  runner.run();
  await clock.advance(5_000);
  assert.equal(starts, [0, 1_300]);
});

test('any number of requests becomes one run', async () => {
  const { clock, starts, job } = jobs();
  const runner = startRunner({ clock, job, ...limits });
  for (let i = 0; i < 5; i++) runner.run();
  await clock.advance(0);
  for (let i = 0; i < 5; i++) {
    runner.run();
    await clock.advance(100);
  }
  await clock.advance(5_000);
  assert.equal(starts, [0, 1_000]);
});

test('a request during a run causes another one after it', async () => {
  const { clock, starts, job } = jobs(300);
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  await clock.advance(100);
  runner.run();
  runner.run();
  await clock.advance(10_000);
  assert.equal(starts, [0, 1_300]);
});

test('it runs unasked when the maximum interval has passed since the last run', async () => {
  const { clock, starts, job } = jobs();
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  await clock.advance(59_999);
  assert.equal(starts, [0]);
  await clock.advance(60_001);
  assert.equal(starts, [0, 60_000, 120_000]);
});

test('a failed run is retried, later each time up to a limit, until it succeeds', async () => {
  const { clock, starts, job, results } = jobs();
  results.push(false, false, false, false, true);
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  await clock.advance(59_000);
  assert.equal(starts, [0, 2_000, 6_000, 14_000, 22_000]);
  assert.not(runner.busy());
});

test('the backoff starts anew after a success', async () => {
  const { clock, starts, job, results } = jobs();
  results.push(false, false, true, false, true);
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  await clock.advance(10_000);
  runner.run();
  await clock.advance(5_000);
  assert.equal(starts, [0, 2_000, 6_000, 10_000, 12_000]);
});

test('a retry is never sooner than the minimum interval nor later than the maximum', async () => {
  const { clock, starts, job, results } = jobs();
  results.push(false, false, true);
  let wait = 10;
  const runner = startRunner({ clock, job, ...limits, retryMs: () => wait });
  runner.run();
  await clock.advance(500);
  wait = 1_000_000;
  await clock.advance(100_000);
  assert.equal(starts, [0, 60_000]);
  wait = 10;
  runner.run();
  await clock.advance(2_000);
  assert.equal(starts, [0, 60_000, 100_500]);
});

test('a request does not wait for the retry of a failed run', async () => {
  const { clock, starts, job, results } = jobs();
  results.push(false, true);
  const runner = startRunner({ clock, job, ...limits, retryMs: () => 30_000 });
  runner.run();
  await clock.advance(10);
  runner.run();
  await clock.advance(5_000);
  assert.equal(starts, [0, 1_000]);
});

test('retryNow waits for nothing but a run in flight', async () => {
  const { clock, starts, job } = jobs(300);
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  await clock.advance(100);
  runner.retryNow();
  await clock.advance(250);
  assert.equal(starts, [0, 300]);
  await clock.advance(300);
  runner.retryNow();
  await clock.advance(1);
  assert.equal(starts, [0, 300, 650]);
});

test('a job that throws is a failed one', async () => {
  const clock = fakeClock();
  let calls = 0;
  const runner = startRunner({
    clock,
    ...limits,
    job: () => {
      calls++;
      throw new Error('at once');
    },
  });
  runner.run();
  await clock.advance(2_000);
  assert.is(calls, 2);
  assert.ok(runner.busy());
});

test('two jobs never run at the same time', async () => {
  const clock = fakeClock();
  let running = 0;
  let most = 0;
  const runner = startRunner({
    clock,
    ...limits,
    minIntervalMs: 0,
    job: async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => clock.after(70, resolve));
      running--;
      return true;
    },
  });
  for (let i = 0; i < 20; i++) {
    runner.run();
    runner.retryNow();
    await clock.advance(33);
  }
  assert.is(most, 1);
});

test('stop waits for the run in flight and lets no other start', async () => {
  const { clock, starts, job } = jobs(300);
  const runner = startRunner({ clock, job, ...limits });
  runner.run();
  await clock.advance(100);
  runner.run();
  let stopped = false;
  const stopping = runner.stop().then(() => {
    stopped = true;
  });
  await settle();
  assert.not(stopped);
  await clock.advance(200);
  await stopping;
  runner.run();
  runner.retryNow();
  await clock.advance(200_000);
  assert.equal(starts, [0]);
  assert.is(clock.pending(), 0);
});

test('a maximum below the minimum is refused', () => {
  const { clock, job } = jobs();
  assert.throws(() => startRunner({ clock, job, ...limits, maxIntervalMs: 999 }), /minimum 1000 ms.*maximum, 999 ms/);
});

test.run();
