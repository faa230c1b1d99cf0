import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NodeView, Packet, ServicePort } from '../../../core/backend.ts';
import { route } from '../../../core/model/oracle.ts';
import { CLIENT, endpoint, LOCAL_POD, NODE, POD, packet, REMOTE_POD, servicePort, view } from './samples.ts';

/** A verdict in one line: "pass", "drop shop/web:http/TCP", "both masqueraded", "local as it is", … */
function verdict(
  asked: Packet,
  port: Partial<ServicePort> | readonly ServicePort[] = {},
  node: Partial<NodeView> = {},
) {
  const ports = Array.isArray(port) ? port : [servicePort(port as Partial<ServicePort>)];
  const found = route(asked, { node: view(node), ports });
  if (found.action === 'pass') return 'pass';
  if (found.action !== 'endpoints') return found.action;
  const list = found.endpoints.length === 2 ? 'cluster' : found.endpoints.map(({ ip }) => ip).join();
  const named = list === LOCAL_POD.ip ? 'local' : list;
  const masqueraded = found.endpoints.map((target) => found.masquerade(target));
  assert.is(new Set(masqueraded).size, 1, 'all alike');
  return masqueraded[0] ? `${named}, masqueraded` : named;
}

const CLUSTER_IP = '10.96.0.10:80';
const EXTERNAL_IP = '203.0.113.1:80';
const VIP = '203.0.113.2:80';
const NODE_PORT = '192.168.50.10:30080';
const EXTERNAL = [EXTERNAL_IP, VIP, NODE_PORT];
/** A host process on its loopback address. */
const LOCALHOST = { ...NODE, sourceIP: '127.0.0.1' };
const REMOTE_NODE_POD = { sourceIP: '10.244.2.99', origin: 'outside', inputInterface: 'eth0' } as const;

const destinations = suite('destinations');

const PASS: readonly string[] = [
  '10.96.0.10:81',
  '10.96.0.11:80',
  '203.0.113.1:30080',
  '192.168.50.10:80',
  '192.168.50.11:30080',
  '198.18.0.1:30080',
  '10.96.0.10:30080',
];
for (const destination of PASS) {
  destinations(`${destination} is none of ours`, () => assert.is(verdict(packet(CLIENT, destination)), 'pass'));
}

destinations('another protocol is another destination', () => {
  for (const destination of [CLUSTER_IP, ...EXTERNAL]) {
    assert.is(verdict({ ...packet(CLIENT, destination), protocol: 'UDP' }), 'pass');
  }
});

destinations('every kind of destination leads to the endpoints, and the verdict names its owner', () => {
  const kinds = {
    [CLUSTER_IP]: 'clusterIP',
    [EXTERNAL_IP]: 'externalIP',
    [VIP]: 'loadBalancerVIP',
    [NODE_PORT]: 'nodePort',
  };
  for (const [destination, kind] of Object.entries(kinds)) {
    const found = route(packet(CLIENT, destination), { node: view(), ports: [servicePort()] });
    assert.is(found.action, 'endpoints');
    if (found.action !== 'endpoints') continue;
    assert.equal([found.servicePort, found.destination], ['shop/web:http/TCP', kind]);
    assert.equal(found.endpoints, [LOCAL_POD, REMOTE_POD]);
  }
});

destinations('an exact address comes before a node port on the same address', () => {
  const ports = [
    servicePort({ key: 'a/a/TCP', nodePort: 8080, cluster: [endpoint('10.0.0.1')] }),
    servicePort({
      key: 'b/b/TCP',
      nodePort: 0,
      externalIPs: ['192.168.50.10'],
      port: 8080,
      cluster: [endpoint('10.0.0.2')],
    }),
  ];
  assert.match(verdict(packet(CLIENT, '192.168.50.10:8080'), ports), /^10\.0\.0\.2/);
  assert.match(verdict(packet(CLIENT, '192.168.60.10:8080'), ports), /^10\.0\.0\.1/);
});

destinations('a cluster IP keeps its owner when another Service claims it as external IP', () => {
  const ports = [
    servicePort({
      key: 'a/thief/TCP',
      clusterIP: '10.96.0.66',
      externalIPs: ['10.96.0.10'],
      cluster: [endpoint('10.0.0.1')],
    }),
    servicePort({ key: 'b/b/TCP', cluster: [endpoint('10.0.0.2')] }),
  ];
  assert.match(verdict(packet(CLIENT, CLUSTER_IP), ports), /^10\.0\.0\.2/);
});

destinations.run();

const empty = suite('no endpoints');

const NOTHING = { cluster: [], local: [], hasEndpoints: false };

