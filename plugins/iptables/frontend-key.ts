/**
 * Keys of the dispatch trees: what a connection is addressed to, as a string of base-4 digits, so that a prefix of
 * the string is something iptables can match in one rule.
 *
 *   address (16 digits for IPv4, 64 for IPv6, none for node ports) · protocol (1) · port (8)
 *   "0022 1200 …"  →  -d 10.96.0.0/12      …whole address + protocol + port digits → -d A -p tcp --dport LO:HI
 */
import type { IPFamily, Protocol } from '../../core/backend.ts';

const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];
const PORT_DIGITS = 8;

export const ADDRESS_DIGITS: Readonly<Record<IPFamily, number>> = { IPv4: 16, IPv6: 64 };

function digits(value: number, count: number): string {
  return value.toString(4).padStart(count, '0');
}

/** Key of a node port, or of the protocol and port half of a frontend. */
export function portKey(protocol: Protocol, port: number): string {
  return digits(PROTOCOLS.indexOf(protocol), 1) + digits(port, PORT_DIGITS);
}

/** Key of a frontend. `ip` is canonical text. */
export function frontendKey(ip: string, protocol: Protocol, port: number): string {
  return addressDigits(ip) + portKey(protocol, port);
}

function addressDigits(ip: string): string {
  if (!ip.includes(':'))
    return ipv4Bytes(ip)
      .map((byte) => digits(byte, 4))
      .join('');
  return ipv6Groups(ip)
    .map((group) => digits(group, 8))
    .join('');
}

function ipv4Bytes(ip: string): number[] {
  return ip.split('.').map(Number);
}

/** The eight 16-bit groups of an IPv6 address; a dotted IPv4 tail is understood. */
function ipv6Groups(ip: string): number[] {
  const [head = '', tail] = ip.split('::');
  const groups = (text: string): number[] =>
    text === ''
      ? []
      : text.split(':').flatMap((part) => {
          if (!part.includes('.')) return [Number.parseInt(part, 16)];
          const [a = 0, b = 0, c = 0, d = 0] = ipv4Bytes(part);
          return [a * 256 + b, c * 256 + d];
        });
  const left = groups(head);
  if (tail === undefined) return left;
  const right = groups(tail);
  return [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
}

/** RFC 5952 text: what ip6tables-save prints. */
function ipv6Text(groups: readonly number[]): string {
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; ) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > best.length) best = { start: i, length: end - i };
    i = end + 1;
  }
  const hex = groups.map((group) => group.toString(16));
  if (best.start < 0) return hex.join(':');
  return `${hex.slice(0, best.start).join(':')}::${hex.slice(best.start + best.length).join(':')}`;
}

export interface PrefixMatch {
  /** Rule text, for example "-d 10.96.0.0/14" or "-d 10.96.0.1/32 -p tcp -m tcp --dport 80:95". */
  readonly rule: string;
  /** The same as a short name for a chain, or undefined where it would be too long: "10.96.0.0-14", "TCP-30000-30015". */
  readonly label: string | undefined;
}

/** What a non-empty prefix of keys matches. `addressDigitCount` is 0 for trees of node ports. */
export function prefixMatch(prefix: string, addressDigitCount: number): PrefixMatch {
  const address = prefix.slice(0, addressDigitCount);
  const rest = prefix.slice(addressDigitCount);
  const parts: string[] = [];
  let label: string | undefined = '';
  if (addressDigitCount > 0) {
    const length = address.length * 2;
    const text = addressText(address.padEnd(addressDigitCount, '0'));
    parts.push(`-d ${text}/${length}`);
    label = text.includes(':') || rest !== '' ? undefined : `${text}-${length}`;
  }
  if (rest !== '') {
    const protocol = PROTOCOLS[Number(rest[0])] ?? 'TCP';
    const name = protocol.toLowerCase();
    parts.push(`-p ${name}`);
    const port = rest.slice(1);
    const low = Number.parseInt(port.padEnd(PORT_DIGITS, '0'), 4);
    const high = Number.parseInt(port.padEnd(PORT_DIGITS, '3'), 4);
    if (port !== '') parts.push(`-m ${name} --dport ${low === high ? low : `${low}:${high}`}`);
    if (label !== undefined) label = `${protocol}-${low}-${high}`;
  }
  return { rule: parts.join(' '), label };
}

function addressText(fullDigits: string): string {
  const size = fullDigits.length === ADDRESS_DIGITS.IPv4 ? 4 : 8;
  const numbers: number[] = [];
  for (let i = 0; i < fullDigits.length; i += size) numbers.push(Number.parseInt(fullDigits.slice(i, i + size), 4));
  return size === 4 ? numbers.join('.') : ipv6Text(numbers);
}
