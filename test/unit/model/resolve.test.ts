import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ServicePort } from '../../../core/backend.ts';
import type { EndpointSlice, Service, ServiceAddresses } from '../../../core/model/objects.ts';
import { type ResolveNode, resolveService, servicePortsEqual } from '../../../core/model/resolve.ts';
import { endpoint, HERE, service, servicePort, slice, sliceEndpoint, TERMINATING } from './samples.ts';

const NODE: ResolveNode = { family: 'IPv4', name: 'node-a', zone: 'zone-a', nodeIPs: ['192.168.50.10'] };

function only(of: Service, slices: Iterable<EndpointSlice>, node: ResolveNode = NODE): ServicePort {
  const resolved = resolveService(of, slices, node);
  assert.is(resolved.length, 1);
  return resolved[0]!;
}

const at = (port: ServicePort): string[] => port.cluster.map((target) => `${target.ip}:${target.port}`);

function addresses(rest: Partial<ServiceAddresses> = {}): Service['families'] {
  return { IPv4: { clusterIP: '10.96.0.10', externalIPs: [], loadBalancerVIPs: [], sourceRanges: [], ...rest } };
}

const ports = suite('service ports');

ports('a Service with one endpoint becomes one service port', () => {
  assert.equal(only(service(), [slice([sliceEndpoint('10.244.2.5')])]), {
    key: 'shop/web:http/TCP',
    namespace: 'shop',
    name: 'web',
    portName: 'http',
    protocol: 'TCP',
    clusterIP: '10.96.0.10',
    port: 80,
    nodePort: 0,
    externalIPs: [],
    loadBalancerVIPs: [],
    sourceRanges: [],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    cluster: [endpoint('10.244.2.5')],
    local: [],
    hasEndpoints: true,
    annotations: {},
  });
});

ports('endpoints that are not chosen but still serve are told for UDP alone, and only if there are any', () => {
  const of = (protocol: 'TCP' | 'UDP', ...endpoints: Parameters<typeof slice>[0][number][]) =>
    only(service({ ports: [{ name: 'http', protocol, port: 80, nodePort: 0 }] }), [
      slice(endpoints, { ports: [{ name: 'http', protocol, port: 8080 }] }),
    ]);
  const ready = sliceEndpoint('10.244.2.5');
  const terminating = sliceEndpoint('10.244.2.6', TERMINATING);
  assert.equal(of('UDP', ready, terminating).keepsFlowsUDP, [endpoint('10.244.2.6', { ready: false })]);
  assert.not('keepsFlowsUDP' in of('UDP', ready));
  assert.not('keepsFlowsUDP' in of('UDP', terminating));
  assert.not('keepsFlowsUDP' in of('TCP', ready, terminating));
});

ports('an endpoint has the annotations of its slice, in every list, and no field where there are none', () => {
  const annotations = { 'kube-proxy.io/weight': '7' };
  const here = sliceEndpoint('10.244.1.5', HERE);
  const of = service({
    internalPolicy: 'Local',
    ports: [{ name: 'http', protocol: 'UDP', port: 80, nodePort: 30080 }],
  });
  const udp = { ports: [{ name: 'http', protocol: 'UDP', port: 8080 }] } as const;
  const { cluster, local, keepsFlowsUDP } = only(of, [
    slice([here, sliceEndpoint('10.244.1.7', TERMINATING)], { ...udp, annotations }),
    slice([sliceEndpoint('10.244.2.5')], { ...udp, name: 'web-other' }),
  ]);
  assert.equal(
    cluster.map((one) => [one.ip, one.annotations]),
    [
      ['10.244.1.5', annotations],
      ['10.244.2.5', undefined],
    ],
  );
  assert.equal(local[0]!.annotations, annotations);
  assert.equal(keepsFlowsUDP?.[0]?.annotations, annotations);
  assert.not('annotations' in cluster[1]!);
});

ports('an endpoint that is in two slices has the annotations of the one that it counts as in', () => {
  const slices = (terminating: boolean) => [
    slice([sliceEndpoint('10.244.2.5')], { name: 'a', annotations: { 'kube-proxy.io/weight': '1' } }),
    slice([sliceEndpoint('10.244.2.5', terminating ? TERMINATING : {})], {
      name: 'b',
      annotations: { 'kube-proxy.io/weight': '2' },
    }),
  ];
  const weight = (all: readonly EndpointSlice[]) => only(service(), all).cluster[0]!.annotations;
  assert.equal(weight(slices(false)), { 'kube-proxy.io/weight': '2' });
  assert.equal(weight(slices(false).reverse()), { 'kube-proxy.io/weight': '2' });
  assert.equal(weight(slices(true)), { 'kube-proxy.io/weight': '1' });
});

