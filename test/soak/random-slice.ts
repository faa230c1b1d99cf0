/** A random EndpointSlice, and what its controller might write next: endpoints that flap, other ports, other owners. */
import type { IPFamily } from '../../core/backend.ts';
import type { JsonObject } from '../apiserver/api/schema.ts';
import type { KubeObject } from '../apiserver/kinds/kind.ts';
import { asService } from '../apiserver/kinds/service-types.ts';
import { NODE_NAME, REMOTE_NODE_NAME } from '../netns/world-topology.ts';
import type { Random } from '../unit/model/random.ts';
import { type Draw, isGhost, type Place, ZONES } from './places.ts';

/** What servers in every pod listen on. */
export const ENDPOINT_PORTS = [8080, 8081] as const;
/** A family of a Service has so many slices at most. */
export const SLICES = 3;
export const HEADLESS_LABEL = 'service.kubernetes.io/headless';
export const SERVICE_LABEL = 'kubernetes.io/service-name';

export function sliceName({ name }: Place, family: IPFamily, part: number): string {
  return `${name}-${family.toLowerCase()}-${part}`;
}

/** `service` as it is now: the slice has its ports. */
export function randomSlice(
  place: Place,
  family: IPFamily,
  part: number,
  service: KubeObject | undefined,
  draw: Draw,
): JsonObject {
  const { random } = draw;
  const wanted = service === undefined ? [] : (asService(service).spec.ports ?? []);
  const ports = (wanted.length > 0 ? wanted : [{ name: 'p0', protocol: 'TCP' }])
    .filter(() => random.chance(0.95))
    .map(({ name = '', protocol = 'TCP' }) => ({ name, protocol, port: random.pick(ENDPOINT_PORTS) }));
  const hints = random.below(10);
  const endpoints = random
    .shuffle(candidates(place, family, draw))
    .slice(0, random.below(6))
    .map((endpoint) => ({ ...endpoint, conditions: randomConditions(random), ...randomHints(hints, random) }));
  return slice(place, sliceName(place, family, part), { [SERVICE_LABEL]: place.name }, draw, {
    addressType: family,
    ports,
    endpoints,
  });
}

/** One endpoint comes, goes, or changes its condition. */
export function withFlap(place: Place, before: KubeObject, draw: Draw): JsonObject {
  const { random } = draw;
  const { addressType, ports, endpoints } = contentOf(before);
  const list = [...endpoints];
  const at = random.below(Math.max(1, list.length));
  const dice = random.below(10);
  if (dice < 6 && list[at] !== undefined) list[at] = { ...list[at], conditions: randomConditions(random) };
  else if (dice < 8) list.splice(at, 1);
  else list.push({ ...random.pick(candidates(place, addressType, draw)), conditions: randomConditions(random) });
  const { name = '', labels = {} } = before.metadata;
  return slice(place, name, labels, draw, { addressType, ports, endpoints: list });
}

/** It belongs to this Service from now on, or to a headless one. */
export function withOtherOwner(place: Place, before: KubeObject, owner: string, draw: Draw): JsonObject {
  const headless = draw.random.chance(0.3) ? { [HEADLESS_LABEL]: '' } : {};
  return slice(place, before.metadata.name ?? '', { [SERVICE_LABEL]: owner, ...headless }, draw, contentOf(before));
}

interface Content {
  readonly addressType: IPFamily;
  readonly ports: readonly JsonObject[];
  readonly endpoints: readonly JsonObject[];
}

function contentOf(object: KubeObject): Content {
  const { addressType, ports, endpoints } = object as unknown as { [Field in keyof Content]: Content[Field] | null };
  return { addressType: addressType ?? 'IPv4', ports: ports ?? [], endpoints: endpoints ?? [] };
}

function slice({ namespace }: Place, name: string, labels: JsonObject, { now }: Draw, content: Content): JsonObject {
  // So that the proxy can say how long the change took to reach the kernel.
  const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': now().toISOString() };
  const metadata = { namespace, name, labels, annotations };
  return { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata, ...content };
}

function candidates(place: Place, family: IPFamily, { addresses }: Draw): readonly JsonObject[] {
  if (!isGhost(place)) {
    return [...addresses.pods, ...addresses.remotePods].map(({ ip, nodeName }) => {
      return { addresses: [ip[family]], nodeName, zone: nodeName === NODE_NAME ? ZONES[0] : ZONES[1] };
    });
  }
  return Array.from({ length: 12 }, (_, at) => {
    const number = place.index * 12 + at;
    const ip =
      family === 'IPv4'
        ? `10.244.${3 + (place.index % 200)}.${1 + (number % 250)}`
        : `fd00:244:3::${(1 + number).toString(16)}`;
    return {
      addresses: [ip],
      nodeName: at % 2 === 0 ? REMOTE_NODE_NAME : `gone-${at}`,
      zone: ZONES[at % ZONES.length],
    };
  });
}

function randomConditions(random: Random): JsonObject {
  const dice = random.below(20);
  if (dice < 12) return { ready: true, serving: true, terminating: false };
  if (dice < 13) return {};
  if (dice < 16) return { ready: false, serving: true, terminating: true };
  if (dice < 18) return { ready: false, serving: false, terminating: false };
  if (dice < 19) return { ready: false, serving: false, terminating: true };
  return { ready: false, serving: true, terminating: false };
}

/** All of a slice by zones, all by nodes, or none. */
function randomHints(kind: number, random: Random): JsonObject {
  if (kind < 2) return { hints: { forZones: [{ name: random.pick(ZONES) }] } };
  if (kind === 2) return { hints: { forNodes: [{ name: random.pick([NODE_NAME, REMOTE_NODE_NAME]) }] } };
  return {};
}
