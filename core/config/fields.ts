/**
 * Every field of the configuration, once: how it is read from a file and written to one, and what is particular to it.
 * The tree has the shape of KubeProxyConfiguration, which its type holds it to.
 */
import type { KubeProxyConfiguration } from './configuration.ts';
import {
  boolean,
  booleanMap,
  duration,
  durationOrNanoseconds,
  type FieldKind,
  integer,
  number,
  quantity,
  string,
  stringList,
  valueMap,
  vmodule,
} from './field-kinds.ts';
import { NO_EFFECT } from './no-effect.ts';

export interface Field<T> {
  readonly kind: FieldKind<T>;
  /**
   * In a file the zero value ("", 0, 0s) means the default. Go cannot tell it from an absent field, and kubeadm writes
   * every field there is: a ConfigMap of its making holds "syncPeriod: 0s".
   */
  readonly zeroIsDefault?: true;
  /** It does nothing, for this reason. */
  readonly noEffect?: string;
  /** Unknown to the reference, hence written only when it says something. */
  readonly ours?: true;
}

/** Whether a field of this type has fields of its own; lists and maps with free names have none. */
type IsStruct<T> = T extends readonly unknown[]
  ? false
  : T extends object
    ? string extends keyof T
      ? false
      : true
    : false;

export type FieldTree<T> = {
  readonly [Name in keyof T]: IsStruct<T[Name]> extends true ? FieldTree<T[Name]> : Field<T[Name]>;
};

type PathsOf<T> = {
  [Name in keyof T & string]: IsStruct<T[Name]> extends true ? `${Name}.${PathsOf<T[Name]>}` : Name;
}[keyof T & string];

/** "iptables.masqueradeBit" */
export type FieldPath = PathsOf<KubeProxyConfiguration>;

const of = <T>(kind: FieldKind<T>, rest: Omit<Field<T>, 'kind'> = {}): Field<T> => ({ kind, ...rest });
const ZERO = { zeroIsDefault: true } as const;
const OURS = { ours: true } as const;
const windows = { noEffect: NO_EFFECT.windows } as const;
const routing = {
  splitStream: of(boolean, { noEffect: NO_EFFECT.oneStream }),
  infoBufferSize: of(quantity, { noEffect: NO_EFFECT.unbuffered }),
};

export const FIELDS: FieldTree<KubeProxyConfiguration> = {
  featureGates: of(booleanMap),
  clientConnection: {
    kubeconfig: of(string),
    acceptContentTypes: of(string, { noEffect: NO_EFFECT.json }),
    contentType: of(string, { noEffect: NO_EFFECT.json, ...ZERO }),
    qps: of(number, ZERO),
    burst: of(integer, ZERO),
  },
  logging: {
    format: of(string, ZERO),
    flushFrequency: of(durationOrNanoseconds, { noEffect: NO_EFFECT.unbuffered, ...ZERO }),
    verbosity: of(integer),
    vmodule: of(vmodule, { noEffect: NO_EFFECT.vmodule }),
    options: { text: routing, json: routing },
  },
  hostnameOverride: of(string),
  bindAddress: of(string, ZERO),
  healthzBindAddress: of(string),
  metricsBindAddress: of(string),
  bindAddressHardFail: of(boolean),
  enableProfiling: of(boolean),
  showHiddenMetricsForVersion: of(string, { noEffect: NO_EFFECT.metrics }),
  mode: of(string),
  backend: of(string, OURS),
  pluginDir: of(string, OURS),
  backendOptions: of(valueMap, OURS),
  iptables: {
    masqueradeBit: of(integer),
    masqueradeAll: of(boolean),
    localhostNodePorts: of(boolean),
    syncPeriod: of(duration, ZERO),
    minSyncPeriod: of(duration, ZERO),
  },
  ipvs: {
    syncPeriod: of(duration, ZERO),
    minSyncPeriod: of(duration),
    scheduler: of(string),
    excludeCIDRs: of(stringList),
    strictARP: of(boolean),
    tcpTimeout: of(duration),
    tcpFinTimeout: of(duration),
    udpTimeout: of(duration),
  },
  nftables: {
    masqueradeBit: of(integer),
    masqueradeAll: of(boolean),
    syncPeriod: of(duration, ZERO),
    minSyncPeriod: of(duration, ZERO),
  },
  winkernel: {
    networkName: of(string, windows),
    sourceVip: of(string, windows),
    enableDSR: of(boolean, windows),
    rootHnsEndpointName: of(string, windows),
    forwardHealthCheckVip: of(boolean, windows),
  },
  detectLocalMode: of(string),
  detectLocal: { bridgeInterface: of(string), interfaceNamePrefix: of(string) },
  clusterCIDR: of(string),
  nodePortAddresses: of(stringList),
  oomScoreAdj: of(integer),
  conntrack: {
    maxPerCore: of(integer),
    min: of(integer),
    tcpEstablishedTimeout: of(duration),
    tcpCloseWaitTimeout: of(duration),
    tcpBeLiberal: of(boolean),
    udpTimeout: of(duration),
    udpStreamTimeout: of(duration),
  },
  configSyncPeriod: of(duration, { ...ZERO, noEffect: NO_EFFECT.resync }),
  portRange: of(string, { noEffect: NO_EFFECT.userspace }),
  windowsRunAsService: of(boolean, windows),
};

/** The tree with its types forgotten, for code that treats all fields alike. */
export type AnyTree = { readonly [name: string]: AnyTree | Field<unknown> };
export const FIELD_TREE = FIELDS as unknown as AnyTree;

export function isField(node: AnyTree | Field<unknown>): node is Field<unknown> {
  return 'kind' in node && typeof node.kind === 'object' && 'read' in node.kind;
}

/** Every field by its path, in the order of the tree. */
export const FIELD_LIST: readonly (readonly [FieldPath, Field<unknown>])[] = flatten(FIELD_TREE, '');

function flatten(tree: AnyTree, prefix: string): readonly (readonly [FieldPath, Field<unknown>])[] {
  return Object.entries(tree).flatMap(([name, node]) => {
    const path = `${prefix}${name}`;
    return isField(node) ? [[path as FieldPath, node] as const] : flatten(node, `${path}.`);
  });
}

/** The value of one field. */
export function valueAt(configuration: KubeProxyConfiguration, path: FieldPath): unknown {
  return path
    .split('.')
    .reduce<unknown>((value, name) => (value as Readonly<Record<string, unknown>>)[name], configuration);
}

/** The configuration with other values in some fields. */
export function withValues(
  configuration: KubeProxyConfiguration,
  values: ReadonlyMap<FieldPath, unknown>,
): KubeProxyConfiguration {
  const result: Record<string, unknown> = structuredClone({ ...configuration });
  for (const [path, value] of values) {
    const names = path.split('.');
    const last = names.pop()!;
    const parent = names.reduce((record, name) => record[name] as Record<string, unknown>, result);
    parent[last] = value;
  }
  return result as unknown as KubeProxyConfiguration;
}
