/** What the server makes of objects other than Services, and what it refuses: nodes, slices, ranges, events, metadata. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../apiserver/api/schema.ts';
import { createCluster } from '../../apiserver/cluster.ts';
import { causes, refused } from './refusals.ts';

const test = suite('apiserver kinds');

const slice = (more: JsonObject = {}, metadata: JsonObject = {}): JsonObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', ...metadata },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.0.0.1'] }],
  ports: [{ port: 80 }],
  ...more,
});

test('an EndpointSlice gets the defaults of its ports, and its empty fields come out as null', () => {
  const { objects } = createCluster();
  const made = objects.apply(slice());
  assert.equal(made.ports, [{ name: '', protocol: 'TCP', port: 80 }]);
  assert.equal(made.endpoints, [{ addresses: ['10.0.0.1'], conditions: {} }]);
  assert.is(made.metadata.generation, 1);
  const bare = objects.apply({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'bare' },
    addressType: 'IPv6',
  });
  assert.is(bare.endpoints, null);
  assert.is(bare.ports, null);
});

test('conditions that are false stay, being pointers', () => {
  const { objects } = createCluster();
  const conditions = { ready: false, serving: true, terminating: false };
  const made = objects.apply(slice({ endpoints: [{ addresses: ['10.0.0.1'], conditions }] }));
  assert.equal((made.endpoints as { conditions: unknown }[])[0]!.conditions, conditions);
});

const SLICE_FAULTS: readonly (readonly [title: string, more: JsonObject, causes: readonly string[]])[] = [
  ['no addressType', { addressType: '' }, ['addressType FieldValueRequired']],
  ['an unknown addressType', { addressType: 'IP' }, ['addressType FieldValueNotSupported']],
  ['an endpoint without addresses', { endpoints: [{ addresses: [] }] }, ['endpoints[0].addresses FieldValueRequired']],
  [
    'an address of the other family',
    { endpoints: [{ addresses: ['fd00::1'] }] },
    ['endpoints[0].addresses[0] FieldValueInvalid'],
  ],
  [
    'a loopback address',
    { endpoints: [{ addresses: ['127.0.0.1'] }] },
    ['endpoints[0].addresses[0] FieldValueInvalid'],
  ],
  [
    'a link-local address',
    { endpoints: [{ addresses: ['169.254.1.1'] }] },
    ['endpoints[0].addresses[0] FieldValueInvalid'],
  ],
  [
    'an address with leading zeros',
    { endpoints: [{ addresses: ['010.0.0.1'] }] },
    ['endpoints[0].addresses[0] FieldValueInvalid'],
  ],
  [
    'IPv6 loopback',
    { addressType: 'IPv6', endpoints: [{ addresses: ['::1'] }] },
    ['endpoints[0].addresses[0] FieldValueInvalid'],
  ],
  [
    'a name without dots as FQDN',
    { addressType: 'FQDN', endpoints: [{ addresses: ['web'] }] },
    ['endpoints[0].addresses[0] FieldValueInvalid'],
  ],
  ['a port out of range', { ports: [{ port: 65_536 }] }, ['ports[0].port FieldValueInvalid']],
  ['an unknown protocol', { ports: [{ port: 1, protocol: 'tcp' }] }, ['ports[0].protocol FieldValueNotSupported']],
  ['two ports of one name', { ports: [{ port: 1 }, { port: 2 }] }, ['ports[1].name FieldValueDuplicate']],
  ['a bad port name', { ports: [{ port: 1, name: 'A_b' }] }, ['ports[0].name FieldValueInvalid']],
  [
    'a bad host name',
    { endpoints: [{ addresses: ['10.0.0.1'], hostname: 'a.b' }] },
    ['endpoints[0].hostname FieldValueInvalid'],
  ],
  [
    'a zone hinted twice',
    { endpoints: [{ addresses: ['10.0.0.1'], hints: { forZones: [{ name: 'a' }, { name: 'a' }] } }] },
    ['endpoints[0].hints.forZones[1].name FieldValueDuplicate'],
  ],
  [
    'too many endpoints',
    { endpoints: Array.from({ length: 1001 }, () => ({ addresses: ['10.0.0.1'] })) },
    ['endpoints FieldValueTooMany'],
  ],
];

for (const [title, more, expected] of SLICE_FAULTS) {
  test(`an EndpointSlice with ${title} is invalid`, () => {
    const { objects } = createCluster();
    const status = refused(() => objects.apply(slice(more)));
    assert.is(status.code, 422);
    assert.match(status.message!, 'EndpointSlice.discovery.k8s.io "web-1" is invalid');
    assert.equal(causes(status), expected);
    assert.is(objects.count('EndpointSlice'), 0);
  });
}

test('the addressType of a slice cannot change; its generation counts changes of its content only', () => {
  const { objects } = createCluster();
  objects.apply(slice());
  const status = refused(() => objects.apply(slice({ addressType: 'IPv6', endpoints: [] })));
  assert.equal(causes(status), ['addressType FieldValueInvalid']);
  assert.is(objects.apply(slice({}, { labels: { a: 'b' } })).metadata.generation, 1);
  assert.is(objects.apply(slice({ endpoints: [{ addresses: ['10.0.0.2'] }] })).metadata.generation, 2);
});

test('writing an object unchanged does not move its version', () => {
  const { objects, store } = createCluster();
  const { metadata } = objects.apply(slice());
  const before = store.resourceVersion();
  assert.is(objects.apply(slice()).metadata.resourceVersion, metadata.resourceVersion);
  assert.is(store.resourceVersion(), before);
});

const METADATA_FAULTS: readonly (readonly [title: string, metadata: JsonObject, causes: readonly string[]])[] = [
  ['no name', { name: '' }, ['metadata.name FieldValueRequired']],
  ['a bad name', { name: 'Web' }, ['metadata.name FieldValueInvalid']],
  ['a bad label key', { labels: { 'a b': 'c' } }, ['metadata.labels FieldValueInvalid']],
  ['a bad label value', { labels: { a: '-c' } }, ['metadata.labels FieldValueInvalid']],
  ['a bad annotation key', { annotations: { 'a/b/c': '' } }, ['metadata.annotations FieldValueInvalid']],
  ['too many annotations', { annotations: { a: 'x'.repeat(256 * 1024) } }, ['metadata.annotations FieldValueTooLong']],
  [
    'an owner without uid',
    { ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name: 'web', uid: '' }] },
    ['metadata.ownerReferences[0].uid FieldValueInvalid'],
  ],
];

for (const [title, metadata, expected] of METADATA_FAULTS) {
  test(`an object with ${title} is invalid`, () => {
    const { objects } = createCluster();
    const status = refused(() => objects.apply(slice({}, metadata)));
    assert.is(status.code, 422);
    assert.equal(causes(status), expected);
  });
}

const node = (spec: JsonObject, more: JsonObject = {}): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'node-1' },
  spec,
  ...more,
});

test('a Node keeps the status that it is created with, and its podCIDR is the first of its podCIDRs', () => {
  const { objects } = createCluster();
  const status = { addresses: [{ type: 'InternalIP', address: '172.16.0.1' }] };
  const made = objects.apply(node({ podCIDR: '10.1.0.0/24' }, { status }));
  assert.equal(made.spec, { podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24'] });
  assert.equal((made.status as JsonObject).addresses, status.addresses);
});

test('a Node with bad pod ranges is invalid, and cannot change good ones', () => {
  const { objects } = createCluster();
  const twice = refused(() => objects.apply(node({ podCIDRs: ['10.1.0.0/24', '10.2.0.0/24'] })));
  assert.equal(causes(twice), ['spec.podCIDRs FieldValueInvalid']);
  const bad = refused(() => objects.apply(node({ podCIDRs: ['10.1.0.0/33'] })));
  assert.equal(causes(bad), ['spec.podCIDRs[0] FieldValueInvalid']);
  objects.apply(node({ podCIDRs: ['10.1.0.0/24'] }));
  const changed = refused(() => objects.apply(node({ podCIDRs: ['10.2.0.0/24'] })));
  assert.equal(causes(changed), ['spec.podCIDRs FieldValueForbidden']);
});

const range = (cidrs: unknown, name = 'more'): JsonObject => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'ServiceCIDR',
  metadata: { name },
  spec: { cidrs },
});

test('a ServiceCIDR holds one range of each family, for ever', () => {
  const { objects } = createCluster();
  assert.equal(causes(refused(() => objects.apply(range([])))), ['spec.cidrs FieldValueRequired']);
  assert.equal(causes(refused(() => objects.apply(range(['10.0.0.0/8', '10.1.0.0/16'])))), [
    'spec.cidrs FieldValueInvalid',
  ]);
  assert.equal(causes(refused(() => objects.apply(range(['10.0.0.0'])))), ['spec.cidrs[0] FieldValueInvalid']);
  objects.apply(range(['10.200.0.0/24', 'fd00:200::/112']));
  assert.equal(causes(refused(() => objects.apply(range(['10.201.0.0/24'])))), ['spec.cidrs FieldValueInvalid']);
});

const event = (more: JsonObject = {}): JsonObject => ({
  apiVersion: 'events.k8s.io/v1',
  kind: 'Event',
  metadata: { name: 'node-1.17a', namespace: 'default' },
  eventTime: '2026-01-01T00:00:00.000000Z',
  reportingController: 'kube-proxy',
  reportingInstance: 'kube-proxy-node-1',
  action: 'StartKubeProxy',
  reason: 'Starting',
  regarding: { kind: 'Node', name: 'node-1' },
  type: 'Normal',
  ...more,
});

test('an Event is taken as client-go writes it', () => {
  const { objects } = createCluster();
  const made = objects.apply(event());
  assert.equal(made.deprecatedSource, {});
  assert.is(made.eventTime, '2026-01-01T00:00:00.000000Z');
});

test('an eventTime without exactly six digits of a second is not even decoded', () => {
  const { objects } = createCluster();
  for (const eventTime of ['2026-01-01T00:00:00Z', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000000000Z']) {
    const status = refused(() => objects.apply(event({ eventTime })));
    assert.is(status.code, 400, eventTime);
  }
});

const EVENT_FAULTS: readonly (readonly [title: string, more: JsonObject, causes: readonly string[]])[] = [
  ['no reportingController', { reportingController: '' }, ['reportingController FieldValueRequired']],
  ['a bad reportingController', { reportingController: 'a b' }, ['reportingController FieldValueInvalid']],
  ['no reportingInstance', { reportingInstance: '' }, ['reportingInstance FieldValueRequired']],
  ['a long reportingInstance', { reportingInstance: 'x'.repeat(129) }, ['reportingInstance FieldValueInvalid']],
  ['no action', { action: '' }, ['action FieldValueRequired']],
  ['no reason', { reason: '' }, ['reason FieldValueRequired']],
  ['a long note', { note: 'x'.repeat(1025) }, ['message FieldValueInvalid']],
  ['an unknown type', { type: 'Error' }, ['type FieldValueInvalid']],
  ['a deprecated field', { deprecatedCount: 1 }, ['count FieldValueInvalid']],
  [
    'a series of one',
    { series: { count: 1, lastObservedTime: '2026-01-01T00:00:00.000000Z' } },
    ['series.count FieldValueInvalid'],
  ],
  ['no eventTime', { eventTime: null }, ['eventTime FieldValueRequired']],
];

for (const [title, more, expected] of EVENT_FAULTS) {
  test(`an Event with ${title} is invalid`, () => {
    const status = refused(() => createCluster().objects.apply(event(more)));
    assert.is(status.code, 422);
    assert.equal(causes(status), expected);
  });
}

test('an Event about a Node lives in default or kube-system', () => {
  const { objects } = createCluster();
  const elsewhere = (namespace: string) => event({ metadata: { name: 'a', namespace } });
  assert.equal(causes(refused(() => objects.apply(elsewhere('other')))), [
    'involvedObject.namespace FieldValueInvalid',
  ]);
  objects.apply(elsewhere('kube-system'));
});

test('only the series of an Event may change', () => {
  const { objects } = createCluster();
  objects.apply(event());
  const series = { count: 2, lastObservedTime: '2026-01-01T00:00:01.000000Z' };
  assert.equal(objects.apply(event({ series })).series, series);
  assert.equal(causes(refused(() => objects.apply(event({ series, note: 'other' })))), ['message FieldValueInvalid']);
});

test('finalizers hold an object back: it is marked, and goes when the last of them is removed', () => {
  const { objects } = createCluster();
  objects.apply(slice({}, { finalizers: ['example.com/hold'] }));
  objects.delete('EndpointSlice', 'default', 'web-1');
  assert.ok(objects.get('EndpointSlice', 'default', 'web-1')!.metadata.deletionTimestamp);
  objects.apply(slice());
  assert.is(objects.get('EndpointSlice', 'default', 'web-1'), undefined);
});

test('a namespace goes with everything in it, but not one of the system', () => {
  const { objects } = createCluster();
  objects.apply(slice({}, { namespace: 'shop' }));
  assert.ok(objects.get('Namespace', '', 'shop'));
  objects.delete('Namespace', '', 'shop');
  assert.is(objects.count('EndpointSlice'), 0);
  assert.is(refused(() => objects.delete('Namespace', '', 'default')).code, 403);
});

test('every writer is noted with the fields that it wrote, unless that is switched off', () => {
  const { objects } = createCluster();
  const [entry] = objects.apply(slice()).metadata.managedFields!;
  assert.is(entry!.manager, 'test');
  assert.is(entry!.apiVersion, 'discovery.k8s.io/v1');
  assert.ok('f:endpoints' in (entry!.fieldsV1 as object));
  assert.is(createCluster({ managedFields: false }).objects.apply(slice()).metadata.managedFields, undefined);
});

test.run();
