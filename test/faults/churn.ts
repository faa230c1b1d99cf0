/**
 * A cluster that lives: seeded random writes such as its users and controllers make, one at a time. It also counts how
 * often each object stopped to be there for a proxy, because a source may delete it that often and no more.
 */
import type { Clock } from '../../core/backend.ts';
import type { JsonObject } from '../apiserver/api/schema.ts';
import type { Objects } from '../apiserver/objects.ts';
import type { Random } from '../unit/model/random.ts';
import type { Kind } from './recorder.ts';
import { isVisible, visibleKeys } from './truth.ts';

export interface Churn {
  /** One random write. */
  step(): void;
  /** A write every so many milliseconds, give or take, until `stop`. */
  start(clock: Clock, everyMs: number): void;
  stop(): void;
  /** Make or replace an object. */
  apply(object: JsonObject): void;
  remove(kind: Kind, namespace: string, name: string): void;
  removeNamespace(name: string): void;
  /** Do something to the server that may take objects away. */
  around(action: () => Promise<void>): Promise<void>;
  /** By "Kind key". */
  readonly departures: ReadonlyMap<string, number>;
  writes(): number;
}

const NAMESPACES = ['shop', 'bank', 'lab'];
const ZONES = ['zone-a', 'zone-b'];
const NAMES = 8;

export function createChurn(objects: Objects, random: Random, nodeName: string): Churn {
  const departures = new Map<string, number>();
  let writes = 0;
  let cancel = (): void => {};
  let serial = 0;

  const seen = (kind: Kind, namespace: string, name: string): boolean => {
    const object = objects.get(kind, namespace, name);
    return object !== undefined && isVisible(kind, object, nodeName);
  };
  const departed = (key: string): void => {
    departures.set(key, (departures.get(key) ?? 0) + 1);
  };
  const watching = (kind: Kind, namespace: string, name: string, write: () => void): void => {
    const before = seen(kind, namespace, name);
    write();
    writes++;
    if (before && !seen(kind, namespace, name)) departed(`${kind} ${namespace === '' ? name : `${namespace}/${name}`}`);
  };
  const exists = (kind: Kind, namespace: string, name: string) => objects.get(kind, namespace, name) !== undefined;

  const apply = (object: JsonObject): void => {
    const { namespace = '', name } = object.metadata as { namespace?: string; name: string };
    watching(object.kind as Kind, namespace, name, () => void objects.apply(object));
  };
  const remove = (kind: Kind, namespace: string, name: string): void => {
    watching(kind, namespace, name, () => objects.delete(kind, namespace, name));
  };

  /** Random writes; each says what it is about by its name. */
  const place = () => ({ namespace: random.pick(NAMESPACES), name: `s${random.below(NAMES)}` });
  const deletions = {
    service() {
      const { namespace, name } = place();
      if (exists('Service', namespace, name)) remove('Service', namespace, name);
      else apply(randomService(namespace, name, random, {}));
    },
    slice() {
      const { namespace, name } = place();
      if (exists('EndpointSlice', namespace, name)) remove('EndpointSlice', namespace, name);
      else apply(randomSlice(namespace, name, random, ++serial));
    },
    node() {
      if (exists('Node', '', nodeName)) remove('Node', '', nodeName);
      apply(nodeObject(nodeName, random.pick(ZONES), 1 + random.below(9)));
    },
    range() {
      const name = `more-${random.below(4)}`;
      if (exists('ServiceCIDR', '', name)) remove('ServiceCIDR', '', name);
      else apply(rangeObject(name, 97 + random.below(100)));
    },
    recreated() {
      const { namespace, name } = place();
      if (exists('Service', namespace, name)) remove('Service', namespace, name);
      apply(randomService(namespace, name, random, { headless: random.chance(0.5) }));
    },
  };
  const changes = {
    service() {
      const { namespace, name } = place();
      const before = objects.get('Service', namespace, name);
      const { type, clusterIP } = (before?.spec ?? {}) as { type?: string; clusterIP?: string };
      const otherProxy = random.chance(0.2);
      // What the API refuses to change without a new object is left as it is.
      const fixed = before === undefined ? {} : { headless: clusterIP === 'None', type: type ?? 'ClusterIP' };
      apply(randomService(namespace, name, random, { ...fixed, otherProxy }));
    },
    slice() {
      const { namespace, name } = place();
      const family = (objects.get('EndpointSlice', namespace, name)?.addressType ?? 'IPv4') as 'IPv4' | 'IPv6';
      apply(randomSlice(namespace, name, random, ++serial, family));
    },
    ourNode: () => apply(nodeObject(nodeName, random.pick(ZONES), 1 + random.below(9))),
    otherNode: () => apply(nodeObject(`other-${random.below(3)}`, random.pick(ZONES), 1 + random.below(9))),
  };

  function step(): void {
    const dice = random.below(100);
    if (dice < 40) changes.slice();
    else if (dice < 65) changes.service();
    else if (dice < 75) deletions.slice();
    else if (dice < 85) deletions.service();
    else if (dice < 90) deletions.recreated();
    else if (dice < 93) changes.ourNode();
    else if (dice < 96) changes.otherNode();
    else if (dice < 98) deletions.range();
    else deletions.node();
  }

  return {
    step,
    start(clock, everyMs) {
      const next = (): void => {
        cancel = clock.after(everyMs / 2 + random.below(everyMs), () => {
          step();
          next();
        });
      };
      cancel();
      next();
    },
    stop: () => cancel(),
    apply,
    remove,
    removeNamespace(name) {
      const before = visibleKeys(objects, nodeName);
      objects.delete('Namespace', '', name);
      writes++;
      const after = visibleKeys(objects, nodeName);
      for (const key of before) if (!after.has(key)) departed(key);
    },
    async around(action) {
      const before = visibleKeys(objects, nodeName);
      await action();
      const after = visibleKeys(objects, nodeName);
      for (const key of before) if (!after.has(key)) departed(key);
    },
    departures,
    writes: () => writes,
  };
}

