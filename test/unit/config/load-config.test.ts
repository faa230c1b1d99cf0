/** A file and a command line together: which of them counts, and what is made of a kubeadm cluster's ConfigMap. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings, loadConfigText } from '../../../core/config/settings.ts';
import { BACKENDS, KUBEADM, load, told } from './files.ts';

const settings = (body: string, ...flags: readonly string[]) => {
  const loaded = load(body, ...flags);
  assert.equal(told(loaded.faults), []);
  return loaded.settings!;
};

const kubeadm = suite("kubeadm's ConfigMap");

kubeadm('it is what defaults and three values of the cluster are', () => {
  const line = parseCommandLine(['--config=/var/lib/kube-proxy/config.conf', '--hostname-override=Worker-1']);
  const loaded = loadConfigText(KUBEADM, '/var/lib/kube-proxy/config.conf', line, BACKENDS);
  assert.equal([loaded.faults, loaded.warnings], [[], []]);
  const flags = ['--kubeconfig=/var/lib/kube-proxy/kubeconfig.conf', '--cluster-cidr=10.244.0.0/16'];
  const byFlags = checkSettings(parseCommandLine([...flags, '--hostname-override=Worker-1']), BACKENDS).settings;
  const { configFile, configHash, ...rest } = loaded.settings!;
  const { configFile: _none, configHash: _without, ...expected } = byFlags;
  assert.equal(rest, expected);
  assert.is(configFile, '/var/lib/kube-proxy/config.conf');
  assert.is(configHash, loaded.hash);
});

kubeadm('spelt out, it is this', () => {
  const line = parseCommandLine(['--config=c', '--hostname-override=Worker-1']);
  const { configuration: _, featureGates, ...rest } = loadConfigText(KUBEADM, 'c', line, BACKENDS).settings!;
  assert.is(featureGates.AllowServiceExternalIPs, true);
  assert.equal(rest, {
    configFile: 'c',
    configHash: rest.configHash,
    source: {
      kind: 'api',
      kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf',
      master: '',
      qps: 5,
      burst: 10,
      contentType: 'application/vnd.kubernetes.protobuf',
    },
    manifests: '',
    backend: 'iptables',
    pluginDir: '',
    backendOptions: {},
    masqueradeBit: 14,
    node: {
      nodeName: 'worker-1',
      bindAddress: '0.0.0.0',
      detectLocalMode: 'ClusterCIDR',
      clusterCIDRs: ['10.244.0.0/16'],
      podBridgeInterface: '',
      podInterfaceNamePrefix: '',
      nodePortAddresses: [],
      localhostNodePorts: true,
      masqueradeAll: false,
      serviceCIDRs: [],
      tcpBeLiberal: false,
      allowExternalIPs: true,
    },
    minSyncPeriodMs: 1000,
    syncPeriodMs: 30_000,
    healthz: { host: '0.0.0.0', port: 10256 },
    metrics: { host: '127.0.0.1', port: 10249 },
    bindAddressHardFail: false,
    profiling: false,
    conntrack: {
      maxPerCore: 32_768,
      min: 131_072,
      tcpEstablishedTimeoutSeconds: 86_400,
      tcpCloseWaitTimeoutSeconds: 3600,
      tcpBeLiberal: false,
      udpTimeoutSeconds: 0,
      udpStreamTimeoutSeconds: 0,
    },
    ipvs: {
      scheduler: '',
      excludeCIDRs: [],
      strictARP: false,
      tcpTimeoutSeconds: 0,
      tcpFinTimeoutSeconds: 0,
      udpTimeoutSeconds: 0,
    },
    oomScoreAdj: -999,
    verbosity: 0,
    logFormat: 'text',
    initOnly: false,
    writeConfigTo: '',
    families: ['IPv4', 'IPv6'],
    nodeAddresses: [],
    warnings: [],
  });
});

const modes = suite('by mode');

const STANZAS = `iptables: {masqueradeBit: 1, masqueradeAll: true, syncPeriod: 10s, minSyncPeriod: 2s}
ipvs: {syncPeriod: 20s}
nftables: {masqueradeBit: 3, syncPeriod: 30s, minSyncPeriod: 5s}
`;
for (const [mode, expected] of [
  ['', [1, true, 10_000, 2000]],
  ['iptables', [1, true, 10_000, 2000]],
  ['ipvs', [1, true, 20_000, 0]],
  ['nftables', [3, false, 30_000, 5000]],
  ['userspace', [1, true, 10_000, 2000]],
  ['dry-run', [1, true, 10_000, 2000]],
] as const) {
  modes(`mode ${JSON.stringify(mode)} goes by its own stanza`, () => {
    const found = settings(`mode: "${mode}"\n${STANZAS}`);
    assert.is(found.backend, mode || 'iptables');
    assert.equal([found.masqueradeBit, found.node.masqueradeAll, found.syncPeriodMs, found.minSyncPeriodMs], expected);
  });
}

modes('backend wins over mode, and one of a third party goes by the stanza of the mode', () => {
  assert.equal([settings('mode: iptables\nbackend: nftables\n').backend], ['nftables']);
  assert.is(settings(`mode: iptables\nbackend: nftables\n${STANZAS}`).syncPeriodMs, 30_000);
  const acme = settings(`mode: ipvs\nbackend: acme\n${STANZAS}`);
  assert.equal([acme.backend, acme.configuration.mode, acme.syncPeriodMs], ['acme', 'ipvs', 20_000]);
});

const precedence = suite('precedence');

precedence('flags that stand for fields are ignored beside a file, with one warning for all', () => {
  const flags = [
    '--cluster-cidr=10.0.0.0/8',
    '--masquerade-all',
    '--proxy-mode=ipvs',
    '--kubeconfig=k',
    '--healthz-port=1',
  ];
  const found = settings('clusterCIDR: 10.244.0.0/16\n', ...flags);
  assert.equal(found.node.clusterCIDRs, ['10.244.0.0/16']);
  assert.equal([found.node.masqueradeAll, found.backend, found.healthz?.port], [false, 'iptables', 10256]);
  assert.is(found.source.kind === 'api' && found.source.kubeconfig, '');
  assert.equal(told(found.warnings), [
    '--config: the file counts, and these flags are ignored: --kubeconfig (clientConnection.kubeconfig), ' +
      '--cluster-cidr (clusterCIDR), --masquerade-all (iptables.masqueradeAll and nftables.masqueradeAll), ' +
      '--healthz-port (healthzBindAddress), --proxy-mode (mode); say it in the file',
  ]);
});

precedence('a flag that is ignored is not found fault with, unless it cannot be read at all', () => {
  assert.equal(load('', '--iptables-masquerade-bit=99').faults, []);
  assert.equal(told(load('', '--iptables-masquerade-bit=x').faults).length, 1);
});

precedence('a flag that cannot be read does not hide a fault of the file', () => {
  const { faults } = load('iptables: {masqueradeBit: 99}\n', '--iptables-masquerade-bit=x');
  assert.equal(
    faults.map(({ where }) => where),
    ['--iptables-masquerade-bit', 'c.conf:3: iptables.masqueradeBit'],
  );
});

precedence('the log, the name of the node and the choice of a backend win over the file', () => {
  const file = [
    'hostnameOverride: from-file',
    'logging: {verbosity: 1, format: text, vmodule: [{filePattern: f, verbosity: 1}]}',
    'backend: acme',
    'backendOptions: {a: file, b: file}',
  ];
  const flags = ['--hostname-override=From-Flag', '-v4', '--logging-format=json', '--vmodule=x=2'];
  const more = ['--backend=dry-run', '--backend-option=a=flag'];
  const found = settings(`${file.join('\n')}\n`, ...flags, ...more);
  assert.equal([found.node.nodeName, found.verbosity, found.logFormat], ['from-flag', 4, 'json']);
  assert.equal(found.configuration.logging.vmodule, [
    { filePattern: 'x', verbosity: 2 },
    { filePattern: 'f', verbosity: 1 },
  ]);
  assert.equal([found.backend, found.backendOptions], ['dry-run', { a: 'flag', b: 'file' }]);
});

precedence('so does where its plugin is found, and options of the file keep their types beside those of flags', () => {
  const file = 'backend: acne\npluginDir: /etc/plugins\nbackendOptions: {size: 4, to: {a: [true]}, b: 1}\n';
  const [byFile, byFlags] = [settings(file), settings(file, '--plugin-dir=/opt/plugins', '--backend-option=b=2')];
  assert.equal([byFile.backend, byFile.pluginDir], ['acne', '/etc/plugins']);
  assert.is(byFlags.pluginDir, '/opt/plugins');
  assert.equal(byFlags.backendOptions, { size: 4, to: { a: [true] }, b: '2' });
  assert.equal(byFlags.warnings, []);
  assert.is(settings(file, '--backend=/x/acme.js').backend, '/x/acme.js');
});

precedence('without these flags the file counts, and an empty name hides nothing', () => {
  const found = settings('hostnameOverride: File\nlogging: {verbosity: 3, format: json}\n', '--hostname-override=');
  assert.equal([found.node.nodeName, found.verbosity, found.logFormat], ['file', 3, 'json']);
});

precedence('flags without a field count beside a file', () => {
  const found = settings('', '--master=https://a', '--service-cidr=10.96.0.0/12', '--init-only', '--write-config-to=w');
  assert.is(found.source.kind === 'api' && found.source.master, 'https://a');
  assert.equal([found.node.serviceCIDRs, found.initOnly, found.writeConfigTo], [['10.96.0.0/12'], true, 'w']);
  assert.equal(found.warnings, []);
});

precedence('manifests win over the kubeconfig of the file, with a warning', () => {
  const found = settings('clientConnection: {kubeconfig: k}\n', '--manifests=m');
  assert.equal(found.source, { kind: 'manifests', path: 'm' });
  assert.equal(told(found.warnings), [
    'c.conf:3: clientConnection.kubeconfig: is not used, because --manifests says where Services come from',
  ]);
  assert.match(told(load('', '--manifests=m', '--master=x').faults)[0]!, /^--manifests: contradicts --master/);
});

precedence('a fault of a flag that wins over the file names the flag', () => {
  assert.match(told(load('backend: acme\n', '--backend=acne').faults)[0]!, /^--backend: there is no backend "acne"/);
  assert.match(told(load('', '--hostname-override=a_b').faults)[0]!, /^--hostname-override: "a_b" cannot be/);
});

const reload = suite('loading again');

reload('a good edit is other settings, a bad one none, and the texts are told apart', () => {
  const line = parseCommandLine(['--config=c']);
  const before = loadConfigText(KUBEADM, 'c', line, BACKENDS);
  const after = loadConfigText(KUBEADM.replace('mode: ""', 'mode: nftables'), 'c', line, BACKENDS);
  const bad = loadConfigText(KUBEADM.replace('mode: ""', 'mode: nft\nx: 1'), 'c', line, BACKENDS);
  assert.equal([before.settings?.backend, after.settings?.backend, bad.settings], ['iptables', 'nftables', undefined]);
  assert.is(bad.faults.length, 1);
  assert.is(bad.warnings.length, 1, 'known beside the faults');
  assert.is(new Set([before.hash, after.hash, bad.hash]).size, 3);
  for (const { hash } of [before, after, bad]) assert.match(hash, /^[0-9a-f]{16}$/);
  assert.equal(loadConfigText(KUBEADM, 'c', line, BACKENDS), before);
});

reload('fields of no effect are warned of when they say something', () => {
  const body = 'winkernel: {networkName: net, enableDSR: false}\nportRange: 1-2\nlogging: {vmodule: []}\n';
  assert.equal(told(settings(body).warnings), [
    'c.conf:3: winkernel.networkName: has no effect: it is for Windows',
    'c.conf:4: portRange: has no effect: the userspace backend needs no range of ports',
  ]);
});

reload('node ports on loopback addresses are warned of with ipvs, if the file asks for them', () => {
  const said = (value: string) => settings(`mode: ipvs\niptables: {localhostNodePorts: ${value}}\n`);
  assert.equal(told(said('true').warnings), [
    'c.conf:4: iptables.localhostNodePorts: has no effect: IPVS sends nothing that comes from 127.0.0.0/8 to another host',
  ]);
  for (const value of ['null', 'false']) assert.equal(told(said(value).warnings), [], value);
  for (const value of ['true', 'null', 'false']) assert.is(said(value).node.localhostNodePorts, false, value);
});

reload('a gate of another version is warned of with its line', () => {
  const found = settings('featureGates:\n  SupportIPVSProxyMode: true\n  AllowServiceExternalIPs: false\n');
  assert.is(found.node.allowExternalIPs, false);
  assert.match(
    told(found.warnings)[0]!,
    /^c\.conf:3: featureGates\.SupportIPVSProxyMode: is no feature gate that means/,
  );
});

kubeadm.run();
modes.run();
precedence.run();
reload.run();
