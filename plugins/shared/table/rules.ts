/** Rules that several tables have. */
import type { IPFamily, NftField, NftRule, NftStatement, NodeView } from '../../../core/backend.ts';
import { answersOnLoopback } from '../kernel-parameters.ts';

export function rule(...statements: readonly NftStatement[]): NftRule {
  return { statements };
}

export function noted(comment: string, ...statements: readonly NftStatement[]): NftRule {
  return { statements, comment };
}

interface NodePortFields {
  readonly family: IPFamily;
  readonly daddr: NftField;
}

interface Source {
  readonly saddr: NftField;
}

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

/** Where `fib` cannot be asked, because a packet has been translated: the addresses that node ports answer on. */
export function nodePortRanges({ nodePortAddresses: accepted, addresses }: NodeView): readonly string[] {
  const host = (ip: string): string => `${ip}/${ip.includes(':') ? 128 : 32}`;
  if (accepted.match === 'list') return accepted.addresses.map(host);
  const others = addresses.filter((ip) => !ip.startsWith('127.') && ip !== '::1').map(host);
  return accepted.loopback ? ['127.0.0.0/8', ...others] : others;
}

/**
 * For hook input. With node ports on 127.0.0.1 the kernel must route loopback addresses; others must not come in by that.
 */
export function guardLoopback(layout: NodePortFields, node: NodeView): readonly NftRule[] {
  if (!answersOnLoopback(layout.family, node)) return [];
  return [
    noted(
      'loopback addresses from outside',
      { match: 'meta iifname', is: 'lo', not: true },
      { match: layout.daddr, within: '127.0.0.0/8' },
      { ctState: ['established', 'related'], not: true },
      { counter: true },
      { verdict: 'drop' },
    ),
  ];
}
