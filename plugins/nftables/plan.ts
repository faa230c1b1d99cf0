/**
 * From changes of the model to elements, purely: the planner remembers the service ports as they are programmed and
 * says which elements differ. A changed endpoint is one or two elements, whatever else exists.
 *
 *   Change ─▶ records, claims ─▶ frontends touched ─▶ their elements before and after ─▶ deletes, adds
 *                                                  └▶ classes used for the first time ─▶ chains
 */
import type { Change, IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import { createCounts } from '../shared/counts.ts';
import { createFrontendClaims, type FrontendClaim, NO_FRONTENDS } from '../shared/frontend-claims.ts';
import { frontendsOf, localIPs } from '../shared/frontends.ts';
import { removedKeys } from '../shared/removed-keys.ts';
import { createEdits, type Description, type ElementEdits } from '../shared/table/edits.ts';
import { nodeElements } from '../shared/table/elements.ts';
import type { TableModel } from '../shared/table/layout.ts';
import { inPortions } from '../shared/table/portions.ts';
import { createSizes } from '../shared/table/sizes.ts';
import { type AffinityNumbers, createAffinityNumbers } from './affinity-numbers.ts';
import { createChains, type StructureEdits } from './chains.ts';
import { type Affinity, affinityElements, frontendElements, type ServiceRecord, type Slot } from './frontends.ts';
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

export interface Plan extends ElementEdits<SetName>, StructureEdits {}

export interface Planner extends TableModel<SetName> {
  readonly layout: Layout;
  /** What this change alters against the last one, be it full or not. */
  apply(change: Change): Plan;
  /** Takes a full change without saying what it alters: for comparing with what is there. */
  adopt(change: Change, seed: Seed | undefined): void;
  totals(): Readonly<Record<string, number>>;
}

export function createPlanner({ family, comments }: PlanSettings): Planner {
  const layout = layoutOf(family);
  const records = new Map<string, ServiceRecord>();
  const claims = createFrontendClaims<ServiceRecord>();
  const numbers: AffinityNumbers = createAffinityNumbers();
  const clusterIPs = createCounts();
  const localEndpoints = createCounts();
  const chains = createChains(layout);
  const sizes = createSizes<SetName>();
  let node: NodeView | undefined;
  let edits = newEdits(true);

  function newEdits(isKept: boolean) {
    return createEdits<SetName>({
      isKept,
      count(set, by, element) {
        sizes.count(set, by);
        chains.count(set, element, by);
      },
    });
  }

  function elementsOf(claim: FrontendClaim<ServiceRecord> | undefined): Description<SetName> | undefined {
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
    claims.replace(port.key, before ? frontendsOf(before.port) : NO_FRONTENDS, {
      frontends: frontendsOf(port),
      record,
    });
    replaced(before, record);
  }

  function remove(key: string): void {
    const before = records.get(key);
    if (before === undefined) return;
    records.delete(key);
    claims.replace(key, frontendsOf(before.port), undefined);
    if (before.affinity !== undefined) numbers.release(before.affinity);
    replaced(before, undefined);
  }

  /** What does not depend on who has which frontend. */
  function replaced(before: ServiceRecord | undefined, after: ServiceRecord | undefined): void {
    edits.difference(
      before?.affinity && ((emit) => affinityElements(before, emit)),
      after?.affinity && ((emit) => affinityElements(after, emit)),
    );
    for (const ip of localIPs(after?.port)) localEndpoints.add(ip, 1);
    for (const ip of localIPs(before?.port)) localEndpoints.add(ip, -1);
  }

  /** Turns what was touched into edits. */
  function settle(): void {
    claims.settle((_key, before, after) => {
      edits.difference(elementsOf(before), elementsOf(after));
      if (before?.frontend.kind === 'clusterIP') clusterIPs.add(before.frontend.ip, -1);
      if (after?.frontend.kind === 'clusterIP') clusterIPs.add(after.frontend.ip, 1);
    });
    clusterIPs.settle((ip, present) => edits[present ? 'add' : 'delete']('cluster-ips', { key: [ip] }));
    localEndpoints.settle((ip, present) => edits[present ? 'add' : 'delete']('hairpin', { key: [ip, ip] }));
  }

  function take(change: Change, seed: Seed | undefined): StructureEdits {
    const lastNode = node;
    node = change.node;
    for (const key of removedKeys(records.keys(), change)) remove(key);
    for (const port of change.upsert) upsert(port, seed);
    settle();
    if (lastNode !== node) {
      const now = node;
      edits.difference(lastNode && ((emit) => nodeElements(lastNode, emit)), (emit) => nodeElements(now, emit));
    }
    return chains.settle(node, change.full);
  }

  function* everything(): Generator<Description<SetName>> {
    for (const [key, record] of records) {
      yield (emit) => {
        for (const frontend of frontendsOf(record.port).keys()) {
          const winner = claims.winner(frontend);
          if (winner?.owner === key) frontendElements(winner.frontend, record, comments, emit);
        }
        affinityElements(record, emit);
      };
    }
    yield (emit) => {
      for (const ip of clusterIPs.keys()) emit('cluster-ips', { key: [ip] });
      for (const ip of localEndpoints.keys()) emit('hairpin', { key: [ip, ip] });
      if (node !== undefined) nodeElements(node, emit);
      chains.elements(emit);
    };
  }

  return {
    layout,

    apply(change) {
      edits = newEdits(true);
      const structure = take(change, undefined);
      const { deletes, adds } = edits;
      return { deletes, adds, ...structure };
    },

    adopt(change, seed) {
      edits = newEdits(false);
      if (seed !== undefined) numbers.startAfter(seed.highestAffinityId);
      take(change, seed);
    },

    elements: (portion) => inPortions(portion, everything()),
    chains: () => chains.all(),
    sizes: () => sizes.all(),

    totals: () => ({
      services: sizes.of('services') + sizes.of('nodeports'),
      endpoints: (['endpoints', 'local-endpoints', 'nodeport-endpoints', 'local-nodeport-endpoints'] as const).reduce(
        (sum, set) => sum + sizes.of(set),
        0,
      ),
      chains: chains.size(),
    }),
  };
}
