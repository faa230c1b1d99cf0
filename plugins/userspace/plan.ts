/**
 * From changes of the model to what differs, purely, for one family: elements of the table, and what the engines are to
 * know. The planner remembers the service ports as they are programmed.
 *
 *   Change ─▶ claims ─▶ frontends touched ─▶ elements before and after
 *                                         └▶ frontends that the engines look up
 */
import type { Change, IPFamily, NftChain, NftElement, NodeView, ServicePort } from '../../core/backend.ts';
import { type Claim, createClaims } from '../shared/claims.ts';
import { createCounts } from '../shared/counts.ts';
import { type Frontend, frontendsOf, RANK } from '../shared/frontends.ts';
import { outermost } from '../shared/source-ranges.ts';
import { append, dataText, type Elements, keyText, type TableModel } from '../shared/table/layout.ts';
import { nodePortRanges } from '../shared/table/rules.ts';
import type { Frontend as EngineFrontend, ForwardedService, FrontendAddress } from './forward/messages.ts';
import { type Layout, layoutOf, type SetName } from './layout.ts';
import { GATES, hookChains, innerChains, verdictElements } from './ruleset.ts';
import { askedProxyProtocol, type Emit, engineFrontend, engineKey, forwarded, frontendElements } from './services.ts';

export interface PlanSettings {
  readonly family: IPFamily;
  readonly comments: boolean;
  /** Where a Service says nothing. */
  readonly proxyProtocol: boolean;
}

/** Where the process listens. */
export interface Listeners {
  readonly ip: string;
  readonly ports: Readonly<Record<ListenerName, number>>;
}
export const LISTENERS = ['inside tcp', 'inside udp', 'outside tcp', 'outside udp'] as const;
export type ListenerName = (typeof LISTENERS)[number];

/** What the engines are to know, by when: what comes before connections are brought in, what goes after. */
export interface EngineChange {
  readonly upsert: readonly ForwardedService[];
  readonly set: readonly EngineFrontend[];
  readonly remove: readonly string[];
  readonly delete: readonly FrontendAddress[];
}

export interface Plan {
  readonly deletes: Elements<SetName>;
  readonly adds: Elements<SetName>;
  readonly changedChains: readonly NftChain[];
  readonly engine: EngineChange;
  readonly complaints: readonly { readonly port: ServicePort; readonly reason: string; readonly note: string }[];
}

export interface Planner extends TableModel<SetName> {
  readonly layout: Layout;
  /** What this change alters against the last one, be it full or not. */
  apply(change: Change, listeners: Listeners | undefined): Plan;
  /** Everything that the engines must know of this family. */
  snapshot(): Pick<EngineChange, 'upsert' | 'set'>;
  totals(): Readonly<Record<string, number>>;
}

interface FrontendClaim extends Claim {
  readonly frontend: Frontend;
  readonly port: ServicePort;
}

