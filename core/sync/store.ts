/**
 * The parsed objects of the cluster, and which Services must be looked at again, per family.
 *
 *   source ──upsert/delete──▶ services        ns/name → Service
 *                             slices          ns/slice → EndpointSlice
 *                             by service      family → ns/name → its slices
 *                                   └──▶ dirty[family] ∋ ns/name ──onDirty(family)──▶ runner
 *
 * Every delivery costs what that one object costs. What does not change this node's picture dirties nothing: the
 * same object again, a slice of a Service that is headless or unknown, another node.
 */
import type { IPFamily, Logger } from '../backend.ts';
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../model/objects.ts';
import type { ObjectSink } from '../source/source.ts';
import { createPendingChanges, type PendingCounts } from './pending-changes.ts';
import { same } from './same.ts';

/** "namespace/name" of a Service. */
export type ServiceKey = string;

/** What the resolver reads. */
export interface ObjectReader {
  service(key: ServiceKey): Service | undefined;
  /** The slices of one family that belong to this Service. */
  slicesOf(family: IPFamily, key: ServiceKey): Iterable<EndpointSlice>;
  serviceKeys(): Iterable<ServiceKey>;
  /** Our own Node object; undefined while it has not come. */
  node(): Node | undefined;
}

export interface Store extends ObjectReader, ObjectSink {
  /** All of them, for one who compares with another source. */
  services(): Iterable<Service>;
  slices(): Iterable<EndpointSlice>;
  serviceCIDRs(): Iterable<ServiceCIDR>;
  /** Our Node object exists; not so when it was deleted, though node() keeps it. */
  nodeExists(): boolean;
  /** Another Node is ours from now on. */
  nodeRenamed(): void;
  isSynced(): boolean;
  /** The Services of this family to look at again; empties the set. Whoever takes them answers for them. */
  takeDirty(family: IPFamily): ReadonlySet<ServiceKey>;
  isDirty(family: IPFamily): boolean;
  /** When the changes were triggered that were taken or are to be taken, see SyncEvent; empties the list. */
  takeTriggerTimes(family: IPFamily): readonly number[];
  pending(family: IPFamily): PendingCounts;
  /** Effective changes since the start. */
  changes(): { readonly services: number; readonly endpoints: number };
}

export interface StoreOptions {
  readonly nodeName: () => string;
  readonly log: Logger;
  /** Called when a family's dirty set gets its first key, and for each family at synced(); never before synced(). */
  readonly onDirty: (family: IPFamily) => void;
  /** Called when our Node object or a ServiceCIDR differs from the last; never before synced(). */
  readonly onNode: () => void;
  /** Milliseconds since the epoch: changes triggered before are not ours to measure. */
  readonly startedAt: number;
}

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const NO_SLICES: readonly EndpointSlice[] = [];

