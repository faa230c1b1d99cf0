import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../../core/backend.ts';
import { createStore, type Store } from '../../../core/sync/store.ts';
import { type FakeLog, fakeLog } from './fake-log.ts';
import { dualStack, headless, node, service, slice } from './objects.ts';

const test = suite('store');

interface Fixture {
  readonly store: Store;
  readonly told: string[];
  readonly log: FakeLog;
  /** What is dirty, and no more after. */
  readonly take: (family?: IPFamily) => string[];
}

function open(): Fixture {
  const told: string[] = [];
  const log = fakeLog();
  const store = createStore({
    nodeName: () => 'n1',
    log,
    startedAt: 0,
    onDirty: (family) => told.push(family),
    onNode: () => told.push('node'),
  });
  return { store, told, log, take: (family = 'IPv4') => [...store.takeDirty(family)].sort() };
}

/** A store that is synced and clean. */
function filled(): Fixture {
  const fixture = open();
  const { store, told, take } = fixture;
  store.upsertService(service('web'));
  store.upsertService(service('api'));
  store.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  store.synced();
  take();
  take('IPv6');
  told.length = 0;
  return fixture;
}

test('nobody is told of anything before the first complete state', () => {
  const { store, told, take } = open();
  store.upsertService(service('web'));
  store.upsertNode(node('n1'));
  assert.equal(told, []);
  store.synced();
  assert.equal(told, ['IPv4', 'IPv6']);
  assert.equal(take(), ['default/web']);
  store.synced();
  assert.equal(told, ['IPv4', 'IPv6']);
});

test('the same objects delivered again dirty nothing', () => {
  const { store, told, take } = filled();
  store.upsertService(service('web'));
  store.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  store.upsertNode(node('n1'));
  store.upsertNode(node('n1'));
  store.deleteService('default', 'never-came');
  store.deleteEndpointSlice('default', 'never-came');
  assert.equal(told, ['node']);
  assert.equal(take(), []);
});

test('a slice that differs in its trigger time alone dirties nothing', () => {
  const { store, take } = filled();
  store.upsertEndpointSlice(slice('web', ['10.244.1.2'], { triggerTimeMs: 5 }));
  assert.equal(take(), []);
});

test('many changes of one family are told once until somebody takes them', () => {
  const { store, told, take } = filled();
  store.upsertEndpointSlice(slice('web', ['10.244.1.3']));
  store.upsertEndpointSlice(slice('api', ['10.244.1.4']));
  assert.equal(told, ['IPv4']);
  assert.equal(take(), ['default/api', 'default/web']);
  assert.not(store.isDirty('IPv4'));
  store.upsertEndpointSlice(slice('web', ['10.244.1.5']));
  assert.equal(told, ['IPv4', 'IPv4']);
});

test('a slice dirties its Service in its own family only', () => {
  const { store, take } = filled();
  store.upsertService(dualStack('both'));
  take();
  take('IPv6');
  store.upsertEndpointSlice(slice('both', ['fd00::1'], { family: 'IPv6', name: 'both-6' }));
  assert.equal(take('IPv4'), []);
  assert.equal(take('IPv6'), ['default/both']);
  assert.is([...store.slicesOf('IPv6', 'default/both')].length, 1);
  assert.is([...store.slicesOf('IPv4', 'default/both')].length, 0);
});

test('a slice that moves to another Service dirties both and leaves the first', () => {
  const { store, take } = filled();
  store.upsertEndpointSlice(slice('api', ['10.244.1.2'], { name: 'web-1' }));
  assert.equal(take(), ['default/api', 'default/web']);
  assert.equal([...store.slicesOf('IPv4', 'default/web')], []);
  assert.is([...store.slicesOf('IPv4', 'default/api')].length, 1);
});

test('a slice that changes its family leaves the other', () => {
  const { store, take } = filled();
  store.upsertService(dualStack('web'));
  take();
  take('IPv6');
  store.upsertEndpointSlice(slice('web', ['fd00::1'], { family: 'IPv6' }));
  assert.equal(take('IPv4'), ['default/web']);
  assert.equal(take('IPv6'), ['default/web']);
  assert.equal([...store.slicesOf('IPv4', 'default/web')], []);
});

test('a deleted slice dirties its Service and is gone', () => {
  const { store, take } = filled();
  store.deleteEndpointSlice('default', 'web-1');
  assert.equal(take(), ['default/web']);
  assert.equal([...store.slicesOf('IPv4', 'default/web')], []);
});

test('endpoints of headless and unknown Services dirty nothing, and are there when the Service comes', () => {
  const { store, take } = filled();
  store.upsertService(headless('db'));
  store.upsertEndpointSlice(slice('db', ['10.244.1.9']));
  store.upsertEndpointSlice(slice('later', ['10.244.1.8']));
  assert.equal(take(), []);
  store.upsertService(service('db'));
  store.upsertService(service('later'));
  assert.equal(take(), ['default/db', 'default/later']);
  assert.is([...store.slicesOf('IPv4', 'default/later')].length, 1);
});

test('a Service that becomes headless or is deleted is dirty in the families that served it', () => {
  const { store, take } = filled();
  store.upsertService(dualStack('both'));
  take();
  take('IPv6');
  store.upsertService(service('both'));
  assert.equal(take('IPv6'), ['default/both']);
  assert.equal(take('IPv4'), ['default/both']);
  store.upsertService(headless('both'));
  assert.equal(take('IPv6'), []);
  assert.equal(take('IPv4'), ['default/both']);
  store.deleteService('default', 'web');
  assert.equal(take('IPv4'), ['default/web']);
  assert.is(store.service('default/web'), undefined);
});

test('other nodes are none of our business', () => {
  const { store, told } = filled();
  store.upsertNode(node('n2'));
  store.deleteNode('n2');
  assert.equal(told, []);
  assert.is(store.node(), undefined);
});

test('our node is told when it differs, and stays in use when it is deleted', () => {
  const { store, told, log } = filled();
  store.upsertNode(node('n1'));
  store.upsertNode(node('n1', { zone: 'z2' }));
  store.deleteNode('n1');
  assert.equal(told, ['node', 'node']);
  assert.is(store.node()?.zone, 'z2');
  assert.is(log.at('info').length, 1);
});

test.run();
