/**
 * The world's plan: which namespaces, links, addresses and routes, and as which lines for ip(8). Pure; world.ts does it.
 *
 *   pod-a … pod-N          node                       lan (switch and gateway)          client
 *   10.244.1.11 …  ──veth──  192.168.50.10 ──eth0──── 192.168.50.1 ────────────eth0── 192.168.50.100, .101 …
 *   fd00:244:1::11           192.168.60.10 (second)     │ swallows what it gets
 *                            forwards                   └──eth0── remote (another node) 192.168.50.20
 *                                                                 remote pods 10.244.2.11 … on its lo
 *
 * IPv6 is alike: fd00:50::/64 for 192.168.50.0/24, fd00:60::/64 for 192.168.60.0/24, fd00:244:1::/64 for pods.
 * Nothing forwards in `lan`: a packet to a VIP that nobody translated is lost there, silently, as on the internet.
 * The client sends cluster IPs and VIPs to the node.
 *
 * pods 'routed': each pod has a /32 and a /128 and a gateway that is no address of the node; the node routes to
 *                `veth<pod>`. pods 'bridge': ports `veth<pod>` of br0 (10.244.1.1) in hairpin mode.
 */
import type { IPFamily } from '../../core/backend.ts';

export interface WorldOptions {
  /** Default 'routed'. */
  readonly pods?: 'routed' | 'bridge';
  /** Pods on the node, named pod-a, pod-b …; default 3, at most 26. */
  readonly podCount?: number;
  /** Pods on the other node, named remote-a, remote-b …; default 2, at most 26. */
  readonly remotePodCount?: number;
  /** Addresses of the client in each family; default 3, 1 to 250. */
  readonly clientAddressCount?: number;
}

export interface Pod {
  readonly name: string;
  /** The network namespace that the pod lives in: its own on the node, `remote` for a remote pod. */
  readonly namespace: string;
  readonly ip: Readonly<Record<IPFamily, string>>;
  /** The node's interface towards it; "" for a remote pod. */
  readonly interfaceName: string;
  readonly nodeName: string;
}

/** The addresses that tests need to know; canonical text. */
export interface Addresses {
  readonly pods: readonly Pod[];
  readonly remotePods: readonly Pod[];
  /** The node's addresses on its outside link, primary first. */
  readonly nodeIPs: Readonly<Record<IPFamily, readonly string[]>>;
  readonly remoteNodeIP: Readonly<Record<IPFamily, string>>;
  readonly clientIPs: Readonly<Record<IPFamily, readonly string[]>>;
}

export interface Topology extends Addresses {
  readonly namespaces: readonly string[];
  /** Per namespace, what to write into /proc/sys before any link exists. */
  readonly sysctls: Readonly<Record<string, readonly (readonly [name: string, value: string])[]>>;
  /** Lines for `ip -batch` that make the links, each end in its namespace. */
  readonly links: readonly string[];
  /** Per namespace, lines for `ip -n NAMESPACE -batch`. */
  readonly addressing: Readonly<Record<string, readonly string[]>>;
}

/** What the proxy under test is configured with, and what a test may hand out as Service addresses. */
export const NODE_NAME = 'node';
export const REMOTE_NODE_NAME = 'remote';
export const POD_CIDR: Readonly<Record<IPFamily, string>> = { IPv4: '10.244.1.0/24', IPv6: 'fd00:244:1::/64' };
export const CLUSTER_CIDR: Readonly<Record<IPFamily, string>> = { IPv4: '10.244.0.0/16', IPv6: 'fd00:244::/32' };
export const SERVICE_CIDR: Readonly<Record<IPFamily, string>> = { IPv4: '10.96.0.0/12', IPv6: 'fd00:10:96::/112' };
export const VIP_CIDR: Readonly<Record<IPFamily, string>> = { IPv4: '203.0.113.0/24', IPv6: '2001:db8:113::/64' };

