import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseNode } from '../../../core/model/parse-node.ts';
import { rawNode } from './samples.ts';

const nodes = suite('nodes');

nodes('internal addresses come before external ones; hostnames are no addresses', () => {
  assert.equal(parseNode(rawNode()), {
    value: {
      name: 'node-a',
      uid: '',
      zone: 'zone-a',
      ips: ['192.168.50.10', 'fd00:50::10', '198.51.100.7'],
      podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'],
      eligible: true,
    },
    problems: [],
  });
});

nodes('a Node with nothing but a name is known by its name', () => {
  const expected = {
    value: { name: 'node-a', uid: '', zone: '', ips: [], podCIDRs: [], eligible: true },
    problems: [],
  };
  assert.equal(parseNode({ metadata: { name: 'node-a' } }), expected);
});

nodes('podCIDR counts only without podCIDRs', () => {
  assert.equal(parseNode(rawNode({ spec: { podCIDR: '10.244.1.9/24' } })).value?.podCIDRs, ['10.244.1.0/24']);
  const both = { podCIDR: '10.1.0.0/24', podCIDRs: ['10.244.1.0/24'] };
  assert.equal(parseNode(rawNode({ spec: both })).value?.podCIDRs, ['10.244.1.0/24']);
  assert.equal(parseNode(rawNode({ spec: { podCIDR: '', podCIDRs: [] } })), {
    value: { ...parseNode(rawNode()).value!, podCIDRs: [] },
    problems: [],
  });
});

nodes('an address that is there twice counts once', () => {
  const addresses = [
    { type: 'InternalIP', address: '10.0.0.1' },
    { type: 'ExternalIP', address: '010.0.0.1' },
  ];
  assert.equal(parseNode(rawNode({ status: { addresses } })).value?.ips, ['10.0.0.1']);
});

nodes('bad addresses and CIDRs are ignored with a problem each', () => {
  const status = {
    addresses: [{ type: 'InternalIP', address: 'x' }, 'y', { type: 'InternalIP', address: '10.0.0.1' }],
  };
  const { value, problems } = parseNode(rawNode({ status, spec: { podCIDRs: ['10.0.0.0', 'fd00::/64'] } }));
  assert.equal(value?.ips, ['10.0.0.1']);
  assert.equal(value?.podCIDRs, ['fd00::/64']);
  assert.equal(problems, [
    'status.addresses[0].address: "x" is not an IP address; ignored',
    'status.addresses[1]: "y" is not an object; ignored',
    'spec.podCIDRs[0]: "10.0.0.0" is not a CIDR; ignored',
  ]);
});

nodes('load balancers may use a node until it is being deleted, by the API or by the autoscaler', () => {
  const eligible = (rest: Record<string, unknown>): unknown => parseNode(rawNode(rest)).value?.eligible;
  assert.is(eligible({ spec: { taints: [{ key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }] } }), true);
  assert.is(eligible({ spec: { unschedulable: true } }), true);
  assert.is(eligible({ spec: { taints: [{ key: 'ToBeDeletedByClusterAutoscaler', value: '1' }] } }), false);
  const metadata = { name: 'node-a', deletionTimestamp: '2026-01-01T00:00:00Z' };
  assert.is(eligible({ metadata }), false);
});

nodes('what has no name or is of another kind is left out with a problem', () => {
  assert.match(parseNode({ metadata: {} }).problems.join(), /^metadata\.name: /);
  assert.match(parseNode(rawNode({ kind: 'Pod' })).problems.join(), /^kind: "Pod" is not Node/);
  assert.is(parseNode(rawNode({ kind: 'Pod' })).value, undefined);
});

nodes.run();
