/**
 * When has the proxy caught up? A last change is made in every resource, and its effect is looked for where it counts:
 *
 *   Service, EndpointSlices   its addresses of both families are answered, and by the endpoint that it has now
 *   Node                      the health server says whether load balancers may use it
 *   ServiceCIDR               the number that the proxy knows
 *
 * What came before on the same streams has come, too, since each is in order. Nothing waits any more, say the metrics.
 * None of it makes the proxy look at anything else again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../apiserver/api/schema.ts';
import type { Objects } from '../apiserver/objects.ts';
import type { World } from '../netns/world.ts';
import { NODE_NAME, type Pod } from '../netns/world-topology.ts';
import { valueOf } from '../unit/observe/exposition.ts';
import type { Daemon, Metrics } from './daemon.ts';
import { FAMILIES, ownNode, serviceRange } from './places.ts';
import { RESOURCES } from './plan.ts';
import { ENDPOINT_PORTS, SERVICE_LABEL } from './random-slice.ts';
import type { Truth } from './truth.ts';

export interface SettleOptions {
  readonly objects: Objects;
  readonly world: World;
  readonly daemon: Daemon;
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
const GOING_AWAY = { key: 'ToBeDeletedByClusterAutoscaler', value: '', effect: 'NoSchedule' };
const ASKS = 3;
/** Pauses between attempts of the proxy grow to half a minute; a request without an answer takes a whole one. */
const LIMIT_MS = 150_000;
const POLL_MS = 100;

/** Resolves with how long it took. Rejects if the proxy does not get there. */
export async function settle(options: SettleOptions): Promise<number> {
  const { objects, world, daemon, now, signal } = options;
  const begin = now();
  const until = async (what: string, holds: () => Promise<string>): Promise<void> => {
    for (let problem = await holds(); problem !== ''; problem = await holds()) {
      if (now() - begin > LIMIT_MS) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}: ${problem}`);
      await sleep(POLL_MS, undefined, { signal });
    }
  };
  // Twice, so that the second time is seen to differ from the first.
  for (const [pod, eligible] of [
    [world.pods[1]!, false],
    [world.pods[2]!, true],
  ] as const) {
    const clusterIPs = light(objects, world, pod, eligible);
    for (const ip of clusterIPs) await until('the last changes are in force', () => askBeacon(world, ip, pod.name));
    await until('the last change of the Node is known', async () => {
      const said = await daemon.nodeEligible();
      return said === eligible ? '' : `the node is ${eligible ? '' : 'not '}eligible, but the proxy says ${said}`;
    });
  }
  await until('nothing waits', async () => {
    const metrics = await daemon.metrics();
    if (metrics === undefined) return 'its metrics cannot be read';
    return pendingOf(metrics) || differencesOf(metrics, await options.truth()).join('; ');
  });
  return now() - begin;
}

/** Returns the ClusterIPs that this pod alone is to answer. */
function light(objects: Objects, world: World, pod: Pod, eligible: boolean): readonly string[] {
  const ports = [{ name: 'p', port: PORT, protocol: 'TCP' }];
  const service = objects.apply({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: BEACON_NAMESPACE, name: NAME },
    spec: { ipFamilyPolicy: 'RequireDualStack', ports },
  });
  for (const family of FAMILIES) {
    objects.apply({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        namespace: BEACON_NAMESPACE,
        name: `${NAME}-${family.toLowerCase()}`,
        labels: { [SERVICE_LABEL]: NAME },
      },
      addressType: family,
      ports: [{ name: 'p', port: ENDPOINT_PORTS[0], protocol: 'TCP' }],
      endpoints: [{ addresses: [pod.ip[family]], nodeName: pod.nodeName, conditions: { ready: true } }],
    });
  }
  if (eligible) objects.apply(serviceRange(NAME, RANGE));
  const node = objects.get('Node', '', NODE_NAME) ?? ownNode('', world);
  objects.apply({ ...node, spec: { ...(node.spec as JsonObject), taints: eligible ? [] : [GOING_AWAY] } });
  return (service.spec as { clusterIPs: readonly string[] }).clusterIPs;
}

async function askBeacon(world: World, destinationIP: string, wanted: string): Promise<string> {
  const request = { protocol: 'TCP', destinationIP, destinationPort: PORT, timeoutMs: 1500 } as const;
  const outcomes = await world.requests(
    'client',
    Array.from({ length: ASKS }, () => request),
  );
  const found = outcomes.map((one) => (one.outcome === 'answered' ? one.server : one.outcome));
  const others = new Set(found.filter((who) => who !== wanted));
  return others.size === 0 ? '' : `${destinationIP} is to be answered by ${wanted}, not ${[...others].join(', ')}`;
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
