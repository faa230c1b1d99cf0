/**
 * One document of a watch → what it says.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/ ("Efficient detection of changes", "Streaming lists")
 */
import { type Fault, faultOfStatus } from './fault.ts';

export type WatchEvent =
  /** ADDED or MODIFIED; which of them makes no difference to what is true afterwards. */
  | { readonly type: 'put'; readonly raw: unknown }
  | { readonly type: 'remove'; readonly raw: unknown }
  | {
      readonly type: 'bookmark';
      readonly version: string;
      /** All objects that existed when the watch began have been sent. */
      readonly initialEventsEnd: boolean;
    }
  | { readonly type: 'error'; readonly fault: Fault }
  | { readonly type: 'unknown'; readonly text: string };

/** Which object this is; `version` and `uid` are "" where it does not say. */
export interface ObjectIdentity {
  /** "namespace/name", or "name" without a namespace. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly version: string;
}

const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

export function readWatchEvent(document: unknown): WatchEvent {
  const { type, object } = fieldsOf(document);
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
      return { type: 'put', raw: object };
    case 'DELETED':
      return { type: 'remove', raw: object };
    case 'BOOKMARK': {
      const { resourceVersion, annotations } = fieldsOf(fieldsOf(object).metadata);
      const initialEventsEnd = fieldsOf(annotations)[INITIAL_EVENTS_END] === 'true';
      return { type: 'bookmark', version: textOf(resourceVersion), initialEventsEnd };
    }
    case 'ERROR':
      return { type: 'error', fault: faultOfStatus(object) };
    default:
      return { type: 'unknown', text: JSON.stringify(type)?.slice(0, 100) ?? 'nothing' };
  }
}

/** Undefined when it has no name: then it can neither be kept nor be told from others. */
export function readIdentity(raw: unknown, namespaced: boolean): ObjectIdentity | undefined {
  const metadata = fieldsOf(fieldsOf(raw).metadata);
  const name = textOf(metadata.name);
  const namespace = namespaced ? textOf(metadata.namespace) : '';
  if (name === '' || (namespaced && namespace === '')) return undefined;
  const key = namespaced ? `${namespace}/${name}` : name;
  return { key, namespace, name, uid: textOf(metadata.uid), version: textOf(metadata.resourceVersion) };
}

/** Of the object in an event; "" where it does not say. */
export function readEventVersion(raw: unknown): string {
  return textOf(fieldsOf(fieldsOf(raw).metadata).resourceVersion);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