empty('without any endpoint every destination rejects, whoever asks and whatever the policy', () => {
  for (const source of [CLIENT, POD, NODE, LOCALHOST]) {
    for (const destination of [CLUSTER_IP, ...EXTERNAL]) {
      for (const policy of ['Cluster', 'Local'] as const) {
        const port = { ...NOTHING, internalPolicy: policy, externalPolicy: policy };
        assert.is(verdict(packet(source, destination), port), 'reject', `${source.origin} ${destination} ${policy}`);
      }
    }
  }
});

empty('a rejecting node port rejects only where node ports answer', () => {
  const node = { nodePortAddresses: { match: 'list', addresses: ['192.168.60.10'] } } as const;
  assert.is(verdict(packet(CLIENT, '192.168.60.10:30080'), NOTHING, node), 'reject');
  assert.is(verdict(packet(CLIENT, NODE_PORT), NOTHING, node), 'pass');
  assert.is(verdict(packet(NODE, NODE_PORT), NOTHING, node), 'pass');
});

const ELSEWHERE = { cluster: [REMOTE_POD], local: [], hasEndpoints: true };

empty('internal Local with endpoints only elsewhere drops at the cluster IP, and only there', () => {
  const port = { ...ELSEWHERE, internalPolicy: 'Local' } as const;
  for (const source of [CLIENT, POD, NODE]) assert.is(verdict(packet(source, CLUSTER_IP), port), 'drop');
  for (const destination of EXTERNAL) assert.is(verdict(packet(CLIENT, destination), port), '10.244.2.5, masqueraded');
});

empty(
  'external Local with endpoints only elsewhere drops outside connections to external destinations, and only these',
  () => {
    const port = { ...ELSEWHERE, externalPolicy: 'Local' } as const;
    for (const destination of EXTERNAL) {
      assert.is(verdict(packet(CLIENT, destination), port), 'drop');
      assert.is(verdict(packet(POD, destination), port), '10.244.2.5');
      assert.is(verdict(packet(NODE, destination), port), '10.244.2.5, masqueraded');
    }
    assert.is(verdict(packet(POD, CLUSTER_IP), port), '10.244.2.5');
  },
);

empty.run();

const matrix = suite('policies and masquerading');

const ALL = { masqueradeAll: true };
const NO_DETECTOR = { localDetector: { kind: 'none' } } as const;
const INTERNAL_LOCAL = { internalPolicy: 'Local' } as const;

type Source = Pick<Packet, 'sourceIP' | 'origin' | 'inputInterface'>;
const TO_CLUSTER_IP: readonly (readonly [string, Source, string, Partial<ServicePort>?, Partial<NodeView>?])[] = [
  ['from a pod', POD, 'cluster'],
  ['from the node', NODE, 'cluster, masqueraded'],
  ['from localhost', LOCALHOST, 'cluster, masqueraded'],
  ['from outside', CLIENT, 'cluster, masqueraded'],
  ['from a pod of another node inside the cluster CIDR', REMOTE_NODE_POD, 'cluster'],
  ['from a pod, internal Local', POD, 'local', INTERNAL_LOCAL],
  ['from the node, internal Local', NODE, 'local, masqueraded', INTERNAL_LOCAL],
  ['from outside, internal Local', CLIENT, 'local, masqueraded', INTERNAL_LOCAL],
  ['from a pod, external Local changes nothing', POD, 'cluster', { externalPolicy: 'Local' }],
  ['from outside, external Local changes nothing', CLIENT, 'cluster, masqueraded', { externalPolicy: 'Local' }],
  ['from a pod, masqueradeAll', POD, 'cluster, masqueraded', {}, ALL],
  ['from outside without detector, masqueradeAll', CLIENT, 'cluster, masqueraded', {}, { ...ALL, ...NO_DETECTOR }],
  ['from a pod without detector', POD, 'cluster', {}, NO_DETECTOR],
  ['from the node without detector', NODE, 'cluster', {}, NO_DETECTOR],
  ['from outside without detector', CLIENT, 'cluster', {}, NO_DETECTOR],
];
for (const [title, source, expected, port, node] of TO_CLUSTER_IP) {
  matrix(`to a cluster IP ${title}: ${expected}`, () => {
    assert.is(verdict(packet(source, CLUSTER_IP), port, node), expected);
  });
}

