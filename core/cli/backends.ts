/**
 * The backends that there are: those that come with kube-proxy, and plugins in files. Each is loaded when it is chosen,
 * so that a fault of one, or a library that only one needs, is nothing to the others.
 *
 *   --backend NAME   built in, whatever --plugin-dir holds
 *             NAME   else a plugin of --plugin-dir
 *             PATH   a plugin's file; anything with a "/"
 */
import { resolve } from 'node:path';
import { BACKEND_API_VERSION, type BackendPlugin } from '../backend.ts';
import { MODES } from '../config/configuration.ts';
import type { Settings } from '../config/settings.ts';
import type { ChosenBackend } from '../daemon/open-backend.ts';
import { findPlugin } from '../plugin/find.ts';

export interface BuiltIn {
  readonly name: string;
  /** The plugin's own, repeated for --help, which loads no plugin. */
  readonly summary: string;
  readonly load: () => Promise<{ readonly default: BackendPlugin }>;
  /** Options for cleaning up: what it then need not find out, and what is not its own to remove. */
  readonly cleanupOptions?: (settings: Settings) => Readonly<Record<string, unknown>>;
  /** Before the others: it tells by what one of them removes (upstream's IP sets) what is its own to remove. */
  readonly cleanedFirst?: true;
  /** Without its own options it does not know what it left. */
  readonly cleanedByOptions?: true;
  /** The plugin's own, repeated: what it left need not go when another one takes over. */
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
    cleanupOptions: () => ({ affinity: 'recent', hairpin: 'rules' }),
  },
  {
    name: 'nftables',
    summary: 'maps in nf_tables, written over netlink; cost per change does not grow; IPv4 and IPv6',
    load: () => import('../../plugins/nftables/index.ts'),
    cleanupOptions: () => ({ ownership: 'off' }),
  },
  {
    name: 'ipvs',
    summary:
      "virtual servers in the kernel's IPVS, written over netlink; schedulers, weights, graceful ends; IPv4 and IPv6",
    load: () => import('../../plugins/ipvs/index.ts'),
    options: ({ ipvs }) => whatSays(ipvs),
    cleanupOptions: ({ ipvs: { excludeCIDRs } }) => ({ ...whatSays({ excludeCIDRs }), cleanupOnly: true }),
    cleanedFirst: true,
  },
  {
    name: 'userspace',
    summary: 'forwards TCP and UDP in this process; needs no rights, uses nf_tables where it may; IPv4 and IPv6',
    load: () => import('../../plugins/userspace/index.ts'),
    cleanupOptions: () => ({ way: 'direct' }),
  },
  {
    name: 'exec',
    summary: 'a program of your own, told the desired state in JSON lines',
    load: () => import('../../plugins/exec/index.ts'),
    cleanedByOptions: true,
  },
  {
    name: 'dry-run',
    summary: 'changes nothing; prints what would be served',
    load: () => import('../../plugins/dry-run/index.ts'),
    leavesHostAlone: true,
  },
];

/** In the order in which they are cleaned up. */
export const CLEANED_IN_ORDER: readonly BuiltIn[] = [
  ...BUILT_IN.filter(({ cleanedFirst }) => cleanedFirst),
  ...BUILT_IN.filter(({ cleanedFirst }) => !cleanedFirst),
];

/** Without "", 0, false and empty lists, which leave it to the plugin. */
function whatSays(settings: object): Readonly<Record<string, unknown>> {
  const says = (value: unknown): boolean => (Array.isArray(value) ? value.length > 0 : Boolean(value));
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => says(value)));
}

export function backendNames(): readonly string[] {
  return BUILT_IN.map(({ name }) => name);
}

/** Names that no plugin may have: those of the modes that are to come, too. */
export function reservedNames(): readonly string[] {
  return [...new Set([...backendNames(), ...MODES])];
}

export interface LoadedBackend {
  readonly plugin: BackendPlugin;
  readonly builtIn?: BuiltIn;
  /** The file of one that is not built in. */
  readonly path?: string;
  /** Of its files, those that look different now from what was read, and runs. */
  readonly changed?: readonly string[];
}

/** `backend` as in --backend; a path is relative to the working directory. Rejects with a `PluginFault`. */
export async function findBackend(backend: string, pluginDir: string): Promise<LoadedBackend> {
  const builtIn = BUILT_IN.find(({ name }) => name === backend);
  if (builtIn) return { plugin: await loadBackend(builtIn), builtIn };
  const isPath = backend.includes('/');
  if (!isPath && pluginDir === '') {
    throw new Error(`there is no backend "${backend}"; available: ${backendNames().join(', ')}`);
  }
  const [{ loadPlugin }, { changedSinceRead }] = await Promise.all([
    import('../plugin/load.ts'),
    import('../plugin/stamps.ts'),
  ]);
  const path = findPlugin(isPath ? resolve(backend) : backend, pluginDir, backendNames());
  const name = isPath ? undefined : backend;
  const plugin = await loadPlugin({ path, name, reserved: reservedNames() });
  return { plugin, path, changed: changedSinceRead(path) };
}

/** The backend that the settings name, and the options it is to get. */
export async function chooseBackend(settings: Settings): Promise<ChosenBackend> {
  const { plugin, builtIn, path, changed = [] } = await findBackend(settings.backend, settings.pluginDir);
  return {
    plugin,
    options: { ...builtIn?.options?.(settings), ...settings.backendOptions },
    leavesHostAlone: plugin.leavesHostAlone === true,
    file: path,
    changed,
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
