/**
 * From the command line, and the file that --config names, to the settings that the commands work with. Nothing is
 * read from the machine; faults come back all at once, each with the flag or the line of the file that it is about.
 *
 *   defaults ◀─ file, or flags without one ◀─ flags that win over a file ──complete, validate──▶ Settings
 *
 * The same function serves the start and every later edit of the file, with the same command line.
 */
import { createHash } from 'node:crypto';
import type { IPFamily } from '../backend.ts';
import { parseIP } from '../model/ip.ts';
import type { NodeSettings } from '../model/node-settings.ts';
import { type BindAddress, parseBindAddress } from './bind-address.ts';
import type { CommandLine, Fault } from './command-line.ts';
import { canonicalHostname, complete, HEALTHZ_PORT, METRICS_PORT, stanzaOf } from './complete.ts';
import { DEFAULTS, type KubeProxyConfiguration, LOCAL_MODES, NO_SERVER } from './configuration.ts';
import { type Decoded, decodeConfiguration, place } from './decode.ts';
import { isDefault } from './external.ts';
import { effectiveGates } from './feature-gates.ts';
import { FIELD_LIST, type FieldPath, valueAt, withValues } from './fields.ts';
import { flaggedValues } from './flag-values.ts';
import { FLAG_LIST } from './flags.ts';
import { parseCIDRs } from './kinds.ts';
import { splitCIDRs, validate } from './validate.ts';

export type { BindAddress } from './bind-address.ts';
export { canonicalHostname } from './complete.ts';

export interface Settings {
  /** --config; "" = none. */
  readonly configFile: string;
  /** Of the file's text, as in /configz; "" without a file. */
  readonly configHash: string;
  /** The effective configuration, for /configz and --write-config-to. */
  readonly configuration: KubeProxyConfiguration;
  readonly source: SourceSettings;
  /** --manifests; "" when it is not given. */
  readonly manifests: string;
  /** The name of a backend that is built in or in `pluginDir`, or the absolute path of a plugin's file. */
  readonly backend: string;
  /** Where the backend is looked for; "" when it is built in or given by its path. */
  readonly pluginDir: string;
  /** Each backend checks its own. */
  readonly backendOptions: Readonly<Record<string, unknown>>;
  /** Of the mode's own stanza. */
  readonly masqueradeBit: number;
  /** `nodeName` is the hostname override; "" when absent, for the command to fill in. */
  readonly node: NodeSettings;
  /** Of the mode's own stanza. */
  readonly minSyncPeriodMs: number;
  readonly syncPeriodMs: number;
  /** Undefined: no such server. */
  readonly healthz: BindAddress | undefined;
  readonly metrics: BindAddress | undefined;
  readonly bindAddressHardFail: boolean;
  readonly profiling: boolean;
  /** Effective, of all gates known. */
  readonly featureGates: Readonly<Record<string, boolean>>;
  readonly conntrack: ConntrackSettings;
  readonly ipvs: IPVSSettings;
  readonly oomScoreAdj: number;
  readonly verbosity: number;
  readonly logFormat: 'text' | 'json';
  readonly initOnly: boolean;
  /** --write-config-to; "" when it is not given. */
  readonly writeConfigTo: string;
  /** For render only. */
  readonly families: readonly IPFamily[];
  readonly nodeAddresses: readonly string[];
  /** To be logged once there is a log. */
  readonly warnings: readonly Fault[];
}

export type SourceSettings =
  | { readonly kind: 'manifests'; readonly path: string }
  | {
      readonly kind: 'api';
      /** Path; "" = in-cluster, unless `master` names a server. */
      readonly kubeconfig: string;
      readonly master: string;
      /** Requests per second in the long run; negative = no limit. */
      readonly qps: number;
      readonly burst: number;
      readonly contentType: string;
    };

