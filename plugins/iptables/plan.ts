/**
 * From changes of the model to chains, purely: the planner keeps what every chain should hold and says which chains
 * a change touched. A changed endpoint touches its service port's chains and nothing else; a new Service also one
 * leaf of each dispatch tree concerned.
 *
 *   nat     KUBE-SERVICES ─tree─▶ clusterIP, externalIP, VIP : port ─▶ KUBE-SVC/EXT/FW-x
 *             └ tail ▶ KUBE-NODEPORTS ─tree─▶ node port ─▶ KUBE-EXT-x
 *   filter  KUBE-SERVICES, KUBE-EXTERNAL-SERVICES ─tree─▶ REJECT or DROP of frontends without endpoints
 *             └ tail ▶ KUBE-EXTERNAL-NODEPORTS ─tree─▶ the same for node ports
 *           KUBE-PROXY-FIREWALL ─tree─▶ DROP of sources outside the source ranges
 *           KUBE-NODEPORTS ─tree─▶ ACCEPT of health check node ports
 */
import type { Change, IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import { type Claim, createClaims } from '../shared/claims.ts';
import { answersOnLoopback } from '../shared/kernel-parameters.ts';
import { baseChains, nodePortJumps } from './base-chains.ts';
import { createDispatchTree, type DispatchTree } from './dispatch-tree.ts';
import { ADDRESS_DIGITS, frontendKey, portKey, prefixMatch } from './frontend-key.ts';
import { hash16, type Table } from './names.ts';
import { comment, destinationPort } from './rule-text.ts';
import {
  type ChainContext,
  type FrontendKind,
  type FrontendRules,
  frontendRules,
  serviceChains,
} from './service-chains.ts';

export interface PlanSettings {
  readonly family: IPFamily;
  readonly masqueradeBit: number;
  readonly affinity: 'ipset' | 'recent';
  readonly hairpin: 'bpf' | 'rules';
  /** Count packets for metrics, see packet-counters.ts. */
  readonly counters: boolean;
}

/** Chain → its rules joined by line ends; undefined = the chain is to be deleted. */
export type ChainEdits = Map<string, string | undefined>;

export interface Plan {
  readonly edits: Readonly<Record<Table, ChainEdits>>;
  /** Affinity sets that the edits refer to for the first time, with the seconds of their elements. */
  readonly createSets: ReadonlyMap<string, number>;
  /** Affinity sets that nothing refers to once the edits are applied. */
  readonly destroySets: readonly string[];
  /** Node ports answer on 127.0.0.1. */
  readonly localnet: boolean;
}

export interface Planner {
  /** After a full change the edits hold every chain that must exist. */
  apply(change: Change): Plan;
  /** Every chain that must exist, with its rules joined by line ends. */
  desired(table: Table): ReadonlyMap<string, string>;
  /** Every affinity set that must exist. */
  sets(): ReadonlyMap<string, number>;
  ruleCount(table: Table): number;
}

interface ServiceRecord {
  readonly port: ServicePort;
  readonly frontends: ReadonlySet<string>;
  /** Key of the health check node port; "" = none. */
  readonly healthCheck: string;
  readonly chains: readonly { readonly table: Table; readonly chain: string }[];
  readonly sets: ReadonlySet<string>;
}

const RANK: Readonly<Record<FrontendKind, number>> = { clusterIP: 0, loadBalancerVIP: 1, externalIP: 2, nodePort: 3 };

interface FrontendClaim extends Claim {
  readonly kind: FrontendKind;
  readonly rules: FrontendRules;
}

export function createPlanner(settings: PlanSettings): Planner {
  let state = createState(settings);
  return {
    apply(change) {
      if (change.full) state = createState(settings);
      return state.apply(change);
    },
    desired: (table) => state.chains[table],
    sets: () => state.sets,
    ruleCount: (table) => state.ruleCounts[table],
  };
}

function createState(settings: PlanSettings) {
  const { family } = settings;
  const chains: Record<Table, Map<string, string>> = { mangle: new Map(), nat: new Map(), filter: new Map() };
  const ruleCounts: Record<Table, number> = { mangle: 0, nat: 0, filter: 0 };
  const records = new Map<string, ServiceRecord>();
  const sets = new Map<string, number>();
  /** How many service ports list a local endpoint address; kept only for hairpin 'rules'. */
  const localEndpoints = new Map<string, number>();
  let localEndpointsChanged = false;
  let node: NodeView | undefined;
  // What the change at hand does; new with each apply().
  let edits = noEdits();
  let createSets = new Map<string, number>();
  let destroySets: string[] = [];

  const trees = {
    vip: addressTree('KUBE-SERVICES', 'KUBE-VIP-'),
    nodePort: portTree('KUBE-NODEPORTS', 'KUBE-NP-'),
    denyClusterIP: addressTree('KUBE-SERVICES', 'KUBE-CIP-'),
    denyExternal: addressTree('KUBE-EXTERNAL-SERVICES', 'KUBE-XIP-'),
    denyNodePort: portTree('KUBE-EXTERNAL-NODEPORTS', 'KUBE-XNP-'),
    firewall: addressTree('KUBE-PROXY-FIREWALL', 'KUBE-FIP-'),
    healthCheck: portTree('KUBE-NODEPORTS', 'KUBE-HNP-'),
  };
  const treeTables: readonly (readonly [DispatchTree, Table])[] = [
    [trees.vip, 'nat'],
    [trees.nodePort, 'nat'],
    [trees.denyClusterIP, 'filter'],
    [trees.denyExternal, 'filter'],
    [trees.denyNodePort, 'filter'],
    [trees.firewall, 'filter'],
    [trees.healthCheck, 'filter'],
  ];
  const frontends = createClaims<FrontendClaim>((key, winner) => {
    const deny = winner?.rules.deny;
    if (key.length === portKey('TCP', 1).length) {
      put(trees.nodePort, key, winner?.rules.counted, winner?.rules.nat);
      put(trees.denyNodePort, key, deny);
      return;
    }
    put(trees.vip, key, winner?.rules.nat);
    put(trees.denyClusterIP, key, winner?.kind === 'clusterIP' ? deny : undefined);
    put(trees.denyExternal, key, winner?.kind === 'clusterIP' ? undefined : deny);
    put(trees.firewall, key, winner?.rules.firewall);
  });
  const healthChecks = createClaims<Claim & { readonly rule: string }>((key, winner) => {
    put(trees.healthCheck, key, winner?.rule);
  });

  function addressTree(rootChain: string, chainPrefix: string): DispatchTree {
    return tree(rootChain, chainPrefix, ADDRESS_DIGITS[family]);
  }
  function portTree(rootChain: string, chainPrefix: string): DispatchTree {
    return tree(rootChain, chainPrefix, 0);
  }
  function tree(rootChain: string, chainPrefix: string, addressDigits: number): DispatchTree {
    return createDispatchTree({
      rootChain,
      chainName: (prefix) => chainPrefix + (prefixMatch(prefix, addressDigits).label ?? hash16(prefix)),
      match: (prefix) => prefixMatch(prefix, addressDigits).rule,
    });
  }

  function put(target: DispatchTree, key: string, ...candidates: readonly (string | undefined)[]): void {
    const rules = candidates.filter((rule) => rule !== undefined);
    if (rules.length === 0) target.delete(key);
    else target.set(key, rules);
  }

  function setChain(table: Table, chain: string, rules: readonly string[] | undefined): void {
    const before = chains[table].get(chain);
    const after = rules?.join('\n');
    if (before === after) return;
    ruleCounts[table] += (rules?.length ?? 0) - countRules(before ?? '');
    if (after === undefined) chains[table].delete(chain);
    else chains[table].set(chain, after);
    edits[table].set(chain, after);
  }

  function take(key: string): ServiceRecord | undefined {
    const record = records.get(key);
    if (record === undefined) return undefined;
    records.delete(key);
    for (const ip of localAddresses(record.port)) {
      const left = (localEndpoints.get(ip) ?? 0) - 1;
      if (left > 0) localEndpoints.set(ip, left);
      else localEndpoints.delete(ip);
      localEndpointsChanged = true;
    }
    return record;
  }

  function upsert(port: ServicePort, context: ChainContext): void {
    const before = take(port.key);
    const rendered = serviceChains(port, context);
    const own: { table: Table; chain: string }[] = [];
    for (const [table, rendering] of [
      ['nat', rendered.nat],
      ['filter', rendered.filter],
    ] as const) {
      for (const [chain, rules] of rendering) {
        setChain(table, chain, rules);
        own.push({ table, chain });
      }
    }
    const healthCheck = port.healthCheckNodePort === 0 ? '' : portKey('TCP', port.healthCheckNodePort);
    if (healthCheck !== '') {
      healthChecks.claim(healthCheck, { owner: port.key, rank: 0, rule: healthCheckRule(port) });
    }
    for (const ip of localAddresses(port)) {
      localEndpoints.set(ip, (localEndpoints.get(ip) ?? 0) + 1);
      localEndpointsChanged = true;
    }
    for (const set of rendered.sets) {
      if (!sets.has(set)) createSets.set(set, port.affinitySeconds);
      sets.set(set, port.affinitySeconds);
    }
    const record = {
      port,
      frontends: claimFrontends(port, context),
      healthCheck,
      chains: own,
      sets: new Set(rendered.sets),
    };
    records.set(port.key, record);
    if (before !== undefined) release(before, record);
  }

  /** Give up what a former version of a service port had and the present one (if any) has not. */
  function release(before: ServiceRecord, present: ServiceRecord | undefined): void {
    const owner = before.port.key;
    for (const key of before.frontends) if (!present?.frontends.has(key)) frontends.release(key, owner);
    if (before.healthCheck !== '' && before.healthCheck !== present?.healthCheck) {
      healthChecks.release(before.healthCheck, owner);
    }
    for (const { table, chain } of before.chains) {
      if (!present?.chains.some((kept) => kept.table === table && kept.chain === chain))
        setChain(table, chain, undefined);
    }
    for (const set of before.sets) {
      if (present?.sets.has(set)) continue;
      sets.delete(set);
      destroySets.push(set);
    }
  }

  function claimFrontends(port: ServicePort, context: ChainContext): Set<string> {
    const keys = new Set<string>();
    const claim = (key: string, kind: FrontendKind, address: string | undefined): void => {
      // An address listed as more than one kind counts as the first.
      if (keys.has(key)) return;
      keys.add(key);
      const rules = frontendRules(port, kind, address, context);
      frontends.claim(key, { owner: port.key, rank: RANK[kind], kind, rules });
    };
    const exact = (ip: string, kind: FrontendKind): void => {
      claim(frontendKey(ip, port.protocol, port.port), kind, ip);
    };
    exact(port.clusterIP, 'clusterIP');
    for (const ip of port.loadBalancerVIPs) exact(ip, 'loadBalancerVIP');
    for (const ip of port.externalIPs) exact(ip, 'externalIP');
    if (port.nodePort !== 0) claim(portKey(port.protocol, port.nodePort), 'nodePort', undefined);
    return keys;
  }

  function localAddresses(port: ServicePort): Set<string> {
    const addresses = new Set<string>();
    if (settings.hairpin === 'bpf') return addresses;
    for (const { ip, isLocal, nodeName } of [...port.cluster, ...port.local]) {
      // Without a node name in its slice nobody knows where an endpoint runs: it may be here.
      if (isLocal || nodeName === '') addresses.add(ip);
    }
    return addresses;
  }

  function apply(change: Change): Plan {
    edits = noEdits();
    createSets = new Map();
    destroySets = [];
    const context: ChainContext = {
      family,
      localDetector: change.node.localDetector,
      masqueradeAll: change.node.masqueradeAll,
      affinity: settings.affinity,
      countLocalhost: countsLocalhost(change.node),
    };
    const rerender =
      node !== undefined &&
      (chainSettingsDiffer(node, change.node) || countsLocalhost(node) !== context.countLocalhost);
    for (const key of change.remove) {
      const record = take(key);
      if (record !== undefined) release(record, undefined);
    }
    if (rerender) {
      const changed = new Set(change.upsert.map((port) => port.key));
      for (const { port } of [...records.values()]) if (!changed.has(port.key)) upsert(port, context);
    }
    for (const port of change.upsert) upsert(port, context);
    if (node !== change.node || localEndpointsChanged) placeBase(change.node);
    node = change.node;
    localEndpointsChanged = false;
    for (const [tree, table] of treeTables) tree.takeChanged((chain, rules) => setChain(table, chain, rules));
    return { edits, createSets, destroySets, localnet: answersOnLoopback(family, change.node) };
  }

  function countsLocalhost(view: NodeView): boolean {
    return settings.counters && answersOnLoopback(family, view);
  }

  function placeBase(view: NodeView): void {
    trees.vip.setTail(nodePortJumps(family, view, 'KUBE-NODEPORTS'));
    trees.denyExternal.setTail(nodePortJumps(family, view, 'KUBE-EXTERNAL-NODEPORTS'));
    const base = baseChains({ ...settings, node: view, localEndpoints: localEndpoints.keys() });
    for (const { table, chain, rules } of base) setChain(table, chain, rules);
  }

  return { apply, chains, sets, ruleCounts };
}

function healthCheckRule(port: ServicePort): string {
  const note = comment(`${port.namespace}/${port.name} health check node port`);
  return `-p tcp ${note} ${destinationPort('TCP', port.healthCheckNodePort)} -j ACCEPT`;
}

function noEdits(): Record<Table, ChainEdits> {
  return { mangle: new Map(), nat: new Map(), filter: new Map() };
}

function chainSettingsDiffer(a: NodeView, b: NodeView): boolean {
  return a.masqueradeAll !== b.masqueradeAll || JSON.stringify(a.localDetector) !== JSON.stringify(b.localDetector);
}

/** Of a chain's rules joined by line ends. */
function countRules(text: string): number {
  return text === '' ? 0 : text.split('\n').length;
}
