/**
 * The chains of the table, purely: they depend on the node only.
 *
 *   nat prerouting, output ─▶ services ─ services[daddr . protocol . port] = class ─▶ bring-in, refuse, discard, …
 *                                ├ address of the node ─▶ nodeports[protocol . port] = class ─▶ the same
 *                                ├ other port of a ClusterIP ─▶ refuse
 *                                └ unallocated address of a ServiceCIDR ─▶ discard
 *   bring-in ─ from a pod of this node, or the node ─▶ inside-listeners, others ─▶ outside-listeners
 */
import type { NftChain, NftElement, NftExpression, NftRule, NftStatement, NodeView } from '../../core/backend.ts';
import { fromPod, guardLoopback, noted, rule, toNodePortAddress } from '../shared/table/rules.ts';
import {
  dispatch,
  GUARDED_VERDICT_MASK,
  to,
  VERDICT_MASK,
  verdictChains,
  verdictElements as verdictLeads,
} from '../shared/table/verdicts.ts';
import type { Layout, SetName } from './layout.ts';

/** Whether a set has elements: a rule that could only look in vain is not there. */
export type IsUsed = (set: SetName) => boolean;

/** Sets whose first or last element changes the chains. */
export const GATES: readonly SetName[] = ['nodeports', 'service-cidrs'];

const BRING_IN = 'bring-in';

/** What leads from classes to chains; never changes. */
export function verdictElements(): readonly (readonly [SetName, NftElement])[] {
  const sets = { dispatch: 'dispatch', guarded: 'guarded-dispatch', nodePorts: 'nodeport-dispatch' } as const;
  return verdictLeads<SetName>(sets, BRING_IN);
}

/** Chains that others lead to, those first that others lead to. */
export function innerChains(layout: Layout, node: NodeView, isUsed: IsUsed): readonly NftChain[] {
  const { saddr, daddr } = layout;
  const ports: readonly NftExpression[] = ['meta l4proto', 'th dport'];
  const frontend: readonly NftExpression[] = [daddr, ...ports];
  const pod = fromPod(layout, node);
  const notOurs: NftStatement = { fib: 'daddr', not: true };
  const when = (set: SetName, ...rules: readonly NftRule[]): readonly NftRule[] => (isUsed(set) ? rules : []);
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
    ...verdictChains({ saddr, frontend, pod, guarded: 'guarded-dispatch', sourceRanges: 'source-ranges' }, BRING_IN),
    {
      name: 'nodeports',
      rules: [rule({ priority: { map: 'nodeports', key: ports } }, dispatch('nodeport-dispatch', VERDICT_MASK))],
    },
    {
      name: 'services',
      rules: [
        rule({ priority: { map: 'services', key: frontend } }, dispatch('dispatch', GUARDED_VERDICT_MASK)),
        ...when('nodeports', rule(...toNodePortAddress(layout, node), { verdict: 'jump', chain: 'nodeports' })),
        noted('undefined port', { in: 'cluster-ips', key: [daddr] }, notOurs, to('refuse')),
        ...when(
          'service-cidrs',
          noted('unallocated ClusterIP', { in: 'service-cidrs', key: [daddr] }, notOurs, to('discard')),
        ),
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
  return [
    { name: 'filter-input', hook: { type: 'filter', hook: 'input', priority: 0 }, rules: guardLoopback(layout, node) },
    nat('prerouting'),
    nat('output'),
  ];
}
