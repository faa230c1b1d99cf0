/**
 * Who owns a destination. Nothing stops two Services from naming the same external IP or node port, and a data plane
 * has one answer per destination, so that all backends need the same rule, independent of the order of events:
 *
 *   clusterIP  beats  loadBalancerVIP  beats  externalIP  beats  node port;  among equals the smaller key in byte order
 *
 * The API server hands out cluster addresses and a load balancer's controller VIPs, while anyone who may write a
 * Service may write any externalIPs (CVE-2020-8554): so those never take an address over from the others, nor do
 * they open a VIP that has source ranges.
 */
import type { Protocol, ServicePort } from '../backend.ts';

export type FrontendKind = 'clusterIP' | 'externalIP' | 'loadBalancerVIP';
export type DestinationKind = FrontendKind | 'nodePort';

/** One address and port at which a service port is reached; node ports have no address of their own. */
export interface Frontend {
  readonly kind: FrontendKind;
  readonly ip: string;
  readonly protocol: Protocol;
  readonly port: number;
}

export interface Claim {
  readonly kind: DestinationKind;
  readonly servicePort: ServicePort;
}

const RANK: Readonly<Record<DestinationKind, number>> = {
  clusterIP: 0,
  loadBalancerVIP: 1,
  externalIP: 2,
  nodePort: 3,
};

/** All frontends, the stronger kind first. An address may be there as two kinds. */
export function frontends(servicePort: ServicePort): readonly Frontend[] {
  const { protocol, port } = servicePort;
  const frontend = (kind: FrontendKind, ip: string): Frontend => ({ kind, ip, protocol, port });
  return [
    frontend('clusterIP', servicePort.clusterIP),
    ...servicePort.loadBalancerVIPs.map((ip) => frontend('loadBalancerVIP', ip)),
    ...servicePort.externalIPs.map((ip) => frontend('externalIP', ip)),
  ];
}

/** Negative when `a` owns a destination that both claim, positive when `b` does. */
export function compareClaims(a: Claim, b: Claim): number {
  const byKind = RANK[a.kind] - RANK[b.kind];
  if (byKind !== 0) return byKind;
  const [left, right] = [a.servicePort.key, b.servicePort.key];
  return left < right ? -1 : Number(left > right);
}

/** The owner of an exact destination, node ports left aside. */
export function frontendOwner(
  servicePorts: Iterable<ServicePort>,
  destination: { readonly ip: string; readonly protocol: Protocol; readonly port: number },
): Claim | undefined {
  let owner: Claim | undefined;
  for (const servicePort of servicePorts) {
    if (servicePort.protocol !== destination.protocol || servicePort.port !== destination.port) continue;
    const frontend = frontends(servicePort).find(({ ip }) => ip === destination.ip);
    if (frontend !== undefined) owner = stronger(owner, { kind: frontend.kind, servicePort });
  }
  return owner;
}

/** The owner of a node port, on every address that accepts node ports. */
export function nodePortOwner(
  servicePorts: Iterable<ServicePort>,
  destination: { readonly protocol: Protocol; readonly port: number },
): Claim | undefined {
  let owner: Claim | undefined;
  for (const servicePort of servicePorts) {
    // 0 means "none", so that a packet to port 0 belongs to no one.
    if (servicePort.nodePort === 0 || servicePort.nodePort !== destination.port) continue;
    if (servicePort.protocol === destination.protocol) owner = stronger(owner, { kind: 'nodePort', servicePort });
  }
  return owner;
}

function stronger(owner: Claim | undefined, claim: Claim): Claim {
  return owner === undefined || compareClaims(claim, owner) < 0 ? claim : owner;
}
