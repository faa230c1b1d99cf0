/**
 * What a full sync must write: the difference between what the kernel holds (iptables-save) and what it should hold.
 * A chain that is already right is left alone, with its counters; our chains that should not be there (an earlier
 * run's, upstream's) go in the same commit. Pure.
 */
import { HOOKS, type Hook, LOCALNET_HOOKS } from './base-chains.ts';
import { isOwnChain, TABLES, type Table } from './names.ts';
import type { ChainEdits } from './plan.ts';
import type { SavedTables, TableInput } from './restore-text.ts';

type Tables = Partial<Record<Table, TableInput>>;

/** Input that turns what was saved into what is desired. */
export function repair(
  saved: SavedTables,
  desired: (table: Table) => ReadonlyMap<string, string>,
  localnet: boolean,
): Tables {
  const tables: Tables = {};
  for (const table of TABLES) {
    const edits: ChainEdits = new Map();
    for (const [chain, text] of desired(table)) if (saved[table].get(chain) !== text) edits.set(chain, text);
    for (const chain of saved[table].keys()) {
      if (isOwnChain(table, chain) && !desired(table).has(chain)) edits.set(chain, undefined);
    }
    tables[table] = { edits, ...hookEdits(saved, table, localnet) };
  }
  return tables;
}

/** Input that removes everything of ours; KUBE-FIREWALL stays, see base-chains.ts. */
export function removal(saved: SavedTables): Tables {
  const tables: Tables = {};
  for (const table of TABLES) {
    const edits: ChainEdits = new Map();
    for (const chain of saved[table].keys()) if (isOwnChain(table, chain)) edits.set(chain, undefined);
    const unhook: Hook[] = [];
    for (const [chain, text] of saved[table]) unhook.push(...ourJumps(table, chain, text));
    tables[table] = { edits, unhook };
  }
  return tables;
}

/** Is anything of ours in what was saved? */
export function holdsOurs(saved: SavedTables): boolean {
  return TABLES.some((table) => [...saved[table].keys()].some((chain) => isOwnChain(table, chain)));
}

/** Rules of a chain that is not ours that lead to one that is. */
function ourJumps(table: Table, chain: string, text: string): Hook[] {
  if (text === '' || isOwnChain(table, chain)) return [];
  return text
    .split('\n')
    .filter((rule) => isOwnChain(table, / -[jg] (\S+)$/.exec(` ${rule}`)?.[1] ?? ''))
    .map((rule) => ({ table, chain, rule }));
}

function hookEdits(saved: SavedTables, table: Table, localnet: boolean): Required<Omit<TableInput, 'edits'>> {
  const unhook: Hook[] = [];
  const hook: Hook[] = [];
  const create: string[] = [];
  const wanted = HOOKS.filter((one) => one.table === table);
  for (const chain of new Set([...saved[table].keys(), ...wanted.map((one) => one.chain)])) {
    const present = ourJumps(table, chain, saved[table].get(chain) ?? '');
    const expected = wanted.filter((one) => one.chain === chain);
    // Any difference in number, words or order: take all of ours out and put them on top, in one commit.
    if (present.map((one) => one.rule).join('\n') === expected.map((one) => one.rule).join('\n')) continue;
    unhook.push(...present);
    hook.push(...expected);
  }
  if (localnet) {
    for (const one of LOCALNET_HOOKS) {
      if (one.table !== table || saved[table].get(one.chain)?.split('\n').includes(one.rule)) continue;
      hook.push(one);
      if (one.chain === 'KUBE-FIREWALL' && !saved[table].has(one.chain)) create.push(one.chain);
    }
  }
  return { unhook, hook, create };
}
