/**
 * Creating, updating, patching and deleting, as the registry of a real server does it:
 *
 *   body → decode → defaults → prepare → allocate → metadata and kind's validation → (unchanged? nothing) → store
 *
 * Whatever fails leaves no trace: addresses and ports claimed on the way are given back.
 */
import { type Cluster, groupVersion, type Kind, type KubeObject, objectKey } from '../kinds/kind.ts';
import { KINDS } from '../kinds/kinds.ts';
import type { Store, Version } from '../store/store.ts';
import { invalidValue } from './field-errors.ts';
import { manageFields, metadataErrors } from './metadata.ts';
import { makeVersion, objectOf, textOf } from './objects.ts';
import { applyPatch, type PatchType } from './patch.ts';
import { decode, isJsonObject, type JsonObject } from './schema.ts';
import { alreadyExists, badRequest, conflict, forbidden, invalid, notFound, unclassified } from './status.ts';

export interface WriteContext {
  /** From the path; "" for kinds without. */
  readonly namespace: string;
  /** From the path; "" when creating. */
  readonly name: string;
  /** Who is noted in managedFields. */
  readonly manager: string;
  readonly subresource: '' | 'status';
  readonly dryRun: boolean;
  readonly fieldValidation: 'Strict' | 'Warn' | 'Ignore';
}

export interface Written {
  /** The object as JSON text. */
  readonly text: string;
  readonly created: boolean;
  readonly warnings: readonly string[];
}

export interface WriterOptions {
  readonly store: Store;
  readonly cluster: Cluster;
  readonly managedFields: boolean;
  now(): Date;
  newUID(): string;
}

export interface Writer {
  create(kind: Kind, body: unknown, context: WriteContext): Written;
  update(kind: Kind, body: unknown, context: WriteContext): Written;
  patch(kind: Kind, type: PatchType, patch: unknown, context: WriteContext): Written;
  /** The last state, and whether it is gone or only marked because of finalizers. */
  delete(
    kind: Kind,
    context: WriteContext,
    preconditions: Preconditions,
  ): { readonly object: KubeObject; readonly gone: boolean };
}

export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

