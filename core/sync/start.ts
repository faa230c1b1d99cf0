/**
 * The sync half of the daemon, wired: source → store → one loop per family → driver → backend. See family-sync.ts
 * for what a loop does and store.ts for what makes a family dirty. The source, the backend and the node's settings can
 * each be replaced while it runs; the store and with it what is known of the cluster stay.
 */
import type { AddressPort, Backend, Change, Clock, IPFamily, Logger, UsesConntrack } from '../backend.ts';
import type { InterfaceAddress, NodeSettings } from '../model/node-settings.ts';
import { nodeView } from '../model/node-view.ts';
import type { Node, Service } from '../model/objects.ts';
import type { Source } from '../source/source.ts';
import { describeError } from './describe-error.ts';
import type { BackendHealth } from './driver.ts';
import type { FailedSyncEvent, FamilyHealth, SyncEvent } from './family-sync.ts';
import { type BackendUse, type Loops, startLoops } from './loops.ts';
import type { PendingCounts } from './pending-changes.ts';
import type { Resolve } from './resolver.ts';
import { createSourceSwitch } from './source-switch.ts';
import { createStore } from './store.ts';

/** Keeps conntrack from holding flows to what is no longer right; see core/node/conntrack.ts. */
export interface Conntrack {
  /** A change took effect. `answersAt`: where the backend answers in the endpoints' stead. Returns at once. */
  synced(change: Change, answersAt?: readonly AddressPort[]): void;
  /** Resolves when nothing of it is under way; nothing starts any more. */
  stop(): Promise<void>;
}

