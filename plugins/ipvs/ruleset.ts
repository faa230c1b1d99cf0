/**
 * The chains of the table beside IPVS, purely: they depend on the node only, and on which sets are in use.
 *
 *   filter input 90     before IPVS looks (98): the destination is still the frontend
 *   filter output -150  the same for what the node itself sends, before IPVS looks (-98)
 *   filter output -97   takes our mark off again
 *   filter forward 0    INVALID packets, unallocated ClusterIPs
 *   nat postrouting 100 masquerade, by what the connection's destination was
 *
 * New connections only; what goes on passes one comparison in each hook.
 */
import type { NftChain, NftElement, NftRule, NftStatement, NodeView } from '../../core/backend.ts';
import {
  discardUnallocated,
  dropInvalid,
  fromPod,
  MASQUERADE,
  masqueradeHairpin,
  noted,
  ORIGINAL_PORT,
  PORT,
  rule,
  to,
  whenUsed,
} from '../shared/table/rules.ts';
import type { IsUsed } from '../shared/table/sizes.ts';
import {
  dispatch,
  nodePortVerdict,
  serviceVerdict,
  verdictChains,
  verdictElements as verdictLeads,
} from '../shared/table/verdicts.ts';
import {
  FROM_CLUSTER_IP,
  FROM_EXTERNAL,
  FROM_EXTERNAL_LOCAL,
  type Layout,
  type SetName,
  SOURCE_MASK,
} from './layout.ts';

/** Sets whose first or last element changes the chains. */
export const GATES: readonly SetName[] = [
  'nodeports',
  'marks',
  'nodeport-marks',
  'service-cidrs',
  'hairpin',
  'health-ports',
];

const NEW: NftStatement = { ctState: ['new'] };

/** What leads from classes to chains; never changes. */
export function verdictElements(): readonly (readonly [SetName, NftElement])[] {
  const lead = (number: number, chain: string): readonly [SetName, NftElement] => [
    'sources',
    { key: [number], data: { verdict: 'goto', chain } },
  ];
  return [
    ...verdictLeads('pass'),
    lead(FROM_EXTERNAL, 'to-external'),
    lead(FROM_EXTERNAL_LOCAL, 'to-external-local'),
    lead(FROM_CLUSTER_IP, 'to-cluster-ip'),
  ];
}

