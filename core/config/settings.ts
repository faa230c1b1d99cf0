/**
 * From flag values to the settings that the commands work with: what single flags cannot tell (which ones need or
 * exclude each other) is checked here. Nothing is read from the machine; faults come back all at once.
 */
import type { IPFamily } from '../backend.ts';
import type { NodeSettings } from '../model/node-settings.ts';
import { type CommandLine, type Fault, nearest } from './command-line.ts';
import { formatDuration } from './duration.ts';
import type { FlagName } from './flags.ts';
import { parseCIDRs } from './kinds.ts';

export interface Settings {
  readonly manifests: string;
  readonly backend: string;
  /** Of --backend-option; each backend checks its own. */
  readonly backendOptions: Readonly<Record<string, string>>;
  readonly masqueradeBit: number;
  /** `nodeName` is --hostname-override; "" when absent, for the command to fill in. */
  readonly node: NodeSettings;
  readonly minSyncPeriodMs: number;
  readonly syncPeriodMs: number;
  readonly verbosity: number;
  readonly logFormat: 'text' | 'json';
  /** For render only. */
  readonly families: readonly IPFamily[];
  readonly nodeAddresses: readonly string[];
}

export interface CheckedSettings {
  readonly settings: Settings;
  readonly faults: readonly Fault[];
}

/** `backends`: the names that --backend may have. Faults of the command line itself are passed on. */
export function checkSettings(line: CommandLine, backends: readonly string[]): CheckedSettings {
  const { values, given } = line;
  const faults = [...line.faults];
  const complain = (flag: FlagName, what: string): void => void faults.push({ where: `--${flag}`, what });

  const needsSource = line.command === 'run' || line.command === 'render';
  if (needsSource && values.manifests === '' && !faults.some(({ where }) => where === '--manifests')) {
    complain('manifests', 'a source of Services is needed; give a file or a folder of manifests');
  }
  if (!backends.includes(values.backend)) {
    const near = nearest(values.backend, backends);
    const hint = near ? `; did you mean ${near}?` : '';
    complain('backend', `there is no backend "${values.backend}"; available: ${backends.join(', ')}${hint}`);
  }
  if (values['hostname-override'] !== '' && values['hostname-override'].trim() === '') {
    complain('hostname-override', 'consists of blanks only; give the name of the Node object, or leave it out');
  }

  const mode = values['detect-local-mode'];
  let clusterCIDRs: readonly string[] = [];
  if (mode === 'ClusterCIDR') {
    const parsed = parseCIDRs(values['cluster-cidr']);
    for (const what of parsed.faults) complain('cluster-cidr', what);
    clusterCIDRs = parsed.value ?? [];
    const remedy = 'give one CIDR, or one of each IP family: 10.244.0.0/16,fd00:10:244::/48';
    if (clusterCIDRs.length > 2) complain('cluster-cidr', `${clusterCIDRs.length} CIDRs are too many; ${remedy}`);
    else if (clusterCIDRs.length === 2 && isIPv6(clusterCIDRs[0]!) === isIPv6(clusterCIDRs[1]!)) {
      complain('cluster-cidr', `${clusterCIDRs.join(' and ')} are of the same IP family; ${remedy}`);
    }
  }
  if (mode === 'BridgeInterface' && values['pod-bridge-interface'] === '') {
    complain('pod-bridge-interface', 'is needed with --detect-local-mode=BridgeInterface; give for example cni0');
  }
  if (mode === 'InterfaceNamePrefix' && values['pod-interface-name-prefix'] === '') {
    complain('pod-interface-name-prefix', 'is needed with --detect-local-mode=InterfaceNamePrefix; for example veth');
  }

  for (const name of ['pod-bridge-interface', 'pod-interface-name-prefix'] as const) {
    if (values[name] !== '' && !INTERFACE_NAME.test(values[name])) {
      const remedy = 'at most 15 letters, digits and -_.@, as in ip link';
      complain(name, `"${values[name]}" cannot be (the beginning of) the name of an interface; ${remedy}`);
    }
  }

  const nodeName = canonicalHostname(values['hostname-override']);
  if (nodeName !== '' && !NODE_NAME.test(nodeName)) {
    complain('hostname-override', `"${nodeName}" cannot be the name of a Node: letters, digits, "-" and "." as in DNS`);
  }

  let nodePortAddresses = values['nodeport-addresses'];
  if (nodePortAddresses.includes('primary')) {
    if (nodePortAddresses.length > 1) {
      complain('nodeport-addresses', '"primary" stands alone; leave out the CIDRs beside it, or "primary"');
    }
  } else {
    const parsed = parseCIDRs(nodePortAddresses);
    for (const what of parsed.faults) complain('nodeport-addresses', `${what}, or "primary"`);
    nodePortAddresses = parsed.value ?? [];
  }

  const minimum = values['iptables-min-sync-period'];
  const period = values['iptables-sync-period'];
  if (minimum < 0) complain('iptables-min-sync-period', `${formatDuration(minimum)} is negative; 0 means no pause`);
  if (period <= 0)
    complain('iptables-sync-period', `${formatDuration(period)} is not more than 0; give for example 30s`);
  // Compared only if both are good by themselves: a default that stands in for a faulty value proves nothing.
  const mended = faults.some(({ where }) => where.endsWith('sync-period'));
  if (!mended && minimum > period) {
    const shown = `${formatDuration(minimum)} is longer than --iptables-sync-period, ${formatDuration(period)}`;
    complain(
      'iptables-min-sync-period',
      `${shown}; make it at most that${given.has('iptables-sync-period') ? '' : ', or give both'}`,
    );
  }

  const settings: Settings = {
    manifests: values.manifests,
    backend: values.backend,
    backendOptions: values['backend-option'],
    masqueradeBit: values['iptables-masquerade-bit'],
    node: {
      nodeName,
      bindAddress: values['bind-address'],
      detectLocalMode: mode,
      clusterCIDRs,
      podBridgeInterface: values['pod-bridge-interface'],
      podInterfaceNamePrefix: values['pod-interface-name-prefix'],
      nodePortAddresses,
      localhostNodePorts: values['iptables-localhost-nodeports'],
      masqueradeAll: values['masquerade-all'],
      serviceCIDRs: values['service-cidr'],
      tcpBeLiberal: values['conntrack-tcp-be-liberal'],
    },
    minSyncPeriodMs: minimum,
    syncPeriodMs: period,
    verbosity: values.v,
    logFormat: values['logging-format'],
    families: values.family === 'both' ? ['IPv4', 'IPv6'] : [values.family],
    nodeAddresses: values['node-addresses'],
  };
  return { settings, faults };
}

const NODE_NAME = /^[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?$/;

/** The kernel takes more, but "+" means a prefix to iptables and quotes or blanks would be its next word. */
const INTERFACE_NAME = /^[A-Za-z0-9_.@][A-Za-z0-9_.@-]{0,14}$/;

/** Node names are lower-case DNS names; hostnames need not be. */
export function canonicalHostname(name: string): string {
  return name.trim().toLowerCase();
}

function isIPv6(address: string): boolean {
  return address.includes(':');
}
