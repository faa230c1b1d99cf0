/**
 * What must happen to the first packet of a connection: the judge of every backend. `explain` prints it, and tests
 * compare real packets with it. It is the contract of core/backend.ts once more, written as a function.
 *
 *   packet ──▶ owner of ip:protocol:port? ──no──▶ accepted node address and node port? ──no──▶ pass
 *                       │ yes                                │ yes
 *                       ▼                                    │
 *              VIP and source outside of its ranges? ──▶ drop│
 *                       │                                    ▼
 *                       └──▶ list of the policy ──empty──▶ reject, or drop if endpoints exist elsewhere
 *                                  │
 *                                  ▼
 *                              endpoints, each masqueraded or not
 *
 * masquerade, from left to right:
 * | destination              | endpoint to itself | pod of this node | this node     | others        |
 * |--------------------------|--------------------|------------------|---------------|---------------|
 * | clusterIP                | yes                | no               | if detectable | if detectable |
 * | clusterIP, masqueradeAll | yes                | yes              | yes           | yes           |
 * | external, Cluster        | yes                | yes              | yes           | yes           |
 * | external, Local          | yes                | no, cluster list | yes, cluster  | no, local     |
 */
import type { Endpoint, LocalDetector, NodePortAddresses, NodeView, Packet, ServicePort } from '../backend.ts';
import { type Claim, type DestinationKind, frontendOwner, nodePortOwner } from './claims.ts';
import { cidrContains, isLoopback } from './ip.ts';

/** Of the packet's family. */
export interface OracleState {
  readonly node: NodeView;
  readonly ports: readonly ServicePort[];
  /** The data plane answers for the endpoint instead of sending packets on: every source is this node. */
  readonly hidesSources?: boolean;
}

export type Verdict =
  | {
      readonly action: 'endpoints';
      /** Key of the service port that owns the destination, and what the destination is to it. */
      readonly servicePort: string;
      readonly destination: DestinationKind;
      /** Any of these, never empty. */
      readonly endpoints: readonly Endpoint[];
      /** Must the endpoint see an address of this node instead of the packet's source? */
      readonly masquerade: (endpoint: Endpoint) => boolean;
    }
  | { readonly action: 'reject' | 'drop'; readonly servicePort: string; readonly destination: DestinationKind }
  /** No business of the proxy. */
  | { readonly action: 'pass' };

/** How a data plane can class the source of a packet. */
export type SourceClass = 'pod' | 'node' | 'other';

export function route(packet: Packet, { node, ports, hidesSources = false }: OracleState): Verdict {
  const claim = owner(packet, node, ports);
  if (claim === undefined) return { action: 'pass' };
  const { kind: destination, servicePort } = claim;
  const key = servicePort.key;
  if (destination === 'loadBalancerVIP' && !mayReachVIP(packet, servicePort)) {
    return { action: 'drop', servicePort: key, destination };
  }
  const source = classOfSource(packet, node);
  const endpoints = listFor(destination, source, servicePort);
  if (endpoints.length === 0) {
    return { action: servicePort.hasEndpoints ? 'drop' : 'reject', servicePort: key, destination };
  }
  const always = hidesSources || masqueradesAlways(destination, source, servicePort, node);
  const masquerade = (endpoint: Endpoint): boolean => always || endpoint.ip === packet.sourceIP;
  return { action: 'endpoints', servicePort: key, destination, endpoints, masquerade };
}

/**
 * A pod is what the detector finds to be one, wherever the packet really came from: with `cidr` even a pod of another
 * node, with `none` not even our own. The detector comes first, so that an address of this node inside the pod CIDR
 * (that of the pod bridge) is a pod's: a data plane that looks only at the source cannot know better, and replies
 * come back to this node either way.
 */
export function classOfSource(packet: Packet, node: NodeView): SourceClass {
  if (detects(node.localDetector, packet)) return 'pod';
  const local = packet.origin === 'node' || isLoopback(packet.sourceIP) || node.addresses.includes(packet.sourceIP);
  return local ? 'node' : 'other';
}

/** Do node ports answer on this address? */
export function acceptsNodePorts(accepted: NodePortAddresses, ip: string, node: NodeView): boolean {
  if (ip === '::1') return false;
  if (accepted.match === 'list') return accepted.addresses.includes(ip);
  return isLoopback(ip) ? accepted.loopback : node.addresses.includes(ip);
}

function owner(packet: Packet, node: NodeView, ports: readonly ServicePort[]): Claim | undefined {
  const { destinationIP: ip, destinationPort: port, protocol } = packet;
  const exact = frontendOwner(ports, { ip, protocol, port });
  if (exact !== undefined) return exact;
  return acceptsNodePorts(node.nodePortAddresses, ip, node) ? nodePortOwner(ports, { protocol, port }) : undefined;
}

function detects(detector: LocalDetector, packet: Packet): boolean {
  switch (detector.kind) {
    case 'none':
      return false;
    case 'cidr':
      return cidrContains(detector.cidr, packet.sourceIP);
    // What this host sends has no input interface, not even where it goes through the pods' bridge.
    case 'interface':
      return packet.origin !== 'node' && packet.inputInterface === detector.name;
    case 'interfacePrefix':
      return packet.origin !== 'node' && packet.inputInterface.startsWith(detector.prefix);
  }
}

function mayReachVIP(packet: Packet, { sourceRanges }: ServicePort): boolean {
  return sourceRanges.length === 0 || sourceRanges.some((range) => cidrContains(range, packet.sourceIP));
}

function listFor(destination: DestinationKind, source: SourceClass, servicePort: ServicePort): readonly Endpoint[] {
  if (destination === 'clusterIP') {
    return servicePort.internalPolicy === 'Local' ? servicePort.local : servicePort.cluster;
  }
  return servicePort.externalPolicy === 'Local' && source === 'other' ? servicePort.local : servicePort.cluster;
}

function masqueradesAlways(
  destination: DestinationKind,
  source: SourceClass,
  servicePort: ServicePort,
  node: NodeView,
): boolean {
  if (destination === 'clusterIP') {
    return node.masqueradeAll || (node.localDetector.kind !== 'none' && source !== 'pod');
  }
  return servicePort.externalPolicy === 'Cluster' || source === 'node';
}
