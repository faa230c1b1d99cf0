/** Whether this kernel has what the table consists of. */
import type { Host, IPFamily } from '../../core/backend.ts';
import { hostFamilies, servedFamilies, unsupported } from '../shared/families.ts';
import { chooseOwnership, type Feature, missingFeatures } from '../shared/table/probe.ts';
import { MASQUERADE, ORIGINAL_PORT, PORT } from '../shared/table/rules.ts';
import type { BackendSettings } from './backend.ts';
import { layoutOf } from './layout.ts';
import type { NftablesOptions } from './options.ts';

const PROBE_TABLE = 'kube-services-probe';

export function features(family: IPFamily): readonly Feature[] {
  const { sets, saddr, daddr, originalDaddr } = layoutOf(family);
  const version = family === 'IPv4' ? 'IPV4' : 'IPV6';
  const key = [daddr, ...PORT];
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
      statements: [{ ctStatus: 'dnat' }, { in: 'masquerade-services', key: [originalDaddr, ...ORIGINAL_PORT] }],
    },
    { option: 'CONFIG_NFT_MASQ', statements: [MASQUERADE] },
    { option: `CONFIG_NFT_REJECT_${version}`, statements: [{ reject: 'port unreachable' }] },
    {
      option: 'CONFIG_NF_TABLES (maps filled by rules)',
      sets: [sets.affinity],
      statements: [{ update: 'affinity', key: [saddr, 'meta priority'], data: ['meta priority'], timeoutSeconds: 1 }],
    },
  ];
}

export async function probe(host: Host, options: NftablesOptions): Promise<BackendSettings> {
  const { families, missing } = await servedFamilies(host, hostFamilies(host), (family) =>
    missingFeatures(host, family, PROBE_TABLE, features(family)),
  );
  if (families.length === 0) throw unsupported('nftables', missing);
  return { families, owned: await chooseOwnership(host, options.ownership), comments: options.comments === 'on' };
}
