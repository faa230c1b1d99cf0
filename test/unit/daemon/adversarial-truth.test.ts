/** What health and metrics say while the daemon is being changed. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend } from '../../../core/backend.ts';
import { createReadiness } from '../../../core/daemon/readiness.ts';
import type { FailedSyncEvent, SyncEvent } from '../../../core/sync/family-sync.ts';
import { settledWorld, world } from '../sync/fake-backend.ts';
import { dualStack, service, slice } from '../sync/objects.ts';

const test = suite('what is said of a daemon under adversity');

const never: Backend = {
  families: ['IPv4'],
  sync: () => new Promise(() => {}),
  async cleanup() {},
  async close() {},
};

test('what waits to be programmed waits since it came, whoever is to program it', async () => {
  const { sync, clock, sink, act } = await settledWorld((filled) => filled.upsertService(service('web')));
  act.sync = () => Promise.reject(new Error('EPERM'));
  sink.upsertService(service('api'));
  await clock.advance(10_000);
  const since = sync.health().families.IPv4?.pendingSince;
  assert.type(since, 'number');
  await sync.replaceBackend({ backend: never, backendName: 'never' });
  await clock.advance(10_000);
  assert.is(sync.health().families.IPv4?.pendingSince, since);
});

test('a change that makes no difference here is not measured by the next that does', async () => {
  const events: SyncEvent[] = [];
  const { clock, sink } = await settledWorld(
    (filled) => {
      filled.upsertService(service('web'));
      filled.upsertEndpointSlice(slice('web', ['10.244.1.2']));
    },
    { now: () => 1_000, onSync: (event) => events.push(event) },
  );
  events.length = 0;
  const [ready] = slice('web', ['10.244.1.2']).endpoints;
  const starting = { ...ready!, ip: '10.244.1.3', ready: false, serving: false };
  sink.upsertEndpointSlice(slice('web', [], { endpoints: [ready!, starting], triggerTimeMs: 2_000 }));
  await clock.advance(5_000);
  assert.equal(events, []);
  sink.upsertService(service('api'));
  await clock.advance(5_000);
  assert.equal(
    events.map(({ triggerTimes }) => triggerTimes),
    [[]],
  );
});

test('what is triggered for a Service that is not served here is not measured', async () => {
  const events: SyncEvent[] = [];
  const { clock, sink } = await settledWorld((filled) => filled.upsertService(service('web')), {
    now: () => 1_000,
    onSync: (event) => events.push(event),
  });
  events.length = 0;
  sink.upsertEndpointSlice(slice('of-another-proxy', ['10.244.1.2'], { triggerTimeMs: 2_000 }));
  await clock.advance(5_000);
  sink.upsertService(service('api'));
  await clock.advance(5_000);
  assert.equal(
    events.map(({ triggerTimes }) => triggerTimes),
    [[]],
  );
});

test('nothing is kept for a family that no backend serves, and nothing is missing when one does', async () => {
  const { sync, clock, sink } = await settledWorld((filled) => filled.upsertService(dualStack('web')));
  sink.upsertService(dualStack('api'));
  sink.deleteService('default', 'api');
  sink.upsertService(dualStack('late'));
  await clock.advance(5_000);
  const told: (readonly string[])[] = [];
  const both: Backend = {
    families: ['IPv4', 'IPv6'],
    async sync(change) {
      told.push([change.family, ...change.upsert.map(({ name }) => name)]);
      return { operations: 1, bytes: 1 };
    },
    async cleanup() {},
    async close() {},
  };
  await sync.replaceBackend({ backend: both, backendName: 'both' });
  assert.equal(sync.changes().services.pending, 0);
  await clock.advance(0);
  assert.equal(told.sort(), [
    ['IPv4', 'web', 'late'],
    ['IPv6', 'web', 'late'],
  ]);
});

test('a sync that hangs is told as such, and makes its backend hopeless at once', async () => {
  const failures: FailedSyncEvent[] = [];
  const { sink, clock, act } = await world({ onSyncFailed: (event) => failures.push(event) });
  act.sync = () => new Promise(() => {});
  sink.upsertService(service('web'));
  sink.synced();
  await clock.advance(301_000);
  assert.equal(
    failures.map(({ late }) => late),
    [true],
  );
  const told: string[] = [];
  const readiness = createReadiness({
    families: ['IPv4'],
    onReady() {},
    onHopeless: (family) => told.push(family),
  });
  readiness.failed('IPv4', true);
  assert.equal(told, ['IPv4']);
});

test.run();
