/** The text that iptables-save prints and iptables-restore reads, both ways. Pure. */
import type { Hook } from './base-chains.ts';
import { TABLES, type Table } from './names.ts';
import type { ChainEdits } from './plan.ts';

/** Chain → its rules joined by line ends, as iptables-save prints them after "-A CHAIN ". */
export type SavedTables = Readonly<Record<Table, ReadonlyMap<string, string>>>;

/** Read what iptables-save prints; tables that are not ours are skipped. */
export function parseSave(text: string): SavedTables {
  const tables: Record<Table, Map<string, string>> = { mangle: new Map(), nat: new Map(), filter: new Map() };
  let current: Map<string, string> | undefined;
  let chain = '';
  let rules: string[] = [];
  const store = (): void => {
    if (rules.length > 0) {
      const before = current?.get(chain);
      current?.set(chain, before ? `${before}\n${rules.join('\n')}` : rules.join('\n'));
    }
    rules = [];
  };
  for (let start = 0; start < text.length; ) {
    let end = text.indexOf('\n', start);
    if (end < 0) end = text.length;
    const line = text.slice(start, end);
    start = end + 1;
    if (line.startsWith('-A ')) {
      const space = line.indexOf(' ', 3);
      const name = line.slice(3, space < 0 ? undefined : space);
      if (name !== chain) {
        store();
        chain = name;
      }
      rules.push(space < 0 ? '' : line.slice(space + 1));
    } else if (line.startsWith(':')) {
      current?.set(line.slice(1, line.indexOf(' ')), '');
    } else if (line.startsWith('*')) {
      store();
      chain = '';
      const name = line.slice(1);
      current = (TABLES as readonly string[]).includes(name) ? tables[name as Table] : undefined;
    }
  }
  store();
  return tables;
}

/**
 * Tables of which iptables-nft-save prints nothing but this remark, because a rule in them was made by nft in a way
 * that iptables has no words for. To take them for empty would double every jump.
 */
export function unreadableTables(text: string): Table[] {
  const named = [...text.matchAll(/^# Table `(\S+)' is incompatible/gm)].map(([, table]) => table);
  return TABLES.filter((table) => named.includes(table));
}

export interface TableInput {
  readonly edits: ChainEdits;
  /** Rules to take out of chains that are not ours. */
  readonly unhook?: readonly Hook[];
  /** Rules to put on top of chains that are not ours, in the order in which they are to stand. */
  readonly hook?: readonly Hook[];
  /** Chains to create if they are missing, without flushing them (declaring one flushes it). */
  readonly create?: readonly string[];
}

/**
 * Input for `iptables-restore --noflush`: declared chains are flushed and refilled, everything else stays. Each table
 * commits at once. Empty text when there is nothing to do.
 */
export function restoreInput(tables: Readonly<Partial<Record<Table, TableInput>>>): string {
  const lines: string[] = [];
  for (const table of TABLES) {
    const input = tables[table];
    if (input === undefined) continue;
    const { edits, unhook = [], hook = [], create = [] } = input;
    if (edits.size + unhook.length + hook.length + create.length === 0) continue;
    lines.push(`*${table}`);
    for (const chain of create) lines.push(`:${chain} - [0:0]`);
    // In order of name: iptables-nft 1.8.9 keeps its chains sorted, and 11,000 in another order cost it 7 s more.
    for (const chain of [...edits.keys()].sort()) lines.push(`:${chain} - [0:0]`);
    for (const { chain, rule } of unhook) lines.push(`-D ${chain} ${rule}`);
    for (const { chain, rule } of [...hook].reverse()) lines.push(`-I ${chain} ${rule}`);
    for (const [chain, text] of edits) {
      if (text === undefined || text === '') continue;
      for (const rule of text.split('\n')) lines.push(`-A ${chain} ${rule}`);
    }
    for (const [chain, text] of edits) if (text === undefined) lines.push(`-X ${chain}`);
    lines.push('COMMIT');
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** How many rules restore input writes into each table. */
export function rulesWritten(input: string): Record<Table, number> {
  const written: Record<Table, number> = { mangle: 0, nat: 0, filter: 0 };
  let table: Table = 'mangle';
  for (let at = 0; at < input.length; at = input.indexOf('\n', at) + 1 || input.length) {
    if (input[at] === '*') table = input.slice(at + 1, input.indexOf('\n', at)) as Table;
    else if (input[at] === '-' && (input[at + 1] === 'A' || input[at + 1] === 'I')) written[table]++;
  }
  return written;
}

/** Lines of restore input that write or delete a rule, or flush or delete a chain, for reports. */
export function countOperations(input: string): number {
  let count = 0;
  for (let at = 0; at < input.length; at = input.indexOf('\n', at) + 1 || input.length) {
    if (input[at] === '-' || input[at] === ':') count++;
  }
  return count;
}
