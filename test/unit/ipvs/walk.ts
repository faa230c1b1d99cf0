/**
 * A connection's first packet on its way through what a stage's kernels hold: the chains of the table, statement by
 * statement, and between them the virtual servers, as the kernel would choose them.
 *
 *   input (or output, forward) ─▶ IPVS: by mark, else by address ─▶ postrouting, for each endpoint
 */
import type {
  NftElement,
  NftExpression,
  NftField,
  NftHook,
  NftLookup,
  NftStatement,
  NftTable,
  NftType,
  NftValue,
  NftVerdict,
  NodeView,
  Packet,
  RealServer,
} from '../../../core/backend.ts';
import { cidrContains, isLoopback } from '../../../core/model/ip.ts';
import { valueBytes } from '../../../core/netlink/nftables/values.ts';
import type { Stage } from './stage.ts';

export interface Walked {
  readonly action: 'pass' | 'reject' | 'drop' | 'endpoints';
  /** With weights; those of weight 0 are left out. */
  readonly endpoints: readonly (RealServer & { readonly isMasqueraded: boolean })[];
  /** By the virtual server of a mark. */
  readonly byMark: boolean;
  readonly persistenceSeconds: number;
  /** That the packet carries when it leaves. */
  readonly mark: number;
}

/** What a rule looks at; postrouting sees the packet as it is translated, and the connection as it began. */
interface Seen {
  readonly packet: Packet;
  readonly destinationIP: string;
  readonly hook: NftHook['hook'];
  priority: number;
  mark: number;
}

const NOWHERE = { endpoints: [], byMark: false, persistenceSeconds: 0, mark: 0 } as const;

export function walk({ nftables, links, ipvs }: Stage, packet: Packet, node: NodeView): Walked {
  const table = nftables.table(packet.family === 'IPv4' ? 'ip' : 'ip6', 'kube-ipvs')!;
  const own = new Set([...node.addresses, ...(links.addresses('kube-ipvs0') ?? [])]);
  const isLocal = (ip: string): boolean => own.has(ip) || isLoopback(ip);
  const run = (hook: NftHook['hook'], seen: Omit<Seen, 'hook'>) => runHook(table, { ...seen, hook }, isLocal);
  const first = { packet, destinationIP: packet.destinationIP, priority: 0, mark: 0 };
  const way = packet.origin === 'node' ? 'output' : isLocal(packet.destinationIP) ? 'input' : 'forward';
  const before = run(way, first);
  if (before.end === 'masquerade') throw new Error(`${way} masquerades`);
  if (before.end !== 'accept') return { action: before.end, ...NOWHERE };
  const { protocol, destinationIP: ip, destinationPort: port } = packet;
  if (way === 'forward' || !isLocal(ip)) return { action: 'pass', ...NOWHERE };
  const standing = [...ipvs.state.servers.values()];
  const byMark = standing.find(
    ({ server }) => 'mark' in server && server.mark === before.mark && server.family === packet.family,
  );
  const byAddress = standing.find(
    ({ server }) => !('mark' in server) && server.ip === ip && server.protocol === protocol && server.port === port,
  );
  const found = byMark ?? byAddress;
  if (found === undefined) return { action: 'pass', ...NOWHERE };
  const reals = [...found.reals.values()].filter(({ weight }) => weight > 0);
  const endpoints = reals.map((real) => {
    const after = run('postrouting', { ...first, destinationIP: real.ip });
    return { ...real, isMasqueraded: after.end === 'masquerade' };
  });
  const { persistenceSeconds } = found.server;
  const { mark } = runHook(table, { ...first, mark: before.mark, hook: 'output' }, isLocal, true);
  return { action: 'endpoints', endpoints, byMark: byMark !== undefined, persistenceSeconds, mark };
}

type End = 'accept' | 'drop' | 'reject' | 'masquerade';

/** IPVS looks at 98, and at -98 in output, where what it sends itself passes the chains behind it, too. */
function runHook(
  table: NftTable,
  seen: Seen,
  isLocal: (ip: string) => boolean,
  behind = false,
): { end: End; mark: number } {
  const hooked = table.chains.filter(
    ({ hook }) => hook?.hook === seen.hook && (seen.hook !== 'output' || hook.priority > -98 === behind),
  );
  for (const chain of hooked.sort((a, b) => a.hook!.priority - b.hook!.priority)) {
    const end = runChain(table, chain.name, seen, isLocal);
    if (end !== 'return' && end !== 'accept') return { end, mark: seen.mark };
  }
  return { end: 'accept', mark: seen.mark };
}

