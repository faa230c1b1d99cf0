/**
 * Reads and writes raw objects over plain REST, as a test's own hand on the cluster. It remembers what it created and
 * takes all of it away again, one by one: there may be no controller that would (a kube-apiserver alone).
 */

import type { Logger } from '../../core/backend.ts';
import { systemClock } from '../../core/node/clock.ts';
import type { ApiRequest } from '../../core/source/api/api-connection.ts';
import { openConnection } from '../../core/source/api/connection.ts';

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string | null>>;
  readonly annotations?: Readonly<Record<string, string | null>>;
  readonly deletionTimestamp?: string;
}

export interface RawObject {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: Metadata;
}

/** A raw object's fields to be merged into it (RFC 7386): null removes one, lists are replaced whole. */
export type MergePatch = Readonly<Record<string, unknown>>;

/** Names an object. */
export interface Reference {
  readonly kind: Kind;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

export interface Client {
  /** Returns what the server made of it. */
  create<T extends RawObject>(object: T): Promise<T>;
  /** `subresource`: "status". */
  patch<T extends RawObject>(object: T, patch: MergePatch, subresource?: string): Promise<T>;
  /** The whole status, by the subresource, against the version that `object` has. */
  replaceStatus<T extends RawObject>(object: T, status: Readonly<Record<string, unknown>>): Promise<T>;
  get<T extends RawObject>(reference: Reference): Promise<T | undefined>;
  list<T extends RawObject>(kind: Kind, namespace: string, fieldSelector?: string): Promise<readonly T[]>;
  /** Succeeds if there is no such object. */
  delete(reference: Reference): Promise<void>;
  /** Delete what was created here and is still there, the last first. Says on stderr what could not be deleted. */
  deleteAll(): Promise<void>;
  /** For what has no method here: "/api/v1/…". */
  request(method: Method, path: string, body?: unknown): Promise<{ readonly status: number; readonly text: string }>;
  close(): void;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Kind = keyof typeof COLLECTIONS;

const COLLECTIONS = {
  Namespace: { root: '/api/v1', plural: 'namespaces', namespaced: false },
  Node: { root: '/api/v1', plural: 'nodes', namespaced: false },
  Service: { root: '/api/v1', plural: 'services', namespaced: true },
  EndpointSlice: { root: '/apis/discovery.k8s.io/v1', plural: 'endpointslices', namespaced: true },
  Event: { root: '/apis/events.k8s.io/v1', plural: 'events', namespaced: true },
  ServiceCIDR: { root: '/apis/networking.k8s.io/v1', plural: 'servicecidrs', namespaced: false },
} as const;

const FAULTS_ONLY: Logger = {
  error: (message, values) => console.error(message, values ?? ''),
  warn: (message, values) => console.error(message, values ?? ''),
  info() {},
  verbose() {},
  enabled: () => false,
};

const LONGEST_ANSWER_BYTES = 64 * 1024 * 1024;
const MERGE_PATCH = 'application/merge-patch+json';

export async function openClient(kubeconfig: string): Promise<Client> {
  const connection = await openConnection({
    kubeconfig,
    master: '',
    qps: -1,
    burst: 0,
    userAgent: 'kube-proxy-e2e',
    clock: systemClock,
    log: FAULTS_ONLY,
  });
  const created: Reference[] = [];

  async function request(method: Method, path: string, body?: unknown): Promise<{ status: number; text: string }> {
    const response = await connection.request({
      path,
      // The daemon has no use for the other methods.
      method: method as NonNullable<ApiRequest['method']>,
      signal: AbortSignal.timeout(30_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(method === 'PATCH' ? { contentType: MERGE_PATCH } : {}),
    });
    return { status: response.status, text: await response.text(LONGEST_ANSWER_BYTES) };
  }

  async function ask<T>(method: Method, path: string, body?: unknown): Promise<T> {
    const { status, text } = await request(method, path, body);
    if (status < 200 || status > 299) throw refusal(method, path, status, text);
    return JSON.parse(text) as T;
  }

  async function remove(reference: Reference): Promise<void> {
    const path = pathOf(reference);
    const { status, text } = await request('DELETE', path);
    if ((status < 200 || status > 299) && status !== 404) throw refusal('DELETE', path, status, text);
  }

  return {
    request,
    async create(object) {
      const made = await ask<typeof object>('POST', collectionPath(object.kind, object.metadata.namespace), object);
      created.push(made);
      return made;
    },
    patch: (object, patch, subresource) => ask('PATCH', pathOf(object, subresource), patch),
    replaceStatus: (object, status) => ask('PUT', pathOf(object, 'status'), { ...object, status }),
    async get<T extends RawObject>(reference: Reference) {
      const path = pathOf(reference);
      const { status, text } = await request('GET', path);
      if (status === 404) return undefined;
      if (status !== 200) throw refusal('GET', path, status, text);
      return JSON.parse(text) as T;
    },
    async list<T extends RawObject>(kind: Kind, namespace: string, fieldSelector = '') {
      const query = fieldSelector === '' ? '' : `?${new URLSearchParams({ fieldSelector })}`;
      const { items } = await ask<{ items: readonly T[] }>('GET', collectionPath(kind, namespace) + query);
      // Items of a list do not repeat what they are.
      const { root } = COLLECTIONS[kind];
      return items.map((item) => ({ ...item, kind, apiVersion: root.replace(/^\/apis?\//, '') }));
    },
    delete: remove,
    async deleteAll() {
      for (const reference of created.splice(0).reverse()) {
        try {
          await remove(reference);
        } catch (error) {
          process.stderr.write(`left behind in the cluster: ${(error as Error).message}\n`);
        }
      }
    },
    close: () => connection.close(),
  };
}

function collectionPath(kind: Kind, namespace = ''): string {
  const { root, plural, namespaced } = COLLECTIONS[kind];
  return namespaced ? `${root}/namespaces/${namespace}/${plural}` : `${root}/${plural}`;
}

function pathOf({ kind, metadata }: Reference, subresource?: string): string {
  const path = `${collectionPath(kind, metadata.namespace)}/${metadata.name}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

function refusal(method: Method, path: string, status: number, text: string): Error {
  let said = text.trim();
  try {
    said = (JSON.parse(text) as { message?: string }).message ?? said;
  } catch {
    // Filters before the API answer in plain text.
  }
  return Object.assign(new Error(`${method} ${path}: ${status} ${said.slice(0, 500)}`), { status });
}
