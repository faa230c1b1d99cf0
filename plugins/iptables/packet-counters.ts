/**
 * Packets that only the kernel sees, counted by rules into counters with names (nfacct) and shown as metrics. Names of
 * counters and metrics are upstream's, so that its dashboards find them and a change of program does not set them back.
 *
 *   KUBE-FORWARD     ctstate INVALID   -m nfacct --nfacct-name ct_state_invalid_dropped_pkts -j DROP
 *   KUBE-NODEPORTS   -d 127.0.0.0/8 …  -m nfacct --nfacct-name localhost_nps_accepted_pkts -j KUBE-EXT-x
 *
 * Both families count into the same two. They outlive rules and processes; cleanup removes them.
 */
import type { Host } from '../../core/backend.ts';
import { destroyEventually } from './destroy-eventually.ts';

export const INVALID_DROPPED = 'ct_state_invalid_dropped_pkts';
export const LOCALHOST_ACCEPTED = 'localhost_nps_accepted_pkts';
/** Made and taken away again by the probe. */
export const PROBE_COUNTER = 'kube_proxy_probe_pkts';

const METRICS: readonly { readonly counter: string; readonly name: string; readonly help: string }[] = [
  {
    counter: INVALID_DROPPED,
    name: 'iptables_ct_state_invalid_dropped_packets_total',
    help: 'Packets dropped because conntrack called them invalid: untranslated they would reset their connections',
  },
  {
    counter: LOCALHOST_ACCEPTED,
    name: 'iptables_localhost_nodeports_accepted_packets_total',
    help: 'Packets accepted on node ports of loopback addresses',
  },
];

/** Match that counts what comes as far as it, and matches always. */
export function countInto(counter: string): string {
  return `-m nfacct --nfacct-name ${counter}`;
}

/** Must precede the rules that name them. Those that exist keep their values. */
export function makeCounters(host: Host): void {
  for (const { counter } of METRICS) host.netlink.nfacct().ensure(counter);
}

/** Returns what takes the metrics back. */
export function showCounters(host: Host): () => void {
  const takeBack = METRICS.map(({ counter, name, help }) =>
    host.metrics.register({
      name,
      help,
      type: 'counter',
      read() {
        const counted = host.netlink.nfacct().read(counter);
        return counted === undefined ? [] : [{ value: counted.packets }];
      },
    }),
  );
  return () => {
    for (const one of takeBack) one();
  };
}

/** After the rules. Throws if rules of others still count into one. */
export async function removeCounters(host: Host): Promise<void> {
  const names = [...METRICS.map(({ counter }) => counter), PROBE_COUNTER];
  try {
    host.netlink.nfacct().read(PROBE_COUNTER);
  } catch (error) {
    // A kernel without counters holds none of ours; without the library that asks it, nobody knows.
    if (error instanceof Error && 'code' in error && error.code === 'KP_NETLINK_LIBRARY') throw error;
    return;
  }
  await destroyEventually(host, names, (name) => host.netlink.nfacct().delete(name));
}
