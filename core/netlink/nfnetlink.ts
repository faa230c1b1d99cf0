/**
 * What netfilter's families (ipset, nftables, conntrack) share on NETLINK_NETFILTER: the subsystem in the message
 * type's upper byte, and a header of 4 bytes before the attributes:
 *
 *   0       1        2
 *   family  version  resource id (u16, big-endian)
 */
import { malformed } from './errors.ts';
import type { Message } from './message.ts';
import type { MessageWriter } from './writer.ts';

export const NFNL_SUBSYS_IPSET = 6;
export const NFNL_SUBSYS_ACCT = 7;
export const NFNL_SUBSYS_NFTABLES = 10;

export const NFPROTO_UNSPEC = 0;
export const NFPROTO_IPV4 = 2;
export const NFPROTO_IPV6 = 10;

const NFGENMSG_BYTES = 4;
const NFNETLINK_V0 = 0;

export function nfnetlinkType(subsystem: number, command: number): number {
  return (subsystem << 8) | command;
}

export function writeNfgenmsg(writer: MessageWriter, family: number, resource = 0): void {
  writer.raw(Uint8Array.of(family, NFNETLINK_V0, resource >> 8, resource & 0xff));
}

/** The attributes of a message, as bytes for parseAttributes. */
export function nfnetlinkAttributes({ payload }: Message): Uint8Array {
  if (payload.length < NFGENMSG_BYTES) throw malformed(`an nfnetlink message of ${payload.length} bytes`);
  return payload.subarray(NFGENMSG_BYTES);
}
