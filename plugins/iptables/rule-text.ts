/**
 * Pieces of rules in exactly the words and order of iptables-save. That is what lets a full sync compare what the
 * kernel holds with what it should hold as text, and leave every chain alone that is already right.
 */
import type { IPFamily, LocalDetector, Protocol } from '../../core/backend.ts';

/** Longest comment that the kernel keeps, in bytes, its terminating zero included. */
const COMMENT_BYTES = 256;

const INTERFACE_NAME_LENGTH = 15;

/** Match for one address as source or destination. */
export function hostCIDR(ip: string): string {
  return ip.includes(':') ? `${ip}/128` : `${ip}/32`;
}

/** Always contains a space, so that iptables-save quotes it as we do; names of objects hold no quote or backslash. */
export function comment(text: string): string {
  const safe = text.replaceAll(/["\\\n]/g, '_');
  return `-m comment --comment "${Buffer.from(safe)
    .subarray(0, COMMENT_BYTES - 1)
    .toString()}"`;
}

export function destinationPort(protocol: Protocol, port: number): string {
  const name = protocol.toLowerCase();
  return `-m ${name} --dport ${port}`;
}

/**
 * What the kernel keeps of a probability: 31 bits; printed with 11 decimals. In whole numbers, because C rounds a half
 * to even where toFixed() rounds it up: 1/4096 would never be found right.
 */
export function randomly(probability: number): string {
  const scaled = BigInt(Math.round(probability * 0x80000000)) * 10n ** 11n;
  const [whole, rest] = [scaled >> 31n, scaled & 0x7fffffffn];
  const up = rest > 0x40000000n || (rest === 0x40000000n && whole % 2n === 1n);
  const digits = String(whole + (up ? 1n : 0n)).padStart(12, '0');
  return `-m statistic --mode random --probability ${digits.slice(0, -11)}.${digits.slice(-11)}`;
}

/** Match for "comes from a pod of this node"; undefined when that cannot be told. */
export function fromLocalPod(detector: LocalDetector): string | undefined {
  if (detector.kind === 'cidr') return `-s ${detector.cidr}`;
  if (detector.kind === 'interface') return `-i ${detector.name}`;
  // A prefix as long as a whole name is that name: iptables takes no longer word here.
  if (detector.kind === 'interfacePrefix') {
    return `-i ${detector.prefix}${detector.prefix.length < INTERFACE_NAME_LENGTH ? '+' : ''}`;
  }
  return undefined;
}

/**
 * Match for "source and destination address are equal", as classic BPF over the IP header (word by word):
 * 32 load the word at k into A, 7 copy A to X, 29 compare A with X (if unequal, jump F instructions on), 6 return k.
 */
export function sourceIsDestination(family: IPFamily): string {
  const source = family === 'IPv4' ? 12 : 8;
  const words = family === 'IPv4' ? 1 : 4;
  const program: string[] = [];
  for (let word = 0; word < words; word++) {
    program.push(`32 0 0 ${source + word * 4}`, '7 0 0 0', `32 0 0 ${source + (words + word) * 4}`);
    const toReject = (words - word - 1) * 4 + 1;
    program.push(`29 0 ${toReject} 0`);
  }
  program.push('6 0 0 65535', '6 0 0 0');
  return `-m bpf --bytecode "${program.length},${program.join(',')}"`;
}
