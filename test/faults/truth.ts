/**
 * What the sink must hold, derived from the server's objects in two ways: by the program's own parsers, which gives
 * whole values, and by a few raw fields read here, so that a fault of a parser does not hide on both sides.
 */
import { isDeepStrictEqual } from 'node:util';
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../../core/model/objects.ts';
import { parseEndpointSlice } from '../../core/model/parse-endpointslice.ts';
import { parseNode } from '../../core/model/parse-node.ts';
import { parseService } from '../../core/model/parse-service.ts';
import { parseServiceCIDR } from '../../core/model/parse-servicecidr.ts';
import type { Store } from '../../core/sync/store.ts';
import type { KubeObject } from '../apiserver/kinds/kind.ts';
import type { Objects } from '../apiserver/objects.ts';
import type { Kind, State } from './recorder.ts';

export const KINDS: readonly Kind[] = ['Service', 'EndpointSlice', 'Node', 'ServiceCIDR'];

interface RawService {
  readonly spec: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly ports?: readonly { name?: string; port: number; nodePort?: number; protocol?: string }[];
  };
}

interface RawSlice {
  readonly addressType: string;
  readonly ports?: readonly { port?: number }[];
  readonly endpoints?: readonly { addresses: readonly string[]; conditions?: { ready?: boolean } }[];
}

interface RawNode {
  readonly spec: { readonly podCIDRs?: readonly string[] };
  readonly status: { readonly addresses?: readonly { address: string }[] };
}

export function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined ? (metadata.name ?? '') : `${metadata.namespace}/${metadata.name ?? ''}`;
}

/** Whether this node's proxy has anything to do with the object. */
export function isVisible(kind: Kind, object: KubeObject, nodeName: string): boolean {
  const { labels = {}, name } = object.metadata;
  if (kind === 'Node') return name === nodeName;
  if (kind === 'ServiceCIDR') return true;
  if (kind === 'EndpointSlice') return !('service.kubernetes.io/headless' in labels);
  const { spec } = object as unknown as RawService;
  const ours = !('service.kubernetes.io/service-proxy-name' in labels);
  return ours && spec.clusterIP !== 'None' && spec.type !== 'ExternalName';
}

/** "Kind key" of every visible object. */
export function visibleKeys(objects: Objects, nodeName: string): Set<string> {
  return new Set(
    KINDS.flatMap((kind) =>
      objects
        .list(kind)
        .filter((object) => isVisible(kind, object, nodeName))
        .map((object) => `${kind} ${keyOf(object)}`),
    ),
  );
}

/** What is wrong with the sink, one line each, or with the store that it fills; empty when all is as on the server. */
export function differences(objects: Objects, state: State, store: Store, nodeName: string): readonly string[] {
  const found: string[] = [];
  for (const kind of KINDS) {
    const held: ReadonlyMap<string, unknown> = state[kind];
    const there = objects.list(kind).filter((object) => isVisible(kind, object, nodeName));
    const keys = new Set<string>();
    for (const object of there) {
      const key = keyOf(object);
      keys.add(key);
      const value = held.get(key);
      if (value === undefined) found.push(`${kind} ${key} is missing`);
      else if (!isDeepStrictEqual(value, parse(kind, object))) found.push(`${kind} ${key} is outdated`);
      else if (!isDeepStrictEqual(factsOfValue(kind, value), factsOfObject(kind, object))) {
        found.push(`${kind} ${key} was parsed into something else`);
      }
    }
    for (const key of held.keys()) if (!keys.has(key)) found.push(`${kind} ${key} should be gone`);
  }
  return found.length > 0 ? found : storeDifferences(state, store, nodeName);
}

function storeDifferences(state: State, store: Store, nodeName: string): readonly string[] {
  const byKey = <T extends { name: string; namespace?: string }>(values: Iterable<T>) =>
    new Map([...values].map((value) => [value.namespace ? `${value.namespace}/${value.name}` : value.name, value]));
  const found: string[] = [];
  // A slice whose trigger time alone is new is not taken over by the store: it only matters for measuring.
  const untimed = (slices: Iterable<EndpointSlice>) =>
    byKey([...slices].map((slice) => ({ ...slice, triggerTimeMs: 0 })));
  if (!isDeepStrictEqual(byKey(store.services()), state.Service)) found.push('the store holds other Services');
  if (!isDeepStrictEqual(untimed(store.slices()), untimed(state.EndpointSlice.values()))) {
    found.push('the store holds other EndpointSlices');
  }
  if (!isDeepStrictEqual(byKey(store.serviceCIDRs()), state.ServiceCIDR)) found.push('the store holds other ranges');
  const node = state.Node.get(nodeName);
  if (store.nodeExists() !== (node !== undefined)) found.push('the store is wrong about whether the Node exists');
  else if (node !== undefined && !isDeepStrictEqual(store.node(), node)) found.push('the store holds another Node');
  return found;
}

function parse(kind: Kind, object: KubeObject): unknown {
  if (kind === 'Service') return parseService(object).value;
  if (kind === 'EndpointSlice') return parseEndpointSlice(object).value;
  return kind === 'Node' ? parseNode(object).value : parseServiceCIDR(object).value;
}

function factsOfObject(kind: Kind, object: KubeObject): unknown {
  const { uid, labels = {} } = object.metadata;
  if (kind === 'Service') {
    const { spec } = object as unknown as RawService;
    const ports = (spec.ports ?? []).map((port) => [port.name ?? '', port.port, port.nodePort ?? 0, port.protocol]);
    return { uid, addresses: [...(spec.clusterIPs ?? [])].sort(), ports };
  }
  if (kind === 'EndpointSlice') {
    const slice = object as unknown as RawSlice;
    return {
      service: labels['kubernetes.io/service-name'],
      family: slice.addressType,
      ports: (slice.ports ?? []).map(({ port }) => port),
      endpoints: (slice.endpoints ?? []).map(({ addresses, conditions }) => [addresses[0], conditions?.ready ?? true]),
    };
  }
  if (kind === 'ServiceCIDR') return (object.spec as { cidrs?: unknown }).cidrs;
  const { spec, status } = object as unknown as RawNode;
  const zone = labels['topology.kubernetes.io/zone'] ?? '';
  return { uid, zone, ips: (status.addresses ?? []).map(({ address }) => address), podCIDRs: spec.podCIDRs ?? [] };
}

function factsOfValue(kind: Kind, value: unknown): unknown {
  if (kind === 'Service') {
    const { uid, families, ports } = value as Service;
    const addresses = Object.values(families).map(({ clusterIP }) => clusterIP);
    return {
      uid,
      addresses: addresses.sort(),
      ports: ports.map(({ name, port, nodePort, protocol }) => [name, port, nodePort, protocol]),
    };
  }
  if (kind === 'EndpointSlice') {
    const { serviceName, family, ports, endpoints } = value as EndpointSlice;
    return {
      service: serviceName,
      family,
      ports: ports.map(({ port }) => port),
      endpoints: endpoints.map(({ ip, ready }) => [ip, ready]),
    };
  }
  if (kind === 'ServiceCIDR') return (value as ServiceCIDR).cidrs;
  const { uid, zone, ips, podCIDRs } = value as Node;
  return { uid, zone, ips, podCIDRs };
}