ports('a Service without address in the family has no service ports there', () => {
  assert.equal(resolveService(service(), [slice([])], { ...NODE, family: 'IPv6' }), []);
  assert.equal(resolveService(service({ families: {} }), [], NODE), []);
});

ports('a Service without slices has a service port without endpoints', () => {
  const { cluster, local, hasEndpoints } = only(service(), []);
  assert.equal([cluster, local, hasEndpoints], [[], [], false]);
});

ports('the key of an unnamed port has no colon, and keys tell protocols apart', () => {
  const list = [
    { name: '', protocol: 'TCP', port: 53, nodePort: 0 },
    { name: '', protocol: 'UDP', port: 53, nodePort: 0 },
  ] as const;
  const keys = resolveService(service({ ports: list }), [], NODE).map(({ key }) => key);
  assert.equal(keys, ['shop/web/TCP', 'shop/web/UDP']);
});

ports('of two ports with the same name and protocol the first one stands', () => {
  const list = [80, 81].map((port) => ({ name: 'http', protocol: 'TCP', port, nodePort: 0 }) as const);
  assert.is(only(service({ ports: list }), []).port, 80);
});

ports('affinity, health check port and annotations are those of the Service', () => {
  const of = service({ affinitySeconds: 60, healthCheckNodePort: 31000, annotations: { 'kube-proxy.io/a': 'b' } });
  const port = only(of, []);
  assert.equal([port.affinitySeconds, port.healthCheckNodePort], [60, 31000]);
  assert.equal(port.annotations, { 'kube-proxy.io/a': 'b' });
});

ports.run();

const merging = suite('merging of slices');

merging('a health check port has local endpoints, even before the balancer has an address', () => {
  const of = service({ externalPolicy: 'Local', healthCheckNodePort: 31000 });
  const here = slice([sliceEndpoint('10.0.0.1', { nodeName: 'node-a' }), sliceEndpoint('10.0.0.2')]);
  assert.equal(
    only(of, [here]).local.map(({ ip }) => ip),
    ['10.0.0.1'],
  );
  assert.equal(only(service({ externalPolicy: 'Local' }), [here]).local, []);
});

merging('ports match by name and protocol, and may have other numbers in other slices', () => {
  const slices = [
    slice([sliceEndpoint('10.0.0.1')], { name: 'a' }),
    slice([sliceEndpoint('10.0.0.2')], { name: 'b', ports: [{ name: 'http', protocol: 'TCP', port: 9090 }] }),
    slice([sliceEndpoint('10.0.0.3')], { name: 'c', ports: [{ name: 'http', protocol: 'UDP', port: 8080 }] }),
    slice([sliceEndpoint('10.0.0.4')], { name: 'd', ports: [{ name: '', protocol: 'TCP', port: 8080 }] }),
    slice([sliceEndpoint('10.0.0.5')], { name: 'e', ports: [] }),
  ];
  assert.equal(at(only(service(), slices)), ['10.0.0.1:8080', '10.0.0.2:9090']);
});

merging('slices of the other family and of other Services are passed over', () => {
  const slices = [
    slice([sliceEndpoint('fd00::1')], { family: 'IPv6' }),
    slice([sliceEndpoint('10.0.0.1')], { serviceName: 'db' }),
    slice([sliceEndpoint('10.0.0.2')], { namespace: 'other' }),
  ];
  assert.is(only(service(), slices).hasEndpoints, false);
});

merging('slices that can be walked only once are enough for several ports', () => {
  const names = ['http', 'admin'];
  const of = service({ ports: names.map((name) => ({ name, protocol: 'TCP', port: 80, nodePort: 0 })) });
  const one = slice([sliceEndpoint('10.0.0.1')], {
    ports: names.map((name) => ({ name, protocol: 'TCP', port: 8080 })),
  });
  const once = (function* () {
    yield one;
  })();
  for (const port of resolveService(of, once, NODE)) assert.equal(at(port), ['10.0.0.1:8080']);
});

merging('endpoints are in byte order of "ip:port"', () => {
  const list = ['10.0.1.1', '10.0.1.10', '9.0.0.1', '10.0.1.2'].map((ip) => sliceEndpoint(ip));
  const expected = ['10.0.1.10:8080', '10.0.1.1:8080', '10.0.1.2:8080', '9.0.0.1:8080'];
  assert.equal(at(only(service(), [slice(list)])), expected);
});

