/** The four resources together: what is waited for before anything is programmed, and what the log says meanwhile. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ApiSourceOptions, apiSource } from '../../../core/source/api/source.ts';
import type { ObjectSink } from '../../../core/source/source.ts';
import { fakeClock, settle } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { type FakeStream, fakeApi } from './fake-api.ts';
import { endpointSlice, nodeObject, service, serviceCIDR, status } from './raw-objects.ts';

const test = suite('api source');

async function started(options: Partial<ApiSourceOptions> & { readonly sink?: Partial<ObjectSink> } = {}) {
  const api = fakeApi();
  const clock = fakeClock();
  const log = fakeLog();
  const told: string[] = [];
  const sink: ObjectSink = {
    upsertService: ({ name }) => void told.push(`+ service ${name}`),
    deleteService: (_namespace, name) => void told.push(`- service ${name}`),
    upsertEndpointSlice: ({ name }) => void told.push(`+ slice ${name}`),
    deleteEndpointSlice: (_namespace, name) => void told.push(`- slice ${name}`),
    upsertNode: ({ name }) => void told.push(`+ node ${name}`),
    deleteNode: (name) => void told.push(`- node ${name}`),
    upsertServiceCIDR: ({ name }) => void told.push(`+ range ${name}`),
    deleteServiceCIDR: (name) => void told.push(`- range ${name}`),
    synced: () => void told.push('synced'),
    ...options.sink,
  };
  const source = apiSource({
    connection: api.connection,
    nodeName: 'node-1',
    waitForPodCIDRs: false,
    clock,
    log,
    random: () => 0.5,
    ...options,
  });
  await source.start(sink);
  await settle();
  return { api, clock, log, told, source };
}

type There = Awaited<ReturnType<typeof started>>;

/** Stream all objects of one resource. */
async function stream(
  { api }: There,
  name: Parameters<typeof api.request>[0],
  objects: readonly unknown[] = [],
): Promise<FakeStream> {
  const opened = api.request(name).open();
  for (const object of objects) await opened.event('ADDED', object);
  await opened.bookmark('100', { initialEventsEnd: true });
  return opened;
}

test('synced comes once Services, EndpointSlices and the node are there, and once only', async () => {
  const there = await started();
  const { told, source } = there;
  const services = await stream(there, 'services', [service('web')]);
  await stream(there, 'nodes', [nodeObject('node-1')]);
  assert.equal(told, ['+ service web', '+ node node-1']);
  await stream(there, 'endpointslices', [endpointSlice('web')]);
  assert.equal(told.slice(2), ['+ slice web', 'synced']);
  await services.event('ERROR', status(410, 'Expired', 'too old'));
  await stream(there, 'services', [service('web')]);
  assert.is(told.filter((line) => line === 'synced').length, 1);
  assert.is(source.status().synced, true);
});

test('ServiceCIDRs are delivered whenever they come, and never waited for', async () => {
  const there = await started();
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  await stream(there, 'nodes', [nodeObject('node-1')]);
  assert.equal(there.told, ['+ node node-1', 'synced']);
  const ranges = await stream(there, 'servicecidrs', [serviceCIDR('kubernetes')]);
  await ranges.event('DELETED', serviceCIDR('kubernetes', { version: '200' }));
  assert.equal(there.told.slice(2), ['+ range kubernetes', '- range kubernetes']);
});

test('a node that does not exist yet is waited for for half a minute from when the rest is there', async () => {
  const there = await started();
  const { told, clock, log } = there;
  await stream(there, 'nodes');
  await clock.advance(100_000);
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  await clock.advance(29_999);
  assert.equal(told, []);
  await clock.advance(1);
  assert.equal(told, ['synced']);
  assert.match(log.at('warn')[0]?.message ?? '', '--hostname-override');
});

test('a node without addresses is waited for, too, and the first address ends it', async () => {
  const there = await started();
  const { told, clock } = there;
  const nodes = await stream(there, 'nodes', [nodeObject('node-1', { ips: [] })]);
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  await clock.advance(10_000);
  assert.equal(told, ['+ node node-1']);
  await nodes.event('MODIFIED', nodeObject('node-1', { version: '120' }));
  assert.equal(told, ['+ node node-1', '+ node node-1', 'synced']);
  await clock.advance(60_000);
  assert.is(told.length, 3);
});

test('how long the node is waited for can be told', async () => {
  const there = await started({ waitForNodeMs: 1_000 });
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  await there.clock.advance(1_000);
  assert.equal(there.told, ['synced']);
});

test('where pods are told by CIDR, those of the node are waited for, and found when they come', async () => {
  const there = await started({ waitForPodCIDRs: true });
  const { told, clock } = there;
  const nodes = await stream(there, 'nodes', [nodeObject('node-1')]);
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  await clock.advance(120_000);
  await nodes.event('MODIFIED', nodeObject('node-1', { version: '120', podCIDRs: ['10.244.1.0/24'] }));
  assert.is(told.at(-1), 'synced');
});

test('pod CIDRs that do not come in five minutes are gone without, with an error that names the remedy', async () => {
  const there = await started({ waitForPodCIDRs: true });
  const { told, clock, log } = there;
  const nodes = await stream(there, 'nodes', [nodeObject('node-1')]);
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  await clock.advance(140_000);
  await nodes.bookmark('130');
  await clock.advance(140_000);
  await nodes.bookmark('131');
  await clock.advance(19_999);
  assert.equal(told, ['+ node node-1']);
  await clock.advance(1);
  assert.is(told.at(-1), 'synced');
  assert.match(log.at('error')[0]?.message ?? '', '--allocate-node-cidrs');
  await nodes.event('MODIFIED', nodeObject('node-1', { version: '140', podCIDRs: ['10.244.1.0/24'] }));
  assert.equal(told.slice(-2), ['synced', '+ node node-1']);
});

