/**
 * Keeps one IP family's data plane equal to the objects. IPv4 and IPv6 each have one and never wait for another.
 *
 *   store dirty ─┐                                     ┌─ done:   sent = change.node, health true, check armed
 *   node moved ──┼─▶ runner ─▶ attempt ─▶ driver.sync ─┼─ failed: next is full, health false, retried after 1 s, 2 s, …
 *   full wanted ─┘                                     └─ late:   as failed, and no new call before it came back
 *         ▲
 *         ├── every hour
 *         ├── check() says that something of ours is gone: at once
 *         └── the backend asked (Host.requestFullSync)
 *
 * Nothing is lost by a failure: the resolver keeps what it resolved, and the next change carries all of it.
 */
import type { Change, Clock, IPFamily, Logger, NodeView, SyncReport } from '../backend.ts';
import type { ResolveNode } from '../model/resolve.ts';
import { describeError, loggedError } from './describe-error.ts';
import type { Driver } from './driver.ts';
import type { Resolver, WithoutLocal } from './resolver.ts';
import { exponentialBackoff, startRunner } from './runner.ts';
import { same } from './same.ts';
import type { Store } from './store.ts';

export interface FamilySyncOptions {
  readonly family: IPFamily;
  readonly store: Store;
  readonly resolver: Resolver;
  readonly driver: Driver;
  /** This node as it is now; may throw. */
  readonly view: () => NodeView;
  /** Whether externalIPs are to get nothing. */
  readonly ignoresExternalIPs: () => boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly minSyncIntervalMs: number;
  readonly fullSyncIntervalMs: number;
  readonly checkIntervalMs: number;
  readonly longestRetryMs: number;
  readonly onSync: (event: SyncEvent) => void;
  readonly onSyncFailed: (event: FailedSyncEvent) => void;
  /** Something waits to be programmed, and nothing did before. */
  readonly onQueued: (family: IPFamily) => void;
  /** Told of every change that took effect, before onSync. Must not throw. */
  readonly onApplied: (change: Change) => void;
  /** Called after every attempt, when busy() may have become false. */
  readonly onIdle: () => void;
  /** A sync that had been abandoned has ended after all: what it programmed is there now. */
  readonly onAbandonedEnd: () => void;
}

/** A sync that succeeded, for metrics and for those who wait for the first. */
export interface SyncEvent {
  readonly family: IPFamily;
  readonly full: boolean;
  readonly upserted: number;
  readonly removed: number;
  /** Service ports of the family after it. */
  readonly servicePorts: number;
  readonly report: SyncReport;
  readonly durationMs: number;
  /**
   * When the endpoints' changes that are now programmed were triggered, in milliseconds since the epoch: the
   * annotation endpoints.kubernetes.io/last-change-trigger-time of their slices.
   */
  readonly triggerTimes: readonly number[];
  /** Service ports after it that have endpoints, but none here for a destination with policy Local. */
  readonly withoutLocal: WithoutLocal;
}

export interface FailedSyncEvent {
  readonly family: IPFamily;
  readonly full: boolean;
  readonly durationMs: number;
  /** It did not end within the deadline; there is no other before it does. */
  readonly late: boolean;
}

/** Instants are milliseconds of the injected clock; undefined = never. */
export interface FamilyHealth {
  /** The last sync succeeded (there was one). */
  readonly healthy: boolean;
  /** When this loop began. */
  readonly startedAt: number;
  readonly lastSyncAt: number | undefined;
  /** Why the last sync failed; undefined when it did not. */
  readonly lastError: string | undefined;
  /** Since when something waits to be programmed; undefined when nothing does. */
  readonly pendingSince: number | undefined;
  readonly servicePorts: number;
}

export interface FamilySync {
  /** Something became dirty; `since` when, if not just now. */
  wake(since?: number): void;
  /** The node may look different now; costs nothing when it does not. */
  nodeChanged(): void;
  requestFull(reason: string): void;
  busy(): boolean;
  /** A sync is beyond its deadline and has not come back. */
  hangs(): boolean;
  health(): FamilyHealth;
  stop(): Promise<void>;
  /** After stop() was called: nothing that a call of this loop still leads to counts, or is told of. */
  abandon(): void;
}

const FIRST_RETRY_MS = 1_000;
const NAMED_KEYS = 5;
/** What is kept of them while syncs fail. */
const MOST_TRIGGER_TIMES = 10_000;
/** A check may use one hundredth of the time. */
const CHECK_SHARE = 100;