merging('IPv6 endpoints are in byte order of "[ip]:port"', () => {
  const families = { IPv6: { clusterIP: 'fd00::a', externalIPs: [], loadBalancerVIPs: [], sourceRanges: [] } };
  const list = ['fd00::1', 'fd00::1:1', 'fd00::'].map((ip) => sliceEndpoint(ip));
  const port = only(service({ families }), [slice(list, { family: 'IPv6' })], { ...NODE, family: 'IPv6' });
  assert.equal(
    port.cluster.map(({ ip }) => ip),
    ['fd00::1:1', 'fd00::1', 'fd00::'],
  );
});

const SAME = '10.0.0.1';
const remote = (rest = {}) => slice([sliceEndpoint(SAME, { nodeName: 'first', ...rest })], { name: 'a' });
const later = (rest = {}) => slice([sliceEndpoint(SAME, { nodeName: 'second', ...rest })], { name: 'b' });
const DOUBLES: readonly (readonly [string, EndpointSlice[], string])[] = [
  ['the later of two live ones counts', [remote(), later()], 'second'],
  ['later means by slice name, not by arrival', [later(), remote()], 'second'],
  ['a later terminating one does not replace', [remote(), later(TERMINATING)], 'first'],
  ['a later live one replaces a terminating one', [remote(TERMINATING), later()], 'second'],
  ['the earlier of two terminating ones counts', [remote(TERMINATING), later(TERMINATING)], 'first'],
];
for (const [title, slices, nodeName] of DOUBLES) {
  merging(`of an address that is there twice, ${title}`, () => {
    const { cluster } = only(service(), slices);
    assert.equal(
      cluster.map((target) => target.nodeName),
      [nodeName],
    );
  });
}

merging.run();

const use = suite('which lists a service port uses');

const VIPS = addresses({ loadBalancerVIPs: ['203.0.113.2'] });
const EXTERNAL_IPS = addresses({ externalIPs: ['203.0.113.1'] });
const NODE_PORT = [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 }] as const;
const USES: readonly (readonly [string, Partial<Service>, boolean, boolean])[] = [
  ['internal only, Cluster', {}, true, false],
  ['internal only, Local', { internalPolicy: 'Local' }, false, true],
  ['internal only, external Local has no destination', { externalPolicy: 'Local' }, true, false],
  [
    'internal Local, external Local has no destination',
    { internalPolicy: 'Local', externalPolicy: 'Local' },
    false,
    true,
  ],
  ['node port, Cluster', { ports: NODE_PORT }, true, false],
  ['node port, Local', { ports: NODE_PORT, externalPolicy: 'Local' }, true, true],
  ['internal Local, node port Cluster', { ports: NODE_PORT, internalPolicy: 'Local' }, true, true],
  ['external IP, Local', { families: EXTERNAL_IPS, externalPolicy: 'Local' }, true, true],
  ['VIP, both Local', { families: VIPS, externalPolicy: 'Local', internalPolicy: 'Local' }, true, true],
];
for (const [title, rest, usesCluster, usesLocal] of USES) {
  use(title, () => {
    const list = [sliceEndpoint('10.0.0.1', HERE), sliceEndpoint('10.0.0.2')];
    const { cluster, local, hasEndpoints } = only(service(rest), [slice(list)]);
    assert.is(cluster.length, usesCluster ? 2 : 0);
    assert.is(local.length, usesLocal ? 1 : 0);
    assert.ok(hasEndpoints);
  });
}

use('node name and zone decide what is local and which hints apply', () => {
  const list = [
    sliceEndpoint('10.0.0.1', { ...HERE, hintZones: ['zone-a'] }),
    sliceEndpoint('10.0.0.2', { hintZones: ['zone-b'] }),
  ];
  const of = service({ internalPolicy: 'Local', ports: NODE_PORT });
  const here = only(of, [slice(list)]);
  assert.equal([at(here), here.local.length], [['10.0.0.1:8080'], 1]);
  const there = only(of, [slice(list)], { ...NODE, name: 'node-b', zone: 'zone-b' });
  assert.equal([at(there), there.local[0]?.ip], [['10.0.0.2:8080'], '10.0.0.2']);
});

use.run();

const ranges = suite('source ranges');

