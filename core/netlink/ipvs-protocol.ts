/**
 * Requests of the generic netlink family "IPVS" (linux/ip_vs.h), without I/O:
 *
 *   genlmsghdr { command, 1 }   SERVICE { AF, PROTOCOL, ADDR, PORT, … }   DEST { ADDR, PORT, ADDR_FAMILY, … }
 *                               SERVICE { AF, FWMARK, … }
 *
 * Byte orders, as net/netfilter/ipvs/ip_vs_ctl.c reads them:
 *
 *   ADDR       16 bytes, union nf_inet_addr: IPv4 in the first four
 *   PORT       u16, network order                AF, PROTOCOL, ADDR_FAMILY   u16, host order
 *   NETMASK    IPv4: the mask, network order     IPv6: the prefix length, u32 in host order
 *   FLAGS      struct ip_vs_flags: u32 flags, u32 mask of those that are meant, host order
 *   all else   host order
 */
import type { IPVSStep, RealServer, RealServerAddress, VirtualServer, VirtualServerKey } from '../ipvs.ts';
import { HOST_IS_LITTLE_ENDIAN } from './attributes.ts';
import { NetlinkError } from './errors.ts';
import { writeGenericHeader } from './generic.ts';
import { writeIPv4, writeIPv6 } from './nftables/addresses.ts';
import type { MessageWriter } from './writer.ts';

export const IPVS_FAMILY = 'IPVS';
/** IPVS_GENL_VERSION. */
const VERSION = 1;

export const IPVS_CMD_NEW_SERVICE = 1;
const IPVS_CMD_SET_SERVICE = 2;
const IPVS_CMD_DEL_SERVICE = 3;
export const IPVS_CMD_GET_SERVICE = 4;
export const IPVS_CMD_NEW_DEST = 5;
const IPVS_CMD_SET_DEST = 6;
const IPVS_CMD_DEL_DEST = 7;
export const IPVS_CMD_GET_DEST = 8;
export const IPVS_CMD_SET_CONFIG = 12;
export const IPVS_CMD_GET_CONFIG = 13;
export const IPVS_CMD_GET_INFO = 15;

// Attributes of a command.
export const IPVS_CMD_ATTR_SERVICE = 1;
export const IPVS_CMD_ATTR_DEST = 2;
export const IPVS_CMD_ATTR_TIMEOUT_TCP = 4;
export const IPVS_CMD_ATTR_TIMEOUT_TCP_FIN = 5;
export const IPVS_CMD_ATTR_TIMEOUT_UDP = 6;

// Attributes inside SERVICE.
export const IPVS_SVC_ATTR_AF = 1;
export const IPVS_SVC_ATTR_PROTOCOL = 2;
export const IPVS_SVC_ATTR_ADDR = 3;
export const IPVS_SVC_ATTR_PORT = 4;
export const IPVS_SVC_ATTR_FWMARK = 5;
export const IPVS_SVC_ATTR_SCHED_NAME = 6;
export const IPVS_SVC_ATTR_FLAGS = 7;
export const IPVS_SVC_ATTR_TIMEOUT = 8;
export const IPVS_SVC_ATTR_NETMASK = 9;
export const IPVS_SVC_ATTR_PE_NAME = 11;
export const IPVS_SVC_ATTR_STATS64 = 12;

// Attributes inside DEST.
export const IPVS_DEST_ATTR_ADDR = 1;
export const IPVS_DEST_ATTR_PORT = 2;
export const IPVS_DEST_ATTR_FWD_METHOD = 3;
export const IPVS_DEST_ATTR_WEIGHT = 4;
export const IPVS_DEST_ATTR_U_THRESH = 5;
export const IPVS_DEST_ATTR_L_THRESH = 6;
export const IPVS_DEST_ATTR_ACTIVE_CONNS = 7;
export const IPVS_DEST_ATTR_INACT_CONNS = 8;
export const IPVS_DEST_ATTR_PERSIST_CONNS = 9;
export const IPVS_DEST_ATTR_ADDR_FAMILY = 11;
export const IPVS_DEST_ATTR_STATS64 = 12;

// Attributes of the answer to GET_INFO.
export const IPVS_INFO_ATTR_VERSION = 1;
export const IPVS_INFO_ATTR_CONN_TAB_SIZE = 2;

// Bits of a virtual server.
export const IP_VS_SVC_F_PERSISTENT = 0x1;
/** The kernel's own: it is in the hash table. */
const IP_VS_SVC_F_HASHED = 0x2;
export const IP_VS_SVC_F_ONEPACKET = 0x4;
/** SCHED1; ipvsadm's sh-fallback and mh-fallback. */
export const IP_VS_SVC_F_SCHED_FALLBACK = 0x8;
/** SCHED2; sh-port and mh-port. */
export const IP_VS_SVC_F_SCHED_PORT = 0x10;

/** IP_VS_CONN_F_MASQ, _LOCALNODE, _TUNNEL, _DROUTE and _BYPASS, which are numbers and no bits. */
export const FORWARDING = ['masquerade', 'local', 'tunnel', 'direct', 'bypass'] as const;

