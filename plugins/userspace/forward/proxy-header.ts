/**
 * The PROXY protocol's header, version 2 (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, 2.2): tells an
 * endpoint who its client is, ahead of the client's first byte.
 *
 *   12 bytes  signature
 *    1 byte   0x21: version 2, on behalf of a client
 *    1 byte   0x11: TCP over IPv4, 0x21: TCP over IPv6
 *    2 bytes  length of what follows: 12 or 36
 *   4 or 16   source address, then as many of the destination address
 *    2 bytes  source port, then 2 bytes destination port
 */
import type { SocketAddress } from '../../../core/backend.ts';

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a] as const;
const VERSION_2_PROXY = 0x21;
const TCP4 = 0x11;
const TCP6 = 0x21;

/** Both of one family. */
export function proxyHeader(client: SocketAddress, destination: SocketAddress): Uint8Array {
  const isIPv6 = client.ip.includes(':');
  const addresses = [...bytesOf(client.ip), ...bytesOf(destination.ip)];
  const length = addresses.length + 4;
  return Uint8Array.from([
    ...SIGNATURE,
    VERSION_2_PROXY,
    isIPv6 ? TCP6 : TCP4,
    length >>> 8,
    length & 255,
    ...addresses,
    client.port >>> 8,
    client.port & 255,
    destination.port >>> 8,
    destination.port & 255,
  ]);
}

/** A zone ("%eth0") means nothing to another host and is left out. */
function bytesOf(ip: string): readonly number[] {
  if (!ip.includes(':')) return ip.split('.').map(Number);
  const [plain = ''] = ip.split('%');
  const [head = '', tail = ''] = plain.split('::');
  const left = groups(head);
  const right = groups(tail);
  const zeros = plain.includes('::') ? new Array<number>(16 - left.length - right.length).fill(0) : [];
  return [...left, ...zeros, ...right];
}

function groups(part: string): readonly number[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number);
    const value = Number.parseInt(group, 16);
    return [value >>> 8, value & 255];
  });
}
