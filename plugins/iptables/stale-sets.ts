/** IP sets that a full sync finds and nobody needs: affinity sets of an earlier run, and those of upstream's IPVS mode. */
import type { Host, IPFamily } from '../../core/backend.ts';
import { affinitySetPrefix, probeSet, upstreamIPVSSets } from './names.ts';

/** The interface that holds the addresses of virtual servers; it goes with them. */
const IPVS_INTERFACE = 'kube-ipvs0';

/** `wanted`: the affinity sets that there must be; undefined: affinity is not kept in sets. */
export function staleSets(
  host: Host,
  family: IPFamily,
  wanted: ReadonlyMap<string, unknown> | undefined,
): readonly string[] {
  const prefix = affinitySetPrefix(family);
  const upstreams = new Set(upstreamIPVSSets(family));
  return setNames(host, wanted !== undefined).filter((name) => {
    if (upstreams.has(name)) return true;
    return wanted !== undefined && name !== probeSet(family) && name.startsWith(prefix) && !wanted.has(name);
  });
}

/**
 * By these sets the ipvs backend's cleanup, which runs once this backend has programmed everything, knows virtual servers
 * of an upstream kube-proxy from others': until then they stay.
 */
export function isStillNeeded(host: Host, family: IPFamily, name: string): boolean {
  if (!upstreamIPVSSets(family).includes(name)) return false;
  return host.netlink.dummyLink(IPVS_INTERFACE).addresses(family) !== undefined;
}

function setNames(host: Host, needed: boolean): readonly string[] {
  try {
    return host.netlink.ipset().names();
  } catch (error) {
    if (needed) throw error;
    return [];
  }
}
