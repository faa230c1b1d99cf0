/** What of the plan depends on the node alone: the chains, ranges of ClusterIPs, addresses that have node ports; purely. */
import type { NftChain, NodeView } from '../../core/backend.ts';
import { outermost } from '../shared/source-ranges.ts';
import type { Emit } from './frontends.ts';
import type { Layout } from './layout.ts';
import { GATES, hookChains, type IsUsed, innerChains } from './ruleset.ts';

export interface Chains {
  readonly node: NodeView;
  readonly gates: string;
  readonly inner: readonly NftChain[];
  readonly hooks: readonly NftChain[];
}

/** The same object if nothing that they depend on has changed. */
export function chainsOf(last: Chains | undefined, layout: Layout, node: NodeView, isUsed: IsUsed): Chains {
  const gates = GATES.filter(isUsed).join();
  if (last?.node === node && last.gates === gates) return last;
  return { node, gates, inner: innerChains(layout, node, isUsed), hooks: hookChains(layout, node, isUsed) };
}

export function changedChains(before: Chains | undefined, after: Chains): readonly NftChain[] {
  if (before === undefined || before === after) return [];
  const old = new Map([...before.inner, ...before.hooks].map((chain) => [chain.name, JSON.stringify(chain)]));
  return [...after.inner, ...after.hooks].filter((chain) => old.get(chain.name) !== JSON.stringify(chain));
}

export function serviceCIDRs(node: NodeView, emit: Emit): void {
  for (const { first, last } of outermost(node.serviceCIDRs)) {
    emit('service-cidrs', { key: [first], keyEnd: [last] });
  }
}

/**
 * The addresses whose node ports have virtual servers. Not loopback ones, from which the kernel lets nothing leave the
 * host by IPVS; nor IPv6's link-local ones unless they were asked for: each interface has one.
 */
export function nodePortAddresses({ nodePortAddresses: accepted, addresses }: NodeView): readonly string[] {
  const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1';
  if (accepted.match === 'list') return accepted.addresses.filter((ip) => !isLoopback(ip));
  return addresses.filter((ip) => !isLoopback(ip) && !/^fe[89ab]/.test(ip));
}
