import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Service } from '../../../core/model/objects.ts';
import { parseService } from '../../../core/model/parse-service.ts';
import { rawService } from './samples.ts';

function parse(spec: Record<string, unknown> = {}, rest: Record<string, unknown> = {}): Service {
  const { value, problems } = parseService(rawService(spec, rest));
  assert.equal(problems, []);
  assert.ok(value);
  return value;
}

function parseWithProblems(spec: Record<string, unknown>, rest: Record<string, unknown> = {}): [Service, string] {
  const { value, problems } = parseService(rawService(spec, rest));
  assert.ok(value, problems.join('; '));
  return [value, problems.join('\n')];
}

const ours = suite('which Services are ours');

ours('an ordinary Service is kept with what the proxy reads of it', () => {
  assert.equal(parse(), {
    namespace: 'shop',
    name: 'web',
    uid: '',
    families: { IPv4: { clusterIP: '10.96.0.10', externalIPs: [], loadBalancerVIPs: [], sourceRanges: [] } },
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 0 }],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    annotations: {},
  });
});

const proxyName = { namespace: 'shop', name: 'web', labels: { 'service.kubernetes.io/service-proxy-name': '' } };
const NOT_OURS: readonly (readonly [string, unknown])[] = [
  ['a headless Service', rawService({ clusterIP: 'None', clusterIPs: ['None'] })],
  ['an ExternalName Service', rawService({ type: 'ExternalName', clusterIP: '', clusterIPs: [] })],
  ['an ExternalName Service that kept a cluster IP', rawService({ type: 'ExternalName' })],
  ['a Service labelled for another proxy, whatever the value', rawService({}, { metadata: proxyName })],
  ['a Service for another proxy is not looked at further', rawService({ ports: 7 }, { metadata: proxyName })],
];
for (const [title, raw] of NOT_OURS) {
  ours(`not ours, silently: ${title}`, () => {
    assert.equal(parseService(raw), { value: undefined, problems: [] });
  });
}

ours('a Service without a cluster IP is left out and says so', () => {
  for (const clusterIP of ['', undefined, null]) {
    const { value, problems } = parseService(rawService({ clusterIP, clusterIPs: undefined }));
    assert.is(value, undefined);
    assert.match(problems.join(), /^spec\.clusterIP: /);
  }
});

ours('a hand-written Service may give clusterIPs alone', () => {
  const { value, problems } = parseService(rawService({ clusterIP: undefined, clusterIPs: ['10.96.0.77'] }));
  assert.is(value?.families.IPv4?.clusterIP, '10.96.0.77');
  assert.equal(problems, []);
});

