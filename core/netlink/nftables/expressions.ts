/**
 * Rules as the kernel's little programs: each statement becomes expressions that load registers and test or use them.
 *
 *   dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints
 *
 *   payload  4 bytes at network header + 16    → slot 0      slots: 16 of 4 bytes (NFT_REG32_00 …), four of which
 *   meta     l4proto                           → slot 1             make one register of 16 bytes (NFT_REG_1 …)
 *   payload  2 bytes at transport header + 2   → slot 2
 *   numgen   random mod 3                      → slot 3
 *   lookup   endpoints, key from slot 0        → slot 0      address (an IPv6 one: 4 slots), then port
 *   nat      address from slot 0, port from slot 1
 *
 * The expressions are the ones that nft makes of the same words, or it could not list them. Names and numbers:
 * linux/netfilter/nf_tables.h.
 */
import type {
  NftExpression,
  NftFamily,
  NftField,
  NftLookup,
  NftRule,
  NftStatement,
  NftType,
  NftVerdict,
} from '../../nftables.ts';
import type { MessageWriter } from '../writer.ts';
import { prefixMatch } from './prefix-match.ts';
import * as nft from './protocol.ts';
import { commentUserdata } from './userdata.ts';
import { invalid, SLOT_BYTES, slotBytes, typeBytes, valueBytes } from './values.ts';

/** One attribute: its type, and bytes or further attributes. */
export type ExpressionAttribute = readonly [type: number, content: Uint8Array | readonly ExpressionAttribute[]];

export interface Expression {
  readonly name: string;
  readonly attributes: readonly ExpressionAttribute[];
}

const VERDICT_REGISTER = 0;
const SLOTS = 16;
const FAMILY_NUMBER = { ip: 2, ip6: 10 } as const;
const NETWORK_HEADER = 1;
const TRANSPORT_HEADER = 2;
const CMP_EQ = 0;
const CMP_NEQ = 1;
const META_PRIORITY = 2;
const META_MARK = 3;
const INTERFACE_NAME_BYTES = 16;
const CT_STATE = 0;
const CT_STATUS = 2;
const IPS_DST_NAT = 0x20;
const CT_STATES = { invalid: 1, established: 2, related: 4, new: 8 } as const;
const FIB_RESULT_ADDRTYPE = 3;
const FIB_FLAGS = { saddr: 1, daddr: 2 } as const;
const RTN_LOCAL = 2;
const NUMGEN_RANDOM = 1;
const NAT_DNAT = 1;
const NF_NAT_RANGE_PROTO_RANDOM_FULLY = 0x10;
const REJECT_ICMP_UNREACHABLE = 0;
const REJECT_TCP_RESET = 1;
const PORT_UNREACHABLE = { ip: 3, ip6: 4 } as const;
const DYNSET_UPDATE = 1;
const DYNSET_DELETE = 2;
const LOOKUP_INVERT = 1;

type Source =
  | { readonly payload: number; readonly offset: number }
  | { readonly meta: number }
  | { readonly ct: number; readonly direction: number };
type FieldFacts = Source & {
  /** Undefined: an interface name. */
  readonly type?: NftType;
  readonly family?: NftFamily;
};

const FIELDS: Readonly<Record<NftField, FieldFacts>> = {
  'ip saddr': { payload: NETWORK_HEADER, offset: 12, type: 'ipv4_addr', family: 'ip' },
  'ip daddr': { payload: NETWORK_HEADER, offset: 16, type: 'ipv4_addr', family: 'ip' },
  'ip6 saddr': { payload: NETWORK_HEADER, offset: 8, type: 'ipv6_addr', family: 'ip6' },
  'ip6 daddr': { payload: NETWORK_HEADER, offset: 24, type: 'ipv6_addr', family: 'ip6' },
  'th sport': { payload: TRANSPORT_HEADER, offset: 0, type: 'inet_service' },
  'th dport': { payload: TRANSPORT_HEADER, offset: 2, type: 'inet_service' },
  'meta l4proto': { meta: 16, type: 'inet_proto' },
  'meta iifname': { meta: 6 },
  'meta oifname': { meta: 7 },
  'meta priority': { meta: META_PRIORITY, type: 'mark' },
  'meta mark': { meta: META_MARK, type: 'mark' },
  'ct original ip daddr': { ct: 20, direction: 0, type: 'ipv4_addr', family: 'ip' },
  'ct original ip6 daddr': { ct: 22, direction: 0, type: 'ipv6_addr', family: 'ip6' },
  'ct original proto-dst': { ct: 12, direction: 0, type: 'inet_service' },
};

