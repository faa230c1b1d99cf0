/** Which behaviours fail for which answers, without a packet: the answers are made up from what the oracle says. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../../core/backend.ts';
import { drawObjects } from '../../conformance/ask.ts';
import { judgeParts } from '../../conformance/judge.ts';
import { probes, roundTrips } from '../../conformance/matrix.ts';
import { DEFAULT_SETTINGS, modelState } from '../../conformance/model-state.ts';
import { type Asked, GROUPS, questionsOf, verdictOn } from '../../conformance/packet-groups.ts';
import { hostPort, type Outcome } from '../../netns/agent-protocol.ts';
import { CLUSTER_CIDR, planTopology } from '../../netns/world-topology.ts';

const test = suite('conformance kit: groups of packets');
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const world = planTopology();
const settings = { ...DEFAULT_SETTINGS, clusterCIDRs: FAMILIES.map((family) => CLUSTER_CIDR[family]) };
const addresses = [
  { interfaceName: 'lo', ip: '127.0.0.1' },
  ...FAMILIES.flatMap((family) => world.nodeIPs[family]).map((ip) => ({ interfaceName: 'eth0', ip })),
];

/** All questions of a draw, answered by a data plane that is right but for what `spoil` changes. */
function asked(spoil: (one: Omit<Asked, 'judgement'>, right: Outcome) => Outcome): readonly Asked[] {
  return FAMILIES.flatMap((family) => {
    const objects = drawObjects(world, family, 20250, { services: 60, protocols: ['TCP', 'UDP', 'SCTP'] });
    const { node, ports } = modelState(family, objects, settings, addresses);
    return questionsOf(probes({ ports, node }, family, world).filter(roundTrips), ports).map((question): Asked => {
      const { probe } = question;
      const outcome = spoil(question, rightAnswer(probe, node.addresses));
      return { ...question, judgement: judgeParts(probe, outcome, node) };
    });
  });
}

function rightAnswer({ verdict, packet }: Asked['probe'], own: readonly string[]): Outcome {
  if (verdict.action === 'reject') return { outcome: 'refused', code: 'ECONNREFUSED' };
  if (verdict.action !== 'endpoints') return { outcome: 'timeout' };
  const endpoint = verdict.endpoints[0]!;
  const masked = verdict.masquerade(endpoint) || packet.origin === 'node';
  const node = own.find((ip) => ip !== '127.0.0.1' && ip.includes(':') === packet.sourceIP.includes(':'))!;
  const peer = masked ? node : packet.sourceIP;
  const address = hostPort(endpoint.ip, endpoint.port);
  return { outcome: 'answered', server: 'x', address, peer, peerPort: 1, localPort: 1 };
}

const SILENCE: Outcome = { outcome: 'timeout' };

function verdicts(all: readonly Asked[]) {
  return new Map(GROUPS.map((group) => [group.id, verdictOn(group, all, 'none').kind] as const));
}

function failing(spoil: Parameters<typeof asked>[0]): readonly string[] {
  return [...verdicts(asked(spoil))].filter(([, kind]) => kind === 'fails').map(([id]) => id);
}

test('a data plane that does what the oracle says holds in every group', () => {
  const all = verdicts(asked((_, right) => right));
  assert.equal(
    [...all].filter(([, kind]) => kind !== 'holds'),
    [],
  );
});

/** What a data plane does wrong, and the behaviours that say so. */
const SPOILERS: readonly (readonly [what: string, spoil: Parameters<typeof asked>[0], expected: readonly string[]])[] =
  [
    [
      'answers no pod on clusterIPs',
      ({ destination, probe, port }, right) =>
        destination === 'clusterIP' &&
        probe.packet.origin === 'pod' &&
        port.internalPolicy === 'Cluster' &&
        right.outcome === 'answered'
          ? SILENCE
          : right,
      ['cluster-ip-from-pods'],
    ],
    [
      'serves no node ports at all',
      ({ destination }, right) => (destination === 'node port' && right.outcome !== 'timeout' ? SILENCE : right),
      ['node-port-from-outside', 'node-port-from-inside', 'node-port-on-localhost'],
    ],
    [
      'serves no load balancers, whatever their ranges',
      ({ destination }, right) => (destination === 'VIP' && right.outcome === 'answered' ? SILENCE : right),
      ['load-balancer'],
    ],
    ['is silent instead of refusing', (_, right) => (right.outcome === 'refused' ? SILENCE : right), ['refused']],
    [
      'refuses instead of being silent',
      (_, right) => (right.outcome === 'timeout' ? { outcome: 'refused', code: 'x' } : right),
      ['dropped', 'source-ranges'],
    ],
    [
      'masquerades everything',
      ({ probe }, right) =>
        right.outcome === 'answered' && right.peer === probe.packet.sourceIP
          ? { ...right, peer: world.nodeIPs[probe.packet.family][0]! }
          : right,
      ['source-kept'],
    ],
    [
      'knows no UDP',
      ({ port }, right) => (port.protocol === 'UDP' && right.outcome === 'answered' ? SILENCE : right),
      ['udp'],
    ],
    ['knows no SCTP', ({ port }, right) => (port.protocol === 'SCTP' ? SILENCE : right), ['sctp']],
  ];

for (const [what, spoil, expected] of SPOILERS) {
  test(`one that ${what} fails in ${expected.join(', ')}`, () => {
    const found = failing(spoil);
    for (const id of expected) assert.ok(found.includes(id), `${id} is not among ${found.join(', ')}`);
    // What stands for several destinations at once may say so, too.
    const also = [
      'internal-policy-local',
      'external-policy-local',
      'terminating',
      'source-ranges',
      'refused',
      'dropped',
    ];
    assert.equal(
      found.filter((id) => !expected.includes(id) && !also.includes(id)),
      [],
    );
  });
}

test('IPv6 that is worse than IPv4 is told, and what neither has is not held against it', () => {
  const isIPv6 = ({ probe }: Omit<Asked, 'judgement'>): boolean => probe.packet.family === 'IPv6';
  assert.ok(failing((one, right) => (isIPv6(one) ? SILENCE : right)).includes('ipv6'));
  const neither = failing((one, right) =>
    one.destination === 'external IP' && right.outcome === 'answered' ? SILENCE : right,
  );
  assert.ok(neither.includes('external-ip') && !neither.includes('ipv6'), neither.join(', '));
});

test('where nothing answers, what is about how it answers is not tried', () => {
  const all = asked((_, right) => (right.outcome === 'answered' ? SILENCE : right));
  const kinds = verdicts(all);
  assert.is(kinds.get('cluster-ip-from-pods'), 'fails');
  for (const id of ['refused', 'dropped', 'source-ranges', 'source-kept', 'terminating', 'udp', 'sctp', 'ipv6'])
    assert.is(kinds.get(id), 'not tried', id);
});

test.run();