const MALFORMED: readonly (readonly [unknown, RegExp])[] = [
  [undefined, /^nothing is not a Service object/],
  [[], /^a list is not a Service object/],
  ['web', /^"web" is not a Service object/],
  [rawService({}, { kind: 'Endpoints' }), /^kind: "Endpoints" is not Service/],
  [rawService({}, { metadata: undefined }), /^metadata: /],
  [rawService({}, { metadata: {} }), /^metadata\.name: nothing is not an object name/],
  [rawService({}, { metadata: { name: 5 } }), /^metadata\.name: 5 /],
  [rawService({}, { metadata: { name: 'a"\n-A INPUT' } }), /^metadata\.name: "a\\"\\n-A INPUT" /],
  [rawService({}, { metadata: { name: 'a'.repeat(254) } }), /^metadata\.name: "a+\.\.\." /],
  [rawService({}, { metadata: { name: 'web', namespace: 'a/b' } }), /^metadata\.namespace: "a\/b" /],
  [rawService({}, { spec: 'x' }), /^spec: "x" is not an object/],
  [rawService({}, { spec: null }), /^spec: nothing is not an object/],
  [rawService({ clusterIP: 10 }), /^spec\.clusterIP: 10 /],
  [rawService({ ports: 80 }), /^spec\.ports: 80 is not a list/],
  [rawService({ ports: [80] }), /^spec\.ports\[0\]: 80 is not an object/],
  [rawService({ ports: [{ port: '80' }] }), /^spec\.ports\[0\]\.port: "80" is not a number/],
  [rawService({ ports: [{ port: 80 }, {}] }), /^spec\.ports\[1\]\.port: nothing is not a number/],
  [rawService({ ports: [{ port: 80, nodePort: '3' }] }), /^spec\.ports\[0\]\.nodePort: "3" is not a number/],
];
for (const [raw, problem] of MALFORMED) {
  ours(`malformed, left out: ${problem.source}`, () => {
    const { value, problems } = parseService(raw);
    assert.is(value, undefined);
    assert.is(problems.length, 1);
    assert.match(problems[0]!, problem);
    assert.match(problems[0]!, /the object is left out$/);
  });
}

ours('a missing namespace is "default", as kubectl has it', () => {
  assert.is(parse({}, { metadata: { name: 'web' } }).namespace, 'default');
  assert.is(parse({}, { metadata: { name: 'web', namespace: '' } }).namespace, 'default');
});

ours('items of a list have no kind and are read all the same', () => {
  assert.is(parse({}, { kind: undefined, apiVersion: undefined }).name, 'web');
});

ours('only the kube-proxy.io annotations are kept', () => {
  const annotations = { 'kube-proxy.io/scheduler': 'mh', 'kubectl.kubernetes.io/x': 'y', 'kube-proxy.io': 'z' };
  assert.equal(parse({}, { metadata: { name: 'web', annotations } }).annotations, { 'kube-proxy.io/scheduler': 'mh' });
  const [kept, problem] = parseWithProblems({}, { metadata: { name: 'web', annotations: { 'kube-proxy.io/a': 1 } } });
  assert.equal(kept.annotations, {});
  assert.match(problem, /^metadata\.annotations\["kube-proxy\.io\/a"\]: 1 is not text/);
});

ours.run();

const families = suite('families and addresses');

const DUAL = {
  clusterIP: '10.96.0.10',
  clusterIPs: ['10.96.0.10', 'FD00:10:96:0::a'],
  ipFamilies: ['IPv4', 'IPv6'],
};

families('clusterIPs[i] is the address of ipFamilies[i]', () => {
  const { IPv4, IPv6 } = parse(DUAL).families;
  assert.is(IPv4?.clusterIP, '10.96.0.10');
  assert.is(IPv6?.clusterIP, 'fd00:10:96::a');
});

families('a Service of one family has nothing in the other', () => {
  assert.equal(Object.keys(parse().families), ['IPv4']);
  const only6 = parse({ clusterIP: 'fd00::1', clusterIPs: ['fd00::1'], ipFamilies: ['IPv6'] });
  assert.equal(Object.keys(only6.families), ['IPv6']);
});

families('an IPv6-first Service gets both families', () => {
  const swapped = { clusterIP: 'fd00::a', clusterIPs: ['fd00::a', '10.96.0.10'], ipFamilies: ['IPv6', 'IPv4'] };
  const { IPv4, IPv6 } = parse(swapped).families;
  assert.is(IPv4?.clusterIP, '10.96.0.10');
  assert.is(IPv6?.clusterIP, 'fd00::a');
});

families('of two cluster IPs of one family the first counts', () => {
  const spec = { clusterIPs: ['10.96.0.10', '10.96.0.11'], ipFamilies: ['IPv4', 'IPv4'] };
  assert.is(parse(spec).families.IPv4?.clusterIP, '10.96.0.10');
});

families('without ipFamilies only clusterIP counts, by its own family', () => {
  const { families: found } = parse({ ...DUAL, ipFamilies: undefined });
  assert.equal(Object.keys(found), ['IPv4']);
  assert.equal(Object.keys(parse({ clusterIP: 'fd00::1', clusterIPs: [], ipFamilies: [] }).families), ['IPv6']);
});

families('with ipFamilies but without clusterIPs, clusterIP is the first', () => {
  assert.is(parse({ clusterIPs: undefined }).families.IPv4?.clusterIP, '10.96.0.10');
});

families('an address of another family than ipFamilies says is ignored with a problem', () => {
  const [service, problem] = parseWithProblems({ clusterIPs: ['fd00::1'] });
  assert.equal(service.families, {});
  assert.match(problem, /^spec\.clusterIPs\[0\]: "fd00::1" is not of the family "IPv4"/);
});

families('a cluster IP that is no address leaves its family out with a problem', () => {
  const [service, problem] = parseWithProblems({ ...DUAL, clusterIPs: ['10.96.0.300', 'fd00::a'] });
  assert.equal(Object.keys(service.families), ['IPv6']);
  assert.is(problem, 'spec.clusterIPs[0]: "10.96.0.300" is not an IP address; ignored');
});

families('addresses are read sloppily and kept canonically', () => {
  const service = parse({
    clusterIP: '010.096.000.010',
    clusterIPs: ['010.096.000.010'],
    externalIPs: ['::ffff:1.2.3.4'],
  });
  assert.is(service.families.IPv4?.clusterIP, '10.96.0.10');
  assert.equal(service.families.IPv4?.externalIPs, ['1.2.3.4']);
});

families('externalIPs go to their family; blank ones silently, bad ones with a problem naming the field', () => {
  const [service, problem] = parseWithProblems({
    ...DUAL,
    externalIPs: ['203.0.113.1', '10.0.0.300', '', ' ', '2001:DB8::1', '203.0.113.01', 7],
  });
  assert.equal(service.families.IPv4?.externalIPs, ['203.0.113.1'], 'an address that is there twice counts once');
  assert.equal(service.families.IPv6?.externalIPs, ['2001:db8::1']);
  assert.is(
    problem,
    'spec.externalIPs[1]: "10.0.0.300" is not an IP address; ignored\nspec.externalIPs[6]: 7 is not an IP address; ignored',
  );
});

families('an address list that is no list is ignored with a problem', () => {
  const [service, problem] = parseWithProblems({ externalIPs: '203.0.113.1' });
  assert.equal(service.families.IPv4?.externalIPs, []);
  assert.is(problem, 'spec.externalIPs: "203.0.113.1" is not a list; ignored');
});

families('VIPs are the ingress addresses whose ipMode is VIP or not given', () => {
  const ingress = [
    { ip: '203.0.113.2' },
    { ip: '203.0.113.3', ipMode: 'VIP' },
    { ip: '203.0.113.4', ipMode: 'Proxy' },
    { hostname: 'lb.example' },
    { ip: '' },
    { ip: '2001:db8::2', ipMode: null },
  ];
  const { IPv4, IPv6 } = parse(DUAL, { status: { loadBalancer: { ingress } } }).families;
  assert.equal(IPv4?.loadBalancerVIPs, ['203.0.113.2', '203.0.113.3']);
  assert.equal(IPv6?.loadBalancerVIPs, ['2001:db8::2']);
});

families('VIPs count whatever the type; spec.loadBalancerIP never does', () => {
  const service = parse(
    { loadBalancerIP: '203.0.113.9' },
    { status: { loadBalancer: { ingress: [{ ip: '203.0.113.2' }] } } },
  );
  assert.equal(service.families.IPv4?.loadBalancerVIPs, ['203.0.113.2']);
});

families('a bad ingress address is ignored with a problem', () => {
  const status = { loadBalancer: { ingress: [{ ip: 'x' }, 'y', { ip: '203.0.113.2' }] } };
  const [service, problem] = parseWithProblems({}, { status });
  assert.equal(service.families.IPv4?.loadBalancerVIPs, ['203.0.113.2']);
  assert.match(problem, /^status\.loadBalancer\.ingress\[0\]\.ip: "x" .*\nstatus\.loadBalancer\.ingress\[1\]: "y" /);
});

const RANGES: readonly (readonly [string, readonly string[], readonly string[], readonly string[]])[] = [
  ['are trimmed, canonical and split by family', [' 10.1.2.3/8 ', 'FD00::1/64'], ['10.0.0.0/8'], ['fd00::/64']],
  ['that hold everything allow everyone in their family', ['10.0.0.0/8', '0.0.0.0/0', 'fd00::/64'], [], ['fd00::/64']],
  ['of the other family only allow everyone in this one', ['fd00::/64'], [], ['fd00::/64']],
  ['that are blank are skipped silently', ['', '  ', '10.0.0.0/8'], ['10.0.0.0/8'], []],
  ['that are there twice count once', ['10.0.0.0/8', '10.9.9.9/8'], ['10.0.0.0/8'], []],
];
for (const [title, loadBalancerSourceRanges, v4, v6] of RANGES) {
  families(`source ranges ${title}`, () => {
    const found = parse({ ...DUAL, loadBalancerSourceRanges }).families;
    assert.equal(found.IPv4?.sourceRanges, v4);
    assert.equal(found.IPv6?.sourceRanges, v6);
  });
}

families('a bad source range is ignored with a problem', () => {
  const [service, problem] = parseWithProblems({ loadBalancerSourceRanges: ['10.0.0.1', '10.0.0.0/8'] });
  assert.equal(service.families.IPv4?.sourceRanges, ['10.0.0.0/8']);
  assert.is(problem, 'spec.loadBalancerSourceRanges[0]: "10.0.0.1" is not a CIDR; ignored');
});

families('the old source-range annotation is not consulted', () => {
  const annotations = { 'service.beta.kubernetes.io/load-balancer-source-ranges': '10.0.0.0/8' };
  assert.equal(parse({}, { metadata: { name: 'web', annotations } }).families.IPv4?.sourceRanges, []);
});

families.run();

const ports = suite('ports');

ports('a port without protocol is TCP, without name unnamed, without nodePort has none', () => {
  assert.equal(parse({ ports: [{ port: 53 }] }).ports, [{ name: '', protocol: 'TCP', port: 53, nodePort: 0 }]);
  const nulls = { port: 53, name: null, protocol: null, nodePort: null };
  assert.equal(parse({ ports: [nulls] }).ports, [{ name: '', protocol: 'TCP', port: 53, nodePort: 0 }]);
});

ports('the same name with two protocols is two ports', () => {
  const list = [
    { name: 'dns', port: 53, protocol: 'UDP', nodePort: 30053 },
    { name: 'dns', port: 53, protocol: 'TCP' },
  ];
  assert.is(parse({ ports: list }).ports.length, 2);
});

const BAD_PORTS: readonly (readonly [Record<string, unknown>, RegExp])[] = [
  [{ port: 0 }, /^spec\.ports\[0\]\.port: 0 is not a port number/],
  [{ port: 65536 }, /^spec\.ports\[0\]\.port: 65536 /],
  [{ port: 80.5 }, /^spec\.ports\[0\]\.port: 80\.5 /],
  [{ port: -80 }, /^spec\.ports\[0\]\.port: -80 /],
  [{ port: Number.NaN }, /^spec\.ports\[0\]\.port: NaN /],
  [{ port: 80, protocol: 'tcp' }, /^spec\.ports\[0\]\.protocol: "tcp" /],
  [{ port: 80, protocol: 6 }, /^spec\.ports\[0\]\.protocol: 6 /],
  [{ port: 80, name: 'a b' }, /^spec\.ports\[0\]\.name: "a b" /],
  [{ port: 80, name: 5 }, /^spec\.ports\[0\]\.name: 5 /],
];
for (const [bad, problem] of BAD_PORTS) {
  ports(`a bad port is ignored and the others are served: ${problem.source}`, () => {
    const [service, problems] = parseWithProblems({ ports: [bad, { name: 'good', port: 81 }] });
    assert.equal(
      service.ports.map(({ name }) => name),
      ['good'],
    );
    assert.match(problems, problem);
  });
}

ports('a bad nodePort costs only the node port', () => {
  const [service, problem] = parseWithProblems({ ports: [{ port: 80, nodePort: 70000 }] });
  assert.equal(service.ports, [{ name: '', protocol: 'TCP', port: 80, nodePort: 0 }]);
  assert.match(problem, /^spec\.ports\[0\]\.nodePort: 70000 /);
});

ports('of two ports with the same name and protocol the first stands', () => {
  const [service, problem] = parseWithProblems({ ports: [{ port: 80 }, { port: 81 }, { port: 80, protocol: 'UDP' }] });
  assert.equal(
    service.ports.map(({ port, protocol }) => `${port}/${protocol}`),
    ['80/TCP', '80/UDP'],
  );
  assert.match(problem, /^spec\.ports\[1\]: name "" and protocol TCP are those of an earlier port/);
});

ports('a Service without ports is served with none', () => {
  assert.equal(parse({ ports: undefined }).ports, []);
});

ports.run();

const policies = suite('policies, health check, affinity');

const EXTERNAL: readonly (readonly [Record<string, unknown>, 'Cluster' | 'Local'])[] = [
  [{ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 31000 }, 'Local'],
  [{ type: 'NodePort', externalTrafficPolicy: 'Local' }, 'Local'],
  [{ type: 'ClusterIP', externalTrafficPolicy: 'Local', externalIPs: ['203.0.113.1'] }, 'Local'],
  [{ type: 'ClusterIP', externalTrafficPolicy: 'Local', externalIPs: [] }, 'Cluster'],
  [{ externalTrafficPolicy: 'Local', type: undefined }, 'Cluster'],
  [{ type: 'NodePort', externalTrafficPolicy: 'Cluster' }, 'Cluster'],
  [{ type: 'NodePort', externalTrafficPolicy: '' }, 'Cluster'],
  [{ type: 'NodePort' }, 'Cluster'],
];
for (const [spec, policy] of EXTERNAL) {
  policies(`external policy is ${policy} for ${JSON.stringify(spec)}`, () => {
    assert.is(parse(spec).externalPolicy, policy);
  });
}

policies('internal policy Local needs no precondition; absent is Cluster', () => {
  assert.is(parse({ internalTrafficPolicy: 'Local' }).internalPolicy, 'Local');
  assert.is(parse({ internalTrafficPolicy: null }).internalPolicy, 'Cluster');
});

policies('an unknown policy, affinity or type takes the default with a problem', () => {
  const [service, problem] = parseWithProblems({
    type: 'Magic',
    internalTrafficPolicy: 'Near',
    externalTrafficPolicy: 'Far',
    sessionAffinity: 'Cookie',
  });
  assert.is(service.internalPolicy, 'Cluster');
  assert.is(service.externalPolicy, 'Cluster');
  assert.is(service.affinitySeconds, 0);
  assert.match(problem, /^spec\.type: "Magic" is not one of ClusterIP, NodePort, LoadBalancer; taken as ClusterIP\n/);
  assert.is(problem.split('\n').length, 4);
});

policies('a health check is served only for LoadBalancer with policy Local', () => {
  const local = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 31000 };
  assert.is(parse(local).healthCheckNodePort, 31000);
  assert.is(parse({ ...local, externalTrafficPolicy: 'Cluster' }).healthCheckNodePort, 0);
  assert.is(parse({ ...local, type: 'NodePort' }).healthCheckNodePort, 0);
});

