/**
 * What /metrics shows. The daemon tells what happens by plain method calls; what can be asked for at any time is asked
 * for when someone scrapes.
 *
 *   sync loops, API client, conntrack ──told──▶ ┐
 *   store, source, service health ◀──asked───── │ registry ──▶ text
 *   the backend's own (metrics-plugin.ts) ◀──── ┘
 *
 * The registry is our own and not prom-client's global one: two daemons in one process (tests) share nothing. Only the
 * Prometheus text format is offered: for OpenMetrics prom-client renames counters in place, for everyone.
 */
import Registry from 'prom-client/lib/registry.js';
import type { IPFamily } from '../backend.ts';
import type {
  BackendFaultFacts,
  BackendInUse,
  ConntrackPassFacts,
  FailedSyncFacts,
  MetricSources,
  RestRequestFacts,
  SourceFacts,
  SyncedFacts,
} from './metrics-facts.ts';
import { createOwnMetrics, FAMILY_LABELS, type MetricId, type OwnMetrics } from './metrics-own.ts';
import { registerProcessMetrics } from './metrics-process.ts';

export type * from './metrics-facts.ts';

export interface MetricsOptions {
  /** Of this program: "0.1.0". */
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A source threw when it was asked; its metric is left out of this scrape. */
  readonly onFault?: (metric: string, error: unknown) => void;
}

export interface Metrics {
  /** For createPluginMetrics. */
  readonly registry: Registry;
  /** Content-Type of `text()`. */
  readonly contentType: string;
  /** Everything as text. Those who ask at the same time share one answer. */
  text(): Promise<string>;
  /**
   * The backend in use: metrics of others vanish, and the families' begin at 0. To be called before the first sync, and
   * at every switch.
   */
  useBackend(use: BackendInUse): void;
  /** What to ask at scrapes; each replaces the one before. */
  setSources(sources: MetricSources): void;
  synced(sync: SyncedFacts): void;
  syncFailed(sync: FailedSyncFacts): void;
  /** Something waits to be programmed. */
  queued(family: IPFamily): void;
  /** The backend could not remove what is no longer used. */
  cleanupFailed(family: IPFamily): void;
  /** Something escaped from a backend, or it kept the process from everything else. */
  backendFault(fault: BackendFaultFacts): void;
  conntrackPass(pass: ConntrackPassFacts): void;
  restRequest(request: RestRequestFacts): void;
  /** The health server answered with this status. */
  healthz(code: 200 | 503): void;
  livez(code: 200 | 503): void;
  /** The configuration file was read: at start, or (`changed`) because it changed. */
  configLoaded(load: { readonly ok: boolean; readonly changed: boolean }): void;
  /** Stops what measures in the background. */
  close(): void;
}

/** The Kubernetes whose proxy this behaves like. */
export const KUBERNETES_VERSION = 'v1.36.0';

const NO_LOCAL = {
  internal: perFamily({ traffic_policy: 'internal' }),
  external: perFamily({ traffic_policy: 'external' }),
};
const TABLES = { nat: perFamily({ table: 'nat' }), filter: perFamily({ table: 'filter' }) };
const FAULT_KINDS: readonly BackendFaultFacts['kind'][] = ['exception', 'rejection', 'refused', 'stall'];
const CODES = { 200: { code: '200' }, 503: { code: '503' } };
/** Of a backend's own sizes: a name is a series in the scraper's memory. */
const MOST_KINDS = 50;
const KIND = /^[a-z][a-z0-9_]{0,63}$/;

