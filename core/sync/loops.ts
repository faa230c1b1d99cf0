/**
 * One backend at work: a driver and a loop for each family that it serves, over a store that outlives them. Another
 * backend gets other loops; they begin with everything, whatever these have done.
 */
import type { Backend, Change, Clock, IPFamily, Logger, NodeView } from '../backend.ts';
import { resolveService, servicePortsEqual } from '../model/resolve.ts';
import { type BackendHealth, createDriver } from './driver.ts';
import {
  type FailedSyncEvent,
  type FamilyHealth,
  type FamilySync,
  type SyncEvent,
  startFamilySync,
} from './family-sync.ts';
import { createResolver, type Resolve } from './resolver.ts';
import type { Store } from './store.ts';

/** A backend and how often it is called. */
export interface BackendUse {
  readonly backend: Backend;
  /** The plugin's name; begins every error of the backend. */
  readonly backendName: string;
  /**
   * Connections pass through the backend itself. One of another name that takes over programs beside it, and it is
   * closed by `Sync.closeLeft`, after which nothing falls between.
   */
  readonly endsWithProcess?: boolean;
  /** Called before it is closed if one of the same name, with other options, begins at once. */
  readonly beginsAnew?: () => void;
  /** Called once the backend is closed: its Host may go. */
  readonly release?: () => void;
  /** A sync that was given up when another backend took over has ended: it may have programmed what is gone since. */
  readonly onAbandonedEnd?: () => void;
  /** Milliseconds from the end of a sync to the next of the same family. Default 1000. */
  readonly minSyncIntervalMs?: number;
  /** Milliseconds between full syncs. Default one hour. */
  readonly fullSyncIntervalMs?: number;
  /** Milliseconds between self-checks of a backend that has them. Default 5000. */
  readonly checkIntervalMs?: number;
  /** Milliseconds until a failed sync is tried again, at most; the first retry comes after one second. Default 30,000. */
  readonly longestRetryMs?: number;
  /** Milliseconds after which a sync counts as failed. Default five minutes. */
  readonly syncDeadlineMs?: number;
}

export interface LoopsOptions extends BackendUse {
  /** The wanted families, of which the backend serves some. */
  readonly families: readonly IPFamily[];
  readonly store: Store;
  readonly view: (family: IPFamily) => NodeView;
  readonly ignoresExternalIPs: () => boolean;
  readonly resolve: Resolve | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onSync: (event: SyncEvent) => void;
  readonly onSyncFailed: (event: FailedSyncEvent) => void;
  readonly onQueued: (family: IPFamily) => void;
  readonly onApplied: (change: Change) => void;
  readonly onIdle: () => void;
}

export interface Loops {
  readonly backend: Backend;
  readonly name: string;
  readonly endsWithProcess: boolean;
  beginsAnew(): void;
  readonly families: readonly IPFamily[];
  /** Something of this family became dirty; `since` when, if not just now. */
  wake(family: IPFamily, since?: number): void;
  nodeChanged(): void;
  requestFull(reason: string): void;
  busy(): boolean;
  /** A sync is beyond its deadline and has not come back; stop() does not wait for it. */
  hangs(): boolean;
  health(): { readonly families: Readonly<Partial<Record<IPFamily, FamilyHealth>>>; readonly backend: BackendHealth };
  /** Lets syncs in flight end. The backend stays open. */
  stop(): Promise<void>;
  /** After stop() was called: what has not ended is waited for no longer, and counts for nothing. */
  abandon(): void;
  /** Closes the backend, after stop(). */
  close(): Promise<void>;
}

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Throws (code KP_NO_FAMILY) if the backend serves none of the families. Nothing runs until the first wake(). */
export function startLoops(options: LoopsOptions): Loops {
  const { backend, backendName, families, store, clock, log } = options;
  const served = families.filter((family) => backend.families.includes(family));
  if (served.length === 0) {
    const can = backend.families.join(', ') || 'none';
    throw Object.assign(
      new Error(
        `backend ${backendName} serves ${can} on this host, but ${families.join(', ')} is wanted: ` +
          'choose another --backend, or install what this one needs for that family',
      ),
      { code: 'KP_NO_FAMILY' },
    );
  }

  const driver = createDriver({
    backend,
    name: backendName,
    clock,
    syncDeadlineMs: Math.min(options.syncDeadlineMs ?? 300_000, LONGEST_TIMER_MS),
  });
  const loops = new Map<IPFamily, FamilySync>();
  for (const family of served) {
    const resolver = createResolver({
      family,
      objects: store,
      log,
      resolve: options.resolve ?? resolveService,
      equal: servicePortsEqual,
    });
    const loop = startFamilySync({
      family,
      store,
      resolver,
      driver,
      view: () => options.view(family),
      ignoresExternalIPs: options.ignoresExternalIPs,
      clock,
      log,
      minSyncIntervalMs: options.minSyncIntervalMs ?? 1_000,
      fullSyncIntervalMs: Math.min(options.fullSyncIntervalMs ?? 3_600_000, LONGEST_TIMER_MS),
      checkIntervalMs: options.checkIntervalMs ?? 5_000,
      longestRetryMs: options.longestRetryMs ?? 30_000,
      onSync: options.onSync,
      onSyncFailed: options.onSyncFailed,
      onQueued: options.onQueued,
      onApplied: options.onApplied,
      onIdle: options.onIdle,
      onAbandonedEnd: options.onAbandonedEnd ?? (() => {}),
    });
    loops.set(family, loop);
  }

  return {
    backend,
    name: backendName,
    endsWithProcess: options.endsWithProcess === true,
    beginsAnew: () => options.beginsAnew?.(),
    families: served,
    wake: (family, since) => loops.get(family)?.wake(since),
    nodeChanged() {
      for (const loop of loops.values()) loop.nodeChanged();
    },
    requestFull(reason) {
      log.info('A full sync was asked for', { backend: backendName, reason });
      for (const loop of loops.values()) loop.requestFull(reason);
    },
    busy: () => [...loops.values()].some((loop) => loop.busy()),
    hangs: () => [...loops.values()].some((loop) => loop.hangs()),
    health: () => ({
      families: Object.fromEntries([...loops].map(([family, loop]) => [family, loop.health()] as const)),
      backend: driver.health(),
    }),
    async stop() {
      await Promise.all([...loops.values()].map((loop) => loop.stop()));
    },
    abandon() {
      for (const loop of loops.values()) loop.abandon();
    },
    async close() {
      const closed = await driver.close();
      if (closed.kind !== 'done') log.error('The backend did not close cleanly', { error: closed.fault });
      options.release?.();
    },
  };
}