export interface SyncOptions extends BackendUse {
  readonly source: Source;
  readonly settings: NodeSettings;
  /** The addresses on the host's interfaces now. Asked again at nodeChanged(); an injected, cheap read. */
  readonly addresses: () => readonly InterfaceAddress[];
  readonly clock: Clock;
  readonly log: Logger;
  /** Milliseconds since the epoch. Default Date.now. */
  readonly now?: () => number;
  /** Families to program, where the backend can. Default: both. */
  readonly families?: readonly IPFamily[];
  /** Told of every sync that succeeded, failed, or has something to do again. */
  readonly onSync?: (event: SyncEvent) => void;
  readonly onSyncFailed?: (event: FailedSyncEvent) => void;
  readonly onQueued?: (family: IPFamily) => void;
  /** Told of every change that took effect. */
  readonly onApplied?: (change: Change) => void;
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

/** Changes of objects: what waits, and how many there were since the start. */
export interface ChangeCounts {
  readonly services: { readonly pending: number; readonly total: number };
  readonly endpoints: { readonly pending: number; readonly total: number };
}

export interface Sync {
  /** The families that are programmed. */
  families(): readonly IPFamily[];
  /** Stop the source, let syncs in flight end, close the backend. The data plane stays as it is. */
  stop(): Promise<void>;
  health(): SyncHealth;
  changes(): ChangeCounts;
  service(namespace: string, name: string): Service | undefined;
  /** Our Node as last known, and whether it exists (still). */
  node(): { readonly object: Node | undefined; readonly exists: boolean };
  /** The host's addresses may differ from the last time. */
  nodeChanged(): void;
  /** Sync every family in full soon; for Host.requestFullSync. */
  requestFullSync(reason: string): void;
  /** Resolves when the first state has come and all that is known is programmed; later than that at once. */
  settled(): Promise<void>;
  /** Other settings of the node. */
  configure(settings: NodeSettings): void;
  /**
   * Program another backend, or the same one at another pace, from everything that is known. The one before is closed
   * first (unless it is the same object, or goes on until `closeLeft`), and what it programmed stays. Rejects before anything changed if the new one
   * serves no family. `onTakeover` is waited for when the last sync of the one before has ended and was told of, or was
   * given up after five seconds, which is what both its ending and closing may take. Another pace waits for a sync in
   * flight however long that takes, and gives way to the next replacement.
   */
  replaceBackend(use: BackendUse, onTakeover?: () => void | Promise<void>): Promise<void>;
  /** Close what goes on serving though another backend took over: to be called once that one has programmed everything. */
  closeLeft(): Promise<void>;
  /**
   * Take the objects from elsewhere. Rejects, leaving all as it was, if that source cannot start. The present source
   * delivers until the new one has its first complete state, from which on the Node is `nodeName` (default: as before);
   * `onLive` tells when. One that has no state yet when another is to take over is stopped at once.
   */
  replaceSource(source: Source, onLive?: () => void, nodeName?: string): Promise<void>;
}

/** A backend that hangs must not keep from its work the one that is to help. */
const LEAVING_LIMIT_MS = 5_000;

const BOTH: readonly IPFamily[] = ['IPv4', 'IPv6'];

/**
 * Starts the source and syncs from its first complete state on. Rejects if the source cannot start, or if the backend
 * serves none of the families (code KP_NO_FAMILY); the backend is then the caller's to close, afterwards `stop` does it.
 */
export async function startSync(options: SyncOptions): Promise<Sync> {
  const { clock, log, families = BOTH, now = Date.now } = options;
  const { source } = options;
  let { settings } = options;
  const sources = new Set<Source>([source]);
  let liveSource = source;
  const waiting = new Set<() => void>();
  const store = createStore({
    nodeName: () => settings.nodeName,
    log,
    onDirty(family) {
      if (loops.families.includes(family)) return loops.wake(family);
      // Nobody asks for it, and a backend that takes over looks at everything.
      store.takeDirty(family);
      store.takeTriggerTimes(family);
    },
    onNode: () => loops.nodeChanged(),
    startedAt: now(),
  });
  const switchboard = createSourceSwitch(store);
  let loops = loopsOf(options);
  /** Told nothing any more, and still serving. */
  const left = new Set<Loops>();
  /** Replacements are made one after the other. */
  let replacing: Promise<unknown> = Promise.resolve();
  let stopping = false;
  /** Of replacements of the backend, the last that was asked for; told to a change of pace that waits. */
  let latest = 0;
  let overtake = (): void => {};

  function loopsOf(use: BackendUse): Loops {
    const backend: Backend & Partial<UsesConntrack> = use.backend;
    const conntrack = backend.usesConntrack === true ? options.conntrack : undefined;
    return startLoops({
      ...use,
      families,
      store,
      view: (family) => nodeView(family, store.node(), settings, options.addresses(), store.serviceCIDRs()),
      ignoresExternalIPs: () => !settings.allowExternalIPs,
      resolve: options.resolve,
      clock,
      log,
      onSync: (event) => tell(options.onSync, event),
      onSyncFailed: (event) => tell(options.onSyncFailed, event),
      onQueued: (family) => tell(options.onQueued, family),
      onApplied(change) {
        reconcile(() => conntrack?.synced(change, backend.answersAt?.(change.family)), change);
        tell(options.onApplied, change);
      },
      onIdle: wakeWaiting,
    });
  }

  /** A listener's fault must not look like a failed sync. */
  function tell<T>(listener: ((event: T) => void) | undefined, event: T): void {
    try {
      listener?.(event);
    } catch (error) {
      log.error('A listener of syncs failed', { error: describeError(error) });
    }
  }

  /** Nor must a fault in what comes after a sync. */
  function reconcile(work: () => void, { family }: Change): void {
    try {
      work();
    } catch (error) {
      log.error('Flows could not be compared with a change; this is a bug', { family, error: describeError(error) });
    }
  }

  function isSettled(): boolean {
    return store.isSynced() && !loops.busy();
  }

  function wakeWaiting(): void {
    if (!isSettled()) return;
    for (const resolve of waiting) resolve();
    waiting.clear();
  }

  async function stopSource(which: Source): Promise<void> {
    sources.delete(which);
    try {
      await which.stop();
    } catch (error) {
      log.error('The source did not stop cleanly', { error: describeError(error) });
    }
  }

  /** The same backend goes on at another pace. */
  async function repace(before: Loops, turn: number): Promise<boolean> {
    if (turn !== latest) return false;
    const overtaken = new Promise<'overtaken'>((resolve) => {
      overtake = () => resolve('overtaken');
    });
    return (await Promise.race([before.stop(), overtaken])) !== 'overtaken';
  }

  /** Resolves when the backend is closed, or is waited for no longer. */
  async function leave(before: Loops, name: string, onTakeover: () => void | Promise<void>): Promise<void> {
    const until = clock.now() + LEAVING_LIMIT_MS;
    const ended = (await inTime(before.stop(), LEAVING_LIMIT_MS)) && !before.hangs();
    if (!ended) {
      before.abandon();
      log.warn('The backend that is left hangs in a call; it is given up, and another one programs beside it', {
        from: before.name,
        to: name,
      });
    }
    await onTakeover();
    if (before.name === name) before.beginsAnew();
    if (ended && before.endsWithProcess && before.name !== name) left.add(before);
    else await inTime(before.close(), ended ? Math.max(0, until - clock.now()) : 0);
    // Two of one name would be in each other's way.
    for (const one of left) if (one.name === name) one.beginsAnew();
    await closeLeft((one) => one.name === name);
  }

  async function closeLeft(which: (one: Loops) => boolean = () => true): Promise<void> {
    const chosen = [...left].filter(which);
    for (const one of chosen) left.delete(one);
    await Promise.all(chosen.map((one) => inTime(one.close(), LEAVING_LIMIT_MS)));
  }

  async function inTime(work: Promise<void>, limitMs: number): Promise<boolean> {
    let cancel = (): void => {};
    const late = new Promise<false>((resolve) => {
      cancel = clock.after(limitMs, () => resolve(false));
    });
    const done = await Promise.race([work.then(() => true), late]);
    cancel();
    return done;
  }

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = replacing.then(work);
    replacing = result.catch(() => {});
    return result;
  }