/** @throws NetlinkError KP_NETLINK_INVALID: a statement that this family or the registers cannot hold. */
export function expressionsOf(family: NftFamily, rule: NftRule): Expression[] {
  return rule.statements.flatMap((statement) => statementExpressions(family, statement));
}

/** The attributes of a rule besides table and chain. */
export function writeRule(writer: MessageWriter, family: NftFamily, rule: NftRule): void {
  writer.nest(nft.NFTA_RULE_EXPRESSIONS, () => {
    for (const expression of expressionsOf(family, rule)) {
      writer.nest(nft.NFTA_LIST_ELEM, () => {
        writer.text(nft.NFTA_EXPR_NAME, expression.name);
        writeAttributes(writer, [[nft.NFTA_EXPR_DATA, expression.attributes]]);
      });
    }
  });
  if (rule.comment) writer.binary(nft.NFTA_RULE_USERDATA, commentUserdata(nft.UDATA_RULE_COMMENT, rule.comment));
}

function writeAttributes(writer: MessageWriter, attributes: readonly ExpressionAttribute[]): void {
  for (const [type, content] of attributes) {
    if (content instanceof Uint8Array) writer.binary(type, content);
    else writer.nest(type, () => writeAttributes(writer, content));
  }
}

function statementExpressions(family: NftFamily, statement: NftStatement): Expression[] {
  if ('match' in statement) return matchExpressions(family, statement);
  if ('ctState' in statement) {
    const bits = statement.ctState.reduce((mask, state) => mask | CT_STATES[state], 0);
    return [ctLoad(CT_STATE), ...testBits(bits, statement.not === true)];
  }
  if ('ctStatus' in statement) return [ctLoad(CT_STATUS), ...testBits(IPS_DST_NAT, false)];
  if ('fib' in statement) {
    return [
      expression('fib', [1, u32(slot(0))], [2, u32(FIB_RESULT_ADDRTYPE)], [3, u32(FIB_FLAGS[statement.fib])]),
      compare(host32(RTN_LOCAL), statement.not === true),
    ];
  }
  if ('in' in statement) return lookup(family, { map: statement.in, key: statement.key }, undefined, statement.not);
  if ('vmap' in statement) return lookup(family, statement.vmap, VERDICT_REGISTER);
  if ('dnat' in statement) return [...lookup(family, statement.dnat, slot(0)), dnat(family)];
  if ('priority' in statement) return setMeta(family, META_PRIORITY, statement.priority);
  if ('mark' in statement) return setMeta(family, META_MARK, statement.mark);
  if ('masquerade' in statement) return [expression('masq', [1, u32(NF_NAT_RANGE_PROTO_RANDOM_FULLY)])];
  if ('reject' in statement) return [reject(family, statement.reject)];
  if ('update' in statement)
    return dynset(family, DYNSET_UPDATE, statement.update, statement, statement.timeoutSeconds);
  if ('delete' in statement) return dynset(family, DYNSET_DELETE, statement.delete, statement, 0);
  if ('counter' in statement) return [expression('counter')];
  return [expression('immediate', [1, u32(VERDICT_REGISTER)], [2, [[nft.NFTA_DATA_VERDICT, verdictOf(statement)]]])];
}

