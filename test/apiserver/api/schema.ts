/**
 * Reading a request's object as the server's typed decoder does: wrong types are refused (400), unknown fields dropped
 * and reported, null means absent, and what Go's omitempty leaves out of the answer is left out here.
 *
 * A shape says for every field which type it has and whether its empty value is kept:
 *   'string'  "" is left out        'string!'  "" is kept (no omitempty, or a pointer)
 */
import { badRequest } from './status.ts';

type Scalar = 'string' | 'bool' | 'int32' | 'int64';
export type Shape =
  | Scalar
  | `${Scalar}!`
  | 'intstr'
  | 'time'
  | 'microtime'
  | 'any'
  | { readonly list: Shape; readonly keepEmpty?: true }
  | { readonly map: Shape }
  | ObjectShape;

export interface ObjectShape {
  /** Go's name of the type, for error messages. */
  readonly type: string;
  readonly fields: Readonly<Record<string, Shape>>;
  /** Present even if the request has nothing of it: a struct that is no pointer and has no omitempty. */
  readonly always?: true;
}

export interface Decoded {
  readonly value: Record<string, unknown>;
  /** Paths of fields that the kind does not have. */
  readonly unknown: readonly string[];
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function decode(raw: JsonObject, shape: ObjectShape, kind: string, version: string): Decoded {
  const unknown: string[] = [];
  const refuse = (found: string, type: string, path: string): never => {
    throw badRequest(
      `${kind} in version ${JSON.stringify(version)} cannot be handled as a ${kind}: json: cannot unmarshal ${found} ` +
        `into Go struct field ${path} of type ${type}`,
    );
  };
  const readObject = (value: JsonObject, own: ObjectShape, path: string): Record<string, unknown> => {
    const read: Record<string, unknown> = {};
    for (const [name, field] of Object.entries(own.fields)) {
      const given = Object.hasOwn(value, name) ? value[name] : undefined;
      const result = readValue(given, field, path === '' ? name : `${path}.${name}`, own.type);
      if (result !== undefined) read[name] = result;
    }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(own.fields, name)) unknown.push(path === '' ? name : `${path}.${name}`);
    }
    return read;
  };
  const readValue = (value: unknown, own: Shape, path: string, parent: string): unknown => {
    if (typeof own === 'string')
      return readScalar(value, own, (found, type) => refuse(found, type, `${parent}.${path}`));
    if ('fields' in own) {
      if (value === undefined || value === null) return own.always ? readObject({}, own, path) : undefined;
      if (!isJsonObject(value)) return refuse(typeName(value), own.type, `${parent}.${path}`);
      return readObject(value, own, path);
    }
    if ('list' in own) {
      if (value === undefined || value === null) return own.keepEmpty ? null : undefined;
      if (!Array.isArray(value)) return refuse(typeName(value), '[]', `${parent}.${path}`);
      if (value.length === 0 && !own.keepEmpty) return undefined;
      const { list } = own;
      return value.map((item, index) => readItem(item, list, `${path}[${index}]`, parent));
    }
    if (value === undefined || value === null) return undefined;
    if (!isJsonObject(value)) return refuse(typeName(value), 'map', `${parent}.${path}`);
    const entries = Object.entries(value).map(([key, item]) => [
      key,
      readItem(item, own.map, `${path}.${key}`, parent),
    ]);
    return entries.length === 0 ? undefined : Object.fromEntries(entries);
  };
  /** In a list or a map an empty value keeps its place. */
  const readItem = (item: unknown, own: Shape, path: string, parent: string): unknown => {
    if (typeof own === 'string' && !own.endsWith('!') && !OTHERS.has(own)) {
      return readValue(item ?? emptyOf(own as Scalar), `${own as Scalar}!`, path, parent);
    }
    return readValue(item ?? (typeof own === 'object' && 'fields' in own ? {} : item), own, path, parent);
  };
  return { value: readObject(raw, shape, ''), unknown };
}

const OTHERS: ReadonlySet<string> = new Set(['intstr', 'time', 'microtime', 'any']);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:\d\d)$/;
/** Go's MicroTime takes six digits after the point, no fewer and no more. */
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[-+]\d\d:\d\d)$/;

function emptyOf(type: Scalar): unknown {
  return type === 'string' ? '' : type === 'bool' ? false : 0;
}

function readScalar(value: unknown, shape: string, refuse: (found: string, type: string) => never): unknown {
  if (value === undefined || value === null) return undefined;
  const keep = shape.endsWith('!');
  const type = keep ? shape.slice(0, -1) : shape;
  switch (type) {
    case 'string':
      if (typeof value !== 'string') return refuse(typeName(value), 'string');
      return value === '' && !keep ? undefined : value;
    case 'bool':
      if (typeof value !== 'boolean') return refuse(typeName(value), 'bool');
      return value || keep ? value : undefined;
    case 'int32':
    case 'int64': {
      if (typeof value !== 'number') return refuse(typeName(value), type);
      const limit = type === 'int32' ? 2 ** 31 : Number.MAX_SAFE_INTEGER;
      if (!Number.isInteger(value) || value >= limit || value < -limit) return refuse(`number ${value}`, type);
      return value === 0 && !keep ? undefined : value;
    }
    case 'intstr':
      if (typeof value !== 'string' && typeof value !== 'number') return refuse(typeName(value), 'intstr.IntOrString');
      return value;
    case 'time':
    case 'microtime':
      if (typeof value !== 'string') return refuse(typeName(value), 'string');
      if (!(type === 'time' ? TIME : MICRO_TIME).test(value) || Number.isNaN(Date.parse(value))) {
        return refuse(`string ${JSON.stringify(value)}`, type === 'time' ? 'Time' : 'MicroTime');
      }
      return value;
    default:
      return value;
  }
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : typeof value;
}

const OWNER_REFERENCE: ObjectShape = {
  type: 'OwnerReference',
  fields: {
    apiVersion: 'string!',
    kind: 'string!',
    name: 'string!',
    uid: 'string!',
    controller: 'bool!',
    blockOwnerDeletion: 'bool!',
  },
};

const MANAGED_FIELDS: ObjectShape = {
  type: 'ManagedFieldsEntry',
  fields: {
    manager: 'string',
    operation: 'string',
    apiVersion: 'string',
    time: 'time',
    fieldsType: 'string',
    fieldsV1: 'any',
    subresource: 'string',
  },
};

export const OBJECT_META: ObjectShape = {
  type: 'ObjectMeta',
  always: true,
  fields: {
    name: 'string',
    generateName: 'string',
    namespace: 'string',
    selfLink: 'string',
    uid: 'string',
    resourceVersion: 'string',
    generation: 'int64',
    creationTimestamp: 'time',
    deletionTimestamp: 'time',
    deletionGracePeriodSeconds: 'int64!',
    labels: { map: 'string' },
    annotations: { map: 'string' },
    ownerReferences: { list: OWNER_REFERENCE },
    finalizers: { list: 'string' },
    managedFields: { list: MANAGED_FIELDS },
  },
};

export const OBJECT_REFERENCE: ObjectShape = {
  type: 'ObjectReference',
  fields: {
    kind: 'string',
    namespace: 'string',
    name: 'string',
    uid: 'string',
    apiVersion: 'string',
    resourceVersion: 'string',
    fieldPath: 'string',
  },
};

export const CONDITION: ObjectShape = {
  type: 'Condition',
  fields: {
    type: 'string!',
    status: 'string!',
    observedGeneration: 'int64',
    lastTransitionTime: 'time',
    reason: 'string!',
    message: 'string!',
  },
};
