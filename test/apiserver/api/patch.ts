/**
 * The three kinds of patch that clients send: JSON patch (RFC 6902), merge patch (RFC 7386), and the strategic merge
 * patch of Kubernetes, in which lists of objects merge by a key. Pure; what cannot be applied is an ApiError.
 */
import { isJsonObject, type JsonObject } from './schema.ts';
import { badRequest, failure } from './status.ts';

export const PATCH_TYPES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
] as const;
export type PatchType = (typeof PATCH_TYPES)[number];

export function applyPatch(type: PatchType, object: JsonObject, patch: unknown): JsonObject {
  switch (type) {
    case 'application/json-patch+json':
      return jsonPatch(object, patch);
    case 'application/merge-patch+json':
      return mergeObjects(object, mustBeObject(patch));
    case 'application/strategic-merge-patch+json':
      return strategic(object, mustBeObject(patch), []) ?? {};
  }
}

function mustBeObject(patch: unknown): JsonObject {
  if (!isJsonObject(patch))
    throw badRequest('error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}');
  return patch;
}

function mergeObjects(object: JsonObject, patch: JsonObject): JsonObject {
  const merged: Record<string, unknown> = { ...object };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else if (!isJsonObject(value)) merged[name] = value;
    else merged[name] = mergeObjects(isJsonObject(merged[name]) ? merged[name] : {}, value);
  }
  return merged;
}

/** Lists that merge, by the path to them: with the key of their items, or as sets of plain values (""). */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  'metadata.ownerReferences': 'uid',
  'metadata.finalizers': '',
  'spec.ports': 'port',
  'spec.podCIDRs': '',
  'spec.taints': 'key',
  'status.conditions': 'type',
  'status.addresses': 'type',
};

function strategic(object: JsonObject, patch: JsonObject, path: readonly string[]): JsonObject | undefined {
  const directive = patch.$patch;
  if (directive === 'delete') return undefined;
  if (directive === 'replace') {
    const { $patch: _, ...rest } = patch;
    return rest;
  }
  if (directive !== undefined && directive !== 'merge') {
    throw badRequest(`Unknown patch type: ${String(directive)}`);
  }
  const merged: Record<string, unknown> = { ...object };
  const retained = patch.$retainKeys;
  if (Array.isArray(retained))
    for (const name of Object.keys(merged)) if (!retained.includes(name)) delete merged[name];
  for (const [name, value] of Object.entries(patch)) {
    if (name === '$patch' || name === '$retainKeys' || name.startsWith('$setElementOrder/')) continue;
    if (name.startsWith('$deleteFromPrimitiveList/')) {
      const list = name.slice('$deleteFromPrimitiveList/'.length);
      const gone = Array.isArray(value) ? value : [];
      if (Array.isArray(merged[list])) merged[list] = merged[list].filter((item) => !gone.includes(item));
    } else if (value === null) {
      delete merged[name];
    } else if (isJsonObject(value)) {
      const result = strategic(isJsonObject(merged[name]) ? merged[name] : {}, value, [...path, name]);
      if (result === undefined) delete merged[name];
      else merged[name] = result;
    } else if (Array.isArray(value)) {
      const key = MERGE_KEYS[[...path, name].join('.')];
      const old: readonly unknown[] = Array.isArray(merged[name]) ? merged[name] : [];
      if (key === undefined) merged[name] = value;
      else if (key === '') merged[name] = [...new Set([...old, ...value])];
      else merged[name] = order(mergeLists(old, value, key, [...path, name]), patch[`$setElementOrder/${name}`], key);
    } else {
      merged[name] = value;
    }
  }
  return merged;
}

