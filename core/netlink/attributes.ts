/**
 * Reading netlink attributes (struct nlattr), which may nest:
 *
 *   0       2                                    4
 *   length  type: N nested, B big-endian, 14 bit  data …  padding to 4   next attribute …
 *   u16     u16
 *
 * `length` counts its own 4 bytes but no padding. Unknown types are the reader's to skip; wrong lengths are
 * KP_NETLINK_MALFORMED errors. Scalars must have exactly their size: the kernel never sends another.
 */
import { malformed } from './errors.ts';

/** Netlink is in host byte order, and DataView wants to be told which that is. */
export const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const LITTLE = HOST_IS_LITTLE_ENDIAN;

/** The attribute holds attributes. Old kernel interfaces omit it, so a reader must not depend on it. */
export const NLA_F_NESTED = 0x8000;
/** The number inside is big-endian. Only ipset insists on it. */
export const NLA_F_NET_BYTEORDER = 0x4000;
const NLA_TYPE_MASK = 0x3fff;
const HEADER_BYTES = 4;

/** `type` without the flags; `data` is a view, without header and padding. */
export interface Attribute {
  readonly type: number;
  readonly data: Uint8Array;
}

/** All attributes in order, also repeated ones (lists are made of those). */
export function parseAttributes(bytes: Uint8Array): Attribute[] {
  const attributes: Attribute[] = [];
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    if (left < HEADER_BYTES) throw malformed(`${left} bytes where an attribute should be`);
    const length = u16(bytes, at);
    const type = u16(bytes, at + 2) & NLA_TYPE_MASK;
    if (length < HEADER_BYTES || length > left) {
      throw malformed(`attribute ${type} of length ${length} with ${left} bytes left`);
    }
    attributes.push({ type, data: bytes.subarray(at + HEADER_BYTES, at + length) });
    at += (length + 3) & ~3;
  }
  return attributes;
}

/** Attributes by type, without flags. As in the kernel's own parser, the last of a repeated one counts. */
export function attributesByType(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const byType = new Map<number, Uint8Array>();
  for (const { type, data } of parseAttributes(bytes)) byType.set(type, data);
  return byType;
}

export function attributeU8(data: Uint8Array): number {
  return sized(data, 1)[0] ?? 0;
}

export function attributeU16(data: Uint8Array): number {
  return view(data, 2).getUint16(0, LITTLE);
}

export function attributeU16BE(data: Uint8Array): number {
  return view(data, 2).getUint16(0, false);
}

export function attributeU32(data: Uint8Array): number {
  return view(data, 4).getUint32(0, LITTLE);
}

export function attributeU32BE(data: Uint8Array): number {
  return view(data, 4).getUint32(0, false);
}

export function attributeU64(data: Uint8Array): bigint {
  return view(data, 8).getBigUint64(0, LITTLE);
}

export function attributeU64BE(data: Uint8Array): bigint {
  return view(data, 8).getBigUint64(0, false);
}

const decoder = new TextDecoder();

/** Text up to its NUL, or to its end where the kernel sends none. */
export function attributeText(data: Uint8Array): string {
  const end = data.indexOf(0);
  return decoder.decode(end < 0 ? data : data.subarray(0, end));
}

function u16(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  const second = bytes[at + 1] ?? 0;
  return LITTLE ? first | (second << 8) : (first << 8) | second;
}

function view(data: Uint8Array, size: number): DataView {
  sized(data, size);
  return new DataView(data.buffer, data.byteOffset, size);
}

function sized(data: Uint8Array, size: number): Uint8Array {
  if (data.length !== size) throw malformed(`a number of ${data.length} bytes where ${size} are due`);
  return data;
}