export function createMetrics(options: MetricsOptions): Metrics {
  const { now, onFault = () => {} } = options;
  const registry = new Registry();
  const own = createOwnMetrics(registry, onFault);
  const { counter, gauge, histogram } = own;
  const processMetrics = registerProcessMetrics(registry);
  const sources: { -readonly [key in keyof MetricSources]: MetricSources[key] } = {};
  let backend: BackendInUse = { name: '', families: [], usesConntrack: false };
  let asked: Promise<string> | undefined;

  pullChanges(own, sources);
  pullSource(own, sources);
  pullRest(own, sources);
  gauge('buildInfo').set(buildInfo(options.version), 1);
  for (const code of [200, 503] as const) {
    counter('healthz').inc(CODES[code], 0);
    counter('livez').inc(CODES[code], 0);
  }
  for (const result of ['success', 'failure']) counter('configReloads').inc({ result }, 0);
  // Without a file there is nothing to say.
  for (const id of ['configReloadOk', 'configReloadTime'] as const) gauge(id).remove();

  function observeDuration({ family, full, durationMs }: FailedSyncFacts): void {
    const labels = FAMILY_LABELS[family];
    histogram('syncDuration').observe(labels, durationMs / 1000);
    histogram(full ? 'fullSyncDuration' : 'partialSyncDuration').observe(labels, durationMs / 1000);
  }

  function setSizes(family: IPFamily, totals: Readonly<Record<string, number>>): void {
    const kinds = Object.keys(totals).filter((kind) => KIND.test(kind));
    for (const kind of kinds.slice(0, MOST_KINDS)) {
      gauge('backendObjects').set({ kind, ip_family: family }, totals[kind] ?? 0);
    }
    if (backend.name !== 'iptables') return;
    for (const table of ['nat', 'filter'] as const) {
      const rules = totals[`${table}_rules`];
      const last = totals[`${table}_rules_last`];
      if (rules !== undefined) gauge('iptablesRules').set(TABLES[table][family], rules);
      if (last !== undefined) gauge('iptablesRulesLast').set(TABLES[table][family], last);
    }
  }

  return {
    registry,
    contentType: registry.contentType,
    text() {
      asked ??= registry.metrics().finally(() => {
        asked = undefined;
      });
      return asked;
    },

    useBackend(use) {
      if (use.name !== backend.name) gauge('backendObjects').reset();
      for (const family of ['IPv4', 'IPv6'] as const) {
        if (use.families.includes(family)) continue;
        for (const id of ['servicePorts', 'lastSync', 'lastQueued'] as const) gauge(id).remove(FAMILY_LABELS[family]);
        for (const labels of Object.values(NO_LOCAL)) gauge('noLocalEndpoints').remove(labels[family]);
      }
      backend = use;
      gauge('backendInfo').reset();
      gauge('backendInfo').set({ backend: use.name }, 1);
      for (const kind of FAULT_KINDS) counter('backendFaults').inc({ backend: use.name, kind }, 0);
      own.use(use);
    },

    setSources: (more) => void Object.assign(sources, more),

    synced(sync) {
      const { family, report } = sync;
      const labels = FAMILY_LABELS[family];
      const at = now();
      observeDuration(sync);
      for (const time of sync.triggerTimes) {
        // The control plane's clock may be ahead of ours.
        histogram('networkProgramming').observe(labels, Math.max(0, at - time) / 1000);
      }
      gauge('noLocalEndpoints').set(NO_LOCAL.internal[family], sync.withoutLocal.internal);
      gauge('noLocalEndpoints').set(NO_LOCAL.external[family], sync.withoutLocal.external);
      gauge('lastSync').set(labels, at / 1000);
      gauge('servicePorts').set(labels, sync.servicePorts);
      counter('syncOperations').inc(labels, report.operations);
      counter('syncBytes').inc(labels, report.bytes);
      if (report.totals) setSizes(family, report.totals);
    },

    syncFailed(sync) {
      const labels = FAMILY_LABELS[sync.family];
      observeDuration(sync);
      counter('syncFailures').inc(labels);
      if (backend.name === 'nftables') counter('nftablesSyncFailures').inc(labels);
      if (backend.name === 'iptables' || backend.name === 'ipvs') counter('iptablesFailures').inc(labels);
      if (backend.name === 'iptables' && !sync.full) counter('iptablesPartialFailures').inc(labels);
    },

    queued: (family) => gauge('lastQueued').set(FAMILY_LABELS[family], now() / 1000),

    cleanupFailed(family) {
      if (backend.name === 'nftables') counter('nftablesCleanupFailures').inc(FAMILY_LABELS[family]);
    },

    backendFault: ({ backend: name, kind }) => counter('backendFaults').inc({ backend: name, kind }),

    conntrackPass({ family, durationSeconds, deleted }) {
      histogram('conntrackDuration').observe(FAMILY_LABELS[family], durationSeconds);
      counter('conntrackDeleted').inc(FAMILY_LABELS[family], deleted);
    },

    restRequest({ verb, host, code, durationSeconds, requestBytes, rateLimitedSeconds, responseBytes, retryAfter }) {
      const labels = { verb, host };
      counter('requests').inc({ code, method: verb, host });
      histogram('requestDuration').observe(labels, durationSeconds);
      histogram('requestSize').observe(labels, requestBytes);
      histogram('rateLimiter').observe(labels, rateLimitedSeconds);
      if (responseBytes !== undefined) histogram('responseSize').observe(labels, responseBytes);
      if (retryAfter !== undefined) counter('requestRetries').inc({ code: retryAfter, verb, host });
    },

    healthz: (code) => counter('healthz').inc(CODES[code]),
    livez: (code) => counter('livez').inc(CODES[code]),

    configLoaded({ ok, changed }) {
      gauge('configReloadOk').set(Number(ok));
      gauge('configReloadTime').set(now() / 1000);
      if (changed) counter('configReloads').inc({ result: ok ? 'success' : 'failure' });
    },

    close: () => processMetrics.close(),
  };
}

