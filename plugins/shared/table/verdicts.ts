/**
 * What becomes of a new connection to a frontend, for backends whose table decides that before something else takes the
 * connection on: a number, and the chains that it leads to.
 *
 *   bits 0-2   pass, refuse, discard, discard what comes from outside, discard what comes from inside
 *   bit 3      behind source ranges
 *
 * "Inside" are pods of this node and the node itself. Such a table has these sets:
 *
 *   services            address . protocol . port → class, whose other bits are the table's own
 *   nodeports           protocol . port           → class
 *   source-ranges       address . protocol . port . source range
 *   dispatch            class → chain, of services; guarded-dispatch: of those that a source range let in
 *   nodeport-dispatch   class → chain, of node ports
 */
import type { NftChain, NftElement, NftStatement, NodeView, ServicePort } from '../../../core/backend.ts';
import type { Frontend, FrontendKind } from '../frontends.ts';
import { frontendKey, nameComment, rangeElements } from './elements.ts';
import type { AddressFields, Emit } from './layout.ts';
import { fromPod, noted, PORT, REFUSALS, rule, to } from './rules.ts';

export const PASS = 0;
export const REFUSE = 1;
export const DISCARD = 2;
export const DISCARD_OUTSIDE = 3;
export const DISCARD_INSIDE = 4;
const VERDICT_MASK = 0x7;
export const GUARDED = 0x8;
export const GUARDED_VERDICT_MASK = 0xf;

/** Without regard to source ranges. */
export function verdictOf(kind: FrontendKind, port: ServicePort): number {
  const { cluster, local } = port;
  const empty = port.hasEndpoints ? DISCARD : REFUSE;
  if (kind === 'clusterIP') return (port.internalPolicy === 'Local' ? local : cluster).length === 0 ? empty : PASS;
  if (port.externalPolicy === 'Cluster') return cluster.length === 0 ? empty : PASS;
  if (cluster.length === 0 && local.length === 0) return empty;
  if (local.length === 0) return DISCARD_OUTSIDE;
  return cluster.length === 0 ? DISCARD_INSIDE : PASS;
}

/** Every element that says what becomes of connections to a frontend. `klass`: without regard to source ranges. */
export function classElements(
  frontend: Frontend,
  port: ServicePort,
  { klass, comments }: { readonly klass: number; readonly comments: boolean },
  emit: Emit<'services' | 'nodeports' | 'source-ranges'>,
): void {
  const key = frontendKey(frontend, port);
  const isGuarded = frontend.kind === 'loadBalancerVIP' && port.sourceRanges.length > 0;
  const data = [klass | (isGuarded ? GUARDED : 0)];
  emit(frontend.kind === 'nodePort' ? 'nodeports' : 'services', { key, data, ...nameComment(port, comments) });
  if (isGuarded) rangeElements('source-ranges', key, port.sourceRanges, emit);
}

type VerdictMap = 'dispatch' | 'guarded-dispatch' | 'nodeport-dispatch';

/** Elements of the verdict maps; they never change. `pass`: the chain of what is let through. */
export function verdictElements(pass: string): readonly (readonly [set: VerdictMap, element: NftElement])[] {
  const lead = (set: VerdictMap, number: number, chain: string): readonly [VerdictMap, NftElement] => [
    set,
    { key: [number], data: { verdict: 'goto', chain } },
  ];
  const verdicts = [
    [PASS, pass],
    [REFUSE, 'refuse'],
    [DISCARD, 'discard'],
    [DISCARD_OUTSIDE, 'discard-outside'],
    [DISCARD_INSIDE, 'discard-inside'],
  ] as const;
  return verdicts.flatMap(([verdict, chain]) => [
    lead('dispatch', verdict, chain),
    lead('dispatch', GUARDED | verdict, 'guarded'),
    lead('guarded-dispatch', verdict, chain),
    lead('nodeport-dispatch', verdict, chain),
  ]);
}

/** Goes where the class leads that a map gave, by the bits that this map uses. */
export function dispatch(map: string, mask: number): NftStatement {
  return { vmap: { map, key: [{ field: 'meta priority', and: mask }] } };
}

/** Looks up what becomes of a connection to an address and port. */
export function serviceVerdict({ daddr }: Pick<AddressFields, 'daddr'>): readonly NftStatement[] {
  return [{ priority: { map: 'services', key: [daddr, ...PORT] } }, dispatch('dispatch', GUARDED_VERDICT_MASK)];
}

/** The same by the port alone, where the address is one of those that node ports answer on. */
export function nodePortVerdict(): readonly NftStatement[] {
  return [{ priority: { map: 'nodeports', key: PORT } }, dispatch('nodeport-dispatch', VERDICT_MASK)];
}

/** The chains that verdicts lead to, but for `pass`, which must come before these. */
export function verdictChains(layout: AddressFields, node: NodeView, pass: string): readonly NftChain[] {
  const { saddr, daddr } = layout;
  const pod = fromPod(layout, node);
  const fromInside: readonly NftStatement[] = [...(pod === undefined ? [] : [pod]), { fib: 'saddr' }];
  return [
    ...REFUSALS,
    {
      name: 'discard-outside',
      rules: [...fromInside.map((inside) => rule(inside, to(pass))), rule(to('discard'))],
    },
    {
      name: 'discard-inside',
      rules: [...fromInside.map((inside) => rule(inside, to('discard'))), rule(to(pass))],
    },
    {
      name: 'guarded',
      rules: [
        rule({ in: 'source-ranges', key: [daddr, ...PORT, saddr] }, dispatch('guarded-dispatch', VERDICT_MASK)),
        noted('outside of the source ranges', to('discard')),
      ],
    },
  ];
}
