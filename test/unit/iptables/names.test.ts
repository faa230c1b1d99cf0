import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  endpointHash,
  hash16,
  isOwnChain,
  servicePortHash,
  upstreamIPVSSets,
} from '../../../plugins/iptables/names.ts';
import { endpoint, servicePort } from './samples.ts';

const test = suite('chain names');

test('the hashes are those that upstream kube-proxy makes', () => {
  // Known pairs of name and suffix, taken from the reference.
  assert.is(hash16('ns1/svc1:p80tcp'), 'XPGD46QRK7WJZT7O');
  assert.is(hash16('ns1/svc1tcp'), 'AQI2S6QIMU7PVVRP');
  const port = servicePort({ namespace: 'ns1', name: 'svc1', portName: 'p80' });
  assert.is(servicePortHash(port), 'XPGD46QRK7WJZT7O');
  assert.is(servicePortHash(servicePort({ namespace: 'ns1', name: 'svc1', portName: '' })), 'AQI2S6QIMU7PVVRP');
  assert.is(endpointHash(port, endpoint('10.180.0.1', { port: 80 })), 'SXIVWICOYRO3J4NJ');
});

test('our chains are recognised by name and table, those of other programs are not', () => {
  for (const chain of [
    'KUBE-SVC-A',
    'KUBE-SEP-A',
    'KUBE-XLB-A',
    'KUBE-VIP-10.0.0.0-8',
    'KUBE-SERVICES',
    'KUBE-HAIRPIN',
  ]) {
    assert.ok(isOwnChain('nat', chain), chain);
  }
  for (const chain of ['KUBE-FORWARD', 'KUBE-PROXY-FIREWALL', 'KUBE-FW-A'])
    assert.ok(isOwnChain('filter', chain), chain);
  assert.ok(isOwnChain('mangle', 'KUBE-PROXY-CANARY'));
  for (const chain of [
    'KUBE-MARK-DROP',
    'KUBE-KUBELET-CANARY',
    'KUBE-NWPLCY-A',
    'KUBE-POD-FW-A',
    'PREROUTING',
    'CNI-A',
    '',
  ]) {
    for (const table of ['mangle', 'nat', 'filter'] as const) assert.not(isOwnChain(table, chain), `${table} ${chain}`);
  }
  assert.not(isOwnChain('filter', 'KUBE-FIREWALL'), 'kubelet shares it');
  assert.not(isOwnChain('mangle', 'KUBE-SVC-A'));
});

test("chains of upstream's IPVS mode are ours to remove, where it has them; those with other names are not", () => {
  const tables = {
    nat: ['KUBE-LOAD-BALANCER', 'KUBE-NODE-PORT'],
    filter: ['KUBE-NODE-PORT', 'KUBE-SOURCE-RANGES-FIREWALL', 'KUBE-IPVS-FILTER', 'KUBE-IPVS-OUT-FILTER'],
  } as const;
  for (const table of ['nat', 'filter'] as const) {
    for (const chain of tables[table]) assert.ok(isOwnChain(table, chain), `${table} ${chain}`);
  }
  for (const [table, chain] of [
    ['filter', 'KUBE-LOAD-BALANCER'],
    ['nat', 'KUBE-IPVS-FILTER'],
    ['mangle', 'KUBE-NODE-PORT'],
    ['nat', 'KUBE-LOAD-BALANCER-X'],
    ['filter', 'KUBE-NODE-PORT-TCP'],
    ['filter', 'KUBE-ROUTER-SERVICES'],
  ] as const) {
    assert.not(isOwnChain(table, chain), `${table} ${chain}`);
  }
});

test("sets of upstream's IPVS mode have its names; those for IPv6 are cut to what the kernel takes", () => {
  const [v4, v6] = [upstreamIPVSSets('IPv4'), upstreamIPVSSets('IPv6')];
  assert.is(v4.length, 17);
  assert.is(new Set([...v4, ...v6]).size, 34);
  for (const name of ['KUBE-CLUSTER-IP', 'KUBE-LOOP-BACK', 'KUBE-IPVS-IPS', 'KUBE-LOAD-BALANCER-SOURCE-CIDR']) {
    assert.ok(v4.includes(name), name);
  }
  const cut = v6.filter((name) => name.length === 31);
  assert.equal(cut.sort(), ['KUBE-6-LOAD-BALANCER-SOURCE-CID', 'KUBE-6-NODE-PORT-LOCAL-SCTP-HAS']);
  assert.ok(v6.every((name) => name.startsWith('KUBE-6-') && name.length <= 31));
});

test.run();
