/**
 * Where a TCP connection was going before conntrack translated its destination (DNAT, REDIRECT) to the socket that
 * accepted it:
 *
 *   getsockname ──▶ which family, and our own address
 *   getsockopt  ──▶ IPv4: SO_ORIGINAL_DST at SOL_IP (linux/netfilter_ipv4.h); IPv6: IP6T_SO_ORIGINAL_DST at SOL_IPV6
 *
 * A listener for both families has IPv4 connections on a socket of IPv6, as ::ffff:a.b.c.d; conntrack knows them as IPv4.
 * The kernel answers for connections that were not translated, too: then it names our own address.
 *
 *   struct sockaddr_in   family (u16, host order)  port (u16, big-endian)  address (4)
 *   struct sockaddr_in6  family                    port                    flow (4)     address (16)  scope (4)
 */
import type { SocketAddress } from '../backend.ts';
import { HOST_IS_LITTLE_ENDIAN } from './attributes.ts';
import { errnoMeaning, NetlinkError } from './errors.ts';
import type { Libc } from './libc.ts';
import { readIPv4, readIPv6 } from './nftables/addresses.ts';

export type SocketCalls = Pick<Libc, 'getsockname' | 'getsockopt' | 'errno'>;

// linux/socket.h, linux/in.h, linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h: the same everywhere.
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_IP = 0;
const SOL_IPV6 = 41;
const SO_ORIGINAL_DST = 80;
const IP6T_SO_ORIGINAL_DST = 80;

const SOCKADDR_IN6_BYTES = 28;
const PORT_AT = 2;
const IPV4_AT = 4;
const IPV6_AT = 8;
/** Where an IPv6 address that stands for one of IPv4 has it. */
const MAPPED_AT = IPV6_AT + 12;

/** No entry for this connection; no conntrack in this kernel, or none loaded. */
const UNKNOWN: readonly string[] = ['ENOENT', 'ENOPROTOOPT'];

export type OriginalDestination = (fd: number) => SocketAddress | undefined;

/** As `SocketFacts.originalDestination`. What it returns asks the kernel twice and keeps nothing between the calls. */
export function createOriginalDestination(calls: SocketCalls): OriginalDestination {
  const own = new Uint8Array(SOCKADDR_IN6_BYTES);
  const original = new Uint8Array(SOCKADDR_IN6_BYTES);
  const length = new Uint32Array(1);
  return (fd) => {
    length[0] = own.length;
    if (calls.getsockname(fd, own, length) !== 0) throw refused(calls, fd);
    const isIPv4 = holdsIPv4(own, fd);
    const [level, option] = isIPv4 ? [SOL_IP, SO_ORIGINAL_DST] : [SOL_IPV6, IP6T_SO_ORIGINAL_DST];
    length[0] = original.length;
    if (calls.getsockopt(fd, level, option, original, length) !== 0) {
      if (UNKNOWN.includes(errnoMeaning(calls.errno()).name)) return undefined;
      throw refused(calls, fd);
    }
    const ownAt = isIPv4 ? (familyOf(own) === AF_INET ? IPV4_AT : MAPPED_AT) : IPV6_AT;
    const at = isIPv4 ? IPV4_AT : IPV6_AT;
    const bytes = isIPv4 ? 4 : 16;
    if (same(original, PORT_AT, own, PORT_AT, 2) && same(original, at, own, ownAt, bytes)) return undefined;
    const port = original[PORT_AT]! * 256 + original[PORT_AT + 1]!;
    return { ip: isIPv4 ? readIPv4(original, at) : readIPv6(original, at), port };
  };
}

function holdsIPv4(address: Uint8Array, fd: number): boolean {
  const family = familyOf(address);
  if (family === AF_INET) return true;
  if (family === AF_INET6) return isMapped(address);
  throw new NetlinkError({ ...about(fd), code: 'KP_NETLINK_INVALID', text: 'this is no socket of TCP' });
}

function familyOf(address: Uint8Array): number {
  const [first = 0, second = 0] = address;
  return HOST_IS_LITTLE_ENDIAN ? first | (second << 8) : (first << 8) | second;
}

/** ::ffff:0:0/96 */
function isMapped(address: Uint8Array): boolean {
  for (let at = IPV6_AT; at < IPV6_AT + 10; at++) if (address[at] !== 0) return false;
  return address[IPV6_AT + 10] === 0xff && address[IPV6_AT + 11] === 0xff;
}

function same(a: Uint8Array, fromA: number, b: Uint8Array, fromB: number, count: number): boolean {
  for (let index = 0; index < count; index++) if (a[fromA + index] !== b[fromB + index]) return false;
  return true;
}

function about(fd: number): { readonly operation: string; readonly object: string } {
  return { operation: 'original destination', object: `of descriptor ${fd}` };
}

function refused(calls: SocketCalls, fd: number): NetlinkError {
  const { name, text, remedy } = errnoMeaning(calls.errno());
  return new NetlinkError({ ...about(fd), code: 'KP_NETLINK_REFUSED', errno: name, text, remedy });
}
