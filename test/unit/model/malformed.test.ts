/** The parsers read hand-written files: whatever is in them, they answer, keep their promises, and never throw. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCIDR, parseIP } from '../../../core/model/ip.ts';
import type { Parsed } from '../../../core/model/objects.ts';
import { parseEndpointSlice } from '../../../core/model/parse-endpointslice.ts';
import { parseNode } from '../../../core/model/parse-node.ts';
import { parseService } from '../../../core/model/parse-service.ts';
import { identify } from '../../../core/model/raw-object.ts';
import { type Random, seeded } from './random.ts';
import { rawNode, rawService, rawSlice } from './samples.ts';

const ROUNDS = 10_000;

const WHOLE_SERVICE = rawService(
  {
    type: 'LoadBalancer',
    clusterIPs: ['10.96.0.10', 'fd00:10:96::a'],
    ipFamilies: ['IPv4', 'IPv6'],
    ports: [
      { name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 },
      { name: 'dns', protocol: 'UDP', port: 53 },
    ],
    externalIPs: ['203.0.113.1', '2001:db8::1'],
    loadBalancerSourceRanges: ['10.0.0.0/8', 'fd00::/8'],
    externalTrafficPolicy: 'Local',
    internalTrafficPolicy: 'Local',
    healthCheckNodePort: 31000,
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
  },
  {
    metadata: { name: 'web', namespace: 'shop', labels: { app: 'web' }, annotations: { 'kube-proxy.io/a': 'b' } },
    status: { loadBalancer: { ingress: [{ ip: '203.0.113.2', ipMode: 'VIP' }] } },
  },
);
const WHOLE_SLICE = rawSlice({
  endpoints: [
    {
      addresses: ['10.244.1.5'],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: 'node-a',
      zone: 'zone-a',
      hints: { forZones: [{ name: 'zone-a' }], forNodes: [{ name: 'node-a' }] },
    },
    { addresses: ['10.244.1.6'] },
  ],
});

/** Anything that JSON or YAML can hold in place of what belongs there. */
function junk(random: Random): unknown {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  const scalars = [
    null,
    undefined,
    true,
    false,
    0,
    -1,
    1e21,
    80.5,
    Number.NaN,
    Infinity,
    10n,
    '',
    ' ',
    'x',
    '10.0.0.300',
  ];
  const texts = ['None', 'Local', 'fe80::1%eth0', '::ffff:0:0/90', '🦊\u0000\n', 'a'.repeat(300), '__proto__'];
  const structures = [[], {}, [null], [[]], { name: null }, { ip: {} }, cyclic, Object.create(null), new Date(0)];
  return random.pick<unknown>([...scalars, ...texts, ...structures]);
}

/** A copy with one place somewhere inside replaced, removed or doubled. */
function mutated(value: unknown, random: Random, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || (depth > 0 && random.chance(0.12))) return junk(random);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.chance(0.1)) return [...value, ...value, junk(random)];
    const place = random.below(value.length);
    return value.map((item, index) => (index === place ? mutated(item, random, depth + 1) : item));
  }
  const entries: readonly (readonly [string, unknown])[] = Object.entries(value);
  if (entries.length === 0) return junk(random);
  const place = random.below(entries.length);
  const copy = entries.map(([key, item], index) => [key, index === place ? mutated(item, random, depth + 1) : item]);
  if (random.chance(0.1)) copy.splice(place, 1);
  return Object.fromEntries(copy);
}

const canonicalIP = (ip: string): void => assert.is(parseIP(ip)?.ip, ip, `${ip} is canonical`);
const canonicalCIDR = (cidr: string): void => assert.is(parseCIDR(cidr)?.cidr, cidr, `${cidr} is canonical`);
const portNumber = (port: number): void => assert.ok(Number.isInteger(port) && port >= 1 && port <= 65535, `${port}`);

function fuzz<T>(
  title: string,
  sample: unknown,
  parse: (raw: unknown) => Parsed<T>,
  promise: (value: T) => void,
): void {
  const parsing = suite(title);
  parsing('the sample is whole', () => {
    const { value, problems } = parse(sample);
    assert.equal(problems, []);
    assert.ok(value);
    promise(value);
  });
  parsing(`${ROUNDS} random faults are answered, never thrown, and what is kept is canonical`, () => {
    for (let seed = 0; seed < ROUNDS; seed++) {
      const random = seeded(seed);
      let raw = mutated(sample, random);
      while (random.chance(0.4)) raw = mutated(raw, random);
      try {
        identify(raw);
        const { value, problems } = parse(raw);
        for (const problem of problems) assert.ok(problem.length < 600 && !/[\n\0]/.test(problem), problem);
        if (value !== undefined) promise(value);
      } catch (error) {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
      }
    }
  });
  parsing.run();
}

fuzz('malformed Services', WHOLE_SERVICE, parseService, (service) => {
  for (const addresses of Object.values(service.families)) {
    for (const ip of [addresses.clusterIP, ...addresses.externalIPs, ...addresses.loadBalancerVIPs]) canonicalIP(ip);
    addresses.sourceRanges.forEach(canonicalCIDR);
  }
  for (const { port, nodePort } of service.ports) {
    portNumber(port);
    if (nodePort !== 0) portNumber(nodePort);
  }
  assert.ok(service.affinitySeconds >= 0 && service.affinitySeconds <= 86400);
  assert.match(`${service.namespace}/${service.name}`, /^[-.a-z0-9]+\/[-.a-z0-9]+$/);
});

fuzz('malformed EndpointSlices', WHOLE_SLICE, parseEndpointSlice, (slice) => {
  for (const { port } of slice.ports) portNumber(port);
  for (const endpoint of slice.endpoints) {
    assert.is(parseIP(endpoint.ip)?.family, slice.family);
    canonicalIP(endpoint.ip);
    for (const condition of [endpoint.ready, endpoint.serving, endpoint.terminating]) assert.type(condition, 'boolean');
    for (const name of [endpoint.nodeName, endpoint.zone, ...endpoint.hintZones, ...endpoint.hintNodes]) {
      assert.type(name, 'string');
    }
  }
});

fuzz('malformed Nodes', rawNode(), parseNode, (node) => {
  node.ips.forEach(canonicalIP);
  node.podCIDRs.forEach(canonicalCIDR);
  assert.type(node.zone, 'string');
});
