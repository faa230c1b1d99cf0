/**
 * The chains of the table, purely: they depend on the node only.
 *
 *   nat prerouting, output ─▶ services ─ services[daddr . protocol . port] = class ─▶ bring-in, refuse, discard, …
 *                                ├ address of the node ─▶ nodeports[protocol . port] = class ─▶ the same
 *                                ├ other port of a ClusterIP ─▶ refuse
 *                                └ unallocated address of a ServiceCIDR ─▶ discard
 *   bring-in ─ from a pod of this node, or the node ─▶ inside-listeners, others ─▶ outside-listeners
 */
import type { NftChain, NftElement, NftRule, NftStatement, NodeView } from '../../core/backend.ts';
import {
  discardUnallocated,
  fromPod,
  loopbackGuard,
  refuseUndefinedPort,
  rule,
  to,
  toNodePortAddress,
  whenUsed,
} from '../shared/table/rules.ts';
import type { IsUsed } from '../shared/table/sizes.ts';
import {
  nodePortVerdict,
  serviceVerdict,
  verdictChains,
  verdictElements as verdictLeads,
} from '../shared/table/verdicts.ts';
import type { Layout, SetName } from './layout.ts';

/** Sets whose first or last element changes the chains. */
export const GATES: readonly SetName[] = ['nodeports', 'service-cidrs'];

const BRING_IN = 'bring-in';

/** What leads from classes to chains; never changes. */
export function verdictElements(): readonly (readonly [SetName, NftElement])[] {
  return verdictLeads(BRING_IN);
}

/** Chains that others lead to, those first that others lead to. */
export function innerChains(layout: Layout, node: NodeView, isUsed: IsUsed<SetName>): readonly NftChain[] {
  const pod = fromPod(layout, node);
  const when = whenUsed(isUsed);
  const bringIn = (map: SetName, ...who: readonly NftStatement[]): NftRule =>
    rule(...who, { priority: 0 }, { dnat: { map, key: ['meta l4proto'] } });
  return [
    {
      name: BRING_IN,
      rules: [
        ...(pod === undefined ? [] : [bringIn('inside-listeners', pod)]),
        bringIn('inside-listeners', { fib: 'saddr' }),
        bringIn('outside-listeners'),
      ],
    },
    ...verdictChains(layout, node, BRING_IN),
    { name: 'nodeports', rules: [rule(...nodePortVerdict())] },
    {
      name: 'services',
      rules: [
        rule(...serviceVerdict(layout)),
        ...when('nodeports', rule(...toNodePortAddress(layout, node), { verdict: 'jump', chain: 'nodeports' })),
        refuseUndefinedPort(layout),
        ...when('service-cidrs', discardUnallocated(layout)),
      ],
    },
  ];
}

/** Chains that the kernel calls: adding them makes the table live. */
export function hookChains(layout: Layout, node: NodeView): readonly NftChain[] {
  const nat = (hook: 'prerouting' | 'output'): NftChain => ({
    name: `nat-${hook}`,
    hook: { type: 'nat', hook, priority: -100 },
    rules: [rule(to('services'))],
  });
  return [loopbackGuard(layout, node), nat('prerouting'), nat('output')];
}
