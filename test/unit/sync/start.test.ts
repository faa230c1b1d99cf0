import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change } from '../../../core/backend.ts';
import type { ObjectSink } from '../../../core/source/source.ts';
import { later, settledWorld, world } from './fake-backend.ts';
import { settle } from './fake-clock.ts';
import { dualStack, node, service, slice } from './objects.ts';

const test = suite('sync');

/** "full +a +b" or "partial +a -b", keys without their common parts. */
function brief(change: Change): string {
  const short = (key: string): string => key.replace(/^default\/(.*):http\/TCP$/, '$1');
  const parts = [
    ...change.upsert.map((port) => `+${short(port.key)}`),
    ...change.remove.map((key) => `-${short(key)}`),
  ];
  return [change.full ? 'full' : 'partial', ...parts.sort()].join(' ');
}

const web = (sink: ObjectSink): void => {
  sink.upsertService(service('web'));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.2']));
};

test('nothing is programmed before the first complete state, and then everything at once', async () => {
  const { sink, clock, told, sync } = await world();
  web(sink);
  sink.upsertService(service('api'));
  sync.nodeChanged();
  sync.requestFullSync('too early');
  await clock.advance(3_600_000);
  assert.equal(told(), []);
  sink.synced();
  await clock.advance(0);
  assert.equal(told().map(brief), ['full +api +web']);
});

test('the first sync is made even when there is nothing to serve, for it removes what is left from before', async () => {
  const { sink, clock, told } = await world();
  sink.synced();
  await clock.advance(0);
  assert.equal(told().map(brief), ['full']);
});

test('a later change carries only what changed, whole, and what is gone', async () => {
  const { sink, clock, told } = await settledWorld((filled) => {
    web(filled);
    filled.upsertService(service('api'));
    filled.upsertService(service('old'));
  });
  sink.upsertEndpointSlice(slice('web', ['10.244.1.2', '10.244.1.3']));
  sink.deleteService('default', 'old');
  await clock.advance(1_000);
  const changes = told();
  assert.equal(changes.map(brief), ['partial +web -old']);
  assert.equal(
    changes[0]?.upsert[0]?.cluster.map((endpoint) => endpoint.ip),
    ['10.244.1.2', '10.244.1.3'],
  );
});

test('an unchanged delivery does not reach the backend', async () => {
  const { sink, clock, told } = await settledWorld(web);
  web(sink);
  sink.upsertNode(node('n2'));
  sink.synced();
  await clock.advance(60_000);
  assert.equal(told(), []);
});

test('a change that leaves this node the same does not reach the backend', async () => {
  const { sink, clock, told } = await settledWorld(web);
  const moved = slice('web', ['10.244.1.2']);
  sink.upsertEndpointSlice({ ...moved, ports: [...moved.ports, { name: 'other', protocol: 'TCP', port: 9 }] });
  await clock.advance(60_000);
  assert.equal(told(), []);
});

test('a slice that moves to another Service changes both', async () => {
  const { sink, clock, told } = await settledWorld((filled) => {
    web(filled);
    filled.upsertService(service('api'));
  });
  sink.upsertEndpointSlice(slice('api', ['10.244.1.2'], { name: 'web-1' }));
  await clock.advance(1_000);
  const changes = told();
  assert.equal(changes.map(brief), ['partial +api +web']);
  const counts = changes[0]?.upsert.map((port) => [port.name, port.cluster.length]).sort();
  assert.equal(counts, [
    ['api', 1],
    ['web', 0],
  ]);
});

test('changes that come faster than the minimum interval travel together', async () => {
  const { sink, clock, told } = await settledWorld(web, { minSyncIntervalMs: 5_000 });
  for (const name of ['a', 'b', 'c']) {
    sink.upsertService(service(name));
    await clock.advance(1_000);
  }
  assert.equal(told(), []);
  await clock.advance(2_000);
  assert.equal(told().map(brief), ['partial +a +b +c']);
});

test('a change that arrives during a sync travels with the next one', async () => {
  const { sink, clock, told, act } = await settledWorld(web);
  act.sync = () => later(clock, 300, { operations: 1, bytes: 1 });
  sink.upsertService(service('a'));
  await clock.advance(1_100);
  sink.upsertService(service('b'));
  await clock.advance(5_000);
  assert.equal(told().map(brief), ['partial +a', 'partial +b']);
});

