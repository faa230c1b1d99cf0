/** CIDRs as ranges of addresses, without those inside of others: the kernel refuses elements that overlap. */

export interface AddressRange {
  readonly cidr: string;
  readonly first: string;
  readonly last: string;
}

/** Canonical CIDRs of one family; each is inside of another or disjoint from it. */
export function outermost(cidrs: readonly string[]): readonly AddressRange[] {
  const ranges = [...new Set(cidrs)].map((cidr) => ({ cidr, ...bits(cidr) }));
  const outer = ranges.filter(
    (one) =>
      !ranges.some((other) => other.length < one.length && other.value === clear(one.value, other.length, one.width)),
  );
  return outer.map(({ cidr, value, length, width }) => ({
    cidr,
    first: text(value, width),
    last: text(value | ((1n << BigInt(width - length)) - 1n), width),
  }));
}

interface Bits {
  readonly value: bigint;
  readonly length: number;
  readonly width: number;
}

function bits(cidr: string): Bits {
  const slash = cidr.indexOf('/');
  const address = cidr.slice(0, slash);
  const length = Number(cidr.slice(slash + 1));
  if (!address.includes(':')) {
    return { value: address.split('.').reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n), length, width: 32 };
  }
  const [head = '', tail] = address.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const left = groups(head);
  const right = groups(tail ?? '');
  const all =
    tail === undefined ? left : [...left, ...new Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return { value: all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n), length, width: 128 };
}

function clear(value: bigint, length: number, width: number): bigint {
  const rest = BigInt(width - length);
  return (value >> rest) << rest;
}

/** IPv6 uncompressed: one of the forms that stand for the same address, and what reads it makes no difference. */
function text(value: bigint, width: number): string {
  if (width === 32) return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
  const groups: string[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(((value >> shift) & 0xffffn).toString(16));
  return compress(groups);
}

/** RFC 5952: the longest run of two or more zero groups, the first of equals, becomes "::". */
function compress(groups: readonly string[]): string {
  let best = { at: -1, count: 1 };
  for (let at = 0; at < groups.length; ) {
    let end = at;
    while (groups[end] === '0') end++;
    if (end - at > best.count) best = { at, count: end - at };
    at = Math.max(end, at + 1);
  }
  if (best.at < 0) return groups.join(':');
  return `${groups.slice(0, best.at).join(':')}::${groups.slice(best.at + best.count).join(':')}`;
}
