/**
 * Sets and maps as the kernel describes them, ours and found ones in the same words, so that both can be compared.
 *
 * One range of addresses is kept in a tree of points: a start element and, unless it reaches the end of the address
 * space, an end element (exclusive) of its own. Ranges of concatenations are one element with two keys (inclusive).
 */
import type { NftSet, NftType } from '../../nftables.ts';
import {
  attributesByType,
  attributeText,
  attributeU32BE,
  HOST_IS_LITTLE_ENDIAN,
  parseAttributes,
} from '../attributes.ts';
import { malformed } from '../errors.ts';
import type { MessageWriter } from '../writer.ts';
import * as nft from './protocol.ts';
import { commentUserdata } from './userdata.ts';
import { slotBytes, tupleBytes, tupleTypeId } from './values.ts';

/** A set's shape, everything that a comparison is about. Numbers as in linux/netfilter/nf_tables.h; 0 = absent. */
interface SetShape {
  readonly flags: number;
  readonly keyType: number;
  readonly keyBytes: number;
  readonly dataType: number;
  readonly dataBytes: number;
  readonly size: number;
  /** Bytes of each field of a concatenation of ranges. */
  readonly fields: readonly number[];
  readonly userdata: Uint8Array;
}

/** Ranges of one value, in a tree of points. */
export function isRangeOfOne(set: NftSet): boolean {
  return set.interval === true && set.key.length === 1;
}

/** Ranges of a concatenation. */
export function isRangeOfMany(set: NftSet): boolean {
  return set.interval === true && set.key.length > 1;
}

function shapeOf(set: NftSet): SetShape {
  const { key, data } = set;
  const isMap = data !== undefined;
  const isVerdictMap = data === 'verdict';
  return {
    flags:
      (set.interval ? nft.NFT_SET_INTERVAL : 0) |
      (isRangeOfMany(set) ? nft.NFT_SET_CONCAT : 0) |
      (isMap ? nft.NFT_SET_MAP : 0) |
      (set.dynamic ? nft.NFT_SET_EVAL | nft.NFT_SET_TIMEOUT : 0),
    keyType: tupleTypeId(key),
    keyBytes: tupleBytes(key),
    dataType: !isMap ? 0 : isVerdictMap ? nft.NFT_DATA_VERDICT : tupleTypeId(data),
    // What a verdict takes is the kernel's affair.
    dataBytes: !isMap || isVerdictMap ? 0 : tupleBytes(data),
    size: set.size ?? 0,
    fields: isRangeOfMany(set) ? key.map(slotBytes) : [],
    userdata: userdataOf(set),
  };
}

/**
 * nft reads a lone `mark` of unknown byte order as big-endian and prints 2 as 0x02000000, so it is told. In
 * concatenations it knows by itself, and the type that it would want to be told there is its own affair.
 */
