/**
 * What makes a configuration unfit to run, in one place for files and flags. Pure, and it does not stop at the first
 * fault: one run shows all there is to mend. Rules are the reference's; settings of a mode that is not in force are not
 * looked at, as there.
 */
import { isAbsolute } from 'node:path';
import { familyOf } from '../model/ip.ts';
import { parseBindAddress } from './bind-address.ts';
import { nearest } from './command-line.ts';
import { stanzaOf } from './complete.ts';
import { type KubeProxyConfiguration, LOCAL_MODES, MODES, NO_SERVER } from './configuration.ts';
import { formatDuration } from './duration.ts';
import { effectiveGates } from './feature-gates.ts';
import { type FieldPath, valueAt } from './fields.ts';
import { ip, parseCIDRs } from './kinds.ts';

export interface FieldFault {
  readonly field: FieldPath;
  /** Of a map or a list: which item of the field, "AllAlpha". */
  readonly item?: string;
  readonly what: string;
}

export interface ValidationOptions {
  /** Names of the backends that there are. */
  readonly backends: readonly string[];
  /** What to call a field in a sentence: its path, or the flag that stands for it. */
  readonly name: (field: FieldPath) => string;
  readonly isGiven: (field: FieldPath) => boolean;
  /** Its value was given and could not be read, which has been complained of. */
  readonly isUnreadable: (field: FieldPath) => boolean;
}

/** The minor version whose hidden metrics may be asked for: the one before the reference's, 1.36. */
const PREVIOUS_VERSION = '1.35';

