/**
 * The HTTP servers of a running daemon and what they show: the health server, the metrics server, and a listener for
 * each healthCheckNodePort. Everything they answer is asked for when somebody asks; nothing is prepared.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Change, Clock, IPFamily } from '../backend.ts';
import { toExternal } from '../config/external.ts';
import { GATES } from '../config/feature-gates.ts';
import type { Settings } from '../config/settings.ts';
import { type HealthFacts, judgeHealth } from '../observe/health.ts';
import { healthRoutes } from '../observe/http-health.ts';
import { metricsRoutes } from '../observe/http-metrics.ts';
import { type BindFailure, type HttpServer, startHttpServer } from '../observe/http-server.ts';
import type { Log } from '../observe/log.ts';
import { KUBERNETES_VERSION, type Metrics, type SourceFacts } from '../observe/metrics.ts';
import { createServiceHealth, type ListenFailure } from '../observe/service-health.ts';
import { createSlis } from '../observe/slis.ts';
import type { FamilyHealth } from '../sync/family-sync.ts';
import type { Sync, SyncHealth } from '../sync/start.ts';
import type { LiveStatus } from './live-configuration.ts';

export interface SurfacesOptions {
  /** Of this program. */
  readonly version: string;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: () => Settings;
  readonly backendName: () => string;
  /** Undefined until it runs. */
  readonly sync: () => Sync | undefined;
  readonly nodeEligible: () => boolean;
  readonly source: () => readonly SourceFacts[];
  readonly configuration: () => LiveStatus & { readonly readAtMs?: number | undefined };
  /** Every flag and its value, as text. */
  readonly flags: Readonly<Record<string, string>>;
  readonly onBindFailure: (server: 'health' | 'metrics', failure: BindFailure) => void;
  readonly onServiceListenFailure: (failure: ListenFailure) => void;
}

export interface Surfaces {
  /** Listen where these settings say. Rejects (KP_BIND) as opening does, and then listens where it did. */
  rebind(settings: Settings): Promise<void>;
  /** A change took effect in the data plane. */
  applied(change: Change): void;
  keepFamilies(families: readonly IPFamily[]): void;
  /** Where the servers listen; undefined while they do not. */
  bound(): { readonly healthz: HttpServer['bound']; readonly metrics: HttpServer['bound'] };
  stop(): Promise<void>;
}

/** Something that waits longer than this many sync periods makes the proxy unhealthy. */
const PATIENCE = 2;
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

