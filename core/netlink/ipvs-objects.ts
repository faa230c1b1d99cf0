/**
 * Virtual and real servers out of the messages of the family "IPVS" that list them; see ipvs-protocol.ts for the words
 * and byte orders. By hand instead of with attributes.ts: a listing has 100,000 real servers of 40 attributes each, of
 * which half repeat the statistics in 32 bits.
 */
import type { IPVSStatistics, RealServerState, VirtualServerKey, VirtualServerState } from '../ipvs.ts';
import { attributeText, HOST_IS_LITTLE_ENDIAN as LITTLE } from './attributes.ts';
import { malformed } from './errors.ts';
import * as ipvs from './ipvs-protocol.ts';
import { readIPv4, readIPv6 } from './nftables/addresses.ts';

/** Highest attribute that is looked at, in any nest. */
const HIGHEST_TYPE = 12;
const TYPE_MASK = 0x3fff;

const IPVS_STATS_ATTR_CONNS = 1;
const IPVS_STATS_ATTR_INPKTS = 2;
const IPVS_STATS_ATTR_OUTPKTS = 3;
const IPVS_STATS_ATTR_INBYTES = 4;
const IPVS_STATS_ATTR_OUTBYTES = 5;

const PROTOCOL_NAMES = new Map(
  Object.entries(ipvs.PROTOCOLS).map(([name, number]) => [number as number, name as keyof typeof ipvs.PROTOCOLS]),
);

export interface IPVSReader {
  /**
   * `attributes` of a message about a virtual server. Undefined: one of a protocol that we do not know.
   * @throws NetlinkError KP_NETLINK_MALFORMED
   */
  virtualServer(attributes: Uint8Array): VirtualServerState | undefined;
  /** @throws NetlinkError KP_NETLINK_MALFORMED */
  realServer(attributes: Uint8Array): RealServerState;
}

export function createIPVSReader(): IPVSReader {
  const outer = createNest();
  const inner = createNest();
  const counters = createNest();

  function statistics(bytes: Uint8Array, type: number): IPVSStatistics {
    counters.read(bytes, inner.at(type, 'statistics'), inner.length(type));
    return {
      connections: counters.u64(bytes, IPVS_STATS_ATTR_CONNS),
      packetsIn: counters.u64(bytes, IPVS_STATS_ATTR_INPKTS),
      packetsOut: counters.u64(bytes, IPVS_STATS_ATTR_OUTPKTS),
      bytesIn: counters.u64(bytes, IPVS_STATS_ATTR_INBYTES),
      bytesOut: counters.u64(bytes, IPVS_STATS_ATTR_OUTBYTES),
    };
  }

  function address(bytes: Uint8Array, type: number, family: number): string {
    const at = inner.at(type, 'an address');
    if (inner.length(type) !== ipvs.ADDRESS_BYTES) throw malformed(`an address of ${inner.length(type)} bytes`);
    if (family === ipvs.AF_INET) return readIPv4(bytes, at);
    if (family === ipvs.AF_INET6) return readIPv6(bytes, at);
    throw malformed(`an address of family ${family}`);
  }

  /** The kernel shows a mark in place of protocol, address and port. */
  function serverKey(bytes: Uint8Array, family: number): VirtualServerKey | undefined {
    if (inner.has(ipvs.IPVS_SVC_ATTR_FWMARK)) {
      const mark = inner.u32(bytes, ipvs.IPVS_SVC_ATTR_FWMARK, LITTLE);
      if (family !== ipvs.AF_INET && family !== ipvs.AF_INET6) throw malformed(`a mark of family ${family}`);
      return { mark, family: family === ipvs.AF_INET6 ? 'IPv6' : 'IPv4' };
    }
    const protocol = PROTOCOL_NAMES.get(inner.u16(bytes, ipvs.IPVS_SVC_ATTR_PROTOCOL, LITTLE));
    if (protocol === undefined) return undefined;
    const ip = address(bytes, ipvs.IPVS_SVC_ATTR_ADDR, family);
    return { protocol, ip, port: inner.u16(bytes, ipvs.IPVS_SVC_ATTR_PORT, false) };
  }

  function text(bytes: Uint8Array, type: number, what: string): string {
    const at = inner.at(type, what);
    return attributeText(bytes.subarray(at, at + inner.length(type)));
  }

  return {
    virtualServer(bytes) {
      outer.read(bytes, 0, bytes.length);
      const start = outer.at(ipvs.IPVS_CMD_ATTR_SERVICE, 'a virtual server');
      inner.read(bytes, start, outer.length(ipvs.IPVS_CMD_ATTR_SERVICE));
      const family = inner.u16(bytes, ipvs.IPVS_SVC_ATTR_AF, LITTLE);
      const key = serverKey(bytes, family);
      if (key === undefined) return undefined;
      const flags = inner.firstU32(bytes, ipvs.IPVS_SVC_ATTR_FLAGS);
      const isV6 = family === ipvs.AF_INET6;
      const mask = inner.u32(bytes, ipvs.IPVS_SVC_ATTR_NETMASK, isV6 ? LITTLE : false);
      const timeout = inner.u32(bytes, ipvs.IPVS_SVC_ATTR_TIMEOUT, LITTLE);
      return {
        ...key,
        scheduler: text(bytes, ipvs.IPVS_SVC_ATTR_SCHED_NAME, 'a scheduler'),
        // Without the flag the time means nothing.
        persistenceSeconds: (flags & ipvs.IP_VS_SVC_F_PERSISTENT) === 0 ? 0 : timeout,
        persistencePrefix: isV6 ? mask : Math.clz32(~mask),
        hashPort: (flags & ipvs.IP_VS_SVC_F_SCHED_PORT) !== 0,
        hashFallback: (flags & ipvs.IP_VS_SVC_F_SCHED_FALLBACK) !== 0,
        onePacket: (flags & ipvs.IP_VS_SVC_F_ONEPACKET) !== 0,
        persistenceEngine: inner.has(ipvs.IPVS_SVC_ATTR_PE_NAME) ? text(bytes, ipvs.IPVS_SVC_ATTR_PE_NAME, '') : '',
        statistics: statistics(bytes, ipvs.IPVS_SVC_ATTR_STATS64),
      };
    },
    realServer(bytes) {
      outer.read(bytes, 0, bytes.length);
      const start = outer.at(ipvs.IPVS_CMD_ATTR_DEST, 'a real server');
      inner.read(bytes, start, outer.length(ipvs.IPVS_CMD_ATTR_DEST));
      const number = (type: number) => inner.u32(bytes, type, LITTLE);
      const family = inner.u16(bytes, ipvs.IPVS_DEST_ATTR_ADDR_FAMILY, LITTLE);
      const method = number(ipvs.IPVS_DEST_ATTR_FWD_METHOD);
      const forwarding = ipvs.FORWARDING[method];
      if (forwarding === undefined) throw malformed(`forwarding method ${method}`);
      return {
        ip: address(bytes, ipvs.IPVS_DEST_ATTR_ADDR, family),
        port: inner.u16(bytes, ipvs.IPVS_DEST_ATTR_PORT, false),
        weight: number(ipvs.IPVS_DEST_ATTR_WEIGHT),
        forwarding,
        upperThreshold: number(ipvs.IPVS_DEST_ATTR_U_THRESH),
        lowerThreshold: number(ipvs.IPVS_DEST_ATTR_L_THRESH),
        activeConnections: number(ipvs.IPVS_DEST_ATTR_ACTIVE_CONNS),
        inactiveConnections: number(ipvs.IPVS_DEST_ATTR_INACT_CONNS),
        persistentConnections: number(ipvs.IPVS_DEST_ATTR_PERSIST_CONNS),
        statistics: statistics(bytes, ipvs.IPVS_DEST_ATTR_STATS64),
      };
    },
  };
}