test('without a node at all, pod CIDRs are still waited for after it', async () => {
  const there = await started({ waitForPodCIDRs: true });
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  await there.clock.advance(30_000 + 300_000 - 1);
  assert.equal(there.told, []);
  await there.clock.advance(1);
  assert.equal(there.told, ['synced']);
});

test('a node that has its pod CIDRs is not waited for', async () => {
  const there = await started({ waitForPodCIDRs: true });
  await stream(there, 'nodes', [nodeObject('node-1', { podCIDRs: ['10.244.1.0/24'] })]);
  await stream(there, 'services');
  await stream(there, 'endpointslices');
  assert.is(there.told.at(-1), 'synced');
});

test('a deleted node is passed on', async () => {
  const there = await started();
  const nodes = await stream(there, 'nodes', [nodeObject('node-1')]);
  await nodes.event('DELETED', nodeObject('node-1', { version: '120' }));
  assert.equal(there.told, ['+ node node-1', '- node node-1']);
});

test('a server that cannot be reached is waited for: one line at first, few later, one when it is back', async () => {
  const there = await started();
  const { api, clock, log } = there;
  const names = ['services', 'endpointslices', 'nodes', 'servicecidrs'] as const;
  const refuse = async (): Promise<void> => {
    for (const name of names) {
      while (api.waiting(name) > 0) await api.request(name).fail(new Error('connect ECONNREFUSED 192.0.2.1:6443'));
    }
  };
  for (let seconds = 0; seconds < 300; seconds++) {
    await refuse();
    await clock.advance(1_000);
  }
  const lines = log.at('warn');
  assert.is(lines.length, 4);
  assert.equal(new Set(lines.map(({ message }) => message)).size, 1);
  assert.equal(lines[0]?.values, { server: 'https://api.test:6443', error: 'connect ECONNREFUSED 192.0.2.1:6443' });
  for (let round = 0; api.waiting('services') === 0 && round < 60; round++) await clock.advance(1_000);
  await stream(there, 'services');
  const [back] = log.at('info');
  assert.match(back?.message ?? '', 'answers again');
  assert.ok(Number(back?.values.forSeconds) >= 300);
  assert.is(log.at('info').length, 1);
});

test('once one resource has been refused a stream, the others are listed, too', async () => {
  const { api, clock } = await started();
  await api.request('services').answer(422, status(422, 'Invalid', 'sendInitialEvents is forbidden'));
  await api.request('nodes').fail(new Error('reset'));
  await clock.advance(600);
  assert.is(api.request('nodes').query.watch, undefined);
});

test('a refused stream is tried again after an hour', async () => {
  const there = await started();
  const { api, clock } = there;
  await api.request('services').answer(422, status(422, 'Invalid', 'sendInitialEvents is forbidden'));
  const nodes = await stream(there, 'nodes', [nodeObject('node-1')]);
  for (let minutes = 0; minutes < 60; minutes += 2) {
    await nodes.bookmark(String(200 + minutes));
    await clock.advance(120_000);
  }
  await nodes.event('ERROR', status(410, 'Expired', 'too old'));
  assert.is(api.request('nodes').query.sendInitialEvents, 'true');
});

test('faults of objects are told with what an event needs', async () => {
  const problems: unknown[] = [];
  const there = await started({ onProblem: ({ kind, name, uid }) => void problems.push([kind, name, uid]) });
  await stream(there, 'endpointslices', [endpointSlice('web', { ips: ['127.0.0.1'] })]);
  assert.equal(problems, [['EndpointSlice', 'web', 'uid-web']]);
});

test('a sink that throws, even in synced, stops nothing', async () => {
  const broken = (): never => {
    throw new Error('no room');
  };
  const there = await started({ sink: { upsertService: broken, synced: broken } });
  const services = await stream(there, 'services', [service('web')]);
  await stream(there, 'endpointslices', [endpointSlice('web')]);
  await stream(there, 'nodes', [nodeObject('node-1')]);
  assert.is(there.source.status().synced, true);
  await services.event('DELETED', service('web', { version: '120' }));
  assert.is(there.told.at(-1), '- service web');
});

test('after stop nothing is asked, waited for or delivered', async () => {
  const there = await started();
  const services = await stream(there, 'services', [service('web')]);
  await stream(there, 'endpointslices', [endpointSlice('web')]);
  const before = there.told.length;
  await there.source.stop();
  assert.is(there.clock.pending(), 0);
  assert.ok(services.aborted);
  await services.event('ADDED', service('late', { version: '120' }));
  await there.clock.advance(600_000);
  assert.is(there.told.length, before);
  assert.is(there.source.status().synced, false);
});

test('status has every resource by name', async () => {
  const there = await started();
  await stream(there, 'services', [service('a'), service('b')]);
  const { server, synced, resources } = there.source.status();
  assert.equal([server, synced], ['https://api.test:6443', false]);
  assert.equal(Object.keys(resources), ['services', 'endpointslices', 'nodes', 'servicecidrs']);
  assert.equal([resources.services.objects, resources.services.synced, resources.nodes.synced], [2, true, false]);
});

test.run();
