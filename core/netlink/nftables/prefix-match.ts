/**
 * How a field is compared with a prefix, as nft does it: of a prefix of whole bytes only those are loaded, any other is
 * masked. An address alone is a comparison of all bytes.
 *
 *   10.0.0.0/8     load 1 byte,  compare with 0a
 *   10.16.0.0/12   load 4 bytes, and ff f0 00 00, compare with 0a 10 00 00
 */
import { invalid, slotBytes, valueBytes } from './values.ts';

export interface PrefixMatch {
  /** How many bytes to load. */
  readonly bytes: number;
  readonly value: Uint8Array;
  readonly mask?: Uint8Array;
}

/** @throws NetlinkError KP_NETLINK_INVALID: not an address of that type, or a length beyond it. */
export function prefixMatch(type: 'ipv4_addr' | 'ipv6_addr', cidr: string): PrefixMatch {
  const slash = cidr.indexOf('/');
  const value = valueBytes(type, slash < 0 ? cidr : cidr.slice(0, slash));
  const bytes = slotBytes(type);
  const length = slash < 0 ? bytes * 8 : Number(cidr.slice(slash + 1));
  if (!Number.isInteger(length) || length < 0 || length > bytes * 8)
    throw invalid(`the prefix ${JSON.stringify(cidr)}`);
  const whole = length / 8;
  if (length > 0 && Number.isInteger(whole)) return { bytes: whole, value: value.subarray(0, whole) };
  const mask = Uint8Array.from(
    { length: bytes },
    (_, at) => (0xff00 >> Math.min(8, Math.max(0, length - at * 8))) & 0xff,
  );
  return { bytes, value: value.map((byte, at) => byte & (mask[at] ?? 0)), mask };
}