export const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export const AF_INET = 2;
export const AF_INET6 = 10;
/** union nf_inet_addr. */
export const ADDRESS_BYTES = 16;

/** Bytes of a scheduler's or persistence engine's name without its NUL (IP_VS_SCHEDNAME_MAXLEN counts it). */
const LONGEST_NAME = 15;
/** Seconds: more overflow when a kernel of 1000 Hz turns them into its int of ticks. */
export const LONGEST_TIMEOUT = 2147483;
const HEAVIEST = 65535;
const HIGHEST_THRESHOLD = 0xffff_ffff;
const HIGHEST_MARK = 0xffff_ffff;

/** "TCP 10.96.0.1:443", "UDP [fd00::1]:53", "FWM 1234", "FWM 1234 IPv6": as messages and `ipvsadm -Ln` name it. */
export function serverName(server: VirtualServerKey): string {
  if ('mark' in server) return `FWM ${server.mark}${server.family === 'IPv6' ? ' IPv6' : ''}`;
  return `${server.protocol} ${endpointName(server)}`;
}

export function endpointName({ ip, port }: RealServerAddress): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** What a step is about, for messages. */
export function stepObject(step: IPVSStep): string {
  return 'real' in step ? `${endpointName(step.real)} of ${serverName(step.server)}` : serverName(step.server);
}

export function writeIPVSHeader(writer: MessageWriter, command: number): void {
  writeGenericHeader(writer, command, VERSION);
}

const COMMANDS: Readonly<Record<IPVSStep['do'], number>> = {
  'add virtual server': IPVS_CMD_NEW_SERVICE,
  'set virtual server': IPVS_CMD_SET_SERVICE,
  'delete virtual server': IPVS_CMD_DEL_SERVICE,
  'add real server': IPVS_CMD_NEW_DEST,
  'set real server': IPVS_CMD_SET_DEST,
  'delete real server': IPVS_CMD_DEL_DEST,
};

/** What follows the message header of a step that `checkStep` has let pass. */
export function writeStep(writer: MessageWriter, step: IPVSStep): void {
  writeIPVSHeader(writer, COMMANDS[step.do]);
  switch (step.do) {
    case 'add virtual server':
    case 'set virtual server':
      writer.nest(IPVS_CMD_ATTR_SERVICE, () => writeVirtualServer(writer, step.server));
      break;
    case 'delete virtual server':
      writeServerKey(writer, step.server);
      break;
    case 'add real server':
    case 'set real server':
      writeServerKey(writer, step.server);
      writer.nest(IPVS_CMD_ATTR_DEST, () => writeRealServer(writer, step.real));
      break;
    case 'delete real server':
      writeServerKey(writer, step.server);
      writer.nest(IPVS_CMD_ATTR_DEST, () => writeRealAddress(writer, step.real));
  }
}

/** The attribute that says which virtual server is meant. */
export function writeServerKey(writer: MessageWriter, server: VirtualServerKey): void {
  writer.nest(IPVS_CMD_ATTR_SERVICE, () => writeIdentity(writer, server));
}

function writeIdentity(writer: MessageWriter, server: VirtualServerKey): void {
  writer.u16(IPVS_SVC_ATTR_AF, serverFamily(server) === 'IPv6' ? AF_INET6 : AF_INET);
  if ('mark' in server) {
    writer.u32(IPVS_SVC_ATTR_FWMARK, server.mark);
    return;
  }
  writer.u16(IPVS_SVC_ATTR_PROTOCOL, PROTOCOLS[server.protocol]);
  writer.binary(IPVS_SVC_ATTR_ADDR, addressBytes(server.ip));
  writer.u16be(IPVS_SVC_ATTR_PORT, server.port);
}

function writeVirtualServer(writer: MessageWriter, server: VirtualServer): void {
  const { scheduler, persistenceSeconds, persistenceEngine = '' } = server;
  const { persistencePrefix = wholeLength(server) } = server;
  writeIdentity(writer, server);
  writer.text(IPVS_SVC_ATTR_SCHED_NAME, scheduler);
  if (persistenceEngine !== '') writer.text(IPVS_SVC_ATTR_PE_NAME, persistenceEngine);
  let flags = 0;
  if (persistenceSeconds > 0) flags |= IP_VS_SVC_F_PERSISTENT;
  if (server.onePacket) flags |= IP_VS_SVC_F_ONEPACKET;
  if (server.hashFallback) flags |= IP_VS_SVC_F_SCHED_FALLBACK;
  if (server.hashPort) flags |= IP_VS_SVC_F_SCHED_PORT;
  // All bits but the kernel's own are meant, also those that are off: 'set' must take away what somebody else has set.
  writer.binary(IPVS_SVC_ATTR_FLAGS, hostU32Pair(flags, 0xffff_ffff - IP_VS_SVC_F_HASHED));
  writer.u32(IPVS_SVC_ATTR_TIMEOUT, persistenceSeconds);
  if (serverFamily(server) === 'IPv6') writer.u32(IPVS_SVC_ATTR_NETMASK, persistencePrefix);
  else writer.u32be(IPVS_SVC_ATTR_NETMASK, (0xffff_ffff << (32 - persistencePrefix)) >>> 0);
}