const REMOTE_POD_CIDR = { IPv4: '10.244.2.0/24', IPv6: 'fd00:244:2::/64' };
const GATEWAY = { IPv4: '192.168.50.1', IPv6: 'fd00:50::1' };
/** Gateways of routed pods: known to the pod as neighbours, addresses of nobody. */
const POD_GATEWAY = { IPv4: '169.254.1.1', IPv6: 'fe80::1' };

export function planTopology(options: WorldOptions = {}): Topology {
  const bridge = options.pods === 'bridge';
  const pods = count('podCount', options.podCount ?? 3, 0, 26).map((index) => localPod(index));
  const remotePods = count('remotePodCount', options.remotePodCount ?? 2, 0, 26).map((index) => remotePod(index));
  const clients = count('clientAddressCount', options.clientAddressCount ?? 3, 1, 250);
  const addresses: Addresses = {
    pods,
    remotePods,
    nodeIPs: { IPv4: ['192.168.50.10', '192.168.60.10'], IPv6: ['fd00:50::10', 'fd00:60::10'] },
    remoteNodeIP: { IPv4: '192.168.50.20', IPv6: 'fd00:50::20' },
    clientIPs: { IPv4: clients.map(clientIPv4), IPv6: clients.map((index) => `fd00:50::${100 + index}`) },
  };
  const hosts = ['node', 'remote', 'client'];
  const namespaces = ['lan', ...hosts, ...pods.map((pod) => pod.namespace)];
  const addressing: Record<string, readonly string[]> = {
    lan: lanLines(hosts),
    node: nodeLines(addresses, bridge),
    remote: remoteLines(addresses),
    client: clientLines(addresses),
  };
  for (const [index, pod] of pods.entries()) addressing[pod.namespace] = podLines(pod, index, bridge);
  return {
    ...addresses,
    namespaces,
    sysctls: Object.fromEntries(namespaces.map((name) => [name, sysctls(name === 'node')])),
    links: [
      ...hosts.map((host) => `link add name eth0 netns ${host} type veth peer name ${host} netns lan`),
      ...pods.map(
        (pod, index) =>
          `link add name eth0 address ${podMAC(index)} netns ${pod.namespace} type veth ` +
          `peer name ${pod.interfaceName} address ${gatewayMAC(index)} netns node`,
      ),
    ],
    addressing,
  };
}

function localPod(index: number): Pod {
  const name = `pod-${letter(index)}`;
  const ip = { IPv4: `10.244.1.${11 + index}`, IPv6: `fd00:244:1::${11 + index}` };
  return { name, namespace: name, ip, interfaceName: `veth${name}`, nodeName: NODE_NAME };
}

function remotePod(index: number): Pod {
  const ip = { IPv4: `10.244.2.${11 + index}`, IPv6: `fd00:244:2::${11 + index}` };
  return { name: `remote-${letter(index)}`, namespace: 'remote', ip, interfaceName: '', nodeName: REMOTE_NODE_NAME };
}

function lanLines(hosts: readonly string[]): readonly string[] {
  return [
    'link set lo up',
    'link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    'link set br0 up',
    ...hosts.flatMap((host) => [`link set ${host} master br0`, `link set ${host} up`]),
    `addr add ${GATEWAY.IPv4}/24 dev br0`,
    `addr add ${GATEWAY.IPv6}/64 dev br0 nodad`,
    // Without these, IPv6 would answer "no route".
    'route add blackhole 0.0.0.0/0',
    'route add blackhole ::/0',
  ];
}