function matchExpressions(family: NftFamily, statement: Extract<NftStatement, { match: NftField }>): Expression[] {
  const { match, not = false } = statement;
  const { type } = fieldFacts(family, match);
  if ('within' in statement) {
    if (type !== 'ipv4_addr' && type !== 'ipv6_addr') throw invalid(`"${match}", which is no address, within a prefix`);
    const { bytes, value, mask } = prefixMatch(type, statement.within);
    const load = loadField(family, match, 0, bytes);
    return mask === undefined ? [load, compare(value, not)] : [load, and(mask), compare(value, not)];
  }
  const value = type === undefined ? interfaceName(statement.is) : valueBytes(type, statement.is);
  return [loadField(family, match, 0), compare(value, not)];
}

/** With "*" at the end only the bytes before it are compared, otherwise also the NULs behind the name. */
function interfaceName(value: string | number): Uint8Array {
  const name = String(value);
  const isPrefix = name.endsWith('*');
  const bytes = new TextEncoder().encode(isPrefix ? name.slice(0, -1) : name);
  if ((isPrefix && bytes.length === 0) || bytes.length >= INTERFACE_NAME_BYTES)
    throw invalid(`the interface name ${JSON.stringify(name)}`);
  if (isPrefix) return bytes;
  const padded = new Uint8Array(INTERFACE_NAME_BYTES);
  padded.set(bytes);
  return padded;
}

function setMeta(family: NftFamily, meta: number, value: number | NftLookup): Expression[] {
  const set = expression('meta', [2, u32(meta)], [3, u32(slot(0))]);
  if (typeof value !== 'number') return [...lookup(family, value, slot(0)), set];
  const data: ExpressionAttribute = [2, [[nft.NFTA_DATA_VALUE, valueBytes('mark', value)]]];
  return [expression('immediate', [1, u32(slot(0))], data), set];
}

function dnat(family: NftFamily): Expression {
  const port = slotBytes(family === 'ip' ? 'ipv4_addr' : 'ipv6_addr') / SLOT_BYTES;
  return expression(
    'nat',
    [1, u32(NAT_DNAT)],
    [2, u32(FAMILY_NUMBER[family])],
    [3, u32(slot(0))],
    [5, u32(slot(port))],
  );
}

function reject(family: NftFamily, how: 'tcp reset' | 'port unreachable'): Expression {
  if (how === 'tcp reset') return expression('reject', [1, u32(REJECT_TCP_RESET)]);
  return expression('reject', [1, u32(REJECT_ICMP_UNREACHABLE)], [2, Uint8Array.of(PORT_UNREACHABLE[family])]);
}

function dynset(
  family: NftFamily,
  operation: number,
  set: string,
  element: { readonly key: readonly NftExpression[]; readonly data?: readonly NftExpression[] },
  timeoutSeconds: number,
): Expression[] {
  const key = loadAll(family, element.key, 0);
  const data = element.data && loadAll(family, element.data, key.next);
  const attributes: ExpressionAttribute[] = [
    [1, text(set)],
    [3, u32(operation)],
    [4, u32(slot(0))],
  ];
  if (data !== undefined) attributes.push([5, u32(slot(key.next))]);
  const milliseconds = new Uint8Array(8);
  new DataView(milliseconds.buffer).setBigUint64(0, BigInt(Math.round(timeoutSeconds * 1000)));
  attributes.push([6, milliseconds]);
  return [...key.expressions, ...(data?.expressions ?? []), expression('dynset', ...attributes)];
}

/** `destination`: a register for what the map holds; undefined for a set, where finding the key is the answer. */
function lookup(family: NftFamily, { map, key }: NftLookup, destination?: number, not = false): Expression[] {
  const attributes: ExpressionAttribute[] = [
    [1, text(map)],
    [2, u32(slot(0))],
  ];
  if (destination !== undefined) attributes.push([3, u32(destination)]);
  if (not) attributes.push([5, u32(LOOKUP_INVERT)]);
  return [...loadAll(family, key, 0).expressions, expression('lookup', ...attributes)];
}

