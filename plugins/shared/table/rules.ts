/** Rules that several tables have. */
import type { IPFamily, NftChain, NftExpression, NftRule, NftStatement, NodeView } from '../../../core/backend.ts';
import { answersOnLoopback } from '../kernel-parameters.ts';
import type { AddressFields } from './layout.ts';
import type { IsUsed } from './sizes.ts';

/** A key's protocol and port, as a packet has them, and as its connection's first packet had them. */
export const PORT: readonly NftExpression[] = ['meta l4proto', 'th dport'];
export const ORIGINAL_PORT: readonly NftExpression[] = ['meta l4proto', 'ct original proto-dst'];

export const MASQUERADE: NftStatement = { masquerade: 'fully-random' };

export function rule(...statements: readonly NftStatement[]): NftRule {
  return { statements };
}

export function noted(comment: string, ...statements: readonly NftStatement[]): NftRule {
  return { statements, comment };
}

export function to(chain: string): NftStatement {
  return { verdict: 'goto', chain };
}

/** Gives these rules if the set has elements: one that could only look in vain is not there. */
export function whenUsed<S extends string>(
  isUsed: IsUsed<S>,
): (set: S, ...rules: readonly NftRule[]) => readonly NftRule[] {
  return (set, ...rules) => (isUsed(set) ? rules : []);
}

interface NodePortFields extends Pick<AddressFields, 'daddr'> {
  readonly family: IPFamily;
}

type Source = Pick<AddressFields, 'saddr'>;

/** Goes on if the connection comes from a pod of this node; undefined when that cannot be told. */
export function fromPod({ saddr }: Source, { localDetector }: NodeView): NftStatement | undefined {
  switch (localDetector.kind) {
    case 'none':
      return undefined;
    case 'cidr':
      return { match: saddr, within: localDetector.cidr };
    case 'interface':
      return { match: 'meta iifname', is: localDetector.name };
    case 'interfacePrefix':
      return { match: 'meta iifname', is: `${localDetector.prefix}*` };
  }
}

/**
 * The same for packets that leave. The kernel does not tell the input interface of one that br_netfilter hands over,
 * between two ports of a bridge; what this host sends has none either, but an address of its own.
 */
export function podOnItsWay(source: Source, node: NodeView, then: readonly NftStatement[]): readonly NftRule[] {
  const pod = fromPod(source, node);
  if (pod === undefined) return [];
  if (node.localDetector.kind === 'cidr') return [rule(pod, ...then)];
  const bridged: NftStatement = { match: 'meta iifname', is: '' };
  return [rule(pod, ...then), noted('bridged', bridged, { fib: 'saddr', not: true }, ...then)];
}

/** An INVALID packet would leave with its untranslated address and make the peer reset the connection. */
export function dropInvalid({ tcpBeLiberal }: NodeView): readonly NftRule[] {
  if (tcpBeLiberal) return [];
  const why = 'would leave with its untranslated address';
  return [noted(why, { ctState: ['invalid'] }, { counter: true }, { verdict: 'drop' })];
}

/** Goes on if the address is one that node ports answer on; a list of these is in the set `nodeport-ips`. */
export function toNodePortAddress(
  layout: NodePortFields,
  { nodePortAddresses: accepted }: NodeView,
): readonly NftStatement[] {
  if (accepted.match === 'list') return [{ in: 'nodeport-ips', key: [layout.daddr] }];
  const loopback: readonly NftStatement[] =
    layout.family === 'IPv6'
      ? [{ match: layout.daddr, within: '::1', not: true }]
      : accepted.loopback
        ? []
        : [{ match: layout.daddr, within: '127.0.0.0/8', not: true }];
  return [...loopback, { fib: 'daddr' }];
}

/** Chains for connections that are not to come about: `refuse` tells their clients, `discard` does not. */
export const REFUSALS: readonly NftChain[] = [
  {
    name: 'refuse',
    rules: [
      rule({ match: 'meta l4proto', is: 'tcp' }, { counter: true }, { reject: 'tcp reset' }),
      rule({ counter: true }, { reject: 'port unreachable' }),
    ],
  },
  { name: 'discard', rules: [rule({ counter: true }, { verdict: 'drop' })] },
];

/** For what is at no frontend; the set holds all ClusterIPs. An address may be the node's own, too. */
export function refuseUndefinedPort({ daddr }: Pick<AddressFields, 'daddr'>): NftRule {
  return noted('undefined port', { in: 'cluster-ips', key: [daddr] }, { fib: 'daddr', not: true }, to('refuse'));
}

/** For what is at no ClusterIP. */
export function discardUnallocated({ daddr }: Pick<AddressFields, 'daddr'>): NftRule {
  return noted(
    'unallocated ClusterIP',
    { in: 'service-cidrs', key: [daddr] },
    { fib: 'daddr', not: true },
    to('discard'),
  );
}

export function masqueradeHairpin({ saddr, daddr }: Pick<AddressFields, 'saddr' | 'daddr'>): NftRule {
  return noted('hairpin: an endpoint that reaches itself', { in: 'hairpin', key: [saddr, daddr] }, MASQUERADE);
}

/** With node ports on 127.0.0.1 the kernel must route loopback addresses; others must not come in by that. */
export function loopbackGuard(layout: NodePortFields, node: NodeView): NftChain {
  const fromOutside = noted(
    'loopback addresses from outside',
    { match: 'meta iifname', is: 'lo', not: true },
    { match: layout.daddr, within: '127.0.0.0/8' },
    { ctState: ['established', 'related'], not: true },
    { counter: true },
    { verdict: 'drop' },
  );
  return {
    name: 'filter-input',
    hook: { type: 'filter', hook: 'input', priority: 0 },
    rules: answersOnLoopback(layout.family, node) ? [fromOutside] : [],
  };
}