  try {
    await source.start(switchboard.open(() => log.verbose(2, 'The first complete state has come')));
  } catch (error) {
    await loops.stop();
    throw error;
  }

  return {
    families: () => loops.families,
    nodeChanged: () => loops.nodeChanged(),

    async stop() {
      stopping = true;
      overtake();
      await replacing;
      await Promise.all([...sources].map(stopSource));
      await loops.stop();
      await options.conntrack?.stop();
      await Promise.all([loops.close(), closeLeft()]);
    },

    health() {
      const health = loops.health();
      const healthy = health.backend.healthy && Object.values(health.families).every((one) => one.healthy);
      return { healthy, ...health };
    },

    changes() {
      const total = store.changes();
      const counts = loops.families.map((family) => store.pending(family));
      const most = (cause: keyof PendingCounts): number => Math.max(...counts.map((count) => count[cause]));
      return {
        services: { pending: most('services'), total: total.services },
        endpoints: { pending: most('endpoints'), total: total.endpoints },
      };
    },

    service: (namespace, name) => store.service(`${namespace}/${name}`),
    node: () => ({ object: store.node(), exists: store.nodeExists() }),
    requestFullSync: (reason) => loops.requestFull(reason),

    settled: () =>
      isSettled()
        ? Promise.resolve()
        : new Promise((resolve) => {
            waiting.add(resolve);
          }),

    configure(next) {
      const before = settings;
      settings = next;
      if (next.nodeName !== before.nodeName) store.nodeRenamed();
      // Not a matter of the node's looks, so that nothing else would ask for what follows from it.
      if (next.allowExternalIPs !== before.allowExternalIPs) loops.requestFull('externalIPs were allowed or forbidden');
      loops.nodeChanged();
    },

    async replaceBackend(use, onTakeover = () => {}) {
      const next = loopsOf(use);
      latest++;
      const turn = latest;
      overtake();
      await inTurn(async () => {
        if (stopping) return;
        const before = loops;
        if (before.backend !== use.backend) await leave(before, use.backendName, onTakeover);
        else if (await repace(before, turn)) await onTakeover();
        else return;
        loops = next;
        // Nothing is programmed by being handed on: what waited for the one before waits since then.
        const { families: waited } = before.health();
        if (store.isSynced()) for (const family of next.families) next.wake(family, waited[family]?.pendingSince);
      });
    },

    closeLeft: () => closeLeft(),

    replaceSource: (next, onLive = () => {}, nodeName = settings.nodeName) =>
      inTurn(async () => {
        if (stopping) return;
        for (const each of sources) if (each !== liveSource) void stopSource(each);
        const sink = switchboard.open(
          () => {
            void stopSource(liveSource);
            liveSource = next;
            onLive();
          },
          () => {
            if (nodeName === settings.nodeName) return;
            settings = { ...settings, nodeName };
            store.nodeRenamed();
          },
        );
        sources.add(next);
        try {
          await next.start(sink);
        } catch (error) {
          await stopSource(next);
          throw error;
        }
      }),
  };
}
