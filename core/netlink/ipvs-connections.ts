/**
 * The connections that IPVS tracks. The kernel shows them as text only (ip_vs_conn.c, ip_vs_conn_seq_show):
 *
 *   Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
 *   TCP 0A000001 C350 0A600001 0050 0AF40105 1F90 ESTABLISHED     897
 *
 * Addresses and ports are hexadecimal; an IPv6 address is eight groups of four digits with colons.
 */
import { createReadStream } from 'node:fs';
import type { IPVSConnection } from '../ipvs.ts';
import { malformed } from './errors.ts';
import { readIPv4, readIPv6 } from './nftables/addresses.ts';

/** Of this process's network namespace. */
const FILE = '/proc/self/net/ip_vs_conn';

/** Text in pieces of any size. */
export function openConnectionTable(): AsyncIterable<string> {
  return createReadStream(FILE, { encoding: 'latin1' });
}

/** @throws NetlinkError KP_NETLINK_MALFORMED */
export async function readConnections(
  pieces: AsyncIterable<string>,
  each: (connection: IPVSConnection) => void,
): Promise<void> {
  let rest = '';
  let isHead = true;
  for await (const piece of pieces) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (isHead) isHead = false;
      else each(parseConnection(line));
    }
  }
  if (rest !== '') throw malformed(`a connection cut off: ${JSON.stringify(rest)}`);
}

export function parseConnection(line: string): IPVSConnection {
  const words = line.trim().split(/ +/);
  const [protocol, client, clientPort, virtual, virtualPort, real, realPort, state, expires] = words;
  if (expires === undefined || protocol === undefined || state === undefined) throw unreadable(line);
  return {
    protocol,
    clientIP: address(client, line),
    clientPort: port(clientPort, line),
    ip: address(virtual, line),
    port: port(virtualPort, line),
    realIP: address(real, line),
    realPort: port(realPort, line),
    state,
    expiresSeconds: /^\d+$/.test(expires) ? Number(expires) : raise(line),
  };
}

function address(text: string | undefined, line: string): string {
  const digits = text?.replaceAll(':', '') ?? '';
  if (!/^([0-9A-Fa-f]{8}|[0-9A-Fa-f]{32})$/.test(digits)) throw unreadable(line);
  const bytes = Buffer.from(digits, 'hex');
  return bytes.length === 4 ? readIPv4(bytes, 0) : readIPv6(bytes, 0);
}

function port(text: string | undefined, line: string): number {
  return text !== undefined && /^[0-9A-Fa-f]{4}$/.test(text) ? Number.parseInt(text, 16) : raise(line);
}

function raise(line: string): never {
  throw unreadable(line);
}

function unreadable(line: string): Error {
  return malformed(`a connection that cannot be read: ${JSON.stringify(line)}`);
}
