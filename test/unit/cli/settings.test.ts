import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings } from '../../../core/config/settings.ts';

const BACKENDS = ['iptables', 'dry-run', 'nftables', 'ipvs', 'acme'];
const check = (argv: readonly string[]) => checkSettings(parseCommandLine(argv), BACKENDS);
const settings = (...argv: readonly string[]) => {
  const checked = check(['--manifests=m', ...argv]);
  assert.equal(checked.faults, []);
  return checked.settings;
};
const faults = (...argv: readonly string[]): string[] =>
  check(['--manifests=m', ...argv]).faults.map(({ where, what }) => `${where}: ${what}`);
const fault = (...argv: readonly string[]): string => {
  const found = faults(...argv);
  assert.is(found.length, 1, `exactly one fault, not:\n${found.join('\n')}`);
  return found[0]!;
};

const test = suite('settings');

test('manifests are needed to render, and to nothing else', () => {
  const needs = (argv: readonly string[]): boolean => check(argv).faults.some(({ where }) => where === '--manifests');
  assert.ok(needs(['render']));
  assert.not(needs([]));
  assert.not(needs(['cleanup']));
  assert.not(needs(['render', '--manifests', 'x']));
});

test('Services come from the manifests given, and else from the API server', () => {
  assert.equal(settings().source, { kind: 'manifests', path: 'm' });
  const api = check(['--kubeconfig=k', '--master=https://a', '--kube-api-qps=0.5', '--kube-api-burst=7']);
  assert.equal(api.faults, []);
  assert.equal(api.settings.source, {
    kind: 'api',
    kubeconfig: 'k',
    master: 'https://a',
    qps: 0.5,
    burst: 7,
    contentType: 'application/vnd.kubernetes.protobuf',
  });
  const { source } = check([]).settings;
  assert.equal([source.kind, source.kind === 'api' && source.kubeconfig], ['api', '']);
});

test('manifests and a way to an API server contradict each other', () => {
  assert.match(
    fault('--kubeconfig=k', '--master=h'),
    /^--manifests: contradicts --kubeconfig and --master: .*leave one/,
  );
  assert.match(fault('--master=h'), /^--manifests: contradicts --master:/);
  assert.equal(faults('--kubeconfig='), []);
});

test('no limit on requests is none that is zero', () => {
  const { source } = check(['--kube-api-qps=0', '--kube-api-burst=0']).settings;
  assert.equal(source.kind === 'api' && [source.qps, source.burst], [5, 10]);
});

test('an unknown backend is refused with those that there are', () => {
  assert.match(
    fault('--backend', 'iptable'),
    /no backend "iptable"; available: iptables, dry-run, nftables, ipvs, acme; did you mean ipt/,
  );
  assert.match(
    fault('--proxy-mode', 'winkernel'),
    /--proxy-mode: there is no mode "winkernel"; available: iptables, ipvs, nft/,
  );
  assert.match(
    fault('--proxy-mode', 'userspace'),
    /--proxy-mode: userspace is not part of this kube-proxy; available: iptables,/,
  );
  assert.match(fault('--backend', 'userspace'), /--backend: userspace is not part of this kube-proxy/);
  assert.match(fault('--proxy-mode', 'acme'), /--proxy-mode: there is no mode "acme"; give it as backend/);
});

test('a backend of a third party leaves the mode open, one of ours says it', () => {
  assert.equal([settings('--backend=acme').backend, settings('--backend=acme').configuration.mode], ['acme', '']);
  const { backend, configuration } = settings('--backend=dry-run');
  assert.equal([backend, configuration.mode, configuration.backend], ['dry-run', 'dry-run', '']);
  assert.equal([settings().backend, settings().configuration.mode], ['iptables', 'iptables']);
});

test('a plugin is named by its path, from the working directory on, or by its name in a folder', () => {
  const paths = settings('--backend=./acne.js', '--plugin-dir=plugins');
  assert.equal([paths.backend, paths.pluginDir], [`${process.cwd()}/acne.js`, ''], 'a path is not looked for');
  const named = settings('--backend=acne', '--plugin-dir=plugins');
  assert.equal([named.backend, named.pluginDir], ['acne', `${process.cwd()}/plugins`]);
  assert.is(named.configuration.mode, '');
  assert.equal(settings('--backend=/a/../b/acne.ts').backend, '/b/acne.ts');
});

test('a folder of plugins changes nothing for a backend that is built in', () => {
  const { backend, pluginDir, configuration } = settings('--backend=nftables', '--plugin-dir=/p');
  assert.equal([backend, pluginDir, configuration.pluginDir], ['nftables', '', '/p']);
  assert.match(fault('--backend=userspace', '--plugin-dir=/p'), /--backend: userspace is not part of this kube-proxy/);
});

