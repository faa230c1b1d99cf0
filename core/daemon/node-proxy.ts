/**
 * Everything that serves this node, opened in the order in which each part needs the one before, and changed while it
 * runs.
 *
 *   openSource ──▶ conntrack's limits ──▶ openBackend ──▶ HTTP servers ──▶ startSync ──▶ Ready ──▶ others cleaned up
 *
 * Settings that differ later are put in force part by part: first all that can fail (the new backend is created, the
 * new source is opened, addresses are bound), and only when nothing did, the rest. A backend that was created but then
 * never programs anything is given up by whoever gets `onHopeless`.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Backend, IPFamily, PluginMetrics, UsesConntrack } from '../backend.ts';
import type { Settings } from '../config/settings.ts';
import type { InterfaceAddress, NodeSettings } from '../model/node-settings.ts';
import { systemClock as clock } from '../node/clock.ts';
import { createConntrackReconciler } from '../node/conntrack.ts';
import { familyChecks } from '../node/ip-families.ts';
import { releaseMemory } from '../node/release-memory.ts';
import { createSysctl } from '../node/sysctl.ts';
import {
  hashTableTooSmall,
  healthServerFailed,
  metricsServerFailed,
  serviceHealthServerFailed,
  starting,
} from '../observe/event-reasons.ts';
import type { Log } from '../observe/log.ts';
import type { Metrics } from '../observe/metrics.ts';
import { createServiceEvents } from '../observe/service-events.ts';
import type { BackendUse } from '../sync/loops.ts';
import { type Sync, startSync } from '../sync/start.ts';
import { differences } from './differences.ts';
import { harmlessError } from './harmless-error.ts';
import { type ChosenBackend, type OpenBackend, openBackend } from './open-backend.ts';
import { type OpenSource, openSource } from './open-source.ts';
import { inPlugin, type PluginContext } from './plugin-context.ts';
import { createReadiness, type Readiness } from './readiness.ts';
import { openSurfaces, type Surfaces, type SurfacesOptions } from './surfaces.ts';
import { tuneConntrack, tuneOomScore } from './tune-node.ts';

export interface NodeProxyOptions {
  /** Of this program. */
  readonly version: string;
  readonly settings: Settings;
  readonly nodeName: (settings: Settings) => string;
  /** What the settings' backend is; rejects if there is none of that name. */
  readonly choose: (settings: Settings) => Promise<ChosenBackend>;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly metrics: Metrics;
  readonly pluginMetrics: PluginMetrics;
  /** The addresses on the host's interfaces. */
  readonly addresses: () => readonly InterfaceAddress[];
  readonly configuration: SurfacesOptions['configuration'];
  readonly flags: SurfacesOptions['flags'];
  /**
   * The backend has programmed everything for the first time. No other takes over before what is done then is done: it
   * removes the rules of the others, one of which may come back. Must not reject.
   */
  readonly onReady: (backend: string) => Promise<void>;
  /** This backend is the one in force from now on, before its first sync. */
  readonly onTakeover?: (chosen: ChosenBackend) => void;
  /**
   * A sync of this backend, which another one has replaced without waiting for it any longer, has ended: what it
   * programmed is in the way again. `onReady` follows, at once if the backend in force is ready.
   */
  readonly onLateEnd?: (chosen: ChosenBackend) => void;
  /** A backend that took over while running cannot program this family, for this reason. */
  readonly onHopeless: (backend: string, family: IPFamily, reason: string) => void;
}

export interface NodeProxy {
  nodeChanged(): void;
  requestFullSync(reason: string): void;
  /** What apply() waits for, if it does; for the log. */
  waitsFor(): string | undefined;
  events(): OpenSource['events'];
  /** Put other settings in force. Rejects, with everything as it was, if that cannot be. */
  apply(before: Settings, after: Settings): Promise<void>;
  /** Connections pass through the backend in force. */
  endsWithProcess(): boolean;
  /** The rules stay, where there are any; those of others, which are being removed, go if that does not take long. */
  stop(): Promise<void>;
}

/** A sync that wrote this many bytes left much garbage. */
const LARGE_SYNC_BYTES = 1024 * 1024;
/** No pause between two self-checks is longer than this, whatever the sync period is. */
const LONGEST_CHECK_INTERVAL_MS = 5000;
/** A complete list leaves as much garbage as a large sync, without a sync following where nothing changed. */
const TIDY_MS = 60_000;
/** Ending a sync and closing take less, as a rule. */
const LEAVING_MS = 2_000;
/** Less than stopping may take. */
const LAST_CLEANUP_MS = 4_000;
const TCP_BE_LIBERAL = 'net/netfilter/nf_conntrack_tcp_be_liberal';

