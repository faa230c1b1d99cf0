/**
 * Resolver and oracle together on random worlds, held against the rules restated from the raw endpoints, one line
 * each, without lists, selection or claims: what a packet may meet follows from the objects alone.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Endpoint, NodeView, Packet, Protocol, ServicePort, TrafficPolicy } from '../../../core/backend.ts';
import { compareClaims, frontends } from '../../../core/model/claims.ts';
import { cidrContains } from '../../../core/model/ip.ts';
import type { EndpointSlice, Service, ServicePortSpec, SliceEndpoint } from '../../../core/model/objects.ts';
import { type OracleState, route, type Verdict } from '../../../core/model/oracle.ts';
import { resolveService, servicePortsEqual } from '../../../core/model/resolve.ts';
import { type Random, seeded } from './random.ts';
import { sliceEndpoint, view } from './samples.ts';

const WORLDS = 400;
const PACKETS = 60;
const NODE_ADDRESSES = ['127.0.0.1', '192.168.50.10', '192.168.60.10'];
const SOURCES = ['198.18.0.9', '198.18.1.9', '10.244.1.77', '10.244.1.1', '10.244.2.1', '192.168.50.10', '127.0.0.1'];
const SHARED_IPS = ['203.0.113.1', '203.0.113.2', '203.0.113.3', '192.168.60.10'];
const POLICIES: readonly TrafficPolicy[] = ['Cluster', 'Local'];
const NODE = { family: 'IPv4', name: 'node-a', zone: 'zone-a', nodeIPs: ['192.168.50.10'] } as const;

interface World {
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly node: NodeView;
}

function some<T>(random: Random, items: readonly T[], probability: number): T[] {
  return items.filter(() => random.chance(probability));
}

function randomEndpoint(random: Random, ip: string, hinted: boolean): SliceEndpoint {
  const letter = random.pick(['a', 'b', 'c']);
  const hints = hinted || random.chance(0.1);
  return sliceEndpoint(ip, {
    nodeName: random.chance(0.9) ? `node-${letter}` : '',
    zone: `zone-${letter}`,
    ready: random.chance(0.6),
    serving: random.chance(0.7),
    terminating: random.chance(0.5),
    hintZones: hints ? some(random, ['zone-a', 'zone-b', 'zone-c'], 0.5) : [],
    hintNodes: hints && random.chance(0.5) ? some(random, ['node-a', 'node-b'], 0.6) : [],
  });
}

function randomWorld(random: Random): World {
  const services: Service[] = [];
  const slices: EndpointSlice[] = [];
  for (let index = 0; index < 4; index++) {
    const name = `svc-${index}`;
    const protocol = random.pick<Protocol>(['TCP', 'UDP']);
    const ports: ServicePortSpec[] = [{ name: 'p', protocol, port: 80, nodePort: random.pick([0, 30001, 30002]) }];
    if (random.chance(0.4)) ports.push({ name: 'q', protocol: 'TCP', port: 81, nodePort: random.pick([0, 30003]) });
    services.push({
      namespace: 'ns',
      name,
      uid: '',
      families: {
        IPv4: {
          clusterIP: `10.96.0.${index + 1}`,
          externalIPs: some(random, SHARED_IPS, 0.25),
          loadBalancerVIPs: some(random, SHARED_IPS, 0.3),
          sourceRanges: some(random, ['198.18.0.0/24', '192.168.0.0/16'], 0.3),
        },
      },
      ports,
      internalPolicy: random.pick(POLICIES),
      externalPolicy: random.pick(POLICIES),
      affinitySeconds: 0,
      healthCheckNodePort: 0,
      annotations: {},
    });
    const hinted = random.chance(0.4);
    const ips = Array.from({ length: random.below(5) }, (_, host) => `10.244.${1 + (host % 2)}.${host + 1}`);
    const endpoints = ips.map((ip) => randomEndpoint(random, ip, hinted));
    const cut = random.below(endpoints.length + 1);
    const slicePorts = ports.map((port) => ({ name: port.name, protocol: port.protocol, port: 8000 + port.port }));
    for (const [part, list] of [endpoints.slice(0, cut), endpoints.slice(cut)].entries()) {
      const own = { namespace: 'ns', name: `${name}-${part}`, serviceName: name, family: 'IPv4' } as const;
      slices.push({ ...own, ports: slicePorts, endpoints: list, triggerTimeMs: 0 });
    }
  }
  const node = view({
    addresses: NODE_ADDRESSES,
    masqueradeAll: random.chance(0.2),
    localDetector: random.pick<NodeView['localDetector']>([
      { kind: 'none' },
      { kind: 'cidr', cidr: '10.244.1.0/24' },
      { kind: 'interface', name: 'br0' },
      { kind: 'interfacePrefix', prefix: 'veth' },
    ]),
    nodePortAddresses: random.pick<NodeView['nodePortAddresses']>([
      { match: 'all', loopback: true },
      { match: 'all', loopback: false },
      { match: 'list', addresses: ['192.168.50.10'] },
      { match: 'list', addresses: [] },
    ]),
  });
  return { services, slices, node };
}

function randomPacket(random: Random): Packet {
  const sourceIP = random.pick(SOURCES);
  const origin = NODE_ADDRESSES.includes(sourceIP) ? 'node' : sourceIP.startsWith('10.244.1.') ? 'pod' : 'outside';
  const ips = ['10.96.0.1', '10.96.0.2', '10.96.0.3', '10.96.0.4', '10.96.0.9', ...SHARED_IPS, ...NODE_ADDRESSES];
  return {
    family: 'IPv4',
    protocol: random.pick<Protocol>(['TCP', 'TCP', 'UDP']),
    sourceIP,
    origin,
    inputInterface: origin === 'node' ? '' : origin === 'pod' ? random.pick(['br0', 'veth3']) : 'eth0',
    destinationIP: random.pick(ips),
    destinationPort: random.pick([80, 81, 30001, 30002, 30003]),
  };
}

function resolveAll({ services, slices }: World): ServicePort[] {
  return services.flatMap((service) => resolveService(service, slices, NODE));
}

/** What the rules of the specification say about one packet, straight from the objects. */
function judge(packet: Packet, verdict: Verdict, world: World, ports: readonly ServicePort[]): void {
  const { destinationIP: ip, destinationPort: number, protocol, sourceIP } = packet;
  const exact = ports
    .flatMap((port) => frontends(port).map((frontend) => ({ ...frontend, servicePort: port })))
    .filter((frontend) => frontend.ip === ip && frontend.protocol === protocol && frontend.port === number)
    .sort(compareClaims)[0];
  const { node } = world;
  const accepted = node.nodePortAddresses;
  const onNode =
    accepted.match === 'list'
      ? accepted.addresses.includes(ip)
      : NODE_ADDRESSES.includes(ip) && (ip !== '127.0.0.1' || accepted.loopback);
  const byNodePort = ports
    .filter((port) => onNode && port.nodePort === number && port.protocol === protocol)
    .sort((a, b) => (a.key < b.key ? -1 : 1))[0];
  const owner = exact?.servicePort ?? byNodePort;
  if (owner === undefined) {
    assert.is(verdict.action, 'pass');
    return;
  }
  assert.ok(verdict.action !== 'pass' && verdict.servicePort === owner.key, `belongs to ${owner.key}`);
  const kind = exact?.kind ?? 'nodePort';
  const service = world.services.find(({ name }) => name === owner.name)!;
  const raw = world.slices.filter((slice) => slice.serviceName === owner.name).flatMap(({ endpoints }) => endpoints);

  const ranges = service.families.IPv4!.sourceRanges;
  // One of the two random ranges admits the node; then the VIPs are sources too, but no packet here has one.
  const admitted = ranges.length === 0 || ranges.some((range) => cidrContains(range, sourceIP));
  const ownVIP = ranges.includes('192.168.0.0/16') && service.families.IPv4!.loadBalancerVIPs.includes(sourceIP);
  if (kind === 'loadBalancerVIP' && !admitted && !ownVIP) {
    assert.is(verdict.action, 'drop', 'outside of the source ranges');
    return;
  }

  const { localDetector: detector } = node;
  const isPod =
    (detector.kind === 'cidr' && cidrContains(detector.cidr, sourceIP)) ||
    (detector.kind === 'interface' && packet.inputInterface === detector.name) ||
    (detector.kind === 'interfacePrefix' && packet.inputInterface.startsWith(detector.prefix));
  const isNode = packet.origin === 'node';
  const policy = kind === 'clusterIP' ? service.internalPolicy : service.externalPolicy;
  const localOnly = policy === 'Local' && (kind === 'clusterIP' || !(isPod || isNode));

  const usable = (endpoint: SliceEndpoint): boolean => endpoint.ready || (endpoint.serving && endpoint.terminating);
  const reach = raw.filter((endpoint) => usable(endpoint) && (!localOnly || endpoint.nodeName === NODE.name));
  if (reach.length === 0) {
    assert.is(verdict.action, raw.some(usable) ? 'drop' : 'reject');
    return;
  }
  assert.is(verdict.action, 'endpoints');
  if (verdict.action !== 'endpoints') return;

  const ready = reach.filter((endpoint) => endpoint.ready);
  const most = (ready.length > 0 ? ready : reach).map((endpoint) => endpoint.ip);
  const given = verdict.endpoints.map((endpoint) => endpoint.ip);
  assert.ok(
    given.every((target) => most.includes(target)),
    'only usable endpoints, ready ones first',
  );
  const hinted = ready.filter(
    (endpoint) => endpoint.hintZones.includes(NODE.zone) || endpoint.hintNodes.includes(NODE.name),
  );
  if (localOnly || hinted.length === 0) assert.is(given.length, most.length, 'all of them, when no hint speaks for us');
  else if (given.length < most.length) {
    assert.ok(
      given.every((target) => hinted.some((endpoint) => endpoint.ip === target)),
      'hints leave only endpoints that name us',
    );
  }

  for (const endpoint of verdict.endpoints) {
    const expected =
      endpoint.ip === sourceIP ||
      (kind === 'clusterIP'
        ? node.masqueradeAll || (detector.kind !== 'none' && !isPod)
        : service.externalPolicy === 'Cluster' || (isNode && !isPod));
    assert.is(verdict.masquerade(endpoint), expected, `masquerade towards ${endpoint.ip}`);
  }
}

