/** Requests a second, however many are wanted. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createRateLimit } from '../../../core/source/api/rate-limit.ts';
import { fakeClock, settle } from '../sync/fake-clock.ts';

const test = suite('rate limit');

function setup(qps: number, burst: number) {
  const clock = fakeClock();
  const limit = createRateLimit({ qps, burst, clock });
  const { signal } = new AbortController();
  let sent = 0;
  const order: number[] = [];
  const send = async (number = 0, by = signal): Promise<void> => {
    await limit.acquire(by);
    sent++;
    order.push(number);
  };
  return { clock, limit, send, order, sent: () => sent };
}

test('a burst goes at once, the rest at the rate, in order', async () => {
  const { clock, send, sent, order } = setup(5, 10);
  for (let number = 0; number < 30; number++) void send(number);
  await settle();
  assert.is(sent(), 10);
  await clock.advance(199);
  assert.is(sent(), 10);
  await clock.advance(1);
  assert.is(sent(), 11);
  await clock.advance(3_800);
  assert.is(sent(), 30);
  assert.equal(
    order,
    Array.from({ length: 30 }, (_, number) => number),
  );
  assert.is(clock.pending(), 0);
});

test('time without requests fills it up to the burst and no further', async () => {
  const { clock, send, sent } = setup(5, 3);
  await clock.advance(3_600_000);
  for (let number = 0; number < 10; number++) void send();
  await settle();
  assert.is(sent(), 3);
});

test('over any time, no more than the burst and the rate are let go', async () => {
  const { clock, send, sent } = setup(7, 4);
  const begin = clock.now();
  for (let number = 0; number < 1_000; number++) void send();
  for (let step = 0; step < 200; step++) {
    await clock.advance(137);
    const most = 4 + ((clock.now() - begin) / 1000) * 7;
    assert.ok(sent() <= most && sent() >= most - 2, `${sent()} of ${most}`);
  }
});

test('who gives up does not take a place', async () => {
  const { clock, limit, send, sent } = setup(1, 1);
  await send();
  const controller = new AbortController();
  const abandoned = limit.acquire(controller.signal).then(
    () => 'let go',
    (error: unknown) => (error as Error).message,
  );
  void send();
  controller.abort(new Error('gave up'));
  assert.is(await abandoned, 'gave up');
  await clock.advance(1_000);
  assert.is(sent(), 2);
});

test('0 means what the reference takes, below 0 no limit', async () => {
  const standard = setup(0, 0);
  for (let number = 0; number < 20; number++) void standard.send();
  await settle();
  assert.is(standard.sent(), 10);
  await standard.clock.advance(1_000);
  assert.is(standard.sent(), 15);
  const unlimited = setup(-1, 0);
  for (let number = 0; number < 1_000; number++) void unlimited.send();
  await settle();
  assert.is(unlimited.sent(), 1_000);
});

test.run();