const LOCAL = { externalPolicy: 'Local' } as const;
const TO_EXTERNAL: readonly (readonly [string, Source, string, Partial<ServicePort>?, Partial<NodeView>?])[] = [
  ['Cluster, from a pod', POD, 'cluster, masqueraded'],
  ['Cluster, from the node', NODE, 'cluster, masqueraded'],
  ['Cluster, from outside', CLIENT, 'cluster, masqueraded'],
  ['Cluster, from outside without detector', CLIENT, 'cluster, masqueraded', {}, NO_DETECTOR],
  ['Cluster, internal Local changes nothing', CLIENT, 'cluster, masqueraded', INTERNAL_LOCAL],
  ['Local, from a pod', POD, 'cluster', LOCAL],
  ['Local, from the node', NODE, 'cluster, masqueraded', LOCAL],
  ['Local, from localhost', LOCALHOST, 'cluster, masqueraded', LOCAL],
  ['Local, from another address of the node', { ...NODE, sourceIP: '192.168.60.10' }, 'cluster, masqueraded', LOCAL],
  ['Local, from outside', CLIENT, 'local', LOCAL],
  ['Local, from a pod without detector', POD, 'local', LOCAL, NO_DETECTOR],
  ['Local, from the node without detector', NODE, 'cluster, masqueraded', LOCAL, NO_DETECTOR],
  ['Local, from a pod with masqueradeAll, which is about cluster IPs', POD, 'cluster', LOCAL, ALL],
  ['Local, from outside with masqueradeAll', CLIENT, 'local', LOCAL, ALL],
];
for (const [title, source, expected, port, node] of TO_EXTERNAL) {
  matrix(`to an external destination, ${title}: ${expected}`, () => {
    for (const destination of EXTERNAL)
      assert.is(verdict(packet(source, destination), port, node), expected, destination);
  });
}

matrix('an endpoint that reaches itself is masqueraded, the others are not', () => {
  const self = { ...POD, sourceIP: LOCAL_POD.ip };
  for (const [destination, port] of [
    [CLUSTER_IP, {}],
    [VIP, LOCAL],
    [NODE_PORT, LOCAL],
  ] as const) {
    const found = route(packet(self, destination), { node: view(), ports: [servicePort(port)] });
    assert.is(found.action, 'endpoints');
    if (found.action !== 'endpoints') continue;
    assert.equal(
      found.endpoints.map((target) => [target.ip, found.masquerade(target)]),
      [
        [LOCAL_POD.ip, true],
        [REMOTE_POD.ip, false],
      ],
    );
  }
});

matrix.run();

const detection = suite('telling pods from others');

/** With policy Local only a pod that is recognised gets the cluster list without masquerading. */
const isPod = (source: Source, localDetector: NodeView['localDetector'], node: Partial<NodeView> = {}): boolean => {
  const found = verdict(packet(source, VIP), LOCAL, { localDetector, ...node });
  return found === 'cluster';
};

const BRIDGE = { kind: 'interface', name: 'br0' } as const;
const PREFIX = { kind: 'interfacePrefix', prefix: 'veth' } as const;
const CIDR = { kind: 'cidr', cidr: '10.244.1.0/24' } as const;
const on = (inputInterface: string): Source => ({ ...POD, inputInterface });

detection('by CIDR: the source address decides, not where the packet came from', () => {
  assert.ok(isPod(POD, CIDR));
  assert.ok(isPod({ ...CLIENT, sourceIP: POD.sourceIP }, CIDR));
  assert.not(isPod({ ...POD, sourceIP: '10.9.9.9' }, CIDR));
  assert.not(isPod(REMOTE_NODE_POD, CIDR));
});

detection('by interface: the whole name of the input interface decides', () => {
  assert.ok(isPod(on('br0'), BRIDGE));
  assert.not(isPod(on('br01'), BRIDGE));
  assert.not(isPod(CLIENT, BRIDGE));
});

detection('by prefix: the beginning of the input interface decides', () => {
  assert.ok(isPod(on('veth77'), PREFIX));
  assert.ok(isPod(on('veth'), PREFIX));
  assert.not(isPod(on('vet'), PREFIX));
  assert.not(isPod(CLIENT, PREFIX));
});

detection('interfaces do not make the host itself a pod', () => {
  assert.not(isPod({ ...NODE, inputInterface: 'veth77' }, PREFIX));
  assert.not(isPod({ ...NODE, inputInterface: 'br0' }, BRIDGE));
});

detection('none recognises no one', () => assert.not(isPod(POD, { kind: 'none' })));

detection('an address of the node is the node, even when the packet does not say so', () => {
  for (const sourceIP of ['192.168.60.10', '127.0.0.5']) {
    assert.is(verdict(packet({ ...CLIENT, sourceIP }, VIP), LOCAL), 'cluster, masqueraded', sourceIP);
  }
});

