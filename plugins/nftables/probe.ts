/**
 * What this kernel can do, found by trying: every kind of rule and set that the table consists of is committed once, in
 * a table with no hooks that is deleted again. What is refused is tried again alone, to name it.
 */
import type { Host, IPFamily, NftOperation, NftSet, NftStatement } from '../../core/backend.ts';
import type { BackendSettings } from './backend.ts';
import { layoutOf } from './layout.ts';
import type { NftablesOptions } from './options.ts';

const PROBE_TABLE = 'kube-services-probe';

interface Feature {
  /** What the kernel's configuration calls it. */
  readonly option: string;
  readonly sets?: readonly NftSet[];
  readonly statements: readonly NftStatement[];
}

export function features(family: IPFamily): readonly Feature[] {
  const { sets, saddr, daddr, originalDaddr } = layoutOf(family);
  const version = family === 'IPv4' ? 'IPV4' : 'IPV6';
  const key = [daddr, 'meta l4proto', 'th dport'] as const;
  return [
    { option: 'CONFIG_NF_TABLES', sets: [sets.services], statements: [{ priority: { map: 'services', key } }] },
    {
      option: 'CONFIG_NFT_NAT and CONFIG_NFT_NUMGEN',
      sets: [sets.endpoints],
      statements: [{ dnat: { map: 'endpoints', key: [...key, { random: 2 }] } }],
    },
    {
      option: 'CONFIG_NF_TABLES (sets of concatenated ranges, Linux 5.6)',
      sets: [sets['source-ranges']],
      statements: [{ in: 'source-ranges', key: [...key, saddr] }],
    },
    { option: `CONFIG_NFT_FIB_${version}`, statements: [{ fib: 'daddr' }] },
    {
      option: 'CONFIG_NFT_CT',
      sets: [sets['masquerade-services']],
      statements: [
        { ctStatus: 'dnat' },
        { in: 'masquerade-services', key: [originalDaddr, 'meta l4proto', 'ct original proto-dst'] },
      ],
    },
    { option: 'CONFIG_NFT_MASQ', statements: [{ masquerade: 'fully-random' }] },
    { option: `CONFIG_NFT_REJECT_${version}`, statements: [{ reject: 'port unreachable' }] },
    {
      option: 'CONFIG_NF_TABLES (maps filled by rules)',
      sets: [sets.affinity],
      statements: [{ update: 'affinity', key: [saddr, 'meta priority'], data: ['meta priority'], timeoutSeconds: 1 }],
    },
  ];
}

function operationsFor(tried: readonly Feature[]): readonly NftOperation[] {
  return [
    { do: 'add table', owned: false },
    ...tried.flatMap(({ sets = [] }) => sets.map((set): NftOperation => ({ do: 'add set', set }))),
    ...tried.flatMap(({ statements }, index): readonly NftOperation[] => [
      // A masquerade or DNAT is taken only where a hook could lead to it, which none does.
      { do: 'add chain', chain: { name: `try-${index}` } },
      { do: 'add rule', chain: `try-${index}`, rule: { statements } },
    ]),
  ];
}

export async function probe(host: Host, options: NftablesOptions): Promise<BackendSettings> {
  const families: IPFamily[] = [];
  const missing: string[] = [];
  for (const family of ['IPv4', 'IPv6'] as const) {
    if (family === 'IPv6' && host.sysctl.read('net/ipv6/conf/all/disable_ipv6') !== '0') {
      host.log.info('IPv6 is disabled on this host; serving IPv4 only');
      continue;
    }
    const reasons = await missingFeatures(host, family);
    if (reasons.length === 0) families.push(family);
    else missing.push(`${family} needs ${reasons.join(', ')}`);
  }
  if (families.length === 0) {
    throw Object.assign(
      new Error(`the nftables backend cannot work here: ${missing.join('; ')}; choose another backend (--backend)`),
      { code: 'KP_BACKEND_UNSUPPORTED' },
    );
  }
  for (const reason of missing) host.log.warn('One IP family cannot be served', { reason });
  return { families, owned: await ownership(host, options), comments: options.comments === 'on' };
}

async function ownership(host: Host, { ownership: wanted }: NftablesOptions): Promise<boolean> {
  if (wanted === 'off') return false;
  const can = await host.netlink.nftables().supportsOwnership();
  if (can) return true;
  if (wanted === 'on') {
    const text = 'option ownership=on: this kernel has no tables that outlive their owner (Linux 6.9); use auto or off';
    throw Object.assign(new Error(text), { code: 'KP_BACKEND_OPTION' });
  }
  host.log.info(
    'This kernel has no tables that outlive their owner (Linux 6.9); changes by others are looked for instead',
  );
  return false;
}

/** What the kernel lacks, by option and reason; empty if nothing. Throws what has nothing to do with features. */
async function missingFeatures(host: Host, family: IPFamily): Promise<readonly string[]> {
  const all = features(family);
  if ((await tryOut(host, family, all)) === undefined) return [];
  const reasons: string[] = [];
  for (const feature of all) {
    const refusal = await tryOut(host, family, [feature]);
    if (refusal !== undefined) reasons.push(`${feature.option} (${refusal})`);
  }
  return reasons;
}

/** Undefined if the kernel takes it. */
async function tryOut(host: Host, family: IPFamily, tried: readonly Feature[]): Promise<string | undefined> {
  const transaction = { family: layoutOf(family).table, table: PROBE_TABLE };
  try {
    await host.netlink.nftables().commit({ ...transaction, operations: operationsFor(tried) });
  } catch (error) {
    if (hasCode(error, 'KP_NETLINK_LIBRARY')) throw error;
    if (isPermission(error)) throw Object.assign(error, { code: 'KP_BACKEND_FAILED' });
    return error instanceof Error ? error.message : String(error);
  }
  await host.netlink.nftables().commit({ ...transaction, operations: [{ do: 'delete table' }] });
  return undefined;
}

function isPermission(error: unknown): error is Error {
  return error instanceof Error && 'errno' in error && error.errno === 'EPERM';
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
