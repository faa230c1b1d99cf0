/**
 * healthCheckNodePorts: the ports on which load balancers ask whether this node has endpoints of a Service with
 * externalTrafficPolicy Local. IPv4 and IPv6 each have their own listeners, with their own endpoints.
 *
 *   change that took effect ──▶ service-health-ports.ts ──delta──▶ listeners ──sockets──▶ service-health-connections.ts
 *
 * - A port that cannot be opened is told once and tried again: with the next change of its family, and every 15 s. Of
 *   several addresses either all that are missing are opened, or none of them.
 * - What no longer has a Service refuses connections; it does not answer them with nothing.
 */
import { createServer, type Server } from 'node:net';
import type { Change, Clock, IPFamily, Logger } from '../backend.ts';
import { type Listen, listenOn } from './http-listen.ts';
import { createHealthConnections } from './service-health-connections.ts';
import {
  createHealthPorts,
  type HealthPort,
  type HealthPorts,
  healthPortHosts,
  healthPortReply,
  type ServiceName,
} from './service-health-ports.ts';

export interface ServiceHealthOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** Whether this proxy is, without regard to the node's eligibility. */
  readonly healthy: () => boolean;
  /** A port could not be opened: told once, until it could. */
  readonly onListenFailure: (failure: ListenFailure) => void;
  /** Replaced by tests. */
  readonly listen?: Listen;
}

export interface ListenFailure {
  readonly namespace: string;
  readonly name: string;
  readonly family: IPFamily;
  readonly port: number;
  readonly error: Error;
}

export interface ServiceHealth {
  /** A change took effect. Returns at once. */
  applied(change: Change): void;
  /** The families that are programmed from now on: the ports of others are closed. */
  keepFamilies(families: readonly IPFamily[]): void;
  /** Services with their ports open, and those whose ports could not be opened; once for each family. */
  counts(): { readonly open: number; readonly failed: number };
  /** Resolves when nothing that was asked for is still to be opened or closed. */
  settled(): Promise<void>;
  /** Close everything. */
  stop(): Promise<void>;
}

export const RETRY_MS = 15_000;

/** A Service in one family. */
interface Entry {
  now: HealthPort;
  /** By host. */
  readonly listeners: Map<string, Server>;
  /** Attempts to open, while they are under way; `again` asks for another one after them. */
  opening: Promise<void> | undefined;
  again: boolean;
  gone: boolean;
}

interface FamilyState {
  readonly family: IPFamily;
  readonly ports: HealthPorts;
  readonly entries: Map<ServiceName, Entry>;
  /** Those whose last attempt failed. */
  readonly failing: Set<Entry>;
  hosts: readonly string[];
}