export function createStore(options: StoreOptions): Store {
  const { nodeName, log, onDirty, onNode } = options;
  const services = new Map<ServiceKey, Service>();
  const slices = new Map<string, EndpointSlice>();
  const serviceCIDRs = new Map<string, ServiceCIDR>();
  const byService: Record<IPFamily, Map<ServiceKey, Map<string, EndpointSlice>>> = { IPv4: new Map(), IPv6: new Map() };
  const dirty = { IPv4: createPendingChanges(), IPv6: createPendingChanges() };
  let serviceChanges = 0;
  let endpointChanges = 0;
  let ourNode: Node | undefined;
  let nodeExists = false;
  let synced = false;
  let otherNodeTold = false;

  function markDirty(family: IPFamily, key: ServiceKey, cause: 'service' | 'endpoints'): void {
    const pending = dirty[family];
    const first = pending.size() === 0;
    pending.add(key, cause);
    if (synced && first) onDirty(family);
  }

  /** Mark the Service in each family in which it was or is served; headless ones are served in none. */
  function markService(key: ServiceKey, before: Service | undefined, after: Service | undefined): void {
    serviceChanges++;
    for (const family of FAMILIES) {
      if (before?.families[family] === undefined && after?.families[family] === undefined) continue;
      markDirty(family, key, 'service');
    }
  }

  /** False when nobody is served by it. */
  function markSlice(slice: EndpointSlice): boolean {
    const owner = ownerOf(slice);
    // A Service that comes later is dirty by itself then, and finds its slices here.
    if (services.get(owner)?.families[slice.family] === undefined) return false;
    markDirty(slice.family, owner, 'endpoints');
    return true;
  }

  function detach(key: string, slice: EndpointSlice): void {
    const owners = byService[slice.family];
    const siblings = owners.get(ownerOf(slice));
    siblings?.delete(key);
    if (siblings?.size === 0) owners.delete(ownerOf(slice));
  }

  function attach(key: string, slice: EndpointSlice): void {
    const owners = byService[slice.family];
    const siblings = owners.get(ownerOf(slice));
    if (siblings) siblings.set(key, slice);
    else owners.set(ownerOf(slice), new Map([[key, slice]]));
  }

  return {
    upsertService(service) {
      const key = `${service.namespace}/${service.name}`;
      const before = services.get(key);
      if (same(before, service)) return;
      services.set(key, service);
      markService(key, before, service);
    },

    deleteService(namespace, name) {
      const key = `${namespace}/${name}`;
      const before = services.get(key);
      if (services.delete(key)) markService(key, before, undefined);
    },

    upsertEndpointSlice(slice) {
      const key = `${slice.namespace}/${slice.name}`;
      const before = slices.get(key);
      if (before && same({ ...before, triggerTimeMs: slice.triggerTimeMs }, slice)) return;
      endpointChanges++;
      if (before) {
        detach(key, before);
        // Relabelled to another Service, or of another family: the one that it left must let go of its endpoints.
        if (ownerOf(before) !== ownerOf(slice) || before.family !== slice.family) markSlice(before);
      }
      slices.set(key, slice);
      attach(key, slice);
      const served = markSlice(slice);
      if (served && slice.triggerTimeMs > options.startedAt && slice.triggerTimeMs !== before?.triggerTimeMs) {
        dirty[slice.family].triggered(ownerOf(slice), slice.triggerTimeMs);
      }
    },

    deleteEndpointSlice(namespace, name) {
      const key = `${namespace}/${name}`;
      const before = slices.get(key);
      if (!before) return;
      endpointChanges++;
      slices.delete(key);
      detach(key, before);
      markSlice(before);
      // What else this Service was measured for may have been waiting for endpoints that are gone.
      dirty[before.family].forgetTriggers(ownerOf(before));
    },

    upsertNode(node) {
      if (node.name !== nodeName() && !ourNode && !otherNodeTold) {
        otherNodeTold = true;
        log.info('A Node object of another name is not this node; see --hostname-override', {
          name: node.name,
          nodeName: nodeName(),
        });
      }
      if (node.name !== nodeName()) return;
      nodeExists = true;
      if (same(ourNode, node)) return;
      if (ourNode && !same(ourNode.ips, node.ips)) {
        log.info("This node's IP addresses changed", { node: node.name, before: ourNode.ips, now: node.ips });
      }
      ourNode = node;
      if (synced) onNode();
    },

    deleteNode(name) {
      if (name !== nodeName() || !ourNode || !nodeExists) return;
      nodeExists = false;
      // The pods here are still running and still need their zone and pod CIDRs: a Node that is deleted comes back.
      log.info('This node was deleted; its last known zone, addresses and pod CIDRs stay in use', { node: name });
    },

    upsertServiceCIDR(range) {
      if (same(serviceCIDRs.get(range.name), range)) return;
      serviceCIDRs.set(range.name, range);
      if (synced) onNode();
    },

    deleteServiceCIDR(name) {
      if (serviceCIDRs.delete(name) && synced) onNode();
    },

    synced() {
      if (synced) return;
      synced = true;
      for (const family of FAMILIES) onDirty(family);
    },

    service: (key) => services.get(key),
    slicesOf: (family, key) => byService[family].get(key)?.values() ?? NO_SLICES,
    serviceKeys: () => services.keys(),
    services: () => services.values(),
    slices: () => slices.values(),
    serviceCIDRs: () => serviceCIDRs.values(),
    node: () => ourNode,
    nodeExists: () => nodeExists,
    nodeRenamed() {
      ourNode = undefined;
      nodeExists = false;
      otherNodeTold = false;
    },
    isSynced: () => synced,
    isDirty: (family) => dirty[family].size() > 0,
    takeDirty: (family) => dirty[family].take(),
    takeTriggerTimes: (family) => dirty[family].takeTriggers(),
    pending: (family) => dirty[family].counts(),
    changes: () => ({ services: serviceChanges, endpoints: endpointChanges }),
  };
}

function ownerOf(slice: EndpointSlice): ServiceKey {
  return `${slice.namespace}/${slice.serviceName}`;
}
