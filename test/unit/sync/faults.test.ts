import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change } from '../../../core/backend.ts';
import { errorText } from '../../../core/observe/log.ts';
import type { ObjectSink } from '../../../core/source/source.ts';
import { later, settledWorld, type World, world } from './fake-backend.ts';
import { service } from './objects.ts';

const test = suite('sync under faults');

const web = (sink: ObjectSink): void => sink.upsertService(service('web'));

function kinds(changes: readonly Change[]): string[] {
  return changes.map((change) => (change.full ? `full ${change.upsert.length}` : `partial ${change.upsert.length}`));
}

const error = (world: World): string => world.sync.health().families.IPv4?.lastError ?? '';

test('a failed sync is retried in full, after 1, 2, 4 … 30 seconds, until it succeeds', async () => {
  const world = await settledWorld(web);
  const { sink, clock, told, act, log } = world;
  const times: number[] = [];
  act.sync = () => {
    times.push(clock.now());
    return Promise.reject(new Error('kernel says no'));
  };
  sink.upsertService(service('a'));
  await clock.advance(130_000);
  const gaps = times.slice(1).map((time, i) => (time - times[i]!) / 1_000);
  assert.equal(gaps, [1, 2, 4, 8, 16, 30, 30, 30]);
  assert.equal(kinds(told()), ['partial 1', ...gaps.map(() => 'full 2')]);
  assert.is(error(world), 'backend fake: IPv4: sync failed: kernel says no');
  assert.is(log.at('error').length, times.length);
  assert.not(world.sync.health().healthy);

  delete act.sync;
  await clock.advance(30_000);
  assert.equal(kinds(told()), ['full 2']);
  assert.ok(world.sync.health().healthy);
  sink.upsertService(service('b'));
  await clock.advance(1_000);
  assert.equal(kinds(told()), ['partial 1']);
});

test('nothing that changed before or while it failed is lost', async () => {
  const { sink, clock, told, act } = await settledWorld((filled) => {
    web(filled);
    filled.upsertService(service('old'));
  });
  let failures = 2;
  act.sync = async () => {
    await later(clock, 100, undefined);
    if (failures-- > 0) throw new Error('busy');
    return { operations: 1, bytes: 1 };
  };
  sink.upsertService(service('a'));
  sink.deleteService('default', 'old');
  await clock.advance(1_050);
  sink.upsertService(service('b'));
  await clock.advance(10_000);
  const last = told().at(-1);
  assert.ok(last?.full);
  assert.equal(last?.upsert.map((port) => port.name).sort(), ['a', 'b', 'web']);
  assert.equal(last?.remove, []);
});

test('a new change does not wait for the backoff of a failed sync', async () => {
  const { sink, clock, told, act } = await settledWorld(web);
  act.sync = () => Promise.reject(new Error('no'));
  sink.upsertService(service('a'));
  await clock.advance(40_000);
  told();
  delete act.sync;
  sink.upsertService(service('b'));
  await clock.advance(1_000);
  assert.equal(kinds(told()), ['full 3']);
});

test('whatever a plugin throws, at once or later, names it and is survived', async () => {
  const untextual = { toString: () => assert.unreachable() };
  const trap = new Proxy(new Error('x'), { get: () => assert.unreachable() });
  for (const [thrown, text] of [
    [new Error('no table'), 'no table'],
    [Object.assign(new Error('gone'), { code: 'ENOENT' }), 'ENOENT: gone'],
    ['a string', 'a string'],
    [undefined, 'undefined'],
    [untextual, 'something was thrown that cannot be shown'],
    [trap, 'something was thrown that cannot be shown'],
    [null, 'null'],
    [Symbol('odd'), 'Symbol(odd)'],
    [Object.assign(new Error('x'), { message: { not: 'text' } }), '[object Object]'],
  ] as const) {
    const world = await settledWorld(web);
    world.act.sync = () => {
      throw thrown;
    };
    world.sink.upsertService(service('a'));
    await world.clock.advance(1_000);
    assert.is(error(world), `backend fake: IPv4: sync failed: ${text}`);
    delete world.act.sync;
    await world.clock.advance(1_000);
    assert.ok(world.sync.health().healthy);
  }
});