export function createWriter({ store, cluster, managedFields, now, newUID }: WriterOptions): Writer {
  const read = (kind: Kind, body: unknown, context: WriteContext) => {
    const raw = checkEnvelope(kind, body);
    const { value, unknown } = decode(raw, withEnvelope(kind), kind.kind, groupVersion(kind));
    const { kind: _kind, apiVersion: _version, ...object } = value;
    const faults = unknown.map((path) => `unknown field ${JSON.stringify(path)}`);
    if (faults.length > 0 && context.fieldValidation === 'Strict') {
      const cannot = `${kind.kind} in version ${JSON.stringify(kind.version)} cannot be handled as a ${kind.kind}`;
      throw badRequest(`${cannot}: strict decoding error: ${faults.join(', ')}`);
    }
    const warnings = context.fieldValidation === 'Warn' ? faults : [];
    return { object: object as KubeObject, warnings };
  };

  const timestamp = () => `${now().toISOString().slice(0, 19)}Z`;

  /** Run a kind's rules; give back what was claimed if one of them refuses. */
  const settle = (kind: Kind, object: KubeObject, old: KubeObject | undefined, context: WriteContext): void => {
    const name = object.metadata.name ?? '';
    const refuse = (errors: ReturnType<Kind['validate']>): void => {
      if (errors.length > 0) throw invalid(kind, name, errors);
    };
    if (context.subresource === 'status') {
      kind.setDefaults(object, old);
      refuse([...metadataErrors(object.metadata, kind), ...(kind.validateStatus?.(object, old!) ?? [])]);
      return;
    }
    try {
      kind.setDefaults(object, old);
      refuse(kind.prepare?.(object, old, cluster) ?? []);
      refuse(kind.allocate?.(object, old, cluster) ?? []);
      refuse([...metadataErrors(object.metadata, kind), ...kind.validate(object, old)]);
    } catch (error) {
      restoreClaims(kind, object, old);
      throw error;
    }
    if (context.dryRun) restoreClaims(kind, object, old);
  };

  const restoreClaims = (kind: Kind, object: KubeObject, old: KubeObject | undefined): void => {
    if (kind.allocate === undefined) return;
    kind.release?.(object, cluster);
    if (old !== undefined) kind.allocate(structuredClone(old), old, cluster);
  };

  const put = (kind: Kind, object: KubeObject, context: WriteContext): string => {
    if (context.dryRun) return textOf(kind, makeVersion(kind, object, Number(object.metadata.resourceVersion ?? 0)));
    return textOf(
      kind,
      store.table(kind.plural).put((version) => makeVersion(kind, object, version)),
    );
  };

  const noteWriter = (kind: Kind, object: KubeObject, old: KubeObject | undefined, context: WriteContext): void => {
    if (!managedFields) return;
    const writer = { manager: context.manager, subresource: context.subresource, time: timestamp() };
    object.metadata.managedFields = manageFields(object, old, kind, writer);
  };

  const createObject = (kind: Kind, object: KubeObject, context: WriteContext): string => {
    const { metadata } = object;
    if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== '0') {
      throw unclassified('resourceVersion should not be set on objects to be created');
    }
    checkNamespace(kind, metadata.namespace, context);
    if (kind.namespaced) metadata.namespace ??= context.namespace;
    if (kind.namespaced && store.table('namespaces').get(context.namespace) === undefined) {
      throw notFound({ group: '', plural: 'namespaces' }, context.namespace);
    }
    if (metadata.name === undefined && metadata.generateName !== undefined) {
      metadata.name = metadata.generateName.slice(0, 58) + newUID().replaceAll('-', '').slice(0, 5);
    }
    for (const field of ['deletionTimestamp', 'resourceVersion', 'generation', 'managedFields'] as const)
      delete metadata[field];
    metadata.uid = newUID();
    metadata.creationTimestamp = timestamp();
    if (kind.counted) metadata.generation = 1;
    if (kind.hasStatus && !kind.createsWithStatus) object.status = emptyStatus(kind);
    if (store.table(kind.plural).get(objectKey(metadata)) !== undefined) throw alreadyExists(kind, metadata.name ?? '');
    settle(kind, object, undefined, context);
    noteWriter(kind, object, undefined, context);
    return put(kind, object, context);
  };

  const updateObject = (kind: Kind, object: KubeObject, current: Version, context: WriteContext): string => {
    const old = objectOf(current);
    const { metadata } = object;
    checkNamespace(kind, metadata.namespace, context);
    if (kind.namespaced) metadata.namespace ??= context.namespace;
    if (metadata.uid !== undefined && metadata.uid !== old.metadata.uid) {
      const why = `Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: ${old.metadata.uid}`;
      throw conflict(kind, context.name, why);
    }
    const wanted = metadata.resourceVersion ?? '';
    if (wanted !== '' && !/^\d+$/.test(wanted)) {
      throw invalid(kind, context.name, [
        invalidValue('metadata.resourceVersion', wanted, 'must be an unsigned integer'),
      ]);
    }
    if (wanted !== '' && wanted !== '0' && wanted !== old.metadata.resourceVersion) throw conflict(kind, context.name);
    keepSystemFields(metadata, old.metadata);
    if (context.subresource === 'status') {
      for (const field of Object.keys(object)) if (field !== 'metadata' && field !== 'status') delete object[field];
      const { metadata: _metadata, status: _status, ...content } = old;
      Object.assign(object, content);
    } else if (kind.hasStatus) object.status = structuredClone(old.status);
    settle(kind, object, old, context);
    if (kind.counted && content(object) !== content(old)) metadata.generation = (old.metadata.generation ?? 0) + 1;
    const same = whole(object) === whole(old);
    if (same) return textOf(kind, current);
    noteWriter(kind, object, old, context);
    if (finished(object)) {
      if (!context.dryRun) remove(kind, object);
      return textOf(kind, makeVersion(kind, object, store.resourceVersion()));
    }
    return put(kind, object, context);
  };

  const remove = (kind: Kind, object: KubeObject): void => {
    store.table(kind.plural).remove(objectKey(object.metadata));
    kind.release?.(object, cluster);
  };

  /** What a controller does in a real cluster, some time later. */
  const emptyNamespace = (name: string): void => {
    for (const kind of KINDS) {
      const inside = store
        .table(kind.plural)
        .list()
        .filter(({ namespace }) => kind.namespaced && namespace === name);
      for (const version of inside) remove(kind, objectOf(version));
    }
  };

  return {
    create(kind, body, context) {
      const { object, warnings } = read(kind, body, context);
      return { text: createObject(kind, object, context), created: true, warnings };
    },
    update(kind, body, context) {
      const { object, warnings } = read(kind, body, context);
      const given = object.metadata.name ?? '';
      if (given === '') {
        throw badRequest('the name of the object (based on URL) was undeterminable: name must be provided');
      }
      if (given !== context.name) {
        throw badRequest(`the name of the object (${given}) does not match the name on the URL (${context.name})`);
      }
      const current = store.table(kind.plural).get(keyOf(kind, context));
      if (current !== undefined)
        return { text: updateObject(kind, object, current, context), created: false, warnings };
      const asked = (object.metadata.resourceVersion ?? '0') !== '0' || context.subresource !== '';
      if (!kind.createOnUpdate || asked) throw notFound(kind, context.name);
      return { text: createObject(kind, object, context), created: true, warnings };
    },
    patch(kind, type, patch, context) {
      const current = store.table(kind.plural).get(keyOf(kind, context));
      if (current === undefined) throw notFound(kind, context.name);
      const patched = applyPatch(type, JSON.parse(textOf(kind, current)) as JsonObject, patch);
      const { object, warnings } = read(kind, patched, context);
      if (object.metadata.name !== context.name) {
        throw badRequest(
          `the name of the object (${object.metadata.name ?? ''}) does not match the name on the URL (${context.name})`,
        );
      }
      return { text: updateObject(kind, object, current, context), created: false, warnings };
    },
    delete(kind, context, preconditions) {
      const table = store.table(kind.plural);
      const current = table.get(keyOf(kind, context));
      if (current === undefined) throw notFound(kind, context.name);
      const object = objectOf(current);
      const { metadata } = object;
      for (const field of ['uid', 'resourceVersion'] as const) {
        const wanted = preconditions[field];
        if (wanted === undefined || wanted === metadata[field]) continue;
        const label = field === 'uid' ? 'UID' : 'ResourceVersion';
        const why = `Precondition failed: ${label} in precondition: ${wanted}, ${label} in object meta: ${metadata[field]}`;
        throw conflict(kind, context.name, why);
      }
      if (kind.plural === 'namespaces' && ['default', 'kube-system', 'kube-public'].includes(context.name)) {
        throw forbidden(kind, context.name, 'this namespace may not be deleted');
      }
      if (context.dryRun) return { object, gone: true };
      if ((metadata.finalizers ?? []).length > 0) {
        if (metadata.deletionTimestamp === undefined) {
          metadata.deletionTimestamp = timestamp();
          table.put((version) => makeVersion(kind, object, version));
        }
        return { object: objectOf(table.get(current.key)!), gone: false };
      }
      remove(kind, object);
      if (kind.plural === 'namespaces') emptyNamespace(context.name);
      return { object, gone: true };
    },
  };
}

