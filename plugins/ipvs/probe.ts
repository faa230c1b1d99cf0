/** Whether this kernel has what the backend is built on, found by trying. */
import type { Host, IPFamily } from '../../core/backend.ts';
import { hostFamilies, servedFamilies, unsupported } from '../shared/families.ts';
import { chooseOwnership, type Feature, missingFeatures } from '../shared/table/probe.ts';
import { MASQUERADE, PORT } from '../shared/table/rules.ts';
import type { BackendSettings } from './backend.ts';
import { CONNTRACK_PARAMETER } from './kernel-parameters.ts';
import { INTERFACE, layoutOf } from './layout.ts';
import type { IPVSOptions } from './options.ts';

const PROBE_TABLE = 'kube-ipvs-probe';
const TRIAL_INTERFACE = 'kube-ipvs-probe';

export function features(family: IPFamily): readonly Feature[] {
  const { sets, saddr, daddr, originalDaddr } = layoutOf(family);
  const version = family === 'IPv4' ? 'IPV4' : 'IPV6';
  const key = [daddr, ...PORT];
  return [
    {
      option: 'CONFIG_NF_TABLES',
      sets: [sets.services, sets.marks],
      statements: [{ priority: { map: 'services', key } }, { mark: { map: 'marks', key } }],
    },
    {
      option: 'CONFIG_NF_TABLES (sets of concatenated ranges, Linux 5.6)',
      sets: [sets['source-ranges']],
      statements: [{ in: 'source-ranges', key: [...key, saddr] }],
    },
    { option: `CONFIG_NFT_FIB_${version}`, statements: [{ fib: 'saddr' }] },
    {
      option: 'CONFIG_NFT_CT',
      sets: [sets.addresses],
      statements: [{ ctState: ['new'] }, { in: 'addresses', key: [originalDaddr] }],
    },
    { option: 'CONFIG_NFT_MASQ', statements: [MASQUERADE] },
    { option: `CONFIG_NFT_REJECT_${version}`, statements: [{ reject: 'port unreachable' }] },
  ];
}

export async function probe(host: Host, options: IPVSOptions): Promise<BackendSettings> {
  const everywhere = await missingEverywhere(host);
  if (everywhere.length > 0) throw unsupported('ipvs', everywhere.join(', '));
  const { families, missing } = await servedFamilies(host, hostFamilies(host), async (family) => [
    ...(await missingScheduler(host, family, options)),
    ...(await missingFeatures(host, family, PROBE_TABLE, features(family))),
  ]);
  if (families.length === 0) throw unsupported('ipvs', missing);
  return { families, owned: await chooseOwnership(host, options.ownership), options };
}

/** What no family can do without. */
async function missingEverywhere(host: Host): Promise<readonly string[]> {
  try {
    host.netlink.ipvs();
    if (host.sysctl.read(CONNTRACK_PARAMETER) === undefined) {
      return ['CONFIG_IP_VS_NFCT (IPVS of this kernel does not translate through conntrack)'];
    }
    if (host.netlink.dummyLink(INTERFACE).addresses('IPv4') !== undefined) return [];
    const trial = host.netlink.dummyLink(TRIAL_INTERFACE);
    trial.ensure();
    trial.delete();
  } catch (error) {
    return [reasonOf(error)];
  }
  return [];
}

async function missingScheduler(host: Host, family: IPFamily, { scheduler }: IPVSOptions): Promise<readonly string[]> {
  try {
    await host.netlink.ipvs().probe(family, scheduler.name);
    return [];
  } catch (error) {
    return [reasonOf(error)];
  }
}

const LACKS: readonly unknown[] = ['KP_NETLINK_UNSUPPORTED', 'KP_NETLINK_UNAVAILABLE'];

/** Of what the kernel lacks. Throws what has nothing to do with that. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error) || !('code' in error) || error.code === 'KP_NETLINK_LIBRARY') throw error;
  if (!LACKS.includes(error.code)) throw Object.assign(error, { code: 'KP_BACKEND_FAILED' });
  return error.message;
}
