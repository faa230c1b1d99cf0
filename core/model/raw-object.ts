/**
 * What all Kubernetes objects share as they come from JSON or YAML: the envelope (kind, metadata), and how a fault in
 * one of their fields is told. Nothing here trusts the value: an object may come from a hand-written file.
 *
 * A field of the wrong JSON type where the object makes no sense without it leaves the whole object out; any other
 * fault leaves out the smallest part that holds it. Both add a sentence to `problems`, and neither throws.
 */

export type RawObject = Readonly<Record<string, unknown>>;

export interface Envelope {
  readonly raw: RawObject;
  readonly namespace: string;
  readonly name: string;
  /** "" where a manifest has none. */
  readonly uid: string;
  readonly labels: RawObject;
  readonly annotations: RawObject;
}

export interface ObjectIdentity {
  /** "" where the object does not say, as for the items of a list. */
  readonly kind: string;
  readonly apiVersion: string;
  /** "" for what has none: a Node, a ServiceCIDR. */
  readonly namespace: string;
  readonly name: string;
}

/** Kinds without a namespace, of those that are read. */
const CLUSTER_SCOPED: readonly string[] = ['Node', 'ServiceCIDR'];
const NOTHING: RawObject = {};
const NO_ITEMS: readonly unknown[] = [];

/**
 * Names reach comments, set names and keys such as "namespace/name:port/TCP" of every data plane, so the API server's
 * own rule (RFC 1123 subdomain) is what keeps a manifest from writing rules of its own.
 */
const SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$/;
const PORT_NAME = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;

export function isObject(value: unknown): value is RawObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Which object this is, for messages and deletions; undefined when it does not say so itself. */
export function identify(raw: unknown): ObjectIdentity | undefined {
  if (!isObject(raw) || !isObject(raw.metadata)) return undefined;
  const { name, namespace } = raw.metadata;
  if (typeof name !== 'string' || name === '') return undefined;
  const kind = typeof raw.kind === 'string' ? raw.kind : '';
  const apiVersion = typeof raw.apiVersion === 'string' ? raw.apiVersion : '';
  const inNamespace = typeof namespace === 'string' && namespace !== '' ? namespace : 'default';
  return { kind, apiVersion, namespace: CLUSTER_SCOPED.includes(kind) ? '' : inNamespace, name };
}

/** Read kind and metadata; undefined, with a problem, when the object cannot be told from others. */
export function readEnvelope(raw: unknown, kind: string, problems: string[]): Envelope | undefined {
  if (!isObject(raw)) return refuse(problems, `${show(raw)} is not a ${kind} object`);
  if (!absent(raw.kind) && raw.kind !== kind) return refuse(problems, `kind: ${show(raw.kind)} is not ${kind}`);
  const { metadata } = raw;
  if (!isObject(metadata)) return refuse(problems, 'metadata: missing or not an object; give at least metadata.name');
  const { name } = metadata;
  if (!isSubdomain(name)) return refuse(problems, `metadata.name: ${show(name)} is not an object name`);
  const namespace = absent(metadata.namespace) || metadata.namespace === '' ? 'default' : metadata.namespace;
  if (!isSubdomain(namespace))
    return refuse(problems, `metadata.namespace: ${show(namespace)} is not a namespace name`);
  const labels = readMap(metadata.labels, 'metadata.labels', problems);
  const annotations = readMap(metadata.annotations, 'metadata.annotations', problems);
  const uid = typeof metadata.uid === 'string' ? metadata.uid : '';
  return { raw, namespace, name, uid, labels, annotations };
}

/** An optional list: absent is empty; anything but a list is reported and empty. */
export function readList(value: unknown, field: string, problems: string[]): readonly unknown[] {
  if (absent(value)) return NO_ITEMS;
  if (Array.isArray(value)) return value;
  problems.push(`${field}: ${show(value)} is not a list; ignored`);
  return NO_ITEMS;
}

/** An optional object: absent is empty; anything else is reported and empty. */
export function readMap(value: unknown, field: string, problems: string[]): RawObject {
  if (absent(value)) return NOTHING;
  if (isObject(value)) return value;
  problems.push(`${field}: ${show(value)} is not an object; ignored`);
  return NOTHING;
}

/** An optional text: absent is ""; anything else is reported and "". */
export function readText(value: unknown, field: string, problems: string[]): string {
  if (absent(value)) return '';
  if (typeof value === 'string') return value;
  problems.push(`${field}: ${show(value)} is not text; ignored`);
  return '';
}

const OWN_ANNOTATIONS = 'kube-proxy.io/';

/** Those of its annotations that are for kube-proxy; undefined when there are none. */
export function readOwnAnnotations(
  { annotations }: Envelope,
  problems: string[],
): Readonly<Record<string, string>> | undefined {
  let own: Record<string, string> | undefined;
  for (const [key, value] of Object.entries(annotations)) {
    if (!key.startsWith(OWN_ANNOTATIONS)) continue;
    if (typeof value === 'string') {
      own ??= {};
      own[key] = value;
    } else problems.push(`metadata.annotations["${key}"]: ${show(value)} is not text; ignored`);
  }
  return own;
}

/** A choice with a default: absent or "" takes it silently, an unknown value with a problem. */
export function readChoice<T extends string>(
  value: unknown,
  choices: readonly [T, ...T[]],
  field: string,
  problems: string[],
): T {
  if (absent(value) || value === '') return choices[0];
  const choice = choices.find((candidate) => candidate === value);
  if (choice !== undefined) return choice;
  problems.push(`${field}: ${show(value)} is not one of ${choices.join(', ')}; taken as ${choices[0]}`);
  return choices[0];
}

/** The API leaves out what is not set, but older Go types write null. */
export function absent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

export function isPortNumber(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65535;
}

export function isPortName(name: string): boolean {
  return name === '' || (name.length <= 63 && PORT_NAME.test(name));
}

/** A value as it appears in a problem: escaped and short, whatever it is (cyclic YAML aliases included). */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 100 ? `${value.slice(0, 97)}...` : value);
  if (Array.isArray(value)) return 'a list';
  if (value === null || value === undefined) return 'nothing';
  return typeof value === 'object' ? 'an object' : String(value);
}

function isSubdomain(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 253 && SUBDOMAIN.test(value);
}

function refuse(problems: string[], problem: string): undefined {
  problems.push(`${problem}; the object is left out`);
  return undefined;
}
