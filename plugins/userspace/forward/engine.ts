/**
 * Forwards what it is told to, in the thread that runs it: the whole data plane of the userspace backend but for how
 * connections come here.
 *
 *   update ─▶ listeners ─accepted─▶ tcp: route ─▶ choose ─▶ dial ─▶ relay
 *          ─▶ services  ◀─────────┘ udp: route ─▶ choose ─▶ session
 *          ─▶ frontends
 *
 * The cost of an update is that of what it says. Engines of several threads share nothing but the memory of affinity,
 * how much is open, and the kernel, which deals out connections to listeners on the same port.
 */
import type { Clock, SocketFacts } from '../../../core/backend.ts';
import { openAffinityTable } from './affinity-table.ts';
import { openComplaints } from './complain.ts';
import { type Counters, openCounters, statisticsOf } from './counters.ts';
import type { Forwarding } from './forwarding.ts';
import { openFrontends } from './frontends.ts';
import { openListeners } from './listeners.ts';
import type { EngineEvent, EngineLimits, EngineStatistics, EngineUpdate, ForwardedService } from './messages.ts';
import { openOccupancy } from './occupancy.ts';
import { changeService, endAll, openService, removeService, type ServiceState } from './service-state.ts';
import { openSources } from './sources.ts';
import { closeTCP, openTCP } from './tcp.ts';
import { closeUDP, openUDP } from './udp.ts';

export interface Engine {
  update(update: EngineUpdate): void;
  /** What has ended is told once. */
  statistics(): EngineStatistics;
  /** Nothing new from now on. Resolves when what is open has ended, of itself or by reset after the grace. */
  close(graceMilliseconds: number): Promise<void>;
}

/** What an engine does not do itself. */
export interface EngineSeams {
  readonly clock: Clock;
  /** Tenths of a second, monotonic, the same in all threads. */
  readonly tenths: () => number;
  /** At least 0, below 1. */
  readonly random: () => number;
  readonly sockets: SocketFacts;
  /** Of `createAffinityMemory`, the same in all threads. */
  readonly affinity: SharedArrayBuffer;
  /** Of `createOccupancyMemory`, the same in all threads, and which of them this is. */
  readonly occupancy: SharedArrayBuffer;
  readonly thread: number;
  readonly emit: (event: EngineEvent) => void;
}

/** Whose counters are kept until somebody asks. */
const MOST_ENDED = 4_096;

export function createEngine(limits: EngineLimits, seams: EngineSeams): Engine {
  const { clock, random, emit } = seams;
  const draining = { clock, graceMilliseconds: limits.graceSeconds * 1000 };
  /** What was said of each service port; most of a large cluster's meet no connection on a node. */
  const said = new Map<string, ForwardedService>();
  /** Those that have met one. */
  const states = new Map<string, ServiceState>();
  /** Removed, with connections that are still open. */
  const leaving = new Map<string, ServiceState>();
  /** Of those that have ended since statistics were last asked for, the first that did first. */
  const ended = new Map<string, Counters>();
  const frontends = openFrontends();
  const occupancy = openOccupancy(seams.occupancy, seams.thread);
  const forwarding: Forwarding = {
    limits,
    clock,
    chooser: { affinity: openAffinityTable(seams.affinity, seams.tenths), random },
    facts: seams.sockets,
    serviceState,
    frontends,
    listensAt: (protocol, address) => listeners.listensAt(protocol, address),
    inside: openSources([]),
    complaints: openComplaints(clock, emit),
    occupancy,
    totals: { strays: 0, outOfDescriptors: 0, overLimit: 0 },
  };
  const tcp = openTCP(forwarding);
  const udp = openUDP(forwarding);
  const listeners = openListeners(forwarding, { tcp, udp }, emit);
  let onIdle: (() => void) | undefined;

  function serviceState(key: string): ServiceState | undefined {
    const known = states.get(key);
    if (known !== undefined) return known;
    const service = said.get(key);
    if (service === undefined) return undefined;
    const state = openService(service, random, ended.get(key) ?? openCounters(), onEmpty);
    ended.delete(key);
    states.set(key, state);
    return state;
  }

  function onEmpty(state: ServiceState): void {
    leaving.delete(state.service.key);
    keepCounters(state);
    if (states.size === 0 && leaving.size === 0) onIdle?.();
  }

  function keepCounters({ service: { key }, counters }: ServiceState): void {
    ended.set(key, counters);
    const [oldest] = ended.keys();
    if (ended.size > MOST_ENDED) ended.delete(oldest!);
  }

  function upsert(service: ForwardedService): void {
    const { key } = service;
    said.set(key, service);
    const state = states.get(key) ?? leaving.get(key);
    if (state === undefined) return;
    leaving.delete(key);
    states.set(key, state);
    changeService(state, service, random, draining);
  }

  function remove(key: string): void {
    said.delete(key);
    const state = states.get(key);
    if (state === undefined) return;
    states.delete(key);
    if (state.uses.size > 0) leaving.set(key, state);
    else keepCounters(state);
    removeService(state, draining);
  }

  return {
    update({ inside, upsert: changed = [], remove: gone = [], frontends: moved, listen }) {
      if (inside !== undefined) forwarding.inside = openSources(inside);
      for (const service of changed) upsert(service);
      for (const key of gone) remove(key);
      if (moved !== undefined) frontends.update(moved);
      if (listen !== undefined) listeners.update(listen);
    },
    statistics() {
      const told = new Map([...ended].map(([key, counters]) => [key, statisticsOf(counters)]));
      ended.clear();
      return {
        ...forwarding.totals,
        openConnections: occupancy.connections.own(),
        sessions: occupancy.sessions.own(),
        services: new Map([...leaving, ...states].map(([key, { counters }]) => [key, statisticsOf(counters)])),
        ended: told,
      };
    },
    async close(graceMilliseconds) {
      listeners.closeAll();
      const { promise, resolve } = Promise.withResolvers<void>();
      onIdle = resolve;
      for (const key of [...said.keys()]) remove(key);
      const endWhatIsOpen = (): void => {
        for (const state of [...leaving.values()]) {
          for (const endpoint of [...state.uses.values()]) endAll(endpoint, 'drained');
        }
      };
      let cancel = (): void => {};
      if (leaving.size === 0) resolve();
      else if (graceMilliseconds === 0) endWhatIsOpen();
      else cancel = clock.after(graceMilliseconds, endWhatIsOpen);
      await promise;
      cancel();
      closeTCP(tcp);
      closeUDP(udp);
    },
  };
}
