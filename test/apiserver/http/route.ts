/** What a method and a path mean: which resource, which object, which verb. Pure. */

import { readBoolean } from '../api/list-options.ts';
import type { Kind } from '../kinds/kind.ts';
import { KINDS } from '../kinds/kinds.ts';

export interface ResourceRoute {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
  readonly verb: string;
}

/** Undefined: the path is not of a resource that this server serves. */
export function resourceRoute(method: string, url: URL): ResourceRoute | undefined {
  const parts = url.pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent);
  const core = parts[0] === 'api' && parts[1] === 'v1';
  const [group, rest] = core ? ['', parts.slice(2)] : [parts[1] ?? '', parts.slice(3)];
  if (!core && (parts[0] !== 'apis' || parts[2] !== 'v1')) return undefined;
  const inNamespace = rest[0] === 'namespaces' && rest.length > 2 && isNamespacedPath(group, rest[2]!);
  const namespace = inNamespace ? rest[1]! : '';
  const [plural = '', name = '', subresource = '', ...more] = inNamespace ? rest.slice(2) : rest;
  const kind = KINDS.find((one) => one.group === group && one.plural === plural);
  if (kind === undefined || more.length > 0) return undefined;
  // A namespaced object is found only in its namespace; a list of all namespaces is fine.
  if (kind.namespaced && namespace === '' && name !== '') return undefined;
  if (!kind.namespaced && namespace !== '') return undefined;
  if (subresource !== '' && !(subresource === 'status' && kind.hasStatus)) return undefined;
  return { kind, namespace, name, subresource, verb: verbOf(method, name, url.searchParams) };
}

function isNamespacedPath(group: string, plural: string): boolean {
  return KINDS.some((kind) => kind.namespaced && kind.group === group && kind.plural === plural);
}

function verbOf(method: string, name: string, query: URLSearchParams): string {
  switch (method) {
    case 'GET':
      return name !== '' ? 'get' : readBoolean(query, 'watch') === true ? 'watch' : 'list';
    case 'POST':
      return name === '' ? 'create' : '';
    case 'PUT':
      return name === '' ? '' : 'update';
    case 'PATCH':
      return name === '' ? '' : 'patch';
    case 'DELETE':
      return name === '' ? 'deletecollection' : 'delete';
    default:
      return '';
  }
}