function writeRealAddress(writer: MessageWriter, { ip, port }: RealServerAddress): void {
  writer.binary(IPVS_DEST_ATTR_ADDR, addressBytes(ip));
  writer.u16be(IPVS_DEST_ATTR_PORT, port);
  writer.u16(IPVS_DEST_ATTR_ADDR_FAMILY, familyOf(ip));
}

function writeRealServer(writer: MessageWriter, real: RealServer): void {
  const { weight, forwarding = 'masquerade', upperThreshold = 0, lowerThreshold = 0 } = real;
  writeRealAddress(writer, real);
  writer.u32(IPVS_DEST_ATTR_FWD_METHOD, FORWARDING.indexOf(forwarding));
  writer.u32(IPVS_DEST_ATTR_WEIGHT, weight);
  writer.u32(IPVS_DEST_ATTR_U_THRESH, upperThreshold);
  writer.u32(IPVS_DEST_ATTR_L_THRESH, lowerThreshold);
}

/** @throws NetlinkError KP_NETLINK_INVALID: the kernel would misunderstand it. */
export function checkStep(step: IPVSStep): void {
  checkKey(step.server);
  if (step.do === 'add virtual server' || step.do === 'set virtual server') checkVirtualServer(step.server);
  else if ('real' in step) {
    checkIP(step.real.ip);
    checkNumber('a port', step.real.port, 0, 65535);
    if (step.do !== 'delete real server') checkRealServer(step.real);
  }
}

/** @throws NetlinkError KP_NETLINK_INVALID */
export function checkKey(server: VirtualServerKey): void {
  if ('mark' in server) {
    const { mark, family } = server;
    if (family !== 'IPv4' && family !== 'IPv6') throw invalid(`the family must be IPv4 or IPv6, not ${family}`);
    // Of mark 0 the kernel would make TCP port 0 of address 0.0.0.0.
    checkNumber('a mark', mark, 1, HIGHEST_MARK);
    return;
  }
  const { protocol, ip, port } = server;
  if (!Object.hasOwn(PROTOCOLS, protocol)) throw invalid(`the protocol must be TCP, UDP or SCTP, not ${protocol}`);
  checkIP(ip);
  checkNumber('a port', port, 0, 65535);
}

function checkVirtualServer(server: VirtualServer): void {
  checkName('scheduler', server.scheduler, 1);
  checkName('persistence engine', server.persistenceEngine ?? '', 0);
  checkNumber('the persistence in seconds', server.persistenceSeconds, 0, LONGEST_TIMEOUT);
  const longest = wholeLength(server);
  checkNumber('the prefix of persistence', server.persistencePrefix ?? longest, 1, longest);
}

function checkRealServer({
  weight,
  forwarding = 'masquerade',
  upperThreshold = 0,
  lowerThreshold = 0,
}: RealServer): void {
  checkNumber('the weight', weight, 0, HEAVIEST);
  checkNumber('the upper threshold', upperThreshold, 0, HIGHEST_THRESHOLD);
  checkNumber('the lower threshold, which must not exceed the upper one,', lowerThreshold, 0, upperThreshold);
  if (!['masquerade', 'direct', 'tunnel'].includes(forwarding)) {
    throw invalid(`the forwarding must be masquerade, direct or tunnel, not ${forwarding}`);
  }
}

function checkIP(ip: string): void {
  addressBytes(ip);
}

function checkName(what: string, name: string, shortest: number): void {
  const bytes = Buffer.byteLength(name);
  if (bytes >= shortest && bytes <= LONGEST_NAME && !name.includes('\0')) return;
  const range = `${shortest} to ${LONGEST_NAME} bytes and no NUL`;
  throw invalid(`the name of a ${what} has ${range}, not ${JSON.stringify(name)}`);
}

export function checkNumber(what: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw invalid(`${what} must be a whole number from ${low} to ${high}, not ${value}`);
}

function invalid(text: string): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_INVALID', text });
}

export function serverFamily(server: VirtualServerKey): 'IPv4' | 'IPv6' {
  if ('mark' in server) return server.family;
  return server.ip.includes(':') ? 'IPv6' : 'IPv4';
}

/** Bits of an address of that family. */
export function wholeLength(server: VirtualServerKey): number {
  return serverFamily(server) === 'IPv6' ? 128 : 32;
}

function familyOf(ip: string): number {
  return ip.includes(':') ? AF_INET6 : AF_INET;
}

function addressBytes(ip: string): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  if (familyOf(ip) === AF_INET6) writeIPv6(ip, bytes, 0);
  else writeIPv4(ip, bytes, 0);
  return bytes;
}

function hostU32Pair(first: number, second: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, first, HOST_IS_LITTLE_ENDIAN);
  view.setUint32(4, second, HOST_IS_LITTLE_ENDIAN);
  return bytes;
}
