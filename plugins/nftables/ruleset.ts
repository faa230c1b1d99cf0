/**
 * The chains, purely: a fixed number that depends on the node only, and a few for each class of Service in use.
 *
 *   nat-prerouting, nat-output ─▶ services ─ services[daddr.proto.port] ─▶ dispatch ─▶ lb-3, affinity-3, guarded, …
 *                                    ├ address of the node ─▶ nodeports ─ the same by protocol and port
 *                                    ├ other port of a ClusterIP ─▶ refuse
 *                                    └ unallocated address of a ServiceCIDR ─▶ discard
 *   nat-postrouting ─ translated? ─▶ translated: record affinity, masquerade
 *   nat-input       ─ translated? ─▶ affinity-recording (endpoints on the host itself)
 *   filter-forward: INVALID packets    filter-input: loopback addresses from outside
 */
import type {
  NftChain,
  NftElement,
  NftExpression,
  NftLookup,
  NftRule,
  NftStatement,
  NodeView,
} from '../../core/backend.ts';
import {
  discardUnallocated,
  dropInvalid,
  fromPod,
  loopbackGuard,
  MASQUERADE,
  masqueradeHairpin,
  noted,
  ORIGINAL_PORT,
  PORT,
  podOnItsWay,
  REFUSALS,
  refuseUndefinedPort,
  rule,
  to,
  toNodePortAddress,
  whenUsed,
} from '../shared/table/rules.ts';
import type { IsUsed } from '../shared/table/sizes.ts';
import {
  AFFINITY,
  AFFINITY_ID_MASK,
  COUNT_MASK,
  DISPATCH,
  DROP,
  GUARDED,
  type Layout,
  LOCAL,
  POLICY_LOCAL,
  REJECT,
  type SetName,
} from './layout.ts';

/** Whether a chain belongs to destinations with an address or to node ports; each has its own maps. */
export type Side = 'services' | 'nodeports';
export const SIDES: readonly Side[] = ['services', 'nodeports'];

/** What belongs to a side: its maps, and the key that a connection has in them. */
interface SideNames {
  readonly key: readonly NftExpression[];
  readonly originalKey: readonly NftExpression[];
  readonly prefix: string;
  readonly endpoints: SetName;
  readonly localServices: SetName;
  readonly localEndpoints: SetName;
  readonly affinityIds: SetName;
  readonly affinityRecord: SetName;
}

function sideNames({ daddr, originalDaddr }: Layout, side: Side): SideNames {
  return side === 'services'
    ? {
        key: [daddr, ...PORT],
        originalKey: [originalDaddr, ...ORIGINAL_PORT],
        prefix: '',
        endpoints: 'endpoints',
        localServices: 'local-services',
        localEndpoints: 'local-endpoints',
        affinityIds: 'affinity-services',
        affinityRecord: 'affinity-record',
      }
    : {
        key: PORT,
        originalKey: ORIGINAL_PORT,
        prefix: 'nodeport-',
        endpoints: 'nodeport-endpoints',
        localServices: 'local-nodeports',
        localEndpoints: 'local-nodeport-endpoints',
        affinityIds: 'affinity-nodeports',
        affinityRecord: 'nodeport-affinity-record',
      };
}

function dispatch(map: SetName, key: readonly NftExpression[]): NftRule {
  const chains = DISPATCH.get(map)!;
  return rule({ priority: { map, key } }, { vmap: { map: chains, key: ['meta priority'] } });
}

/** Chains that are called by the kernel: adding them makes a table live. */
export function hookChains(layout: Layout, node: NodeView): readonly NftChain[] {
  const nat = (
    hook: 'prerouting' | 'output' | 'postrouting' | 'input',
    priority: number,
    rules: NftRule[],
  ): NftChain => ({
    name: `nat-${hook}`,
    hook: { type: 'nat', hook, priority },
    rules,
  });
  const translated: NftStatement = { ctStatus: 'dnat' };
  return [
    loopbackGuard(layout, node),
    { name: 'filter-forward', hook: { type: 'filter', hook: 'forward', priority: 0 }, rules: dropInvalid(node) },
    nat('postrouting', 100, [rule(translated, { verdict: 'jump', chain: 'translated' })]),
    nat('input', 100, [rule(translated, { verdict: 'jump', chain: 'affinity-recording' })]),
    nat('prerouting', -100, [rule(to('services'))]),
    nat('output', -100, [rule(to('services'))]),
  ];
}