test('the log of a failed sync has the stack of what was thrown', async () => {
  const { act, sink, clock, log } = await settledWorld(web);
  act.sync = () => {
    throw new TypeError('no table', { cause: new Error('out of memory') });
  };
  sink.upsertService(service('a'));
  await clock.advance(1_000);
  const fault = log.at('error')[0]?.values.error;
  assert.instance(fault, Error);
  assert.is(errorText(fault), 'backend fake: IPv4: sync failed: no table: out of memory');
  assert.match(errorText(fault, 4), /^backend fake: IPv4: sync failed: no table\n +at .*faults\.test\.ts:\d+/);
});

test('a nonsense report counts as synced, is warned about once and reads as zero', async () => {
  const trap = Object.defineProperty({}, 'operations', { enumerable: true, get: () => assert.unreachable() });
  const odd = { operations: -1, bytes: Number.NaN };
  for (const nonsense of [undefined, null, 7, 'ok', {}, odd, { operations: '3' }, trap]) {
    const { sink, clock, told, act, log, events, sync } = await settledWorld(web);
    act.sync = () => nonsense;
    for (const name of ['a', 'b']) {
      sink.upsertService(service(name));
      await clock.advance(1_000);
    }
    assert.equal(kinds(told()), ['partial 1', 'partial 1']);
    assert.ok(sync.health().healthy);
    assert.is(log.at('warn').length, 1);
    assert.is(events.at(-1)?.report.operations, 0);
  }
});

test('a sync that hangs counts as failed after five minutes, and none is started beside it', async () => {
  const world = await settledWorld(web);
  const { sink, clock, told, act, log } = world;
  const { promise, resolve } = Promise.withResolvers<unknown>();
  act.sync = () => promise;
  sink.upsertService(service('a'));
  await clock.advance(1_000 + 299_999);
  assert.ok(world.sync.health().healthy);
  await clock.advance(1);
  assert.is(error(world), 'backend fake: IPv4: sync did not end within 300 s');
  sink.upsertService(service('b'));
  await clock.advance(1_000_000);
  assert.equal(kinds(told()), ['partial 1']);
  assert.is(log.at('error').length, 1);

  delete act.sync;
  resolve({ operations: 1, bytes: 1 });
  await clock.advance(0);
  assert.equal(kinds(told()), ['full 3']);
  assert.ok(world.sync.health().healthy);
});

test('health tells since when something waits, through failures, until it is programmed', async () => {
  const { sink, clock, act, sync } = await settledWorld(web);
  const pending = (): number | undefined => sync.health().families.IPv4?.pendingSince;
  assert.is(pending(), undefined);
  const since = clock.now();
  act.sync = async () => {
    await later(clock, 100, undefined);
    throw new Error('no');
  };
  sink.upsertService(service('a'));
  assert.is(pending(), since);
  await clock.advance(1_050);
  assert.is(pending(), since);
  await clock.advance(5_000);
  assert.is(pending(), since);
  delete act.sync;
  await clock.advance(60_000);
  assert.is(pending(), undefined);
  assert.ok((sync.health().families.IPv4?.lastSyncAt ?? 0) > since);
});

test('health is false before the first sync and when the backend says so', async () => {
  assert.not((await world()).sync.health().healthy);
  const { sync, act } = await settledWorld(web);
  assert.ok(sync.health().healthy);
  act.health = () => ({ healthy: false, reason: 'listener lost' });
  assert.not(sync.health().healthy);
  assert.equal(sync.health().backend, { healthy: false, reason: 'backend fake: listener lost' });
  act.health = () => {
    throw new Error('oops');
  };
  assert.equal(sync.health().backend, { healthy: false, reason: 'backend fake: health failed: oops' });
  for (const [answer, returned] of [
    [undefined, 'undefined'],
    [true, 'true'],
    ['fine', 'a text'],
    [Promise.resolve({ healthy: true }), 'a promise'],
    [{ healthy: 'yes' }, 'an object'],
    [{ healthy: false }, '{ healthy: false } without a reason'],
  ] as const) {
    act.health = () => answer;
    const must = 'health() must return { healthy: true } or { healthy: false, reason }';
    assert.equal(sync.health().backend, { healthy: false, reason: `backend fake: ${must}; it returned ${returned}` });
  }
  act.health = () => ({ healthy: false, reason: 'x'.repeat(1_000_000) });
  assert.ok(JSON.stringify(sync.health().backend).length < 2_000, 'every probe gets it');
});

