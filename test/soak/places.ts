/**
 * Where in the soak's cluster each Service lives. Every one has a place of its own, so that two of them claim one
 * address and port only where that is meant:
 *
 *   Service n    namespace soak-(n mod 8), name s<n>, ports from 1000 + 10 n on
 *   one in 5     a ghost: its endpoints are addresses where nobody is; rules are made for it, packets are not sent
 *   one in 20    contested: it may also claim the external IP and the port that others like it claim
 */
import type { IPFamily } from '../../core/backend.ts';
import type { JsonObject } from '../apiserver/api/schema.ts';
import { type Addresses, NODE_NAME, POD_CIDR } from '../netns/world-topology.ts';
import type { Random } from '../unit/model/random.ts';

export const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
export const ZONES = ['zone-a', 'zone-b', 'zone-c'] as const;
export const NAMESPACES = 8;
/** With more, looking at all rules takes so long that a proxy rightly does it only every other minute. */
export const MOST_SERVICES = 1000;

export interface Place {
  readonly index: number;
  readonly namespace: string;
  readonly name: string;
}

/** What a random object is made from, besides what was there before. */
export interface Draw {
  readonly random: Random;
  readonly addresses: Addresses;
  readonly now: () => Date;
}

const GHOSTS = 5;
const CONTESTED = 20;

export function placeOf(index: number): Place {
  return { index, namespace: namespaceOf(index), name: `s${index}` };
}

export function namespaceOf(index: number): string {
  return `soak-${index % NAMESPACES}`;
}

export function isGhost({ index }: Place): boolean {
  return index % GHOSTS === GHOSTS - 1;
}

export function isContested({ index }: Place): boolean {
  return index % CONTESTED === 0;
}

/** This node, in this zone; "" = in none. */
export function ownNode(zone: string, { nodeIPs }: Addresses): JsonObject {
  return node(NODE_NAME, zone, [nodeIPs.IPv4[0]!, nodeIPs.IPv6[0]!], [POD_CIDR.IPv4, POD_CIDR.IPv6]);
}

export function otherNode(number: number, zone: string): JsonObject {
  return node(`other-${number}`, zone, [`192.0.2.${1 + number}`], []);
}

function node(name: string, zone: string, ips: readonly string[], podCIDRs: readonly string[]): JsonObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: zone === '' ? {} : { 'topology.kubernetes.io/zone': zone } },
    spec: { podCIDRs },
    status: { addresses: ips.map((address) => ({ type: 'InternalIP', address })) },
  };
}

/** Inside of what the world routes to the node; `number` from 1 to 11, since 0 is the cluster's own. */
export function serviceRange(name: string, number: number): JsonObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name },
    spec: { cidrs: [`10.${100 + number}.0.0/24`] },
  };
}
