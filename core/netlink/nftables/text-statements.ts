/**
 * Statements in nft's words. nft reads the kernel's expressions back and says them its own way, which shows here: a
 * test for a protocol melts into what depends on it ("meta l4proto tcp th dport 80" comes back as "tcp dport 80"),
 * and states come in the order of their bits.
 */
import type { NftExpression, NftFamily, NftField, NftLookup, NftRule, NftStatement, NftValue } from '../../nftables.ts';
import { printDuration, printMark, printPrefix, printPriority } from './text-values.ts';

const STATES = ['invalid', 'established', 'related', 'new'] as const;

/** A rule on one line, without the indentation. */
export function printRule(family: NftFamily, rule: NftRule): string {
  const words: string[] = [];
  /** What "th" is called, once the rule has tested for a protocol. */
  let transport = 'th';
  rule.statements.forEach((statement, index) => {
    const protocol = testedProtocol(statement);
    if (protocol !== undefined) transport = protocol;
    const hidden = protocol !== undefined && isImplied(protocol, rule.statements.slice(index + 1));
    if (!hidden) words.push(printStatement(family, statement, transport));
  });
  if (rule.comment) words.push(`comment "${rule.comment}"`);
  return words.join(' ');
}

/** nft hides the test for a protocol when, after nothing but tests, something follows that can only be meant for it. */
function isImplied(protocol: string, later: readonly NftStatement[]): boolean {
  const index = later.findIndex((statement) => implies(statement, protocol));
  return index >= 0 && later.slice(0, index).every(isTest);
}

function isTest(statement: NftStatement): boolean {
  return ['match', 'in', 'ctState', 'ctStatus', 'fib'].some((name) => name in statement);
}

function testedProtocol(statement: NftStatement): string | undefined {
  if (!('match' in statement) || statement.match !== 'meta l4proto' || statement.not) return undefined;
  return 'is' in statement ? String(statement.is) : undefined;
}

function implies(statement: NftStatement, protocol: string): boolean {
  if ('reject' in statement) return statement.reject === 'tcp reset' && protocol === 'tcp';
  return fieldsOf(statement).some((field) => typeof field === 'string' && field.startsWith('th '));
}

function fieldsOf(statement: NftStatement): readonly NftExpression[] {
  if ('match' in statement) return [statement.match];
  if ('vmap' in statement) return statement.vmap.key;
  if ('dnat' in statement) return statement.dnat.key;
  if ('priority' in statement) return typeof statement.priority === 'number' ? [] : statement.priority.key;
  if ('mark' in statement) return typeof statement.mark === 'number' ? [] : statement.mark.key;
  if ('update' in statement) return [...statement.key, ...(statement.data ?? [])];
  if ('delete' in statement) return [...statement.key, ...(statement.data ?? [])];
  return 'in' in statement ? statement.key : [];
}

function printStatement(family: NftFamily, statement: NftStatement, th: string): string {
  if ('match' in statement) {
    const value = 'within' in statement ? printPrefix(statement.within) : printMatched(statement.match, statement.is);
    return `${printField(statement.match, th)}${not(statement)} ${value}`;
  }
  if ('ctState' in statement) {
    const states = STATES.filter((state) => statement.ctState.includes(state)).join(',');
    return statement.not ? `ct state ! ${states}` : `ct state ${states}`;
  }
  if ('ctStatus' in statement) return `ct status ${statement.ctStatus}`;
  if ('fib' in statement) return `fib ${statement.fib} type${not(statement)} local`;
  if ('in' in statement) return `${printExpressions(statement.key, th)}${not(statement)} @${statement.in}`;
  if ('vmap' in statement) return `${printExpressions(statement.vmap.key, th)} vmap @${statement.vmap.map}`;
  if ('dnat' in statement) return `dnat ${family} to ${printLookup(statement.dnat, th)}`;
  if ('priority' in statement) {
    const { priority } = statement;
    return `meta priority set ${typeof priority === 'number' ? printPriority(priority) : printLookup(priority, th)}`;
  }
  if ('mark' in statement) {
    const { mark } = statement;
    return `meta mark set ${typeof mark === 'number' ? printMark(mark) : printLookup(mark, th)}`;
  }
  if ('masquerade' in statement) return `masquerade ${statement.masquerade}`;
  // A bare reject is the port unreachable of the table's family.
  if ('reject' in statement) return statement.reject === 'tcp reset' ? 'reject with tcp reset' : 'reject';
  if ('update' in statement) {
    const timeout = ` timeout ${printDuration(statement.timeoutSeconds)}`;
    return printDynamic('update', statement.update, { ...statement, timeout }, th);
  }
  if ('delete' in statement) return printDynamic('delete', statement.delete, statement, th);
  if ('counter' in statement) return 'counter packets 0 bytes 0';
  return 'chain' in statement ? `${statement.verdict} ${statement.chain}` : statement.verdict;
}

function not(statement: { readonly not?: boolean }): string {
  return statement.not ? ' !=' : '';
}

function printMatched(field: NftField, value: NftValue): string {
  if (field === 'meta iifname' || field === 'meta oifname') return `"${value}"`;
  if (field === 'meta priority') return printPriority(Number(value));
  if (field === 'meta mark') return printMark(Number(value));
  return String(value);
}

/** "meta" is not said of interface names. `th`: the transport protocol's name, where nft knows it. */
function printField(field: NftField, th: string): string {
  if (field === 'meta iifname' || field === 'meta oifname') return field.slice('meta '.length);
  return field.startsWith('th ') ? field.replace('th', th) : field;
}

function printExpressions(expressions: readonly NftExpression[], th: string): string {
  return expressions.map((expression) => printExpression(expression, th)).join(' . ');
}

function printExpression(expression: NftExpression, th: string): string {
  if (typeof expression === 'string') return printField(expression, th);
  if ('random' in expression) return `numgen random mod ${expression.random}`;
  return `${expression.field} & ${printPriority(expression.and)}`;
}

function printLookup({ map, key }: NftLookup, th: string): string {
  return `${printExpressions(key, th)} map @${map}`;
}

function printDynamic(
  verb: 'update' | 'delete',
  set: string,
  { key, data, timeout = '' }: { key: readonly NftExpression[]; data?: readonly NftExpression[]; timeout?: string },
  th: string,
): string {
  const held = data === undefined ? '' : ` : ${printExpressions(data, th)}`;
  return `${verb} @${set} { ${printExpressions(key, th)}${timeout}${held} }`;
}
