/**
 * What a rule refers to, and whether it fits what it refers to. The kernel compares only lengths, and would look up a
 * port where a mark belongs; in a test that is a fault of the program, so that the fake says KP_NETLINK_INVALID.
 */
import type { NftExpression, NftFamily, NftField, NftRule, NftSet, NftStatement, NftType } from '../../nftables.ts';
import { NetlinkError } from '../errors.ts';

export interface RuleReferences {
  readonly chains: readonly string[];
  readonly sets: readonly SetUse[];
}

export interface SetUse {
  readonly name: string;
  readonly key: readonly NftExpression[];
  readonly wants: 'set' | 'verdicts' | 'endpoints' | 'marks' | 'updates';
  /** Of 'updates'. */
  readonly data?: readonly NftExpression[];
}

const FIELD_TYPES: Readonly<Partial<Record<NftField, NftType>>> = {
  'ip saddr': 'ipv4_addr',
  'ip daddr': 'ipv4_addr',
  'ip6 saddr': 'ipv6_addr',
  'ip6 daddr': 'ipv6_addr',
  'th sport': 'inet_service',
  'th dport': 'inet_service',
  'meta l4proto': 'inet_proto',
  'meta priority': 'mark',
  'meta mark': 'mark',
  'ct original ip daddr': 'ipv4_addr',
  'ct original ip6 daddr': 'ipv6_addr',
  'ct original proto-dst': 'inet_service',
};

export function ruleReferences({ statements }: NftRule): RuleReferences {
  const chains = statements.flatMap((statement) => ('chain' in statement ? [statement.chain] : []));
  return { chains, sets: statements.flatMap((statement) => setUse(statement) ?? []) };
}

/** The set that a statement looks into or adds to. */
function setUse(statement: NftStatement): SetUse | undefined {
  if ('in' in statement) return { name: statement.in, key: statement.key, wants: 'set' };
  if ('vmap' in statement) return { name: statement.vmap.map, key: statement.vmap.key, wants: 'verdicts' };
  if ('dnat' in statement) return { name: statement.dnat.map, key: statement.dnat.key, wants: 'endpoints' };
  if ('priority' in statement && typeof statement.priority !== 'number') {
    return { name: statement.priority.map, key: statement.priority.key, wants: 'marks' };
  }
  if ('mark' in statement && typeof statement.mark !== 'number') {
    return { name: statement.mark.map, key: statement.mark.key, wants: 'marks' };
  }
  if ('update' in statement || 'delete' in statement) {
    const { key, data } = statement;
    const name = 'update' in statement ? statement.update : statement.delete;
    return { name, key, wants: 'updates', ...(data !== undefined && { data }) };
  }
  return undefined;
}

/** @throws NetlinkError KP_NETLINK_INVALID: another kind of set, or other types. */
export function checkSetUse(family: NftFamily, set: NftSet, use: SetUse): void {
  const address: NftType = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const wanted = {
    set: 'nothing',
    verdicts: 'verdict',
    endpoints: `${address} . inet_service`,
    marks: 'mark',
    updates: use.data === undefined ? 'nothing' : typesOf(use.data),
  }[use.wants];
  const { name, data } = set;
  const held = data === undefined ? 'nothing' : data === 'verdict' ? data : data.join(' . ');
  if (held !== wanted) throw misuse(name, `it holds ${held} for its keys where the rule wants ${wanted}`);
  const key = typesOf(use.key);
  if (key !== set.key.join(' . ')) throw misuse(name, `its keys are ${set.key.join(' . ')}, the rule's ${key}`);
  if (use.wants === 'updates' && !set.dynamic) throw misuse(name, 'rules add elements to `dynamic` sets only');
}

function typesOf(expressions: readonly NftExpression[]): string {
  return expressions
    .map((expression) => {
      if (typeof expression !== 'string') return 'mark';
      return FIELD_TYPES[expression] ?? expression;
    })
    .join(' . ');
}

function misuse(object: string, text: string): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_INVALID', operation: 'nftables add rule', object, text });
}