test('both families are programmed, each by itself: one that hangs does not hold up the other', async () => {
  const { sink, clock, told, act } = await settledWorld((filled) => filled.upsertService(dualStack('web')), {
    serves: ['IPv4', 'IPv6'],
  });
  act.sync = (change) => (change.family === 'IPv4' ? new Promise(() => {}) : { operations: 1, bytes: 1 });
  sink.upsertService(dualStack('a'));
  await clock.advance(1_000);
  sink.upsertService(dualStack('b'));
  await clock.advance(10_000);
  const of = (changes: Change[], family: string): string[] =>
    changes.filter((change) => change.family === family).map(brief);
  const changes = told();
  assert.equal(of(changes, 'IPv4'), ['partial +a']);
  assert.equal(of(changes, 'IPv6'), ['partial +a', 'partial +b']);
});

test('only families that are asked for and that the backend serves are synced', async () => {
  const one = await settledWorld((filled) => filled.upsertService(dualStack('web')), {
    serves: ['IPv4', 'IPv6'],
    families: ['IPv6'],
  });
  assert.equal(one.sync.families(), ['IPv6']);
  assert.equal(
    one.events.map((event) => event.family),
    ['IPv6'],
  );
  try {
    await world({ serves: ['IPv4'], families: ['IPv6'] });
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), /backend fake serves IPv4 on this host, but IPv6 is wanted: choose another --backend/);
  }
});

// The node -----------------------------------------------------------------------------------------------------------

test('a new address of the node travels without any Service', async () => {
  const { clock, told, sync, addresses } = await settledWorld(web);
  sync.nodeChanged();
  await clock.advance(10_000);
  assert.equal(told(), []);
  addresses.push({ interfaceName: 'eth1', ip: '192.168.60.10' });
  sync.nodeChanged();
  await clock.advance(1_000);
  const changes = told();
  assert.equal(changes.map(brief), ['partial']);
  assert.equal(changes[0]?.node.addresses, ['192.168.50.10', '192.168.60.10']);
});

test('the own Node object is taken in when it comes, and not waited for', async () => {
  const { sink, clock, told } = await settledWorld(web);
  sink.upsertNode(node('n1', { zone: 'z9' }));
  await clock.advance(1_000);
  const [change] = told();
  assert.is(change && brief(change), 'partial');
  assert.is(change?.node.zone, 'z9');
  assert.equal(change?.node.nodeIPs, ['192.168.50.10']);
});

test('a new zone moves the Services whose hints it concerns', async () => {
  const { sink, clock, told } = await settledWorld((filled) => {
    filled.upsertNode(node('n1', { zone: 'z1' }));
    filled.upsertService(service('api'));
    filled.upsertService(service('web'));
    const hinted = slice('web', ['10.244.1.2', '10.244.1.3']);
    const endpoints = hinted.endpoints.map((endpoint, i) => ({ ...endpoint, hintZones: [`z${i + 1}`] }));
    filled.upsertEndpointSlice({ ...hinted, endpoints });
  });
  sink.upsertNode(node('n1', { zone: 'z2' }));
  await clock.advance(1_000);
  assert.equal(told().map(brief), ['partial +web']);
});

test('addresses that cannot be read leave the last ones in use', async () => {
  let broken = false;
  const { clock, told, sync, log } = await settledWorld(web, {
    addresses: () => {
      if (broken) throw new Error('no netlink');
      return [];
    },
  });
  broken = true;
  sync.nodeChanged();
  await clock.advance(10_000);
  assert.equal(told(), []);
  assert.is(log.at('warn')[0]?.values.error, 'no netlink');
});

// Full syncs ---------------------------------------------------------------------------------------------------------

test('a full sync is made every hour, also while partial ones go on', async () => {
  const { sink, clock, told } = await settledWorld(web);
  await clock.advance(1_800_000);
  sink.upsertService(service('a'));
  await clock.advance(1_799_999);
  assert.equal(told().map(brief), ['partial +a']);
  await clock.advance(1);
  assert.equal(told().map(brief), ['full +a +web']);
  await clock.advance(3_600_000);
  assert.equal(told().map(brief), ['full +a +web']);
});