/** Rejects (KP_BIND) if an address cannot be had and bindAddressHardFail is set. */
export async function openSurfaces(options: SurfacesOptions): Promise<Surfaces> {
  const { metrics, clock, log, settings, sync } = options;
  const slis = createSlis();
  let wasReady = false;
  let metricsTarget = settings().metrics;

  const facts = (): HealthFacts => {
    const health = sync()?.health();
    return {
      families: perFamily(health).map(([family, one]) => ({
        family,
        lastUpdatedMs: one.lastSyncAt ?? one.startedAt,
        oldestPendingMs: one.pendingSince,
        lastError: one.lastError,
      })),
      ...(health ? { backend: health.backend } : {}),
      nodeEligible: options.nodeEligible(),
      limitMs: PATIENCE * settings().syncPeriodMs,
      nowMs: clock.now(),
      wallMs: Date.now(),
    };
  };
  const health = () => judgeHealth(facts());
  const readiness = () => {
    const health = sync()?.health();
    const waiting = perFamily(health).filter(([, one]) => one.lastSyncAt === undefined);
    // Of this process: while another backend takes over, the rules of the one before still serve.
    wasReady ||= health !== undefined && waiting.length === 0;
    return { started: health !== undefined, waiting: wasReady ? [] : waiting.map(([family]) => family) };
  };

  const serviceHealth = createServiceHealth({
    log: log.child('service-health'),
    clock,
    healthy: () => health().healthy,
    onListenFailure: options.onServiceListenFailure,
  });

  metrics.setSources({
    changes: () => sync()?.changes() ?? NO_CHANGES,
    source: options.source,
    features: () =>
      Object.entries(settings().featureGates).map(([name, enabled]) => ({ name, enabled, stage: stageOf(name) })),
    configHash: options.configuration,
    serviceHealth: () => serviceHealth.counts(),
  });

  const shared = { clock, log: log.child('http'), hardFail: settings().bindAddressHardFail };
  const healthServer = await startHttpServer({
    ...shared,
    name: 'health server',
    flag: '--healthz-bind-address',
    target: settings().healthz,
    onBindFailure: (failure) => options.onBindFailure('health', failure),
    routes: healthRoutes({
      health,
      readiness,
      onAnswer(check, code) {
        if (check === 'healthz') metrics.healthz(code);
        if (check === 'livez') metrics.livez(code);
        slis.observe({ name: 'proxy', type: check, ok: code === 200 });
      },
    }),
  });
  const gate = (name: string): boolean => settings().featureGates[name] === true;
  let metricsServer: HttpServer;
  try {
    metricsServer = await startHttpServer({
      ...shared,
      name: 'metrics server',
      flag: '--metrics-bind-address',
      target: settings().metrics,
      onBindFailure: (failure) => options.onBindFailure('metrics', failure),
      routes: metricsRoutes({
        metrics,
        slis,
        proxyMode: options.backendName,
        configz() {
          const { running, file, refused, readAtMs } = options.configuration();
          const error = refused.length > 0 ? refused.join('; ') : undefined;
          const config = toExternal(settings().configuration);
          return { config, runningHash: running, fileHash: file, readAtMs, error };
        },
        flagz: () => (gate('ComponentFlagz') ? { flags: options.flags } : undefined),
        statusz: () =>
          gate('ComponentStatusz')
            ? {
                startedAtMs: performance.timeOrigin,
                nowMs: Date.now(),
                version: options.version,
                kubernetesVersion: KUBERNETES_VERSION,
                nodeVersion: process.versions.node,
                backend: options.backendName(),
              }
            : undefined,
        profiling: () => settings().profiling,
        setVerbosity: (verbosity) => log.reshape({ ...log.shape(), verbosity }),
      }),
    });
  } catch (error) {
    await healthServer.close();
    throw error;
  }

  return {
    async rebind({ healthz, metrics: target, bindAddressHardFail }) {
      // Two that swap their addresses would wait for each other.
      if (isDeepStrictEqual(healthz, metricsTarget)) await metricsServer.rebind(undefined, false);
      metricsTarget = target;
      await healthServer.rebind(healthz, bindAddressHardFail);
      await metricsServer.rebind(target, bindAddressHardFail);
    },
    applied: (change) => serviceHealth.applied(change),
    keepFamilies: (families) => serviceHealth.keepFamilies(families),
    bound: () => ({ healthz: healthServer.bound, metrics: metricsServer.bound }),
    async stop() {
      await Promise.all([healthServer.close(), metricsServer.close(), serviceHealth.stop()]);
    },
  };
}

function perFamily(health: SyncHealth | undefined): readonly (readonly [IPFamily, FamilyHealth])[] {
  return FAMILIES.flatMap((family) => {
    const one = health?.families[family];
    return one ? [[family, one] as const] : [];
  });
}

/** As kubernetes_feature_enabled has it: general availability is "". */
function stageOf(gate: string): 'ALPHA' | 'BETA' | '' | 'DEPRECATED' {
  switch (GATES[gate]?.stage) {
    case 'alpha':
      return 'ALPHA';
    case 'beta':
      return 'BETA';
    case 'deprecated':
      return 'DEPRECATED';
    default:
      return '';
  }
}

const NO_CHANGES = { services: { pending: 0, total: 0 }, endpoints: { pending: 0, total: 0 } };