/** Sets whose first or last element changes the chains of the node. */
export const GATES: readonly SetName[] = [
  'nodeports',
  'service-cidrs',
  'hairpin',
  'masquerade-services',
  'masquerade-services-if-node',
  'masquerade-nodeports',
  'masquerade-nodeports-if-node',
  'affinity-services',
  'affinity-nodeports',
];

/** Chains that depend on the node and its settings, and on what is in use; those that others lead to come first. */
export function nodeChains(layout: Layout, node: NodeView, isUsed: IsUsed<SetName>): readonly NftChain[] {
  const { saddr, originalDaddr } = layout;
  const services = sideNames(layout, 'services');
  const nodeports = sideNames(layout, 'nodeports');
  const pod = fromPod(layout, node);
  const toNodePort: NftStatement = { in: 'nodeport-ips', key: [originalDaddr] };
  const clusterIPSource: readonly NftRule[] = node.masqueradeAll
    ? [rule(MASQUERADE)]
    : pod === undefined
      ? []
      : [...podOnItsWay(layout, node, [{ verdict: 'return' }]), rule(MASQUERADE)];
  const when = whenUsed(isUsed);
  const recorded = (names: SideNames, ...only: readonly NftStatement[]): NftRule =>
    rule(
      ...only,
      { priority: { map: names.affinityIds, key: names.originalKey } },
      { priority: { map: 'affinity-timeouts', key: ['meta priority'] } },
      { vmap: { map: names.affinityRecord, key: ['meta priority'] } },
    );
  const byLocalPolicy = to('local-policy-source');
  return [
    ...REFUSALS,
    {
      name: 'guarded-allowed',
      rules: [dispatch('guarded-services', services.key)],
    },
    {
      name: 'guarded',
      rules: [
        rule({ in: 'source-ranges', key: [...services.key, saddr] }, to('guarded-allowed')),
        noted('outside of the source ranges', to('discard')),
      ],
    },
    { name: 'nodeports', rules: [dispatch('nodeports', nodeports.key)] },
    {
      name: 'services',
      rules: [
        dispatch('services', services.key),
        ...when('nodeports', rule(...toNodePortAddress(layout, node), { verdict: 'jump', chain: 'nodeports' })),
        refuseUndefinedPort(layout),
        ...when('service-cidrs', discardUnallocated(layout)),
      ],
    },
    {
      name: 'affinity-recording',
      rules: [
        ...when('affinity-services', recorded(services)),
        ...when('affinity-nodeports', recorded(nodeports, toNodePort)),
      ],
    },
    { name: 'clusterip-source', rules: clusterIPSource },
    {
      name: 'local-policy-source',
      rules: [...podOnItsWay(layout, node, [{ verdict: 'return' }]), rule({ fib: 'saddr' }, MASQUERADE)],
    },
    {
      name: 'translated',
      rules: [
        ...(isUsed('affinity-services') || isUsed('affinity-nodeports')
          ? [rule({ verdict: 'jump', chain: 'affinity-recording' })]
          : []),
        ...when('hairpin', masqueradeHairpin(layout)),
        ...when('masquerade-services', rule({ in: 'masquerade-services', key: services.originalKey }, MASQUERADE)),
        ...when(
          'masquerade-services-if-node',
          rule({ in: 'masquerade-services-if-node', key: services.originalKey }, byLocalPolicy),
        ),
        rule({ in: 'cluster-ips', key: [originalDaddr] }, to('clusterip-source')),
        ...when(
          'masquerade-nodeports',
          rule({ in: 'masquerade-nodeports', key: nodeports.originalKey }, toNodePort, MASQUERADE),
        ),
        ...when(
          'masquerade-nodeports-if-node',
          rule({ in: 'masquerade-nodeports-if-node', key: nodeports.originalKey }, toNodePort, byLocalPolicy),
        ),
      ],
    },
  ];
}

/** A chain, and the element of a verdict map that leads to it. */
export interface ReachedChain {
  readonly map: SetName;
  readonly element: NftElement;
  readonly chain: NftChain;
}

