import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ResolveNode, resolveService, servicePortsEqual } from '../../../core/model/resolve.ts';
import { createResolver, type Resolve, type Resolver } from '../../../core/sync/resolver.ts';
import { createStore, type ObjectReader, type Store } from '../../../core/sync/store.ts';
import { type FakeLog, fakeLog } from './fake-log.ts';
import { service, slice } from './objects.ts';

const test = suite('resolver');

const HERE: ResolveNode = { family: 'IPv4', name: 'n1', zone: '', nodeIPs: ['192.168.50.10'] };

interface Work {
  /** Services resolved. */
  resolved: number;
  /** Services, slices and keys read from the store. */
  read: number;
}

interface Fixture {
  readonly store: Store;
  readonly resolver: Resolver;
  readonly work: Work;
  readonly log: FakeLog;
  /** Resolve what is dirty; the keys that travel. */
  readonly update: (node?: ResolveNode) => { upsert: string[]; remove: string[] };
}

function open(resolve: Resolve = resolveService): Fixture {
  const log = fakeLog();
  const store = createStore({ nodeName: () => 'n1', startedAt: 0, log, onDirty: () => {}, onNode: () => {} });
  const work: Work = { resolved: 0, read: 0 };
  const resolver = createResolver({
    family: 'IPv4',
    objects: counted(store, work),
    log,
    equal: servicePortsEqual,
    resolve: (...args) => {
      work.resolved++;
      return resolve(...args);
    },
  });
  const update = (node: ResolveNode = HERE): { upsert: string[]; remove: string[] } => {
    const delta = resolver.update(store.takeDirty('IPv4'), node);
    return { upsert: delta.upsert.map((port) => port.key).sort(), remove: [...delta.remove].sort() };
  };
  return { store, resolver, work, log, update };
}

/** The store, with everything that is read from it counted. */
function counted(store: Store, work: Work): ObjectReader {
  function* each<T>(items: Iterable<T>): Iterable<T> {
    for (const item of items) {
      work.read++;
      yield item;
    }
  }
  return {
    service: (key) => {
      work.read++;
      return store.service(key);
    },
    slicesOf: (family, key) => each(store.slicesOf(family, key)),
    serviceKeys: () => each(store.serviceKeys()),
    node: () => store.node(),
  };
}

test('another annotation of a slice makes its Service travel, and the same again does not', () => {
  const { store, resolver, update } = open();
  store.upsertService(service('web'));
  store.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  update();
  for (const [annotations, upsert] of [
    [{ 'kube-proxy.io/weight': '7' }, ['default/web:http/TCP']],
    [{ 'kube-proxy.io/weight': '7' }, []],
    [{ 'kube-proxy.io/weight': '8' }, ['default/web:http/TCP']],
  ] as const) {
    store.upsertEndpointSlice(slice('web', ['10.244.1.2'], { annotations }));
    assert.equal(update(), { upsert: [...upsert], remove: [] });
    assert.equal(resolver.all()[0]!.cluster[0]!.annotations, annotations);
  }
  store.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  assert.equal(update(), { upsert: ['default/web:http/TCP'], remove: [] });
});

test('new Services travel whole, and a change of endpoints carries only the Service concerned', () => {
  const { store, resolver, update } = open();
  store.upsertService(service('web'));
  store.upsertService(service('api'));
  store.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  assert.equal(update(), { upsert: ['default/api:http/TCP', 'default/web:http/TCP'], remove: [] });
  store.upsertEndpointSlice(slice('api', ['10.244.1.3']));
  assert.equal(update(), { upsert: ['default/api:http/TCP'], remove: [] });
  assert.is(resolver.count(), 2);
  const ips = resolver.all().map((port) => port.cluster.map((endpoint) => endpoint.ip));
  assert.equal(ips, [['10.244.1.2'], ['10.244.1.3']]);
});

