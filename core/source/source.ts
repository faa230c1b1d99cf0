/**
 * Where objects come from. A source parses what it reads (core/model/parse-*.ts) and hands each object to the sink;
 * it may deliver an object again unchanged, and delete one that never came.
 */
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../model/objects.ts';

export interface ObjectSink {
  upsertService(service: Service): void;
  deleteService(namespace: string, name: string): void;
  upsertEndpointSlice(slice: EndpointSlice): void;
  deleteEndpointSlice(namespace: string, name: string): void;
  upsertNode(node: Node): void;
  deleteNode(name: string): void;
  upsertServiceCIDR(range: ServiceCIDR): void;
  deleteServiceCIDR(name: string): void;
  /** The first complete state has been delivered; nothing is programmed before that. Called once. */
  synced(): void;
}

export interface Source {
  /** Optional, before start(): find out whether it can work at all; rejects as start() would. Delivers nothing. */
  prepare?(): Promise<void>;
  /** Begin delivering. Rejects only if the source can never work (for example its path does not exist). */
  start(sink: ObjectSink): Promise<void>;
  stop(): Promise<void>;
}
