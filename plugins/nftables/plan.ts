/**
 * From changes of the model to elements, purely: the planner remembers the service ports as they are programmed and
 * says which elements differ. A changed endpoint is one or two elements, whatever else exists.
 *
 *   Change ─▶ records, claims ─▶ frontends touched ─▶ their elements before and after ─▶ deletes, adds
 *                                                  └▶ classes used for the first time ─▶ chains
 */
import type { Change, IPFamily, NftElement, NodeView, ServicePort } from '../../core/backend.ts';
import { type Claim, createClaims } from '../shared/claims.ts';
import { createCounts } from '../shared/counts.ts';
import { type Frontend, frontendsOf, localIPs, RANK } from '../shared/frontends.ts';
import { outermost } from '../shared/source-ranges.ts';
import { append, dataText, type Elements, type TableModel } from '../shared/table/layout.ts';
import { nodePortRanges } from '../shared/table/rules.ts';
import { type AffinityNumbers, createAffinityNumbers } from './affinity-numbers.ts';
import { createChains, type StructureEdits } from './chains.ts';
import {
  type Affinity,
  affinityElements,
  type Emit,
  frontendElements,
  type ServiceRecord,
  type Slot,
} from './frontends.ts';
import { type Layout, layoutOf, type SetName } from './layout.ts';
import { arrange } from './slots.ts';

export interface PlanSettings {
  readonly family: IPFamily;
  readonly comments: boolean;
}

/** What a table already holds, for service ports that the planner does not know yet: their order stays. */
export interface Seed {
  /** By "address protocol port", or "protocol port" of a node port. */
  endpoints(frontend: string): readonly Slot[];
  localEndpoints(frontend: string): readonly Slot[];
  affinity(frontend: string): Affinity | undefined;
  /** 0 = none. */
  readonly highestAffinityId: number;
}

export interface ElementEdits {
  readonly deletes: Elements<SetName>;
  readonly adds: Elements<SetName>;
}

export interface Plan extends ElementEdits, StructureEdits {}

export interface Planner extends TableModel<SetName> {
  readonly layout: Layout;
  /** What this change alters against the last one, be it full or not. */
  apply(change: Change): Plan;
  /** Takes a full change without saying what it alters: for comparing with what is there. */
  adopt(change: Change, seed: Seed | undefined): void;
  totals(): Readonly<Record<string, number>>;
}

interface FrontendClaim extends Claim {
  readonly frontend: Frontend;
  readonly record: ServiceRecord;
}

