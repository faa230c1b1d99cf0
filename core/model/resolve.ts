/**
 * One Service and its EndpointSlices → its service ports as this node must serve them, in one family. The heart of
 * the core: what a backend gets is this and nothing else. Costs what that one Service has, whatever else exists.
 *
 *   Service ──ports──▶ for each: slices ──merge, order──▶ candidates ──select-endpoints.ts──▶ ServicePort
 */
import type { Endpoint, IPFamily, ServicePort } from '../backend.ts';
import { cidrContains, hostCIDR, ipPort } from './ip.ts';
import type { EndpointSlice, Service, ServiceAddresses, ServicePortSpec } from './objects.ts';
import { type Candidate, selectEndpoints } from './select-endpoints.ts';

const NONE: readonly Endpoint[] = [];
const NO_ADDRESSES: readonly string[] = [];

/** What the choice of endpoints depends on besides the objects. */
export interface ResolveNode {
  readonly family: IPFamily;
  readonly name: string;
  /** "" when unknown. */
  readonly zone: string;
  /** The node's own addresses of this family. */
  readonly nodeIPs: readonly string[];
  /** The feature gate AllowServiceExternalIPs is off: externalIPs of Services get nothing. */
  readonly ignoresExternalIPs?: boolean;
}

/** Slices of other Services and of the other family may be among `slices`; they are passed over. */
export function resolveService(service: Service, slices: Iterable<EndpointSlice>, node: ResolveNode): ServicePort[] {
  const addresses = service.families[node.family];
  if (addresses === undefined) return [];
  const own = ownSlices(service, slices, node.family);
  const sourceRanges = withVIPs(addresses, node.nodeIPs);
  const resolved = new Map<string, ServicePort>();
  for (const port of service.ports) {
    const key = servicePortKey(service, port);
    // Keys are unique by contract, so of two ports with the same name and protocol the first one stands.
    if (resolved.has(key)) continue;
    const { nodePort } = port;
    const { loadBalancerVIPs } = addresses;
    const externalIPs = node.ignoresExternalIPs ? NO_ADDRESSES : addresses.externalIPs;
    const external = nodePort !== 0 || externalIPs.length > 0 || loadBalancerVIPs.length > 0;
    const { internalPolicy, externalPolicy } = service;
    const selection = selectEndpoints(mergeCandidates(own, port), {
      nodeName: node.name,
      zone: node.zone,
      // External destinations use the cluster list even with policy Local: for this node and its own pods.
      usesCluster: internalPolicy === 'Cluster' || external,
      // A load balancer that has no address yet asks on the health check port already.
      usesLocal:
        internalPolicy === 'Local' || (externalPolicy === 'Local' && (external || service.healthCheckNodePort !== 0)),
      keepsFlows: port.protocol === 'UDP',
    });
    const { unchosen } = selection;
    resolved.set(key, {
      key,
      namespace: service.namespace,
      name: service.name,
      portName: port.name,
      protocol: port.protocol,
      clusterIP: addresses.clusterIP,
      port: port.port,
      nodePort,
      externalIPs,
      loadBalancerVIPs,
      sourceRanges,
      internalPolicy,
      externalPolicy,
      affinitySeconds: service.affinitySeconds,
      healthCheckNodePort: service.healthCheckNodePort,
      cluster: selection.cluster,
      local: selection.local,
      hasEndpoints: selection.hasEndpoints,
      annotations: service.annotations,
      ...(unchosen.length > 0 ? { keepsFlowsUDP: unchosen } : {}),
    });
  }
  return [...resolved.values()];
}

/** "namespace/name:port/TCP", or "namespace/name/TCP" for an unnamed port. */
export function servicePortKey(
  service: Pick<Service, 'namespace' | 'name'>,
  port: Pick<ServicePortSpec, 'name' | 'protocol'>,
): string {
  const named = port.name === '' ? service.name : `${service.name}:${port.name}`;
  return `${service.namespace}/${named}/${port.protocol}`;
}

