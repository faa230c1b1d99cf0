import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, Change, UsesConntrack } from '../../../core/backend.ts';
import type { Source } from '../../../core/source/source.ts';
import { type Conntrack, startSync } from '../../../core/sync/start.ts';
import { SETTINGS } from './fake-backend.ts';
import { fakeClock } from './fake-clock.ts';
import { fakeLog } from './fake-log.ts';
import { service } from './objects.ts';

const test = suite('conntrack after syncs');

async function world(usesConntrack: unknown, synced?: Conntrack['synced'], members: Partial<UsesConntrack> = {}) {
  const clock = fakeClock();
  const log = fakeLog();
  const seen: Change[] = [];
  const calls: string[] = [];
  const act = { fails: false };
  const { promise, resolve } = Promise.withResolvers<Parameters<Source['start']>[0]>();
  const backend: Backend = {
    families: ['IPv4'],
    async sync() {
      if (act.fails) throw new Error('no');
      return { operations: 1, bytes: 1 };
    },
    async cleanup() {},
    async close() {
      calls.push('backend.close');
    },
  };
  const sync = await startSync({
    source: { start: async (sink) => resolve(sink), async stop() {} },
    backend: Object.assign(backend, { usesConntrack, ...members }),
    backendName: 'fake',
    settings: SETTINGS,
    addresses: () => [],
    clock,
    log,
    conntrack: {
      synced: synced ?? ((change) => seen.push(change)),
      async stop() {
        calls.push('conntrack.stop');
      },
    },
  });
  const sink = await promise;
  sink.upsertService(service('web'));
  sink.synced();
  await clock.advance(0);
  return { clock, log, sink, sync, seen, calls, act };
}

test('each change that took effect is told, those that failed only with the full one that follows', async () => {
  const { sink, clock, seen, act } = await world(true);
  assert.equal(
    seen.map(({ full, upsert }) => [full, upsert.length]),
    [[true, 1]],
  );
  act.fails = true;
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  assert.is(seen.length, 1);
  act.fails = false;
  await clock.advance(10_000);
  assert.equal(
    seen.slice(1).map(({ full, upsert }) => [full, upsert.length]),
    [[true, 2]],
  );
});

test('a backend that does not use conntrack has its changes kept from it', async () => {
  for (const uses of [undefined, false, 'yes']) {
    const { seen, sync } = await world(uses);
    await sync.stop();
    assert.equal(seen, []);
  }
});

test("where the backend answers in the endpoints' stead is told with each change, and a fault in that fails no sync", async () => {
  const told: unknown[] = [];
  const synced: Conntrack['synced'] = (_, answersAt) => told.push(answersAt);
  await world(true, synced, { answersAt: (family) => [{ ip: family, port: 1 }] });
  assert.equal(told, [[{ ip: 'IPv4', port: 1 }]]);
  const { log, sync } = await world(true, synced, {
    answersAt() {
      throw new Error('odd');
    },
  });
  assert.equal([sync.health().healthy, log.at('error')[0]?.values.error, told.length], [true, 'odd', 1]);
});

test('a fault there fails no sync', async () => {
  const { log, sync } = await world(true, () => {
    throw new Error('odd');
  });
  assert.ok(sync.health().healthy);
  assert.is(log.at('error')[0]?.values.error, 'odd');
});

test('stop waits for it before the backend is closed', async () => {
  const { sync, calls } = await world(true);
  await sync.stop();
  assert.equal(calls, ['conntrack.stop', 'backend.close']);
});

test.run();