/** Side by side from a slot on; `next` is the first free one. */
function loadAll(
  family: NftFamily,
  key: readonly NftExpression[],
  from: number,
): { readonly expressions: readonly Expression[]; readonly next: number } {
  const expressions: Expression[] = [];
  let next = from;
  for (const part of key) {
    if (typeof part === 'string') {
      const { type } = fieldFacts(family, part);
      const bytes = type === undefined ? INTERFACE_NAME_BYTES : slotBytes(type);
      expressions.push(loadField(family, part, next));
      next += bytes / SLOT_BYTES;
    } else if ('random' in part) {
      expressions.push(
        expression('numgen', [1, u32(slot(next))], [2, u32(part.random)], [3, u32(NUMGEN_RANDOM)], [4, u32(0)]),
      );
      next++;
    } else {
      expressions.push(loadField(family, part.field, next), and(valueBytes('mark', part.and), next));
      next++;
    }
  }
  if (next === from || next > SLOTS)
    throw invalid(`a key of ${(next - from) * SLOT_BYTES} bytes: the registers hold 64`);
  return { expressions, next };
}

function fieldFacts(family: NftFamily, field: NftField): FieldFacts {
  const facts = FIELDS[field];
  if (facts === undefined || (facts.family ?? family) !== family)
    throw invalid(`"${field}" in a table of family ${family}`);
  return facts;
}

/** `bytes`: only so many from the field's first on. */
function loadField(family: NftFamily, field: NftField, into: number, bytes?: number): Expression {
  const facts = fieldFacts(family, field);
  if ('meta' in facts) return expression('meta', [1, u32(slot(into))], [2, u32(facts.meta)]);
  if ('ct' in facts) return ctLoad(facts.ct, facts.direction, into);
  const length = bytes ?? (facts.type === undefined ? 0 : typeBytes(facts.type));
  return expression('payload', [1, u32(slot(into))], [2, u32(facts.payload)], [3, u32(facts.offset)], [4, u32(length)]);
}

function ctLoad(key: number, direction?: number, into = 0): Expression {
  const attributes: ExpressionAttribute[] = [
    [1, u32(slot(into))],
    [2, u32(key)],
  ];
  if (direction !== undefined) attributes.push([3, Uint8Array.of(direction)]);
  return expression('ct', ...attributes);
}

/** Goes on if any of the bits is set, or with `not` if none is. */
function testBits(bits: number, not: boolean): Expression[] {
  return [and(host32(bits)), compare(host32(0), !not)];
}

function and(mask: Uint8Array, at = 0): Expression {
  return expression(
    'bitwise',
    [1, u32(slot(at))],
    [2, u32(slot(at))],
    [3, u32(mask.length)],
    [4, [[nft.NFTA_DATA_VALUE, mask]]],
    [5, [[nft.NFTA_DATA_VALUE, new Uint8Array(mask.length)]]],
  );
}

/** Goes on if the bytes at slot 0 are (with `not`, are not) these. */
function compare(value: Uint8Array, not: boolean): Expression {
  return expression('cmp', [1, u32(slot(0))], [2, u32(not ? CMP_NEQ : CMP_EQ)], [3, [[nft.NFTA_DATA_VALUE, value]]]);
}

function verdictOf(verdict: NftVerdict): ExpressionAttribute[] {
  const code: ExpressionAttribute = [nft.NFTA_VERDICT_CODE, u32(nft.VERDICTS[verdict.verdict])];
  return 'chain' in verdict ? [code, [nft.NFTA_VERDICT_CHAIN, text(verdict.chain)]] : [code];
}

/** The register that begins at this slot, by the number under which the kernel lists it. */
function slot(index: number): number {
  return index % 4 === 0 ? 1 + index / 4 : 8 + index;
}

function expression(name: string, ...attributes: readonly ExpressionAttribute[]): Expression {
  return { name, attributes };
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function host32(value: number): Uint8Array {
  return valueBytes('mark', value);
}

function text(value: string): Uint8Array {
  if (value === '' || value.includes('\0')) throw invalid(`the name ${JSON.stringify(value)}`);
  return new TextEncoder().encode(`${value}\0`);
}