/** Chains that others lead to, those first that others lead to. */
export function innerChains(layout: Layout, node: NodeView, isUsed: IsUsed<SetName>): readonly NftChain[] {
  const { saddr, daddr, originalDaddr } = layout;
  const pod = fromPod(layout, node);
  const fromNode: NftStatement = { fib: 'saddr' };
  const toNodePort: NftStatement = { in: 'nodeport-ips', key: [daddr] };
  const reset: NftStatement = { priority: 0 };
  const when = whenUsed(isUsed);
  const fromPodOnly = (then: NftStatement): readonly NftRule[] => (pod === undefined ? [] : [rule(pod, then)]);
  const marking = (...who: readonly NftStatement[]): readonly NftRule[] =>
    when('marks', rule(...who, { mark: { map: 'marks', key: [daddr, ...PORT] } }));
  // Only where nobody has the address and port for himself, who would get the node port's connections.
  const nodePortMarking = [...(pod === undefined ? [] : [pod]), fromNode].flatMap((who) =>
    when('nodeport-marks', rule(who, toNodePort, { mark: { map: 'nodeport-marks', key: PORT } })),
  );
  const hairpin = when('hairpin', masqueradeHairpin(layout));
  const clusterIPSource: readonly NftRule[] = node.masqueradeAll
    ? [rule(MASQUERADE)]
    : [
        // The node sends to an address of its own from just that address, which nobody else could answer to.
        noted('the node itself', { in: 'addresses', key: [saddr] }, MASQUERADE),
        ...(pod === undefined ? [] : [rule(pod, { verdict: 'return' }), rule(MASQUERADE)]),
      ];
  return [
    { name: 'pass', rules: [rule(reset, { verdict: 'accept' })] },
    ...verdictChains(layout, node, 'pass'),
    {
      // What is no connection to a port, a ping for example, the node answers.
      name: 'undefined-port',
      rules: [
        ...when(
          'health-ports',
          noted(
            'health checks, which load balancers may send to their own address',
            { match: 'meta l4proto', is: 'tcp' },
            { in: 'health-ports', key: ['th dport'] },
            { verdict: 'accept' },
          ),
        ),
        ...['tcp', 'udp', 'sctp'].map((protocol) => rule({ match: 'meta l4proto', is: protocol }, to('refuse'))),
      ],
    },
    {
      name: 'services',
      rules: [
        rule(...serviceVerdict(layout)),
        noted('undefined port', { in: 'addresses', key: [daddr] }, to('undefined-port')),
        ...nodePortMarking,
        ...when('nodeports', rule(toNodePort, ...nodePortVerdict())),
        ...when('service-cidrs', discardUnallocated(layout)),
      ],
    },
    { name: 'incoming', rules: [...(pod === undefined ? [] : marking(pod)), rule(to('services'))] },
    { name: 'outgoing', rules: [...marking(), rule(to('services'))] },
    { name: 'to-external', rules: [rule(reset), rule(MASQUERADE)] },
    {
      name: 'to-external-local',
      rules: [rule(reset), ...hairpin, ...fromPodOnly({ verdict: 'return' }), rule(fromNode, MASQUERADE)],
    },
    { name: 'to-cluster-ip', rules: [rule(reset), ...hairpin, ...clusterIPSource] },
    {
      name: 'masquerading',
      rules: [
        rule(
          { priority: { map: 'services', key: [originalDaddr, ...ORIGINAL_PORT] } },
          dispatch('sources', SOURCE_MASK),
        ),
        ...when(
          'nodeports',
          rule(
            { in: 'nodeport-ips', key: [originalDaddr] },
            { priority: { map: 'nodeports', key: ORIGINAL_PORT } },
            dispatch('sources', SOURCE_MASK),
          ),
        ),
      ],
    },
  ];
}

/** Chains that the kernel calls: adding them makes the table live. */
export function hookChains(layout: Layout, node: NodeView, isUsed: IsUsed<SetName>): readonly NftChain[] {
  const { daddr } = layout;
  const filter = (
    name: string,
    hook: 'input' | 'forward' | 'output',
    priority: number,
    rules: readonly NftRule[],
  ): NftChain => ({ name, hook: { type: 'filter', hook, priority }, rules });
  const marked = isUsed('marks') || isUsed('nodeport-marks');
  // IPVS goes by connections of its own, and would send on what conntrack does not translate.
  const invalid = dropInvalid(node).flatMap(({ statements: [state, ...rest], comment = '' }) => [
    noted(comment, state!, { priority: { map: 'services', key: [daddr, ...PORT] } }, ...rest),
    ...(isUsed('nodeports')
      ? [
          noted(
            comment,
            state!,
            { in: 'nodeport-ips', key: [daddr] },
            { priority: { map: 'nodeports', key: PORT } },
            ...rest,
          ),
        ]
      : []),
  ]);
  return [
    filter('filter-forward', 'forward', 0, [
      ...dropInvalid(node),
      ...(isUsed('service-cidrs')
        ? [noted('unallocated ClusterIP', NEW, { in: 'service-cidrs', key: [daddr] }, to('discard'))]
        : []),
    ]),
    {
      name: 'nat-postrouting',
      hook: { type: 'nat', hook: 'postrouting', priority: 100 },
      rules: [rule(to('masquerading'))],
    },
    filter(
      'mark-off',
      'output',
      -97,
      marked ? [rule(NEW, { in: 'mark-numbers', key: ['meta mark'] }, { mark: 0 })] : [],
    ),
    filter('filter-output', 'output', -150, [rule(NEW, to('outgoing'))]),
    filter('filter-input', 'input', 90, [...invalid, rule(NEW, to('incoming'))]),
  ];
}
