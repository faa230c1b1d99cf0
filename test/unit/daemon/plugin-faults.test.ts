import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createPluginFaults, QUIET_MS } from '../../../core/daemon/plugin-faults.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('faults that escape from a plugin');

function scene() {
  const [clock, log] = [fakeClock(), fakeLog()];
  const began = clock.now();
  const kinds: string[] = [];
  /** Seconds at which a full sync was asked for. */
  const asked: number[] = [];
  const faults = createPluginFaults({
    name: 'bad',
    clock,
    log,
    requestFullSync: () => asked.push((clock.now() - began) / 1_000),
    onFault: (kind) => kinds.push(kind),
  });
  faults.serves(['IPv4', 'IPv6']);
  const restore = (beganAt = clock.now()): void => {
    faults.restored('IPv4', beganAt);
    faults.restored('IPv6', beganAt);
  };
  return { clock, log, faults, kinds, asked, restore };
}

test('one makes the backend unhealthy with its reason, is counted, and asks for a full sync at once', () => {
  const { faults, log, kinds, asked } = scene();
  assert.equal(faults.health(), { healthy: true });
  faults.escaped('exception', new Error('boom'));
  assert.equal(faults.health(), { healthy: false, reason: 'an exception escaped: boom' });
  assert.equal([kinds, asked], [['exception'], [0]]);
  const [line] = log.at('error');
  assert.match(line?.message ?? '', /^An exception escaped from the backend; /);
  assert.is(line?.values.backend, 'bad');
  faults.escaped('rejection', 'no');
  assert.equal(faults.health(), { healthy: false, reason: 'a rejection was not handled: no' });
});

test('it is healthy again when every family was synced in full after it and it was quiet since, in any order', async () => {
  for (const syncFirst of [true, false]) {
    const { faults, clock, restore, log } = scene();
    faults.escaped('exception', new Error('boom'));
    if (syncFirst) restore();
    await clock.advance(QUIET_MS - 1);
    assert.not(faults.health().healthy);
    await clock.advance(1);
    assert.is(faults.health().healthy, syncFirst);
    faults.restored('IPv4', clock.now());
    assert.is(faults.health().healthy, syncFirst, 'IPv6 may still be half done');
    restore();
    assert.ok(faults.health().healthy);
    assert.equal(log.at('info').length, 1);
  }
});

test('a full sync that began before the fault mends nothing', async () => {
  const { faults, clock, restore } = scene();
  const before = clock.now();
  await clock.advance(100);
  faults.escaped('exception', new Error('boom'));
  restore(before);
  await clock.advance(QUIET_MS);
  assert.not(faults.health().healthy);
});

test('another fault begins the quiet anew', async () => {
  const { faults, clock, restore } = scene();
  faults.escaped('exception', new Error('boom'));
  restore();
  await clock.advance(QUIET_MS - 1_000);
  faults.escaped('exception', new Error('boom'));
  restore();
  await clock.advance(QUIET_MS - 1);
  assert.not(faults.health().healthy);
  await clock.advance(1);
  assert.ok(faults.health().healthy);
});

test('one that leaks every second gets full syncs with growing pauses, and few lines', async () => {
  const { faults, clock, log, asked, restore, kinds } = scene();
  for (let second = 0; second < 2_000; second++) {
    faults.escaped('rejection', new Error('again'));
    await clock.advance(500);
    restore();
    await clock.advance(500);
  }
  assert.equal(asked.map(Math.round), [0, 10, 30, 70, 150, 310, 610, 910, 1210, 1510, 1810]);
  assert.is(kinds.length, 2_000);
  assert.ok(log.at('error').length < 45, `${log.at('error').length} lines`);
  const told = log.at('error').reduce((sum, { values }) => sum + 1 + Number(values.notShown ?? 0), 0);
  assert.ok(told > 1_900, `${told} accounted for`);
});

test('it asks again if the sync it asked for never came', async () => {
  const { faults, clock, asked } = scene();
  faults.escaped('exception', new Error('boom'));
  await clock.advance(100_000);
  assert.equal(asked, [0, 10, 30, 70]);
});

test('it asks no more once it was restored', async () => {
  const { faults, clock, asked, restore } = scene();
  faults.escaped('exception', new Error('boom'));
  restore();
  await clock.advance(1_000_000);
  assert.equal(asked, [0]);
});

test('after a long silence a fault is news again', async () => {
  const { faults, clock, asked, restore, log } = scene();
  for (let i = 0; i < 100; i++) {
    faults.escaped('exception', new Error('boom'));
    await clock.advance(1_000);
  }
  restore();
  await clock.advance(600_000);
  asked.length = 0;
  const lines = log.at('error').length;
  faults.escaped('exception', new Error('boom'));
  faults.escaped('exception', new Error('another'));
  await clock.advance(10_000);
  assert.is(asked.length, 2);
  assert.is(log.at('error').length, lines + 2);
});

test('texts without end do not fill the log', async () => {
  const { faults, clock, log } = scene();
  for (let i = 0; i < 1_000; i++) {
    faults.escaped('exception', new Error(`number ${i}`));
    await clock.advance(100);
  }
  assert.ok(log.at('error').length < 40, `${log.at('error').length} lines`);
});

test('what escapes from one that is no longer in use is told and counted, and nothing else', async () => {
  const { faults, clock, log, asked, kinds } = scene();
  faults.escaped('exception', new Error('boom'));
  faults.retire();
  assert.ok(faults.health().healthy);
  faults.escaped('exception', new Error('later'));
  await clock.advance(1_000_000);
  assert.ok(faults.health().healthy);
  assert.equal([asked, kinds.length], [[0], 2]);
  assert.match(log.at('error')[1]?.message ?? '', /it is no longer in use/);
});

test('whatever was thrown can be told', () => {
  const fails = (): never => {
    throw new Error('a trap');
  };
  const trap = { get: fails, getPrototypeOf: fails };
  const odd = Object.assign(new Error('x'), { message: Symbol('odd') });
  for (const thrown of [null, undefined, Symbol('s'), new Proxy({}, trap), odd, { toString: null }]) {
    const { faults, log } = scene();
    faults.escaped('rejection', thrown);
    assert.match(JSON.stringify(faults.health()), /a rejection was not handled: ./);
    assert.instance(log.at('error')[0]?.values.error, Error);
  }
});

test.run();
