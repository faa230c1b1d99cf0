/**
 * KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1, as of Kubernetes 1.36) as the program holds it: every field
 * present, typed and with its default. Names are those of the file.
 *
 *   flags ─┐
 *          ├─▶ KubeProxyConfiguration ─▶ validate ─▶ Settings
 *   file ──┘            └──▶ external form: --write-config-to, /configz
 *
 * Durations are milliseconds in here and Go's text ("30s") in the file. Three fields are ours: `backend`, `pluginDir` and
 * `backendOptions`.
 */

/** A configuration of this program: the reference's fields and, marked as such, ours. */
export interface KubeProxyConfiguration {
  readonly featureGates: Readonly<Record<string, boolean>>;
  readonly clientConnection: ClientConnectionConfiguration;
  readonly logging: LoggingConfiguration;
  /** Name of the Node object; "" = the hostname. */
  readonly hostnameOverride: string;
  /** Replaces the node's primary IP unless unspecified. No socket is bound to it. */
  readonly bindAddress: string;
  /** "IP:port", or "0" for no health server. The reference has no value for that, and reads "" as the default. */
  readonly healthzBindAddress: string;
  /** "IP:port", or "0" for no metrics server. */
  readonly metricsBindAddress: string;
  readonly bindAddressHardFail: boolean;
  readonly enableProfiling: boolean;
  readonly showHiddenMetricsForVersion: string;
  /** One of MODES; never "" in an effective configuration, unless `backend` is a third party's. */
  readonly mode: string;
  /**
   * Ours: the data plane; wins over `mode`. The name of a backend that is built in or found in `pluginDir`, or, with a
   * "/" in it, the absolute path of a plugin's file. "" = as `mode` says.
   */
  readonly backend: string;
  /** Ours: absolute path of the folder in which plugins are found by name. "" = they are not. */
  readonly pluginDir: string;
  /** Ours: options of the backend, by its README. Any values; those from the command line are text. */
  readonly backendOptions: Readonly<Record<string, unknown>>;
  readonly iptables: IPTablesConfiguration;
  readonly ipvs: IPVSConfiguration;
  readonly nftables: NFTablesConfiguration;
  /** Windows only: read and written, but of no effect. */
  readonly winkernel: WinkernelConfiguration;
  /** One of LOCAL_MODES; never "" in an effective configuration. */
  readonly detectLocalMode: string;
  readonly detectLocal: DetectLocalConfiguration;
  /** One CIDR, or one of each family with a comma between. */
  readonly clusterCIDR: string;
  /** CIDRs, or exactly "primary"; empty = every local address, whatever the mode. */
  readonly nodePortAddresses: readonly string[];
  readonly oomScoreAdj: number;
  readonly conntrack: ConntrackConfiguration;
  readonly configSyncPeriod: number;
  /** Of the userspace mode that the reference no longer has; of no effect there and here. */
  readonly portRange: string;
  /** Windows only. */
  readonly windowsRunAsService: boolean;
}

export interface ClientConnectionConfiguration {
  /** Path; "" = in-cluster, unless --master names a server. */
  readonly kubeconfig: string;
  readonly acceptContentTypes: string;
  readonly contentType: string;
  /** Requests per second in the long run; negative = no limit. */
  readonly qps: number;
  readonly burst: number;
}

export interface LoggingConfiguration {
  /** "text" or "json". */
  readonly format: string;
  readonly flushFrequency: number;
  readonly verbosity: number;
  readonly vmodule: readonly VModuleItem[];
  readonly options: { readonly text: OutputRoutingOptions; readonly json: OutputRoutingOptions };
}

export interface VModuleItem {
  readonly filePattern: string;
  readonly verbosity: number;
}

export interface OutputRoutingOptions {
  readonly splitStream: boolean;
  /** A Kubernetes quantity, "16Mi". */
  readonly infoBufferSize: string;
}

export interface IPTablesConfiguration {
  /** Bit of the packet mark; ipvs uses it, too. */
  readonly masqueradeBit: number;
  readonly masqueradeAll: boolean;
  readonly localhostNodePorts: boolean;
  readonly syncPeriod: number;
  readonly minSyncPeriod: number;
}