export function createServiceHealth(options: ServiceHealthOptions): ServiceHealth {
  const { log, clock, healthy, onListenFailure, listen = listenOn } = options;
  const states = new Map<IPFamily, FamilyState>();
  const underWay = new Set<Promise<void>>();
  /** Of Services that are gone: they still hold the ports that they were about to open, which may be others' now. */
  const leaving = new Set<Promise<void>>();
  let cancelRetry: (() => void) | undefined;
  let stopped = false;

  const connections = createHealthConnections<Entry>(clock, (entry) =>
    entry.gone ? undefined : healthPortReply(entry.now, healthy()),
  );

  function stateOf(family: IPFamily): FamilyState {
    const state = states.get(family) ?? newState(family);
    states.set(family, state);
    return state;
  }

  function discard(state: FamilyState, service: ServiceName): void {
    const entry = state.entries.get(service);
    if (!entry) return;
    state.entries.delete(service);
    state.failing.delete(entry);
    entry.gone = true;
    if (entry.opening) leaving.add(entry.opening);
    for (const server of entry.listeners.values()) close(server);
    connections.drop(entry);
  }

  function put(state: FamilyState, port: HealthPort): void {
    const service = `${port.namespace}/${port.name}`;
    const entry = state.entries.get(service);
    if (entry) {
      entry.now = port;
      return;
    }
    const fresh: Entry = { now: port, listeners: new Map(), opening: undefined, again: false, gone: false };
    state.entries.set(service, fresh);
    open(state, fresh);
  }

  /** Makes the listeners of a Service those that it should have, soon. */
  function open(state: FamilyState, entry: Entry): void {
    entry.again = true;
    if (entry.opening) return;
    const work = attempts(state, entry).then(() => {
      entry.opening = undefined;
      leaving.delete(work);
      // Asked for in the very moment in which it ended.
      if (entry.again && !entry.gone) open(state, entry);
    });
    entry.opening = work;
    track(work);
  }

  async function attempts(state: FamilyState, entry: Entry): Promise<void> {
    while (entry.again && !entry.gone) {
      entry.again = false;
      await Promise.all(leaving);
      if (!entry.gone) await attempt(state, entry);
    }
  }

  async function attempt(state: FamilyState, entry: Entry): Promise<void> {
    const { family, hosts } = state;
    for (const [host, server] of entry.listeners) {
      if (hosts.includes(host)) continue;
      entry.listeners.delete(host);
      close(server);
    }
    const opened = new Map<string, Server>();
    try {
      for (const host of hosts) {
        if (entry.listeners.has(host)) continue;
        const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
          connections.accept(socket, entry),
        );
        await listen(server, { host, port: entry.now.port, ipv6Only: family === 'IPv6' });
        // A connection that could not be accepted costs that connection only.
        server.on('error', (error) => log.verbose(2, 'A healthCheckNodePort had a fault', { error }));
        opened.set(host, server);
        if (entry.gone) break;
      }
    } catch (error) {
      for (const server of opened.values()) close(server);
      if (!entry.gone) failed(state, entry, error);
      return;
    }
    if (entry.gone) {
      for (const server of opened.values()) close(server);
      return;
    }
    for (const [host, server] of opened) entry.listeners.set(host, server);
    const values = { service: nameOf(entry), family, port: entry.now.port };
    if (state.failing.delete(entry)) log.info('A healthCheckNodePort could be opened at last', values);
    else if (opened.size > 0) log.verbose(2, 'A healthCheckNodePort is open', values);
  }

  function failed(state: FamilyState, entry: Entry, cause: unknown): void {
    cancelRetry ??= clock.after(RETRY_MS, () => {
      cancelRetry = undefined;
      retry();
    });
    if (state.failing.has(entry)) return;
    state.failing.add(entry);
    const error = cause instanceof Error ? cause : new Error(String(cause));
    const { namespace, name, port } = entry.now;
    const { family } = state;
    log.error('A healthCheckNodePort cannot be opened; load balancers will leave this node out. Trying again', {
      service: nameOf(entry),
      family,
      port,
      error,
    });
    try {
      onListenFailure({ namespace, name, family, port, error });
    } catch (fault) {
      log.error('A listener of failed healthCheckNodePorts failed', { error: fault });
    }
  }

  function retry(): void {
    if (stopped) return;
    for (const state of states.values()) for (const entry of state.failing) open(state, entry);
  }

  function close(server: Server): void {
    track(
      new Promise((resolve) => {
        server.close(() => resolve());
      }),
    );
  }

  function track(work: Promise<void>): void {
    underWay.add(work);
    void work.finally(() => underWay.delete(work));
  }

  async function settled(): Promise<void> {
    while (underWay.size > 0) await Promise.all(underWay);
  }

  return {
    applied(change) {
      if (stopped) return;
      const state = stateOf(change.family);
      const hosts = healthPortHosts(change.family, change.node.nodePortAddresses);
      const moved = hosts.join() !== state.hosts.join();
      state.hosts = hosts;
      const { upsert, remove } = state.ports.apply(change);
      const again = new Set(moved ? state.entries.values() : state.failing);
      // Closing comes first: one Service may have the port that another gives up.
      for (const service of remove) discard(state, service);
      for (const port of upsert) {
        const service = `${port.namespace}/${port.name}`;
        if (state.entries.get(service)?.now.port !== port.port) discard(state, service);
      }
      for (const port of upsert) put(state, port);
      for (const entry of again) if (!entry.gone) open(state, entry);
    },

    keepFamilies(families) {
      for (const [family, state] of states) {
        if (families.includes(family)) continue;
        for (const service of [...state.entries.keys()]) discard(state, service);
        states.delete(family);
      }
    },

    counts() {
      let open = 0;
      let failing = 0;
      for (const state of states.values()) {
        failing += state.failing.size;
        open += state.entries.size - state.failing.size;
      }
      return { open, failed: failing };
    },

    settled,

    async stop() {
      stopped = true;
      cancelRetry?.();
      for (const state of states.values()) for (const service of [...state.entries.keys()]) discard(state, service);
      await settled();
    },
  };
}

function newState(family: IPFamily): FamilyState {
  return { family, ports: createHealthPorts(), entries: new Map(), failing: new Set(), hosts: [] };
}

function nameOf({ now }: Entry): ServiceName {
  return `${now.namespace}/${now.name}`;
}
