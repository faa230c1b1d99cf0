/**
 * What one IP family sees of this node: the operator's settings, the Node object and the interfaces' addresses made
 * into the few facts that a data plane needs. Cheap, so that it can be made again whenever an address comes or goes.
 */
import type { IPFamily, LocalDetector, NodePortAddresses, NodeView } from '../backend.ts';
import { cidrContains, familyOf, isLoopback, parseCIDR, parseIP } from './ip.ts';
import type { InterfaceAddress, NodeSettings } from './node-settings.ts';
import type { Node, ServiceCIDR } from './objects.ts';

const IPV6_LINK_LOCAL = 'fe80::/10';
const LINK_LOCAL_PREFIX_LENGTH = 10;
/** The device that IPVS mode binds Service addresses to. They are the node's to the kernel, but not to anyone else. */
export const IPVS_DEVICE = 'kube-ipvs0';

/**
 * `node` is undefined until (or unless) the Node object is known. `ranges`: of the cluster's ServiceCIDR objects; those
 * of the settings count beside them.
 */
export function nodeView(
  family: IPFamily,
  node: Node | undefined,
  settings: NodeSettings,
  addresses: readonly InterfaceAddress[],
  ranges: Iterable<ServiceCIDR> = [],
): NodeView {
  const own = new Set<string>();
  for (const { interfaceName, ip } of addresses) {
    if (interfaceName !== IPVS_DEVICE && familyOf(ip) === family) own.add(ip);
  }
  const sorted = [...own].sort();
  const nodeIPs = ipsOfNode(family, node, settings);
  return {
    name: settings.nodeName,
    zone: node?.zone ?? '',
    nodeIPs,
    addresses: sorted,
    nodePortAddresses: nodePortAddresses(family, settings, nodeIPs, sorted),
    localDetector: localDetector(family, node, settings),
    masqueradeAll: settings.masqueradeAll,
    serviceCIDRs: serviceCIDRs(family, settings, ranges),
    tcpBeLiberal: settings.tcpBeLiberal,
  };
}

/** Sorted, so that the order in which objects came makes no difference. */
function serviceCIDRs(family: IPFamily, settings: NodeSettings, ranges: Iterable<ServiceCIDR>): readonly string[] {
  const all = new Set(settings.serviceCIDRs);
  for (const { cidrs } of ranges) for (const cidr of cidrs) all.add(cidr);
  return [...all].filter((cidr) => familyOf(cidr) === family).sort();
}

/** Primary first. Empty when unknown: an invented 127.0.0.1 would be an address that no one else can reach. */
function ipsOfNode(family: IPFamily, node: Node | undefined, settings: NodeSettings): readonly string[] {
  const ips = (node?.ips ?? []).filter((ip) => familyOf(ip) === family);
  const bind = parseIP(settings.bindAddress);
  if (bind === undefined || bind.family !== family || bind.ip === '0.0.0.0' || bind.ip === '::') return ips;
  return [...new Set([bind.ip, ...ips.slice(1)])];
}

/**
 * | setting              | answers                                                                  |
 * |----------------------|--------------------------------------------------------------------------|
 * | none of this family, or a /0 | every local address; 127.0.0.0/8 if localhostNodePorts           |
 * | CIDRs of this family | interface addresses inside; loopback ones only if localhostNodePorts     |
 * | primary              | the primary node IP, if an interface has it; nothing if it is unknown    |
 *
 * ::1 never answers: the kernel does not route from ::1 to another host whatever the rules say.
 */
function nodePortAddresses(
  family: IPFamily,
  settings: NodeSettings,
  nodeIPs: readonly string[],
  addresses: readonly string[],
): NodePortAddresses {
  const loopback = family === 'IPv4' && settings.localhostNodePorts;
  if (settings.nodePortAddresses.includes('primary')) {
    const primary = nodeIPs[0];
    return { match: 'list', addresses: addresses.filter((ip) => ip === primary && !isLoopback(ip)) };
  }
  const cidrs = settings.nodePortAddresses.filter((cidr) => familyOf(cidr) === family);
  if (cidrs.length === 0 || cidrs.some((cidr) => cidr.endsWith('/0'))) return { match: 'all', loopback };
  const answers = (ip: string): boolean => {
    if (isLoopback(ip) && !loopback) return false;
    const covering = cidrs.filter((cidr) => cidrContains(cidr, ip));
    // Every interface has a link-local address and any wide CIDR covers it; who means them says so.
    return cidrContains(IPV6_LINK_LOCAL, ip) ? covering.some(isLinkLocalCIDR) : covering.length > 0;
  };
  return { match: 'list', addresses: addresses.filter(answers) };
}

function isLinkLocalCIDR(cidr: string): boolean {
  const parsed = parseCIDR(cidr);
  if (parsed === undefined || parsed.prefixLength < LINK_LOCAL_PREFIX_LENGTH) return false;
  return cidrContains(IPV6_LINK_LOCAL, parsed.ip);
}

/** A family for which the chosen mode has no input gets `none`: its pods cannot be told from others. */
function localDetector(family: IPFamily, node: Node | undefined, settings: NodeSettings): LocalDetector {
  const { podBridgeInterface: name, podInterfaceNamePrefix: prefix } = settings;
  switch (settings.detectLocalMode) {
    case 'BridgeInterface':
      return name === '' ? { kind: 'none' } : { kind: 'interface', name };
    case 'InterfaceNamePrefix':
      return prefix === '' ? { kind: 'none' } : { kind: 'interfacePrefix', prefix };
    case 'ClusterCIDR':
      return cidrDetector(family, settings.clusterCIDRs);
    case 'NodeCIDR':
      return cidrDetector(family, node?.podCIDRs ?? []);
  }
}

function cidrDetector(family: IPFamily, cidrs: readonly string[]): LocalDetector {
  const cidr = cidrs.find((candidate) => familyOf(candidate) === family);
  return cidr === undefined ? { kind: 'none' } : { kind: 'cidr', cidr };
}
