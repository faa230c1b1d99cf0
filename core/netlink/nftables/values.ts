/**
 * Typed values as the kernel holds them: each type's number in nft, its bytes, and both ways between them. In keys and
 * data every value takes whole slots of 4 bytes, left-justified:
 *
 *   ipv4_addr . inet_proto . inet_service . mark
 *   10 96 0 1   6 0 0 0      0 80 0 0       2 0 0 0 (host order)
 */
import type { NftType, NftValue } from '../../nftables.ts';
import { HOST_IS_LITTLE_ENDIAN as LITTLE } from '../attributes.ts';
import { malformed, NetlinkError } from '../errors.ts';
import { readIPv4, readIPv6, writeIPv4, writeIPv6 } from './addresses.ts';

interface TypeFacts {
  /** nft's number (include/datatype.h), which is all that nft goes by when it lists a set. */
  readonly id: number;
  readonly bytes: number;
}

const TYPES: Readonly<Record<NftType, TypeFacts>> = {
  ipv4_addr: { id: 7, bytes: 4 },
  ipv6_addr: { id: 8, bytes: 16 },
  inet_proto: { id: 12, bytes: 1 },
  inet_service: { id: 13, bytes: 2 },
  mark: { id: 19, bytes: 4 },
};
const BITS_PER_TYPE = 6;
/** NFT_DATA_VALUE_MAXLEN, which is also what fits the registers. */
const LONGEST_KEY_BYTES = 64;
export const SLOT_BYTES = 4;

export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Bytes of a value by itself. */
export function typeBytes(type: NftType): number {
  return TYPES[type].bytes;
}

/** Bytes of a value inside a concatenation. */
export function slotBytes(type: NftType): number {
  return (TYPES[type].bytes + 3) & ~3;
}

/** One value has just its size, several are padded each. */
export function tupleBytes(types: readonly NftType[]): number {
  if (types.length === 1 && types[0] !== undefined) return typeBytes(types[0]);
  let bytes = 0;
  for (const type of types) bytes += slotBytes(type);
  if (bytes === 0 || bytes > LONGEST_KEY_BYTES) {
    throw invalid(`a concatenation of ${types.join(' . ')}: ${bytes} bytes, at most ${LONGEST_KEY_BYTES} fit`);
  }
  return bytes;
}

export function tupleTypeId(types: readonly NftType[]): number {
  let id = 0;
  for (const type of types) id = (id << BITS_PER_TYPE) | TYPES[type].id;
  return id >>> 0;
}

/** Writes the values and their padding; returns where they end. @throws NetlinkError KP_NETLINK_INVALID. */
export function writeTuple(
  types: readonly NftType[],
  values: readonly NftValue[],
  into: Uint8Array,
  at: number,
): number {
  const count = types.length;
  if (values.length !== count) throw invalid(`${values.length} values where ${count} are due (${types.join(' . ')})`);
  let position = at;
  for (let index = 0; index < count; index++) {
    position = writeValue(types[index] as NftType, values[index] as NftValue, into, position);
  }
  return position;
}

/** Returns where the value's slots end; the padding is zeroed. */
export function writeValue(type: NftType, value: NftValue, into: Uint8Array, at: number): number {
  switch (type) {
    case 'ipv4_addr':
      if (typeof value !== 'string') throw wrongValue(type, value);
      writeIPv4(value, into, at);
      return at + 4;
    case 'ipv6_addr':
      if (typeof value !== 'string') throw wrongValue(type, value);
      writeIPv6(value, into, at);
      return at + 16;
    case 'inet_proto':
      into[at] = protocolNumber(value);
      into[at + 1] = into[at + 2] = into[at + 3] = 0;
      return at + 4;
    case 'inet_service':
      if (typeof value !== 'number' || !(value >= 0 && value <= 0xffff)) throw wrongValue(type, value);
      into[at] = value >> 8;
      into[at + 1] = value & 255;
      into[at + 2] = into[at + 3] = 0;
      return at + 4;
    case 'mark':
      if (typeof value !== 'number' || !(value >= 0 && value <= 0xffffffff)) throw wrongValue(type, value);
      writeHost32(value, into, at);
      return at + 4;
  }
}

function writeHost32(value: number, into: Uint8Array, at: number): void {
  for (let byte = 0; byte < 4; byte++) into[at + byte] = (value >>> (LITTLE ? 8 * byte : 24 - 8 * byte)) & 255;
}

function protocolNumber(value: NftValue): number {
  const number = PROTOCOLS[value as keyof typeof PROTOCOLS];
  if (number === undefined) throw wrongValue('inet_proto', value);
  return number;
}

/** One value as bytes of just its size: what a comparison or an immediate holds. */
export function valueBytes(type: NftType, value: NftValue): Uint8Array {
  const bytes = new Uint8Array(slotBytes(type));
  writeValue(type, value, bytes, 0);
  return bytes.subarray(0, typeBytes(type));
}

/** @throws NetlinkError KP_NETLINK_MALFORMED: not as many bytes as the types have. */
export function readTuple(types: readonly NftType[], bytes: Uint8Array, at: number, length: number): NftValue[] {
  const single = types.length === 1;
  const values: NftValue[] = [];
  let position = 0;
  for (const type of types) {
    const size = single ? typeBytes(type) : slotBytes(type);
    if (position + size > length) break;
    values.push(readValue(type, bytes, at + position));
    position += size;
  }
  // The kernel pads single values of 1 or 2 bytes in some versions.
  if (values.length !== types.length || ((position + 3) & ~3) !== ((length + 3) & ~3)) {
    throw malformed(`${length} bytes where a ${types.join(' . ')} should be`);
  }
  return values;
}

function readValue(type: NftType, bytes: Uint8Array, at: number): NftValue {
  switch (type) {
    case 'ipv4_addr':
      return readIPv4(bytes, at);
    case 'ipv6_addr':
      return readIPv6(bytes, at);
    case 'inet_proto':
      return protocolName(bytes[at] ?? 0);
    case 'inet_service':
      return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
    case 'mark':
      return readHost32(bytes, at);
  }
}

function readHost32(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let byte = 0; byte < 4; byte++) value = value * 256 + (bytes[at + (LITTLE ? 3 - byte : byte)] ?? 0);
  return value;
}

/** A number where it has no name here: somebody else's element. */
function protocolName(number: number): NftValue {
  if (number === PROTOCOLS.tcp) return 'tcp';
  if (number === PROTOCOLS.udp) return 'udp';
  if (number === PROTOCOLS.sctp) return 'sctp';
  return number;
}

function wrongValue(type: NftType, value: NftValue): NetlinkError {
  return invalid(`${JSON.stringify(value)} as ${type}`);
}

export function invalid(what: string): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_INVALID', text: `cannot encode ${what}` });
}
