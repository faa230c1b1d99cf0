import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, LocalDetector } from '../../../core/backend.ts';
import type { InterfaceAddress, NodeSettings } from '../../../core/model/node-settings.ts';
import { nodeView } from '../../../core/model/node-view.ts';
import type { Node } from '../../../core/model/objects.ts';
import { settings } from './samples.ts';

const NODE: Node = {
  name: 'node-a',
  uid: '',
  eligible: true,
  zone: 'zone-a',
  ips: ['192.168.50.10', 'fd00:50::10', '192.168.60.10'],
  podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64', '10.244.9.0/24'],
};
const INTERFACES: readonly InterfaceAddress[] = [
  { interfaceName: 'lo', ip: '127.0.0.1' },
  { interfaceName: 'lo', ip: '::1' },
  { interfaceName: 'eth1', ip: '192.168.60.10' },
  { interfaceName: 'eth0', ip: '192.168.50.10' },
  { interfaceName: 'eth0', ip: 'fd00:50::10' },
  { interfaceName: 'eth0', ip: 'fe80::1' },
  { interfaceName: 'eth1', ip: 'fe80::1' },
  { interfaceName: 'kube-ipvs0', ip: '10.96.0.10' },
];

function see(family: IPFamily, rest: Partial<NodeSettings> = {}, node: Node | undefined = NODE) {
  return nodeView(family, node, settings(rest), INTERFACES);
}

const identity = suite('the node');

identity('a family sees its own addresses, sorted, each once, without those that IPVS binds', () => {
  assert.equal(see('IPv4').addresses, ['127.0.0.1', '192.168.50.10', '192.168.60.10']);
  assert.equal(see('IPv6').addresses, ['::1', 'fd00:50::10', 'fe80::1']);
});

identity('name, zone and flags are handed on', () => {
  const { name, zone, masqueradeAll, tcpBeLiberal } = see('IPv4', { masqueradeAll: true, tcpBeLiberal: true });
  assert.equal([name, zone, masqueradeAll, tcpBeLiberal], ['node-a', 'zone-a', true, true]);
});

identity('service CIDRs are those of the family', () => {
  assert.equal(see('IPv4').serviceCIDRs, ['10.96.0.0/12']);
  assert.equal(see('IPv6').serviceCIDRs, ['fd00:10:96::/112']);
});

identity('without a Node object it is known by its configured name only', () => {
  const { name, zone, nodeIPs } = nodeView('IPv4', undefined, settings(), INTERFACES);
  assert.equal([name, zone, nodeIPs], ['node-a', '', []]);
});

const NODE_IPS: readonly (readonly [string, IPFamily, Partial<NodeSettings>, readonly string[]])[] = [
  ['are those of the family, primary first', 'IPv4', {}, ['192.168.50.10', '192.168.60.10']],
  ['are those of the family (IPv6)', 'IPv6', {}, ['fd00:50::10']],
  ['have the bind address as primary', 'IPv4', { bindAddress: '192.0.2.1' }, ['192.0.2.1', '192.168.60.10']],
  ['name a bind address once', 'IPv4', { bindAddress: '192.168.60.10' }, ['192.168.60.10']],
  ['ignore a bind address of the other family', 'IPv6', { bindAddress: '192.0.2.1' }, ['fd00:50::10']],
  ['take an IPv6 bind address', 'IPv6', { bindAddress: 'fd00::7' }, ['fd00::7']],
  ['ignore the unspecified address', 'IPv6', { bindAddress: '::' }, ['fd00:50::10']],
];
for (const [title, family, rest, expected] of NODE_IPS) {
  identity(`node IPs ${title}`, () => assert.equal(see(family, rest).nodeIPs, expected));
}

identity('a bind address is known without a Node object; nothing is invented otherwise', () => {
  const of = (bindAddress: string) => nodeView('IPv4', undefined, settings({ bindAddress }), INTERFACES).nodeIPs;
  assert.equal(of('192.0.2.1'), ['192.0.2.1']);
  assert.equal(of('0.0.0.0'), []);
});

identity.run();

const nodePorts = suite('node port addresses');

