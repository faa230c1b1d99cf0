/** The kernel parameters that IPVS needs here. Written only where they differ. */
import type { Host, IPFamily, NodeView } from '../../core/backend.ts';
import { setKernelParameters } from '../shared/kernel-parameters.ts';

/** Tells a kernel whose IPVS translates through conntrack, without which nothing could be masqueraded. */
export const CONNTRACK_PARAMETER = 'net/ipv4/vs/conntrack';

const PARAMETERS: readonly (readonly [name: string, value: string])[] = [
  [CONNTRACK_PARAMETER, '1'],
  // A port used again by a client is a new connection, balanced anew: never to the server that is going away. (Before
  // Linux 5.9 that dropped the first packet; this backend needs 5.13.)
  ['net/ipv4/vs/conn_reuse_mode', '1'],
  // A connection whose server is gone ends at its next packet, instead of vanishing into nowhere for minutes.
  ['net/ipv4/vs/expire_nodest_conn', '1'],
  // With session affinity: a client whose server has weight 0 is balanced anew.
  ['net/ipv4/vs/expire_quiescent_template', '1'],
  ['net/ipv4/ip_forward', '1'],
];

export function setIPVSParameters(
  host: Pick<Host, 'sysctl'>,
  family: IPFamily,
  node: NodeView,
  strictARP: boolean,
): void {
  for (const [name, value] of PARAMETERS) host.sysctl.ensure(name, value);
  if (strictARP) {
    // Addresses of kube-ipvs0 are nobody's business on other interfaces (as MetalLB in layer 2 mode demands).
    host.sysctl.ensure('net/ipv4/conf/all/arp_ignore', '1');
    host.sysctl.ensure('net/ipv4/conf/all/arp_announce', '2');
  }
  // Loopback addresses have no node ports here.
  setKernelParameters(host, family, { ...node, nodePortAddresses: { match: 'list', addresses: [] } });
}