test('an unknown name without a folder of plugins says how a plugin is named', () => {
  assert.match(
    fault('--backend=acne.js'),
    /by the path of its file, with a \/ in it, or by its name and --plugin-dir$/,
  );
  assert.match(fault('--backend=Acne', '--plugin-dir=/p'), /^--backend: "Acne" cannot be the name of a plugin/);
  assert.match(fault('--proxy-mode=./acne.js'), /^--proxy-mode: there is no mode "\.\/acne\.js"; give it as backend/);
});

test('the hostname override is trimmed and lower-cased, and not blank', () => {
  assert.is(settings('--hostname-override', ' Worker-1 ').node.nodeName, 'worker-1');
  assert.is(settings('--hostname-override=').node.nodeName, '');
  assert.match(fault('--hostname-override', '  '), /blanks only/);
});

test('the cluster CIDR is one CIDR or one of each family', () => {
  assert.equal(settings('--cluster-cidr', '10.244.1.0/16, FD00::/48').node.clusterCIDRs, [
    '10.244.0.0/16',
    'fd00::/48',
  ]);
  assert.match(fault('--cluster-cidr', '10.0.0.0/33'), /"10.0.0.0\/33" is not a CIDR; give for example 10.244.0.0\/16/);
  assert.match(fault('--cluster-cidr', '10.0.0.0/8,11.0.0.0/8'), /are of the same IP family/);
  assert.match(fault('--cluster-cidr', '10.0.0.0/8,fd00::/8,11.0.0.0/8'), /3 CIDRs are too many/);
});

test('the cluster CIDR is looked at only in the mode that uses it', () => {
  assert.equal(settings('--detect-local-mode', 'NodeCIDR', '--cluster-cidr', 'nonsense').node.clusterCIDRs, []);
});

test('an empty mode of telling pods is the default one, an unknown one a fault', () => {
  assert.is(settings('--detect-local-mode=').node.detectLocalMode, 'ClusterCIDR');
  const expected = /"clustercidr" is none of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix/;
  assert.match(fault('--detect-local-mode=clustercidr'), expected);
});

test('the bind address is an IP address and becomes canonical', () => {
  assert.is(settings('--bind-address=FD00:0::1').node.bindAddress, 'fd00::1');
  assert.match(fault('--bind-address=300.0.0.1'), /^--bind-address: "300.0.0.1" is not an IP address/);
  assert.match(fault('--bind-address='), /"" is not an IP address/);
});

test('the masquerade bit is one of 32', () => {
  for (const bit of ['32', '-1'])
    assert.match(fault(`--iptables-masquerade-bit=${bit}`), /is no bit of the packet mark/);
});

test('the interface modes need their interface', () => {
  assert.match(fault('--detect-local-mode', 'BridgeInterface'), /--pod-bridge-interface: is needed/);
  assert.match(fault('--detect-local-mode', 'InterfaceNamePrefix'), /--pod-interface-name-prefix: is needed/);
  for (const name of ['sixteen-letters-', 'two words', 'cni0"', 'veth+', '-x']) {
    assert.match(fault(`--pod-bridge-interface=${name}`), /--pod-bridge-interface: .*name of an interface/);
  }
  const bridge = settings('--detect-local-mode=BridgeInterface', '--pod-bridge-interface=cni0').node;
  assert.is(bridge.podBridgeInterface, 'cni0');
  assert.is(bridge.detectLocalMode, 'BridgeInterface');
  const prefix = settings('--detect-local-mode=InterfaceNamePrefix', '--pod-interface-name-prefix=veth').node;
  assert.is(prefix.podInterfaceNamePrefix, 'veth');
});

test('node port addresses are CIDRs, or primary alone', () => {
  assert.equal(settings('--nodeport-addresses', '192.168.5.6/16').node.nodePortAddresses, ['192.168.0.0/16']);
  assert.equal(settings('--nodeport-addresses', 'primary').node.nodePortAddresses, ['primary']);
  assert.match(fault('--nodeport-addresses', 'primary,10.0.0.0/8'), /"primary" stands alone/);
  assert.match(fault('--nodeport-addresses', '10.0.0.1'), /"10.0.0.1" is not a CIDR.*or "primary"/);
});

