/** What a configuration file must not say, each rule with its line, its path and its remedy. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load, told } from './files.ts';

const rules = suite('rules');

/** Bodies begin at line 3; each has this one fault. */
const REFUSED: readonly (readonly [body: string, expected: string])[] = [
  ['featureGates: {NFTablesProxyMode: false}', ':3: featureGates.NFTablesProxyMode: cannot be false any more'],
  ['clientConnection: {burst: -1}', ':3: clientConnection.burst: -1 is negative; give for example 10'],
  ['logging: {format: xml}', ':3: logging.format: "xml" is none of text, json'],
  ['logging: {verbosity: -1}', ':3: logging.verbosity: -1 is negative; 0 is the least'],
  ['hostnameOverride: "  "', ':3: hostnameOverride: consists of blanks only; give the name'],
  ['hostnameOverride: a_b', ':3: hostnameOverride: "a_b" cannot be the name of a Node'],
  ['bindAddress: 10.0.0', ':3: bindAddress: "10.0.0" is not an IP address; give for example'],
  ['healthzBindAddress: localhost:1', ':3: healthzBindAddress: "localhost:1" is not an IP address and a port from'],
  ['healthzBindAddress: 10.0.0.1:65536', ':3: healthzBindAddress: "10.0.0.1:65536" is not an IP address and a port'],
  ['metricsBindAddress: 10.0.0.1:0', ':3: metricsBindAddress: "10.0.0.1:0" is not an IP address and a port'],
  ['metricsBindAddress: ":10249"', ':3: metricsBindAddress: ":10249" is not an IP address and a port'],
  ['showHiddenMetricsForVersion: "1.34"', ':3: showHiddenMetricsForVersion: "1.34" is not 1.35'],
  [
    'mode: iptable',
    ':3: mode: there is no mode "iptable"; available: iptables, ipvs, nftables, userspace, dry-run; did you mean iptables?',
  ],
  ['mode: acme', ':3: mode: there is no mode "acme"; give it as backend instead'],
  ['mode: kernelspace', ':3: mode: there is no mode "kernelspace"'],
  [
    'backend: acne',
    ':3: backend: there is no backend "acne"; available: iptables, ipvs, nftables, userspace, dry-run, acme; did you mean acme?; a plugin is given by the path of its file, with a / in it, or by its name and pluginDir',
  ],
  ['backend: ./acne.js', ':3: backend: "./acne.js" is relative, and a file has no working directory; write the whole'],
  ['backend: plugins/acne', ':3: backend: "plugins/acne" is relative'],
  ['pluginDir: plugins', ':3: pluginDir: "plugins" is relative, and a file has no working directory'],
  [
    'backend: My_Backend\npluginDir: /p',
    ':3: backend: "My_Backend" cannot be the name of a plugin: at most 63 lower-case letters, digits and "-"',
  ],
  ['mode: /p/acne.js', ':3: mode: there is no mode "/p/acne.js"; give it as backend instead'],
  [
    'backend: ipvs-\npluginDir: /p',
    ':3: backend: "ipvs-" cannot be the name of a plugin: at most 63 lower-case letters, digits and "-"; available: iptables, ipvs, nftables, userspace, dry-run, acme; did you mean ipvs?',
  ],
  [
    'iptables: {masqueradeBit: 32}',
    ':3: iptables.masqueradeBit: 32 is no bit of the packet mark; give one from 0 to 31',
  ],
  ['mode: nftables\niptables: {masqueradeBit: -1}', ':4: iptables.masqueradeBit: -1 is no bit'],
  ['mode: nftables\nnftables: {masqueradeBit: 32}', ':4: nftables.masqueradeBit: 32 is no bit'],
  ['iptables: {syncPeriod: -1s}', ':3: iptables.syncPeriod: -1s is not more than 0; give for example 30s'],
  ['iptables: {minSyncPeriod: -1s}', ':3: iptables.minSyncPeriod: -1s is negative; 0 means no pause'],
  [
    'iptables: {minSyncPeriod: 1m}',
    ':3: iptables.minSyncPeriod: 1m is longer than iptables.syncPeriod, 30s; make it at most that, or give both',
  ],
  [
    'mode: nftables\nnftables: {minSyncPeriod: 1m, syncPeriod: 9s}',
    ':4: nftables.minSyncPeriod: 1m is longer than nftables.syncPeriod, 9s; make it at most that',
  ],
  ['mode: ipvs\nipvs: {syncPeriod: -5m}', ':4: ipvs.syncPeriod: -5m is not more than 0'],
  ['mode: ipvs\nipvs: {minSyncPeriod: 31s}', ':4: ipvs.minSyncPeriod: 31s is longer than ipvs.syncPeriod, 30s'],
  ['mode: ipvs\nipvs: {tcpTimeout: -1s}', ':4: ipvs.tcpTimeout: -1s is negative; 0 leaves what the kernel has'],
  ['mode: ipvs\nipvs: {tcpFinTimeout: -1s}', ':4: ipvs.tcpFinTimeout: -1s is negative'],
  ['mode: ipvs\nipvs: {udpTimeout: -1s}', ':4: ipvs.udpTimeout: -1s is negative'],
  ['mode: ipvs\nipvs: {excludeCIDRs: [10.0.0.1]}', ':4: ipvs.excludeCIDRs: "10.0.0.1" is not a CIDR'],
  ['detectLocalMode: clusterCIDR', ':3: detectLocalMode: "clusterCIDR" is none of ClusterCIDR, NodeCIDR'],
  [
    'detectLocalMode: BridgeInterface',
    ': detectLocal.bridgeInterface: is needed with detectLocalMode BridgeInterface; give for example cni0',
  ],
  [
    'detectLocalMode: InterfaceNamePrefix',
    ': detectLocal.interfaceNamePrefix: is needed with detectLocalMode InterfaceNamePrefix',
  ],
  ['detectLocal: {bridgeInterface: two words}', ':3: detectLocal.bridgeInterface: "two words" cannot be'],
  ['clusterCIDR: 10.0.0.0', ':3: clusterCIDR: "10.0.0.0" is not a CIDR; give for example 10.244.0.0/16'],
  ['clusterCIDR: "10.0.0.0/8,11.0.0.0/8"', ':3: clusterCIDR: 10.0.0.0/8 and 11.0.0.0/8 are of the same IP family'],
  [
    'clusterCIDR: "10.0.0.0/8,fd00::/8,11.0.0.0/8"',
    ':3: clusterCIDR: 3 CIDRs are too many; give one CIDR, or one of each',
  ],
  [
    'nodePortAddresses: [10.0.0.1]',
    ':3: nodePortAddresses: "10.0.0.1" is not a CIDR; give for example 10.244.0.0/16, or "primary"',
  ],
  ['nodePortAddresses: [primary, 10.0.0.0/8]', ':3: nodePortAddresses: "primary" stands alone; leave out the CIDRs'],
  ['oomScoreAdj: 1001', ':3: oomScoreAdj: 1001 is out of range; give a number from -1000 to 1000'],
  ['oomScoreAdj: -1001', ':3: oomScoreAdj: -1001 is out of range'],
  ['conntrack: {maxPerCore: -1}', ':3: conntrack.maxPerCore: -1 is negative; 0 leaves what the kernel has'],
  ['conntrack: {min: -1}', ':3: conntrack.min: -1 is negative'],
  ['conntrack: {tcpEstablishedTimeout: -1s}', ':3: conntrack.tcpEstablishedTimeout: -1s is negative'],
  ['conntrack: {tcpCloseWaitTimeout: -1s}', ':3: conntrack.tcpCloseWaitTimeout: -1s is negative'],
  ['conntrack: {udpTimeout: -1s}', ':3: conntrack.udpTimeout: -1s is negative'],
  ['conntrack: {udpStreamTimeout: -1s}', ':3: conntrack.udpStreamTimeout: -1s is negative'],
  ['configSyncPeriod: -15m', ':3: configSyncPeriod: -15m is not more than 0; give for example 15m'],
];
for (const [body, expected] of REFUSED) {
  rules(`${JSON.stringify(body)} is refused`, () => {
    const { settings, faults } = load(`${body}\n`);
    assert.is(settings, undefined);
    assert.is(faults.length, 1, told(faults).join('\n'));
    assert.ok(told(faults)[0]!.startsWith(`c.conf${expected}`), told(faults)[0]!);
  });
}

