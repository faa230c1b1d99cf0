/**
 * Takes the objects of the cluster from one source, and live from another one: the first goes on delivering until the
 * second has its first complete state, which then replaces what the store holds. Nothing is forgotten in between.
 *
 *   source A ──▶ sink A ──▶ store                     (until B is complete)
 *   source B ──▶ sink B ──▶ held back ──synced()──▶ store: what B has, minus what only A had;  from now on directly
 */
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../model/objects.ts';
import type { ObjectSink } from '../source/source.ts';
import type { Store } from './store.ts';

export interface SourceSwitch {
  /**
   * A sink for the next source. `onTakeover` is called before its state replaces what the store holds, `onLive` after;
   * of the first one only `onLive`, at synced().
   */
  open(onLive: () => void, onTakeover?: () => void): ObjectSink;
}

export function createSourceSwitch(store: Store): SourceSwitch {
  let live: ObjectSink | undefined;
  let opened = 0;
  /** The number, in the order of opening, of the live one. */
  let liveNumber = 0;
  return {
    open(onLive, onTakeover = () => {}) {
      const number = opened++;
      if (number > 0) return holdBack(number, onLive, onTakeover);
      live = direct(onLive);
      return live;
    },
  };

  /** Only the live sink reaches the store. */
  function direct(onLive: () => void): ObjectSink {
    const sink: ObjectSink = {
      upsertService: (service) => live === sink && store.upsertService(service),
      deleteService: (namespace, name) => live === sink && store.deleteService(namespace, name),
      upsertEndpointSlice: (slice) => live === sink && store.upsertEndpointSlice(slice),
      deleteEndpointSlice: (namespace, name) => live === sink && store.deleteEndpointSlice(namespace, name),
      upsertNode: (node) => live === sink && store.upsertNode(node),
      deleteNode: (name) => live === sink && store.deleteNode(name),
      upsertServiceCIDR: (range) => live === sink && store.upsertServiceCIDR(range),
      deleteServiceCIDR: (name) => live === sink && store.deleteServiceCIDR(name),
      synced() {
        if (live !== sink) return;
        store.synced();
        onLive();
      },
    };
    return sink;
  }

  function holdBack(number: number, onLive: () => void, onTakeover: () => void): ObjectSink {
    const services = new Map<string, Service>();
    const slices = new Map<string, EndpointSlice>();
    const nodes = new Map<string, Node>();
    const ranges = new Map<string, ServiceCIDR>();
    const then = direct(onLive);
    let complete = false;

    /** Before the state is complete into the map, afterwards to the store. */
    const put =
      <T>(map: Map<string, T>, keyOf: (value: T) => string, pass: (value: T) => void) =>
      (value: T): void => {
        if (complete) pass(value);
        else map.set(keyOf(value), value);
      };

    return {
      upsertService: put(services, keyOf, then.upsertService),
      deleteService: (namespace, name) =>
        complete ? then.deleteService(namespace, name) : void services.delete(`${namespace}/${name}`),
      upsertEndpointSlice: put(slices, keyOf, then.upsertEndpointSlice),
      deleteEndpointSlice: (namespace, name) =>
        complete ? then.deleteEndpointSlice(namespace, name) : void slices.delete(`${namespace}/${name}`),
      upsertNode: put(nodes, ({ name }) => name, then.upsertNode),
      deleteNode: (name) => (complete ? then.deleteNode(name) : void nodes.delete(name)),
      upsertServiceCIDR: put(ranges, ({ name }) => name, then.upsertServiceCIDR),
      deleteServiceCIDR: (name) => (complete ? then.deleteServiceCIDR(name) : void ranges.delete(name)),
      synced() {
        // A source that was replaced before it was complete must not come back over a later one.
        if (complete || number < liveNumber) return;
        complete = true;
        live = then;
        liveNumber = number;
        onTakeover();
        for (const service of services.values()) store.upsertService(service);
        for (const slice of slices.values()) store.upsertEndpointSlice(slice);
        for (const node of nodes.values()) store.upsertNode(node);
        for (const range of ranges.values()) store.upsertServiceCIDR(range);
        for (const gone of missing(store.services(), services, keyOf)) store.deleteService(gone.namespace, gone.name);
        for (const gone of missing(store.slices(), slices, keyOf)) store.deleteEndpointSlice(gone.namespace, gone.name);
        for (const gone of missing(store.serviceCIDRs(), ranges, ({ name }) => name))
          store.deleteServiceCIDR(gone.name);
        const node = store.node();
        if (node && !nodes.has(node.name)) store.deleteNode(node.name);
        for (const map of [services, slices, nodes, ranges]) map.clear();
        then.synced();
      },
    };
  }
}

function missing<T>(held: Iterable<T>, wanted: ReadonlyMap<string, T>, key: (value: T) => string): readonly T[] {
  return [...held].filter((value) => !wanted.has(key(value)));
}

function keyOf({ namespace, name }: Service | EndpointSlice): string {
  return `${namespace}/${name}`;
}
