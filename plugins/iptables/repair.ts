/**
 * What a full sync must write: the difference between what the kernel holds (iptables-save) and what it should hold.
 * A chain that is already right is left alone, with its counters; our chains that should not be there (an earlier
 * run's, upstream's) go in the same commit. Pure.
 */
import { HOOKS, type Hook, LOCALNET_HOOKS } from './base-chains.ts';
import { isOwnChain, TABLES, type Table, UPSTREAM_IPVS_CHAINS } from './names.ts';
import type { ChainEdits } from './plan.ts';
import type { SavedTables, TableInput } from './restore-text.ts';

type Tables = Partial<Record<Table, TableInput>>;

const HOOKED_CHAINS = byTable((table) => hooksOf(table).map((hook) => hook.chain));
/** Upstream's IPVS mode jumps from the same built-in chains. */
const ENTRANCES = byTable((table) => [
  ...hooksOf(table).map((hook) => targetOf(hook.rule)),
  ...UPSTREAM_IPVS_CHAINS[table],
]);

function hooksOf(table: Table): readonly Hook[] {
  return HOOKS.filter((hook) => hook.table === table);
}

function byTable(names: (table: Table) => readonly string[]): Readonly<Record<Table, ReadonlySet<string>>> {
  const of = (table: Table) => new Set(names(table));
  return { mangle: of('mangle'), nat: of('nat'), filter: of('filter') };
}

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
    const held = foreignReferences(saved, table);
    for (const [chain, text] of saved[table]) {
      if (!isOwnChain(table, chain) || desired(table).has(chain)) continue;
      if (!held.has(chain)) edits.set(chain, undefined);
      else if (text !== '') edits.set(chain, '');
    }
    tables[table] = { edits, ...hookEdits(saved, table, localnet) };
  }
  return tables;
}

/**
 * How closely a look compares. 'text' needs iptables-save to print rules in the words in which they were written; with
 * a version that has others, only where rules lead can be compared, or else whether chains are there.
 */
export type Strictness = 'text' | 'targets' | 'existence';

/**
 * One thing that is not as it should be, in words; undefined when all is. Of a table that was read in part, chains that
 * were not read are taken for right.
 */
export function firstDifference(
  { saved, partly }: { readonly saved: SavedTables; readonly partly: readonly Table[] },
  desired: (table: Table) => ReadonlyMap<string, string>,
  localnet: boolean,
  strictness: Strictness,
): string | undefined {
  for (const table of TABLES) {
    for (const [chain, text] of desired(table)) {
      const found = saved[table].get(chain);
      if (found === undefined && !partly.includes(table)) return `chain ${chain} of the ${table} table is gone`;
      if (found !== undefined && found !== text && blurred(found, strictness) !== blurred(text, strictness)) {
        return `chain ${chain} of the ${table} table was changed`;
      }
    }
    const { hook, unhook } = hookEdits(saved, table, localnet);
    for (const { chain, rule } of [...hook, ...unhook]) {
      const standing = rulesOf(saved[table].get(chain) ?? '').filter((one) => targetOf(one) === targetOf(rule));
      if (strictness !== 'text' && standing.length > 0) continue;
      return `chain ${chain} of the ${table} table should have once, in its place: ${rule}`;
    }
  }
  return undefined;
}

function blurred(text: string, strictness: Strictness): string {
  if (strictness === 'text') return text;
  if (strictness === 'existence') return '';
  return [...text.matchAll(/(?:^| )-j (\S+)|--to-destination (\S+)/gm)].map(([, a = '', b = '']) => a + b).join('\n');
}

export interface Removal {
  readonly tables: Tables;
  /** Chains that cannot be deleted because rules of others lead to them; they are emptied. One sentence for each. */
  readonly held: readonly string[];
}

/** Input that removes everything of ours; KUBE-FIREWALL stays, see base-chains.ts. */
export function removal(saved: SavedTables): Removal {
  const tables: Tables = {};
  const held: string[] = [];
  for (const table of TABLES) {
    const edits: ChainEdits = new Map();
    const references = foreignReferences(saved, table);
    for (const chain of saved[table].keys()) {
      if (!isOwnChain(table, chain)) continue;
      const reference = references.get(chain);
      edits.set(chain, reference === undefined ? undefined : '');
      if (reference !== undefined) {
        held.push(`chain ${chain} of the ${table} table is empty but stays, for another program's rule: ${reference}`);
      }
    }
    const unhook: Hook[] = [];
    for (const [chain, text] of saved[table]) unhook.push(...ourJumps(table, chain, text));
    tables[table] = { edits, unhook };
  }
  return { tables, held };
}

/** Is anything of ours in what was saved? */
export function holdsOurs(saved: SavedTables): boolean {
  return TABLES.some((table) => [...saved[table].keys()].some((chain) => isOwnChain(table, chain)));
}

/**
 * Rules of a built-in chain that lead to one of our entrances, whoever put them there. Nothing else outside of our
 * chains is ours: network plugins send packets to KUBE-MARK-MASQ, for instance, from chains of their own.
 */
function ourJumps(table: Table, chain: string, text: string): Hook[] {
  if (!HOOKED_CHAINS[table].has(chain)) return [];
  return rulesOf(text)
    .filter((rule) => ENTRANCES[table].has(targetOf(rule)))
    .map((rule) => ({ table, chain, rule }));
}

/** Chains of ours to which rules of others lead, each with such a rule: the kernel keeps them from being deleted. */
function foreignReferences(saved: SavedTables, table: Table): Map<string, string> {
  const references = new Map<string, string>();
  for (const [chain, text] of saved[table]) {
    if (isOwnChain(table, chain)) continue;
    const ours = new Set(ourJumps(table, chain, text).map((jump) => jump.rule));
    for (const rule of rulesOf(text)) {
      const target = targetOf(rule);
      if (isOwnChain(table, target) && !ours.has(rule)) references.set(target, `-A ${chain} ${rule}`);
    }
  }
  return references;
}

function targetOf(rule: string): string {
  return / -[jg] (\S+)$/.exec(` ${rule}`)?.[1] ?? '';
}

function rulesOf(text: string): string[] {
  return text === '' ? [] : text.split('\n');
}

function hookEdits(saved: SavedTables, table: Table, localnet: boolean): Required<Omit<TableInput, 'edits'>> {
  const unhook: Hook[] = [];
  const hook: Hook[] = [];
  const create: string[] = [];
  const wanted = hooksOf(table);
  for (const chain of HOOKED_CHAINS[table]) {
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