rules('all faults of a file are told at once, wrong types among them', () => {
  const body = [
    'bindAddress: nowhere',
    'clusterCIDR: x',
    'configSyncPeriod: -1s',
    'conntrack: {maxPerCore: -1, min: "x"}',
    'featureGates: {TopologyAwareHints: false}',
    'healthzBindAddress: x',
    'iptables: {masqueradeBit: 99, syncPeriod: -1s}',
    'mode: nonsense',
    'nodePortAddresses: [x, y]',
    'oomScoreAdj: 5000',
  ];
  const fields = load(`${body.join('\n')}\n`).faults.map(({ where }) => where.split(': ')[1]);
  assert.equal(fields.toSorted(), [
    'bindAddress',
    'clusterCIDR',
    'configSyncPeriod',
    'conntrack.maxPerCore',
    'conntrack.min',
    'featureGates.TopologyAwareHints',
    'healthzBindAddress',
    'iptables.masqueradeBit',
    'iptables.syncPeriod',
    'mode',
    'nodePortAddresses',
    'nodePortAddresses',
    'oomScoreAdj',
  ]);
});

const ACCEPTED: readonly string[] = [
  'iptables: {masqueradeBit: 31}',
  'iptables: {masqueradeBit: 0}',
  'nftables: {masqueradeBit: 99, syncPeriod: -1s}',
  'ipvs: {tcpTimeout: -1s, excludeCIDRs: [x], syncPeriod: -1s}',
  'mode: ipvs\niptables: {syncPeriod: -1s, minSyncPeriod: -1s}',
  'mode: ipvs\nipvs: {scheduler: whatever, minSyncPeriod: 0s}',
  'detectLocalMode: NodeCIDR\nclusterCIDR: x',
  'clusterCIDR: "10.0.0.0/8, fd00::/8"',
  'oomScoreAdj: -1000',
  'healthzBindAddress: "10.0.0.1"',
  'metricsBindAddress: "::"',
  'metricsBindAddress: "0"',
  'clientConnection: {qps: -1}',
  'conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s}',
  'showHiddenMetricsForVersion: "1.35"',
  'portRange: nonsense',
  'nodePortAddresses: [primary]',
  'backend: acme\nmode: nftables',
  'backend: /p/acne.js',
  'backend: acne\npluginDir: /p',
  'backend: iptables\npluginDir: /p',
];
for (const body of ACCEPTED) {
  rules(`${JSON.stringify(body)} is accepted`, () => assert.equal(told(load(`${body}\n`).faults), []));
}

rules('what cannot be read is not also compared', () => {
  const { faults } = load('iptables: {syncPeriod: soon, minSyncPeriod: 1m}\n');
  assert.is(faults.length, 1, told(faults).join('\n'));
});

rules('what is needed and cannot be read is not also called missing', () => {
  const { faults } = load('detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: 5}\n');
  assert.is(faults.length, 1, told(faults).join('\n'));
});

rules.run();
