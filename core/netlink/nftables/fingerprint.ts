/**
 * A rule as canonical text, computed from netlink expressions: of those that we would send, and of those that the
 * kernel lists. Equal exactly if the kernel would do the same. Left out or made alike is what the kernel adds or varies:
 * counters, numbers of sets within a batch, attributes that repeat a default, and the two numberings of registers.
 *
 *   payload 1=8 2=1 3=16 4=4;lookup 1=… 2=8 3=0;# comment
 */
import type { NftFamily, NftRule } from '../../nftables.ts';
import { attributesByType, attributeText, parseAttributes } from '../attributes.ts';
import { malformed } from '../errors.ts';
import { type Expression, type ExpressionAttribute, expressionsOf } from './expressions.ts';
import * as nft from './protocol.ts';
import { userdataComment } from './userdata.ts';

interface Normalisation {
  readonly registers?: readonly number[];
  /** Attributes whose value 0 means the same as their absence. */
  readonly defaultZero?: readonly number[];
  /** [a, b]: attribute a equal to b means the same as its absence. */
  readonly defaultSame?: readonly (readonly [number, number])[];
  readonly ignored?: readonly number[] | 'all';
  /** Bits of an attribute that only repeat what others say. */
  readonly ignoredBits?: readonly [type: number, bits: number];
  /** Attributes that hold NFTA_DATA_*. */
  readonly data?: readonly number[];
}

const NORMALISATIONS: Readonly<Record<string, Normalisation>> = {
  immediate: { registers: [1], data: [2] },
  payload: { registers: [1, 5], defaultZero: [6, 7, 8] },
  meta: { registers: [1, 3] },
  ct: { registers: [1, 4] },
  cmp: { registers: [1], data: [3] },
  bitwise: { registers: [1, 2], defaultZero: [6], data: [4, 5, 7] },
  fib: { registers: [1] },
  numgen: { registers: [1], defaultZero: [4] },
  lookup: { registers: [2, 3], defaultZero: [5], ignored: [4] },
  dynset: { registers: [4, 5], defaultZero: [9], ignored: [2] },
  nat: {
    registers: [3, 4, 5, 6],
    defaultZero: [7],
    // NF_NAT_RANGE_MAP_IPS and NF_NAT_RANGE_PROTO_SPECIFIED, which the kernel derives from the registers.
    ignoredBits: [7, 3],
    defaultSame: [
      [4, 3],
      [6, 5],
    ],
  },
  masq: { registers: [2, 3], defaultZero: [1] },
  reject: {},
  counter: { ignored: 'all' },
};

export function ruleFingerprint(family: NftFamily, rule: NftRule): string {
  return printed(expressionsOf(family, rule), rule.comment ?? '');
}

/** Of a rule out of a dump. @throws NetlinkError KP_NETLINK_MALFORMED. */
export function listedRuleFingerprint(attributes: ReadonlyMap<number, Uint8Array>): string {
  const list = attributes.get(nft.NFTA_RULE_EXPRESSIONS);
  const expressions = list === undefined ? [] : parseAttributes(list).map(({ data }) => parseExpression(data));
  const userdata = attributes.get(nft.NFTA_RULE_USERDATA);
  return printed(expressions, userdata === undefined ? '' : userdataComment(nft.UDATA_RULE_COMMENT, userdata));
}

function parseExpression(bytes: Uint8Array): Expression {
  const attributes = attributesByType(bytes);
  const name = attributes.get(nft.NFTA_EXPR_NAME);
  if (name === undefined) throw malformed('an expression without a name');
  const data = attributes.get(nft.NFTA_EXPR_DATA);
  const kind = attributeText(name);
  if (data === undefined) return { name: kind, attributes: [] };
  // What we do not know (another program's expression in our table) is compared byte by byte.
  const nested = NORMALISATIONS[kind]?.data ?? [];
  return { name: kind, attributes: parseAttributes(data).map((one) => parseContent(one.type, one.data, nested)) };
}

function parseContent(type: number, data: Uint8Array, nested: readonly number[]): ExpressionAttribute {
  if (!nested.includes(type)) return [type, data];
  const values = parseAttributes(data).map((value): ExpressionAttribute => {
    if (value.type !== nft.NFTA_DATA_VERDICT) return [value.type, value.data];
    return [value.type, parseAttributes(value.data).map((part): ExpressionAttribute => [part.type, part.data])];
  });
  return [type, values];
}

function printed(expressions: readonly Expression[], comment: string): string {
  return [...expressions.map(printedExpression), ...(comment === '' ? [] : [`# ${comment}`])].join(';');
}

function printedExpression({ name, attributes }: Expression): string {
  const rules = NORMALISATIONS[name] ?? {};
  const { ignored } = rules;
  if (ignored === 'all') return name;
  const parts = new Map<number, string>();
  for (const [type, content] of attributes) {
    const isRegister = rules.registers?.includes(type) && content instanceof Uint8Array;
    if (ignored?.includes(type)) continue;
    const text = isRegister
      ? String(slotRegister(number(content)))
      : printedContent(withoutBits(content, type, rules.ignoredBits));
    if (rules.defaultZero?.includes(type) && /^0*$/.test(text)) continue;
    parts.set(type, text);
  }
  for (const [type, same] of rules.defaultSame ?? []) {
    if (parts.get(type) === parts.get(same)) parts.delete(type);
  }
  const sorted = [...parts].sort(([a], [b]) => a - b);
  return [name, ...sorted.map(([type, text]) => `${type}=${text}`)].join(' ');
}

function withoutBits(
  content: ExpressionAttribute[1],
  type: number,
  [ignoredType, bits]: Normalisation['ignoredBits'] = [-1, 0],
): ExpressionAttribute[1] {
  if (type !== ignoredType || !(content instanceof Uint8Array) || content.length === 0) return content;
  const copy = content.slice();
  copy[copy.length - 1] = (copy[copy.length - 1] ?? 0) & ~bits;
  return copy;
}

function printedContent(content: ExpressionAttribute[1]): string {
  if (content instanceof Uint8Array) return Buffer.from(content).toString('hex');
  const sorted = [...content].sort(([a], [b]) => a - b);
  return `{${sorted.map(([type, inner]) => `${type}=${printedContent(inner)}`).join(' ')}}`;
}

/** NFT_REG_1 … 4 by the number of their first slot, NFT_REG32_00 = 8 and up; the verdict register stays 0. */
function slotRegister(register: number): number {
  return register >= 1 && register <= 4 ? 8 + 4 * (register - 1) : register;
}

function number(bytes: Uint8Array): number {
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}