/** Seconds are rounded up; 0 = leave what the kernel has. */
export interface ConntrackSettings {
  readonly maxPerCore: number;
  readonly min: number;
  readonly tcpEstablishedTimeoutSeconds: number;
  readonly tcpCloseWaitTimeoutSeconds: number;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeoutSeconds: number;
  readonly udpStreamTimeoutSeconds: number;
}

/** Seconds are rounded up; 0 = leave what the kernel has. */
export interface IPVSSettings {
  /** "" = rr. */
  readonly scheduler: string;
  /** Canonical. */
  readonly excludeCIDRs: readonly string[];
  readonly strictARP: boolean;
  readonly tcpTimeoutSeconds: number;
  readonly tcpFinTimeoutSeconds: number;
  readonly udpTimeoutSeconds: number;
}

export interface CheckedSettings {
  /** What is faulty has its default. */
  readonly settings: Settings;
  readonly faults: readonly Fault[];
}

/** The text of the file that --config names. */
export interface ConfigText {
  readonly text: string;
  readonly fileName: string;
}

export interface LoadedConfig {
  /** Undefined when there are faults. */
  readonly settings: Settings | undefined;
  readonly faults: readonly Fault[];
  /** Those of the settings, known even when there are faults. */
  readonly warnings: readonly Fault[];
  /** Of the text. */
  readonly hash: string;
}

/** The settings by the file's text, at start and again whenever it was edited; `line` is the command line of the start. */
export function loadConfigText(
  text: string,
  fileName: string,
  line: CommandLine,
  backends: readonly string[],
): LoadedConfig {
  const { settings, faults } = checkSettings(line, backends, { text, fileName });
  const { warnings, configHash: hash } = settings;
  return { settings: faults.length > 0 ? undefined : settings, faults, warnings, hash };
}

/** Tells texts of configuration files apart, in few characters: of /configz, of a metric, of a log line. */
export function configHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** `backends`: the names that --backend may have. Faults of the command line itself are passed on. */
export function checkSettings(line: CommandLine, backends: readonly string[], file?: ConfigText): CheckedSettings {
  const decoded = file && decodeConfiguration(file.text, file.fileName);
  const flagged = flaggedValues(line, decoded?.configuration);
  const configuration = complete(withValues(decoded?.configuration ?? DEFAULTS, flagged.values));

  const where = (field: FieldPath, item?: string): string => {
    const path = item === undefined ? field : `${field}.${item}`;
    const flag = flagged.origins.get(field);
    if (flag !== undefined) return item === undefined ? flag : `${flag} ${item}`;
    return file ? place(file.fileName, decoded?.lines.get(field) ?? 0, path) : flagOf(field);
  };
  const isGiven = (field: FieldPath): boolean => flagged.origins.has(field) || decoded?.lines.has(field) === true;
  const unreadable = unreadableFields(line, decoded);
  const problems = validate(configuration, {
    backends,
    name: (field) => (file ? field : flagOf(field)),
    isGiven,
    isUnreadable: (field) => unreadable.has(field),
  });
  const faults = [
    ...line.faults,
    ...(decoded?.faults ?? []),
    ...problems.map(({ field, item, what }): Fault => ({ where: where(field, item), what })),
    ...checkSource(line, decoded),
  ];
  const gates = effectiveGates(configuration.featureGates);
  const warnings = [
    ...flagged.warnings,
    ...(decoded?.warnings ?? []),
    ...gates.unknown.map(({ name, what }): Fault => ({ where: where('featureGates', name), what })),
    ...(decoded ? withoutEffect(decoded, where) : []),
    ...unusedKubeconfig(line, decoded, where),
    ...unusedLocalhost(configuration, isGiven, where),
  ];
  const origin = { configFile: file?.fileName ?? '', configHash: file ? configHash(file.text) : '' };
  return { settings: { ...origin, ...toSettings(configuration, line, gates.gates, backends), warnings }, faults };
}

type Where = (field: FieldPath, item?: string) => string;