export function createPlanner({ family, comments }: PlanSettings): Planner {
  const layout = layoutOf(family);
  const records = new Map<string, ServiceRecord>();
  /** Frontends touched by the change at hand, with whoever had them before. */
  let touched = new Map<string, FrontendClaim | undefined>();
  const claims = createClaims<FrontendClaim>(() => {});
  const numbers: AffinityNumbers = createAffinityNumbers();
  const clusterIPs = createCounts();
  const localEndpoints = createCounts();
  const chains = createChains(layout);
  const counts = new Map<SetName, number>();
  let node: NodeView | undefined;
  let collecting = true;
  let deletes = new Map<SetName, NftElement[]>();
  let adds = new Map<SetName, NftElement[]>();

  function touch(key: string): void {
    if (!touched.has(key)) touched.set(key, claims.winner(key));
  }

  function collect(into: Map<SetName, NftElement[]>, by: 1 | -1): Emit {
    return (set, element) => {
      if (collecting) append(into, set, element);
      counts.set(set, (counts.get(set) ?? 0) + by);
      chains.count(set, element, by);
    };
  }

  /** Emits what only one of two descriptions has; an element with other data is deleted and added. */
  function difference(before: ((emit: Emit) => void) | undefined, after: ((emit: Emit) => void) | undefined): void {
    if (before === undefined || after === undefined) {
      before?.(collect(deletes, -1));
      after?.(collect(adds, 1));
      return;
    }
    const old = new Map<string, { readonly set: SetName; readonly element: NftElement }>();
    before((set, element) =>
      old.set(`${set} ${element.key.join(' ')} ${element.keyEnd?.join(' ') ?? ''}`, { set, element }),
    );
    const add: (() => void)[] = [];
    const emitAdd = collect(adds, 1);
    after((set, element) => {
      const key = `${set} ${element.key.join(' ')} ${element.keyEnd?.join(' ') ?? ''}`;
      const existing = old.get(key);
      if (existing !== undefined && sameData(existing.element, element)) old.delete(key);
      else add.push(() => emitAdd(set, element));
    });
    const emitDelete = collect(deletes, -1);
    for (const { set, element } of old.values()) emitDelete(set, element);
    for (const emit of add) emit();
  }

  function elementsOf(claim: FrontendClaim | undefined): ((emit: Emit) => void) | undefined {
    return claim && ((emit) => frontendElements(claim.frontend, claim.record, comments, emit));
  }

  function recordOf(port: ServicePort, before: ServiceRecord | undefined, seed: Seed | undefined): ServiceRecord {
    const keys = before === undefined && seed !== undefined ? [...frontendsOf(port).keys()] : [];
    const seeded = <T>(find: (seed: Seed, key: string) => T, good: (found: T) => boolean): T | undefined => {
      for (const key of keys) {
        const found = find(seed!, key);
        if (good(found)) return found;
      }
      return undefined;
    };
    const some = (slots: readonly Slot[]): boolean => slots.length > 0;
    const cluster = before?.cluster ?? seeded((one, key) => one.endpoints(key), some) ?? [];
    const local = before?.local ?? seeded((one, key) => one.localEndpoints(key), some) ?? [];
    // Only by the first frontend, which is the clusterIP: others may have been another service port's.
    const known = before?.affinity ?? (keys[0] === undefined ? undefined : seed?.affinity(keys[0]));
    let affinity: Affinity | undefined;
    if (port.affinitySeconds > 0)
      affinity = numbers.assign(known, [...port.cluster, ...port.local], before !== undefined);
    else if (before?.affinity !== undefined) numbers.release(before.affinity);
    return { port, cluster: arrange(cluster, port.cluster), local: arrange(local, port.local), affinity };
  }

  function upsert(port: ServicePort, seed: Seed | undefined): void {
    const before = records.get(port.key);
    if (before?.port === port) return;
    const record = recordOf(port, before, seed);
    records.set(port.key, record);
    const frontends = frontendsOf(port);
    if (before !== undefined) {
      for (const key of frontendsOf(before.port).keys()) {
        touch(key);
        if (!frontends.has(key)) claims.release(key, port.key);
      }
    }
    for (const [key, frontend] of frontends) {
      touch(key);
      claims.claim(key, { owner: port.key, rank: RANK[frontend.kind], frontend, record });
    }
    replaced(before, record);
  }

  function remove(key: string): void {
    const before = records.get(key);
    if (before === undefined) return;
    records.delete(key);
    for (const frontend of frontendsOf(before.port).keys()) {
      touch(frontend);
      claims.release(frontend, key);
    }
    if (before.affinity !== undefined) numbers.release(before.affinity);
    replaced(before, undefined);
  }

  /** What does not depend on who has which frontend. */
  function replaced(before: ServiceRecord | undefined, after: ServiceRecord | undefined): void {
    difference(
      before?.affinity && ((emit) => affinityElements(before, emit)),
      after?.affinity && ((emit) => affinityElements(after, emit)),
    );
    for (const ip of localIPs(after?.port)) localEndpoints.add(ip, 1);
    for (const ip of localIPs(before?.port)) localEndpoints.add(ip, -1);
  }

  /** Turns what was touched into edits. */
  function settle(): void {
    for (const [key, before] of touched) {
      const after = claims.winner(key);
      if (before === after) continue;
      difference(elementsOf(before), elementsOf(after));
      if (before?.frontend.kind === 'clusterIP') clusterIPs.add(before.frontend.ip, -1);
      if (after?.frontend.kind === 'clusterIP') clusterIPs.add(after.frontend.ip, 1);
    }
    const emitAdd = collect(adds, 1);
    const emitDelete = collect(deletes, -1);
    clusterIPs.settle((ip, present) => (present ? emitAdd : emitDelete)('cluster-ips', { key: [ip] }));
    localEndpoints.settle((ip, present) => (present ? emitAdd : emitDelete)('hairpin', { key: [ip, ip] }));
  }

  function take(change: Change, seed: Seed | undefined): StructureEdits {
    touched = new Map();
    deletes = new Map();
    adds = new Map();
    const lastNode = node;
    node = change.node;
    if (change.full) {
      const wanted = new Set(change.upsert.map(({ key }) => key));
      for (const key of records.keys()) if (!wanted.has(key)) remove(key);
    }
    for (const key of change.remove) remove(key);
    for (const port of change.upsert) upsert(port, seed);
    settle();
    if (lastNode !== node) {
      const now = node;
      difference(lastNode && ((emit) => nodeElements(lastNode, emit)), (emit) => nodeElements(now, emit));
    }
    touched = new Map();
    return chains.settle(node, change.full);
  }

  return {
    layout,

    apply(change) {
      collecting = true;
      const structure = take(change, undefined);
      return { deletes, adds, ...structure };
    },

    adopt(change, seed) {
      collecting = false;
      if (seed !== undefined) numbers.startAfter(seed.highestAffinityId);
      take(change, seed);
    },

    *elements(portion) {
      let found = new Map<SetName, NftElement[]>();
      let size = 0;
      const emit: Emit = (set, element) => {
        append(found, set, element);
        size++;
      };
      for (const [key, record] of records) {
        for (const frontend of frontendsOf(record.port).keys()) {
          const winner = claims.winner(frontend);
          if (winner?.owner === key) frontendElements(winner.frontend, record, comments, emit);
        }
        affinityElements(record, emit);
        if (size < portion) continue;
        yield found;
        found = new Map();
        size = 0;
      }
      for (const ip of clusterIPs.keys()) emit('cluster-ips', { key: [ip] });
      for (const ip of localEndpoints.keys()) emit('hairpin', { key: [ip, ip] });
      if (node !== undefined) nodeElements(node, emit);
      chains.elements(emit);
      yield found;
    },

    chains: () => chains.all(),
    sizes: () => counts,

    totals: () => ({
      services: (counts.get('services') ?? 0) + (counts.get('nodeports') ?? 0),
      endpoints: (['endpoints', 'local-endpoints', 'nodeport-endpoints', 'local-nodeport-endpoints'] as const).reduce(
        (sum, set) => sum + (counts.get(set) ?? 0),
        0,
      ),
      chains: chains.size(),
    }),
  };
}

function nodeElements(node: NodeView, emit: Emit): void {
  for (const { first, last } of outermost(nodePortRanges(node))) {
    emit('nodeport-ips', { key: [first], keyEnd: [last] });
  }
  for (const { first, last } of outermost(node.serviceCIDRs)) {
    emit('service-cidrs', { key: [first], keyEnd: [last] });
  }
}

function sameData(a: NftElement, b: NftElement): boolean {
  return dataText(a) === dataText(b);
}
