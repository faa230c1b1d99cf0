/**
 * Chain names. The ones an operator knows from upstream kube-proxy are made the same way, so that the chain of a
 * Service port has the same name under either program:
 *
 *   KUBE-SVC-/SVL-/EXT-/FW-<16 characters of base32(sha256(display name + lower-case protocol))>
 *   KUBE-SEP-<the same over display name + protocol + "ip:port">
 *
 * The kernel takes 28 characters in a chain name and 31 in the name of an ipset.
 */
import { createHash } from 'node:crypto';
import type { Endpoint, IPFamily, ServicePort } from '../../core/backend.ts';

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The first 16 characters of the RFC 4648 base32 text of sha256(`text`). */
export function hash16(text: string): string {
  const digest = createHash('sha256').update(text).digest();
  let out = '';
  let bits = 0;
  let value = 0;
  for (const byte of digest) {
    value = ((value & 0x1f) << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      out += BASE32[(value >> bits) & 31];
      if (out.length === 16) return out;
    }
  }
  return out;
}

/** "ns/name:port", or "ns/name" for an unnamed port. */
export function displayName(port: ServicePort): string {
  const name = `${port.namespace}/${port.name}`;
  return port.portName === '' ? name : `${name}:${port.portName}`;
}

/** The hash shared by all chains of one service port. */
export function servicePortHash(port: ServicePort): string {
  return hash16(displayName(port) + port.protocol.toLowerCase());
}

/** "ip:port", with an IPv6 address in brackets: as DNAT takes it and as the names hash it. */
export function hostPort(endpoint: Endpoint): string {
  return endpoint.ip.includes(':') ? `[${endpoint.ip}]:${endpoint.port}` : `${endpoint.ip}:${endpoint.port}`;
}

export function endpointHash(port: ServicePort, endpoint: Endpoint): string {
  return hash16(displayName(port) + port.protocol.toLowerCase() + hostPort(endpoint));
}

/** Families share one namespace of set names, so that IPv6 sets carry a mark. */
export function affinitySetPrefix(family: IPFamily): string {
  return family === 'IPv4' ? 'KUBE-SEP-' : 'KUBE-6-SEP-';
}

/** The set that the probe makes and takes away again; another process may be at it right now. */
export function probeSet(family: IPFamily): string {
  return `${affinitySetPrefix(family)}PROBE`;
}

/** Chains that this backend makes per service, endpoint or address prefix; upstream's older KUBE-XLB- included. */
const GENERATED = /^KUBE-(?:SVC|SVL|SEP|EXT|FW|XLB|VIP|NP|CIP|XIP|FIP|XNP|HNP)-/;

/** Made and taken away again by the probe, in the mangle table; a probe that is killed leaves it. */
export const PROBE_CHAIN = 'KUBE-PROXY-PROBE';

/** Chains with a fixed name that belong to this backend, by table. Not KUBE-FIREWALL: kubelet shares it. */
export const FIXED_CHAINS = {
  mangle: ['KUBE-PROXY-CANARY', PROBE_CHAIN],
  nat: ['KUBE-PROXY-CANARY', 'KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ', 'KUBE-HAIRPIN'],
  filter: [
    'KUBE-PROXY-CANARY',
    'KUBE-SERVICES',
    'KUBE-EXTERNAL-SERVICES',
    'KUBE-EXTERNAL-NODEPORTS',
    'KUBE-NODEPORTS',
    'KUBE-FORWARD',
    'KUBE-PROXY-FIREWALL',
  ],
} as const;

export type Table = keyof typeof FIXED_CHAINS;
export const TABLES: readonly Table[] = ['mangle', 'nat', 'filter'];

/** Chains that an upstream kube-proxy makes in IPVS mode beside those above. This backend makes none of them. */
export const UPSTREAM_IPVS_CHAINS: Readonly<Record<Table, readonly string[]>> = {
  mangle: [],
  nat: ['KUBE-LOAD-BALANCER', 'KUBE-NODE-PORT'],
  filter: ['KUBE-NODE-PORT', 'KUBE-SOURCE-RANGES-FIREWALL', 'KUBE-IPVS-FILTER', 'KUBE-IPVS-OUT-FILTER'],
};

const UPSTREAM_IPVS_SETS = [
  'CLUSTER-IP',
  'EXTERNAL-IP',
  'EXTERNAL-IP-LOCAL',
  'HEALTH-CHECK-NODE-PORT',
  'IPVS-IPS',
  'LOAD-BALANCER',
  'LOAD-BALANCER-FW',
  'LOAD-BALANCER-LOCAL',
  'LOAD-BALANCER-SOURCE-CIDR',
  'LOAD-BALANCER-SOURCE-IP',
  'LOOP-BACK',
  'NODE-PORT-LOCAL-SCTP-HASH',
  'NODE-PORT-LOCAL-TCP',
  'NODE-PORT-LOCAL-UDP',
  'NODE-PORT-SCTP-HASH',
  'NODE-PORT-TCP',
  'NODE-PORT-UDP',
] as const;
const LONGEST_SET_NAME = 31;

/** IP sets that an upstream kube-proxy makes in IPVS mode: exactly these; those for IPv6 are cut where they are too long. */
export function upstreamIPVSSets(family: IPFamily): readonly string[] {
  const prefix = family === 'IPv4' ? 'KUBE-' : 'KUBE-6-';
  return UPSTREAM_IPVS_SETS.map((name) => `${prefix}${name}`.slice(0, LONGEST_SET_NAME));
}

/** Is this chain of this table ours to rewrite and to delete? What an upstream kube-proxy left is. */
export function isOwnChain(table: Table, chain: string): boolean {
  if ((FIXED_CHAINS[table] as readonly string[]).includes(chain)) return true;
  if (UPSTREAM_IPVS_CHAINS[table].includes(chain)) return true;
  return table !== 'mangle' && GENERATED.test(chain);
}