/** The flag that stands for a field, or the field itself when there is none. */
function flagOf(field: FieldPath): string {
  if (field === 'backend' || field === 'mode') return '--backend';
  const [name] = FLAG_LIST.find(([, flag]) => flag.fields?.includes(field) && !flag.deprecated) ?? [];
  return name === undefined ? field : `--${name}`;
}

/** Fields whose value was given, but could not be read: what stands in for it must not be found fault with. */
function unreadableFields(line: CommandLine, decoded: Decoded | undefined): ReadonlySet<FieldPath> {
  const faulty = new Set(line.faults.map(({ where }) => where));
  const ofFlags = FLAG_LIST.filter(([name, { besideFile }]) => {
    return faulty.has(`--${name}`) && !(decoded && besideFile === 'ignored');
  });
  return new Set([...ofFlags.flatMap(([, { fields }]) => fields ?? []), ...(decoded?.unreadable ?? [])]);
}

function checkSource({ command, values, given, faults }: CommandLine, decoded: Decoded | undefined): readonly Fault[] {
  if (command === 'render' && values.manifests === '' && !faults.some(({ where }) => where === '--manifests')) {
    return [{ where: '--manifests', what: 'a source of Services is needed; give a file or a folder of manifests' }];
  }
  const others = (['kubeconfig', 'master'] as const).filter(
    (name) => given.has(name) && values[name] !== '' && !(decoded && name === 'kubeconfig'),
  );
  if (command !== 'run' || values.manifests === '' || others.length === 0) return [];
  const flags = others.map((name) => `--${name}`).join(' and ');
  const what = `contradicts ${flags}: Services come from manifests or from the API server; leave one out`;
  return [{ where: '--manifests', what }];
}

function unusedKubeconfig(line: CommandLine, decoded: Decoded | undefined, where: Where): readonly Fault[] {
  const field = 'clientConnection.kubeconfig';
  if (line.command !== 'run' || line.values.manifests === '' || !decoded?.lines.has(field)) return [];
  return [{ where: where(field), what: 'is not used, because --manifests says where Services come from' }];
}

function unusedLocalhost(
  { mode, backend, iptables }: KubeProxyConfiguration,
  isGiven: (field: FieldPath) => boolean,
  where: Where,
): readonly Fault[] {
  const field = 'iptables.localhostNodePorts';
  if (mode !== 'ipvs' || backend !== '' || !iptables.localhostNodePorts || !isGiven(field)) return [];
  return [
    { where: where(field), what: 'has no effect: IPVS sends nothing that comes from 127.0.0.0/8 to another host' },
  ];
}

/** Fields that a file sets though they do nothing here. */
function withoutEffect(decoded: Decoded, where: Where): readonly Fault[] {
  return FIELD_LIST.flatMap(([path, { noEffect }]): readonly Fault[] => {
    if (!noEffect || !decoded.lines.has(path) || isDefault(path, valueAt(decoded.configuration, path))) return [];
    return [{ where: where(path), what: `has no effect: ${noEffect}` }];
  });
}

