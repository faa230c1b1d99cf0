/**
 * What becomes of a new connection to a frontend, for backends whose table decides that before something else takes the
 * connection on: a number, and the chains that it leads to.
 *
 *   bits 0-2   pass, refuse, discard, discard what comes from outside, discard what comes from inside
 *   bit 3      behind source ranges
 *
 * "Inside" are pods of this node and the node itself.
 */
import type {
  NftChain,
  NftElement,
  NftExpression,
  NftField,
  NftStatement,
  ServicePort,
} from '../../../core/backend.ts';
import type { FrontendKind } from '../frontends.ts';
import { noted, rule } from './rules.ts';

export const PASS = 0;
export const REFUSE = 1;
export const DISCARD = 2;
export const DISCARD_OUTSIDE = 3;
export const DISCARD_INSIDE = 4;
export const VERDICT_MASK = 0x7;
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

/** Goes where the class leads that a map gave, by the bits that this map uses. */
export function dispatch(map: string, mask: number): NftStatement {
  return { vmap: { map, key: [{ field: 'meta priority', and: mask }] } };
}

export function to(chain: string): NftStatement {
  return { verdict: 'goto', chain };
}

export interface VerdictSets<S extends string> {
  /** Of frontends that source ranges may guard. */
  readonly dispatch: S;
  readonly guarded: S;
  readonly nodePorts: S;
}

/** Elements of the verdict maps; they never change. `pass`: the chain of what is let through. */
export function verdictElements<S extends string>(
  sets: VerdictSets<S>,
  pass: string,
): readonly (readonly [set: S, element: NftElement])[] {
  const lead = (set: S, number: number, chain: string): readonly [S, NftElement] => [
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
    lead(sets.dispatch, verdict, chain),
    lead(sets.dispatch, GUARDED | verdict, 'guarded'),
    lead(sets.guarded, verdict, chain),
    lead(sets.nodePorts, verdict, chain),
  ]);
}

export interface VerdictFields {
  readonly saddr: NftField;
  /** Address, protocol and port of the connection. */
  readonly frontend: readonly NftExpression[];
  /** Goes on for connections from pods of this node; undefined: nobody can tell. */
  readonly pod: NftStatement | undefined;
  /** The map of `VerdictSets.guarded`. */
  readonly guarded: string;
  readonly sourceRanges: string;
}

/** The chains that verdicts lead to, but for `pass`, which must come before these. */
export function verdictChains(
  { saddr, frontend, pod, guarded, sourceRanges }: VerdictFields,
  pass: string,
): readonly NftChain[] {
  const fromInside: readonly NftStatement[] = [...(pod === undefined ? [] : [pod]), { fib: 'saddr' }];
  return [
    {
      name: 'refuse',
      rules: [
        rule({ match: 'meta l4proto', is: 'tcp' }, { counter: true }, { reject: 'tcp reset' }),
        rule({ counter: true }, { reject: 'port unreachable' }),
      ],
    },
    { name: 'discard', rules: [rule({ counter: true }, { verdict: 'drop' })] },
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
        rule({ in: sourceRanges, key: [...frontend, saddr] }, dispatch(guarded, VERDICT_MASK)),
        noted('outside of the source ranges', to('discard')),
      ],
    },
  ];
}
