import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../../core/backend.ts';
import type { FailedSyncEvent } from '../../../core/sync/family-sync.ts';
import { settledWorld } from './fake-backend.ts';
import { node, service, slice } from './objects.ts';

const test = suite('what a sync tells those who measure');

const STARTED = 1_000_000;
const at = (seconds: number): number => STARTED + seconds * 1_000;
const now = (): number => STARTED;

test('the times of the changes that it programmed travel with a sync, each once', async () => {
  const { sink, clock, events } = await settledWorld((filled) => filled.upsertService(service('web')), { now });
  events.length = 0;
  sink.upsertEndpointSlice(slice('web', ['10.244.1.2'], { triggerTimeMs: at(1) }));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.3'], { triggerTimeMs: at(2) }));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.4'], { triggerTimeMs: at(2) }));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.9'], { name: 'web-2', triggerTimeMs: at(-5) }));
  await clock.advance(1_000);
  assert.equal(
    events.map(({ triggerTimes }) => triggerTimes),
    [[at(1), at(2)]],
  );
  sink.upsertEndpointSlice(slice('web', ['10.244.1.5']));
  await clock.advance(1_000);
  assert.equal(events[1]?.triggerTimes, []);
});

test('what a failed sync could not program is measured when one succeeds', async () => {
  const { sink, clock, events, act } = await settledWorld((filled) => filled.upsertService(service('web')), { now });
  events.length = 0;
  act.sync = () => Promise.reject(new Error('no'));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.2'], { triggerTimeMs: at(1) }));
  await clock.advance(3_000);
  delete act.sync;
  sink.upsertEndpointSlice(slice('web', ['10.244.1.3'], { triggerTimeMs: at(2) }));
  await clock.advance(30_000);
  assert.equal(
    events.map(({ triggerTimes }) => triggerTimes),
    [[at(1), at(2)]],
  );
});

test('a slice that goes takes the times of its Service with it', async () => {
  const { sink, clock, events } = await settledWorld((filled) => filled.upsertService(service('web')), { now });
  events.length = 0;
  sink.upsertEndpointSlice(slice('web', ['10.244.1.2'], { triggerTimeMs: at(1) }));
  sink.deleteEndpointSlice('default', 'web-1');
  sink.upsertService(service('api'));
  await clock.advance(1_000);
  assert.equal(events[0]?.triggerTimes, []);
});

test('service ports without a local endpoint are counted by the policy that misses it', async () => {
  const { sink, clock, events } = await settledWorld((filled) => {
    filled.upsertService(service('inner', { internalPolicy: 'Local' }));
    filled.upsertService(service('outer', { externalPolicy: 'Local', ports: [port(30_080)] }));
    filled.upsertService(service('nobody', { internalPolicy: 'Local' }));
    filled.upsertEndpointSlice(slice('inner', ['10.244.1.2']));
    filled.upsertEndpointSlice(slice('outer', ['10.244.1.2']));
  });
  assert.equal(events.at(-1)?.withoutLocal, { internal: 1, external: 1 });
  const here = slice('inner', ['10.244.1.2']);
  sink.upsertEndpointSlice({ ...here, endpoints: here.endpoints.map((each) => ({ ...each, nodeName: 'n1' })) });
  sink.deleteService('default', 'outer');
  await clock.advance(1_000);
  assert.equal(events.at(-1)?.withoutLocal, { internal: 0, external: 0 });
});

test('changes are counted by what changed, and those that wait once for each Service', async () => {
  const { sink, clock, sync } = await settledWorld((filled) => {
    filled.upsertService(service('web'));
    filled.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  });
  assert.equal(sync.changes(), { services: { pending: 0, total: 1 }, endpoints: { pending: 0, total: 1 } });
  sink.upsertEndpointSlice(slice('web', ['10.244.1.3']));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.4']));
  sink.upsertEndpointSlice(slice('web', ['10.244.1.4']));
  sink.upsertService(service('api'));
  sink.deleteEndpointSlice('default', 'unknown');
  assert.equal(sync.changes(), { services: { pending: 1, total: 2 }, endpoints: { pending: 1, total: 3 } });
  await clock.advance(1_000);
  assert.equal(sync.changes(), { services: { pending: 0, total: 2 }, endpoints: { pending: 0, total: 3 } });
});

test('who listens is told when something begins to wait, and of each failure', async () => {
  const queued: IPFamily[] = [];
  const failed: FailedSyncEvent[] = [];
  const { sink, clock, act } = await settledWorld((filled) => filled.upsertService(service('web')), {
    onQueued: (family) => queued.push(family),
    onSyncFailed: (event) => failed.push(event),
  });
  assert.equal(queued, ['IPv4']);
  act.sync = () => Promise.reject(new Error('no'));
  sink.upsertService(service('api'));
  sink.upsertService(service('other'));
  await clock.advance(1_000);
  assert.equal(queued, ['IPv4', 'IPv4']);
  await clock.advance(1_000);
  assert.equal(
    failed.map(({ family, full }) => [family, full]),
    [
      ['IPv4', false],
      ['IPv4', true],
    ],
  );
});

test('ranges of ServiceCIDR objects reach the backend as they come and go, beside those of the settings', async () => {
  const { sink, clock, told } = await settledWorld((filled) => {
    filled.upsertService(service('web'));
    filled.upsertServiceCIDR({ name: 'kubernetes', cidrs: ['10.96.0.0/12', 'fd00:10:96::/112'] });
  });
  sink.upsertServiceCIDR({ name: 'more', cidrs: ['10.112.0.0/16'] });
  await clock.advance(1_000);
  sink.upsertServiceCIDR({ name: 'more', cidrs: ['10.112.0.0/16'] });
  await clock.advance(1_000);
  sink.deleteServiceCIDR('kubernetes');
  await clock.advance(1_000);
  assert.equal(
    told().map(({ node: view }) => view.serviceCIDRs),
    [['10.112.0.0/16', '10.96.0.0/12'], ['10.112.0.0/16']],
  );
});

test('a Node that is deleted keeps its facts but does not exist any more', async () => {
  const { sink, clock, sync, told } = await settledWorld((filled) => filled.upsertNode(node('n1')));
  assert.ok(sync.node().exists);
  sink.deleteNode('n1');
  await clock.advance(5_000);
  assert.equal(told(), []);
  assert.equal([sync.node().exists, sync.node().object?.zone], [false, 'z1']);
  sink.upsertNode(node('n1'));
  assert.ok(sync.node().exists);
});

function port(nodePort: number) {
  return { name: 'http', protocol: 'TCP', port: 80, nodePort } as const;
}

test.run();
