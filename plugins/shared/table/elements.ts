/** Elements that several tables have. */
import type { NftValue, NodeView, ServicePort } from '../../../core/backend.ts';
import { displayName, type Frontend, protocolOf } from '../frontends.ts';
import { outermost } from '../source-ranges.ts';
import type { Emit } from './layout.ts';

/** Protocol and port, before them the address unless it is a node port. */
export function frontendKey({ kind, ip, port: number }: Frontend, port: ServicePort): readonly NftValue[] {
  const key: readonly NftValue[] = [protocolOf(port), number];
  return kind === 'nodePort' ? key : [ip, ...key];
}

/** Whose an element is, for operators. */
export function nameComment(port: ServicePort, comments: boolean): { readonly comment?: string } {
  return comments ? { comment: displayName(port) } : {};
}

/** `key`: what comes before the address in a concatenation. */
export function rangeElements<S extends string>(
  set: S,
  key: readonly NftValue[],
  cidrs: readonly string[],
  emit: Emit<S>,
): void {
  for (const { first, last } of outermost(cidrs)) emit(set, { key: [...key, first], keyEnd: [...key, last] });
}

export function serviceCIDRElements({ serviceCIDRs }: NodeView, emit: Emit<'service-cidrs'>): void {
  rangeElements('service-cidrs', [], serviceCIDRs, emit);
}

/** Of a table that looks up, as ranges, the addresses that node ports answer on. */
export function nodeElements(node: NodeView, emit: Emit<'nodeport-ips' | 'service-cidrs'>): void {
  rangeElements('nodeport-ips', [], nodePortRanges(node), emit);
  serviceCIDRElements(node, emit);
}

/** Where `fib` cannot be asked, because a packet has been translated: the addresses that node ports answer on. */
function nodePortRanges({ nodePortAddresses: accepted, addresses }: NodeView): readonly string[] {
  const host = (ip: string): string => `${ip}/${ip.includes(':') ? 128 : 32}`;
  if (accepted.match === 'list') return accepted.addresses.map(host);
  const others = addresses.filter((ip) => !ip.startsWith('127.') && ip !== '::1').map(host);
  return accepted.loopback ? ['127.0.0.0/8', ...others] : others;
}
