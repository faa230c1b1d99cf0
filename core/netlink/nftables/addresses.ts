/**
 * Canonical text of addresses to bytes and back, by hand: a million elements hold two addresses each, and anything that
 * makes garbage on the way (split, regular expressions, arrays) would dominate the time to load them.
 */
import { NetlinkError } from '../errors.ts';

const DOT = 46;
const COLON = 58;

/** Writes 4 bytes. @throws NetlinkError KP_NETLINK_INVALID: not an IPv4 address in dotted decimals. */
export function writeIPv4(text: string, into: Uint8Array, at: number): void {
  if (!writeDotted(text, 0, into, at)) throw invalid('IPv4', text);
}

function writeDotted(text: string, from: number, into: Uint8Array, at: number): boolean {
  let position = from;
  for (let part = 0; part < 4; part++) {
    let value = 0;
    let digits = 0;
    for (; position < text.length; position++) {
      const digit = text.charCodeAt(position) - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      digits++;
    }
    if (digits === 0 || digits > 3 || value > 255) return false;
    into[at + part] = value;
    if (part < 3 && text.charCodeAt(position++) !== DOT) return false;
  }
  return position === text.length;
}

/** Writes 16 bytes. @throws NetlinkError KP_NETLINK_INVALID: not an IPv6 address (RFC 4291 §2.2). */
export function writeIPv6(text: string, into: Uint8Array, at: number): void {
  if (!writeGroups(text, into, at)) throw invalid('IPv6', text);
}

function writeGroups(text: string, into: Uint8Array, at: number): boolean {
  const end = text.length;
  let position = 0;
  let written = 0;
  /** Where "::" stood, in bytes written. */
  let gap = -1;
  if (text.charCodeAt(0) === COLON) {
    if (text.charCodeAt(1) !== COLON) return false;
    gap = 0;
    position = 2;
  }
  while (position < end) {
    let value = 0;
    const start = position;
    for (; position < end; position++) {
      const digit = hexDigit(text.charCodeAt(position));
      if (digit < 0) break;
      value = (value << 4) | digit;
    }
    if (text.charCodeAt(position) === DOT) {
      if (written > 12 || !writeDotted(text, start, into, at + written)) return false;
      written += 4;
      position = end;
      break;
    }
    if (position === start || position - start > 4 || written > 14) return false;
    into[at + written] = value >> 8;
    into[at + written + 1] = value & 255;
    written += 2;
    if (position === end) break;
    if (text.charCodeAt(position++) !== COLON) return false;
    if (text.charCodeAt(position) === COLON) {
      if (gap >= 0) return false;
      gap = written;
      position++;
    } else if (position === end) return false;
  }
  if (gap < 0) return written === 16;
  if (written > 14) return false;
  // What was written behind the gap belongs at the end.
  into.copyWithin(at + 16 - (written - gap), at + gap, at + written);
  into.fill(0, at + gap, at + 16 - (written - gap));
  return true;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 97 && code <= 102) return code - 87;
  if (code >= 65 && code <= 70) return code - 55;
  return -1;
}

export function readIPv4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** RFC 5952: lower case, the first longest run of two or more zero groups compressed. */
export function readIPv6(bytes: Uint8Array, at: number): string {
  let gapStart = -1;
  let gapLength = 1;
  for (let group = 0; group < 8; group++) {
    let length = 0;
    while (group + length < 8 && isZero(bytes, at, group + length)) length++;
    if (length > gapLength) {
      gapStart = group;
      gapLength = length;
    }
    group += length;
  }
  let text = '';
  for (let group = 0; group < 8; group++) {
    if (group === gapStart) {
      text += '::';
      group += gapLength - 1;
      continue;
    }
    if (text !== '' && !text.endsWith('::')) text += ':';
    text += (((bytes[at + 2 * group] ?? 0) << 8) | (bytes[at + 2 * group + 1] ?? 0)).toString(16);
  }
  return text;
}

function isZero(bytes: Uint8Array, at: number, group: number): boolean {
  return bytes[at + 2 * group] === 0 && bytes[at + 2 * group + 1] === 0;
}

function invalid(kind: string, text: string): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_INVALID', text: `not an ${kind} address: ${JSON.stringify(text)}` });
}