function toSettings(
  configuration: KubeProxyConfiguration,
  { values }: CommandLine,
  featureGates: Readonly<Record<string, boolean>>,
  backends: readonly string[],
): Omit<Settings, 'configFile' | 'configHash' | 'warnings'> {
  const { clientConnection: client, conntrack, ipvs, detectLocal, logging } = configuration;
  const stanza = stanzaOf(configuration);
  const { minSyncPeriod, syncPeriod } = configuration[stanza];
  const { masqueradeAll, masqueradeBit } = stanza === 'nftables' ? configuration.nftables : configuration.iptables;
  const primary = configuration.nodePortAddresses.includes('primary');
  const backend = configuration.backend || configuration.mode;
  const isLookedUp = !backends.includes(backend) && !backend.includes('/');
  return {
    configuration,
    source:
      values.manifests !== ''
        ? { kind: 'manifests', path: values.manifests }
        : {
            kind: 'api',
            kubeconfig: client.kubeconfig,
            master: values.master,
            qps: client.qps,
            burst: client.burst,
            contentType: client.contentType,
          },
    manifests: values.manifests,
    backend,
    pluginDir: isLookedUp ? configuration.pluginDir : '',
    backendOptions: configuration.backendOptions,
    masqueradeBit,
    node: {
      nodeName: canonicalHostname(configuration.hostnameOverride),
      bindAddress: parseIP(configuration.bindAddress)?.ip ?? DEFAULTS.bindAddress,
      detectLocalMode: LOCAL_MODES.find((mode) => mode === configuration.detectLocalMode) ?? LOCAL_MODES[0],
      clusterCIDRs:
        configuration.detectLocalMode === 'ClusterCIDR' ? canonicalCIDRs(splitCIDRs(configuration.clusterCIDR)) : [],
      podBridgeInterface: detectLocal.bridgeInterface,
      podInterfaceNamePrefix: detectLocal.interfaceNamePrefix,
      nodePortAddresses: primary ? ['primary'] : canonicalCIDRs(configuration.nodePortAddresses),
      // IPVS refuses to send what comes from a loopback address to another host.
      localhostNodePorts: configuration.iptables.localhostNodePorts && backend !== 'ipvs',
      masqueradeAll,
      serviceCIDRs: values['service-cidr'],
      tcpBeLiberal: conntrack.tcpBeLiberal,
      allowExternalIPs: featureGates.AllowServiceExternalIPs !== false,
    },
    minSyncPeriodMs: minSyncPeriod,
    syncPeriodMs: syncPeriod,
    healthz: bindAddress(configuration.healthzBindAddress, HEALTHZ_PORT),
    metrics: bindAddress(configuration.metricsBindAddress, METRICS_PORT),
    bindAddressHardFail: configuration.bindAddressHardFail,
    profiling: configuration.enableProfiling,
    featureGates,
    conntrack: {
      maxPerCore: conntrack.maxPerCore,
      min: conntrack.min,
      tcpEstablishedTimeoutSeconds: seconds(conntrack.tcpEstablishedTimeout),
      tcpCloseWaitTimeoutSeconds: seconds(conntrack.tcpCloseWaitTimeout),
      tcpBeLiberal: conntrack.tcpBeLiberal,
      udpTimeoutSeconds: seconds(conntrack.udpTimeout),
      udpStreamTimeoutSeconds: seconds(conntrack.udpStreamTimeout),
    },
    ipvs: {
      scheduler: ipvs.scheduler,
      excludeCIDRs: canonicalCIDRs(ipvs.excludeCIDRs),
      strictARP: ipvs.strictARP,
      tcpTimeoutSeconds: seconds(ipvs.tcpTimeout),
      tcpFinTimeoutSeconds: seconds(ipvs.tcpFinTimeout),
      udpTimeoutSeconds: seconds(ipvs.udpTimeout),
    },
    oomScoreAdj: configuration.oomScoreAdj,
    verbosity: logging.verbosity,
    logFormat: logging.format === 'json' ? 'json' : 'text',
    initOnly: values['init-only'],
    writeConfigTo: values['write-config-to'],
    families: values.family === 'both' ? ['IPv4', 'IPv6'] : [values.family],
    nodeAddresses: values['node-addresses'],
  };
}

function canonicalCIDRs(cidrs: readonly string[]): readonly string[] {
  return parseCIDRs(cidrs).value ?? [];
}

function bindAddress(text: string, defaultPort: number): BindAddress | undefined {
  return text === NO_SERVER ? undefined : parseBindAddress(text, defaultPort);
}

/** Up, so that half a second does not become 0, which means something else. */
function seconds(milliseconds: number): number {
  return Math.ceil(milliseconds / 1000);
}