const RANGES: readonly (readonly [string, Partial<ServiceAddresses>, readonly string[]])[] = [
  [
    'admit the VIPs where they admit the node',
    { sourceRanges: ['192.168.0.0/16'] },
    ['192.168.0.0/16', '203.0.113.2/32'],
  ],
  ['do not admit the VIPs where they do not admit the node', { sourceRanges: ['10.0.0.0/8'] }, ['10.0.0.0/8']],
  ['stay empty where everyone is admitted', { sourceRanges: [] }, []],
  [
    'do not name a VIP twice',
    { sourceRanges: ['192.168.0.0/16', '203.0.113.2/32'] },
    ['192.168.0.0/16', '203.0.113.2/32'],
  ],
  [
    'without a VIP are left as they are',
    { sourceRanges: ['192.168.0.0/16'], loadBalancerVIPs: [] },
    ['192.168.0.0/16'],
  ],
];
for (const [title, rest, expected] of RANGES) {
  ranges(title, () => {
    const families = addresses({ loadBalancerVIPs: ['203.0.113.2'], ...rest });
    assert.equal(only(service({ families }), []).sourceRanges, expected);
  });
}

ranges('any address of the node will do, and IPv6 VIPs are /128', () => {
  const families = {
    IPv6: { clusterIP: 'fd00::a', externalIPs: [], loadBalancerVIPs: ['2001:db8::2'], sourceRanges: ['fd00:60::/64'] },
  };
  const node: ResolveNode = { ...NODE, family: 'IPv6', nodeIPs: ['fd00:50::10', 'fd00:60::10'] };
  assert.equal(only(service({ families }), [], node).sourceRanges, ['fd00:60::/64', '2001:db8::2/128']);
});

ranges.run();

const equality = suite('equality of service ports');

equality('a copy is equal', () => {
  assert.ok(servicePortsEqual(servicePort(), structuredClone(servicePort())));
  assert.ok(servicePortsEqual(servicePort({ annotations: { a: 'b' } }), servicePort({ annotations: { a: 'b' } })));
});

const CHANGED: { [Field in keyof ServicePort]: ServicePort[Field] } = {
  key: 'x',
  namespace: 'x',
  name: 'x',
  portName: 'x',
  protocol: 'UDP',
  clusterIP: '10.96.0.11',
  port: 81,
  nodePort: 0,
  externalIPs: ['203.0.113.9'],
  loadBalancerVIPs: [],
  sourceRanges: ['10.0.0.0/8'],
  internalPolicy: 'Local',
  externalPolicy: 'Local',
  affinitySeconds: 1,
  healthCheckNodePort: 1,
  cluster: [],
  local: [],
  hasEndpoints: false,
  keepsFlowsUDP: [endpoint('10.0.0.1')],
  annotations: { a: 'b' },
};
for (const [field, value] of Object.entries(CHANGED)) {
  equality(`another ${field} is a difference`, () => {
    assert.not(servicePortsEqual(servicePort(), servicePort({ [field]: value })));
    assert.not(servicePortsEqual(servicePort({ [field]: value }), servicePort()));
  });
}

for (const [field, value] of Object.entries({
  ip: '10.0.0.9',
  port: 1,
  isLocal: true,
  ready: false,
  nodeName: 'x',
  zone: 'x',
  annotations: { a: 'b' },
})) {
  equality(`another ${field} of an endpoint is a difference`, () => {
    const one = servicePort({ cluster: [endpoint('10.0.0.1')] });
    const other = servicePort({ cluster: [{ ...endpoint('10.0.0.1'), [field]: value }] });
    assert.not(servicePortsEqual(one, other));
  });
}

equality('annotations of an endpoint are compared by what they say, and a missing one is a difference', () => {
  const one = (annotations?: Readonly<Record<string, string>>): ServicePort =>
    servicePort({ cluster: [{ ...endpoint('10.0.0.1'), ...(annotations && { annotations }) }] });
  assert.ok(servicePortsEqual(one({ a: 'b' }), one({ a: 'b' })));
  assert.not(servicePortsEqual(one({ a: 'b' }), one({ a: 'c' })));
  assert.not(servicePortsEqual(one({ a: 'b' }), one()));
  assert.not(servicePortsEqual(one(), one({ a: 'b' })));
});

equality('the same annotations under other names are a difference', () => {
  assert.not(servicePortsEqual(servicePort({ annotations: { a: 'b' } }), servicePort({ annotations: { c: 'b' } })));
});

equality.run();
