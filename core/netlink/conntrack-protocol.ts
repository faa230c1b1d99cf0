/**
 * Connection tracking entries as ctnetlink puts them (linux/netfilter/nfnetlink_conntrack.h):
 *
 *   nfgenmsg (family)
 *   ├ CTA_TUPLE_ORIG   what the client sent         ┌ CTA_TUPLE_IP     source, destination
 *   ├ CTA_TUPLE_REPLY  what comes back, before NAT ─┤ CTA_TUPLE_PROTO  number, source port, destination port
 *   ├ CTA_ID           tells it from a later entry  └ CTA_TUPLE_ZONE
 *   ├ CTA_ZONE         absent: zone 0
 *   └ … status, timeout, counters
 *
 * The reply's source is whoever answers: the endpoint that a destination was translated to, or the destination itself
 * where nothing was. Addresses and ports are big-endian.
 *
 * A host may track a million flows, so that entries are read in place, without an object for each attribute.
 */
import type { IPFamily } from '../backend.ts';
import { HOST_IS_LITTLE_ENDIAN, NLA_F_NESTED } from './attributes.ts';
import { malformed, NetlinkError } from './errors.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6, nfnetlinkType, writeNfgenmsg } from './nfnetlink.ts';
import type { MessageWriter } from './writer.ts';

const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_NEW = 0;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;

/** Message types. Entries come as CT_NEW, whatever was asked. */
export const CT_ENTRY = nfnetlinkType(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW);
export const CT_GET = nfnetlinkType(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET);
export const CT_DELETE = nfnetlinkType(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE);

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_STATUS_MASK = 26;

const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_TUPLE_ZONE = 3;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;

const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_F_CTA_PROTO_NUM = 8;
const CTA_FILTER_F_CTA_PROTO_DST_PORT = 32;
const IPS_DST_NAT = 1 << 5;
const IPPROTO_UDP = 17;

const NFGENMSG_BYTES = 4;
const ATTRIBUTE_HEADER_BYTES = 4;
const TYPE_MASK = 0x3fff;

/** A flow by what comes back: from `source`, the socket that answers, to its client. Addresses are 4 or 16 bytes. */
export interface ReplyTuple {
  readonly source: Uint8Array;
  readonly sourcePort: number;
  readonly destination: Uint8Array;
  readonly destinationPort: number;
}

/** What a judge of flows gets to see. Addresses are canonical text. */
export interface UDPFlow {
  readonly destinationIP: string;
  readonly destinationPort: number;
  /** Who answers. Equal to the destination where nothing was translated. */
  readonly replyIP: string;
  readonly replyPort: number;
}

/** An entry to be deleted: what the kernel itself said that it is. */
export interface FlowIdentity {
  readonly family: IPFamily;
  /** The content of CTA_TUPLE_ORIG. Never empty. */
  readonly tuple: Uint8Array;
  /** The content of CTA_ID; absent where the kernel gives none. */
  readonly id?: Uint8Array;
}

export interface DumpFilter {
  /** The kernel looks for UDP by itself (CTA_FILTER, Linux 5.8). It is looked for here in any case. */
  readonly byKernel: boolean;
  /** Only flows whose destination was translated. Kernels may return others, too. */
  readonly translatedOnly: boolean;
  /** Only flows to this port; 0: to any. Kernels may return others, too. */
  readonly onlyPort: number;
}

/** What follows the header of a CT_GET dump. */
export function writeDump(writer: MessageWriter, family: IPFamily, filter: DumpFilter): void {
  const { byKernel, translatedOnly, onlyPort } = filter;
  writeNfgenmsg(writer, family === 'IPv4' ? NFPROTO_IPV4 : NFPROTO_IPV6);
  if (!byKernel) return;
  writer.nest(CTA_TUPLE_ORIG, () =>
    writer.nest(CTA_TUPLE_PROTO, () => {
      writer.u8(CTA_PROTO_NUM, IPPROTO_UDP);
      if (onlyPort !== 0) writer.u16be(CTA_PROTO_DST_PORT, onlyPort);
    }),
  );
  const compared = CTA_FILTER_F_CTA_PROTO_NUM | (onlyPort === 0 ? 0 : CTA_FILTER_F_CTA_PROTO_DST_PORT);
  writer.nest(CTA_FILTER, () => writer.u32(CTA_FILTER_ORIG_FLAGS, compared));
  if (!translatedOnly) return;
  writer.u32be(CTA_STATUS, IPS_DST_NAT);
  writer.u32be(CTA_STATUS_MASK, IPS_DST_NAT);
}

/**
 * What follows the header of a CT_DELETE. The kernel takes one without a tuple for "all entries", hence the check.
 * With the id, an entry that a newer flow of the same addresses and ports has meanwhile is not hit.
 */
export function writeDelete(writer: MessageWriter, { family, tuple, id }: FlowIdentity): void {
  if (tuple.length < 2 * ATTRIBUTE_HEADER_BYTES) {
    const text = 'an entry can only be deleted by its tuple, and there is none';
    throw new NetlinkError({ code: 'KP_NETLINK_INVALID', operation: 'conntrack delete', text });
  }
  writeNfgenmsg(writer, family === 'IPv4' ? NFPROTO_IPV4 : NFPROTO_IPV6);
  writer.binary(CTA_TUPLE_ORIG | NLA_F_NESTED, tuple);
  if (id !== undefined) writer.binary(CTA_ID, id);
}