export function createPlanner({ family, comments, proxyProtocol }: PlanSettings): Planner {
  const layout = layoutOf(family);
  const records = new Map<string, ServicePort>();
  const claims = createClaims<FrontendClaim>(() => {});
  const touched = new Map<string, FrontendClaim | undefined>();
  const clusterIPs = createCounts();
  const counts = new Map<SetName, number>();
  let node: NodeView | undefined;
  let listeners: Listeners | undefined;
  let gates = '';
  let chains: { readonly inner: readonly NftChain[]; readonly hooks: readonly NftChain[] } = { inner: [], hooks: [] };
  let deletes = new Map<SetName, NftElement[]>();
  let adds = new Map<SetName, NftElement[]>();
  let frontends = 0;

  function change(set: SetName, element: NftElement, by: 1 | -1): void {
    append(by > 0 ? adds : deletes, set, element);
    counts.set(set, (counts.get(set) ?? 0) + by);
  }

  /** An element with other data is deleted and added. */
  function difference(before: ((emit: Emit) => void) | undefined, after: ((emit: Emit) => void) | undefined): void {
    const old = new Map<string, { readonly set: SetName; readonly element: NftElement }>();
    before?.((set, element) => old.set(`${set} ${keyText(element)}`, { set, element }));
    const fresh: (readonly [SetName, NftElement])[] = [];
    after?.((set, element) => {
      const key = `${set} ${keyText(element)}`;
      const existing = old.get(key);
      if (existing !== undefined && dataText(existing.element) === dataText(element)) old.delete(key);
      else fresh.push([set, element]);
    });
    for (const { set, element } of old.values()) change(set, element, -1);
    for (const [set, element] of fresh) change(set, element, 1);
  }

  function touch(key: string): void {
    if (!touched.has(key)) touched.set(key, claims.winner(key));
  }

  function replace(key: string, before: ServicePort | undefined, after: ServicePort | undefined): void {
    if (after === undefined) records.delete(key);
    else records.set(key, after);
    const old = before ? frontendsOf(before) : NO_FRONTENDS;
    const fresh = after ? frontendsOf(after) : NO_FRONTENDS;
    for (const at of old.keys()) {
      touch(at);
      if (!fresh.has(at)) claims.release(at, key);
    }
    for (const [at, frontend] of fresh) {
      touch(at);
      claims.claim(at, { owner: key, rank: RANK[frontend.kind], frontend, port: after! });
    }
  }

  function engineService(port: ServicePort): ForwardedService | undefined {
    return forwarded(family, port, askedProxyProtocol(port).value ?? proxyProtocol);
  }

  function elementsOf(claim: FrontendClaim | undefined): ((emit: Emit) => void) | undefined {
    return claim && ((emit) => frontendElements(claim.frontend, claim.port, comments, emit));
  }

  /** Turns what was touched into edits, and returns what the engines look up differently. */
  function settle(): Pick<EngineChange, 'set' | 'delete'> {
    const set: EngineFrontend[] = [];
    const gone: FrontendAddress[] = [];
    for (const [key, before] of touched) {
      const after = claims.winner(key);
      if (before === after) continue;
      difference(elementsOf(before), elementsOf(after));
      if (before?.frontend.kind === 'clusterIP') clusterIPs.add(before.frontend.ip, -1);
      if (after?.frontend.kind === 'clusterIP') clusterIPs.add(after.frontend.ip, 1);
      const old = before && engineFrontend(family, before.frontend, before.port);
      const fresh = after && engineFrontend(family, after.frontend, after.port);
      frontends += (fresh ? 1 : 0) - (old ? 1 : 0);
      if (fresh === undefined) {
        if (old !== undefined) gone.push({ protocol: old.protocol, family, ip: old.ip, port: old.port });
      } else if (old?.service !== fresh.service || old.kind !== fresh.kind) set.push(fresh);
    }
    touched.clear();
    clusterIPs.settle((ip, present) => change('cluster-ips', { key: [ip] }, present ? 1 : -1));
    return { set, delete: gone };
  }

  function changedChains(next: NodeView): readonly NftChain[] {
    const isUsed = (set: SetName): boolean => (counts.get(set) ?? 0) > 0;
    const open = GATES.filter(isUsed).join();
    if (node === next && open === gates) return [];
    const before = new Map([...chains.inner, ...chains.hooks].map((chain) => [chain.name, JSON.stringify(chain)]));
    gates = open;
    chains = { inner: innerChains(layout, next, isUsed), hooks: hookChains(layout, next) };
    if (before.size === 0) return [];
    return [...chains.inner, ...chains.hooks].filter((chain) => before.get(chain.name) !== JSON.stringify(chain));
  }

  function nodeEdits(next: NodeView, nextListeners: Listeners | undefined): void {
    if (node !== next) difference(node && ((emit) => nodeElements(node!, emit)), (emit) => nodeElements(next, emit));
    if (listeners === nextListeners) return;
    const old = listeners;
    difference(
      old && ((emit) => listenerElements(old, emit)),
      nextListeners && ((emit) => listenerElements(nextListeners, emit)),
    );
    listeners = nextListeners;
  }

  return {
    layout,

    apply({ full, upsert, remove, node: next }, nextListeners) {
      deletes = new Map();
      adds = new Map();
      const complaints: Plan['complaints'][number][] = [];
      const gone: string[] = [];
      const services: ForwardedService[] = [];
      const drop = (key: string): void => {
        const before = records.get(key);
        if (before === undefined) return;
        gone.push(engineKey(family, key));
        replace(key, before, undefined);
      };
      if (full) {
        const wanted = new Set(upsert.map(({ key }) => key));
        for (const key of [...records.keys()]) if (!wanted.has(key)) drop(key);
      }
      for (const key of remove) drop(key);
      for (const port of upsert) {
        const before = records.get(port.key);
        if (before === port) continue;
        const service = engineService(port);
        if (service !== undefined) services.push(service);
        complaints.push(...complaintsOf(port));
        replace(port.key, before, port);
      }
      const { set, delete: unset } = settle();
      nodeEdits(next, nextListeners);
      const changed = changedChains(next);
      node = next;
      return {
        deletes,
        adds,
        changedChains: changed,
        engine: { upsert: services, set, remove: gone, delete: unset },
        complaints,
      };
    },

    snapshot() {
      const upsert: ForwardedService[] = [];
      const set: EngineFrontend[] = [];
      for (const port of records.values()) {
        const service = engineService(port);
        if (service === undefined) continue;
        upsert.push(service);
        for (const [at, frontend] of frontendsOf(port)) {
          const found = claims.winner(at)?.owner === port.key ? engineFrontend(family, frontend, port) : undefined;
          if (found !== undefined) set.push(found);
        }
      }
      return { upsert, set };
    },

    *elements(portion): Generator<Elements<SetName>> {
      let found = new Map<SetName, NftElement[]>();
      let size = 0;
      const emit: Emit = (set, element) => {
        append(found, set, element);
        size++;
      };
      for (const port of records.values()) {
        for (const [at, frontend] of frontendsOf(port)) {
          if (claims.winner(at)?.owner === port.key) frontendElements(frontend, port, comments, emit);
        }
        if (size < portion) continue;
        yield found;
        found = new Map();
        size = 0;
      }
      for (const ip of clusterIPs.keys()) emit('cluster-ips', { key: [ip] });
      if (node !== undefined) nodeElements(node, emit);
      if (listeners !== undefined) listenerElements(listeners, emit);
      for (const [set, element] of verdictElements()) emit(set, element);
      yield found;
    },
    chains: () => chains,
    sizes: () => counts,
    totals: () => ({ services: records.size, frontends }),
  };
}

const NO_FRONTENDS: ReadonlyMap<string, Frontend> = new Map();

export function complaintsOf(port: ServicePort): Plan['complaints'] {
  const { fault } = askedProxyProtocol(port);
  const found = fault === undefined ? [] : [{ port, reason: 'InvalidProxyProtocol', note: `${fault}; it is ignored` }];
  if (port.protocol !== 'SCTP') return found;
  const note = `port ${port.port}/SCTP is refused: the userspace backend forwards TCP and UDP only; use another backend`;
  return [...found, { port, reason: 'UnsupportedProtocol', note }];
}

function nodeElements(node: NodeView, emit: Emit): void {
  for (const { first, last } of outermost(nodePortRanges(node))) emit('nodeport-ips', { key: [first], keyEnd: [last] });
  for (const { first, last } of outermost(node.serviceCIDRs)) emit('service-cidrs', { key: [first], keyEnd: [last] });
}

function listenerElements({ ip, ports }: Listeners, emit: Emit): void {
  for (const name of LISTENERS) {
    const [side = '', protocol = ''] = name.split(' ');
    emit(side === 'inside' ? 'inside-listeners' : 'outside-listeners', { key: [protocol], data: [ip, ports[name]] });
  }
}