detection('an address of the node inside the pod CIDR goes as a pod, as by CIDR nothing else can be told', () => {
  const bridge = { ...NODE, sourceIP: '10.244.1.1' };
  assert.ok(isPod(bridge, CIDR, { addresses: ['10.244.1.1'] }));
});

detection.run();

const ranges = suite('source ranges');

const GUARDED = { sourceRanges: ['198.18.0.0/24', '203.0.113.2/32'] };

ranges('a source inside may reach the VIP', () => {
  assert.is(verdict(packet(CLIENT, VIP), GUARDED), 'cluster, masqueraded');
});

ranges('any other source is dropped: outside, pods and the node alike', () => {
  for (const source of [{ ...CLIENT, sourceIP: '198.18.1.9' }, POD, NODE, LOCALHOST]) {
    assert.is(verdict(packet(source, VIP), GUARDED), 'drop', source.sourceIP);
  }
});

ranges('the VIP itself is a source where it is admitted', () => {
  assert.is(verdict(packet({ ...NODE, sourceIP: '203.0.113.2' }, VIP), GUARDED), 'cluster, masqueraded');
});

ranges('they guard neither cluster IP nor external IP nor node port', () => {
  for (const destination of [CLUSTER_IP, EXTERNAL_IP, NODE_PORT]) {
    assert.is(verdict(packet(POD, destination), GUARDED).split(',')[0], 'cluster');
  }
});

ranges('they come before the rejection of a Service without endpoints', () => {
  assert.is(verdict(packet(POD, VIP), { ...GUARDED, ...NOTHING }), 'drop');
  assert.is(verdict(packet(CLIENT, VIP), { ...GUARDED, ...NOTHING }), 'reject');
});

ranges('a dropped VIP that is also a node address does not go on to the node ports', () => {
  const ports = [servicePort({ ...GUARDED, loadBalancerVIPs: ['192.168.50.10'], port: 30080 })];
  assert.is(verdict(packet(POD, NODE_PORT), ports), 'drop');
});

ranges('the guard of one Service does not guard another', () => {
  const ports = [servicePort(GUARDED), servicePort({ key: 'b/b/TCP', loadBalancerVIPs: ['203.0.113.7'] })];
  assert.is(verdict(packet(POD, '203.0.113.7:80'), ports), 'cluster, masqueraded');
});

ranges.run();

const nodePorts = suite('node port addresses');

const answers = (
  nodePortAddresses: NodeView['nodePortAddresses'],
  destination: string,
  source: Source = CLIENT,
): boolean => verdict(packet(source, destination), {}, { nodePortAddresses }) !== 'pass';

nodePorts('all: every address of the node, no other', () => {
  const all = { match: 'all', loopback: false } as const;
  assert.ok(answers(all, '192.168.50.10:30080'));
  assert.ok(answers(all, '192.168.60.10:30080'));
  assert.not(answers(all, '192.168.70.10:30080'));
});

nodePorts('all: loopback only if asked for, then all of 127.0.0.0/8', () => {
  for (const destination of ['127.0.0.1:30080', '127.1.2.3:30080']) {
    assert.not(answers({ match: 'all', loopback: false }, destination, LOCALHOST));
    assert.ok(answers({ match: 'all', loopback: true }, destination, LOCALHOST));
  }
});

nodePorts('list: exactly these addresses', () => {
  const list = { match: 'list', addresses: ['192.168.60.10', '127.0.0.1'] } as const;
  assert.ok(answers(list, '192.168.60.10:30080'));
  assert.ok(answers(list, '127.0.0.1:30080', LOCALHOST));
  assert.not(answers(list, '127.0.0.2:30080', LOCALHOST));
  assert.not(answers(list, '192.168.50.10:30080'));
});

nodePorts('an empty list answers nowhere', () => {
  for (const destination of [NODE_PORT, '127.0.0.1:30080']) {
    assert.not(answers({ match: 'list', addresses: [] }, destination, NODE));
  }
});

nodePorts('::1 never answers', () => {
  const node = view({ addresses: ['::1', 'fd00:50::10'], nodePortAddresses: { match: 'all', loopback: true } });
  const ports = [servicePort({ clusterIP: 'fd00::a', externalIPs: [], loadBalancerVIPs: [] })];
  const host = { sourceIP: '::1', origin: 'node', inputInterface: '' } as const;
  assert.is(route(packet(host, '[::1]:30080'), { node, ports }).action, 'pass');
  assert.is(route(packet(host, '[fd00:50::10]:30080'), { node, ports }).action, 'endpoints');
});

nodePorts('node ports answer on a local address only, even where the cluster IP has the same port', () => {
  assert.is(verdict(packet(POD, '10.96.0.10:30080')), 'pass');
});

nodePorts.run();
