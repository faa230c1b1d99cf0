/**
 * The chains of a table that has a fixed number of them: their rules depend on the node, and on which sets are in use,
 * so that a change of Services makes them anew only where a set gets its first element or loses its last.
 */
import type { NftChain, NodeView } from '../../../core/backend.ts';
import type { TableChains } from './layout.ts';
import type { IsUsed } from './sizes.ts';

export interface NodeChains {
  /** What the chains are from now on. Returns those whose rules changed, none when there were no chains before. */
  settle(node: NodeView): readonly NftChain[];
  all(): TableChains;
}

export interface NodeChainsOptions<S extends string> {
  /** Sets whose first or last element changes the chains. */
  readonly gates: readonly S[];
  readonly isUsed: IsUsed<S>;
  readonly make: (node: NodeView) => TableChains;
}

export function createNodeChains<S extends string>({ gates, isUsed, make }: NodeChainsOptions<S>): NodeChains {
  let chains: TableChains = { inner: [], hooks: [] };
  let seen: { readonly node: NodeView; readonly open: string } | undefined;
  return {
    settle(node) {
      const open = gates.filter(isUsed).join();
      if (seen?.node === node && seen.open === open) return [];
      seen = { node, open };
      const before = chains;
      chains = make(node);
      return changedChains([...before.inner, ...before.hooks], [...chains.inner, ...chains.hooks]);
    },
    all: () => chains,
  };
}

/** Chains that there were already, with other rules or another hook. */
export function changedChains(before: Iterable<NftChain>, after: Iterable<NftChain>): readonly NftChain[] {
  const old = new Map([...before].map((chain) => [chain.name, chain]));
  return [...after].filter((chain) => {
    const existing = old.get(chain.name);
    return existing !== undefined && existing !== chain && JSON.stringify(existing) !== JSON.stringify(chain);
  });
}
