/** A random Service: every type, policy, family, protocol and kind of address that a proxy has to do with. Pure. */
import type { IPFamily } from '../../core/backend.ts';
import type { JsonObject } from '../apiserver/api/schema.ts';
import type { KubeObject } from '../apiserver/kinds/kind.ts';
import { asService, type ServicePort, type ServiceSpec } from '../apiserver/kinds/service-types.ts';
import { POD_CIDR } from '../netns/world-topology.ts';
import type { Random } from '../unit/model/random.ts';
import { type Draw, isContested, isGhost, type Place } from './places.ts';

const TYPES = ['ClusterIP', 'ClusterIP', 'ClusterIP', 'NodePort', 'NodePort', 'LoadBalancer', 'LoadBalancer'] as const;
const AFFINITY_SECONDS = [1, 10, 60, 600, 3600, 10_800, 86_400] as const;
const OTHER_PROXY = 'service.kubernetes.io/service-proxy-name';
const SHARED_PORT = 80;
const SHARED_IP: Readonly<Record<IPFamily, string>> = { IPv4: '203.0.113.253', IPv6: '2001:db8:113::ffff' };

/** What the API refuses to change stays as it was `before`. */
export function randomService(place: Place, before: KubeObject | undefined, draw: Draw): JsonObject {
  const { random } = draw;
  const { namespace, name } = place;
  const old = before === undefined ? undefined : asService(before).spec;
  const hadAddress = old !== undefined && old.type !== 'ExternalName';
  const headless = hadAddress ? old.clusterIP === 'None' : random.chance(0.04);
  const labels = random.chance(0.03) ? { [OTHER_PROXY]: 'another' } : { app: name };
  const envelope = { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name, labels } };
  if (!headless && random.chance(0.03)) {
    const spec = { type: 'ExternalName', externalName: `${name}.example.org` };
    return { ...envelope, spec, status: { loadBalancer: {} } };
  }

  const type = headless ? 'ClusterIP' : random.pick(TYPES);
  const families = randomFamilies(hadAddress ? old.ipFamilies?.[0] : undefined, random);
  const externalIPs = headless ? [] : randomExternalIPs(place, families, random);
  const external = type !== 'ClusterIP' || externalIPs.length > 0;
  const spec = {
    type,
    ...(headless ? { clusterIP: 'None' } : {}),
    ipFamilyPolicy: families.length === 2 ? 'RequireDualStack' : 'SingleStack',
    ipFamilies: families,
    ports: randomPorts(place, random),
    externalIPs,
    internalTrafficPolicy: random.pick(['Cluster', 'Cluster', 'Cluster', 'Local']),
    ...(external ? { externalTrafficPolicy: random.pick(['Cluster', 'Local']) } : {}),
    ...randomAffinity(random),
    ...(type === 'LoadBalancer' ? loadBalancerFields(families, draw) : {}),
    ...(random.chance(0.1) ? { trafficDistribution: 'PreferClose' } : {}),
  };
  const loadBalancer = type === 'LoadBalancer' ? randomLoadBalancer(place, families, random) : {};
  return { ...envelope, spec, status: { loadBalancer } };
}

/** The load balancer's controller found another answer; everything else stays. */
export function withOtherStatus(place: Place, before: KubeObject, random: Random): JsonObject {
  const { spec, metadata } = asService(before);
  const { namespace, name, labels = {} } = metadata;
  const loadBalancer = spec.type === 'LoadBalancer' ? randomLoadBalancer(place, spec.ipFamilies ?? [], random) : {};
  const envelope = { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name, labels } };
  return { ...envelope, spec, status: { loadBalancer } };
}

/** The first one cannot change. */
function randomFamilies(first: IPFamily | undefined, random: Random): readonly IPFamily[] {
  const primary = first ?? (random.chance(0.7) ? 'IPv4' : 'IPv6');
  return random.chance(0.6) ? [primary, primary === 'IPv4' ? 'IPv6' : 'IPv4'] : [primary];
}

function randomPorts(place: Place, random: Random): readonly ServicePort[] {
  const first = 1000 + 10 * place.index;
  // Kernels without SCTP translate it, but cannot speak it.
  const protocols = ['TCP', 'TCP', 'TCP', 'UDP', 'UDP', isGhost(place) ? 'SCTP' : 'TCP'];
  const ports = Array.from({ length: 1 + random.below(3) }, (_, at): ServicePort => {
    return { name: `p${at}`, port: first + at, protocol: random.pick(protocols) };
  });
  // As DNS has it: one number, two protocols.
  if (random.chance(0.2))
    ports.push({ name: 'twin', port: first, protocol: ports[0]!.protocol === 'UDP' ? 'TCP' : 'UDP' });
  if (isContested(place)) ports.push({ name: 'shared', port: SHARED_PORT, protocol: 'TCP' });
  return ports;
}

function randomExternalIPs(place: Place, families: readonly IPFamily[], random: Random): readonly string[] {
  const own = random.chance(0.25) ? families.map((family) => outsideIP(family, place, 0)) : [];
  const shared = isContested(place) && random.chance(0.7) ? families.map((family) => SHARED_IP[family]) : [];
  return [...own, ...shared];
}

function randomAffinity(random: Random): Partial<ServiceSpec> {
  if (random.chance(0.75)) return { sessionAffinity: 'None' };
  const clientIP = { timeoutSeconds: random.pick(AFFINITY_SECONDS) };
  return { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP } };
}

function loadBalancerFields(families: readonly IPFamily[], { random, addresses }: Draw): Partial<ServiceSpec> {
  const allowed = (family: IPFamily): readonly string[] => {
    const four = family === 'IPv4';
    const client = `${addresses.clientIPs[family][0]}/${four ? 32 : 128}`;
    const elsewhere = four ? '198.51.100.0/24' : '2001:db8:100::/64';
    const nodes = four ? '192.168.50.0/24' : 'fd00:50::/64';
    return random.pick([[client], [elsewhere], [client, POD_CIDR[family]], [elsewhere, nodes]]);
  };
  return {
    ...(random.chance(0.35) ? { loadBalancerSourceRanges: families.flatMap(allowed) } : {}),
    ...(random.chance(0.15) ? { allocateLoadBalancerNodePorts: false } : {}),
  };
}

function randomLoadBalancer(place: Place, families: readonly IPFamily[], random: Random): JsonObject {
  if (random.chance(0.15)) return {};
  if (random.chance(0.08)) return { ingress: [{ hostname: `lb-${place.index}.example.org` }] };
  const ipMode = random.chance(0.15) ? 'Proxy' : 'VIP';
  return { ingress: families.map((family) => ({ ip: outsideIP(family, place, 1 + random.below(2)), ipMode })) };
}

/** Another Service may have the same address; their ports differ. */
function outsideIP(family: IPFamily, { index }: Place, kind: number): string {
  const number = index * 3 + kind;
  return family === 'IPv4' ? `203.0.113.${1 + (number % 250)}` : `2001:db8:113::${(1 + number).toString(16)}`;
}
