/**
 * The sink of the tests: it holds what the source said, passes it on to the program's own store, and remembers each
 * call that a good source would not make.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from '../../core/backend.ts';
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../../core/model/objects.ts';
import type { ObjectSink } from '../../core/source/source.ts';
import { createStore, type Store } from '../../core/sync/store.ts';

export type Kind = 'Service' | 'EndpointSlice' | 'Node' | 'ServiceCIDR';

/** By "namespace/name", or "name". */
export interface State {
  readonly Service: ReadonlyMap<string, Service>;
  readonly EndpointSlice: ReadonlyMap<string, EndpointSlice>;
  readonly Node: ReadonlyMap<string, Node>;
  readonly ServiceCIDR: ReadonlyMap<string, ServiceCIDR>;
}

export interface Recorder extends ObjectSink {
  readonly state: State;
  readonly store: Store;
  /** Of upserts and deletions. */
  calls(): number;
  /** Of synced(). */
  syncs(): number;
  /** How often each object was deleted, by "Kind key". */
  readonly deletions: ReadonlyMap<string, number>;
  /** Calls that told nothing new, or deleted what was not there. */
  readonly idle: readonly string[];
  /** Any call from now on is remembered in `late`. */
  close(): void;
  readonly late: readonly string[];
}

export function createRecorder(nodeName: string, log: Logger): Recorder {
  const state = {
    Service: new Map<string, Service>(),
    EndpointSlice: new Map<string, EndpointSlice>(),
    Node: new Map<string, Node>(),
    ServiceCIDR: new Map<string, ServiceCIDR>(),
  };
  const deletions = new Map<string, number>();
  const idle: string[] = [];
  const late: string[] = [];
  let calls = 0;
  let syncs = 0;
  let closed = false;
  const store = createStore({ nodeName: () => nodeName, log, onDirty() {}, onNode() {}, startedAt: 0 });

  function upsert<T>(kind: Kind, objects: Map<string, T>, key: string, value: T): void {
    calls++;
    if (closed) late.push(`upsert ${kind} ${key}`);
    if (isDeepStrictEqual(objects.get(key), value)) idle.push(`upsert ${kind} ${key}`);
    objects.set(key, value);
  }

  function remove<T>(kind: Kind, objects: Map<string, T>, key: string): void {
    calls++;
    if (closed) late.push(`delete ${kind} ${key}`);
    if (!objects.delete(key)) idle.push(`delete ${kind} ${key}`);
    deletions.set(`${kind} ${key}`, (deletions.get(`${kind} ${key}`) ?? 0) + 1);
  }

  return {
    state,
    store,
    calls: () => calls,
    syncs: () => syncs,
    deletions,
    idle,
    late,
    close() {
      closed = true;
    },
    upsertService(service) {
      upsert('Service', state.Service, `${service.namespace}/${service.name}`, service);
      store.upsertService(service);
    },
    deleteService(namespace, name) {
      remove('Service', state.Service, `${namespace}/${name}`);
      store.deleteService(namespace, name);
    },
    upsertEndpointSlice(slice) {
      upsert('EndpointSlice', state.EndpointSlice, `${slice.namespace}/${slice.name}`, slice);
      store.upsertEndpointSlice(slice);
    },
    deleteEndpointSlice(namespace, name) {
      remove('EndpointSlice', state.EndpointSlice, `${namespace}/${name}`);
      store.deleteEndpointSlice(namespace, name);
    },
    upsertNode(node) {
      upsert('Node', state.Node, node.name, node);
      store.upsertNode(node);
    },
    deleteNode(name) {
      remove('Node', state.Node, name);
      store.deleteNode(name);
    },
    upsertServiceCIDR(range) {
      upsert('ServiceCIDR', state.ServiceCIDR, range.name, range);
      store.upsertServiceCIDR(range);
    },
    deleteServiceCIDR(name) {
      remove('ServiceCIDR', state.ServiceCIDR, name);
      store.deleteServiceCIDR(name);
    },
    synced() {
      syncs++;
      if (closed) late.push('synced');
      store.synced();
    },
  };
}