function runChain(table: NftTable, name: string, seen: Seen, isLocal: (ip: string) => boolean): End | 'return' {
  const chain = table.chains.find((one) => one.name === name);
  if (chain === undefined) throw new Error(`a verdict leads to ${name}, which there is not`);
  for (const { statements } of chain.rules) {
    for (const statement of statements) {
      const answer = step(table, statement, seen, isLocal);
      if (answer === 'next statement') continue;
      if (answer === 'next rule') break;
      if (typeof answer === 'string') return answer;
      if (!('chain' in answer)) return answer.verdict;
      const end = runChain(table, answer.chain, seen, isLocal);
      if (answer.verdict === 'goto' || end !== 'return') return end;
      break;
    }
  }
  return 'return';
}

type Answer = 'next statement' | 'next rule' | End | NftVerdict;

function goesOn(holds: boolean, not = false): Answer {
  return holds !== not ? 'next statement' : 'next rule';
}

function step(table: NftTable, statement: NftStatement, seen: Seen, isLocal: (ip: string) => boolean): Answer {
  if ('verdict' in statement) return statement;
  if ('reject' in statement) return 'reject';
  if ('masquerade' in statement) return 'masquerade';
  if ('counter' in statement) return 'next statement';
  // Every walk is a new connection's.
  if ('ctState' in statement) return goesOn(statement.ctState.includes('new'), statement.not);
  if ('fib' in statement) {
    return goesOn(isLocal(statement.fib === 'saddr' ? seen.packet.sourceIP : seen.destinationIP), statement.not);
  }
  if ('within' in statement)
    return goesOn(cidrContains(statement.within, String(field(statement.match, seen))), statement.not);
  if ('match' in statement) return goesOn(matches(field(statement.match, seen), statement.is), statement.not);
  if ('in' in statement) return goesOn(lookUp(table, statement.in, statement.key, seen) !== undefined, statement.not);
  if ('priority' in statement) return assign(table, 'priority', statement.priority, seen);
  if ('mark' in statement) return assign(table, 'mark', statement.mark, seen);
  if ('vmap' in statement) {
    const data = lookUp(table, statement.vmap.map, statement.vmap.key, seen)?.data;
    return data !== undefined && 'verdict' in data ? data : 'next statement';
  }
  throw new Error(`no such statement is expected here: ${JSON.stringify(statement)}`);
}

function assign(table: NftTable, what: 'priority' | 'mark', value: number | NftLookup, seen: Seen): Answer {
  if (typeof value === 'number') {
    seen[what] = value;
    return 'next statement';
  }
  const data = lookUp(table, value.map, value.key, seen)?.data;
  if (!Array.isArray(data)) return 'next rule';
  seen[what] = Number(data[0]);
  return 'next statement';
}

function matches(value: NftValue, wanted: NftValue): boolean {
  const text = String(wanted);
  return text.endsWith('*') ? String(value).startsWith(text.slice(0, -1)) : String(value) === text;
}

function field(name: NftField, { packet, destinationIP, hook, priority, mark }: Seen): NftValue {
  switch (name) {
    case 'ip saddr':
    case 'ip6 saddr':
      return packet.sourceIP;
    case 'ip daddr':
    case 'ip6 daddr':
      return destinationIP;
    case 'meta l4proto':
      return packet.protocol.toLowerCase();
    case 'th dport':
      if (hook === 'postrouting') break;
      return packet.destinationPort;
    case 'meta iifname':
      return packet.origin === 'node' ? '' : packet.inputInterface;
    case 'meta priority':
      return priority;
    case 'meta mark':
      return mark;
    case 'ct original ip daddr':
    case 'ct original ip6 daddr':
      return packet.destinationIP;
    case 'ct original proto-dst':
      return packet.destinationPort;
  }
  throw new Error(`nothing is expected to look at ${name} in ${hook}`);
}

function lookUp(table: NftTable, name: string, key: readonly NftExpression[], seen: Seen): NftElement | undefined {
  const set = table.sets.find((one) => one.name === name)!;
  const values = key.map((expression): NftValue => {
    if (typeof expression === 'string') return field(expression, seen);
    if ('and' in expression) return (seen.priority & expression.and) >>> 0;
    throw new Error('nothing random is expected here');
  });
  for (const element of set.elements) if (holds(set.key, element, values)) return element;
  return undefined;
}

function holds(types: readonly NftType[], { key, keyEnd = key }: NftElement, values: readonly NftValue[]): boolean {
  return types.every((type, part) => {
    const [from, here, to] = [key, values, keyEnd].map((list) => valueBytes(type, list[part]!));
    return Buffer.compare(from!, here!) <= 0 && Buffer.compare(here!, to!) <= 0;
  });
}
