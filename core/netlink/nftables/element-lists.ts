/**
 * Elements out of the messages that list a set. Read in place, like the way in (elements.ts): a large map has a million
 * of them. Every length is checked, so that no input makes it read outside, crash or loop.
 */
import type { NftElement, NftSet, NftValue, NftVerdict } from '../../nftables.ts';
import { attributesByType, attributeText, attributeU32BE, HOST_IS_LITTLE_ENDIAN as LITTLE } from '../attributes.ts';
import { malformed } from '../errors.ts';
import * as nft from './protocol.ts';
import { isRangeOfMany, isRangeOfOne } from './sets.ts';
import { userdataComment } from './userdata.ts';
import { readTuple, tupleBytes } from './values.ts';

export type ListedElement = NftElement & { readonly expiresSeconds?: number };

export interface ElementListReader {
  /** Elements of the attributes of one message. @throws NetlinkError KP_NETLINK_MALFORMED. */
  read(attributes: Uint8Array, each: (element: ListedElement) => void): void;
  /** The elements of a list of them, without the attributes around it. */
  readList(list: Uint8Array, each: (element: ListedElement) => void): void;
  /** What could only be told at the end: ranges, whose first and last values come separately. */
  finish(each: (element: ListedElement) => void): void;
}

/** A start or (exclusive) end of a range of one value. */
interface Point {
  readonly bytes: Uint8Array;
  /** Undefined: an end. */
  readonly element: ListedElement | undefined;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function createElementListReader(set: NftSet): ElementListReader {
  const { key: types, data: dataTypes } = set;
  const keyBytes = tupleBytes(types);
  const rangeOfOne = isRangeOfOne(set);
  const rangeOfMany = isRangeOfMany(set);
  const points: Point[] = [];

  function readKey(bytes: Uint8Array, at: number, end: number): NftValue[] {
    const from = valueStart(bytes, at, end);
    return readTuple(types, bytes, from, end - from);
  }

  function readData(bytes: Uint8Array, at: number, end: number): NonNullable<NftElement['data']> | undefined {
    if (dataTypes === undefined) return undefined;
    if (dataTypes === 'verdict') return readVerdict(bytes.subarray(at, end));
    const from = valueStart(bytes, at, end);
    return readTuple(dataTypes, bytes, from, end - from);
  }

  function readElement(bytes: Uint8Array, start: number, stop: number, each: (element: ListedElement) => void): void {
    const element: Mutable<ListedElement> = { key: NO_VALUES };
    let flags = 0;
    let keyAt = -1;
    for (let at = start; at < stop; ) {
      const end = attributeEnd(bytes, at, stop);
      const from = at + 4;
      switch (attributeType(bytes, at)) {
        case nft.NFTA_SET_ELEM_KEY:
          element.key = readKey(bytes, from, end);
          keyAt = from + 4;
          break;
        case nft.NFTA_SET_ELEM_KEY_END:
          element.keyEnd = readKey(bytes, from, end);
          break;
        case nft.NFTA_SET_ELEM_DATA: {
          const data = readData(bytes, from, end);
          if (data !== undefined) element.data = data;
          break;
        }
        case nft.NFTA_SET_ELEM_FLAGS:
          flags = attributeU32BE(bytes.subarray(from, end));
          break;
        case nft.NFTA_SET_ELEM_EXPIRATION:
          element.expiresSeconds = milliseconds(bytes.subarray(from, end)) / 1000;
          break;
        case nft.NFTA_SET_ELEM_USERDATA: {
          const comment = userdataComment(nft.UDATA_ELEM_COMMENT, bytes.subarray(from, end));
          if (comment !== '') element.comment = comment;
          break;
        }
      }
      at = (end + 3) & ~3;
    }
    if ((flags & nft.NFT_SET_ELEM_CATCHALL) !== 0) return; // We have none, and it has no key.
    if (keyAt < 0) throw malformed('an element without a key');
    const isEnd = (flags & nft.NFT_SET_ELEM_INTERVAL_END) !== 0;
    if (rangeOfOne) points.push({ bytes: bytes.slice(keyAt, keyAt + keyBytes), element: isEnd ? undefined : element });
    else if (!isEnd) {
      if (rangeOfMany) element.keyEnd ??= element.key;
      each(element);
    }
  }

  function readList(bytes: Uint8Array, start: number, stop: number, each: (element: ListedElement) => void): void {
    for (let at = start; at < stop; ) {
      const end = attributeEnd(bytes, at, stop);
      if (attributeType(bytes, at) === nft.NFTA_LIST_ELEM) readElement(bytes, at + 4, end, each);
      at = (end + 3) & ~3;
    }
  }

  return {
    read(attributes, each) {
      const stop = attributes.length;
      for (let at = 0; at < stop; ) {
        const end = attributeEnd(attributes, at, stop);
        if (attributeType(attributes, at) === nft.NFTA_SET_ELEM_LIST_ELEMENTS) readList(attributes, at + 4, end, each);
        at = (end + 3) & ~3;
      }
    },
    readList: (list, each) => readList(list, 0, list.length, each),
    finish(each) {
      // Where one range ends another may begin: its end comes first.
      points.sort(
        (a, b) => Buffer.compare(a.bytes, b.bytes) || Number(a.element !== undefined) - Number(b.element !== undefined),
      );
      for (const [index, { element }] of points.entries()) {
        if (element === undefined) continue;
        const last = before(points[index + 1]?.bytes, keyBytes);
        each({ ...element, keyEnd: readTuple(types, last, 0, keyBytes) });
      }
      points.length = 0;
    },
  };
}

const NO_VALUES: readonly NftValue[] = [];

/** The value one below; without one, the highest of all: a range without an end point goes to the end of the space. */
function before(next: Uint8Array | undefined, length: number): Uint8Array {
  const bytes = next === undefined ? new Uint8Array(length) : next.slice();
  for (let index = length - 1; index >= 0; index--) {
    const byte = bytes[index] ?? 0;
    bytes[index] = (byte - 1) & 255;
    if (byte !== 0) break;
  }
  return bytes;
}

/** Where the bytes of a NFTA_DATA_VALUE begin, which is all that lies between `at` and `end`. */
function valueStart(bytes: Uint8Array, at: number, end: number): number {
  if (at >= end || attributeType(bytes, at) !== nft.NFTA_DATA_VALUE || attributeEnd(bytes, at, end) > end) {
    throw malformed('a key or data without a value');
  }
  if (((attributeEnd(bytes, at, end) + 3) & ~3) < end) throw malformed('a value with something behind it');
  return at + 4;
}

const verdictNames = new Map(
  Object.entries(nft.VERDICTS).map(([name, code]) => [code >>> 0, name as NftVerdict['verdict']]),
);

function readVerdict(bytes: Uint8Array): NftVerdict {
  const verdict = attributesByType(bytes).get(nft.NFTA_DATA_VERDICT);
  const attributes = verdict && attributesByType(verdict);
  const code = attributes?.get(nft.NFTA_VERDICT_CODE);
  const name = code && verdictNames.get(attributeU32BE(code));
  if (name === undefined) throw malformed('an element with an unknown verdict');
  if (name !== 'jump' && name !== 'goto') return { verdict: name };
  return { verdict: name, chain: attributeText(attributes?.get(nft.NFTA_VERDICT_CHAIN) ?? new Uint8Array()) };
}

function milliseconds(bytes: Uint8Array): number {
  if (bytes.length !== 8) throw malformed(`an expiration of ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  return view.getUint32(0) * 2 ** 32 + view.getUint32(4);
}

/** End of the attribute at `at`, padding left out. */
function attributeEnd(bytes: Uint8Array, at: number, stop: number): number {
  if (stop - at < 4) throw malformed(`${stop - at} bytes where an attribute should be`);
  const length = u16(bytes, at);
  if (length < 4 || length > stop - at)
    throw malformed(`an attribute of length ${length} with ${stop - at} bytes left`);
  return at + length;
}

function attributeType(bytes: Uint8Array, at: number): number {
  return u16(bytes, at + 2) & 0x3fff;
}

function u16(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  const second = bytes[at + 1] ?? 0;
  return LITTLE ? first | (second << 8) : (first << 8) | second;
}