test('the sync period is positive, the pause is not negative and not longer', () => {
  assert.match(fault('--iptables-sync-period=0s', '--iptables-min-sync-period=0s'), /0s is not more than 0/);
  assert.match(fault('--iptables-min-sync-period=-1s'), /-1s is negative/);
  assert.match(fault('--iptables-min-sync-period=1m'), /1m is longer than --iptables-sync-period, 30s/);
  assert.is(settings('--iptables-min-sync-period=1m', '--iptables-sync-period=1m').minSyncPeriodMs, 60_000);
  assert.is(settings('--iptables-min-sync-period=0').minSyncPeriodMs, 0);
});

test('a period that cannot be read is not also compared', () => {
  assert.match(fault('--iptables-sync-period=fast', '--iptables-min-sync-period=1m'), /"fast" is not a duration/);
});

test('every fault is told, those of the command line first', () => {
  const all = faults('--cluster-cidr=x', '--v=y', '--hostname-override= ', '--backend=z', '--nodeport-addresses=w');
  assert.is(all.length, 5, all.join('\n'));
  assert.match(all[0]!, /^--v/);
});

test('flags reach the settings that they are named after', () => {
  const all = settings(
    '--masquerade-all',
    '--iptables-localhost-nodeports=false',
    '--conntrack-tcp-be-liberal',
    '--service-cidr=10.96.0.0/12',
    '--bind-address=192.168.0.9',
    '--iptables-masquerade-bit=3',
    '--logging-format=json',
    '-v4',
    '--backend-option=format=json',
  );
  assert.is(all.node.masqueradeAll, true);
  assert.is(all.node.localhostNodePorts, false);
  assert.is(all.node.tcpBeLiberal, true);
  assert.equal(all.node.serviceCIDRs, ['10.96.0.0/12']);
  assert.is(all.node.bindAddress, '192.168.0.9');
  assert.is(all.masqueradeBit, 3);
  assert.is(all.logFormat, 'json');
  assert.is(all.verbosity, 4);
  assert.equal(all.backendOptions, { format: 'json' });
});

test('a flag for every mode reaches the one that is chosen', () => {
  for (const backend of ['iptables', 'nftables', 'dry-run']) {
    const all = settings(`--backend=${backend}`, '--masquerade-all', '--iptables-sync-period=9s');
    assert.equal([all.node.masqueradeAll, all.syncPeriodMs, all.minSyncPeriodMs], [true, 9000, 1000], backend);
  }
  assert.is(settings('--backend=nftables', '--iptables-masquerade-bit=3').masqueradeBit, 14, 'it has its own');
});

test('ipvs has periods of its own and no pause unless asked for', () => {
  const ipvs = (...argv: string[]) => settings('--proxy-mode=ipvs', ...argv);
  const given = ['--ipvs-sync-period=7s', '--ipvs-min-sync-period=2s', '--iptables-sync-period=9s'];
  assert.equal([ipvs().syncPeriodMs, ipvs().minSyncPeriodMs], [30_000, 0]);
  assert.equal([ipvs(...given).syncPeriodMs, ipvs(...given).minSyncPeriodMs], [7000, 2000]);
  assert.is(ipvs('--iptables-masquerade-bit=3').masqueradeBit, 3);
});

test('with ipvs no node port answers on loopback addresses, and who asks for it is told', () => {
  const ipvs = (...argv: string[]) => settings('--backend=ipvs', ...argv);
  assert.equal([ipvs().node.localhostNodePorts, ipvs().warnings], [false, []]);
  assert.equal(ipvs('--iptables-localhost-nodeports=false').warnings, []);
  const asked = ipvs('--iptables-localhost-nodeports');
  assert.is(asked.node.localhostNodePorts, false);
  const what = 'has no effect: IPVS sends nothing that comes from 127.0.0.0/8 to another host';
  assert.equal(asked.warnings, [{ where: '--iptables-localhost-nodeports', what }]);
  assert.is(asked.configuration.iptables.localhostNodePorts, true, 'what is configured is shown as it is');
  for (const backend of ['iptables', 'nftables', 'dry-run', 'acme']) {
    const other = settings(`--backend=${backend}`, '--iptables-localhost-nodeports');
    assert.equal([other.node.localhostNodePorts, other.warnings], [true, []], backend);
  }
});

