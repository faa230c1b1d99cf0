/**
 * The flags as values of configuration fields: what each one given sets, and, beside a file, which ones count at all.
 *
 * Beside a file a flag that stands for a field is ignored, as in the reference, except those of the log,
 * --hostname-override, and three of ours that have no field there: --backend (but not its other name --proxy-mode),
 * --plugin-dir and --backend-option. Flags that stand for no field always count.
 *
 * Paths of plugins become absolute here: what --write-config-to writes must mean the same wherever it is read.
 */
import { resolve } from 'node:path';
import { formatBindAddress, parseBindAddress } from './bind-address.ts';
import type { CommandLine, Fault } from './command-line.ts';
import { defaultHealthzHost, defaultMetricsHost, HEALTHZ_PORT, METRICS_PORT } from './complete.ts';
import { DEFAULTS, type KubeProxyConfiguration, NO_SERVER } from './configuration.ts';
import { type FieldPath, valueAt } from './fields.ts';
import { FLAG_LIST, type FlagName } from './flags.ts';

export interface FlaggedValues {
  readonly values: ReadonlyMap<FieldPath, unknown>;
  /** The flag that said so, as it was spelled: "--cluster-cidr". */
  readonly origins: ReadonlyMap<FieldPath, string>;
  readonly warnings: readonly Fault[];
}

/** `file`: the configuration of the file, if there is one. */
export function flaggedValues(line: CommandLine, file: KubeProxyConfiguration | undefined): FlaggedValues {
  const values = new Map<FieldPath, unknown>();
  const origins = new Map<FieldPath, string>();
  const warnings: Fault[] = [];
  const ignored: string[] = [];
  const set = (path: FieldPath, value: unknown, flag: string): void => {
    values.set(path, value);
    origins.set(path, `--${flag}`);
  };

  for (const [name, flag] of FLAG_LIST) {
    if (!line.given.has(name)) continue;
    if (file && flag.besideFile === 'ignored') {
      ignored.push(`--${name} (${flag.fields?.join(' and ')})`);
      continue;
    }
    if (flag.noEffect) warnings.push({ where: `--${name}`, what: `has no effect: ${flag.noEffect}` });
    if (flag.deprecated) warnings.push({ where: `--${name}`, what: `is deprecated; ${flag.deprecated}` });
    const value = line.values[name];
    // An empty name is no name, and does not hide that of the file.
    if (name === 'hostname-override' && value === '') continue;
    for (const path of flag.fields ?? []) {
      if (path === 'pluginDir') set(path, value === '' ? '' : resolve(String(value)), name);
      else set(path, file ? joined(name, value, valueAt(file, path)) : value, name);
    }
  }

  const spelled = line.spellings.get('backend');
  if (spelled?.has('backend')) {
    const { backend } = line.values;
    set('backend', backend.includes('/') ? resolve(backend) : backend, 'backend');
  }
  if (spelled?.has('proxy-mode')) {
    if (file) ignored.push('--proxy-mode (mode)');
    else set('mode', line.values.backend, 'proxy-mode');
  }
  if (!file) {
    for (const server of SERVERS) {
      const address = serverAddress(line, server, String(values.get('bindAddress') ?? DEFAULTS.bindAddress));
      if (address) set(server.field, address.value, address.flag);
    }
  }
  if (ignored.length > 0) {
    const what = `the file counts, and these flags are ignored: ${ignored.join(', ')}; say it in the file`;
    warnings.push({ where: '--config', what });
  }
  return { values, origins, warnings };
}

/** Of values that may be several, those of the flag go before those of the file. */
function joined(name: FlagName, flagged: unknown, inFile: unknown): unknown {
  if (name === 'vmodule') return [...(flagged as readonly unknown[]), ...(inFile as readonly unknown[])];
  if (name === 'backend-option') return { ...(inFile as object), ...(flagged as object) };
  return flagged;
}

interface Server {
  readonly field: FieldPath;
  readonly addressFlag: 'healthz-bind-address' | 'metrics-bind-address';
  readonly portFlag: 'healthz-port' | 'metrics-port';
  readonly defaultPort: number;
  readonly defaultHost: (bindAddress: string) => string;
}

const SERVERS: readonly Server[] = [
  {
    field: 'healthzBindAddress',
    addressFlag: 'healthz-bind-address',
    portFlag: 'healthz-port',
    defaultPort: HEALTHZ_PORT,
    defaultHost: defaultHealthzHost,
  },
  {
    field: 'metricsBindAddress',
    addressFlag: 'metrics-bind-address',
    portFlag: 'metrics-port',
    defaultPort: METRICS_PORT,
    defaultHost: defaultMetricsHost,
  },
];

/**
 * Two flags say where a server listens. Port 0 and an empty address mean nowhere (in the reference the one fails for
 * the metrics server, and the other leaves the default). The port counts where the address has none, or is not given.
 */
function serverAddress(
  { given, values }: CommandLine,
  server: Server,
  bindAddress: string,
): { readonly value: string; readonly flag: FlagName } | undefined {
  const { addressFlag, portFlag, defaultPort } = server;
  const text = values[addressFlag].trim();
  const port = given.has(portFlag) ? values[portFlag] : defaultPort;
  if (given.has(portFlag) && port === 0) return { value: NO_SERVER, flag: portFlag };
  if (given.has(addressFlag)) {
    if (text === '' || text === NO_SERVER) return { value: NO_SERVER, flag: addressFlag };
    const address = parseBindAddress(text, port);
    return { value: address ? formatBindAddress(address) : text, flag: addressFlag };
  }
  if (!given.has(portFlag)) return undefined;
  return { value: formatBindAddress({ host: server.defaultHost(bindAddress), port }), flag: portFlag };
}