function pullChanges({ pull, counter, gauge }: OwnMetrics, sources: MetricSources): void {
  const kinds = [
    ['services', 'serviceChanges', 'serviceChangesPending'],
    ['endpoints', 'endpointChanges', 'endpointChangesPending'],
  ] as const;
  for (const [kind, total, pending] of kinds) {
    pull(total, () => counter(total).inc(sources.changes?.()[kind].total ?? 0));
    pull(pending, () => gauge(pending).set(sources.changes?.()[kind].pending ?? 0));
  }
}

function pullSource({ pull, counter, gauge }: OwnMetrics, sources: MetricSources): void {
  const each = (id: MetricId, put: (facts: SourceFacts, labels: { readonly resource: string }) => void): void =>
    pull(id, () => {
      for (const facts of sources.source?.() ?? []) put(facts, { resource: facts.resource });
    });
  each('sourceAge', ({ secondsSinceContact }, labels) => {
    if (secondsSinceContact !== undefined) gauge('sourceAge').set(labels, secondsSinceContact);
  });
  each('sourceSynced', ({ synced }, labels) => gauge('sourceSynced').set(labels, Number(synced)));
  each('sourceObjects', ({ objects }, labels) => gauge('sourceObjects').set(labels, objects));
  each('sourceLists', ({ lists }, labels) => counter('sourceLists').inc(labels, lists));
  each('sourceWatches', ({ watches }, labels) => counter('sourceWatches').inc(labels, watches));
  each('sourceFailures', ({ failures }, labels) => counter('sourceFailures').inc(labels, failures));
}

function pullRest({ pull, counter, gauge, shown }: OwnMetrics, sources: MetricSources): void {
  pull('features', () => {
    for (const { name, stage, enabled } of sources.features?.() ?? []) {
      gauge('features').set({ name, stage }, Number(enabled));
    }
  });
  pull('configHash', () => {
    const hash = sources.configHash?.();
    if (hash) gauge('configHash').set({ running: hash.running, file: hash.file }, 1);
  });
  pull('serviceHealthPorts', () => {
    const { open = 0, failed = 0 } = sources.serviceHealth?.() ?? {};
    gauge('serviceHealthPorts').set({ state: 'open' }, open);
    gauge('serviceHealthPorts').set({ state: 'failed' }, failed);
  });
  pull('registered', () => {
    for (const level of ['ALPHA', 'BETA'] as const) {
      counter('registered').inc({ stability_level: level, deprecated_version: '' }, shown(level));
    }
  });
}

/** The alert KubeVersionMismatch compares the minor version in `git_version` with that of all other components. */
function buildInfo(version: string): Record<string, string> {
  const [major = '', minor = ''] = KUBERNETES_VERSION.slice(1).split('.');
  return {
    major,
    minor,
    git_version: `${KUBERNETES_VERSION}+kube-proxy-ts.${version}`,
    git_commit: '',
    git_tree_state: '',
    build_date: '',
    go_version: '',
    compiler: `node ${process.versions.node}`,
    platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
  };
}

function perFamily<T extends object>(labels: T): Readonly<Record<IPFamily, T & { readonly ip_family: IPFamily }>> {
  return { IPv4: { ...labels, ip_family: 'IPv4' }, IPv6: { ...labels, ip_family: 'IPv6' } };
}