/** Where the attributes of one nest are. Types without one of the nest read last are not there. */
interface Nest {
  read(bytes: Uint8Array, from: number, count: number): void;
  has(type: number): boolean;
  /** Where its data begin. */
  at(type: number, what: string): number;
  length(type: number): number;
  u16(bytes: Uint8Array, type: number, little: boolean): number;
  u32(bytes: Uint8Array, type: number, little: boolean): number;
  /** Of a struct that begins with one. */
  firstU32(bytes: Uint8Array, type: number): number;
  /** Exact up to 2^53. */
  u64(bytes: Uint8Array, type: number): number;
}

function createNest(): Nest {
  const starts = new Int32Array(HIGHEST_TYPE + 1);
  const lengths = new Int32Array(HIGHEST_TYPE + 1);

  function sized(type: number, size: number): number {
    const start = starts[type] ?? 0;
    if (start === 0) throw malformed(`attribute ${type} is missing`);
    if (lengths[type] !== size) throw malformed(`attribute ${type} of ${lengths[type]} bytes where ${size} are due`);
    return start;
  }

  return {
    read(bytes, from, count) {
      starts.fill(0);
      for (let at = from; at < from + count; ) {
        const left = from + count - at;
        const length = left < 4 ? 0 : u16(bytes, at, LITTLE);
        if (length < 4 || length > left) throw malformed(`an attribute of length ${length} with ${left} bytes left`);
        const type = u16(bytes, at + 2, LITTLE) & TYPE_MASK;
        if (type <= HIGHEST_TYPE) {
          starts[type] = at + 4;
          lengths[type] = length - 4;
        }
        at += (length + 3) & ~3;
      }
    },
    has: (type) => starts[type] !== 0,
    at(type, what) {
      const start = starts[type] ?? 0;
      if (start === 0) throw malformed(`${what} is missing`);
      return start;
    },
    length: (type) => lengths[type] ?? 0,
    u16: (bytes, type, little) => u16(bytes, sized(type, 2), little),
    u32: (bytes, type, little) => u32(bytes, sized(type, 4), little),
    firstU32(bytes, type) {
      return u32(bytes, sized(type, 8), LITTLE);
    },
    u64(bytes, type) {
      const start = sized(type, 8);
      const [low, high] = LITTLE ? [start, start + 4] : [start + 4, start];
      return u32(bytes, high, LITTLE) * 2 ** 32 + u32(bytes, low, LITTLE);
    },
  };
}

function u16(bytes: Uint8Array, at: number, little: boolean): number {
  const first = bytes[at] ?? 0;
  const second = bytes[at + 1] ?? 0;
  return little ? first | (second << 8) : (first << 8) | second;
}

function u32(bytes: Uint8Array, at: number, little: boolean): number {
  const low = u16(bytes, little ? at : at + 2, little);
  const high = u16(bytes, little ? at + 2 : at, little);
  return high * 0x1_0000 + low;
}
