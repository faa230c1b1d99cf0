import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, Change } from '../../../core/backend.ts';
import type { ObjectSink, Source } from '../../../core/source/source.ts';
import { settings } from '../model/samples.ts';
import { later, SETTINGS, settledWorld } from './fake-backend.ts';
import { node, service, slice } from './objects.ts';

const test = suite('replacing parts of a running sync');

function otherBackend(calls: string[] = []): { readonly backend: Backend; readonly changes: Change[] } {
  const changes: Change[] = [];
  const backend: Backend = {
    families: ['IPv4'],
    async sync(change) {
      calls.push('other.sync');
      changes.push(change);
      return { operations: 1, bytes: 1 };
    },
    async cleanup() {},
    async close() {
      calls.push('other.close');
    },
  };
  return { backend, changes };
}

/** A source whose sink is the test's; `fails`: it cannot start. */
function otherSource(calls: string[], fails = false) {
  const { promise, resolve } = Promise.withResolvers<ObjectSink>();
  const source: Source = {
    async start(sink) {
      if (fails) throw new Error('no such place');
      resolve(sink);
    },
    async stop() {
      calls.push('other.stop');
    },
  };
  return { source, sink: promise };
}

const fill = (sink: ObjectSink): void => {
  sink.upsertService(service('web'));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.2']));
};
const keys = (change: Change | undefined): readonly string[] => change?.upsert.map(({ name }) => name).sort() ?? [];

test('another backend gets everything that is known, at once, after the one before has been closed', async () => {
  const { sync, clock, sink, told, calls } = await settledWorld(fill);
  sink.upsertService(service('api'));
  const { backend, changes } = otherBackend(calls);
  await sync.replaceBackend({ backend, backendName: 'other' });
  await clock.advance(0);
  assert.equal(calls, ['backend.close', 'other.sync']);
  assert.equal([changes[0]?.full, keys(changes[0])], [true, ['api', 'web']]);
  sink.upsertService(service('late'));
  await clock.advance(10_000);
  assert.equal(told(), []);
  assert.equal(
    changes.map((change) => [change.full, ...keys(change)]),
    [
      [true, 'api', 'web'],
      [false, 'late'],
    ],
  );
});

test('a backend that connections pass through goes on until it is told that another one has programmed everything', async () => {
  const { sync, clock, sink, calls, told } = await settledWorld(fill, { endsWithProcess: true });
  await sync.replaceBackend({ backend: otherBackend(calls).backend, backendName: 'other' });
  await clock.advance(0);
  sink.upsertService(service('api'));
  await clock.advance(10_000);
  assert.equal([calls, told()], [['other.sync', 'other.sync'], []]);
  await sync.closeLeft();
  assert.is(calls.at(-1), 'backend.close');
  await sync.closeLeft();
  assert.is(calls.filter((call) => call === 'backend.close').length, 1);
});

test('one that begins anew with other options is told so before it is closed, and one that is left is not', async () => {
  for (const name of ['fake', 'other']) {
    const told: string[] = [];
    const { sync, calls } = await settledWorld(fill, { beginsAnew: () => told.push(`anew ${calls.length}`) });
    await sync.replaceBackend({ backend: otherBackend(calls).backend, backendName: name });
    assert.equal([told, calls[0]], [name === 'fake' ? ['anew 0'] : [], 'backend.close']);
  }
});

test('one of the same name waits for it to be closed, and so does the end', async () => {
  const first = await settledWorld(fill, { endsWithProcess: true });
  await first.sync.replaceBackend({ backend: otherBackend(first.calls).backend, backendName: 'other' });
  const again = otherBackend();
  await first.sync.replaceBackend({ backend: again.backend, backendName: 'fake' });
  assert.equal(first.calls, ['other.close', 'backend.close']);
  const second = await settledWorld(fill, { endsWithProcess: true });
  await second.sync.replaceBackend({ backend: otherBackend(second.calls).backend, backendName: 'fake' });
  assert.equal(second.calls, ['backend.close']);
  const third = await settledWorld(fill, { endsWithProcess: true });
  await third.sync.replaceBackend({ backend: otherBackend(third.calls).backend, backendName: 'other' });
  await third.sync.stop();
  assert.equal([...third.calls].sort().slice(0, 2), ['backend.close', 'other.close']);
});

