/**
 * The sync half of the daemon, wired: source → store → one loop per family → driver → backend. See family-sync.ts
 * for what a loop does and store.ts for what makes a family dirty.
 */
import type { Backend, Change, Clock, IPFamily, Logger, UsesConntrack } from '../backend.ts';
import type { InterfaceAddress, NodeSettings } from '../model/node-settings.ts';
import { nodeView } from '../model/node-view.ts';
import { resolveService, servicePortsEqual } from '../model/resolve.ts';
import type { Source } from '../source/source.ts';
import { describeError } from './describe-error.ts';
import { type BackendHealth, createDriver } from './driver.ts';
import { type FamilyHealth, type FamilySync, type SyncEvent, startFamilySync } from './family-sync.ts';
import { createResolver, type Resolve } from './resolver.ts';
import { createStore } from './store.ts';

/** Keeps conntrack from holding flows to what is no longer right; see core/node/conntrack.ts. */
export interface Conntrack {
  /** A change took effect. Returns at once. */
  synced(change: Change): void;
  /** Resolves when nothing of it is under way; nothing starts any more. */
  stop(): Promise<void>;
}

export interface SyncOptions {
  readonly source: Source;
  readonly backend: Backend;
  /** The plugin's name; begins every error of the backend. */
  readonly backendName: string;
  readonly settings: NodeSettings;
  /** The addresses on the host's interfaces now. Asked again at nodeChanged(); an injected, cheap read. */
  readonly addresses: () => readonly InterfaceAddress[];
  readonly clock: Clock;
  readonly log: Logger;
  /** Families to program, where the backend can. Default: both. */
  readonly families?: readonly IPFamily[];
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
  /** Told of every sync that succeeded. */
  readonly onSync?: (event: SyncEvent) => void;
  /** Told of every change that took effect, if the backend uses conntrack. */
  readonly conntrack?: Conntrack;
  /** Replaces the resolver of the model; for tests that count. */
  readonly resolve?: Resolve;
}

export interface SyncHealth {
  /** Every family and the backend itself are. */
  readonly healthy: boolean;
  readonly families: Readonly<Partial<Record<IPFamily, FamilyHealth>>>;
  readonly backend: BackendHealth;
}

export interface Sync {
  /** The families that are programmed. */
  readonly families: readonly IPFamily[];
  /** Stop the source, let syncs in flight end, close the backend. The data plane stays as it is. */
  stop(): Promise<void>;
  health(): SyncHealth;
  /** The host's addresses may differ from the last time. */
  nodeChanged(): void;
  /** Sync every family in full soon; for Host.requestFullSync. */
  requestFullSync(reason: string): void;
  /** Resolves when the first state has come and all that is known is programmed; later than that at once. */
  settled(): Promise<void>;
}

const BOTH: readonly IPFamily[] = ['IPv4', 'IPv6'];
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Starts the source and syncs from its first complete state on. Rejects if the source cannot start, or if the backend
 * serves none of the families (code KP_NO_FAMILY); the backend is then the caller's to close, afterwards `stop` does it.
 */
export async function startSync(options: SyncOptions): Promise<Sync> {
  const { source, backend, backendName, settings, clock, log, families = BOTH } = options;
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

  const conntrack = usesConntrack(backend) ? options.conntrack : undefined;
  const loops = new Map<IPFamily, FamilySync>();
  const waiting = new Set<() => void>();
  const store = createStore({
    nodeName: settings.nodeName,
    log,
    onDirty: (family) => loops.get(family)?.wake(),
    onNode: nodeChanged,
  });
  const driver = createDriver({
    backend,
    name: backendName,
    clock,
    syncDeadlineMs: Math.min(options.syncDeadlineMs ?? 300_000, LONGEST_TIMER_MS),
  });

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
      view: () => nodeView(family, store.node(), settings, options.addresses()),
      clock,
      log,
      minSyncIntervalMs: options.minSyncIntervalMs ?? 1_000,
      fullSyncIntervalMs: Math.min(options.fullSyncIntervalMs ?? 3_600_000, LONGEST_TIMER_MS),
      checkIntervalMs: options.checkIntervalMs ?? 5_000,
      longestRetryMs: options.longestRetryMs ?? 30_000,
      onSync: tell,
      onApplied: reconcile,
      onIdle: wakeWaiting,
    });
    loops.set(family, loop);
  }

  function nodeChanged(): void {
    for (const loop of loops.values()) loop.nodeChanged();
  }

  /** A listener's fault must not look like a failed sync. */
  function tell(event: SyncEvent): void {
    try {
      options.onSync?.(event);
    } catch (error) {
      log.error('A listener of syncs failed', { error: describeError(error) });
    }
  }

  /** Nor must a fault in what comes after a sync. */
  function reconcile(change: Change): void {
    try {
      conntrack?.synced(change);
    } catch (error) {
      const { family } = change;
      log.error('Flows could not be compared with a change; this is a bug', { family, error: describeError(error) });
    }
  }

  function isSettled(): boolean {
    return store.isSynced() && ![...loops.values()].some((loop) => loop.busy());
  }

  function wakeWaiting(): void {
    if (!isSettled()) return;
    for (const resolve of waiting) resolve();
    waiting.clear();
  }

  async function stopLoops(): Promise<void> {
    await Promise.all([...loops.values()].map((loop) => loop.stop()));
  }

  try {
    await source.start(store);
  } catch (error) {
    await stopLoops();
    throw error;
  }

  return {
    families: served,
    nodeChanged,

    async stop() {
      try {
        await source.stop();
      } catch (error) {
        log.error('The source did not stop cleanly', { error: describeError(error) });
      }
      await stopLoops();
      await conntrack?.stop();
      const closed = await driver.close();
      if (closed.kind !== 'done') log.error('The backend did not close cleanly', { error: closed.error });
    },

    health() {
      const health = [...loops].map(([family, loop]) => [family, loop.health()] as const);
      const own = driver.health();
      return {
        healthy: own.healthy && health.every(([, one]) => one.healthy),
        families: Object.fromEntries(health),
        backend: own,
      };
    },

    requestFullSync(reason) {
      log.info('A full sync was asked for', { backend: backendName, reason });
      for (const loop of loops.values()) loop.requestFull(reason);
    },

    settled: () =>
      isSettled()
        ? Promise.resolve()
        : new Promise((resolve) => {
            waiting.add(resolve);
          }),
  };
}

function usesConntrack(backend: Backend & Partial<UsesConntrack>): boolean {
  return backend.usesConntrack === true;
}
