/** The kernel parameters that go with the rules of the kernel backends. Written only where they differ. */
import type { Host, IPFamily, NodeView } from '../../core/backend.ts';

/** Whether node ports answer on 127.0.0.0/8; never on ::1, for IPv6 has no route_localnet. */
export function answersOnLoopback(family: IPFamily, { nodePortAddresses: accepted }: NodeView): boolean {
  if (family === 'IPv6') return false;
  return accepted.match === 'all' ? accepted.loopback : accepted.addresses.some((ip) => ip.startsWith('127.'));
}

/**
 * In a sync to be called after the rules that guard loopback addresses: with route_localnet alone, a neighbour of this
 * node could reach what listens on 127.0.0.1. (Before the first sync kubelet's own guard is in place.)
 */
export function setKernelParameters({ sysctl }: Pick<Host, 'sysctl'>, family: IPFamily, node: NodeView): void {
  if (answersOnLoopback(family, node)) sysctl.ensure('net/ipv4/conf/all/route_localnet', '1');
  if (node.tcpBeLiberal) sysctl.ensure('net/netfilter/nf_conntrack_tcp_be_liberal', '1');
}
