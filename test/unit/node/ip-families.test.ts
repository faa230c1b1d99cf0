import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type FamilyFacts, familyChecks } from '../../../core/node/ip-families.ts';

const test = suite('IP families');

const FACTS: FamilyFacts = {
  primaryFamily: 'IPv4',
  nodeIPs: ['192.168.50.10'],
  clusterCIDRs: [],
  podCIDRs: [],
  detectLocalMode: 'ClusterCIDR',
  served: ['IPv4', 'IPv6'],
  nodePortAddresses: ['primary'],
};

test('what fits is neither fatal nor worth a note', () => {
  assert.equal(familyChecks(FACTS), { notes: [] });
  const dual = { clusterCIDRs: ['10.244.0.0/16', 'fd00:244::/56'], nodeIPs: ['192.168.50.10', 'fd00:50::10'] };
  assert.equal(familyChecks({ ...FACTS, ...dual }), { notes: [] });
});

test('a primary family that cannot be served is fatal', () => {
  const { fatal } = familyChecks({ ...FACTS, primaryFamily: 'IPv6', served: ['IPv4'], nodeIPs: ['fd00:50::10'] });
  assert.match(fatal ?? '', /primary family is IPv6, .*only IPv4; enable IPv6.*--bind-address/);
});

test('a cluster CIDR of the other family is fatal only where it detects pods and the host has one family', () => {
  const wrong = { ...FACTS, clusterCIDRs: ['fd00:244::/56'] };
  assert.match(familyChecks({ ...wrong, served: ['IPv4'] }).fatal ?? '', /IPv4-only, .*has only IPv6: fd00:244::\/56/);
  for (const other of [wrong, { ...wrong, served: ['IPv4'], detectLocalMode: 'BridgeInterface' } as const]) {
    const { fatal, notes } = familyChecks(other);
    assert.is(fatal, undefined);
    assert.is(notes.length, 1);
    assert.match(notes[0]!, /clusterCIDR .*has only IPv6/);
  }
});

test('pod CIDRs of the other family are fatal only where they detect pods, on any host', () => {
  const wrong = { ...FACTS, podCIDRs: ['fd00:244:1::/64'] };
  for (const served of [['IPv4'], ['IPv4', 'IPv6']] as const) {
    assert.match(
      familyChecks({ ...wrong, served, detectLocalMode: 'NodeCIDR' }).fatal ?? '',
      /podCIDRs have only IPv6/,
    );
    const { fatal, notes } = familyChecks({ ...wrong, served });
    assert.is(fatal, undefined);
    assert.match(notes.join(), /podCIDRs have only IPv6/);
  }
});

test('several fatal faults are all told', () => {
  const { fatal = '' } = familyChecks({
    ...FACTS,
    primaryFamily: 'IPv6',
    served: ['IPv4'],
    clusterCIDRs: ['10.244.0.0/16'],
  });
  assert.match(fatal, /primary family is IPv6/);
  assert.match(fatal, /clusterCIDR/);
});

test('node ports on more addresses than someone may think are told', () => {
  const notes = (rest: Partial<FamilyFacts>) => familyChecks({ ...FACTS, ...rest }).notes.join();
  assert.match(notes({ nodePortAddresses: [] }), /nodePortAddresses is unset.*--nodeport-addresses=primary/);
  assert.match(notes({ nodePortAddresses: ['fd00:50::/64'] }), /has only IPv6: .*every local IPv4 address/);
  assert.is(notes({ nodePortAddresses: ['192.168.50.0/24'] }), '');
  const dual = { nodePortAddresses: ['192.168.50.0/24'], podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'] };
  assert.match(notes(dual), /has only IPv4: .*every local IPv6 address/);
  assert.is(notes({ ...dual, nodePortAddresses: ['192.168.50.0/24', 'fd00:50::/64'] }), '');
});

test('a node without a known address is told', () => {
  assert.match(familyChecks({ ...FACTS, nodeIPs: [] }).notes.join(), /no address of this node is known/);
});

test.run();