/** What follows the header of a CT_GET for one UDP flow, which is found by either of its tuples. */
export function writeGet(writer: MessageWriter, family: IPFamily, reply: ReplyTuple): void {
  const isIPv4 = family === 'IPv4';
  writeNfgenmsg(writer, isIPv4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
  writer.nest(CTA_TUPLE_REPLY, () => {
    writer.nest(CTA_TUPLE_IP, () => {
      writer.binary(isIPv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, reply.source);
      writer.binary(isIPv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, reply.destination);
    });
    writer.nest(CTA_TUPLE_PROTO, () => {
      writer.u8(CTA_PROTO_NUM, IPPROTO_UDP);
      writer.u16be(CTA_PROTO_SRC_PORT, reply.sourcePort);
      writer.u16be(CTA_PROTO_DST_PORT, reply.destinationPort);
    });
  });
}

/**
 * Reads entries of one family. What is not a UDP flow of this family in zone 0 reads as undefined: zones are other
 * agents' private worlds (Open vSwitch), into which no rule of a proxy reaches.
 */
export interface EntryReader {
  /**
   * `payload` of a CT_ENTRY; good until the next call. `wanted` sees the destination's port first, so that text is
   * made of few addresses. @throws NetlinkError KP_NETLINK_MALFORMED
   */
  read(payload: Uint8Array, wanted: (destinationPort: number) => boolean): UDPFlow | undefined;
  /** A copy of what identifies the entry read last. */
  identity(): FlowIdentity;
}

export function createEntryReader(family: IPFamily, formatIP: (bytes: Uint8Array) => string): EntryReader {
  // An entry of the other family has no addresses of these types.
  const [sourceType, destinationType, addressBytes] =
    family === 'IPv4' ? [CTA_IP_V4_SRC, CTA_IP_V4_DST, 4] : [CTA_IP_V6_SRC, CTA_IP_V6_DST, 16];
  let bytes: Uint8Array = new Uint8Array();
  /** Where the content found last begins and ends. */
  let from = 0;
  let to = 0;
  let tupleFrom = 0;
  let tupleTo = 0;
  let idFrom = 0;
  let idTo = 0;

  /** Point `from` and `to` at the content of this attribute among those in `start` to `end`. */
  function find(start: number, end: number, wanted: number): boolean {
    for (let at = start; at < end; ) {
      const left = end - at;
      if (left < ATTRIBUTE_HEADER_BYTES) throw malformed(`${left} bytes where an attribute should be`);
      const length = u16(bytes, at);
      const type = u16(bytes, at + 2) & TYPE_MASK;
      if (length < ATTRIBUTE_HEADER_BYTES || length > left) {
        throw malformed(`attribute ${type} of length ${length} with ${left} bytes left`);
      }
      if (type === wanted) {
        from = at + ATTRIBUTE_HEADER_BYTES;
        to = at + length;
        return true;
      }
      at += (length + 3) & ~3;
    }
    return false;
  }

  function port(start: number, end: number, type: number): number {
    if (!find(start, end, type)) return -1;
    if (to - from !== 2) throw malformed(`a port of ${to - from} bytes`);
    return bytes[from]! * 256 + bytes[from + 1]!;
  }

  function address(start: number, end: number, type: number): string | undefined {
    if (!find(start, end, CTA_TUPLE_IP) || !find(from, to, type)) return undefined;
    if (to - from !== addressBytes) throw malformed(`an address of ${to - from} bytes`);
    return formatIP(bytes.subarray(from, to));
  }

  return {
    read(payload, wanted) {
      bytes = payload;
      if (bytes.length < NFGENMSG_BYTES) throw malformed(`an nfnetlink message of ${bytes.length} bytes`);
      const end = bytes.length;
      if (!find(NFGENMSG_BYTES, end, CTA_TUPLE_ORIG)) return undefined;
      tupleFrom = from;
      tupleTo = to;
      if (!find(tupleFrom, tupleTo, CTA_TUPLE_PROTO)) return undefined;
      const protoFrom = from;
      const protoTo = to;
      if (!find(protoFrom, protoTo, CTA_PROTO_NUM) || to - from !== 1 || bytes[from] !== IPPROTO_UDP) return undefined;
      const destinationPort = port(protoFrom, protoTo, CTA_PROTO_DST_PORT);
      if (destinationPort < 0 || !wanted(destinationPort)) return undefined;
      if (find(NFGENMSG_BYTES, end, CTA_ZONE) || find(tupleFrom, tupleTo, CTA_TUPLE_ZONE)) return undefined;
      const destinationIP = address(tupleFrom, tupleTo, destinationType);
      if (!find(NFGENMSG_BYTES, end, CTA_TUPLE_REPLY)) return undefined;
      const replyFrom = from;
      const replyTo = to;
      const replyIP = address(replyFrom, replyTo, sourceType);
      if (!find(replyFrom, replyTo, CTA_TUPLE_PROTO)) return undefined;
      const replyPort = port(from, to, CTA_PROTO_SRC_PORT);
      if (destinationIP === undefined || replyIP === undefined || replyPort < 0) return undefined;
      const hasId = find(NFGENMSG_BYTES, end, CTA_ID);
      idFrom = hasId ? from : 0;
      idTo = hasId ? to : 0;
      return { destinationIP, destinationPort, replyIP, replyPort };
    },
    identity() {
      const tuple = bytes.slice(tupleFrom, tupleTo);
      return idTo === 0 ? { family, tuple } : { family, tuple, id: bytes.slice(idFrom, idTo) };
    },
  };
}

function u16(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  const second = bytes[at + 1]!;
  return HOST_IS_LITTLE_ENDIAN ? first | (second << 8) : (first << 8) | second;
}