function chainName(prefix: string, klass: number): string {
  const count = klass & COUNT_MASK;
  const words = [
    klass & POLICY_LOCAL ? 'policy-local' : klass & LOCAL ? 'local' : '',
    klass & AFFINITY ? 'affinity' : 'lb',
    String(count),
  ];
  return prefix + words.filter(Boolean).join('-');
}

/** Classes whose chains the chain of this class leads to. */
export function classesBelow(klass: number): readonly number[] {
  const count = klass & COUNT_MASK;
  if (count === 0) return [];
  if (klass & POLICY_LOCAL) return [klass & ~POLICY_LOCAL];
  if (klass & AFFINITY) return [klass & ~AFFINITY];
  return count === 1 ? [] : [(klass & ~COUNT_MASK) | 1];
}

/** Where a class leads. */
export function classChainName(layout: Layout, side: Side, klass: number): string {
  if (klass === REJECT) return 'refuse';
  if (klass === DROP) return 'discard';
  if (klass === GUARDED) return 'guarded';
  return chainName(sideNames(layout, side).prefix, klass);
}

/** The chain of one class; undefined for REJECT, DROP and GUARDED, whose chains are the node's. */
export function classChain(layout: Layout, node: NodeView, side: Side, klass: number): NftChain | undefined {
  if (klass >= GUARDED) return undefined;
  return { name: classChainName(layout, side, klass), rules: classRules(layout, node, sideNames(layout, side), klass) };
}

function classRules(layout: Layout, node: NodeView, names: SideNames, klass: number): readonly NftRule[] {
  const { saddr } = layout;
  const count = klass & COUNT_MASK;
  const toClass = (target: number): NftStatement => to(chainName(names.prefix, target));
  if (klass & POLICY_LOCAL) {
    const pod = fromPod(layout, node);
    // Without endpoints in the cluster but with local ones, which no model says but the contract allows: drop.
    const inside: NftStatement = count === 0 ? to('discard') : toClass(klass & ~POLICY_LOCAL);
    return [
      ...(pod === undefined ? [] : [noted('pods of this node use every endpoint', pod, inside)]),
      noted('and so does the node itself', { fib: 'saddr' }, inside),
      dispatch(names.localServices, names.key),
    ];
  }
  if (klass & AFFINITY) {
    const handles: SetName = klass & LOCAL ? 'local-affinity-endpoints' : 'affinity-endpoints';
    return [
      rule({ priority: { map: names.affinityIds, key: names.key } }),
      rule({ priority: { map: 'affinity', key: [saddr, 'meta priority'] } }),
      noted('the endpoint that the client had, if it still is one', { dnat: { map: handles, key: ['meta priority'] } }),
      // What is remembered stays as it is for as long as it is there, so that a handle without an endpoint must go.
      rule({
        delete: 'affinity',
        key: [saddr, { field: 'meta priority', and: AFFINITY_ID_MASK }],
        data: ['meta priority'],
      }),
      rule(toClass(klass & ~AFFINITY)),
    ];
  }
  const endpoints = klass & LOCAL ? names.localEndpoints : names.endpoints;
  const translate: NftLookup = { map: endpoints, key: [...names.key, { random: count }] };
  if (count === 1) return [rule({ priority: 0 }, { dnat: translate })];
  // A packet that saw the class of a moment ago may draw an index that is gone; index 0 always exists.
  return [rule({ priority: 0 }, { dnat: translate }), rule(toClass((klass & ~COUNT_MASK) | 1))];
}

/** The chains that record a client's endpoint for this many seconds, one for each side. */
export function recordChains(layout: Layout, timeoutSeconds: number): readonly ReachedChain[] {
  const { saddr, daddr } = layout;
  return SIDES.map((side) => {
    const { prefix, affinityIds, affinityRecord, originalKey } = sideNames(layout, side);
    const name = `${prefix}record-${timeoutSeconds}`;
    const chain: NftChain = {
      name,
      rules: [
        rule(
          { priority: { map: affinityIds, key: originalKey } },
          { priority: { map: 'affinity-handles', key: ['meta priority', daddr, 'th dport'] } },
          {
            update: 'affinity',
            key: [saddr, { field: 'meta priority', and: AFFINITY_ID_MASK }],
            timeoutSeconds,
            data: ['meta priority'],
          },
        ),
        rule({ priority: 0 }),
      ],
    };
    return { map: affinityRecord, element: { key: [timeoutSeconds], data: { verdict: 'goto', chain: name } }, chain };
  });
}