test('a sync in flight ends before another backend begins, and its change is not lost', async () => {
  const { sync, clock, sink, act, calls } = await settledWorld(fill);
  act.sync = () => later(clock, 500, { operations: 1, bytes: 1 });
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  const { backend, changes } = otherBackend(calls);
  const replaced = sync.replaceBackend({ backend, backendName: 'other' });
  await clock.advance(400);
  assert.equal(calls, []);
  await clock.advance(100);
  await replaced;
  await clock.advance(0);
  assert.equal(calls, ['backend.close', 'other.sync']);
  assert.equal(keys(changes[0]), ['api', 'web']);
});

test('a backend that serves no family is refused and the one before goes on', async () => {
  const { sync, clock, sink, told, calls } = await settledWorld(fill);
  const { backend } = otherBackend();
  let code: unknown;
  await sync.replaceBackend({ backend: { ...backend, families: [] }, backendName: 'other' }).catch((error) => {
    code = error.code;
  });
  assert.is(code, 'KP_NO_FAMILY');
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  assert.equal(keys(told()[0]), ['api']);
  assert.equal(calls, []);
});

test('the same backend at another pace stays open', async () => {
  const { sync, clock, sink, calls } = await settledWorld(fill);
  const { backend, changes } = otherBackend(calls);
  await sync.replaceBackend({ backend, backendName: 'other' });
  await clock.advance(0);
  await sync.replaceBackend({ backend, backendName: 'other', minSyncIntervalMs: 5_000 });
  await clock.advance(0);
  assert.not(calls.includes('other.close'));
  sink.upsertService(service('api'));
  await clock.advance(4_000);
  assert.is(changes.length, 2);
  await clock.advance(1_000);
  assert.equal(keys(changes[2]), ['api']);
});

test('a new source changes nothing until it is complete; then only the differences travel', async () => {
  const { sync, clock, sink, told, calls } = await settledWorld((filled) => {
    fill(filled);
    filled.upsertService(service('old'));
    filled.upsertNode(node('n1'));
  });
  const other = otherSource(calls);
  let live = false;
  await sync.replaceSource(other.source, () => {
    live = true;
  });
  const second = await other.sink;
  fill(second);
  second.upsertService(service('new'));
  second.upsertService(service('brief'));
  second.deleteService('default', 'brief');
  await clock.advance(5_000);
  assert.equal([told(), live], [[], false]);
  sink.upsertService(service('still'));
  await clock.advance(5_000);
  assert.equal(keys(told()[0]), ['still']);

  second.synced();
  await clock.advance(5_000);
  const changes = told();
  assert.equal(
    changes.map((change) => [change.full, keys(change), [...change.remove].sort()]),
    [[false, ['new'], ['default/old:http/TCP', 'default/still:http/TCP']]],
  );
  assert.ok(live);
  assert.equal(calls, ['source.stop']);
  assert.equal(sync.node().exists, false);

  sink.upsertService(service('too-late'));
  await clock.advance(5_000);
  assert.equal(told(), []);
  second.upsertService(service('later'));
  await clock.advance(5_000);
  assert.equal(keys(told()[0]), ['later']);
});

test('a source that cannot start is refused and the one before goes on', async () => {
  const { sync, clock, sink, told, calls } = await settledWorld(fill);
  let message = '';
  await sync.replaceSource(otherSource(calls, true).source).catch((error: Error) => {
    message = error.message;
  });
  assert.is(message, 'no such place');
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  assert.equal(keys(told()[0]), ['api']);
  assert.equal(calls, ['other.stop']);
});

test('of sources replaced in a row all but the last are stopped', async () => {
  const { sync, calls, sink, told, clock } = await settledWorld(fill);
  const never = otherSource(calls);
  await sync.replaceSource(never.source);
  const last = otherSource([]);
  await sync.replaceSource(last.source);
  const lastSink = await last.sink;
  lastSink.upsertService(service('api'));
  lastSink.synced();
  await clock.advance(1_000);
  assert.equal(calls, ['other.stop', 'source.stop']);
  (await never.sink).upsertService(service('no'));
  (await never.sink).synced();
  sink.upsertService(service('no'));
  await clock.advance(5_000);
  assert.equal(told().map(keys), [['api']]);
});

test('other settings of the node reach the backend with the next change', async () => {
  const { sync, clock, told } = await settledWorld(fill);
  sync.configure({ ...SETTINGS, masqueradeAll: true });
  await clock.advance(1_000);
  assert.equal(
    told().map(({ full, node: view, upsert }) => [full, view.masqueradeAll, upsert.length]),
    [[false, true, 0]],
  );
});