/** Rejects if a part cannot be opened; nothing stays open then. */
export async function startNodeProxy(options: NodeProxyOptions): Promise<NodeProxy> {
  const { log, metrics } = options;
  const sysctl = createSysctl();
  let { settings } = options;
  /** The one that delivers; another one may be opened, and wait for its first complete state. */
  let source = await openSourceFor(settings);
  let nextSource: OpenSource | undefined;
  let backend: OpenBackend;
  let stopped = false;
  let readiness: Readiness;
  /** What follows a backend's being ready. */
  let aftermath: Promise<void> = Promise.resolve();
  /** Whose Node the source in use delivers. */
  let servedNode = options.nodeName(settings);
  let sync: Sync | undefined;
  let waitsFor: string | undefined;

  async function waiting<T>(what: string, work: Promise<T>): Promise<T> {
    waitsFor = what;
    try {
      return await work;
    } finally {
      waitsFor = undefined;
    }
  }

  function openSourceFor(of: Settings): Promise<OpenSource> {
    const onRequest = metrics.restRequest;
    const { version } = options;
    return openSource({ settings: of, nodeName: options.nodeName(of), version, clock, log, onRequest });
  }

  function nodeSettings(of: Settings): NodeSettings {
    // Asked for (backends then see to it), or set by the host's administrator.
    const tcpBeLiberal = of.node.tcpBeLiberal || !['0', undefined].includes(sysctl.read(TCP_BE_LIBERAL));
    return { ...of.node, nodeName: options.nodeName(of), tcpBeLiberal };
  }

  function tune(of: Settings): void {
    const shortfall = tuneConntrack(of, sysctl, log);
    if (shortfall !== '') source.events.record(hashTableTooSmall(options.nodeName(of), shortfall));
  }

  /** With the host prepared for it. */
  async function openBackendFor(of: Settings): Promise<OpenBackend> {
    let name = of.backend;
    // What a plugin's file starts when it is loaded, which happens once, stays with whatever runs by its name.
    const loading: PluginContext = {
      name,
      escaped(kind, thrown) {
        if (backend?.plugin.name === name) return backend.context.escaped(kind, thrown);
        metrics.backendFault({ backend: name, kind });
        log.error('A fault escaped from the backend, which is not in use', {
          backend: name,
          kind,
          error: harmlessError(thrown),
        });
      },
    };
    const chosen = await inPlugin(loading, () => options.choose(of));
    name = chosen.plugin.name;
    let opened: OpenBackend | undefined;
    opened = await openBackend({
      chosen,
      log,
      signal: options.signal,
      metrics: options.pluginMetrics,
      // One that is not in use yet begins with a full sync, and the one in use needs none.
      requestFullSync(reason) {
        if (opened !== undefined && backend === opened) sync?.requestFullSync(reason);
      },
      events: createServiceEvents({
        log: log.child(name),
        clock,
        record: (event) => source.events.record(event),
        uid: uidOf,
      }),
      clock,
      onFault: (plugin, kind) => metrics.backendFault({ backend: plugin, kind }),
    });
    try {
      // Not before: an option that is wrong is to leave the host as it is.
      if (!chosen.leavesHostAlone) tune(of);
    } catch (error) {
      await opened.discard();
      throw error;
    }
    return opened;
  }

  /** One that is left may take some seconds; nobody should have to guess for what. */
  async function leaving<T>(left: OpenBackend, work: Promise<T>): Promise<T> {
    const tell = (): void => {
      const [waitsFor, backend] = [left.pending(), left.plugin.name];
      if (waitsFor.length > 0) {
        log.warn('The backend that is left has not ended its calls; waiting a few seconds more', {
          backend,
          waitsFor: waitsFor.join(', '),
        });
      }
    };
    const cancel = clock.after(LEAVING_MS, tell);
    try {
      return await work;
    } finally {
      cancel();
    }
  }

  function use(of: Settings, opened: OpenBackend): BackendUse {
    return {
      backend: opened.backend,
      backendName: opened.plugin.name,
      endsWithProcess: opened.plugin.endsWithProcess === true,
      beginsAnew: opened.beginsAnew,
      release: opened.release,
      onAbandonedEnd() {
        options.onLateEnd?.(opened);
        if (readiness.ready() && !stopped) follow(backend.plugin.name);
      },
      minSyncIntervalMs: of.minSyncPeriodMs,
      checkIntervalMs: Math.min(of.syncPeriodMs, LONGEST_CHECK_INTERVAL_MS),
      longestRetryMs: of.syncPeriodMs,
    };
  }

  /** From now on this backend is the one that counts. `hopeful`: another one could take over again. */
  function adopt(opened: OpenBackend, hopeful: boolean): void {
    const { name } = opened.plugin;
    const { families } = opened.backend;
    backend = opened;
    options.onTakeover?.(opened);
    metrics.useBackend({ name, families, usesConntrack: usesConntrack(opened.backend) });
    readiness = createReadiness({
      families,
      onReady(servicePorts) {
        releaseMemory();
        log.info('Ready', { backend: name, families: families.join(','), servicePorts });
        checkFamilies();
        follow(name);
      },
      onHopeless(family) {
        const reason = sync?.health().families[family]?.lastError ?? 'no reason known';
        if (hopeful) options.onHopeless(name, family, reason);
      },
    });
  }

  function follow(name: string): void {
    aftermath = aftermath.then(() => sync?.closeLeft()).then(() => options.onReady(name));
  }

  /** Said once the Node is known; nothing here keeps the proxy from serving what it can. */
  function checkFamilies(): void {
    const node = sync?.node().object;
    const { node: of } = settings;
    const primary = of.bindAddress === '0.0.0.0' || of.bindAddress === '::' ? node?.ips[0] : of.bindAddress;
    if (primary === undefined) return;
    const { fatal, notes } = familyChecks({
      primaryFamily: primary.includes(':') ? 'IPv6' : 'IPv4',
      nodeIPs: node?.ips ?? [primary],
      clusterCIDRs: of.clusterCIDRs,
      podCIDRs: node?.podCIDRs ?? [],
      detectLocalMode: of.detectLocalMode,
      served: backend.backend.families,
      nodePortAddresses: of.nodePortAddresses,
    });
    if (fatal !== undefined) log.error('This node and the configuration do not fit', { problem: fatal });
    for (const note of notes) log.verbose(1, 'A remark on this node', { note });
  }

  const nodeName = (): string => options.nodeName(settings);
  /** Of a Service; "" when it is not, or no longer, known. */
  function uidOf(namespace: string, name: string): string {
    return sync?.service(namespace, name)?.uid ?? '';
  }

  const onBindFailure: SurfacesOptions['onBindFailure'] = (server, { address, error }) => {
    const event = server === 'health' ? healthServerFailed : metricsServerFailed;
    source.events.record(event(nodeName(), `${address}: ${error.message}`));
  };

  let surfaces: Surfaces | undefined;
  const conntrack = createConntrackReconciler({ log: log.child('conntrack'), onPass: metrics.conntrackPass });
  try {
    // What was given and cannot be used is to be known before the host is touched.
    await source.source.prepare?.();
    adopt(await openBackendFor(settings), false);
    tuneOomScore(settings, log);
  } catch (error) {
    await source.close();
    throw error;
  }
  try {
    surfaces = await openSurfaces({
      version: options.version,
      metrics,
      clock,
      log,
      settings: () => settings,
      backendName: () => backend.plugin.name,
      sync: () => sync,
      nodeEligible() {
        const node = sync?.node();
        if (node?.object) return node.exists && node.object.eligible;
        return !source.hasNodes;
      },
      source: () => source.facts(),
      configuration: options.configuration,
      flags: options.flags,
      onBindFailure,
      onServiceListenFailure({ namespace, name, port, error }) {
        const service = { namespace, name, uid: uidOf(namespace, name) };
        source.events.record(serviceHealthServerFailed(service, nodeName(), port, error.message));
      },
    });
    source.events.record(starting(nodeName(), backend!.plugin.name));
    sync = await startSync({
      ...use(settings, backend!),
      source: source.source,
      settings: nodeSettings(settings),
      addresses: options.addresses,
      clock,
      log: log.child('sync'),
      conntrack,
      onSync(event) {
        metrics.synced(event);
        readiness.synced(event.family, event.servicePorts);
        if (event.report.bytes >= LARGE_SYNC_BYTES) releaseMemory();
      },
      onSyncFailed(event) {
        metrics.syncFailed(event);
        readiness.failed(event.family, event.late);
      },
      onQueued: (family) => metrics.queued(family),
      onApplied: (change) => surfaces?.applied(change),
    });
  } catch (error) {
    await surfaces?.stop();
    await source.close();
    await backend!.discard();
    throw error;
  }
  const running = { sync, surfaces };

  let stopBy = 0;

  let lists = 0;
  let cancelTidy = clock.after(TIDY_MS, tidy);
  function tidy(): void {
    const now = source.facts().reduce((sum, kind) => sum + kind.lists, 0);
    if (now !== lists) releaseMemory();
    lists = now;
    cancelTidy = clock.after(TIDY_MS, tidy);
  }

  /** Objects come from there, and the Node is this one, as soon as it has all of them. Rejects if it cannot start. */
  async function take(opened: OpenSource, node: string): Promise<void> {
    const onLive = (): void => {
      log.info('Objects come from another source now', opened.description);
      void source.close();
      source = opened;
      servedNode = node;
      if (nextSource === opened) nextSource = undefined;
    };
    await running.sync.replaceSource(opened.source, onLive, node);
    if (source === opened) return;
    log.info('Objects are to come from another source; until it has all of them, the present one counts', {
      ...opened.description,
    });
    void nextSource?.close();
    nextSource = opened;
  }

  /** Half removed, the rules of two data planes would both see each packet until the next start. */
  async function lastCleanup(): Promise<void> {
    let cancel = (): void => {};
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(Math.max(0, stopBy - clock.now()), () => {
        log.warn('What other backends left is still being removed; ending without it', {
          remedy: 'run `kube-proxy cleanup`, then start again',
        });
        resolve();
      });
    });
    await Promise.race([aftermath, late]);
    cancel();
  }

  /** All that may be refused. What it opened is closed again if a later part is. */
  async function tryParts(before: Settings, after: Settings, changed: ReturnType<typeof differences>) {
    const undo: (() => Promise<void> | void)[] = [];
    try {
      let nextBackend: OpenBackend | undefined;
      let fresh: OpenSource | undefined;
      if (changed.backend) {
        await waiting('what other backends left to be removed', aftermath);
        const opened = await waiting(`backend ${after.backend} to be created`, openBackendFor(after));
        nextBackend = opened;
        undo.push(() => opened.discard());
      } else if (changed.conntrack && !backend.leavesHostAlone) {
        undo.push(() => tune(before));
        tune(after);
      }
      if (changed.source) {
        const opened = await openSourceFor(after);
        fresh = opened;
        undo.push(() => opened.close());
        await waiting('the source of objects to be opened', Promise.resolve(opened.source.prepare?.()));
      }
      if (changed.listeners) {
        undo.push(() => running.surfaces.rebind(before));
        await running.surfaces.rebind(after);
      }
      if (fresh) await take(fresh, options.nodeName(after));
      return nextBackend;
    } catch (error) {
      for (const step of undo.reverse()) {
        try {
          await step();
        } catch (fault) {
          log.error('A part of a refused configuration could not be taken back', { error: fault });
        }
      }
      throw error;
    }
  }

  return {
    nodeChanged: () => running.sync.nodeChanged(),
    requestFullSync: (reason) => running.sync.requestFullSync(reason),
    waitsFor: () => waitsFor,
    endsWithProcess: () => backend.plugin.endsWithProcess === true,
    events: () => source.events,

    async apply(before, after) {
      const changed = differences(before, after);
      const nextBackend = await tryParts(before, after, changed);
      if (stopped) return nextBackend?.discard();
      settings = after;
      if (changed.log) log.reshape({ verbosity: after.verbosity, format: after.logFormat });
      if (changed.oomScore) tuneOomScore(after, log);
      // Another name counts from the moment on in which the source that has its Node is live.
      running.sync.configure({ ...nodeSettings(after), nodeName: servedNode });
      if (nextBackend) {
        log.info('Another backend takes over', { from: backend.plugin.name, to: nextBackend.plugin.name });
        const replaced = running.sync.replaceBackend(use(after, nextBackend), async () => {
          // The one before may have become ready by its very last sync.
          await aftermath;
          adopt(nextBackend, true);
        });
        await waiting(`backend ${backend.plugin.name} to be left`, leaving(backend, replaced));
        running.surfaces.keepFamilies(running.sync.families());
      } else if (changed.pace) {
        // Not waited for: it comes after a sync in flight, which may hang, and what helps then is another edit.
        void running.sync.replaceBackend(use(after, backend));
      }
      if (!isDeepStrictEqual(before.node, after.node) && !nextBackend) checkFamilies();
    },

    async stop() {
      stopped = true;
      stopBy = clock.now() + LAST_CLEANUP_MS;
      cancelTidy();
      await running.surfaces.stop();
      await leaving(backend, running.sync.stop());
      await Promise.all([source.close(), nextSource?.close(), lastCleanup()]);
    },
  };
}

function usesConntrack(backend: Backend & Partial<UsesConntrack>): boolean {
  return backend.usesConntrack === true;
}
