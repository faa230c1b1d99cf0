import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings } from '../../../core/config/settings.ts';

const BACKENDS = ['iptables', 'dry-run'];
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

test('a source is needed to run and to render, and to nothing else', () => {
  const needs = (argv: readonly string[]): boolean => check(argv).faults.some(({ where }) => where === '--manifests');
  assert.ok(needs([]));
  assert.ok(needs(['render']));
  assert.not(needs(['cleanup']));
  assert.not(needs(['--manifests', 'x']));
});

test('an unknown backend is refused with those that there are', () => {
  assert.match(fault('--backend', 'iptable'), /no backend "iptable"; available: iptables, dry-run; did you mean ipt/);
  assert.match(fault('--proxy-mode', 'winkernel'), /--backend: there is no backend "winkernel"/);
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
  const all = faults('--cluster-cidr=x', '--v=y', '--hostname-override= ', '--backend=z', '--detect-local-mode=w');
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

test('render serves both families unless told otherwise', () => {
  assert.equal(settings('render').families, ['IPv4', 'IPv6']);
  assert.equal(settings('render', '--family', 'IPv6').families, ['IPv6']);
  assert.equal(settings('render', '--node-addresses', '10.0.0.1,FD00::01').nodeAddresses, ['10.0.0.1', 'fd00::1']);
});

test.run();
