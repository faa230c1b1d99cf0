/** Which endpoint serves a connection: the list of the policy, then affinity, then round robin from a random place. */
import type { AffinityTable } from './affinity-table.ts';
import type { ForwardedService, FrontendKind, Target } from './messages.ts';

/** Where round robin has come to in a list. Another list has another ring. */
export interface Ring {
  readonly list: readonly Target[];
  /** Index of the next one. */
  at: number;
  /** Of a list that affinity was asked of: index by hash. */
  byHash: ReadonlyMap<number, number> | undefined;
}

export interface Rings {
  cluster: Ring;
  local: Ring;
}

export interface Chooser {
  readonly affinity: AffinityTable;
  /** At least 0, below 1. */
  readonly random: () => number;
}

/** Endpoints that one connection has tried in vain, by name: they refused, or were late. */
export type Tried = Map<string, 'refused' | 'late'>;

export function nameOf({ ip, port }: Target): string {
  return `${ip} ${port}`;
}

/** Begins anywhere, so that threads, and nodes that start together, do not all begin with the same endpoint. */
export function openRing(list: readonly Target[], random: () => number): Ring {
  return { list, at: Math.floor(random() * list.length), byHash: undefined };
}

/** External destinations of policy Local serve clients inside from all endpoints, those outside from this node's. */
export function ringFor(service: ForwardedService, rings: Rings, kind: FrontendKind, isInside: boolean): Ring {
  const isLocal =
    kind === 'clusterIP' ? service.internalPolicy === 'Local' : service.externalPolicy === 'Local' && !isInside;
  return isLocal ? rings.local : rings.cluster;
}

/**
 * Undefined if the list is empty, or each has refused. Who was late is tried again when there is no other: the ring is
 * everybody's, so that the next one in it may be who failed just now.
 */
export function chooseTarget(
  service: ForwardedService,
  ring: Ring,
  client: string,
  { affinity }: Chooser,
  tried?: Tried,
): Target | undefined {
  if (ring.list.length === 0) return undefined;
  if (service.affinitySeconds === 0) return next(ring, tried);
  let chosen: Target | undefined;
  const indexes = indexesByHash(ring, affinity);
  affinity.claim(service.key, client, service.affinitySeconds, (kept) => {
    const index = kept === 0 ? undefined : indexes.get(kept);
    const held = index === undefined ? undefined : ring.list[index]!;
    chosen = held !== undefined && !tried?.has(nameOf(held)) ? held : next(ring, tried);
    if (chosen === held) return kept;
    return chosen === undefined ? 0 : affinity.hashEndpoint(chosen.ip, chosen.port);
  });
  return chosen;
}

/** The endpoint could not be reached: the client's next connection need not come back to it. */
export function forgetTarget(service: ForwardedService, target: Target, client: string, { affinity }: Chooser): void {
  if (service.affinitySeconds === 0) return;
  affinity.forget(service.key, client, affinity.hashEndpoint(target.ip, target.port));
}

function next(ring: Ring, tried: Tried | undefined): Target | undefined {
  if (tried === undefined) return step(ring);
  let late: Target | undefined;
  for (let steps = 0; steps < ring.list.length; steps++) {
    const target = step(ring);
    const how = tried.get(nameOf(target));
    if (how === undefined) return target;
    if (how === 'late') late ??= target;
  }
  return late;
}

function step(ring: Ring): Target {
  const target = ring.list[ring.at]!;
  ring.at = ring.at + 1 === ring.list.length ? 0 : ring.at + 1;
  return target;
}

function indexesByHash(ring: Ring, affinity: AffinityTable): ReadonlyMap<number, number> {
  ring.byHash ??= new Map(ring.list.map(({ ip, port }, index) => [affinity.hashEndpoint(ip, port), index]));
  return ring.byHash;
}
