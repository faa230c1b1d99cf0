/**
 * Removes what this backend, or an upstream kube-proxy in IPVS mode, ever made: virtual servers, the interface with its
 * addresses, the table. Without loading IPVS where it is not: there is nothing then. (Chains and IP sets of an upstream
 * kube-proxy go with those of its iptables mode.)
 */
import { networkInterfaces } from 'node:os';
import type { Backend, Host, IPFamily } from '../../core/backend.ts';
import { beginRemoval } from '../shared/removal.ts';
import { type Mirror, readMirror } from '../shared/table/mirror.ts';
import { removeTable } from '../shared/table/remove.ts';
import { CONNTRACK_PARAMETER } from './kernel-parameters.ts';
import { INTERFACE, layoutOf, type SetName, TABLE, TABLE_COMMENT } from './layout.ts';
import { isOurs, recordOf } from './reconcile.ts';

/** An IP set that upstream makes in IPVS mode, and only then. */
const UPSTREAM_SET = 'KUBE-CLUSTER-IP';

/** A backend that can only clean up: to find out what the kernel has would load IPVS. */
export function createCleaner(host: Host, options: Parameters<typeof cleanup>[1]): Backend {
  return {
    families: ['IPv4', 'IPv6'],
    sync: () => Promise.reject(new Error('the ipvs backend was made for cleaning up only (option cleanupOnly)')),
    cleanup: () => cleanup(host, options),
    close: async () => {},
  };
}

export function upstreamWasHere(host: Host): boolean {
  try {
    return host.netlink.ipset().names().includes(UPSTREAM_SET);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'KP_NETLINK_LIBRARY') throw error;
    // A kernel without IP sets: upstream's IPVS mode could not work here.
    return false;
  }
}

export async function cleanup(host: Host, { excluded }: { excluded: (ip: string) => boolean }): Promise<void> {
  const removal = beginRemoval();
  const upstream = upstreamWasHere(host);
  for (const family of ['IPv4', 'IPv6'] as const) {
    await removal.attempt(() => removeServers(host, family, upstream, excluded));
  }
  await removal.attempt(() => {
    const link = host.netlink.dummyLink(INTERFACE);
    if (link.addresses('IPv4') === undefined) return;
    link.delete();
    host.log.info('Removed an interface', { interface: INTERFACE });
  });
  // Last: as long as something of ours stands, the table says whose it is.
  if (removal.isComplete()) {
    for (const family of ['ip', 'ip6'] as const) await removal.attempt(() => removeTable(host, family, TABLE));
  }
  removal.finish();
}

async function removeServers(
  host: Host,
  family: IPFamily,
  upstream: boolean,
  isExcluded: (ip: string) => boolean,
): Promise<void> {
  // To open IPVS would load it.
  if (host.sysctl.read(CONNTRACK_PARAMETER) === undefined) return;
  const ipvs = host.netlink.ipvs();
  const record = await readRecord(host, family);
  const addresses = new Set(host.netlink.dummyLink(INTERFACE).addresses(family) ?? []);
  const all = Object.values(networkInterfaces()).flatMap((infos) => infos ?? []);
  const localAddresses = all.filter((info) => info.family === family).map(({ address }) => address);
  const heritage = { record, addresses, upstream, localAddresses, isExcluded };
  const ours = (await ipvs.virtualServers(family)).filter((server) => isOurs(server, heritage));
  if (ours.length === 0) return;
  const { refused } = await ipvs.apply(ours.map((server) => ({ do: 'delete virtual server', server }) as const));
  if (refused[0] !== undefined) throw refused[0].error;
  host.log.info('Removed virtual servers', { family, count: ours.length });
}

/** Undefined: there is no table, or one of another layout. */
async function readRecord(host: Host, family: IPFamily): Promise<Mirror<SetName> | undefined> {
  const nftables = host.netlink.nftables();
  const layout = layoutOf(family);
  const found = (await nftables.tables(layout.table)).find(({ name }) => name === TABLE);
  return found?.comment === TABLE_COMMENT ? recordOf(await readMirror(nftables, layout, new Map())) : undefined;
}