export function nodeObject(name: string, zone: string, last: number): JsonObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'topology.kubernetes.io/zone': zone } },
    spec: { podCIDRs: ['10.244.1.0/24'] },
    status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${last}` }] },
  };
}

export function rangeObject(name: string, second: number): JsonObject {
  const metadata = { name };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata,
    spec: { cidrs: [`10.${second}.0.0/24`] },
  };
}

export function serviceObject(namespace: string, name: string, port = 80): JsonObject {
  return { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name }, spec: { ports: [{ port }] } };
}

export function sliceObject(namespace: string, name: string, address: number, ready = true): JsonObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
    endpoints: [{ addresses: [podIP(address)], conditions: { ready } }],
  };
}

function podIP(number: number): string {
  return `10.${1 + ((number >> 16) & 63)}.${(number >> 8) & 255}.${1 + (number % 250)}`;
}

function randomService(
  namespace: string,
  name: string,
  random: Random,
  how: { readonly headless?: boolean; readonly type?: string; readonly otherProxy?: boolean },
): JsonObject {
  const { headless = false, otherProxy = false } = how;
  const type = headless
    ? 'ClusterIP'
    : (how.type ?? random.pick(['ClusterIP', 'ClusterIP', 'NodePort', 'ExternalName']));
  const labels = otherProxy ? { 'service.kubernetes.io/service-proxy-name': 'another' } : { app: name };
  const metadata = { namespace, name, labels };
  const envelope = { apiVersion: 'v1', kind: 'Service', metadata };
  if (type === 'ExternalName') return { ...envelope, spec: { type, externalName: `host-${random.below(9)}.example` } };
  const ports = Array.from({ length: 1 + random.below(3) }, (_, index) => ({
    name: `port-${index}`,
    port: 1000 * (index + 1) + random.below(100),
    protocol: random.pick(['TCP', 'UDP', 'SCTP']),
  }));
  return { ...envelope, spec: { type, ports, ...(headless ? { clusterIP: 'None' } : {}) } };
}

function randomSlice(
  namespace: string,
  name: string,
  random: Random,
  serial: number,
  family: 'IPv4' | 'IPv6' = random.chance(0.8) ? 'IPv4' : 'IPv6',
): JsonObject {
  const labels: Record<string, string> = {
    'kubernetes.io/service-name': random.chance(0.8) ? name : `s${random.below(NAMES)}`,
  };
  if (random.chance(0.1)) labels['service.kubernetes.io/headless'] = '';
  const addressOf = (number: number) =>
    family === 'IPv4' ? podIP(number) : `fd00:10:244::${(number & 0xffff).toString(16)}`;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name, labels },
    addressType: family,
    ports: [{ name: 'port-0', port: 8000 + random.below(3), protocol: 'TCP' }],
    endpoints: Array.from({ length: random.below(5) }, (_, index) => ({
      addresses: [addressOf(serial * 8 + index + 1)],
      conditions: { ready: random.chance(0.8) },
      nodeName: `other-${random.below(3)}`,
      zone: random.pick(ZONES),
    })),
  };
}