test('a full sync can be asked for, even by a backend in the middle of a sync', async () => {
  const { sink, clock, told, sync, act } = await settledWorld(web);
  sync.requestFullSync('test');
  await clock.advance(1_000);
  assert.equal(told().map(brief), ['full +web']);
  act.sync = () => {
    delete act.sync;
    sync.requestFullSync('from within');
    return { operations: 1, bytes: 1 };
  };
  sink.upsertService(service('a'));
  await clock.advance(10_000);
  assert.equal(told().map(brief), ['partial +a', 'full +a +web']);
});

// What goes into the log -----------------------------------------------------------------------------------------------

test('a sync that changed something is one line, one that did not is for -v=2', async () => {
  const { sink, clock, sync, log, act } = await settledWorld(web);
  sink.upsertService(service('a'));
  await clock.advance(1_000);
  assert.equal(log.at('info'), [
    {
      level: 'info',
      message: 'Synced',
      values: {
        backend: 'fake',
        family: 'IPv4',
        sync: 'partial',
        upserted: 1,
        removed: 0,
        changed: 'default/a:http/TCP',
        operations: 1,
        bytes: 10,
        durationMs: 0,
      },
    },
  ]);
  log.lines.length = 0;
  act.sync = () => ({ operations: 0, bytes: 0 });
  sync.requestFullSync('test');
  await clock.advance(1_000);
  assert.equal(
    log.lines.map(({ level, values }) => [level, values.reason]),
    [
      ['info', 'test'],
      ['v2', 'test'],
    ],
  );
});

test('who listens is told of each sync, and a listener that fails spoils nothing', async () => {
  const { sink, clock, told, events, log } = await settledWorld(web);
  assert.equal(events, [
    {
      family: 'IPv4',
      full: true,
      upserted: 1,
      removed: 0,
      servicePorts: 1,
      report: { operations: 1, bytes: 10 },
      durationMs: 0,
      triggerTimes: [],
      withoutLocal: { internal: 0, external: 0 },
    },
  ]);
  events.push = () => {
    throw new Error('listener');
  };
  sink.upsertService(service('a'));
  await clock.advance(60_000);
  assert.equal(told().map(brief), ['partial +a']);
  assert.is(log.at('error')[0]?.values.error, 'listener');
});

// Settling and stopping ------------------------------------------------------------------------------------------------

test('settled resolves when all that is known is programmed', async () => {
  const { sink, clock, sync, told, act } = await world();
  let settled = 0;
  const count = (): void => {
    settled++;
  };
  void sync.settled().then(count);
  web(sink);
  await clock.advance(1_000);
  assert.is(settled, 0);
  sink.synced();
  await clock.advance(0);
  assert.is(settled, 1);
  void sync.settled().then(count);
  await settle();
  assert.is(settled, 2);
  sink.upsertService(service('a'));
  void sync.settled().then(count);
  await settle();
  assert.is(settled, 2);
  await clock.advance(1_000);
  assert.is(settled, 3);
  act.sync = () => Promise.reject(new Error('no'));
  sink.upsertService(service('b'));
  void sync.settled().then(count);
  await clock.advance(1_000);
  assert.is(settled, 3);
  delete act.sync;
  await clock.advance(1_000);
  assert.is(settled, 4);
  assert.is(told().length, 4);
});

test('stop ends the source, waits for the sync in flight and closes the backend last', async () => {
  const { sink, clock, sync, told, calls, act } = await settledWorld(web, { checks: true });
  act.sync = async () => {
    await later(clock, 500, undefined);
    calls.push('synced');
    return { operations: 1, bytes: 1 };
  };
  sink.upsertService(service('a'));
  await clock.advance(1_000);
  const stopping = sync.stop();
  sink.upsertService(service('b'));
  await clock.advance(500);
  await stopping;
  assert.equal(calls, ['source.stop', 'synced', 'backend.close']);
  await clock.advance(10_000_000);
  assert.equal(told().map(brief), ['partial +a']);
  assert.is(clock.pending(), 0);
});

test('a source that cannot start ends everything', async () => {
  try {
    await world({
      source: {
        async start() {
          throw new Error('no such folder');
        },
        async stop() {},
      },
    });
    assert.unreachable();
  } catch (error) {
    assert.is(error instanceof Error ? error.message : '', 'no such folder');
  }
});

test.run();
