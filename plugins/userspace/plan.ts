/**
 * From changes of the model to what differs, purely, for one family: elements of the table, and what the engines are to
 * know. The planner remembers the service ports as they are programmed.
 *
 *   Change ─▶ claims ─▶ frontends touched ─▶ elements before and after
 *                                         └▶ frontends that the engines look up
 */
import type { Change, IPFamily, NftChain, NodeView, ServicePort } from '../../core/backend.ts';
import type { ServiceComplaint } from '../shared/complaints.ts';
import { createCounts } from '../shared/counts.ts';
import { createFrontendClaims, type FrontendClaim, NO_FRONTENDS } from '../shared/frontend-claims.ts';
import { frontendsOf } from '../shared/frontends.ts';
import { removedKeys } from '../shared/removed-keys.ts';
import { createEdits, type Description, type ElementEdits } from '../shared/table/edits.ts';
import { nodeElements } from '../shared/table/elements.ts';
import type { TableModel } from '../shared/table/layout.ts';
import { createNodeChains } from '../shared/table/node-chains.ts';
import { inPortions } from '../shared/table/portions.ts';
import { createSizes } from '../shared/table/sizes.ts';
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

export interface Plan extends ElementEdits<SetName> {
  readonly changedChains: readonly NftChain[];
  readonly engine: EngineChange;
  readonly complaints: readonly ServiceComplaint[];
}

export interface Planner extends TableModel<SetName> {
  readonly layout: Layout;
  /** What this change alters against the last one, be it full or not. */
  apply(change: Change, listeners: Listeners | undefined): Plan;
  /** Everything that the engines must know of this family. */
  snapshot(): Pick<EngineChange, 'upsert' | 'set'>;
  totals(): Readonly<Record<string, number>>;
}

export function createPlanner({ family, comments, proxyProtocol }: PlanSettings): Planner {
  const layout = layoutOf(family);
  const records = new Map<string, ServicePort>();
  const claims = createFrontendClaims<ServicePort>();
  const clusterIPs = createCounts();
  const sizes = createSizes<SetName>();
  const chains = createNodeChains<SetName>({
    gates: GATES,
    isUsed: sizes.isUsed,
    make: (view) => ({ inner: innerChains(layout, view, sizes.isUsed), hooks: hookChains(layout, view) }),
  });
  let node: NodeView | undefined;
  let listeners: Listeners | undefined;
  let edits = newEdits();
  let frontends = 0;

  function newEdits() {
    return createEdits<SetName>({ count: sizes.count, isKept: true });
  }

  function replace(key: string, before: ServicePort | undefined, after: ServicePort | undefined): void {
    if (after === undefined) records.delete(key);
    else records.set(key, after);
    const had = before ? frontendsOf(before) : NO_FRONTENDS;
    claims.replace(key, had, after && { frontends: frontendsOf(after), record: after });
  }

  function engineService(port: ServicePort): ForwardedService | undefined {
    return forwarded(family, port, askedProxyProtocol(port).value ?? proxyProtocol);
  }

  function elementsOf(claim: FrontendClaim<ServicePort> | undefined): Description<SetName> | undefined {
    return claim && ((emit) => frontendElements(claim.frontend, claim.record, comments, emit));
  }

  /** Turns what was touched into edits, and returns what the engines look up differently. */
  function settle(): Pick<EngineChange, 'set' | 'delete'> {
    const set: EngineFrontend[] = [];
    const gone: FrontendAddress[] = [];
    claims.settle((_key, before, after) => {
      edits.difference(elementsOf(before), elementsOf(after));
      if (before?.frontend.kind === 'clusterIP') clusterIPs.add(before.frontend.ip, -1);
      if (after?.frontend.kind === 'clusterIP') clusterIPs.add(after.frontend.ip, 1);
      const old = before && engineFrontend(family, before.frontend, before.record);
      const fresh = after && engineFrontend(family, after.frontend, after.record);
      frontends += (fresh ? 1 : 0) - (old ? 1 : 0);
      if (fresh === undefined) {
        if (old !== undefined) gone.push({ protocol: old.protocol, family, ip: old.ip, port: old.port });
      } else if (old?.service !== fresh.service || old.kind !== fresh.kind) set.push(fresh);
    });
    clusterIPs.settle((ip, present) => edits[present ? 'add' : 'delete']('cluster-ips', { key: [ip] }));
    return { set, delete: gone };
  }

  function nodeEdits(next: NodeView, nextListeners: Listeners | undefined): void {
    const last = node;
    if (last !== next) {
      edits.difference(last && ((emit) => nodeElements(last, emit)), (emit) => nodeElements(next, emit));
    }
    if (listeners === nextListeners) return;
    const old = listeners;
    edits.difference(
      old && ((emit) => listenerElements(old, emit)),
      nextListeners && ((emit) => listenerElements(nextListeners, emit)),
    );
    listeners = nextListeners;
  }

  function* everything(): Generator<Description<SetName>> {
    for (const port of records.values()) {
      yield (emit) => {
        for (const [at, frontend] of frontendsOf(port)) {
          if (claims.winner(at)?.owner === port.key) frontendElements(frontend, port, comments, emit);
        }
      };
    }
    yield (emit) => {
      for (const ip of clusterIPs.keys()) emit('cluster-ips', { key: [ip] });
      if (node !== undefined) nodeElements(node, emit);
      if (listeners !== undefined) listenerElements(listeners, emit);
      for (const [set, element] of verdictElements()) emit(set, element);
    };
  }

  return {
    layout,

    apply(change, nextListeners) {
      edits = newEdits();
      const complaints: ServiceComplaint[] = [];
      const gone: string[] = [];
      const services: ForwardedService[] = [];
      for (const key of removedKeys(records.keys(), change)) {
        const before = records.get(key);
        if (before === undefined) continue;
        gone.push(engineKey(family, key));
        replace(key, before, undefined);
      }
      for (const port of change.upsert) {
        const before = records.get(port.key);
        if (before === port) continue;
        const service = engineService(port);
        if (service !== undefined) services.push(service);
        complaints.push(...complaintsOf(port));
        replace(port.key, before, port);
      }
      const { set, delete: unset } = settle();
      nodeEdits(change.node, nextListeners);
      node = change.node;
      return {
        deletes: edits.deletes,
        adds: edits.adds,
        changedChains: chains.settle(node),
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

    elements: (portion) => inPortions(portion, everything()),
    chains: () => chains.all(),
    sizes: () => sizes.all(),
    totals: () => ({ services: records.size, frontends }),
  };
}

export function complaintsOf(port: ServicePort): readonly ServiceComplaint[] {
  const { fault } = askedProxyProtocol(port);
  const found = fault === undefined ? [] : [{ port, reason: 'InvalidProxyProtocol', note: `${fault}; it is ignored` }];
  if (port.protocol !== 'SCTP') return found;
  const note = `port ${port.port}/SCTP is refused: the userspace backend forwards TCP and UDP only; use another backend`;
  return [...found, { port, reason: 'UnsupportedProtocol', note }];
}

function listenerElements({ ip, ports }: Listeners, emit: Emit): void {
  for (const name of LISTENERS) {
    const [side = '', protocol = ''] = name.split(' ');
    emit(side === 'inside' ? 'inside-listeners' : 'outside-listeners', { key: [protocol], data: [ip, ports[name]] });
  }
}
