/**
 * IP addresses and CIDRs as text: read sloppily, as the Kubernetes API always has, and written in the one canonical
 * form that the rest of the program compares with `===` (RFC 5952 for IPv6, host bits of a CIDR cleared).
 *
 *   "010.0.0.1"          ──▶ 10.0.0.1      leading zeros are decimal, never octal
 *   "::ffff:10.0.0.1"    ──▶ 10.0.0.1      IPv4-mapped counts as IPv4
 *   "FD00:0:0::1"        ──▶ fd00::1
 *   "10.244.1.7/16"      ──▶ 10.244.0.0/16
 *   "fe80::1%eth0"       ──▶ (not an address: zones mean nothing to another host)
 *
 * IPv4 is read by hand, because a node may hold a million endpoints; IPv6 goes through ipaddr.js once its IPv4 tail is
 * gone, which that library reads as octal and, outside of ::ffff:0:0/96, wrongly.
 */
import ipaddr from 'ipaddr.js';
import type { IPFamily } from '../backend.ts';

export interface ParsedIP {
  readonly ip: string;
  readonly family: IPFamily;
}

export interface ParsedCIDR {
  /** "10.244.0.0/16" */
  readonly cidr: string;
  readonly family: IPFamily;
  /** The network's first address, "10.244.0.0". */
  readonly ip: string;
  readonly prefixLength: number;
}

const LEADING_ZERO = /(?:^|\.)0\d/;
const HEX_AND_COLONS = /^[0-9a-f:]+$/i;
const PREFIX_LENGTH = /^\d{1,3}$/;

export function parseIP(text: string): ParsedIP | undefined {
  const value = ipv4Value(text);
  if (value >= 0) return { ip: LEADING_ZERO.test(text) ? formatIPv4(value) : text, family: 'IPv4' };
  const parts = ipv6Parts(text);
  if (parts === undefined) return undefined;
  const mapped = mappedValue(parts);
  if (mapped >= 0) return { ip: formatIPv4(mapped), family: 'IPv4' };
  return { ip: formatIPv6(parts), family: 'IPv6' };
}

export function parseCIDR(text: string): ParsedCIDR | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const lengthText = text.slice(slash + 1);
  if (!PREFIX_LENGTH.test(lengthText)) return undefined;
  const length = Number(lengthText);
  const address = text.slice(0, slash);
  const value = ipv4Value(address);
  if (value >= 0) return length <= 32 ? ipv4Network(value, length) : undefined;
  const parts = ipv6Parts(address);
  if (parts === undefined || length > 128) return undefined;
  const mapped = mappedValue(parts);
  // A shorter prefix than ::ffff:0:0/96 covers more than the mapped addresses: that is an IPv6 network.
  if (mapped >= 0 && length >= 96) return ipv4Network(mapped, length - 96);
  const ip = formatIPv6(parts.map((part, index) => part & part16Mask(length - index * 16)));
  return { cidr: `${ip}/${length}`, family: 'IPv6', ip, prefixLength: length };
}

/** Both canonical. False when the families differ. */
export function cidrContains(cidr: string, ip: string): boolean {
  const slash = cidr.indexOf('/');
  const length = Number(cidr.slice(slash + 1));
  const network = cidr.slice(0, slash);
  const value = ipv4Value(ip);
  if (value >= 0) {
    const base = ipv4Value(network);
    // Shifts count modulo 32, hence the case for /0.
    return base >= 0 && (length === 0 || (base ^ value) >>> (32 - length) === 0);
  }
  const base = ipv6Parts(network);
  const parts = ipv6Parts(ip);
  if (base === undefined || parts === undefined) return false;
  return base.every((part, index) => ((part ^ parts[index]!) & part16Mask(length - index * 16)) === 0);
}

/** Of a canonical address or CIDR. */
export function familyOf(canonical: string): IPFamily {
  return canonical.includes(':') ? 'IPv6' : 'IPv4';
}

/** The CIDR that holds only this canonical address. */
export function hostCIDR(ip: string): string {
  return familyOf(ip) === 'IPv4' ? `${ip}/32` : `${ip}/128`;
}

/** Of a canonical address: 127.0.0.0/8 or ::1. */
export function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1';
}

/** "ip:port", with brackets around IPv6: the key by which endpoints are told apart and sorted. */
export function ipPort(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** The address as an unsigned 32-bit number; -1 when the text is not four decimal numbers below 256. */
function ipv4Value(text: string): number {
  let value = 0;
  let dots = 0;
  let octet = -1;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code >= 48 && code <= 57) {
      octet = (octet < 0 ? 0 : octet * 10) + code - 48;
      if (octet > 255) return -1;
    } else {
      if (code !== 46 || octet < 0 || dots === 3) return -1;
      value = value * 256 + octet;
      octet = -1;
      dots++;
    }
  }
  return dots === 3 && octet >= 0 ? value * 256 + octet : -1;
}

function formatIPv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

function ipv4Network(value: number, length: number): ParsedCIDR {
  const ip = formatIPv4(length === 0 ? 0 : (value & (-1 << (32 - length))) >>> 0);
  return { cidr: `${ip}/${length}`, family: 'IPv4', ip, prefixLength: length };
}

/** The eight 16-bit groups; undefined when the text is not an IPv6 address. */
function ipv6Parts(text: string): readonly number[] | undefined {
  let plain = text;
  const tail = text.lastIndexOf(':') + 1;
  if (text.includes('.', tail)) {
    const value = ipv4Value(text.slice(tail));
    if (value < 0) return undefined;
    plain = `${text.slice(0, tail)}${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
  }
  if (plain.length > 39 || !plain.includes(':') || !HEX_AND_COLONS.test(plain)) return undefined;
  return ipaddr.IPv6.isValid(plain) ? ipaddr.IPv6.parse(plain).parts : undefined;
}

function formatIPv6(parts: readonly number[]): string {
  return new ipaddr.IPv6([...parts]).toRFC5952String();
}

/** The IPv4 address inside ::ffff:0:0/96 as a number; -1 for every other address. */
function mappedValue(parts: readonly number[]): number {
  for (let index = 0; index < 5; index++) if (parts[index] !== 0) return -1;
  return parts[5] === 0xffff ? parts[6]! * 65536 + parts[7]! : -1;
}

/** Mask of the first `bits` bits of a 16-bit group; fewer than 0 and more than 16 mean none and all. */
function part16Mask(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 16 ? 0xffff : (0xffff << (16 - bits)) & 0xffff;
}
