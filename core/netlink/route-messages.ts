/**
 * What rtnetlink (linux/rtnetlink.h, if_link.h, if_addr.h) sends about links and addresses: a fixed header, then
 * attributes. Numbers in host byte order, addresses in network order.
 *
 *   struct ifinfomsg   0      1       2    4           8     12      16
 *                      family padding type index (i32) flags changes IFLA_…
 *   struct ifaddrmsg   0      1             2     3     4           8
 *                      family prefix length flags scope index (u32) IFA_…
 */
import ipaddr from 'ipaddr.js';
import type { IPFamily } from '../backend.ts';
import { attributesByType, attributeText, attributeU32, HOST_IS_LITTLE_ENDIAN } from './attributes.ts';
import { malformed } from './errors.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;

export const IFINFOMSG_BYTES = 16;
export const IFADDRMSG_BYTES = 8;

export const IFLA_IFNAME = 3;
export const IFLA_LINKINFO = 18;
/** Inside LINKINFO. */
export const IFLA_INFO_KIND = 1;
export const IFLA_EXT_MASK = 29;
/** Statistics are a third of a link's message, and nobody here reads them. */
export const RTEXT_FILTER_SKIP_STATS = 1 << 3;

export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
/** All 32 flags; the header has room for the lowest 8 only. Linux 3.14. */
const IFA_FLAGS = 8;

/** Its uniqueness on the link is not tested. */
export const IFA_F_NODAD = 0x02;
export const IFA_F_OPTIMISTIC = 0x04;
export const IFA_F_DADFAILED = 0x08;
export const IFA_F_TENTATIVE = 0x40;

export const RT_SCOPE_LINK = 253;

export const IFF_UP = 0x1;
/** Operational: up, and with a carrier. */
export const IFF_RUNNING = 0x40;

/** A network interface. */
export interface Link {
  /** Unique in its network namespace; 1 or more. */
  readonly index: number;
  readonly name: string;
  /** IFF_… */
  readonly flags: number;
}

/** An address on a link. */
export interface LinkAddress {
  readonly linkIndex: number;
  readonly family: IPFamily;
  /** Canonical (RFC 5952 for IPv6). Of a point-to-point link it is this side's. */
  readonly ip: string;
  readonly prefixLength: number;
  /** RT_SCOPE_…: 0 global, 253 link, 254 host. */
  readonly scope: number;
  /** IFA_F_… */
  readonly flags: number;
}

/** @throws NetlinkError KP_NETLINK_MALFORMED */
export function parseLink(payload: Uint8Array): Link {
  if (payload.length < IFINFOMSG_BYTES) throw malformed(`a link of ${payload.length} bytes`);
  const view = viewOf(payload);
  const index = view.getInt32(4, HOST_IS_LITTLE_ENDIAN);
  const name = attributesByType(payload.subarray(IFINFOMSG_BYTES)).get(IFLA_IFNAME);
  if (index <= 0) throw malformed(`a link with index ${index}`);
  if (name === undefined) throw malformed(`link ${index} without a name`);
  return { index, name: attributeText(name), flags: view.getUint32(8, HOST_IS_LITTLE_ENDIAN) };
}

/** What a virtual interface is one of: "dummy", "veth", …; "" for the others. @throws NetlinkError KP_NETLINK_MALFORMED */
export function parseLinkKind(payload: Uint8Array): string {
  if (payload.length < IFINFOMSG_BYTES) throw malformed(`a link of ${payload.length} bytes`);
  const info = attributesByType(payload.subarray(IFINFOMSG_BYTES)).get(IFLA_LINKINFO);
  const kind = info && attributesByType(info).get(IFLA_INFO_KIND);
  return kind === undefined ? '' : attributeText(kind);
}

/**
 * undefined: an address of another family (MCTP, phonet), or one without an address.
 * @throws NetlinkError KP_NETLINK_MALFORMED
 */
export function parseLinkAddress(payload: Uint8Array): LinkAddress | undefined {
  if (payload.length < IFADDRMSG_BYTES) throw malformed(`an address of ${payload.length} bytes`);
  const [number = AF_UNSPEC, prefixLength = 0, lowFlags = 0, scope = 0] = payload;
  if (number !== AF_INET && number !== AF_INET6) return undefined;
  const attributes = attributesByType(payload.subarray(IFADDRMSG_BYTES));
  // With a peer, IFA_ADDRESS is the peer's. IPv6 has IFA_LOCAL only then, IPv4 always.
  const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (bytes === undefined) return undefined;
  const flags = attributes.get(IFA_FLAGS);
  return {
    linkIndex: readLinkIndex(payload),
    ...(number === AF_INET ? ipv4(bytes) : ipv6(bytes)),
    prefixLength,
    scope,
    flags: flags === undefined ? lowFlags : attributeU32(flags),
  };
}

/** Of a struct ifaddrmsg. @throws NetlinkError KP_NETLINK_MALFORMED */
export function readLinkIndex(payload: Uint8Array): number {
  if (payload.length < IFADDRMSG_BYTES) throw malformed(`an address of ${payload.length} bytes`);
  return viewOf(payload).getUint32(4, HOST_IS_LITTLE_ENDIAN);
}

/** Into a struct ifinfomsg or ifaddrmsg: it has the same place in both. */
export function writeLinkIndex(header: Uint8Array, index: number): void {
  viewOf(header).setUint32(4, index, HOST_IS_LITTLE_ENDIAN);
}

/**
 * Whether the kernel answers on it. It does not on an IPv6 address whose uniqueness on the link is still being tested
 * (RFC 4862; "optimistic" ones are used meanwhile, RFC 4429), or that turned out to be another's.
 */
export function isUsable({ flags }: Pick<LinkAddress, 'flags'>): boolean {
  if ((flags & IFA_F_DADFAILED) !== 0) return false;
  return (flags & IFA_F_TENTATIVE) === 0 || (flags & IFA_F_OPTIMISTIC) !== 0;
}

function ipv4(bytes: Uint8Array): Pick<LinkAddress, 'family' | 'ip'> {
  if (bytes.length !== 4) throw malformed(`an IPv4 address of ${bytes.length} bytes`);
  return { family: 'IPv4', ip: bytes.join('.') };
}

function ipv6(bytes: Uint8Array): Pick<LinkAddress, 'family' | 'ip'> {
  if (bytes.length !== 16) throw malformed(`an IPv6 address of ${bytes.length} bytes`);
  return { family: 'IPv6', ip: new ipaddr.IPv6([...bytes]).toRFC5952String() };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
