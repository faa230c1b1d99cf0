/**
 * Which chains exist: those of the node, and one for each class and each affinity timeout in use. A class that nobody
 * uses any more keeps its chain until the next full sync, because a moment later somebody may.
 */
import type { NftChain, NftElement, NodeView } from '../../core/backend.ts';
import type { TableChains } from '../shared/table/layout.ts';
import { changedChains } from '../shared/table/node-chains.ts';
import type { Emit } from './frontends.ts';
import { DISPATCH, type Layout, type SetName } from './layout.ts';
import {
  classChain,
  classChainName,
  classesBelow,
  GATES,
  hookChains,
  nodeChains,
  recordChains,
  type Side,
} from './ruleset.ts';

export interface StructureEdits {
  /** To be committed before elements that lead there; those that others lead to come first. */
  readonly newChains: readonly NftChain[];
  readonly newVerdicts: readonly { readonly set: SetName; readonly element: NftElement }[];
  /** Chains whose rules changed. */
  readonly changedChains: readonly NftChain[];
  /** To be committed after the elements that led there are gone; verdicts before chains. */
  readonly oldVerdicts: readonly { readonly set: SetName; readonly element: NftElement }[];
  readonly oldChains: readonly string[];
  /** The rules that guard loopback addresses are among the chains. */
  readonly node: NodeView;
}

export interface Chains {
  /** Takes notice of an element that is added (1) or deleted (-1). */
  count(set: SetName, element: NftElement, by: 1 | -1): void;
  /** What the counted elements and this node need; `sweep`: and what nobody needs any more. */
  settle(node: NodeView, sweep: boolean): StructureEdits;
  elements(emit: Emit): void;
  all(): TableChains;
  size(): number;
}

interface Lead {
  readonly set: SetName;
  readonly element: NftElement;
  /** The chains that this lead needs, those that others lead to first. */
  readonly chains: readonly NftChain[];
}

/** From the verdict map to the side of the chains it leads to. */
const SIDE_OF: ReadonlyMap<SetName, Side> = new Map(
  [...DISPATCH].map(([classes, dispatch]) => [dispatch, classes.includes('nodeports') ? 'nodeports' : 'services']),
);

export function createChains(layout: Layout): Chains {
  /** Uses of each verdict, by "map number". */
  const uses = new Map<string, number>();
  /** What exists. */
  let verdicts = new Map<string, Lead>();
  let inner = new Map<string, NftChain>();
  let hooks: readonly NftChain[] = [];
  let seen: NodeView | undefined;
  /** Elements of each set that gates rules, and which of them had any when the chains were made. */
  const gated = new Map<SetName, number>(GATES.map((set) => [set, 0]));
  let gates = '';

  function use(set: SetName, number: number, by: 1 | -1): void {
    const key = `${set} ${number}`;
    const count = (uses.get(key) ?? 0) + by;
    if (count === 0) uses.delete(key);
    else uses.set(key, count);
  }

  function leadOf(key: string, node: NodeView): Lead {
    const [set = '', text = ''] = key.split(' ') as [SetName, string];
    const number = Number(text);
    const side = SIDE_OF.get(set as SetName);
    if (side === undefined) {
      const reached = recordChains(layout, number).find(({ map }) => map === set)!;
      return { set: reached.map, element: reached.element, chains: [reached.chain] };
    }
    const chains: NftChain[] = [];
    const visit = (klass: number): void => {
      for (const below of classesBelow(klass)) visit(below);
      const chain = classChain(layout, node, side, klass);
      if (chain !== undefined) chains.push(chain);
    };
    visit(number);
    const element: NftElement = {
      key: [number],
      data: { verdict: 'goto', chain: classChainName(layout, side, number) },
    };
    return { set: set as SetName, element, chains };
  }

  function chainsFor(node: NodeView, leads: Iterable<Lead>): Map<string, NftChain> {
    const found = new Map<string, NftChain>();
    const add = (chain: NftChain): void => {
      if (!found.has(chain.name)) found.set(chain.name, chain);
    };
    for (const chain of nodeChains(layout, node, (set) => (gated.get(set) ?? 0) > 0)) add(chain);
    for (const lead of leads) lead.chains.forEach(add);
    return found;
  }

  return {
    count(set, element, by) {
      const held = gated.get(set);
      if (held !== undefined) gated.set(set, held + by);
      const [value] = Array.isArray(element.data) ? element.data : [];
      const dispatch = DISPATCH.get(set);
      if (dispatch !== undefined) use(dispatch, Number(value), by);
      if (set !== 'affinity-timeouts') return;
      use('affinity-record', Number(value), by);
      use('nodeport-affinity-record', Number(value), by);
    },

    settle(node, sweep) {
      const moved = seen !== node;
      const next = new Map<string, Lead>();
      if (!sweep) for (const [key, lead] of verdicts) next.set(key, moved ? leadOf(key, node) : lead);
      for (const key of uses.keys()) {
        const known = moved ? undefined : verdicts.get(key);
        if (!next.has(key)) next.set(key, known ?? leadOf(key, node));
      }
      const newVerdicts = [...next].filter(([key]) => !verdicts.has(key)).map(([, lead]) => lead);
      const oldVerdicts = [...verdicts].filter(([key]) => !next.has(key)).map(([, lead]) => lead);
      const open = GATES.filter((set) => (gated.get(set) ?? 0) > 0).join();
      const quiet = !moved && open === gates && newVerdicts.length === 0 && oldVerdicts.length === 0;
      const nothing = { newChains: [], newVerdicts, changedChains: [], oldVerdicts, oldChains: [], node };
      if (quiet) return nothing;
      const wanted = chainsFor(node, next.values());
      const wantedHooks = moved ? hookChains(layout, node) : hooks;
      const first = seen === undefined;
      const edits: StructureEdits = {
        ...nothing,
        newChains: [...wanted.values()].filter(({ name }) => !first && !inner.has(name)),
        changedChains: changedChains([...inner.values(), ...hooks], [...wanted.values(), ...wantedHooks]),
        oldChains: [...inner.keys()].filter((name) => !wanted.has(name)).reverse(),
      };
      seen = node;
      gates = open;
      verdicts = next;
      inner = wanted;
      hooks = wantedHooks;
      return edits;
    },

    elements(emit) {
      for (const { set, element } of verdicts.values()) emit(set, element);
    },

    all: () => ({ inner: [...inner.values()], hooks }),
    size: () => inner.size + hooks.length,
  };
}