export function startFamilySync(options: FamilySyncOptions): FamilySync {
  const { family, store, resolver, driver, clock, log, checkIntervalMs, fullSyncIntervalMs } = options;
  /** Why the next change must be full; undefined: it need not. Nothing was ever programmed yet, so the first is. */
  let fullReason: string | undefined = 'first sync';
  let view: NodeView | undefined;
  /** The node as the last successful sync had it, and as the last resolution did. */
  let sentView: NodeView | undefined;
  let resolvedFor: ResolveNode | undefined;
  let pendingSince: number | undefined;
  let inFlightSince: number | undefined;
  const startedAt = clock.now();
  let lastSyncAt: number | undefined;
  let lastError: string | undefined;
  let lastReportProblem: string | undefined;
  let lastCheckProblem: string | undefined;
  /** A sync or check beyond its deadline that has not come back. */
  let overdueSync = false;
  let overdueCheck = false;
  /** Once armed, checks go on by themselves: frequent syncs must not push them away. */
  let checksArmed = false;
  /** Of changes that no sync has programmed yet. */
  let triggerTimes: readonly number[] = [];
  let attempting = false;
  let checking: Promise<void> | undefined;
  let stopped = false;
  let abandoned = false;
  let cancelPeriodic = (): void => {};
  let cancelCheck = (): void => {};

  const runner = startRunner({
    clock,
    minIntervalMs: options.minSyncIntervalMs,
    maxIntervalMs: fullSyncIntervalMs,
    retryMs: exponentialBackoff(FIRST_RETRY_MS, options.longestRetryMs),
    job: async () => {
      attempting = true;
      try {
        return await attempt();
      } catch (error) {
        // What was taken as dirty may not have been looked at: look at everything.
        resolvedFor = undefined;
        const text = `internal error before the sync of ${family}: ${describeError(error)}`;
        return failed(text, loggedError(text, error));
      } finally {
        attempting = false;
        inFlightSince = undefined;
      }
    },
    onEnd() {
      if (!abandoned) options.onIdle();
    },
  });

  async function attempt(): Promise<boolean> {
    if (overdueSync) return false;
    await checking;
    if (abandoned) return true;
    const reason = fullReason;
    inFlightSince = pendingSince;
    pendingSince = undefined;
    const change = nextChange();
    if (!change) {
      // What they triggered changes nothing here; they must not pass for the latency of a later sync.
      triggerTimes = [];
      return true;
    }
    fullReason = undefined;
    inFlightSince ??= clock.now();

    const outcome = await driver.sync(change);
    if (outcome.kind === 'late') void outcome.settled.then(tellAbandonedEnd);
    if (abandoned) {
      if (outcome.kind !== 'late') tellAbandonedEnd();
      return true;
    }
    if (outcome.kind === 'done') {
      succeeded(change, outcome.value.report, outcome.durationMs, reason, outcome.value.reportProblem);
      return true;
    }
    if (outcome.kind === 'late') {
      overdueSync = true;
      void outcome.settled.then(() => {
        overdueSync = false;
        if (stopped) return;
        log.info('The overdue sync has ended; syncing again, in full', { backend: driver.name, family });
        runner.retryNow();
      });
    }
    const late = outcome.kind === 'late';
    options.onSyncFailed({ family, full: change.full, durationMs: outcome.durationMs, late });
    return failed(outcome.error, outcome.fault);
  }

  function tellAbandonedEnd(): void {
    if (!abandoned) return;
    log.warn('A sync that was given up has ended after all', { backend: driver.name, family });
    options.onAbandonedEnd();
  }

  /** What the backend must be told now; undefined when it knows all. */
  function nextChange(): Change | undefined {
    view ??= options.view();
    const node = view;
    const { name, zone, nodeIPs } = node;
    const facts: ResolveNode = { family, name, zone, nodeIPs, ignoresExternalIPs: options.ignoresExternalIPs() };
    const dirty = store.takeDirty(family);
    const triggered = store.takeTriggerTimes(family);
    if (triggered.length > 0) triggerTimes = [...triggerTimes, ...triggered].slice(-MOST_TRIGGER_TIMES);
    const delta = same(facts, resolvedFor) ? resolver.update(dirty, facts) : resolver.updateAll(facts);
    resolvedFor = facts;
    if (fullReason !== undefined) return { family, full: true, node, upsert: resolver.all(), remove: [] };
    if (delta.upsert.length === 0 && delta.remove.length === 0 && node === sentView) return undefined;
    return { family, full: false, node, upsert: delta.upsert, remove: delta.remove };
  }

  function succeeded(
    change: Change,
    report: SyncReport,
    durationMs: number,
    reason: string | undefined,
    reportProblem: string | undefined,
  ): void {
    sentView = change.node;
    lastSyncAt = clock.now();
    lastError = undefined;
    const values = {
      backend: driver.name,
      family,
      sync: change.full ? 'full' : 'partial',
      ...(reason !== undefined && change.full ? { reason } : {}),
      upserted: change.upsert.length,
      removed: change.remove.length,
      ...(change.full ? {} : { changed: named([...change.upsert.map((port) => port.key), ...change.remove]) }),
      operations: report.operations,
      bytes: report.bytes,
      durationMs: Math.round(durationMs * 10) / 10,
    };
    const partialMoved = !change.full && change.upsert.length + change.remove.length > 0;
    if (report.operations > 0 || partialMoved) log.info('Synced', values);
    else log.verbose(2, 'Synced; nothing had to change', values);
    if (reportProblem !== undefined && reportProblem !== lastReportProblem) {
      log.warn('The backend synced but its report is wrong', { backend: driver.name, family, problem: reportProblem });
    }
    lastReportProblem = reportProblem;
    if (change.full) {
      cancelPeriodic();
      cancelPeriodic = clock.after(fullSyncIntervalMs, () => requestFull('periodic'));
    }
    if (!checksArmed) armCheck(checkIntervalMs);
    options.onApplied(change);
    options.onSync({
      family,
      full: change.full,
      upserted: change.upsert.length,
      removed: change.remove.length,
      servicePorts: resolver.count(),
      report,
      durationMs,
      triggerTimes,
      withoutLocal: resolver.withoutLocal(),
    });
    triggerTimes = [];
  }

  function failed(error: string, fault: Error): false {
    fullReason ??= 'the last sync failed';
    lastError = error;
    pendingSince = inFlightSince ?? pendingSince ?? clock.now();
    log.error('Sync failed; it will be tried again, in full', { backend: driver.name, family, error: fault });
    return false;
  }

  function requestFull(reason: string): void {
    fullReason ??= reason;
    wake();
  }

  function wake(since = clock.now()): void {
    if (stopped || !store.isSynced()) return;
    if (pendingSince === undefined) {
      pendingSince = since;
      options.onQueued(family);
    }
    runner.run();
  }

  function armCheck(delayMs: number): void {
    if (!driver.checks || stopped) return;
    checksArmed = true;
    cancelCheck = clock.after(delayMs, () => {
      // A full sync that is due anyway answers better than a check; one that runs must not be disturbed.
      if (attempting || overdueSync || overdueCheck || fullReason !== undefined) armCheck(checkIntervalMs);
      else checking = check();
    });
  }

  async function check(): Promise<void> {
    const outcome = await driver.check(family);
    checking = undefined;
    if (abandoned) return;
    if (outcome.kind === 'done') {
      lastCheckProblem = undefined;
      if (!outcome.value.intact && !stopped) {
        const { reason } = outcome.value;
        log.warn('The data plane was changed by someone else; restoring it', { backend: driver.name, family, reason });
        requestFull(`not intact: ${reason}`);
        runner.retryNow();
      }
    } else {
      if (outcome.kind === 'late') {
        overdueCheck = true;
        void outcome.settled.then(() => {
          overdueCheck = false;
        });
      }
      if (outcome.error !== lastCheckProblem) {
        log.warn('The data plane could not be checked; it is synced in full every hour all the same', {
          backend: driver.name,
          family,
          error: outcome.fault,
        });
      }
      lastCheckProblem = outcome.error;
    }
    armCheck(Math.max(checkIntervalMs, CHECK_SHARE * outcome.durationMs));
  }

  return {
    wake,
    requestFull,

    nodeChanged() {
      // Before the first list, what the node looks like is asked for when it is needed.
      if (stopped || view === undefined) return;
      try {
        const now = options.view();
        if (same(view, now)) return;
        view = now;
      } catch (error) {
        log.warn('This node could not be looked at; its last known state stays in use', {
          family,
          error: describeError(error),
        });
        return;
      }
      wake();
    },

    busy: () => runner.busy() || store.isDirty(family) || fullReason !== undefined || overdueSync,

    hangs: () => overdueSync,

    health: () => ({
      healthy: lastSyncAt !== undefined && lastError === undefined,
      startedAt,
      lastSyncAt,
      lastError,
      pendingSince: inFlightSince ?? pendingSince,
      servicePorts: resolver.count(),
    }),

    async stop() {
      stopped = true;
      cancelPeriodic();
      cancelCheck();
      await Promise.all([runner.stop(), checking]);
    },

    abandon() {
      abandoned = true;
    },
  };
}

/** The first few keys; how many there are is in the line already. */
function named(keys: readonly string[]): string {
  return keys.slice(0, NAMED_KEYS).join(' ') + (keys.length > NAMED_KEYS ? ' …' : '');
}
