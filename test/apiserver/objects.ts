/** Objects of the server for test code: written through the same rules as requests, read without a connection. */
import { objectOf } from './api/objects.ts';
import type { JsonObject } from './api/schema.ts';
import type { WriteContext, Writer } from './api/writes.ts';
import { groupVersion, type Kind, type KubeObject } from './kinds/kind.ts';
import { KINDS, kindOf } from './kinds/kinds.ts';
import type { Store } from './store/store.ts';

export interface Objects {
  /**
   * Make the object be as given: created, or replaced; its status, too, if one is given. Its namespace is made if need
   * be. Returns what the server made of it. Throws an ApiError when a request would be refused.
   */
  apply(object: JsonObject): KubeObject;
  applyAll(objects: readonly JsonObject[]): void;
  /** Throws when it does not exist. Finalizers hold it back, as in a request. */
  delete(kind: string, namespace: string, name: string): void;
  get(kind: string, namespace: string, name: string): KubeObject | undefined;
  list(kind: string): readonly KubeObject[];
  count(kind: string): number;
}

export function createObjects(store: Store, writer: Writer): Objects {
  const find = (name: unknown): Kind => {
    const kind = kindOf(String(name));
    if (kind === undefined) {
      throw new Error(`${String(name)} is no kind of this server; it has ${KINDS.map((one) => one.kind).join(', ')}`);
    }
    return kind;
  };
  const contextOf = (kind: Kind, namespace: string, name: string): WriteContext => ({
    namespace: kind.namespaced ? namespace || 'default' : '',
    name,
    manager: 'test',
    subresource: '',
    dryRun: false,
    fieldValidation: 'Strict',
  });
  const keyOf = ({ namespace, name }: WriteContext) => (namespace === '' ? name : `${namespace}/${name}`);
  const withType = (kind: Kind, object: KubeObject): KubeObject => ({
    kind: kind.kind,
    apiVersion: groupVersion(kind),
    ...object,
  });

  const ensureNamespace = (name: string): void => {
    if (store.table('namespaces').get(name) !== undefined) return;
    const kind = find('Namespace');
    const object = { kind: 'Namespace', apiVersion: 'v1', metadata: { name } };
    writer.create(kind, object, contextOf(kind, '', name));
  };

  const apply = (object: JsonObject): KubeObject => {
    const kind = find(object.kind);
    const metadata = (object.metadata ?? {}) as KubeObject['metadata'];
    const context = contextOf(kind, metadata.namespace ?? '', metadata.name ?? '');
    if (kind.namespaced) ensureNamespace(context.namespace);
    const table = store.table(kind.plural);
    const created = table.get(keyOf(context)) === undefined;
    const { text } = created ? writer.create(kind, object, context) : writer.update(kind, object, context);
    if (object.status === undefined || !kind.hasStatus || (created && kind.createsWithStatus)) {
      return JSON.parse(text) as KubeObject;
    }
    const written = JSON.parse(text) as KubeObject;
    const withStatus = { ...written, status: object.status };
    return JSON.parse(writer.update(kind, withStatus, { ...context, subresource: 'status' }).text) as KubeObject;
  };

  return {
    apply,
    applyAll(objects) {
      for (const object of objects) apply(object);
    },
    delete(kindName, namespace, name) {
      const kind = find(kindName);
      writer.delete(kind, contextOf(kind, namespace, name), {});
    },
    get(kindName, namespace, name) {
      const kind = find(kindName);
      const version = store.table(kind.plural).get(keyOf(contextOf(kind, namespace, name)));
      return version === undefined ? undefined : withType(kind, objectOf(version));
    },
    list(kindName) {
      const kind = find(kindName);
      return store
        .table(kind.plural)
        .list()
        .map((version) => withType(kind, objectOf(version)));
    },
    count: (kindName) => store.table(find(kindName).plural).size(),
  };
}