function nodeLines({ pods, nodeIPs, remoteNodeIP }: Addresses, bridge: boolean): readonly string[] {
  return [
    'link set lo up',
    'link set eth0 up',
    ...nodeIPs.IPv4.map((ip) => `addr add ${ip}/24 dev eth0`),
    // Of equally good source addresses the kernel takes the one added last: the primary must be it.
    ...nodeIPs.IPv6.toReversed().map((ip) => `addr add ${ip}/64 dev eth0 nodad`),
    'route add 192.168.51.0/24 dev eth0', // the client's addresses from the 155th on
    `route add default via ${GATEWAY.IPv4} src ${nodeIPs.IPv4[0]}`,
    `route add ::/0 via ${GATEWAY.IPv6} dev eth0`,
    `route add ${REMOTE_POD_CIDR.IPv4} via ${remoteNodeIP.IPv4}`,
    `route add ${REMOTE_POD_CIDR.IPv6} via ${remoteNodeIP.IPv6}`,
    ...(bridge ? bridgePorts(pods) : pods.flatMap((pod, index) => routesToPod(pod, index, nodeIPs.IPv4[0]!))),
  ];
}

function bridgePorts(pods: readonly Pod[]): readonly string[] {
  return [
    'link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    'link set br0 up',
    ...pods.flatMap(({ interfaceName }) => [
      `link set ${interfaceName} master br0`,
      `link set ${interfaceName} type bridge_slave hairpin on`,
      `link set ${interfaceName} up`,
    ]),
    'addr add 10.244.1.1/24 dev br0',
    'addr add fd00:244:1::1/64 dev br0 nodad',
  ];
}

/** Neighbours are written down on both sides: no ARP, no waiting, and no address of the node's on the veth. */
function routesToPod(pod: Pod, index: number, source: string): readonly string[] {
  const device = `dev ${pod.interfaceName}`;
  return [
    `link set ${pod.interfaceName} up`,
    `route add ${pod.ip.IPv4}/32 ${device} scope link src ${source}`,
    `route add ${pod.ip.IPv6}/128 ${device}`,
    `neigh add ${pod.ip.IPv4} lladdr ${podMAC(index)} ${device} nud permanent`,
    `neigh add ${pod.ip.IPv6} lladdr ${podMAC(index)} ${device} nud permanent`,
  ];
}

function podLines(pod: Pod, index: number, bridge: boolean): readonly string[] {
  const up = ['link set lo up', 'link set eth0 up'];
  if (bridge) {
    return [
      ...up,
      `addr add ${pod.ip.IPv4}/24 dev eth0`,
      `addr add ${pod.ip.IPv6}/64 dev eth0 nodad`,
      'route add default via 10.244.1.1',
      'route add ::/0 via fd00:244:1::1 dev eth0',
    ];
  }
  return [
    ...up,
    `addr add ${pod.ip.IPv4}/32 dev eth0`,
    `addr add ${pod.ip.IPv6}/128 dev eth0 nodad`,
    `route add ${POD_GATEWAY.IPv4} dev eth0 scope link`,
    `neigh add ${POD_GATEWAY.IPv4} lladdr ${gatewayMAC(index)} dev eth0 nud permanent`,
    `neigh add ${POD_GATEWAY.IPv6} lladdr ${gatewayMAC(index)} dev eth0 nud permanent`,
    `route add default via ${POD_GATEWAY.IPv4} dev eth0`,
    `route add ::/0 via ${POD_GATEWAY.IPv6} dev eth0`,
  ];
}

function remoteLines({ remotePods, remoteNodeIP, nodeIPs }: Addresses): readonly string[] {
  return [
    'link set lo up',
    'link set eth0 up',
    `addr add ${remoteNodeIP.IPv4}/24 dev eth0`,
    `addr add ${remoteNodeIP.IPv6}/64 dev eth0 nodad`,
    ...remotePods.flatMap(({ ip }) => [`addr add ${ip.IPv4}/32 dev lo`, `addr add ${ip.IPv6}/128 dev lo nodad`]),
    'route add 192.168.51.0/24 dev eth0',
    ...routesVia(nodeIPs, [POD_CIDR, { IPv4: '192.168.60.0/24', IPv6: 'fd00:60::/64' }]),
    `route add default via ${GATEWAY.IPv4}`,
    `route add ::/0 via ${GATEWAY.IPv6} dev eth0`,
  ];
}