function userdataOf({ key, data, comment }: NftSet): Uint8Array {
  const isLoneMark = (types: readonly NftType[]) => types.length === 1 && types[0] === 'mark';
  const parts: Uint8Array[] = [];
  if (isLoneMark(key)) parts.push(byteOrder(nft.UDATA_SET_KEYBYTEORDER));
  if (data !== undefined && data !== 'verdict' && isLoneMark(data)) parts.push(byteOrder(nft.UDATA_SET_DATABYTEORDER));
  if (comment) parts.push(commentUserdata(nft.UDATA_SET_COMMENT, comment));
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function byteOrder(kind: number): Uint8Array {
  const bytes = Uint8Array.of(kind, 4, 0, 0, 0, 0);
  new DataView(bytes.buffer).setUint32(2, nft.UDATA_HOST_ENDIAN, HOST_IS_LITTLE_ENDIAN);
  return bytes;
}

/** The attributes that create a set. `id` names it within the batch; the kernel wants one, and we refer by name. */
export function writeSet(writer: MessageWriter, table: string, set: NftSet, id: number): void {
  const shape = shapeOf(set);
  writer.text(nft.NFTA_SET_TABLE, table);
  writer.text(nft.NFTA_SET_NAME, set.name);
  writer.u32be(nft.NFTA_SET_FLAGS, shape.flags);
  writer.u32be(nft.NFTA_SET_KEY_TYPE, shape.keyType);
  writer.u32be(nft.NFTA_SET_KEY_LEN, shape.keyBytes);
  if (shape.dataType !== 0) {
    writer.u32be(nft.NFTA_SET_DATA_TYPE, shape.dataType);
    writer.u32be(nft.NFTA_SET_DATA_LEN, shape.dataBytes);
  }
  writer.u32be(nft.NFTA_SET_ID, id);
  if (shape.size > 0 || shape.fields.length > 0) {
    writer.nest(nft.NFTA_SET_DESC, () => {
      if (shape.size > 0) writer.u32be(nft.NFTA_SET_DESC_SIZE, shape.size);
      if (shape.fields.length > 0) writer.nest(nft.NFTA_SET_DESC_CONCAT, () => writeFields(writer, shape.fields));
    });
  }
  if (shape.userdata.length > 0) writer.binary(nft.NFTA_SET_USERDATA, shape.userdata);
}

function writeFields(writer: MessageWriter, fields: readonly number[]): void {
  for (const bytes of fields) writer.nest(nft.NFTA_LIST_ELEM, () => writer.u32be(nft.NFTA_SET_FIELD_LEN, bytes));
}

/** A set out of a dump. Undefined: an anonymous one, which belongs to a rule. */
export function parseSet(attributes: Uint8Array): { table: string; name: string; fingerprint: string } | undefined {
  const byType = attributesByType(attributes);
  const u32 = (type: number): number => {
    const data = byType.get(type);
    return data === undefined ? 0 : attributeU32BE(data);
  };
  const text = (type: number): string => {
    const data = byType.get(type);
    if (data === undefined) throw malformed('a set without table or name');
    return attributeText(data);
  };
  const flags = u32(nft.NFTA_SET_FLAGS);
  if ((flags & nft.NFT_SET_ANONYMOUS) !== 0) return undefined;
  const description = attributesByType(byType.get(nft.NFTA_SET_DESC) ?? new Uint8Array());
  const size = description.get(nft.NFTA_SET_DESC_SIZE);
  const dataType = u32(nft.NFTA_SET_DATA_TYPE);
  const shape: SetShape = {
    flags,
    keyType: u32(nft.NFTA_SET_KEY_TYPE),
    keyBytes: u32(nft.NFTA_SET_KEY_LEN),
    dataType,
    dataBytes: dataType === nft.NFT_DATA_VERDICT ? 0 : u32(nft.NFTA_SET_DATA_LEN),
    size: size === undefined ? 0 : attributeU32BE(size),
    fields: parseFields(description.get(nft.NFTA_SET_DESC_CONCAT)),
    userdata: byType.get(nft.NFTA_SET_USERDATA) ?? new Uint8Array(),
  };
  const timeout = byType.has(nft.NFTA_SET_TIMEOUT) ? ' timeout' : '';
  return { table: text(nft.NFTA_SET_TABLE), name: text(nft.NFTA_SET_NAME), fingerprint: printed(shape) + timeout };
}

function parseFields(concatenation: Uint8Array | undefined): number[] {
  if (concatenation === undefined) return [];
  return parseAttributes(concatenation).map(({ data }) => {
    const length = attributesByType(data).get(nft.NFTA_SET_FIELD_LEN);
    return length === undefined ? 0 : attributeU32BE(length);
  });
}

/** How `parseSet` would print it, if it is exactly this set. */
export function setFingerprint(set: NftSet): string {
  return printed(shapeOf(set));
}

function printed({ flags, keyType, keyBytes, dataType, dataBytes, size, fields, userdata }: SetShape): string {
  const data = dataType === 0 ? '' : ` data ${dataType.toString(16)}/${dataBytes}`;
  const ranges = fields.length === 0 ? '' : ` fields ${fields.join(',')}`;
  const note = userdata.length === 0 ? '' : ` userdata ${Buffer.from(userdata).toString('hex')}`;
  return `flags ${flags.toString(16)} key ${keyType.toString(16)}/${keyBytes}${data} size ${size}${ranges}${note}`;
}