// Self-checks ----------------------------------------------------------------------------------------------------------

test('what is not intact is warned about once and restored in full at once', async () => {
  const { clock, told, act, log, calls } = await settledWorld(web, { checks: true, minSyncIntervalMs: 60_000 });
  await clock.advance(4_999);
  assert.equal(calls, []);
  await clock.advance(1);
  assert.equal(calls, ['check IPv4']);
  assert.equal(told(), []);
  act.check = () => {
    delete act.check;
    return { intact: false, reason: 'table is gone' };
  };
  await clock.advance(5_000);
  assert.equal(kinds(told()), ['full 1']);
  assert.equal(
    log.at('warn').map(({ values }) => values.reason),
    ['table is gone'],
  );
  await clock.advance(50_000);
  assert.equal(told(), []);
});

test('checks go on at their interval however often there is a sync', async () => {
  const { sink, clock, calls } = await settledWorld(web, { checks: true });
  for (let i = 0; i < 40; i++) {
    sink.upsertService(service(`s${i}`));
    await clock.advance(1_000);
  }
  assert.is(calls.length, 8);
});

test('checks use at most a hundredth of the time', async () => {
  const { clock, act, calls } = await settledWorld(web, { checks: true });
  act.check = () => later(clock, 1_000, { intact: true });
  await clock.advance(6_000 + 99_999);
  assert.is(calls.length, 1);
  await clock.advance(1);
  assert.is(calls.length, 2);
});

test('a check and a sync of a family never run at the same time', async () => {
  const { sink, clock, act, calls, told } = await settledWorld(web, { checks: true });
  let inside = 0;
  let most = 0;
  const busy = async <T>(value: T): Promise<T> => {
    most = Math.max(most, ++inside);
    await later(clock, 700, undefined);
    inside--;
    return value;
  };
  act.check = () => busy({ intact: true });
  act.sync = () => busy({ operations: 1, bytes: 1 });
  for (let i = 0; i < 3_000; i++) {
    sink.upsertService(service('web', { affinitySeconds: i + 1 }));
    await clock.advance(97);
  }
  assert.is(most, 1);
  assert.ok(calls.length > 1);
  assert.ok(told().length > 50);
});

test('a check that fails or answers nonsense is told once and restores nothing', async () => {
  for (const check of [() => Promise.reject(new Error('no permission')), () => undefined, () => ({ intact: 'yes' })]) {
    const { clock, act, log, told, sync } = await settledWorld(web, { checks: true });
    act.check = check;
    await clock.advance(60_000);
    assert.equal(told(), []);
    assert.is(log.at('warn').length, 1);
    assert.match(String(log.at('warn')[0]?.values.error), /^Error: backend fake: IPv4: check failed: /);
    assert.ok(sync.health().healthy);
  }
});

test('a check that hangs does not hold up syncs for ever', async () => {
  const { sink, clock, act, log, told, calls } = await settledWorld(web, { checks: true });
  act.check = () => new Promise(() => {});
  await clock.advance(5_000);
  sink.upsertService(service('a'));
  await clock.advance(10_000);
  assert.equal(told(), []);
  await clock.advance(20_000);
  assert.equal(kinds(told()), ['partial 1']);
  await clock.advance(10_000_000);
  assert.is(calls.length, 1);
  assert.match(String(log.at('warn')[0]?.values.error), /check did not end within 30 s/);
});

test.run();
