import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createAllowance, createFlood, createRecent } from '../../../plugins/exec/limits.ts';
import { fakeClock } from '../sync/fake-clock.ts';

const test = suite('limits of what a program says');

test('a burst is allowed, then one each so often, and what was passed over is told once', async () => {
  const clock = fakeClock();
  const allowance = createAllowance(clock, 2, 1000);
  const take = (count: number): unknown[] => Array.from({ length: count }, () => allowance.take()?.passedOver ?? 'no');
  assert.equal(take(5), [0, 0, 'no', 'no', 'no']);
  await clock.advance(1500);
  assert.equal(take(2), [3, 'no']);
  await clock.advance(500);
  assert.equal(take(2), [1, 'no'], 'parts of the time are not lost');
  await clock.advance(1_000_000);
  assert.equal(take(4), [1, 0, 'no', 'no'], 'no more than a burst is saved up');
});

test('many are as many within so long, and none once they are over', async () => {
  const clock = fakeClock();
  const recent = createRecent(clock, 3, 1000);
  for (let count = 0; count < 3; count++) {
    assert.is(recent.many(), false);
    recent.add();
    await clock.advance(400);
  }
  assert.is(recent.many(), false, 'the first is too long ago');
  recent.add();
  assert.is(recent.many(), true);
  recent.clear();
  assert.is(recent.many(), false);
});

test('what is too much counts lines and their length, in one stretch', async () => {
  const clock = fakeClock();
  const flood = createFlood(clock, 2, 100, 1000);
  assert.equal([flood.add(0), flood.add(0), flood.add(0)], [false, false, true]);
  await clock.advance(1000);
  assert.equal([flood.add(60), flood.add(60)], [false, true]);
  await clock.advance(1000);
  assert.is(flood.add(100), false);
});

test.run();
