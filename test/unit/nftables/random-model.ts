/**
 * Random service ports that keep the contract of core/backend.ts, and random changes of them: from small pools, so that
 * service ports contest addresses and node ports, endpoints come and go under the same name, and classes repeat.
 */
import type { Change, Endpoint, IPFamily, NodeView, Protocol, ServicePort } from '../../../core/backend.ts';
import type { Random } from '../model/random.ts';
import { view } from '../model/samples.ts';

/** Addresses of one family. */
export interface Pools {
  readonly clusterIP: (index: number) => string;
  readonly localPod: (index: number) => string;
  readonly remotePod: (index: number) => string;
  /** Contested by external IPs and VIPs. */
  readonly shared: readonly string[];
  readonly ranges: readonly string[];
  readonly nodeAddresses: readonly string[];
  readonly podCIDR: string;
  readonly serviceCIDRs: readonly string[];
  readonly clients: readonly string[];
}

export const POOLS: Readonly<Record<IPFamily, Pools>> = {
  IPv4: {
    clusterIP: (index) => `10.96.${index >> 8}.${index & 255}`,
    localPod: (index) => `10.244.1.${index + 1}`,
    remotePod: (index) => `10.244.2.${index + 1}`,
    shared: ['203.0.113.1', '203.0.113.2', '0.0.0.1', '255.255.255.254', '192.168.60.10'],
    ranges: [
      '0.0.0.0/0',
      '0.0.0.0/8',
      '0.0.0.0/1',
      '128.0.0.0/1',
      '198.18.0.0/24',
      '198.18.0.0/25',
      '198.18.0.9/32',
      '255.255.255.255/32',
      '192.168.0.0/16',
    ],
    nodeAddresses: ['127.0.0.1', '192.168.50.10', '192.168.60.10'],
    podCIDR: '10.244.1.0/24',
    serviceCIDRs: ['10.96.0.0/12', '10.96.0.0/16', '10.200.0.0/16'],
    clients: ['198.18.0.9', '198.18.0.200', '255.255.255.255', '0.1.2.3', '129.0.0.1'],
  },
  IPv6: {
    clusterIP: (index) => `fd00:10:96::${(index + 1).toString(16)}`,
    localPod: (index) => `fd00:244:1::${(index + 1).toString(16)}`,
    remotePod: (index) => `fd00:244:2::${(index + 1).toString(16)}`,
    shared: ['2001:db8::1', '2001:db8:0:1::', '::2', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe', 'fd00:60::10'],
    ranges: [
      '::/0',
      '::/8',
      '::/1',
      '8000::/1',
      '2001:db8:18::/64',
      '2001:db8:18::/65',
      '2001:db8:18::9/128',
      'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128',
      'fd00:50::/33',
    ],
    nodeAddresses: ['::1', 'fd00:50::10', 'fd00:60::10'],
    podCIDR: 'fd00:244:1::/64',
    serviceCIDRs: ['fd00:10:96::/112', 'fd00:10:96::/108', 'fd00:200::/108'],
    clients: ['2001:db8:18::9', '2001:db8:18::8000:0:0:1', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '::9', '8000::1'],
  },
};

const SERVICE_PORTS = 8;
const PORTS = [80, 1, 65535];
const NODE_PORTS = [0, 0, 30001, 30002, 65535];
const TIMEOUTS = [0, 0, 1, 600, 10800, 86400];

function some<T>(random: Random, items: readonly T[], probability: number): T[] {
  return items.filter(() => random.chance(probability));
}

function byAddress(a: Endpoint, b: Endpoint): number {
  const [left, right] = [`${a.ip}:${a.port}`, `${b.ip}:${b.port}`];
  return left < right ? -1 : Number(left > right);
}

function randomEndpoints(random: Random, family: IPFamily): Pick<ServicePort, 'cluster' | 'local' | 'hasEndpoints'> {
  const { localPod, remotePod } = POOLS[family];
  const here = (index: number): Endpoint => {
    const ip = localPod(index);
    const port = random.pick([8080, 8081, 1, 65535]);
    return { ip, port, isLocal: true, ready: true, nodeName: 'node-a', zone: '' };
  };
  const there = (index: number): Endpoint => {
    const [ip, nodeName] = [remotePod(index), random.pick(['node-b', ''])];
    return { ip, port: 8080, isLocal: false, ready: true, nodeName, zone: '' };
  };
  const indexes = [0, 1, 2, 3, 4];
  const all = [...some(random, indexes, 0.3).map(here), ...some(random, indexes, 0.3).map(there)].sort(byAddress);
  // What hints and empty lists may leave.
  const cluster = random.chance(0.15) ? [] : random.chance(0.2) ? some(random, all, 0.5) : all;
  const local = random.chance(0.15) ? [] : all.filter(({ isLocal }) => isLocal);
  return { cluster, local, hasEndpoints: cluster.length + local.length > 0 || random.chance(0.4) };
}

/** `index` says who it is; the rest is drawn. `contests`: it may name what others name, too. */
export function randomServicePort(random: Random, family: IPFamily, index: number, contests: boolean): ServicePort {
  const { clusterIP, ranges } = POOLS[family];
  const shared = contests ? POOLS[family].shared : [clusterIP(256 + index), clusterIP(512 + index)];
  const protocol: Protocol = (['TCP', 'TCP', 'UDP', 'SCTP'] as const)[index % 4]!;
  const name = `svc-${index}`;
  return {
    key: `ns/${name}:p/${protocol}`,
    namespace: 'ns',
    name,
    portName: 'p',
    protocol,
    // Two have one at times: it was given out anew, and news of that came late.
    clusterIP: clusterIP(contests && random.chance(0.05) ? (index + 4) % SERVICE_PORTS : index),
    port: random.chance(0.8) ? 80 : random.pick(PORTS),
    nodePort: contests ? random.pick(NODE_PORTS) : random.pick([0, 32000 + index]),
    externalIPs: some(random, shared, 0.2),
    loadBalancerVIPs: some(random, shared, 0.2),
    sourceRanges: random.chance(0.4) ? some(random, ranges, 0.3) : [],
    internalPolicy: random.pick(['Cluster', 'Cluster', 'Local']),
    externalPolicy: random.pick(['Cluster', 'Local']),
    affinitySeconds: random.pick(TIMEOUTS),
    healthCheckNodePort: 0,
    annotations: {},
    ...randomEndpoints(random, family),
  };
}

export function randomNode(random: Random, family: IPFamily): NodeView {
  const { nodeAddresses, podCIDR, serviceCIDRs } = POOLS[family];
  return view({
    addresses: nodeAddresses,
    masqueradeAll: random.chance(0.2),
    tcpBeLiberal: random.chance(0.3),
    serviceCIDRs: some(random, serviceCIDRs, 0.5),
    localDetector: random.pick<NodeView['localDetector']>([
      { kind: 'none' },
      { kind: 'cidr', cidr: podCIDR },
      { kind: 'interface', name: 'cni0' },
      { kind: 'interfacePrefix', prefix: 'veth' },
    ]),
    nodePortAddresses: random.pick<NodeView['nodePortAddresses']>([
      { match: 'all', loopback: family === 'IPv4' },
      { match: 'all', loopback: false },
      { match: 'list', addresses: some(random, nodeAddresses, 0.6).filter((ip) => ip !== '::1') },
      { match: 'list', addresses: [] },
    ]),
  });
}

/** A model that changes at random, and says how. */
export interface RandomModel {
  /** What there is now, as a full change. */
  whole(): Change;
  /** A few service ports, and at times the node, become different. */
  next(): Change;
}

export function createRandomModel(random: Random, family: IPFamily, { contests = true } = {}): RandomModel {
  const ports = new Map<string, ServicePort>();
  let node = randomNode(random, family);

  function changed(index: number): ServicePort {
    const fresh = randomServicePort(random, family, index, contests);
    const old = ports.get(fresh.key);
    if (old === undefined || random.chance(0.3)) return fresh;
    // Mostly endpoints change, and little else.
    if (random.chance(0.7)) return { ...old, ...randomEndpoints(random, family) };
    return { ...fresh, cluster: old.cluster, local: old.local, hasEndpoints: old.hasEndpoints };
  }

  const whole = (): Change => ({ family, full: true, node, upsert: random.shuffle([...ports.values()]), remove: [] });
  return {
    whole,
    next() {
      const upsert: ServicePort[] = [];
      const remove: string[] = [];
      const indexes = random.shuffle(Array.from({ length: SERVICE_PORTS }, (_, index) => index));
      for (const index of indexes.slice(0, random.below(4))) {
        const port = changed(index);
        if (ports.has(port.key) && random.chance(0.25)) {
          ports.delete(port.key);
          remove.push(port.key);
        } else {
          ports.set(port.key, port);
          upsert.push(port);
        }
      }
      if (random.chance(0.15)) node = randomNode(random, family);
      return random.chance(0.2) ? whole() : { family, full: false, node, upsert, remove };
    },
  };
}