test('external IPs go and come with their feature gate', async () => {
  const addresses = { clusterIP: '10.96.0.10', loadBalancerVIPs: [], sourceRanges: [] };
  const families = { IPv4: { ...addresses, externalIPs: ['198.51.100.1'] } };
  const { sync, clock, told } = await settledWorld((sink) => sink.upsertService(service('web', { families })));
  sync.configure({ ...SETTINGS, allowExternalIPs: false });
  await clock.advance(1_000);
  sync.configure(SETTINGS);
  await clock.advance(1_000);
  assert.equal(
    told().map(({ upsert }) => upsert[0]?.externalIPs),
    [[], ['198.51.100.1']],
  );
});

test('under another node name another Node object is ours', async () => {
  const { sync, clock, sink, told } = await settledWorld((filled) => {
    fill(filled);
    filled.upsertNode(node('n1', { zone: 'z1' }));
  });
  sync.configure(settings({ ...SETTINGS, nodeName: 'n2' }));
  assert.is(sync.node().object, undefined);
  sink.upsertNode(node('n1', { zone: 'z1' }));
  sink.upsertNode(node('n2', { zone: 'z2' }));
  await clock.advance(1_000);
  const [change] = told();
  assert.equal([change?.node.name, change?.node.zone], ['n2', 'z2']);
});

test('a backend whose sync hangs is given up after five seconds, and its end counts for nothing', async () => {
  const hanging = Promise.withResolvers<unknown>();
  const ends: string[] = [];
  const { sync, clock, sink, act, events, log } = await settledWorld(fill, {
    onAbandonedEnd: () => ends.push('ended'),
  });
  act.sync = () => hanging.promise;
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  const calls: string[] = [];
  const { backend, changes } = otherBackend(calls);
  const replaced = sync.replaceBackend({ backend, backendName: 'other' }, () => void calls.push('takeover'));
  await clock.advance(4_999);
  assert.equal(calls, []);
  await clock.advance(1);
  await replaced;
  await clock.advance(0);
  assert.equal(calls, ['takeover', 'other.sync']);
  assert.equal(keys(changes[0]), ['api', 'web']);
  assert.match(log.at('warn')[0]?.message ?? '', /hangs in a call; it is given up/);
  events.length = 0;
  hanging.resolve({ operations: 7, bytes: 7 });
  await clock.advance(400_000);
  assert.equal([events, ends], [[], ['ended']]);
  assert.ok(sync.health().healthy);
});

test('a check that hangs is given up, too, and the sync that waited for it is never made', async () => {
  const hanging = Promise.withResolvers<unknown>();
  const { sync, clock, sink, act, told } = await settledWorld(fill, { checks: true });
  act.check = () => hanging.promise;
  await clock.advance(5_000);
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  const { backend, changes } = otherBackend();
  void sync.replaceBackend({ backend, backendName: 'other' });
  await clock.advance(5_000);
  assert.equal(keys(changes[0]), ['api', 'web']);
  hanging.resolve({ intact: false, reason: 'gone' });
  await clock.advance(60_000);
  assert.equal(told(), []);
});

test('a sync beyond its deadline is not waited for at all', async () => {
  const { sync, clock, sink, act, log } = await settledWorld(fill);
  act.sync = () => new Promise(() => {});
  sink.upsertService(service('api'));
  await clock.advance(302_000);
  const { backend, changes } = otherBackend();
  void sync.replaceBackend({ backend, backendName: 'other' });
  await clock.advance(0);
  assert.equal(keys(changes[0]), ['api', 'web']);
  assert.ok(log.at('warn').some(({ message }) => /it is given up/.test(message)));
});

test('a change of pace that waits for a hanging sync keeps no other backend waiting', async () => {
  const { sync, clock, sink } = await settledWorld(fill);
  const { backend: first } = otherBackend();
  const hung = { ...first, sync: () => new Promise<never>(() => {}) };
  await sync.replaceBackend({ backend: hung, backendName: 'hung' });
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  void sync.replaceBackend({ backend: hung, backendName: 'hung', minSyncIntervalMs: 5_000 });
  await clock.advance(10_000);
  const { backend, changes } = otherBackend();
  void sync.replaceBackend({ backend, backendName: 'other' });
  await clock.advance(5_000);
  assert.equal(keys(changes[0]), ['api', 'web']);
});

test.run();
