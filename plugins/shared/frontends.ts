/**
 * Where connections to a service port arrive:
 *
 *   an address and a port   "10.96.0.10 tcp 80"     owned by the strongest claim (claims.ts)
 *   a node port             "tcp 30080"
 */
import type { ServicePort } from '../../core/backend.ts';

export type FrontendKind = 'clusterIP' | 'loadBalancerVIP' | 'externalIP' | 'nodePort';
export const RANK: Readonly<Record<FrontendKind, number>> = {
  clusterIP: 0,
  loadBalancerVIP: 1,
  externalIP: 2,
  nodePort: 3,
};

export interface Frontend {
  readonly kind: FrontendKind;
  /** "" for node ports. */
  readonly ip: string;
  readonly port: number;
}

export function frontendsOf(port: ServicePort): Map<string, Frontend> {
  const found = new Map<string, Frontend>();
  const proto = protocolOf(port);
  const add = (kind: FrontendKind, ip: string): void => {
    const key = `${ip} ${proto} ${port.port}`;
    // An address that is two of these is the stronger, which comes first.
    if (!found.has(key)) found.set(key, { kind, ip, port: port.port });
  };
  add('clusterIP', port.clusterIP);
  for (const ip of port.loadBalancerVIPs) add('loadBalancerVIP', ip);
  for (const ip of port.externalIPs) add('externalIP', ip);
  if (port.nodePort !== 0) found.set(`${proto} ${port.nodePort}`, { kind: 'nodePort', ip: '', port: port.nodePort });
  return found;
}

export function protocolOf(port: ServicePort): 'tcp' | 'udp' | 'sctp' {
  return port.protocol.toLowerCase() as 'tcp' | 'udp' | 'sctp';
}

/** "default/web:http", cut where a comment of nf_tables has no more room: 120 bytes. Names are ASCII. */
export function displayName({ key }: ServicePort): string {
  const name = key.slice(0, key.lastIndexOf('/'));
  return name.length <= 120 ? name : `${name.slice(0, 117)}...`;
}

/** Of endpoints that may run on this node: without a node name in its slice, nobody knows. */
export function localIPs(port: ServicePort | undefined): Set<string> {
  const found = new Set<string>();
  if (port === undefined) return found;
  for (const { ip, isLocal, nodeName } of port.cluster) if (isLocal || nodeName === '') found.add(ip);
  for (const { ip } of port.local) found.add(ip);
  return found;
}
