/**
 * From what a table holds to what it must hold, in as few steps as the kernel allows:
 *
 *   before    chains that are missing, and what leads to them
 *   change    rules that differ, elements that differ, hooks that are missing: all at once
 *   after     what nothing leads to any more
 *
 * Three commits and not one, because a packet under way may see a map of this moment and a chain of the last.
 */
import type { Nftables, NftChain, NftElement, NftOperation, NftTableContent } from '../../../core/backend.ts';
import type { ElementEdits } from './edits.ts';
import { append, dataText, type Elements, elementOfKey, keyText, type TableLayout, type TableModel } from './layout.ts';
import type { Mirror } from './mirror.ts';

export interface Steps {
  readonly before: readonly NftOperation[];
  readonly change: readonly NftOperation[];
  readonly after: readonly NftOperation[];
}

/** Can this table be brought up to date piece by piece? If not: why. */
export function whyReplace<S extends string>(
  content: NftTableContent,
  layout: TableLayout<S>,
  nftables: Nftables,
  owned: boolean,
): string | undefined {
  if (content.owned !== owned) return owned ? 'it has no owner' : 'it is owned, and ownership is off';
  if (content.comment !== layout.comment) return 'it has another layout';
  const sets = new Map(content.sets.map(({ name, fingerprint }) => [name, fingerprint]));
  for (const name of layout.setNames) {
    const found = sets.get(name);
    if (found === undefined) return `its set ${name} is missing`;
    if (found !== nftables.setFingerprint(layout.table, layout.sets[name])) return `its set ${name} is another`;
  }
  return undefined;
}

/** What differs. Elements are compared in portions, with a pause for others between. `unread`: sets not in the mirror. */
export async function repairSteps<S extends string>(
  content: NftTableContent,
  mirror: Mirror<S>,
  model: TableModel<S>,
  nftables: Nftables,
  unread: 'refill' | 'trust',
): Promise<Steps> {
  const { layout } = model;
  const before: NftOperation[] = [];
  const change: NftOperation[] = [];
  const after: NftOperation[] = [];
  const { inner, hooks } = model.chains();
  const existing = new Map(content.chains.map((chain) => [chain.name, chain]));
  const differs = (chain: NftChain): boolean => {
    const rules = existing.get(chain.name)?.rules ?? [];
    const wanted = chain.rules.map((rule) => nftables.fingerprint(layout.table, rule));
    return rules.length !== wanted.length || wanted.some((text, index) => text !== rules[index]);
  };
  for (const chain of inner) {
    if (!existing.has(chain.name)) before.push(...addChain(chain));
    else if (differs(chain)) change.push(...rewriteChain(chain));
  }
  const lateHooks: NftOperation[] = [];
  for (const chain of hooks) {
    const found = existing.get(chain.name);
    if (found === undefined) lateHooks.push(...addChain(chain));
    else if (JSON.stringify(found.hook) !== JSON.stringify(chain.hook)) {
      lateHooks.push(
        { do: 'flush chain', chain: chain.name },
        { do: 'delete chain', chain: chain.name },
        ...addChain(chain),
      );
    } else if (differs(chain) || found.policy !== undefined) {
      if (found.policy !== undefined) lateHooks.push({ do: 'add chain', chain });
      lateHooks.push(...rewriteChain(chain));
    }
  }

  for (const set of unread === 'refill' ? layout.setNames : []) {
    if (!layout.filledByPackets.includes(set) && !mirror.has(set))
      change.push({ do: 'flush set', set: layout.sets[set] });
  }
  const left = new Map([...mirror].map(([set, elements]) => [set, new Set(elements.keys())]));
  const deletes = new Map<S, NftElement[]>();
  const adds = new Map<S, NftElement[]>();
  const verdicts = new Map<S, NftElement[]>();
  for (const portion of model.elements(20_000)) {
    for (const [set, elements] of portion) {
      const present = mirror.get(set);
      const unmatched = left.get(set);
      if (present === undefined || unmatched === undefined) {
        if (unread === 'refill') change.push({ do: 'add elements', set: layout.sets[set], elements });
        continue;
      }
      for (const element of elements) {
        const key = keyText(element);
        unmatched.delete(key);
        const found = present.get(key);
        if (found === dataText(element)) continue;
        if (found !== undefined) append(deletes, set, elementOfKey(layout.sets[set], key));
        // A verdict that leads elsewhere now is changed at once with the rest.
        append(layout.verdictMaps.includes(set) && found === undefined ? verdicts : adds, set, element);
      }
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const oldVerdicts: NftOperation[] = [];
  for (const [set, keys] of left) {
    if (keys.size === 0) continue;
    const elements = [...keys].map((key) => elementOfKey(layout.sets[set], key));
    if (layout.verdictMaps.includes(set)) oldVerdicts.push({ do: 'delete elements', set: layout.sets[set], elements });
    else for (const element of elements) append(deletes, set, element);
  }
  before.push(...elementOperations('add elements', verdicts, layout));
  change.push(...editOperations({ deletes, adds }, layout), ...lateHooks);

  const wanted = new Set([...inner, ...hooks].map(({ name }) => name));
  const foreign = content.chains.filter(({ name }) => !wanted.has(name));
  after.push(...oldVerdicts);
  for (const { name } of foreign) after.push({ do: 'flush chain', chain: name });
  for (const { name } of foreign) after.push({ do: 'delete chain', chain: name });
  for (const { name } of content.sets) {
    if (!(layout.setNames as readonly string[]).includes(name))
      after.push({ do: 'delete set', set: { name, key: [] } });
  }
  return { before, change, after };
}

/** A table with sets and chains but without elements and hooks. */
export function frame<S extends string>(model: TableModel<S>, owned: boolean): readonly NftOperation[] {
  const { layout } = model;
  return [
    { do: 'add table', owned, comment: layout.comment },
    ...layout.setNames.map((name): NftOperation => ({ do: 'add set', set: layout.sets[name] })),
    ...model.chains().inner.flatMap(addChain),
  ];
}

export function addHooks<S extends string>(model: TableModel<S>): readonly NftOperation[] {
  return model.chains().hooks.flatMap(addChain);
}

export function elementOperations<S extends string>(
  what: 'add elements' | 'delete elements',
  elements: Elements<S>,
  layout: TableLayout<S>,
): NftOperation[] {
  return [...elements].map(([set, list]) => ({ do: what, set: layout.sets[set], elements: list }));
}

/** Of an element with other data now, what it was goes first. */
export function editOperations<S extends string>(
  { deletes, adds }: ElementEdits<S>,
  layout: TableLayout<S>,
): NftOperation[] {
  return [...elementOperations('delete elements', deletes, layout), ...elementOperations('add elements', adds, layout)];
}

export function addChain(chain: NftChain): readonly NftOperation[] {
  return [{ do: 'add chain', chain }, ...rulesOf(chain)];
}

export function rewriteChain(chain: NftChain): readonly NftOperation[] {
  return [{ do: 'flush chain', chain: chain.name }, ...rulesOf(chain)];
}

function rulesOf(chain: NftChain): readonly NftOperation[] {
  return chain.rules.map((rule) => ({ do: 'add rule', chain: chain.name, rule }));
}