const NODE_NAME = /^[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?$/;

/** The kernel takes more, but "+" means a prefix to iptables and quotes or blanks would be its next word. */
const INTERFACE_NAME = /^[A-Za-z0-9_.@][A-Za-z0-9_.@-]{0,14}$/;

/** What a plugin may be called, and hence what can be found by its name. */
export const PLUGIN_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** `configuration` is completed. */
export function validate(configuration: KubeProxyConfiguration, options: ValidationOptions): readonly FieldFault[] {
  const faults: FieldFault[] = [];
  const complain: Complain = (field, what) => {
    if (!options.isUnreadable(field)) faults.push({ field, what });
  };
  for (const { name: item, what } of effectiveGates(configuration.featureGates).faults) {
    faults.push({ field: 'featureGates', item, what });
  }
  checkDataPlane(configuration, options, complain);
  checkPeriods(configuration, options, complain);
  checkNode(configuration, complain);
  checkLocalDetection(configuration, options, complain);
  checkServers(configuration, complain);
  checkNumbers(configuration, complain);
  return faults;
}

type Complain = (field: FieldPath, what: string) => void;

function checkDataPlane(
  configuration: KubeProxyConfiguration,
  { backends, isGiven, name }: ValidationOptions,
  complain: Complain,
): void {
  const { mode, backend, pluginDir } = configuration;
  const available = MODES.filter((each) => backends.includes(each));
  const meant = (given: string, known: readonly string[]): string => {
    const near = nearest(given, known);
    return `available: ${known.join(', ')}${near ? `; did you mean ${near}?` : ''}`;
  };
  if (backend.includes('/')) {
    if (!isAbsolute(backend)) complain('backend', `"${backend}" ${RELATIVE}`);
  } else if (backend !== '' && !backends.includes(backend)) {
    if (pluginDir === '') {
      const remedy = `a plugin is given by the path of its file, with a / in it, or by its name and ${name('pluginDir')}`;
      complain('backend', `there is no backend "${backend}"; ${meant(backend, backends)}; ${remedy}`);
    } else if (!PLUGIN_NAME.test(backend)) {
      const rule = 'at most 63 lower-case letters, digits and "-"';
      complain('backend', `"${backend}" cannot be the name of a plugin: ${rule}; ${meant(backend, backends)}`);
    }
  }
  if (pluginDir !== '' && !isAbsolute(pluginDir)) complain('pluginDir', `"${pluginDir}" ${RELATIVE}`);
  if (mode !== '' && !MODES.some((each) => each === mode)) {
    const isBackend = backends.includes(mode) || mode.includes('/');
    const remedy = isBackend ? `give it as backend instead` : meant(mode, available);
    complain('mode', `there is no mode "${mode}"; ${remedy}`);
  } else if (backend === '' && !backends.includes(mode)) {
    const field = isGiven('backend') ? 'backend' : 'mode';
    const others = field === 'backend' ? backends : available;
    complain(field, `${mode} is not part of this kube-proxy; available: ${others.join(', ')}`);
  }

  const { iptables, nftables, ipvs } = configuration;
  const bitIsGood = (bit: number): boolean => bit >= 0 && bit <= 31;
  const bitRule = 'is no bit of the packet mark; give one from 0 to 31';
  if (!bitIsGood(iptables.masqueradeBit)) complain('iptables.masqueradeBit', `${iptables.masqueradeBit} ${bitRule}`);
  if (mode === 'nftables' && !bitIsGood(nftables.masqueradeBit)) {
    complain('nftables.masqueradeBit', `${nftables.masqueradeBit} ${bitRule}`);
  }
  if (mode === 'ipvs') {
    for (const what of parseCIDRs(ipvs.excludeCIDRs).faults) complain('ipvs.excludeCIDRs', what);
    for (const name of ['tcpTimeout', 'tcpFinTimeout', 'udpTimeout'] as const) {
      if (ipvs[name] < 0) complain(`ipvs.${name}`, `${formatDuration(ipvs[name])} ${NEGATIVE}`);
    }
  }
}

const NEGATIVE = 'is negative; 0 leaves what the kernel has';
/** Those of the command line are absolute by now. */
const RELATIVE = 'is relative, and a file has no working directory; write the whole path, from / on';

function checkPeriods(
  configuration: KubeProxyConfiguration,
  { name, isGiven, isUnreadable }: ValidationOptions,
  complain: Complain,
): void {
  const stanza = stanzaOf(configuration);
  const { syncPeriod, minSyncPeriod } = configuration[stanza];
  if (syncPeriod <= 0) {
    complain(`${stanza}.syncPeriod`, `${formatDuration(syncPeriod)} is not more than 0; give for example 30s`);
  }
  if (minSyncPeriod < 0) {
    complain(`${stanza}.minSyncPeriod`, `${formatDuration(minSyncPeriod)} is negative; 0 means no pause`);
  }
  // Compared only if both are good by themselves.
  const other = `${stanza}.syncPeriod` as const;
  if (syncPeriod > 0 && minSyncPeriod > syncPeriod && !isUnreadable(other)) {
    const shown = `${formatDuration(minSyncPeriod)} is longer than ${name(other)}, ${formatDuration(syncPeriod)}`;
    const remedy = `make it at most that${isGiven(other) ? '' : ', or give both'}`;
    complain(`${stanza}.minSyncPeriod`, `${shown}; ${remedy}`);
  }
  const { configSyncPeriod } = configuration;
  if (configSyncPeriod <= 0) {
    complain('configSyncPeriod', `${formatDuration(configSyncPeriod)} is not more than 0; give for example 15m`);
  }
}

function checkNode(configuration: KubeProxyConfiguration, complain: Complain): void {
  const { hostnameOverride: name, bindAddress, nodePortAddresses, oomScoreAdj } = configuration;
  if (name !== '' && name.trim() === '') {
    complain('hostnameOverride', 'consists of blanks only; give the name of the Node object, or leave it out');
  } else if (name !== '' && !NODE_NAME.test(name)) {
    complain('hostnameOverride', `"${name}" cannot be the name of a Node: letters, digits, "-" and "." as in DNS`);
  }
  for (const what of ip.parse(bindAddress).faults) complain('bindAddress', what);
  if (nodePortAddresses.includes('primary')) {
    if (nodePortAddresses.length > 1) {
      complain('nodePortAddresses', '"primary" stands alone; leave out the CIDRs beside it, or "primary"');
    }
  } else {
    for (const what of parseCIDRs(nodePortAddresses).faults) complain('nodePortAddresses', `${what}, or "primary"`);
  }
  if (oomScoreAdj < -1000 || oomScoreAdj > 1000) {
    complain('oomScoreAdj', `${oomScoreAdj} is out of range; give a number from -1000 to 1000`);
  }
}

function checkLocalDetection(
  configuration: KubeProxyConfiguration,
  { name }: ValidationOptions,
  complain: Complain,
): void {
  const { detectLocalMode: mode, clusterCIDR } = configuration;
  if (!LOCAL_MODES.some((each) => each === mode)) {
    complain('detectLocalMode', `${JSON.stringify(mode)} is none of ${LOCAL_MODES.join(', ')}`);
  }
  if (mode === 'ClusterCIDR') {
    const { value: cidrs, faults } = parseCIDRs(splitCIDRs(clusterCIDR));
    for (const what of faults) complain('clusterCIDR', what);
    const remedy = 'give one CIDR, or one of each IP family: 10.244.0.0/16,fd00:10:244::/48';
    const [first, second, third] = cidrs ?? [];
    if (third !== undefined) complain('clusterCIDR', `${cidrs?.length} CIDRs are too many; ${remedy}`);
    else if (first !== undefined && second !== undefined && familyOf(first) === familyOf(second)) {
      complain('clusterCIDR', `${first} and ${second} are of the same IP family; ${remedy}`);
    }
  }
  for (const [wanted, field, example] of [
    ['BridgeInterface', 'detectLocal.bridgeInterface', 'cni0'],
    ['InterfaceNamePrefix', 'detectLocal.interfaceNamePrefix', 'veth'],
  ] as const) {
    const given = String(valueAt(configuration, field));
    if (given === '' && mode === wanted) {
      complain(field, `is needed with ${name('detectLocalMode')} ${wanted}; give for example ${example}`);
    }
    if (given !== '' && !INTERFACE_NAME.test(given)) {
      const remedy = 'at most 15 letters, digits and -_.@, as in ip link';
      complain(field, `"${given}" cannot be (the beginning of) the name of an interface; ${remedy}`);
    }
  }
}

/** Blanks around are trimmed, empty items left out. */
export function splitCIDRs(clusterCIDR: string): readonly string[] {
  return clusterCIDR
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function checkServers(configuration: KubeProxyConfiguration, complain: Complain): void {
  for (const [field, example] of [
    ['healthzBindAddress', '0.0.0.0:10256'],
    ['metricsBindAddress', '127.0.0.1:10249'],
  ] as const) {
    const text = configuration[field];
    if (text === NO_SERVER || parseBindAddress(text, 1)) continue;
    const remedy = `give for example ${example} or [::]:10256, or "${NO_SERVER}" for no such server`;
    complain(field, `${JSON.stringify(text)} is not an IP address and a port from 1 to 65535; ${remedy}`);
  }
  const { showHiddenMetricsForVersion: version } = configuration;
  if (version !== '' && version !== PREVIOUS_VERSION) {
    complain(
      'showHiddenMetricsForVersion',
      `"${version}" is not ${PREVIOUS_VERSION}, the one that it can be; leave it out`,
    );
  }
}

function checkNumbers(configuration: KubeProxyConfiguration, complain: Complain): void {
  const { logging, clientConnection, conntrack } = configuration;
  if (logging.format !== 'text' && logging.format !== 'json') {
    complain('logging.format', `${JSON.stringify(logging.format)} is none of text, json`);
  }
  if (logging.verbosity < 0) complain('logging.verbosity', `${logging.verbosity} is negative; 0 is the least`);
  if (clientConnection.burst < 0) {
    complain('clientConnection.burst', `${clientConnection.burst} is negative; give for example 10`);
  }
  for (const name of ['maxPerCore', 'min'] as const) {
    if (conntrack[name] < 0) complain(`conntrack.${name}`, `${conntrack[name]} ${NEGATIVE}`);
  }
  for (const name of ['tcpEstablishedTimeout', 'tcpCloseWaitTimeout', 'udpTimeout', 'udpStreamTimeout'] as const) {
    if (conntrack[name] < 0) complain(`conntrack.${name}`, `${formatDuration(conntrack[name])} ${NEGATIVE}`);
  }
}