function mergeLists(
  old: readonly unknown[],
  patch: readonly unknown[],
  key: string,
  path: readonly string[],
): readonly unknown[] {
  const items = patch.filter(isJsonObject);
  if (items.some((item) => item.$patch === 'replace')) return items.filter((item) => item.$patch !== 'replace');
  const merged = [...old];
  for (const item of items) {
    if (!(key in item)) {
      throw failure(
        500,
        'InternalError',
        `Internal error occurred: map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`,
      );
    }
    const index = merged.findIndex((one) => isJsonObject(one) && one[key] === item[key]);
    const was = merged[index];
    const result = strategic(isJsonObject(was) ? was : {}, item, path);
    if (index < 0 && result !== undefined) merged.push(result);
    else if (index >= 0 && result !== undefined) merged[index] = result;
    else if (index >= 0) merged.splice(index, 1);
  }
  return merged;
}

function order(items: readonly unknown[], wanted: unknown, key: string): readonly unknown[] {
  if (!Array.isArray(wanted)) return items;
  const keys = wanted.map((one: unknown) => (isJsonObject(one) ? one[key] : one));
  const rank = (item: unknown): number => {
    const at = keys.indexOf(isJsonObject(item) ? item[key] : item);
    return at < 0 ? keys.length : at;
  };
  return [...items].sort((a, b) => rank(a) - rank(b));
}

function jsonPatch(object: JsonObject, patch: unknown): JsonObject {
  if (!Array.isArray(patch))
    throw badRequest('error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch');
  const root: { document: unknown } = { document: structuredClone(object) };
  for (const operation of patch) apply(root, operation);
  return mustBeObject(root.document);
}

function cannotApply(message: string) {
  return failure(422, 'Invalid', `the server rejected our request due to an error in our request: ${message}`);
}

function apply(root: { document: unknown }, operation: unknown): void {
  if (!isJsonObject(operation) || typeof operation.op !== 'string' || typeof operation.path !== 'string') {
    throw cannotApply('operation without op or path');
  }
  const { op, path, value } = operation;
  const at = (pointer: string) => locate(root, pointer);
  switch (op) {
    case 'add':
      at(path).add(structuredClone(value));
      return;
    case 'remove':
      at(path).remove();
      return;
    case 'replace':
      at(path).read();
      at(path).set(structuredClone(value));
      return;
    case 'test':
      if (JSON.stringify(at(path).read()) !== JSON.stringify(value)) throw cannotApply(`testing value ${path} failed`);
      return;
    case 'copy':
    case 'move': {
      const source = at(String(operation.from));
      const moved = structuredClone(source.read());
      if (op === 'move') source.remove();
      at(path).add(moved);
      return;
    }
    default:
      throw cannotApply(`unexpected operation ${op}`);
  }
}

interface Place {
  read(): unknown;
  set(value: unknown): void;
  add(value: unknown): void;
  remove(): void;
}

function locate(root: { document: unknown }, pointer: string): Place {
  const parts = pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  const missing = (): never => {
    throw cannotApply(`nonexistant path ${pointer}`);
  };
  let parent: unknown = root;
  let name = 'document';
  for (const part of parts) {
    parent = child(parent, name);
    if (typeof parent !== 'object' || parent === null) return missing();
    name = part;
  }
  if (Array.isArray(parent)) {
    const list: unknown[] = parent;
    const index = name === '-' ? list.length : /^\d+$/.test(name) ? Number(name) : -1;
    const inside = index >= 0 && index < list.length;
    return {
      read: () => (inside ? list[index] : missing()),
      set: (value) => (inside ? list.splice(index, 1, value) : missing()),
      add: (value) => (index >= 0 && index <= list.length ? list.splice(index, 0, value) : missing()),
      remove: () => (inside ? list.splice(index, 1) : missing()),
    };
  }
  const object = parent as Record<string, unknown>;
  const exists = Object.hasOwn(object, name);
  return {
    read: () => (exists ? object[name] : missing()),
    set: (value) => {
      object[name] = value;
    },
    add: (value) => {
      object[name] = value;
    },
    remove: () => (exists ? delete object[name] : missing()),
  };
}

function child(parent: unknown, name: string): unknown {
  if (Array.isArray(parent)) return parent[Number(name)];
  return isJsonObject(parent) && Object.hasOwn(parent, name) ? parent[name] : undefined;
}
