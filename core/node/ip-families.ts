/**
 * Whether the IP families of this host fit what is configured. Most misfits are only told: they have
 * never kept a kube-proxy from starting, so that clusters live with them. The few that always did still do.
 */
import type { IPFamily } from '../backend.ts';

/** Addresses and CIDRs are canonical. */
export interface FamilyFacts {
  /** That of the first node IP. */
  readonly primaryFamily: IPFamily;
  /** Of both families; empty where none is known. */
  readonly nodeIPs: readonly string[];
  readonly clusterCIDRs: readonly string[];
  /** The Node's. */
  readonly podCIDRs: readonly string[];
  readonly detectLocalMode: string;
  /** What host and backend can serve. */
  readonly served: readonly IPFamily[];
  /** CIDRs, or exactly ["primary"]; empty = every local address. */
  readonly nodePortAddresses: readonly string[];
}

export interface FamilyChecks {
  /** Why nothing could work, with the remedy. */
  readonly fatal?: string;
  /** For the log. */
  readonly notes: readonly string[];
}

/** Pure. */
export function familyChecks(facts: FamilyFacts): FamilyChecks {
  const { primaryFamily, nodeIPs, served, nodePortAddresses } = facts;
  const other = primaryFamily === 'IPv4' ? 'IPv6' : 'IPv4';
  const cluster = served.length > 1 ? `${primaryFamily}-primary` : `${primaryFamily}-only`;
  const fatal: string[] = [];
  const notes: string[] = [];

  if (!served.includes(primaryFamily)) {
    fatal.push(
      `the node's primary family is ${primaryFamily}, and host and backend serve only ${served.join(', ') || 'none'}; ` +
        `enable ${primaryFamily} on the host, or name an address of another family with bindAddress (--bind-address)`,
    );
  }
  if (nodeIPs.length === 0)
    notes.push('no address of this node is known; node ports on "primary" addresses answer nowhere');

  if (onlyOf(other, facts.clusterCIDRs)) {
    const what = `the cluster is ${cluster}, and clusterCIDR (--cluster-cidr) has only ${other}: ${facts.clusterCIDRs}`;
    // On a host of both families the other one still works, and upstream has always started there.
    const hopeless = facts.detectLocalMode === 'ClusterCIDR' && served.length < 2;
    if (hopeless) fatal.push(`${what}; no pod of this node would be recognised: add its ${primaryFamily} range`);
    else notes.push(what);
  }
  if (onlyOf(other, facts.podCIDRs)) {
    const what = `the cluster is ${cluster}, and the Node's podCIDRs have only ${other}: ${facts.podCIDRs}`;
    const remedy = 'add a range of the primary family to the Node, or choose another detectLocalMode';
    if (facts.detectLocalMode === 'NodeCIDR') fatal.push(`${what}; no pod would be recognised: ${remedy}`);
    else notes.push(what);
  }

  notes.push(...nodePortNotes(nodePortAddresses, primaryFamily, other, looksDualStack(facts)));
  return fatal.length > 0 ? { fatal: fatal.join('; '), notes } : { notes };
}

function nodePortNotes(
  addresses: readonly string[],
  primaryFamily: IPFamily,
  other: IPFamily,
  dualStack: boolean,
): string[] {
  if (addresses.length === 0) {
    return [
      'nodePortAddresses is unset: node ports answer on every local address; consider --nodeport-addresses=primary',
    ];
  }
  if (addresses.includes('primary')) return [];
  const everywhere = (family: IPFamily, only: IPFamily) =>
    `nodePortAddresses has only ${only}: node ports answer on every local ${family} address; add ${family} CIDRs to it`;
  if (onlyOf(other, addresses)) return [everywhere(primaryFamily, other)];
  if (dualStack && onlyOf(primaryFamily, addresses)) return [everywhere(other, primaryFamily)];
  return [];
}

/** No Service has been seen yet; ranges of both families are what tells. */
function looksDualStack({ clusterCIDRs, podCIDRs, nodePortAddresses }: FamilyFacts): boolean {
  return [clusterCIDRs, podCIDRs, nodePortAddresses.filter((cidr) => cidr !== 'primary')].some(
    (cidrs) => new Set(cidrs.map(familyOf)).size > 1,
  );
}

function onlyOf(family: IPFamily, cidrs: readonly string[]): boolean {
  return cidrs.length > 0 && cidrs.every((cidr) => familyOf(cidr) === family);
}

function familyOf(cidr: string): IPFamily {
  return cidr.includes(':') ? 'IPv6' : 'IPv4';
}
