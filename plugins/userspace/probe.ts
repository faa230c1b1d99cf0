/** Which way in this process may take, found by trying. */
import type { Host, IPFamily } from '../../core/backend.ts';
import { hostFamilies, servedFamilies } from '../shared/families.ts';
import { chooseOwnership, type Feature, missingFeatures } from '../shared/table/probe.ts';
import { PORT } from '../shared/table/rules.ts';
import { layoutOf } from './layout.ts';
import type { UserspaceOptions } from './options.ts';

export interface WayIn {
  readonly families: readonly IPFamily[];
  readonly way: 'redirect' | 'direct';
  /** Of the table. */
  readonly owned: boolean;
}

const PROBE_TABLE = 'kube-userspace-probe';
/** Addresses for documentation (RFC 5737, RFC 3849), between which nothing flows. */
const NOBODY = { IPv4: ['192.0.2.1', '192.0.2.2'], IPv6: ['2001:db8::1', '2001:db8::2'] } as const;

export function features(family: IPFamily): readonly Feature[] {
  const { sets, saddr, daddr } = layoutOf(family);
  const version = family === 'IPv4' ? 'IPV4' : 'IPV6';
  const key = [daddr, ...PORT];
  return [
    { option: 'CONFIG_NF_TABLES', sets: [sets.services], statements: [{ priority: { map: 'services', key } }] },
    {
      option: 'CONFIG_NFT_NAT',
      sets: [sets['inside-listeners']],
      statements: [{ dnat: { map: 'inside-listeners', key: ['meta l4proto'] } }],
    },
    {
      option: 'CONFIG_NF_TABLES (sets of concatenated ranges, Linux 5.6)',
      sets: [sets['source-ranges']],
      statements: [{ in: 'source-ranges', key: [...key, saddr] }],
    },
    { option: `CONFIG_NFT_FIB_${version}`, statements: [{ fib: 'saddr' }] },
    { option: `CONFIG_NFT_REJECT_${version}`, statements: [{ reject: 'port unreachable' }] },
  ];
}

export async function probe(host: Host, { way, ownership }: UserspaceOptions): Promise<WayIn> {
  const all = [...hostFamilies(host)];
  if (way === 'direct') return { families: all, way, owned: false };
  const { families, missing: reason } = await servedFamilies(host, all, (family) => lacks(host, family));
  if (families.length > 0) return { families, way: 'redirect', owned: await chooseOwnership(host, ownership) };
  if (way === 'redirect') {
    throw Object.assign(
      new Error(`the userspace backend cannot redirect here: ${reason}; use option way=direct, or another backend`),
      { code: 'KP_BACKEND_UNSUPPORTED' },
    );
  }
  host.log.info('Connections cannot be redirected here; Services are served on addresses that this process may bind', {
    reason,
  });
  return { families: all, way: 'direct', owned: false };
}

/** What keeps from redirecting: a lack of rights counts as well. */
async function lacks(host: Host, family: IPFamily): Promise<readonly string[]> {
  try {
    const missing = await missingFeatures(host, family, PROBE_TABLE, features(family));
    return [...missing, ...lacksQuestions(host, family)];
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return [error.message];
  }
}

/** Without an answer of conntrack no UDP client can be told where it was going. */
function lacksQuestions({ sockets }: Host, family: IPFamily): readonly string[] {
  const [clientIP, ip] = NOBODY[family];
  try {
    sockets.originalUDPDestination({ family, clientIP, clientPort: 9, ip, port: 9 });
    return [];
  } catch (error) {
    return [`CONFIG_NF_CT_NETLINK (${error instanceof Error ? error.message : String(error)})`];
  }
}