const all = (loopback: boolean) => ({ match: 'all', loopback }) as const;
const list = (...addresses: string[]) => ({ match: 'list', addresses }) as const;
const NO_LOCALHOST = { localhostNodePorts: false };
const NODE_PORTS: readonly (readonly [string, IPFamily, Partial<NodeSettings>, unknown])[] = [
  ['by default are all, loopback included for IPv4', 'IPv4', {}, all(true)],
  ['by default never include ::1', 'IPv6', {}, all(false)],
  ['leave loopback out when switched off', 'IPv4', NO_LOCALHOST, all(false)],
  ['with CIDRs of the other family only are all', 'IPv4', { nodePortAddresses: ['fd00::/8'] }, all(true)],
  [
    'with a /0 are all, whatever else is listed',
    'IPv4',
    { nodePortAddresses: ['192.168.0.0/16', '0.0.0.0/0'] },
    all(true),
  ],
  ['with ::/0 are all, without ::1', 'IPv6', { nodePortAddresses: ['::/0'] }, all(false)],
  [
    'with a /0 and localhost off leave loopback out',
    'IPv4',
    { nodePortAddresses: ['0.0.0.0/0'], ...NO_LOCALHOST },
    all(false),
  ],
  [
    'with CIDRs are the interface addresses inside',
    'IPv4',
    { nodePortAddresses: ['192.168.50.0/24'] },
    list('192.168.50.10'),
  ],
  [
    'with several CIDRs are those inside any, sorted',
    'IPv4',
    { nodePortAddresses: ['192.168.60.0/24', '192.168.0.0/16'] },
    list('192.168.50.10', '192.168.60.10'),
  ],
  ['with CIDRs that hold nothing are none', 'IPv4', { nodePortAddresses: ['172.16.0.0/12'] }, list()],
  ['with a loopback CIDR include loopback', 'IPv4', { nodePortAddresses: ['127.0.0.0/8'] }, list('127.0.0.1')],
  ['with a wide CIDR over loopback include loopback', 'IPv4', { nodePortAddresses: ['64.0.0.0/2'] }, list('127.0.0.1')],
  [
    'with a loopback CIDR and localhost off are none',
    'IPv4',
    { nodePortAddresses: ['127.0.0.0/8'], ...NO_LOCALHOST },
    list(),
  ],
  ['never include ::1, not even listed', 'IPv6', { nodePortAddresses: ['::1/128'] }, list()],
  ['with a wide CIDR leave link-local ones out', 'IPv6', { nodePortAddresses: ['8000::/1'] }, list('fd00:50::10')],
  ['with fe80::/9 leave link-local ones out too', 'IPv6', { nodePortAddresses: ['fe80::/9'] }, list()],
  ['with fe80::/10 include link-local ones', 'IPv6', { nodePortAddresses: ['fe80::/10'] }, list('fe80::1')],
  [
    'with a link-local CIDR among others include them',
    'IPv6',
    { nodePortAddresses: ['fd00::/8', 'fe80::/64'] },
    list('fd00:50::10', 'fe80::1'),
  ],
  ['"primary" is the primary node IP alone', 'IPv4', { nodePortAddresses: ['primary'] }, list('192.168.50.10')],
  ['"primary" is so in each family', 'IPv6', { nodePortAddresses: ['primary'] }, list('fd00:50::10')],
  [
    '"primary" is the bind address if there is one',
    'IPv4',
    { nodePortAddresses: ['primary'], bindAddress: '192.168.60.10' },
    list('192.168.60.10'),
  ],
  [
    '"primary" is nothing when no interface has it',
    'IPv4',
    { nodePortAddresses: ['primary'], bindAddress: '192.0.2.1' },
    list(),
  ],
  ['"primary" is never loopback', 'IPv4', { nodePortAddresses: ['primary'], bindAddress: '127.0.0.1' }, list()],
  ['addresses that IPVS binds do not count', 'IPv4', { nodePortAddresses: ['10.96.0.0/12'] }, list()],
];
for (const [title, family, rest, expected] of NODE_PORTS) {
  nodePorts(title, () => assert.equal(see(family, rest).nodePortAddresses, expected));
}

nodePorts('"primary" in a family without known node IP answers nowhere, rather than everywhere', () => {
  const only4 = { ...NODE, ips: ['192.168.50.10'] };
  assert.equal(see('IPv6', { nodePortAddresses: ['primary'] }, only4).nodePortAddresses, list());
  const unknown = nodeView('IPv4', undefined, settings({ nodePortAddresses: ['primary'] }), INTERFACES);
  assert.equal(unknown.nodePortAddresses, list());
});

nodePorts.run();

const detectors = suite('local detectors');

const NONE: LocalDetector = { kind: 'none' };
const DETECTORS: readonly (readonly [string, IPFamily, Partial<NodeSettings>, LocalDetector])[] = [
  ['ClusterCIDR takes the CIDR of the family', 'IPv4', {}, { kind: 'cidr', cidr: '10.244.0.0/16' }],
  ['ClusterCIDR takes the CIDR of the family (IPv6)', 'IPv6', {}, { kind: 'cidr', cidr: 'fd00:244::/48' }],
  ['ClusterCIDR without one of the family cannot tell', 'IPv6', { clusterCIDRs: ['10.244.0.0/16'] }, NONE],
  [
    'NodeCIDR takes the first pod CIDR of the family',
    'IPv4',
    { detectLocalMode: 'NodeCIDR' },
    { kind: 'cidr', cidr: '10.244.1.0/24' },
  ],
  ['NodeCIDR in IPv6', 'IPv6', { detectLocalMode: 'NodeCIDR' }, { kind: 'cidr', cidr: 'fd00:244:1::/64' }],
  [
    'BridgeInterface compares the whole name',
    'IPv4',
    { detectLocalMode: 'BridgeInterface', podBridgeInterface: 'br0' },
    { kind: 'interface', name: 'br0' },
  ],
  ['BridgeInterface without a name cannot tell', 'IPv4', { detectLocalMode: 'BridgeInterface' }, NONE],
  [
    'InterfaceNamePrefix compares the beginning',
    'IPv6',
    { detectLocalMode: 'InterfaceNamePrefix', podInterfaceNamePrefix: 'veth' },
    { kind: 'interfacePrefix', prefix: 'veth' },
  ],
  ['InterfaceNamePrefix without a prefix cannot tell', 'IPv4', { detectLocalMode: 'InterfaceNamePrefix' }, NONE],
];
for (const [title, family, rest, expected] of DETECTORS) {
  detectors(title, () => assert.equal(see(family, rest).localDetector, expected));
}

detectors('NodeCIDR without a Node object cannot tell', () => {
  const { localDetector } = nodeView('IPv4', undefined, settings({ detectLocalMode: 'NodeCIDR' }), INTERFACES);
  assert.equal(localDetector, NONE);
});

detectors.run();
