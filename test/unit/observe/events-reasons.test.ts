import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EventApi } from '../../../core/observe/event-delivery.ts';
import * as reasons from '../../../core/observe/event-reasons.ts';
import type { ApiConnection } from '../../../core/source/api/api-connection.ts';

const test = suite('reasons of events');
const WEB = { namespace: 'shop', name: 'web', uid: 'uid-web' };

// What the program hands over; the types are checked, nothing runs.
export const fits = (connection: ApiConnection): EventApi => connection;

test('those of the node name it by its name, which is also its uid', () => {
  for (const [made, type, reason, action] of [
    [reasons.starting('n1', 'nftables'), 'Normal', 'Starting', 'StartKubeProxy'],
    [reasons.healthServerFailed('n1', 'why'), 'Warning', 'FailedToStartProxierHealthcheck', 'StartKubeProxy'],
    [reasons.metricsServerFailed('n1', 'why'), 'Warning', 'FailedToStartMetricServer', 'StartKubeProxy'],
    [reasons.hashTableTooSmall('n1', 'why'), 'Warning', 'readOnlySysFS', 'StartKubeProxy'],
    [reasons.configurationRefused('n1', '/c.yaml', 'why'), 'Warning', 'ConfigurationRefused', 'Reconfigure'],
  ] as const) {
    assert.equal([made.type, made.reason, made.action], [type, reason, action]);
    assert.equal(made.regarding, { apiVersion: 'v1', kind: 'Node', namespace: '', name: 'n1', uid: 'n1' });
    if (type === 'Warning') assert.match(made.note, /why/);
  }
});

test('a Service whose health checks are not answered is named with its real uid, and the note names the node', () => {
  const { regarding, reason, action, note, everyNode } = reasons.serviceHealthServerFailed(
    WEB,
    'n1',
    31000,
    'EADDRINUSE',
  );
  assert.equal(regarding, { apiVersion: 'v1', kind: 'Service', ...WEB });
  assert.equal([reason, action], ['FailedToStartServiceHealthcheck', 'Listen']);
  assert.match(note, /n1.*31000.*EADDRINUSE/);
  assert.is.not(everyNode, true, 'only this node has that trouble');
});

test('what a backend says of a Service is one event for all nodes that say the same', () => {
  const { type, reason, action, note, regarding, everyNode } = reasons.serviceWarning(WEB, 'UnknownScheduler', 'why');
  assert.equal([type, reason, action, note], ['Warning', 'UnknownScheduler', 'Program', 'why']);
  assert.equal(regarding, { apiVersion: 'v1', kind: 'Service', ...WEB });
  assert.is(everyNode, true);
});

test('a bad object is told by its kind with all its faults, once for all nodes', () => {
  const slice = reasons.badObject({ kind: 'EndpointSlice', ...WEB }, ['ports[0]: x', 'ports[1]: y'], 'faults');
  assert.equal(
    [slice.reason, slice.action, slice.note],
    ['InvalidEndpointSlice', 'IgnoreFaults', 'ports[0]: x; ports[1]: y'],
  );
  assert.is(slice.regarding.apiVersion, 'discovery.k8s.io/v1');
  assert.is(slice.everyNode, true);
  const service = reasons.badObject({ kind: 'Service', ...WEB }, ['no port'], 'object');
  assert.equal([service.reason, service.action], ['InvalidService', 'IgnoreService']);
});

test('a bad Node is told by its own proxy, where its events are looked for', () => {
  const node = reasons.badObject({ kind: 'Node', namespace: '', name: 'n1', uid: 'real' }, ['podCIDRs'], 'faults');
  assert.is(node.regarding.uid, 'n1');
  assert.is(node.everyNode, false);
});

test.run();
