/** What every kind's metadata must satisfy, what the server sets in it, and who is noted as the owner of which field. */
import type { Kind, KubeObject, ManagedFields, ObjectMeta } from '../kinds/kind.ts';
import { groupVersion } from '../kinds/kind.ts';
import {
  checkLabels,
  checkName,
  dns1035Label,
  dnsLabel,
  dnsSubdomain,
  type FieldError,
  forbiddenField,
  invalidValue,
  type NameRule,
  qualifiedName,
  required,
  tooLong,
} from './field-errors.ts';
import { isJsonObject, type JsonObject } from './schema.ts';

const MOST_ANNOTATION_BYTES = 256 * 1024;

/** The names of Services must be fit for DNS on their own, and begin with a letter. */
function nameRule(kind: Kind): NameRule {
  if (kind.kind === 'Service') return dns1035Label;
  return kind.kind === 'Namespace' ? dnsLabel : dnsSubdomain;
}

export function metadataErrors(metadata: ObjectMeta, kind: Kind): readonly FieldError[] {
  const errors: FieldError[] = [];
  const name = metadata.name ?? '';
  if (name === '') errors.push(required('metadata.name', 'name or generateName is required'));
  else errors.push(...checkName('metadata.name', name, nameRule(kind)));
  if (kind.namespaced && (metadata.namespace ?? '') === '') errors.push(required('metadata.namespace'));
  if (!kind.namespaced && metadata.namespace !== undefined) {
    errors.push(forbiddenField('metadata.namespace', 'not allowed on this type'));
  }
  if (kind.namespaced && metadata.namespace !== undefined) {
    errors.push(...checkName('metadata.namespace', metadata.namespace, dnsLabel));
  }
  errors.push(...checkLabels('metadata.labels', metadata.labels), ...annotationErrors(metadata.annotations));
  for (const [index, owner] of (metadata.ownerReferences ?? []).entries()) {
    for (const field of ['apiVersion', 'kind', 'name', 'uid'] as const) {
      if ((owner[field] ?? '') !== '') continue;
      errors.push(invalidValue(`metadata.ownerReferences[${index}].${field}`, '', `${field} must not be empty`));
    }
  }
  for (const [index, finalizer] of (metadata.finalizers ?? []).entries()) {
    errors.push(...checkName(`metadata.finalizers[${index}]`, finalizer, qualifiedName));
  }
  return errors;
}

function annotationErrors(annotations: Readonly<Record<string, string>> = {}): readonly FieldError[] {
  let bytes = 0;
  const errors = Object.entries(annotations).flatMap(([key, value]) => {
    bytes += key.length + value.length;
    return qualifiedName(key.toLowerCase()).map((fault) => invalidValue('metadata.annotations', key, fault));
  });
  return bytes > MOST_ANNOTATION_BYTES ? [...errors, tooLong('metadata.annotations', MOST_ANNOTATION_BYTES)] : errors;
}

/** One entry of managedFields per writer, as large as real ones are: clients must cope with it and keep none of it. */
export function manageFields(
  object: KubeObject,
  old: KubeObject | undefined,
  kind: Kind,
  writer: { readonly manager: string; readonly subresource: string; readonly time: string },
): ManagedFields[] {
  const same = (entry: ManagedFields) =>
    entry.manager === writer.manager &&
    (entry.subresource ?? '') === writer.subresource &&
    entry.operation === 'Update';
  const others = (old?.metadata.managedFields ?? []).filter((entry) => !same(entry));
  const { metadata, kind: _kind, apiVersion: _version, status, ...content } = object;
  const owned =
    writer.subresource === 'status'
      ? { status }
      : {
          metadata: {
            ...pick(metadata, 'labels'),
            ...pick(metadata, 'annotations'),
            ...pick(metadata, 'ownerReferences'),
          },
          ...content,
        };
  const entry: ManagedFields = {
    manager: writer.manager,
    operation: 'Update',
    apiVersion: groupVersion(kind),
    time: writer.time,
    fieldsType: 'FieldsV1',
    fieldsV1: fieldSet(owned),
    ...(writer.subresource === '' ? {} : { subresource: writer.subresource }),
  };
  return [...others, entry];
}

function pick(metadata: ObjectMeta, field: 'labels' | 'annotations' | 'ownerReferences'): JsonObject {
  return metadata[field] === undefined ? {} : { [field]: metadata[field] };
}

/** Lists whose items the server tells apart by keys; other lists are owned as a whole. */
const LIST_KEYS: Readonly<Record<string, readonly string[]>> = {
  ports: ['port', 'protocol'],
  conditions: ['type'],
  addresses: ['type'],
  ownerReferences: ['uid'],
};

function fieldSet(value: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== undefined)
      .map(([name, field]) => {
        if (isJsonObject(field))
          return [`f:${name}`, Object.keys(field).length === 0 ? {} : { '.': {}, ...fieldSet(field) }];
        const keys = LIST_KEYS[name];
        const items = Array.isArray(field) ? (field as readonly unknown[]).filter(isJsonObject) : [];
        if (keys === undefined || items.length === 0 || !items.every((item) => keys[0]! in item))
          return [`f:${name}`, {}];
        const sets = items.map((item) => {
          const key = Object.fromEntries(keys.filter((one) => one in item).map((one) => [one, item[one]]));
          return [`k:${JSON.stringify(key)}`, { '.': {}, ...fieldSet(item) }];
        });
        return [`f:${name}`, { '.': {}, ...Object.fromEntries(sets) }];
      }),
  );
}
