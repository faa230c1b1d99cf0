/** Between the text that the store keeps and the objects that rules work on. */
import { groupVersion, type Kind, type KubeObject, objectKey } from '../kinds/kind.ts';
import type { Version } from '../store/store.ts';

/** `{"kind":"Service","apiVersion":"v1",`, to which a version's tail completes the object. */
export function prefixOf(kind: Kind): string {
  return `{"kind":${JSON.stringify(kind.kind)},"apiVersion":${JSON.stringify(groupVersion(kind))},`;
}

export function textOf(kind: Kind, version: Version): string {
  return prefixOf(kind) + version.tail;
}

/** A fresh copy, without kind and apiVersion. */
export function objectOf(version: Version): KubeObject {
  return JSON.parse(`{${version.tail}`) as KubeObject;
}

export function makeVersion(kind: Kind, object: KubeObject, resourceVersion: number): Version {
  const { metadata, ...content } = object;
  const { name = '', namespace } = metadata;
  const whole = { metadata: { ...metadata, resourceVersion: String(resourceVersion) }, ...content };
  const selectable = Object.entries(kind.selectable).map(([label, read]) => [label, read(object)] as const);
  return {
    key: objectKey(metadata),
    namespace: namespace ?? '',
    name,
    resourceVersion,
    tail: JSON.stringify(whole).slice(1),
    labels: metadata.labels ?? {},
    fields: Object.fromEntries([['metadata.name', name], ['metadata.namespace', namespace ?? ''], ...selectable]),
  };
}
