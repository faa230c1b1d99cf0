/** Which IP families a backend serves on this host: those that the host has, and that nothing is lacking for. */
import type { Host, IPFamily } from '../../core/backend.ts';

/** Families that this host has, the second one when the first is done with. */
export function* hostFamilies({ sysctl, log }: Pick<Host, 'sysctl' | 'log'>): Generator<IPFamily> {
  yield 'IPv4';
  if (sysctl.read('net/ipv6/conf/all/disable_ipv6') === '0') yield 'IPv6';
  else log.info('IPv6 is disabled on this host; serving IPv4 only');
}

/**
 * Those of which nothing is lacking; `missing` says what is, of the others. Warns of a family that is left out, unless
 * none is left.
 */
export async function servedFamilies(
  { log }: Pick<Host, 'log'>,
  families: Iterable<IPFamily>,
  lacks: (family: IPFamily) => Promise<readonly string[]>,
): Promise<{ readonly families: readonly IPFamily[]; readonly missing: string }> {
  const served: IPFamily[] = [];
  const missing: string[] = [];
  for (const family of families) {
    const reasons = await lacks(family);
    if (reasons.length === 0) served.push(family);
    else missing.push(`${family} needs ${reasons.join(', ')}`);
  }
  if (served.length > 0) for (const reason of missing) log.warn('One IP family cannot be served', { reason });
  return { families: served, missing: missing.join('; ') };
}

export function unsupported(backend: string, reasons: string): Error {
  const text = `the ${backend} backend cannot work here: ${reasons}; choose another backend (--backend)`;
  return Object.assign(new Error(text), { code: 'KP_BACKEND_UNSUPPORTED' });
}
