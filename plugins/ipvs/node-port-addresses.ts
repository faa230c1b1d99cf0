/**
 * The addresses whose node ports have virtual servers. Not loopback ones, from which the kernel lets nothing leave the
 * host by IPVS; nor IPv6's link-local ones unless they were asked for: each interface has one.
 */
import type { NodeView } from '../../core/backend.ts';

export function nodePortAddresses({ nodePortAddresses: accepted, addresses }: NodeView): readonly string[] {
  const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1';
  if (accepted.match === 'list') return accepted.addresses.filter((ip) => !isLoopback(ip));
  return addresses.filter((ip) => !isLoopback(ip) && !/^fe[89ab]/.test(ip));
}
