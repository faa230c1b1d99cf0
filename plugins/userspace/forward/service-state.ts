/**
 * A service port while it is forwarded: what was said of it last, where round robin is, what is counted, and which
 * connections are open at which endpoint, so that those of an endpoint that goes can be found without looking at others.
 *
 *   ServiceState ─▶ uses: Map of OpenEndpoint (only those with connections) ─▶ list of Served, linked in themselves
 *
 * An endpoint that is no longer in a list is drained: its TCP connections go on and are reset after the grace, unless it
 * comes back before; its UDP sessions end at once, because nothing says when they would, and a client that goes on
 * sending is better served by another.
 */
import type { Clock } from '../../../core/backend.ts';
import { nameOf, openRing, type Rings } from './choose.ts';
import type { Counters } from './counters.ts';
import type { Failure, ForwardedService, Target } from './messages.ts';
import { openSources, type Sources } from './sources.ts';

/** A connection or a session, as a member of its endpoint's list. */
export interface Served {
  endpoint: OpenEndpoint | undefined;
  before: Served | undefined;
  after: Served | undefined;
  /** Leaves the list, at once. */
  end(reason: Failure): void;
}

/** How one begins. */
export const NOT_SERVED: Readonly<Omit<Served, 'end'>> = { endpoint: undefined, before: undefined, after: undefined };

export interface OpenEndpoint {
  readonly state: ServiceState;
  readonly name: string;
  first: Served | undefined;
  cancelDrain: (() => void) | undefined;
}

export interface ServiceState {
  service: ForwardedService;
  readonly rings: Rings;
  readonly counters: Counters;
  readonly uses: Map<string, OpenEndpoint>;
  /** Removed; stays until its last connection has ended. */
  isGone: boolean;
  /** Called when the last connection of a service port that is gone has ended. */
  readonly onEmpty: (state: ServiceState) => void;
  /** Made when a client of a guarded address is first looked at. */
  sourceRanges: Sources | undefined;
}

export interface Draining {
  readonly clock: Clock;
  readonly graceMilliseconds: number;
}

export function openService(
  service: ForwardedService,
  random: () => number,
  counters: Counters,
  onEmpty: (state: ServiceState) => void,
): ServiceState {
  return {
    service,
    rings: { cluster: openRing(service.cluster, random), local: openRing(service.local, random) },
    counters,
    uses: new Map(),
    isGone: false,
    onEmpty,
    sourceRanges: undefined,
  };
}

export function changeService(
  state: ServiceState,
  service: ForwardedService,
  random: () => number,
  draining: Draining,
): void {
  state.service = service;
  state.rings.cluster = openRing(service.cluster, random);
  state.rings.local = openRing(service.local, random);
  state.sourceRanges = undefined;
  state.isGone = false;
  if (state.uses.size === 0) return;
  const served = new Set([...service.cluster, ...service.local, ...service.keepsSessions].map(nameOf));
  for (const endpoint of [...state.uses.values()]) {
    if (served.has(endpoint.name)) stopDraining(endpoint);
    else drain(endpoint, draining);
  }
}

export function removeService(state: ServiceState, draining: Draining): void {
  state.isGone = true;
  for (const endpoint of [...state.uses.values()]) drain(endpoint, draining);
}

export function mayReach(state: ServiceState, client: string): boolean {
  const { sourceRanges } = state.service;
  if (sourceRanges.length === 0) return true;
  state.sourceRanges ??= openSources(sourceRanges);
  return state.sourceRanges.has(client);
}

export function joinEndpoint(state: ServiceState, target: Target, served: Served): void {
  const name = nameOf(target);
  let endpoint = state.uses.get(name);
  if (endpoint === undefined) {
    endpoint = { state, name, first: undefined, cancelDrain: undefined };
    state.uses.set(name, endpoint);
  }
  served.endpoint = endpoint;
  served.before = undefined;
  served.after = endpoint.first;
  if (endpoint.first !== undefined) endpoint.first.before = served;
  endpoint.first = served;
}

export function leaveEndpoint(served: Served): void {
  const { endpoint, before, after } = served;
  if (endpoint === undefined) return;
  if (before === undefined) endpoint.first = after;
  else before.after = after;
  if (after !== undefined) after.before = before;
  served.endpoint = undefined;
  served.before = undefined;
  served.after = undefined;
  if (endpoint.first !== undefined) return;
  stopDraining(endpoint);
  const { state } = endpoint;
  state.uses.delete(endpoint.name);
  if (state.isGone && state.uses.size === 0) state.onEmpty(state);
}

/** Ends all that is open at the endpoint. */
export function endAll(endpoint: OpenEndpoint, reason: Failure): void {
  for (let first = endpoint.first; first !== undefined; first = endpoint.first) first.end(reason);
}

function drain(endpoint: OpenEndpoint, { clock, graceMilliseconds }: Draining): void {
  if (endpoint.state.service.protocol === 'UDP' || graceMilliseconds === 0) endAll(endpoint, 'drained');
  else endpoint.cancelDrain ??= clock.after(graceMilliseconds, () => endAll(endpoint, 'drained'));
}

function stopDraining(endpoint: OpenEndpoint): void {
  endpoint.cancelDrain?.();
  endpoint.cancelDrain = undefined;
}
