/**
 * What the server must know of a kind: where it is found, how it is decoded, defaulted and validated. One file per kind
 * beside this one; `kinds.ts` lists them.
 */
import type { FieldError } from '../api/field-errors.ts';
import type { ObjectShape } from '../api/schema.ts';

export interface ObjectMeta {
  name?: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: { apiVersion: string; kind: string; name: string; uid: string }[];
  finalizers?: string[];
  managedFields?: ManagedFields[];
}

export interface ManagedFields {
  manager?: string;
  operation?: string;
  apiVersion?: string;
  time?: string;
  fieldsType?: string;
  fieldsV1?: unknown;
  subresource?: string;
}

/** A decoded object; its kind and apiVersion are known from where it is. Each kind's file narrows it. */
export interface KubeObject {
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** What kinds may know of the rest of the cluster. */
export interface Cluster {
  readonly allocator: Allocator;
}

/** Addresses and ports that Services hold. Everything is given back by `release` when an object goes or a write fails. */
export interface Allocator {
  families(): readonly ('IPv4' | 'IPv6')[];
  /** Claim this address; says what is wrong when it cannot be had. */
  claimIP(family: 'IPv4' | 'IPv6', ip: string, owner: string): string | undefined;
  /** Claim any address; undefined when none is left. */
  nextIP(family: 'IPv4' | 'IPv6', owner: string): string | undefined;
  claimNodePort(port: number, owner: string): string | undefined;
  nextNodePort(owner: string): number | undefined;
  /** Keep of this owner's claims only these. */
  retain(owner: string, ips: readonly string[], nodePorts: readonly number[]): void;
}

/** What one owner holds of them. */
export interface Claims {
  readonly owner: string;
  readonly ips: readonly string[];
  readonly nodePorts: readonly number[];
}

export interface Kind {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly shape: ObjectShape;
  /** Has a status subresource, so that writes of the object itself leave the status alone. */
  readonly hasStatus: boolean;
  /** Creating keeps the status that the request gives, as the kubelet needs it for its Node. */
  readonly createsWithStatus: boolean;
  /** A PUT to a name that does not exist creates it. */
  readonly createOnUpdate: boolean;
  /** Deletion answers with the object instead of a Status. */
  readonly deleteReturnsObject: boolean;
  /** metadata.generation counts the changes of everything but metadata and status. */
  readonly counted: boolean;
  /** What an object of this kind without content is, in a bookmark. */
  readonly empty: Readonly<Record<string, unknown>>;
  /** Labels of field selectors → the value in the object, besides those of metadata. */
  readonly selectable: Readonly<Record<string, (object: KubeObject) => string>>;
  /** Has conversion functions for field labels of its own; else only metadata's are known and refusals differ. */
  readonly ownFieldLabels: boolean;
  /** Fill in what the version's defaulting fills in; changes the object. */
  setDefaults(object: KubeObject, old: KubeObject | undefined): void;
  /** Before validation: drop what writers of the object itself may not set; changes the object. */
  prepare?(object: KubeObject, old: KubeObject | undefined, cluster: Cluster): readonly FieldError[];
  validate(object: KubeObject, old: KubeObject | undefined): readonly FieldError[];
  validateStatus?(object: KubeObject, old: KubeObject): readonly FieldError[];
  /** After validation: claim addresses and ports; changes the object. */
  allocate?(object: KubeObject, old: KubeObject | undefined, cluster: Cluster): readonly FieldError[];
  /** After it has gone from the store. */
  release?(object: KubeObject, cluster: Cluster): void;
}

export const ALL_VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'] as const;

export function groupVersion({ group, version }: Pick<Kind, 'group' | 'version'>): string {
  return group === '' ? version : `${group}/${version}`;
}

export function objectKey(metadata: ObjectMeta): string {
  return metadata.namespace === undefined ? (metadata.name ?? '') : `${metadata.namespace}/${metadata.name ?? ''}`;
}