export interface IPVSConfiguration {
  readonly syncPeriod: number;
  readonly minSyncPeriod: number;
  /** "" = rr. */
  readonly scheduler: string;
  readonly excludeCIDRs: readonly string[];
  readonly strictARP: boolean;
  /** 0 = leave what the kernel has; so the other two. */
  readonly tcpTimeout: number;
  readonly tcpFinTimeout: number;
  readonly udpTimeout: number;
}

export interface NFTablesConfiguration {
  readonly masqueradeBit: number;
  readonly masqueradeAll: boolean;
  readonly syncPeriod: number;
  readonly minSyncPeriod: number;
}

export interface WinkernelConfiguration {
  readonly networkName: string;
  readonly sourceVip: string;
  readonly enableDSR: boolean;
  readonly rootHnsEndpointName: string;
  readonly forwardHealthCheckVip: boolean;
}

export interface DetectLocalConfiguration {
  readonly bridgeInterface: string;
  readonly interfaceNamePrefix: string;
}

export interface ConntrackConfiguration {
  /** 0 = leave the kernel's limit alone. */
  readonly maxPerCore: number;
  readonly min: number;
  /** 0 = leave what the kernel has; so the other three. */
  readonly tcpEstablishedTimeout: number;
  readonly tcpCloseWaitTimeout: number;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeout: number;
  readonly udpStreamTimeout: number;
}

export const API_VERSION = 'kubeproxy.config.k8s.io/v1alpha1';
export const KIND = 'KubeProxyConfiguration';

/** What `mode` may say; "" is the first. The last two are ours: the reference has no such modes on Linux any more. */
export const MODES = ['iptables', 'ipvs', 'nftables', 'userspace', 'dry-run'] as const;
export type Mode = (typeof MODES)[number];

/** What `detectLocalMode` may say; "" is the first. */
export const LOCAL_MODES = ['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'] as const;

/** The value of healthzBindAddress and metricsBindAddress with which there is no such server. */
export const NO_SERVER = '0';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const NO_ROUTING: OutputRoutingOptions = { splitStream: false, infoBufferSize: '0' };

/** What holds where neither file nor flag says otherwise. Empty bind addresses follow the family of `bindAddress`. */
export const DEFAULTS: KubeProxyConfiguration = {
  featureGates: {},
  clientConnection: {
    kubeconfig: '',
    acceptContentTypes: '',
    contentType: 'application/vnd.kubernetes.protobuf',
    qps: 5,
    burst: 10,
  },
  logging: {
    format: 'text',
    flushFrequency: 5 * SECOND,
    verbosity: 0,
    vmodule: [],
    options: { text: NO_ROUTING, json: NO_ROUTING },
  },
  hostnameOverride: '',
  bindAddress: '0.0.0.0',
  healthzBindAddress: '',
  metricsBindAddress: '',
  bindAddressHardFail: false,
  enableProfiling: false,
  showHiddenMetricsForVersion: '',
  mode: '',
  backend: '',
  pluginDir: '',
  backendOptions: {},
  iptables: {
    masqueradeBit: 14,
    masqueradeAll: false,
    localhostNodePorts: true,
    syncPeriod: 30 * SECOND,
    minSyncPeriod: SECOND,
  },
  ipvs: {
    syncPeriod: 30 * SECOND,
    // In the reference 0 with a file and one second without; one default is enough, and syncs cost what changed.
    minSyncPeriod: 0,
    scheduler: '',
    excludeCIDRs: [],
    strictARP: false,
    tcpTimeout: 0,
    tcpFinTimeout: 0,
    udpTimeout: 0,
  },
  nftables: { masqueradeBit: 14, masqueradeAll: false, syncPeriod: 30 * SECOND, minSyncPeriod: SECOND },
  winkernel: {
    networkName: '',
    sourceVip: '',
    enableDSR: false,
    rootHnsEndpointName: '',
    forwardHealthCheckVip: false,
  },
  detectLocalMode: '',
  detectLocal: { bridgeInterface: '', interfaceNamePrefix: '' },
  clusterCIDR: '',
  nodePortAddresses: [],
  oomScoreAdj: -999,
  conntrack: {
    maxPerCore: 32 * 1024,
    min: 128 * 1024,
    tcpEstablishedTimeout: 24 * HOUR,
    tcpCloseWaitTimeout: HOUR,
    tcpBeLiberal: false,
    udpTimeout: 0,
    udpStreamTimeout: 0,
  },
  configSyncPeriod: 15 * MINUTE,
  portRange: '',
  windowsRunAsService: false,
};
