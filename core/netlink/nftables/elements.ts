/**
 * Elements to bytes: the hot path, a million of them when a large cluster is loaded, so everything is written straight
 * to its place and nothing is allocated. One element of the endpoints map, 44 bytes:
 *
 *   ELEM 44 │ KEY 24 │ VALUE 20 │ 10 96 0 1  6 0 0 0  0 80 0 0  index │ DATA 16 │ VALUE 12 │ 10 244 1 7  31 144 0 0
 *
 * and, where there is one, KEY_END like KEY, or USERDATA with the comment. A verdict's DATA is VERDICT { CODE, CHAIN }.
 * One attribute ELEMENTS has 16 bits of length, and the kernel takes a wrapped one with a success ack: whoever calls
 * this must start another message at `MOST_LIST_BYTES`.
 */
import type { NftElement, NftSet, NftValue, NftVerdict } from '../../nftables.ts';
import { HOST_IS_LITTLE_ENDIAN as LITTLE, NLA_F_NESTED } from '../attributes.ts';
import * as nft from './protocol.ts';
import { isRangeOfMany, isRangeOfOne } from './sets.ts';
import { commentUserdata } from './userdata.ts';
import { invalid, tupleBytes, writeTuple } from './values.ts';

/** Where to stop adding to one list of elements. */
export const MOST_LIST_BYTES = 60_000;
/** More than any one element takes: two keys of 64 bytes, a chain's name of 255, a comment, headers; and an end point. */
export const MOST_ELEMENT_BYTES = 1024;

/** Writes one element (of a range of one: its two points) with all headers; returns where it ends. */
export type ElementEncoder = (element: NftElement, into: Uint8Array, at: number) => number;

const LONGEST_CHAIN_NAME = 255;
const encoder = new TextEncoder();

/** `deleting`: only keys matter then. */
export function createElementEncoder(set: NftSet, deleting: boolean): ElementEncoder {
  const { key: types, data: dataTypes } = set;
  const keyBytes = tupleBytes(types);
  const rangeOfOne = isRangeOfOne(set);
  const rangeOfMany = isRangeOfMany(set);
  const dataBytes = dataTypes === undefined || dataTypes === 'verdict' ? 0 : tupleBytes(dataTypes);

  function writeKey(attribute: number, values: readonly NftValue[], into: Uint8Array, at: number): number {
    writeHeader(into, at + 4, 4 + keyBytes, nft.NFTA_DATA_VALUE);
    const end = writeTuple(types, values, into, at + 8);
    writeHeader(into, at, end - at, attribute | NLA_F_NESTED);
    return end;
  }

  function writeData(data: NftElement['data'], into: Uint8Array, at: number): number {
    if (dataTypes === undefined) {
      if (data !== undefined) throw invalid('data for an element of a set without data');
      return at;
    }
    if (data === undefined) throw invalid('an element without data for a map');
    let end: number;
    if (dataTypes === 'verdict') {
      if (!('verdict' in data)) throw invalid('values where a verdict is due');
      end = writeVerdict(data, into, at + 4);
    } else {
      if ('verdict' in data) throw invalid('a verdict where values are due');
      writeHeader(into, at + 4, 4 + dataBytes, nft.NFTA_DATA_VALUE);
      end = writeTuple(dataTypes, data, into, at + 8);
    }
    writeHeader(into, at, end - at, nft.NFTA_SET_ELEM_DATA | NLA_F_NESTED);
    return end;
  }

  function writeEndPoint(last: readonly NftValue[], into: Uint8Array, at: number): number {
    const end = writeKey(nft.NFTA_SET_ELEM_KEY, last, into, at + 4);
    // The kernel's end is exclusive. The space's last value has no successor, and its range no end point.
    if (!increment(into, at + 12, keyBytes)) return at;
    writeHeader(into, end, 8, nft.NFTA_SET_ELEM_FLAGS);
    into[end + 4] = into[end + 5] = into[end + 6] = 0;
    into[end + 7] = nft.NFT_SET_ELEM_INTERVAL_END;
    writeHeader(into, at, end + 8 - at, nft.NFTA_LIST_ELEM | NLA_F_NESTED);
    return end + 8;
  }

  return (element, into, at) => {
    const { key, keyEnd, comment } = element;
    let end = writeKey(nft.NFTA_SET_ELEM_KEY, key, into, at + 4);
    if (keyEnd !== undefined && set.interval !== true) throw invalid('a range for a set without ranges');
    if (rangeOfMany) end = writeKey(nft.NFTA_SET_ELEM_KEY_END, keyEnd ?? key, into, end);
    if (!deleting) {
      end = writeData(element.data, into, end);
      if (comment) end = writeComment(comment, into, end);
    }
    writeHeader(into, at, end - at, nft.NFTA_LIST_ELEM | NLA_F_NESTED);
    return rangeOfOne ? writeEndPoint(keyEnd ?? key, into, end) : end;
  };
}

/** Length (with header, without padding) and type of an attribute, in host order. */
function writeHeader(into: Uint8Array, at: number, length: number, type: number): void {
  if (LITTLE) {
    into[at] = length & 255;
    into[at + 1] = length >> 8;
    into[at + 2] = type & 255;
    into[at + 3] = type >> 8;
  } else {
    into[at] = length >> 8;
    into[at + 1] = length & 255;
    into[at + 2] = type >> 8;
    into[at + 3] = type & 255;
  }
}

/** The next value of a big-endian number; false if there is none. */
function increment(bytes: Uint8Array, at: number, length: number): boolean {
  for (let index = at + length - 1; index >= at; index--) {
    const next = ((bytes[index] ?? 0) + 1) & 255;
    bytes[index] = next;
    if (next !== 0) return true;
  }
  return false;
}

function writeVerdict(verdict: NftVerdict, into: Uint8Array, at: number): number {
  writeHeader(into, at + 4, 8, nft.NFTA_VERDICT_CODE);
  const code = nft.VERDICTS[verdict.verdict];
  for (let byte = 0; byte < 4; byte++) into[at + 8 + byte] = (code >> (24 - 8 * byte)) & 255;
  let end = at + 12;
  if ('chain' in verdict) end = writeText(nft.NFTA_VERDICT_CHAIN, verdict.chain, into, end);
  writeHeader(into, at, end - at, nft.NFTA_DATA_VERDICT | NLA_F_NESTED);
  return end;
}

function writeText(attribute: number, text: string, into: Uint8Array, at: number): number {
  const { read, written } = encoder.encodeInto(text, into.subarray(at + 4, at + 4 + LONGEST_CHAIN_NAME));
  if (read !== text.length || text.includes('\0')) throw invalid(`the name ${JSON.stringify(text)}`);
  return pad(attribute, written + 1, into, at, at + 4 + written);
}

function writeComment(comment: string, into: Uint8Array, at: number): number {
  const userdata = commentUserdata(nft.UDATA_ELEM_COMMENT, comment);
  into.set(userdata, at + 4);
  return pad(nft.NFTA_SET_ELEM_USERDATA, userdata.length, into, at, at + 4 + userdata.length);
}

/** Zeroes what lies between the content's end and the next attribute, and writes the header. */
function pad(attribute: number, count: number, into: Uint8Array, at: number, contentEnd: number): number {
  writeHeader(into, at, 4 + count, attribute);
  const end = at + ((4 + count + 3) & ~3);
  into.fill(0, contentEnd, end);
  return end;
}
