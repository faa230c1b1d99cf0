/**
 * The text of one manifest → the objects in it. Pure.
 *
 *   text ──▶ documents (YAML, or JSON when the name says so) ──▶ items of lists ──▶ model parsers ──▶ contents
 *
 * Three kinds of fault, each with its own reach: a text that is not YAML spoils the file, an object that cannot be
 * read spoils itself, and a field that is stepped over is only reported.
 */
import { LineCounter, parseAllDocuments } from 'yaml';
import type { EndpointSlice, Node, Parsed, Service, ServiceCIDR } from '../../model/objects.ts';
import { parseEndpointSlice } from '../../model/parse-endpointslice.ts';
import { parseNode } from '../../model/parse-node.ts';
import { parseService } from '../../model/parse-service.ts';
import { parseServiceCIDR } from '../../model/parse-servicecidr.ts';
import { identify } from '../../model/raw-object.ts';

/** An object of ours as a manifest gives it. `value` is undefined for one that is not ours to serve (headless, …). */
export type ManifestObject = {
  /** "Service namespace/name"; for a Node "Node name", a ServiceCIDR "ServiceCIDR name". */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
} & (
  | { readonly kind: 'Service'; readonly value: Service | undefined }
  | { readonly kind: 'EndpointSlice'; readonly value: EndpointSlice | undefined }
  | { readonly kind: 'Node'; readonly value: Node | undefined }
  | { readonly kind: 'ServiceCIDR'; readonly value: ServiceCIDR | undefined }
);

export interface ManifestContents {
  /** By id, in the order of the text. */
  readonly objects: ReadonlyMap<string, ManifestObject>;
  /** Ids of objects that are there but could not be read. */
  readonly invalid: ReadonlySet<string>;
  /** One line each, naming the object or the document. */
  readonly problems: readonly string[];
  /** What is none of our business, as "kind namespace/name". */
  readonly ignored: readonly string[];
}

export type ParsedManifest =
  | { readonly kind: 'good'; readonly contents: ManifestContents }
  /** Not YAML or JSON; says where and why. */
  | { readonly kind: 'malformed'; readonly problem: string };

/** The API groups and versions that the model reads. */
const API_VERSIONS: Readonly<Record<ManifestObject['kind'], string>> = {
  Service: 'v1',
  Node: 'v1',
  EndpointSlice: 'discovery.k8s.io/v1',
  ServiceCIDR: 'networking.k8s.io/v1',
};

/** Typed lists give their items a kind that the items themselves may leave out. */
const LISTS: Readonly<Record<string, ManifestObject['kind'] | undefined>> = {
  ServiceList: 'Service',
  NodeList: 'Node',
  EndpointSliceList: 'EndpointSlice',
  ServiceCIDRList: 'ServiceCIDR',
};

export function parseManifest(text: string, format: 'yaml' | 'json'): ParsedManifest {
  const documents = parseDocuments(text, format);
  if (typeof documents === 'string') return { kind: 'malformed', problem: documents };
  const collected: Collected = { objects: new Map(), invalid: new Set(), problems: [], ignored: [], lists: new Set() };
  documents.forEach((document, index) => {
    collect(collected, document, documents.length > 1 ? `document ${index + 1}` : 'the document');
  });
  return { kind: 'good', contents: collected };
}

/** An object that the new text spoiled stays as the last text had it, as long as the file still names it. */
export function keepSpoiled(
  before: ReadonlyMap<string, ManifestObject>,
  contents: ManifestContents,
): ReadonlyMap<string, ManifestObject> {
  const objects = new Map(contents.objects);
  for (const id of contents.invalid) {
    const old = before.get(id);
    if (old && !objects.has(id)) objects.set(id, old);
  }
  return objects;
}

/** The documents as plain values, or what is wrong with the text. */
function parseDocuments(text: string, format: 'yaml' | 'json'): readonly unknown[] | string {
  if (format === 'json' && text.trim() !== '') {
    try {
      return [JSON.parse(text)];
    } catch {
      // YAML holds all of JSON, and also comments and several documents; and it tells the line of a fault.
    }
  }
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, merge: true });
    const values: unknown[] = [];
    for (const document of documents) {
      const [error] = document.errors;
      if (error) {
        const { line, col } = lines.linePos(error.pos[0]);
        return `line ${line}, column ${col}: ${error.message}`;
      }
      // The library's limit on aliases stays in force: a few lines can otherwise unfold to gigabytes.
      const value: unknown = document.toJS();
      if (value !== null && value !== undefined) values.push(value);
    }
    return values;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