function clientLines({ clientIPs, nodeIPs, remoteNodeIP }: Addresses): readonly string[] {
  const remoteGateway = { IPv4: [remoteNodeIP.IPv4], IPv6: [remoteNodeIP.IPv6] };
  const secondNodeAddress = { IPv4: '192.168.60.0/24', IPv6: 'fd00:60::/64' };
  return [
    'link set lo up',
    'link set eth0 up',
    ...clientIPs.IPv4.map((ip) => `addr add ${ip}/24 dev eth0`),
    ...clientIPs.IPv6.toReversed().map((ip) => `addr add ${ip}/64 dev eth0 nodad`),
    ...routesVia(nodeIPs, [POD_CIDR, SERVICE_CIDR, VIP_CIDR, secondNodeAddress], clientIPs),
    ...routesVia(remoteGateway, [REMOTE_POD_CIDR], clientIPs),
    `route add default via ${GATEWAY.IPv4}`,
    `route add ::/0 via ${GATEWAY.IPv6} dev eth0`,
  ];
}

type PerFamily<T> = Readonly<Record<IPFamily, T>>;

/** Routes through the first of the gateway's addresses, from the first of one's own. */
function routesVia(
  gateway: PerFamily<readonly string[]>,
  destinations: readonly PerFamily<string>[],
  own?: PerFamily<readonly string[]>,
): readonly string[] {
  return destinations.flatMap((destination) => [
    `route add ${destination.IPv4} via ${gateway.IPv4[0]}${own ? ` src ${own.IPv4[0]}` : ''}`,
    `route add ${destination.IPv6} via ${gateway.IPv6[0]}${own ? ` src ${own.IPv6[0]}` : ''}`,
  ]);
}

/**
 * IPv6 usable at once (no duplicate address detection, no router advertisements), nothing learnt from redirects, and
 * ICMP errors never rate-limited: the kernel would otherwise turn the seventh "refused" in a second into silence.
 * The masks name the limited types; they lift the limit per destination and the one per host (icmp_msgs_per_sec).
 */
function sysctls(forwards: boolean): readonly (readonly [string, string])[] {
  const perInterface = (family: 'ipv4' | 'ipv6', name: string, value: string) =>
    ['all', 'default'].map((scope) => [`net/${family}/conf/${scope}/${name}`, value] as const);
  const forwarding = forwards ? '1' : '0';
  return [
    ['net/ipv4/ip_forward', forwarding],
    ['net/ipv6/conf/all/forwarding', forwarding],
    ['net/ipv6/conf/default/forwarding', forwarding],
    ['net/ipv4/icmp_ratemask', '0'],
    ['net/ipv6/icmp/ratemask', '127'], // a type that nobody sends; an empty mask cannot be written
    ...perInterface('ipv4', 'rp_filter', '0'),
    ...perInterface('ipv4', 'accept_redirects', '0'),
    ...perInterface('ipv4', 'send_redirects', '0'),
    ...perInterface('ipv6', 'disable_ipv6', '0'),
    ...perInterface('ipv6', 'accept_dad', '0'),
    ...perInterface('ipv6', 'accept_ra', '0'),
    ...perInterface('ipv6', 'accept_redirects', '0'),
  ];
}

function count(option: string, value: number, least: number, most: number): readonly number[] {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`world option ${option} is ${value}: it must be a whole number from ${least} to ${most}`);
  }
  return Array.from({ length: value }, (_, index) => index);
}

/** 192.168.50.100 to .254, then 192.168.51.1 and on. */
function clientIPv4(index: number): string {
  return index < 155 ? `192.168.50.${100 + index}` : `192.168.51.${index - 154}`;
}

function letter(index: number): string {
  return String.fromCharCode('a'.charCodeAt(0) + index);
}

function podMAC(index: number): string {
  return `02:00:00:00:01:${index.toString(16).padStart(2, '0')}`;
}

function gatewayMAC(index: number): string {
  return `02:00:00:00:02:${index.toString(16).padStart(2, '0')}`;
}