export function keyOf(kind: Kind, { namespace, name }: Pick<WriteContext, 'namespace' | 'name'>): string {
  return kind.namespaced ? `${namespace}/${name}` : name;
}

function checkEnvelope(kind: Kind, body: unknown): JsonObject {
  if (!isJsonObject(body))
    throw badRequest("couldn't get version/kind; json parse error: json: cannot unmarshal into Go value");
  const wanted = groupVersion(kind);
  // What the body does not say of them is taken from the path: the JavaScript client leaves both out.
  const given = { kind: body.kind ?? '', apiVersion: body.apiVersion ?? '' };
  if (given.apiVersion !== '' && given.apiVersion !== wanted) {
    throw badRequest(
      `the API version in the data (${String(given.apiVersion)}) does not match the expected API version (${wanted})`,
    );
  }
  if (given.kind !== '' && given.kind !== kind.kind) {
    const registered = `no kind ${JSON.stringify(given.kind)} is registered for version ${JSON.stringify(wanted)}`;
    throw badRequest(`the object provided is unrecognized (must be of type ${kind.kind}): ${registered}`);
  }
  return body;
}

function withEnvelope(kind: Kind) {
  return { ...kind.shape, fields: { kind: 'string!', apiVersion: 'string!', ...kind.shape.fields } } as const;
}

function checkNamespace(kind: Kind, given: string | undefined, context: WriteContext): void {
  if (!kind.namespaced || given === undefined || given === context.namespace) return;
  throw badRequest(
    `the namespace of the provided object does not match the namespace sent on the request (${given} and ${context.namespace})`,
  );
}

function keepSystemFields(metadata: KubeObject['metadata'], old: KubeObject['metadata']): void {
  for (const field of [
    'uid',
    'creationTimestamp',
    'generation',
    'deletionTimestamp',
    'resourceVersion',
    'managedFields',
  ] as const) {
    if (old[field] === undefined) delete metadata[field];
    else Object.assign(metadata, { [field]: old[field] });
  }
}

function emptyStatus(kind: Kind): unknown {
  return structuredClone(kind.empty.status ?? {});
}

/** Marked for deletion, and nobody is left to wait for. */
function finished({ metadata }: KubeObject): boolean {
  return metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0;
}

/** Everything that metadata.generation counts. */
function content({ metadata: _metadata, status: _status, ...rest }: KubeObject): string {
  return JSON.stringify(sorted(rest));
}

function whole(object: KubeObject): string {
  const { managedFields: _managed, ...metadata } = object.metadata;
  return JSON.stringify(sorted({ ...object, metadata }));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isJsonObject(value)) return value;
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, field]) => [name, sorted(field)]));
}
