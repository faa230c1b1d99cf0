/**
 * Values in nft's words: protocols by name, ports by number, marks as eight hexadecimal digits, ranges as prefixes where
 * they are one. `meta priority` is a traffic control handle to nft, so that the same 32 bits read "0:3" there.
 */
import type { NftElement, NftType, NftValue } from '../../nftables.ts';
import { readIPv4, readIPv6 } from './addresses.ts';
import { valueBytes } from './values.ts';

export function printMark(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

/** As nft prints values of its type `classid` (tc handles): major:minor in hexadecimal, with two names. */
export function printPriority(value: number): string {
  if (value === 0) return 'none';
  if (value === 0xffffffff) return 'root';
  return `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
}

export function printValue(type: NftType, value: NftValue): string {
  return type === 'mark' ? printMark(Number(value)) : String(value);
}

/** `10.0.0.1 . tcp . 80`, without braces. */
export function printTuple(types: readonly NftType[], values: readonly NftValue[]): string {
  return types.map((type, index) => printValue(type, values[index] ?? '')).join(' . ');
}

/** The key of an element: of an `interval` set part by part as a value, a prefix or a range. */
export function printKey(types: readonly NftType[], { key, keyEnd }: NftElement): string {
  if (keyEnd === undefined) return printTuple(types, key);
  return types.map((type, index) => printRange(type, key[index] ?? '', keyEnd[index] ?? '')).join(' . ');
}

function printRange(type: NftType, from: NftValue, to: NftValue): string {
  if (from === to) return printValue(type, from);
  const length = prefixLength(valueBytes(type, from), valueBytes(type, to));
  const isAddress = type === 'ipv4_addr' || type === 'ipv6_addr';
  if (isAddress && length !== undefined) return `${from}/${length}`;
  return `${printValue(type, from)}-${printValue(type, to)}`;
}

/** Undefined if the range is no prefix: below the bits that both ends share, one has only zeros, the other only ones. */
function prefixLength(from: Uint8Array, to: Uint8Array): number | undefined {
  let length = 0;
  const bits = from.length * 8;
  while (length < bits && bit(from, length) === bit(to, length)) length++;
  for (let at = length; at < bits; at++) if (bit(from, at) !== 0 || bit(to, at) !== 1) return undefined;
  return length;
}

function bit(bytes: Uint8Array, at: number): number {
  return ((bytes[at >> 3] ?? 0) >> (7 - (at & 7))) & 1;
}

/** The canonical text of what a CIDR or an address says: nft shows no bits behind the prefix and no full-length one. */
export function printPrefix(cidr: string): string {
  const [address = '', length] = cidr.split('/');
  const type: NftType = address.includes(':') ? 'ipv6_addr' : 'ipv4_addr';
  const bytes = valueBytes(type, address);
  const bits = length === undefined ? bytes.length * 8 : Number(length);
  for (let at = bits; at < bytes.length * 8; at++) bytes[at >> 3] = (bytes[at >> 3] ?? 0) & ~(0x80 >> (at & 7));
  const text = type === 'ipv4_addr' ? readIPv4(bytes, 0) : readIPv6(bytes, 0);
  return bits === bytes.length * 8 ? text : `${text}/${bits}`;
}

const UNITS = [
  ['d', 86400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
] as const;

/** `3h`, `1m30s`. */
export function printDuration(seconds: number): string {
  let left = Math.round(seconds);
  let text = '';
  for (const [unit, length] of UNITS) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) text += `${count}${unit}`;
  }
  return text || '0s';
}
