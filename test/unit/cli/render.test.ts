import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { changes, type Objects } from '../../../core/cli/render.ts';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings } from '../../../core/config/settings.ts';
import type { EndpointSlice, Node, Service, SliceEndpoint } from '../../../core/model/objects.ts';

const service = (name: string, clusterIP: string): Service => ({
  namespace: 'default',
  name,
  uid: '',
  families: { IPv4: { clusterIP, externalIPs: [], loadBalancerVIPs: [], sourceRanges: [] } },
  ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: 0 }],
  internalPolicy: 'Cluster',
  externalPolicy: 'Cluster',
  affinitySeconds: 0,
  healthCheckNodePort: 0,
  annotations: {},
});
const on = (ip: string, nodeName: string): SliceEndpoint => ({
  ip,
  nodeName,
  zone: '',
  ready: true,
  serving: true,
  terminating: false,
  hintZones: [],
  hintNodes: [],
});
const slice = (serviceName: string, ...endpoints: SliceEndpoint[]): EndpointSlice => ({
  namespace: 'default',
  name: `${serviceName}-1`,
  serviceName,
  family: 'IPv4',
  ports: [{ name: '', protocol: 'TCP', port: 8080 }],
  endpoints,
  triggerTimeMs: 0,
});
const node = (name: string, ip: string): Node => ({
  name,
  uid: '',
  zone: '',
  ips: [ip, 'fd00::1'],
  podCIDRs: [],
  eligible: true,
});

const OBJECTS: Objects = {
  services: [service('web', '10.96.0.10'), service('api', '10.96.0.11')],
  slices: [slice('web', on('10.244.1.2', 'worker-1'), on('10.244.2.2', 'worker-2'))],
  nodes: [node('worker-1', '192.168.0.10')],
};
const rendered = (objects: Objects, ...argv: readonly string[]) => {
  const checked = checkSettings(parseCommandLine(['render', '--manifests=m', '--backend=dry-run', ...argv]), [
    'dry-run',
  ]);
  assert.equal(checked.faults, []);
  return changes(objects, checked.settings);
};

const test = suite('render');

test('each family asked for is one full change with all service ports in byte order', () => {
  const [four, six] = rendered(OBJECTS);
  assert.equal([four!.family, six!.family, four!.full, four!.remove], ['IPv4', 'IPv6', true, []]);
  assert.equal(
    four!.upsert.map(({ key }) => key),
    ['default/api/TCP', 'default/web/TCP'],
  );
  assert.is(six!.upsert.length, 0);
  assert.equal(
    rendered(OBJECTS, '--family=IPv6').map(({ family }) => family),
    ['IPv6'],
  );
});

test('the node is the only one of the manifests, and its addresses are those of its object and loopback', () => {
  const [four, six] = rendered(OBJECTS);
  assert.is(four!.node.name, 'worker-1');
  assert.equal(four!.node.addresses, ['127.0.0.1', '192.168.0.10']);
  assert.equal(six!.node.addresses, ['::1', 'fd00::1']);
  assert.equal(
    four!.upsert[1]!.cluster.map(({ isLocal }) => isLocal),
    [true, false],
  );
});

test('the node can be named', () => {
  const objects = { ...OBJECTS, nodes: [...OBJECTS.nodes, node('worker-2', '192.168.0.20')] };
  const [four] = rendered(objects, '--hostname-override=Worker-2');
  assert.equal(four!.node.nodeIPs, ['192.168.0.20']);
  assert.equal(
    four!.upsert[1]!.cluster.map(({ isLocal }) => isLocal),
    [false, true],
  );
});

test('among several nodes none is guessed, and without one nothing of this machine is used', () => {
  const two = { ...OBJECTS, nodes: [...OBJECTS.nodes, node('worker-2', '192.168.0.20')] };
  for (const objects of [two, { ...OBJECTS, nodes: [] }]) {
    const [four] = rendered(objects, '--family=IPv4');
    assert.is(four!.node.name, '');
    assert.equal(four!.node.addresses, ['127.0.0.1']);
    assert.equal(
      four!.upsert[1]!.cluster.map(({ isLocal }) => isLocal),
      [false, false],
    );
  }
});

test('addresses that are given replace those of the Node object', () => {
  const [four] = rendered(OBJECTS, '--node-addresses=10.0.0.5,127.0.0.1');
  assert.equal(four!.node.addresses, ['10.0.0.5', '127.0.0.1']);
});

test.run();