const SERVERS: readonly (readonly [argv: readonly string[], healthz: unknown, metrics: unknown])[] = [
  [[], ['0.0.0.0', 10256], ['127.0.0.1', 10249]],
  [['--bind-address=fd00::9'], ['::', 10256], ['::1', 10249]],
  [
    ['--healthz-bind-address=10.0.0.1', '--metrics-bind-address=::'],
    ['10.0.0.1', 10256],
    ['::', 10249],
  ],
  [
    ['--healthz-bind-address=10.0.0.1:80', '--metrics-bind-address=[::]:81'],
    ['10.0.0.1', 80],
    ['::', 81],
  ],
  [['--healthz-bind-address=', '--metrics-bind-address=0'], undefined, undefined],
  [['--healthz-port=0', '--metrics-port=0'], undefined, undefined],
  [
    ['--healthz-port=1', '--metrics-port=2'],
    ['0.0.0.0', 1],
    ['127.0.0.1', 2],
  ],
  [
    ['--healthz-port=1', '--metrics-port=2', '--bind-address=::'],
    ['::', 1],
    ['::1', 2],
  ],
  [
    ['--healthz-bind-address=10.0.0.1', '--healthz-port=9'],
    ['10.0.0.1', 9],
    ['127.0.0.1', 10249],
  ],
  [
    ['--healthz-bind-address=10.0.0.1:80', '--healthz-port=9'],
    ['10.0.0.1', 80],
    ['127.0.0.1', 10249],
  ],
  [['--healthz-bind-address=10.0.0.1:80', '--healthz-port=0'], undefined, ['127.0.0.1', 10249]],
];
for (const [argv, healthz, metrics] of SERVERS) {
  test(`servers with ${argv.join(' ') || 'no flags'}`, () => {
    const found = settings(...argv);
    const shown = [found.healthz, found.metrics].map((address) => address && [address.host, address.port]);
    assert.equal(shown, [healthz, metrics]);
  });
}

test('an address that no server can have is named with the flag that gave it', () => {
  assert.match(
    fault('--healthz-bind-address=nowhere'),
    /^--healthz-bind-address: "nowhere" is not an IP address and a port/,
  );
  assert.match(fault('--metrics-bind-address=10.0.0.1:0'), /^--metrics-bind-address: "10.0.0.1:0" is not.*"0" for no/);
  assert.match(fault('--healthz-port=70000'), /^--healthz-port: "0.0.0.0:70000" is not an IP address and a port/);
  assert.match(fault('--metrics-bind-address=[::]'), /is not an IP address and a port/);
});

test('timeouts are whole seconds, rounded up, and 0 leaves the kernel alone', () => {
  const { conntrack } = settings('--conntrack-tcp-timeout-established=1500ms', '--conntrack-tcp-timeout-close-wait=0');
  assert.equal(conntrack, {
    maxPerCore: 32768,
    min: 131072,
    tcpEstablishedTimeoutSeconds: 2,
    tcpCloseWaitTimeoutSeconds: 0,
    tcpBeLiberal: false,
    udpTimeoutSeconds: 0,
    udpStreamTimeoutSeconds: 0,
  });
  const ipvs = settings('--ipvs-tcp-timeout=90s', '--ipvs-tcpfin-timeout=1ms', '--ipvs-exclude-cidrs=10.0.0.9/8').ipvs;
  assert.equal([ipvs.tcpTimeoutSeconds, ipvs.tcpFinTimeoutSeconds, ipvs.excludeCIDRs], [90, 1, ['10.0.0.0/8']]);
});

test('feature gates have their effective values, and unknown ones only a warning', () => {
  assert.is(settings().node.allowExternalIPs, true);
  const { node, featureGates, warnings } = settings('--feature-gates=AllowServiceExternalIPs=false,Future=true');
  assert.is(node.allowExternalIPs, false);
  assert.is(featureGates.AllowServiceExternalIPs, false);
  assert.is(featureGates.Future, undefined);
  assert.equal(warnings, [
    { where: '--feature-gates Future', what: 'is no feature gate that means something here, and ignored' },
  ]);
  assert.match(
    fault('--feature-gates=TopologyAwareHints=false'),
    /^--feature-gates TopologyAwareHints: cannot be false/,
  );
});

test('flags that do nothing, and those that go away, are warned of', () => {
  const warnings = settings('--vmodule=a=1', '--metrics-port=1', '--kube-api-content-type=x').warnings;
  assert.equal(
    warnings.map(({ where }) => where),
    ['--metrics-port', '--kube-api-content-type', '--vmodule'],
  );
  assert.match(warnings[0]!.what, /deprecated; use --metrics-bind-address/);
  assert.match(warnings[2]!.what, /has no effect: .*-v/);
  assert.equal(settings('-v2').warnings, []);
});

test('render serves both families unless told otherwise', () => {
  assert.equal(settings('render').families, ['IPv4', 'IPv6']);
  assert.equal(settings('render', '--family', 'IPv6').families, ['IPv6']);
  assert.equal(settings('render', '--node-addresses', '10.0.0.1,FD00::01').nodeAddresses, ['10.0.0.1', 'fd00::1']);
});

test.run();