test('of a Service with several ports only those that changed travel', () => {
  const { store, update } = open();
  const http = { name: 'http', protocol: 'TCP', port: 80, nodePort: 0 } as const;
  const dns = { name: 'dns', protocol: 'UDP', port: 53, nodePort: 0 } as const;
  store.upsertService(service('web', { ports: [http, dns] }));
  update();
  store.upsertService(service('web', { ports: [http, { ...dns, port: 54 }] }));
  assert.equal(update(), { upsert: ['default/web:dns/UDP'], remove: [] });
  store.upsertService(service('web', { ports: [{ ...dns, port: 54 }] }));
  assert.equal(update(), { upsert: [], remove: ['default/web:http/TCP'] });
});

test('a Service that is deleted, or no longer served in this family, takes its ports away', () => {
  const { store, resolver, update } = open();
  store.upsertService(service('web'));
  store.upsertService(service('api'));
  update();
  store.deleteService('default', 'web');
  store.upsertService(service('api', { families: {} }));
  assert.equal(update(), { upsert: [], remove: ['default/api:http/TCP', 'default/web:http/TCP'] });
  assert.is(resolver.count(), 0);
  assert.equal(resolver.all(), []);
});

test('what was deleted and came back the same before anyone looked does not travel', () => {
  const { store, update } = open();
  store.upsertService(service('web'));
  update();
  store.deleteService('default', 'web');
  store.upsertService(service('web'));
  assert.equal(update(), { upsert: [], remove: [] });
});

test('a service port that did not change keeps its identity', () => {
  const { store, resolver, update } = open();
  store.upsertService(service('web'));
  update();
  const [before] = resolver.all();
  store.deleteService('default', 'web');
  store.upsertService(service('web'));
  update();
  assert.is(resolver.all()[0], before);
});

test('when facts of the node change, all is resolved again but only real differences travel', () => {
  const { store, resolver, work, update } = open();
  const hinted = slice('web', ['10.244.1.2', '10.244.1.3']);
  const endpoints = hinted.endpoints.map((endpoint, i) => ({ ...endpoint, hintZones: [`z${i + 1}`] }));
  store.upsertService(service('web'));
  store.upsertService(service('api'));
  store.upsertEndpointSlice({ ...hinted, endpoints });
  update();
  work.resolved = 0;
  const delta = resolver.updateAll({ ...HERE, zone: 'z2' });
  assert.is(work.resolved, 2);
  assert.equal(
    delta.upsert.map((port) => [port.key, port.cluster.map((endpoint) => endpoint.ip)]),
    [['default/web:http/TCP', ['10.244.1.3']]],
  );
  assert.equal(delta.remove, []);
});

test('two Services that claim the same address are both handed on', () => {
  const { store, update } = open();
  store.upsertService(service('one'));
  store.upsertService(service('two'));
  assert.equal(update(), { upsert: ['default/one:http/TCP', 'default/two:http/TCP'], remove: [] });
});

test('a Service on which the model fails stays as it was and stops no other', () => {
  let broken = false;
  const { store, resolver, log, update } = open((one, slices, node) => {
    if (broken && one.name === 'web') throw new Error('no such thing');
    return resolveService(one, slices, node);
  });
  store.upsertService(service('web'));
  update();
  broken = true;
  store.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  store.upsertService(service('api'));
  assert.equal(update(), { upsert: ['default/api:http/TCP'], remove: [] });
  assert.is(resolver.count(), 2);
  assert.is(log.at('error')[0]?.values.service, 'default/web');
});

test('one changed endpoint costs the same among ten Services as among a hundred thousand', () => {
  const costs = [10, 100_000].map((services) => {
    const { store, work, update } = open();
    for (let i = 0; i < services; i++) {
      store.upsertService(service(`s${i}`));
      store.upsertEndpointSlice(slice(`s${i}`, ['10.244.1.2']));
    }
    update();
    assert.is(work.resolved, services);
    Object.assign(work, { resolved: 0, read: 0 });
    store.upsertEndpointSlice(slice('s5', ['10.244.1.3']));
    assert.equal(update(), { upsert: ['default/s5:http/TCP'], remove: [] });
    return { ...work };
  });
  assert.equal(costs[0], { resolved: 1, read: 2 });
  assert.equal(costs[1], costs[0]);
});

test.run();
