/**
 * Without rights: where the process itself can listen for a service port, purely.
 *
 *   external IPs, load balancer VIPs   where an interface of this host has them
 *   node ports                         on each address that accepts them
 *   ClusterIPs, IPv4                   on 127.x.y.z, the ClusterIP's last three numbers: 10.96.0.10 is 127.96.0.10
 *   ClusterIPs, IPv6                   nowhere: ::1 is one address, and which Service would have it?
 *
 * Two ClusterIPs that end alike (10.96.0.10 and 172.96.0.10) claim one loopback address; the smaller key has it.
 */
import type { IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import { type Frontend, RANK } from '../shared/frontends.ts';
import type { ForwardedProtocol } from './forward/messages.ts';
import { isForwarded } from './services.ts';

/** A place where the process is to listen for a service port. */
export interface Place {
  readonly protocol: ForwardedProtocol;
  readonly ip: string;
  readonly port: number;
  readonly kind: Frontend['kind'];
  /** Among those who claim it the smallest wins. */
  readonly rank: number;
}

/** A service port of which the policy, or the lack of endpoints, lets nobody in has no place: it is refused. */
export function placesOf(family: IPFamily, port: ServicePort, node: NodeView): readonly Place[] {
  if (!isForwarded(port)) return [];
  const protocol = port.protocol as ForwardedProtocol;
  const { cluster, local, internalPolicy, externalPolicy } = port;
  const found = new Map<string, Place>();
  const add = (kind: Frontend['kind'], ip: string, portNumber: number): void => {
    const key = `${ip} ${portNumber}`;
    if (!found.has(key)) found.set(key, { protocol, ip, port: portNumber, kind, rank: RANK[kind] });
  };
  const inside = internalPolicy === 'Local' ? local : cluster;
  const loopback = family === 'IPv4' ? loopbackOf(port.clusterIP) : undefined;
  if (loopback !== undefined && inside.length > 0) add('clusterIP', loopback, port.port);
  // With policy Local those inside still use every endpoint.
  const outside = externalPolicy === 'Local' ? [...local, ...cluster] : cluster;
  if (outside.length === 0) return [...found.values()];
  const own = new Set(node.addresses);
  for (const ip of port.loadBalancerVIPs) if (own.has(ip)) add('loadBalancerVIP', ip, port.port);
  for (const ip of port.externalIPs) if (own.has(ip)) add('externalIP', ip, port.port);
  if (port.nodePort !== 0) for (const ip of nodePortIPs(node)) add('nodePort', ip, port.nodePort);
  return [...found.values()];
}

/** An address of a service port that no place serves, and why. */
export interface Unserved {
  readonly ip: string;
  readonly reason: string;
}

export function unservedOf(family: IPFamily, port: ServicePort, { addresses }: NodeView): readonly Unserved[] {
  if (!isForwarded(port)) return [];
  const found: Unserved[] = [];
  if (port.cluster.length + port.local.length === 0) found.push({ ip: port.clusterIP, reason: 'no endpoints' });
  else if (family === 'IPv6') found.push({ ip: port.clusterIP, reason: 'an IPv6 ClusterIP' });
  else if (loopbackOf(port.clusterIP) === undefined) {
    found.push({ ip: port.clusterIP, reason: 'no loopback address can stand for it' });
  }
  const others = new Set([...port.loadBalancerVIPs, ...port.externalIPs]);
  for (const ip of others) if (!addresses.includes(ip)) found.push({ ip, reason: 'no interface here has it' });
  return found;
}

/** Where a ClusterIP is served; undefined for what is no IPv4 address. */
export function loopbackOf(clusterIP: string): string | undefined {
  const [, b, c, d] = /^\d+\.(\d+)\.(\d+)\.(\d+)$/.exec(clusterIP) ?? [];
  // 127.0.0.1 is everybody's, and 127.0.0.0 and 127.255.255.255 are no host's.
  const rest = `${b}.${c}.${d}`;
  return b === undefined || ['0.0.1', '0.0.0', '255.255.255'].includes(rest) ? undefined : `127.${rest}`;
}

/** IPv6's link-local addresses would need the interface, too. */
function nodePortIPs({ nodePortAddresses: accepted, addresses }: NodeView): readonly string[] {
  const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1';
  const all =
    accepted.match === 'list'
      ? accepted.addresses
      : addresses.filter((ip) => !isLoopback(ip) || (accepted.loopback && ip !== '::1'));
  return all.filter((ip) => !/^fe[89ab]/.test(ip));
}
