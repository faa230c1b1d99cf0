/**
 * When has the proxy caught up? A last change is made in every resource, and its effect is looked for where it counts:
 *
 *   Service, EndpointSlices of both families   its address answers
 *   Node: its zone, for which one endpoint of five is hinted   only that one answers
 *   ServiceCIDR   the number that the proxy knows
 *   somebody takes a rule away   it comes back: a look at all rules has come after everything that was done to them
 *
 * What came before on the same streams has come, too, since each is in order. Nothing waits any more, say the metrics.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Objects } from '../apiserver/objects.ts';
import type { World } from '../netns/world.ts';
import { valueOf } from '../unit/observe/exposition.ts';
import type { Daemon, Metrics } from './daemon.ts';
import type { Kernel } from './kernel.ts';
import { FAMILIES, ownNode, serviceRange } from './places.ts';
import { RESOURCES } from './plan.ts';
import { ENDPOINT_PORTS, SERVICE_LABEL } from './random-slice.ts';
import type { Truth } from './truth.ts';

export interface SettleOptions {
  readonly objects: Objects;
  readonly world: World;
  readonly daemon: Daemon;
  readonly kernel: Kernel;
  /** What is true at this moment. */
  readonly truth: () => Promise<Truth>;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

export const BEACON_NAMESPACE = 'soak-beacon';
const NAME = 'beacon';
const PORT = 7;
/** Above the numbers of the ranges that come and go. */
const RANGE = 11;
/** Endpoints are chosen by chance: the hinted one alone answers so often in a row by mistake once in a million times. */
const ASKS = 9;
/** Pauses between attempts of the proxy grow to half a minute; a request without an answer takes a whole one. */
const LIMIT_MS = 150_000;
const POLL_MS = 200;

/** Resolves with how long it took. Rejects if the proxy does not get there. */
export async function settle(options: SettleOptions): Promise<number> {
  const { world, daemon, kernel, now, signal } = options;
  const begin = now();
  const until = async (what: string, holds: () => Promise<string>): Promise<void> => {
    for (let problem = await holds(); problem !== ''; problem = await holds()) {
      if (now() - begin > LIMIT_MS) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}: ${problem}`);
      await sleep(POLL_MS, undefined, { signal });
    }
  };
  // Twice, so that neither round can be mistaken for what was there before, and the zone is one that others hint at.
  for (const [zone, hinted] of [
    ['zone-beacon', 1],
    ['zone-a', 2],
  ] as const) {
    const clusterIPs = light(options.objects, world, zone, hinted);
    for (const ip of clusterIPs) {
      await until(`the last changes are in force for ${zone}`, () => askBeacon(world, ip, world.pods[hinted]!.name));
    }
  }
  if (await kernel.takeAway())
    await until('its rules are whole again', async () => ((await kernel.isWhole()) ? '' : 'no'));
  await until('nothing waits', async () => {
    const metrics = await daemon.metrics();
    if (metrics === undefined) return 'its metrics cannot be read';
    return pendingOf(metrics) || differencesOf(metrics, await options.truth()).join('; ');
  });
  return now() - begin;
}

/** Returns the ClusterIPs that are to answer. */
function light(objects: Objects, world: World, zone: string, hinted: number): readonly string[] {
  const name = `${NAME}-${zone}`;
  objects.apply(serviceRange(NAME, RANGE));
  const ports = [{ name: 'p', port: PORT, protocol: 'TCP' }];
  const service = objects.apply({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: BEACON_NAMESPACE, name },
    spec: { ipFamilyPolicy: 'RequireDualStack', ports },
  });
  for (const family of FAMILIES) {
    objects.apply({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        namespace: BEACON_NAMESPACE,
        name: `${name}-${family.toLowerCase()}`,
        labels: { [SERVICE_LABEL]: name },
      },
      addressType: family,
      ports: [{ name: 'p', port: ENDPOINT_PORTS[0], protocol: 'TCP' }],
      endpoints: [...world.pods, ...world.remotePods].map(({ ip, nodeName }, at) => ({
        addresses: [ip[family]],
        nodeName,
        conditions: { ready: true },
        hints: { forZones: [{ name: at === hinted ? zone : 'zone-elsewhere' }] },
      })),
    });
  }
  objects.apply(ownNode(zone, world));
  return (service.spec as { clusterIPs: readonly string[] }).clusterIPs;
}

async function askBeacon(world: World, destinationIP: string, wanted: string): Promise<string> {
  const request = { protocol: 'TCP', destinationIP, destinationPort: PORT, timeoutMs: 1500 } as const;
  const outcomes = await world.requests(
    'client',
    Array.from({ length: ASKS }, () => request),
  );
  const others = outcomes.flatMap((one) => {
    if (one.outcome !== 'answered') return one.outcome;
    return one.server === wanted ? [] : one.server;
  });
  return others.length === 0
    ? ''
    : `${destinationIP} is to be answered by ${wanted} alone: ${[...new Set(others)].join(', ')}`;
}

/** What waits to be programmed; "" for nothing. */
function pendingOf(metrics: Metrics): string {
  const waiting = ['service', 'endpoint'].map((what) => {
    const value = valueOf(metrics, `kubeproxy_sync_proxy_rules_${what}_changes_pending`);
    return value === 0 ? '' : `${value} ${what} changes pending`;
  });
  return waiting.filter((text) => text !== '').join(', ');
}

/** Where the proxy's own numbers are not those of the server. */
export function differencesOf(metrics: Metrics, truth: Truth): readonly string[] {
  const numbers: readonly (readonly [what: string, own: number | undefined, wanted: number])[] = [
    ...RESOURCES.map((resource) => {
      const own = valueOf(metrics, 'kubeproxy_source_objects', { resource });
      return [`${resource} known`, own, truth.counts[resource]] as const;
    }),
    ...FAMILIES.map((family) => {
      const own = valueOf(metrics, 'kubeproxy_service_ports', { ip_family: family });
      return [`service ports of ${family}`, own, truth.families[family].ports.length] as const;
    }),
    [
      'health check ports open',
      valueOf(metrics, 'kubeproxy_service_health_ports', { state: 'open' }),
      truth.healthChecks,
    ],
    ['health check ports failed', valueOf(metrics, 'kubeproxy_service_health_ports', { state: 'failed' }) ?? 0, 0],
  ];
  return numbers.flatMap(([what, own, wanted]) =>
    own === wanted ? [] : `${what}: ${own}, but ${wanted} on the server`,
  );
}