interface Collected {
  readonly objects: Map<string, ManifestObject>;
  readonly invalid: Set<string>;
  readonly problems: string[];
  readonly ignored: string[];
  /** Lists that were walked: an anchor can make a list contain itself. */
  readonly lists: Set<object>;
}

function collect(into: Collected, raw: unknown, where: string, kindInList?: ManifestObject['kind']): void {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    into.problems.push(`${where}: is not a Kubernetes object; ignored: give it apiVersion, kind and metadata`);
    return;
  }
  const fields: Readonly<Record<string, unknown>> = { ...raw };
  const kind = typeof fields.kind === 'string' ? fields.kind : (kindInList ?? '');
  if (kind === 'List' || LISTS[kind] !== undefined) {
    if (into.lists.has(raw)) return;
    into.lists.add(raw);
    const { items } = fields;
    if (Array.isArray(items)) {
      items.forEach((item, index) => {
        collect(into, item, `${where}, items[${index}]`, LISTS[kind]);
      });
    } else if (items !== undefined && items !== null) {
      into.problems.push(`${where}: items of the ${kind} is not a list; ignored`);
    }
    return;
  }
  if (kind === '') {
    into.problems.push(`${where}: has no kind; ignored: write for example "kind: Service"`);
    return;
  }
  const apiVersion = typeof fields.apiVersion === 'string' ? fields.apiVersion : '';
  const served = isServed(kind) ? kind : undefined;
  const identity = identify({ ...raw, kind, apiVersion: apiVersion || 'v1' });
  const named = identity ? `${kind} ${displayName(identity.namespace, identity.name)}` : kind;
  if (!served || (apiVersion !== '' && groupOf(apiVersion) !== groupOf(API_VERSIONS[served]))) {
    into.ignored.push(named);
    return;
  }
  if (!identity) {
    into.problems.push(`${where}: ${kind} has no metadata.name; ignored: give it one`);
    return;
  }
  const wanted = API_VERSIONS[served];
  const { namespace, name } = identity;
  const id = `${served} ${displayName(namespace, name)}`;
  if (into.objects.has(id) || into.invalid.has(id)) {
    into.problems.push(`${id}: is in this file twice; the first counts, ${where} is ignored: remove one`);
    return;
  }
  if (apiVersion !== wanted && !(apiVersion === '' && kindInList !== undefined)) {
    into.invalid.add(id);
    const found = apiVersion === '' ? 'apiVersion is missing' : `apiVersion ${apiVersion} is not supported`;
    into.problems.push(`${id}: ${found}; ignored: write "apiVersion: ${wanted}"`);
    return;
  }
  const found = parseObject(served, raw, id, namespace, name);
  for (const problem of found.problems) into.problems.push(`${id}: ${problem}`);
  // Undefined without a word is an object that is not ours to serve; with a word, one that is broken.
  if (found.object.value === undefined && found.problems.length > 0) into.invalid.add(id);
  else into.objects.set(id, found.object);
}

interface FoundObject {
  readonly object: ManifestObject;
  readonly problems: readonly string[];
}

function parseObject(
  kind: ManifestObject['kind'],
  raw: object,
  id: string,
  namespace: string,
  name: string,
): FoundObject {
  switch (kind) {
    case 'Service': {
      const { value, problems }: Parsed<Service> = parseService(raw);
      return { object: { kind, id, namespace, name, value }, problems };
    }
    case 'EndpointSlice': {
      const { value, problems }: Parsed<EndpointSlice> = parseEndpointSlice(raw);
      return { object: { kind, id, namespace, name, value }, problems };
    }
    case 'Node': {
      const { value, problems }: Parsed<Node> = parseNode(raw);
      return { object: { kind, id, namespace, name, value }, problems };
    }
    case 'ServiceCIDR': {
      const { value, problems }: Parsed<ServiceCIDR> = parseServiceCIDR(raw);
      return { object: { kind, id, namespace, name, value }, problems };
    }
  }
}

function isServed(kind: string): kind is ManifestObject['kind'] {
  return Object.hasOwn(API_VERSIONS, kind);
}

/** "discovery.k8s.io/v1" → "discovery.k8s.io"; "v1" → "" (the core group). */
function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
}

function displayName(namespace: string, name: string): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}