policies('a missing or bad health check port is a problem where one is needed', () => {
  for (const healthCheckNodePort of [undefined, 0, 'x', 70000]) {
    const spec = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort };
    const [service, problem] = parseWithProblems(spec);
    assert.is(service.healthCheckNodePort, 0);
    assert.is(service.externalPolicy, 'Local');
    assert.match(problem, /^spec\.healthCheckNodePort: /);
  }
});

const affinity = (timeoutSeconds?: unknown) => ({
  sessionAffinity: 'ClientIP',
  sessionAffinityConfig: { clientIP: { timeoutSeconds } },
});

policies('ClientIP affinity takes its timeout, by default three hours', () => {
  assert.is(parse(affinity(60)).affinitySeconds, 60);
  assert.is(parse(affinity(1)).affinitySeconds, 1);
  assert.is(parse(affinity(86400)).affinitySeconds, 86400);
  assert.is(parse(affinity()).affinitySeconds, 10800);
  assert.is(parse({ sessionAffinity: 'ClientIP' }).affinitySeconds, 10800);
  assert.is(parse({ ...affinity(60), sessionAffinity: 'None' }).affinitySeconds, 0);
});

policies('a timeout outside of 1 to 86400 seconds takes the default with a problem', () => {
  for (const seconds of [0, -1, 86401, 1.5, '60', true]) {
    const [service, problem] = parseWithProblems(affinity(seconds));
    assert.is(service.affinitySeconds, 10800);
    assert.match(problem, /^spec\.sessionAffinityConfig\.clientIP\.timeoutSeconds: /);
  }
});

policies.run();