function eachWorld(check: (random: Random, world: World) => void): void {
  for (let seed = 1; seed <= WORLDS; seed++) {
    const random = seeded(seed);
    const world = randomWorld(random);
    try {
      check(random, world);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
    }
  }
}

const worlds = suite('random worlds');

worlds('every packet meets what the objects say, and every kind of verdict occurs', () => {
  const seen: Record<string, number> = {};
  eachWorld((random, world) => {
    const ports = resolveAll(world);
    const state: OracleState = { node: world.node, ports };
    for (let round = 0; round < PACKETS; round++) {
      const packet = randomPacket(random);
      const verdict = route(packet, state);
      seen[verdict.action] = (seen[verdict.action] ?? 0) + 1;
      try {
        judge(packet, verdict, world, ports);
      } catch (error) {
        throw new Error(`${JSON.stringify({ packet, verdict })}: ${error instanceof Error ? error.message : error}`);
      }
    }
  });
  assert.equal(Object.keys(seen).sort(), ['drop', 'endpoints', 'pass', 'reject']);
  for (const [action, count] of Object.entries(seen))
    assert.ok(count > WORLDS, `${action} occurs often enough: ${count}`);
});

worlds('the order of slices, endpoints and service ports changes nothing', () => {
  eachWorld((random, world) => {
    const ports = resolveAll(world);
    const shuffled = world.slices.map((slice) => ({ ...slice, endpoints: random.shuffle(slice.endpoints) }));
    const again = resolveAll({ ...world, slices: random.shuffle(shuffled) });
    assert.is(again.length, ports.length);
    for (const [index, port] of ports.entries()) assert.ok(servicePortsEqual(port, again[index]!), port.key);
    const mixed = random.shuffle(ports);
    for (let round = 0; round < 10; round++) {
      const packet = randomPacket(random);
      const [one, other] = [route(packet, { ...world, ports }), route(packet, { ...world, ports: mixed })];
      assert.is(JSON.stringify(one), JSON.stringify(other));
    }
  });
});

worlds('the lists keep the promises of the contract', () => {
  eachWorld((_, world) => {
    for (const port of resolveAll(world)) {
      const key = (endpoint: Endpoint): string => `${endpoint.ip}:${endpoint.port}`;
      for (const list of [port.cluster, port.local]) {
        assert.equal(list.map(key), [...new Set(list.map(key))].sort(), 'in byte order, each once');
        assert.ok(new Set(list.map(({ ready }) => ready)).size <= 1, 'ready and terminating ones never mix');
      }
      assert.ok(port.local.every(({ isLocal }) => isLocal));
      if (port.cluster.length + port.local.length > 0) assert.ok(port.hasEndpoints);
      if (port.cluster.length === 0 && port.hasEndpoints) assert.is(port.internalPolicy, 'Local');
    }
  });
});

worlds.run();
