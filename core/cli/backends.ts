/**
 * The backends that come with kube-proxy. Each is loaded when it is chosen, so that a fault of one, or a library that
 * only one needs, is nothing to the others.
 */
import { BACKEND_API_VERSION, type BackendPlugin } from '../backend.ts';
import type { Settings } from '../config/settings.ts';
import type { ChosenBackend } from '../daemon/open-backend.ts';

interface BuiltIn {
  readonly name: string;
  /** The plugin's own, repeated for --help, which loads no plugin. */
  readonly summary: string;
  readonly load: () => Promise<{ readonly default: BackendPlugin }>;
  /** Options with which it need not find out what it does not need for cleaning up. */
  readonly cleanupOptions?: Readonly<Record<string, unknown>>;
  /** Absent: it programs the host, so that what it left must go when another one takes over. */
  readonly leavesHostAlone?: true;
  /** Options that flags of the core stand for; --backend-option goes before them. */
  readonly options?: (settings: Settings) => Readonly<Record<string, unknown>>;
}

export const BUILT_IN: readonly BuiltIn[] = [
  {
    name: 'iptables',
    summary: 'DNAT rules written with iptables-restore; nft and legacy variants, IPv4 and IPv6',
    load: () => import('../../plugins/iptables/index.ts'),
    options: ({ masqueradeBit }) => ({ masqueradeBit }),
    cleanupOptions: { affinity: 'recent', hairpin: 'rules' },
  },
  {
    name: 'nftables',
    summary: 'maps in nf_tables, written over netlink; cost per change does not grow; IPv4 and IPv6',
    load: () => import('../../plugins/nftables/index.ts'),
  },
  {
    name: 'dry-run',
    summary: 'changes nothing; prints what would be served',
    load: () => import('../../plugins/dry-run/index.ts'),
    leavesHostAlone: true,
  },
];

export function backendNames(): readonly string[] {
  return BUILT_IN.map(({ name }) => name);
}

/** The backend that the settings name, and the options it is to get. */
export async function chooseBackend(settings: Settings): Promise<ChosenBackend> {
  const entry = BUILT_IN.find(({ name }) => name === settings.backend);
  if (!entry) throw new Error(`there is no backend "${settings.backend}"; available: ${backendNames().join(', ')}`);
  return {
    plugin: await loadBackend(entry),
    options: { ...entry.options?.(settings), ...settings.backendOptions },
    leavesHostAlone: entry.leavesHostAlone === true,
  };
}

export async function loadBackend({ name, load }: BuiltIn): Promise<BackendPlugin> {
  const { default: plugin } = await load();
  if (plugin.apiVersion !== BACKEND_API_VERSION) {
    const versions = `version ${plugin.apiVersion} of the contract, this kube-proxy offers ${BACKEND_API_VERSION}`;
    throw new Error(`backend ${name}: was written for ${versions}; use one that fits`);
  }
  return plugin;
}