/** Would a backend see no difference? */
export function servicePortsEqual(a: ServicePort, b: ServicePort): boolean {
  if (a === b) return true;
  return (
    a.key === b.key &&
    a.namespace === b.namespace &&
    a.name === b.name &&
    a.portName === b.portName &&
    a.protocol === b.protocol &&
    a.clusterIP === b.clusterIP &&
    a.port === b.port &&
    a.nodePort === b.nodePort &&
    a.internalPolicy === b.internalPolicy &&
    a.externalPolicy === b.externalPolicy &&
    a.affinitySeconds === b.affinitySeconds &&
    a.healthCheckNodePort === b.healthCheckNodePort &&
    a.hasEndpoints === b.hasEndpoints &&
    textsEqual(a.externalIPs, b.externalIPs) &&
    textsEqual(a.loadBalancerVIPs, b.loadBalancerVIPs) &&
    textsEqual(a.sourceRanges, b.sourceRanges) &&
    annotationsEqual(a.annotations, b.annotations) &&
    endpointsEqual(a.cluster, b.cluster) &&
    endpointsEqual(a.local, b.local) &&
    endpointsEqual(a.keepsFlowsUDP ?? NONE, b.keepsFlowsUDP ?? NONE)
  );
}

/** By name, so that which of two slices is later does not depend on the order in which they came. */
function ownSlices(service: Service, slices: Iterable<EndpointSlice>, family: IPFamily): readonly EndpointSlice[] {
  const own: EndpointSlice[] = [];
  for (const slice of slices) {
    if (slice.family !== family) continue;
    if (slice.serviceName === service.name && slice.namespace === service.namespace) own.push(slice);
  }
  return own.sort((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
}

/**
 * All addresses of one port in byte order of "ip:port", each once. An address that is in two slices, as happens while
 * the controller moves it, counts as in the later one, unless only the earlier one does not call it terminating.
 */
function mergeCandidates(slices: readonly EndpointSlice[], port: ServicePortSpec): readonly Candidate[] {
  const merged = new Map<string, Candidate>();
  for (const slice of slices) {
    for (const slicePort of slice.ports) {
      if (slicePort.name !== port.name || slicePort.protocol !== port.protocol) continue;
      for (const endpoint of slice.endpoints) {
        const key = ipPort(endpoint.ip, slicePort.port);
        if (endpoint.terminating && merged.has(key)) continue;
        merged.set(key, { endpoint, port: slicePort.port, annotations: slice.annotations });
      }
    }
  }
  // Without a comparator sort() goes by UTF-16 code units, which for these characters is byte order.
  return [...merged.keys()].sort().map((key) => merged.get(key)!);
}

/**
 * A range that admits the node admits the VIPs too: where the VIP is bound to the node, its own connections to the
 * VIP have that very address as their source.
 */
function withVIPs({ sourceRanges, loadBalancerVIPs }: ServiceAddresses, nodeIPs: readonly string[]): readonly string[] {
  if (sourceRanges.length === 0 || loadBalancerVIPs.length === 0) return sourceRanges;
  if (!sourceRanges.some((range) => nodeIPs.some((ip) => cidrContains(range, ip)))) return sourceRanges;
  return [...new Set([...sourceRanges, ...loadBalancerVIPs.map(hostCIDR)])];
}

function textsEqual(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((text, index) => text === b[index]));
}

function annotationsEqual(a: Endpoint['annotations'], b: Endpoint['annotations']): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

function endpointsEqual(a: readonly Endpoint[], b: readonly Endpoint[]): boolean {
  return a === b || (a.length === b.length && a.every((endpoint, index) => endpointEqual(endpoint, b[index]!)));
}

function endpointEqual(a: Endpoint, b: Endpoint): boolean {
  return (
    a === b ||
    (a.ip === b.ip &&
      a.port === b.port &&
      a.isLocal === b.isLocal &&
      a.ready === b.ready &&
      a.nodeName === b.nodeName &&
      a.zone === b.zone &&
      annotationsEqual(a.annotations, b.annotations))
  );
}
