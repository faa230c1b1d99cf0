/**
 * One request from its first header to its answer, in the order of a real server's filters:
 *
 *   audit id → faults → who → may they → route → body and options → the verb → answer
 */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../../core/backend.ts';
import { parseListOptions } from '../api/list-options.ts';
import { textOf } from '../api/objects.ts';
import { PATCH_TYPES, type PatchType } from '../api/patch.ts';
import { isJsonObject } from '../api/schema.ts';
import {
  type ApiError,
  badRequest,
  expired,
  failure,
  isApiError,
  methodNotAllowed,
  notFound,
  success,
} from '../api/status.ts';
import { keyOf, type WriteContext, type Writer, type Written } from '../api/writes.ts';
import { type Fault, type Faults, faultOf } from '../faults.ts';
import { fieldLabels } from '../kinds/kinds.ts';
import type { Store } from '../store/store.ts';
import {
  answerJSON,
  answerStatus,
  answerText,
  mediaType,
  mustAcceptJSON,
  readBody,
  setCommonHeaders,
} from './answer.ts';
import { authenticate, authorize, authorizePath, type Rule, type Tokens, type User } from './auth.ts';
import { discovery } from './discovery.ts';
import { list, listText, minimumVersion } from './list.ts';
import { createOutlet, type Outlet, type ResetConnection } from './outlet.ts';
import { type ResourceRoute, resourceRoute } from './route.ts';
import { type OpenWatch, serveWatch, type WatchServices } from './watch.ts';

/** One line of the log of requests. */
export interface RequestRecord {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** "" until, and unless, the user is known. */
  readonly user: string;
  /** Milliseconds of the server's clock. */
  readonly at: number;
  readonly verb: string;
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly userAgent: string;
  readonly contentType: string;
  /** The parsed body of a write. */
  readonly body: unknown;
  /** Of the answer; 0 while there is none. */
  readonly status: number;
}

export interface HandlerServices extends Omit<WatchServices, 'open'> {
  readonly open: Set<OpenWatch>;
  readonly store: Store;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly tokens: Tokens;
  readonly anonymous: boolean;
  readonly watchList: boolean;
  rules(): readonly Rule[] | undefined;
  record(entry: RequestRecord): void;
  newAuditID(): string;
  readonly resetConnection: ResetConnection;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const BODY_TYPES = ['application/json', 'application/yaml', ''];

export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export function createHandler(services: HandlerServices): Handler {
  return async (request, response) => {
    const url = new URL(request.url ?? '/', 'https://server');
    const method = request.method ?? 'GET';
    const route = resourceRoute(method, url);
    const record: Mutable<RequestRecord> = {
      method,
      path: url.pathname,
      query: url.searchParams,
      user: '',
      at: services.clock.now(),
      verb: route?.verb ?? 'discovery',
      resource: route?.kind.plural ?? '',
      namespace: route?.namespace ?? '',
      name: route?.name ?? '',
      userAgent: request.headers['user-agent'] ?? '',
      contentType: request.headers['content-type'] ?? '',
      body: undefined,
      status: 0,
    };
    services.record(record);
    setCommonHeaders(response, services.newAuditID());
    const writeHead = response.writeHead;
    response.writeHead = ((...args: Parameters<typeof writeHead>) => {
      record.status = args[0];
      return writeHead.apply(response, args);
    }) as typeof writeHead;
    try {
      await handle(request, response, url, route, record, services);
    } catch (error) {
      if (response.headersSent || response.destroyed) {
        response.destroy();
        return;
      }
      const status = isApiError(error) ? error.status : failure(500, 'InternalError', describe(error)).status;
      answerStatus(response, status);
    }
  };
}

function describe(error: unknown): string {
  return `Internal error occurred: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  route: ResourceRoute | undefined,
  record: Mutable<RequestRecord>,
  services: HandlerServices,
): Promise<void> {
  let refused: unknown;
  let user: User = { name: '', groups: [] };
  try {
    user = authenticate(request, services.tokens, services.anonymous);
    record.user = user.name;
  } catch (error) {
    refused = error;
  }
  const faults = services.faults.strike({ verb: record.verb, resource: record.resource, user: user.name });
  if (await misbehave(response, faults, record.verb, services)) return;
  if (refused !== undefined) throw refused;

  const outlet = createOutlet(response, faults, services.clock, services.resetConnection);
  checkTimeout(url.searchParams, record.verb);
  if (route === undefined) {
    authorizePath(user, url.pathname, services.rules());
    const page = request.method === 'GET' ? discovery(url.pathname) : undefined;
    if (/^\/(healthz|livez|readyz)$/.test(url.pathname)) answerText(response, 200, 'ok');
    else if (page === undefined) answerText(response, 404, '404 page not found\n');
    else await answerJSON(request, response, outlet, 200, [JSON.stringify(page), '\n']);
    return;
  }
  const { kind, namespace, name, subresource, verb } = route;
  if (verb === '') throw methodNotAllowed();
  authorize(user, { verb, resource: kind, subresource, namespace, name }, services.rules());
  mustAcceptJSON(request);
  if (verb === 'list' || verb === 'watch') {
    await read(request, response, url, route, user, outlet, faults, services);
    return;
  }
  const context = writeContext(url.searchParams, route, request);
  const answer = (written: Written) => {
    for (const warning of written.warnings) response.appendHeader('Warning', `299 - ${JSON.stringify(warning)}`);
    return answerJSON(request, response, outlet, written.created ? 201 : 200, [written.text, '\n']);
  };
  const take = async (types: readonly string[], required = true) => {
    record.body = await readBody(request, types, required);
    return record.body;
  };
  const { writer, store } = services;
  switch (verb) {
    case 'get': {
      const version = store.table(kind.plural).get(keyOf(kind, context));
      if (version === undefined) throw notFound(kind, name);
      return answerJSON(request, response, outlet, 200, [textOf(kind, version), '\n']);
    }
    case 'create':
      if (kind.namespaced && namespace === '') throw methodNotAllowed();
      return answer(writer.create(kind, await take(BODY_TYPES), context));
    case 'update':
      return answer(writer.update(kind, await take(BODY_TYPES), context));
    case 'patch': {
      const type = PATCH_TYPES.find((one) => one === mediaType(request));
      const body = await take([...PATCH_TYPES]);
      return answer(writer.patch(kind, type as PatchType, body, context));
    }
    case 'delete': {
      const preconditions = readPreconditions(await take(BODY_TYPES, false));
      const { object, gone } = writer.delete(kind, context, preconditions);
      const type = { kind: kind.kind, apiVersion: kind.group === '' ? kind.version : `${kind.group}/${kind.version}` };
      const status = success({
        name,
        ...(kind.group === '' ? {} : { group: kind.group }),
        kind: kind.plural,
        uid: object.metadata.uid ?? '',
      });
      const body = kind.deleteReturnsObject || !gone ? { ...type, ...object } : status;
      return answerJSON(request, response, outlet, 200, [JSON.stringify(body), '\n']);
    }
    default: {
      await take(BODY_TYPES, false);
      const options = parseListOptions(url.searchParams, fieldLabels(kind), services.watchList);
      const answered = list(store, kind, namespace, options);
      for (const item of answered.items) {
        writer.delete(kind, { ...context, namespace: item.namespace, name: item.name }, {});
      }
      return answerJSON(request, response, outlet, 200, listText(kind, answered));
    }
  }
}

async function read(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  { kind, namespace, verb }: ResourceRoute,
  user: User,
  outlet: Outlet,
  faults: readonly Fault[],
  services: HandlerServices,
): Promise<void> {
  const query = new URLSearchParams(url.searchParams);
  if (faultOf(faults, 'watchListIgnored') !== undefined) {
    query.delete('sendInitialEvents');
    query.delete('resourceVersionMatch');
  }
  const watchList = services.watchList && faultOf(faults, 'watchListRefused') === undefined;
  const options = parseListOptions(query, fieldLabels(kind), watchList);
  if (verb === 'watch') {
    await serveWatch(
      { kind, namespace, user: user.name, query: url.searchParams, options, response, outlet, faults },
      services,
    );
    return;
  }
  const wanted = minimumVersion(options);
  if (wanted > services.store.resourceVersion()) await services.waitForVersion(wanted);
  const answer = list(services.store, kind, namespace, options);
  await answerJSON(request, response, outlet, 200, listText(kind, answer));
}

/** Faults that stand in for the whole answer. True: the request is dealt with. */
async function misbehave(
  response: ServerResponse,
  faults: readonly Fault[],
  verb: string,
  services: HandlerServices,
): Promise<boolean> {
  const expiredFault = faultOf(faults, 'expired');
  if (expiredFault !== undefined && (expiredFault.as === 'http' || verb !== 'watch')) {
    answerStatus(response, expired('The resourceVersion for the provided list is too old.').status);
    return true;
  }
  if (faultOf(faults, 'reset') !== undefined) {
    services.resetConnection(response);
    return true;
  }
  if (faultOf(faults, 'silence') !== undefined) {
    await once(response, 'close');
    return true;
  }
  if (faultOf(faults, 'empty') !== undefined) {
    response.setHeader('Content-Type', 'application/json');
    response.writeHead(200);
    response.flushHeaders();
    response.end();
    return true;
  }
  const answer = faultOf(faults, 'answer');
  if (answer === undefined) return false;
  const retryAfter = answer.retryAfter ?? answer.retryAfterSeconds;
  if (retryAfter !== undefined) response.setHeader('Retry-After', String(retryAfter));
  if (answer.body !== undefined) {
    response.writeHead(answer.status, { 'Content-Type': answer.contentType ?? 'application/json' });
    response.end(answer.body);
  } else if (answer.status === 429) answerText(response, 429, 'Too many requests, please try again later.\n');
  else if (answer.status === 503) answerText(response, 503, 'Service Unavailable\n');
  else answerStatus(response, failureOf(answer.status).status);
  return true;
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  500: 'InternalError',
  504: 'Timeout',
};

function failureOf(code: number): ApiError {
  return failure(
    code,
    REASONS[code] ?? '',
    code === 500 ? 'Internal error occurred: scripted' : `scripted answer ${code}`,
  );
}

function writeContext(query: URLSearchParams, route: ResourceRoute, request: IncomingMessage): WriteContext {
  const dryRun = query.getAll('dryRun').filter((value) => value !== '');
  if (dryRun.some((value) => value !== 'All')) {
    throw badRequest(`Invalid value: ${JSON.stringify(dryRun)}: dryRun: Unsupported value: supported values: "All"`);
  }
  const validation = query.get('fieldValidation') ?? '';
  if (validation !== '' && validation !== 'Strict' && validation !== 'Warn' && validation !== 'Ignore') {
    throw badRequest(
      `fieldValidation: Unsupported value: ${JSON.stringify(validation)}: supported values: "", "Ignore", "Strict", "Warn"`,
    );
  }
  const agent = (request.headers['user-agent'] ?? 'unknown').split('/')[0] ?? 'unknown';
  return {
    namespace: route.namespace,
    name: route.name,
    subresource: route.subresource === 'status' ? 'status' : '',
    manager: (query.get('fieldManager') ?? '') || agent,
    dryRun: dryRun.length > 0,
    fieldValidation: validation === '' ? 'Warn' : validation,
  };
}

function readPreconditions(body: unknown): { readonly uid?: string; readonly resourceVersion?: string } {
  if (body === undefined || body === null) return {};
  if (!isJsonObject(body)) throw badRequest('unable to decode DeleteOptions');
  if (body.kind !== undefined && body.kind !== 'DeleteOptions') {
    throw badRequest(`decoded object cannot be converted to DeleteOptions: ${String(body.kind)}`);
  }
  return isJsonObject(body.preconditions) ? body.preconditions : {};
}

/** ?timeout= bounds requests that are not watches; it is a duration in Go's notation. */
function checkTimeout(query: URLSearchParams, verb: string): void {
  const timeout = query.get('timeout');
  if (verb === 'watch' || timeout === null || timeout === '') return;
  if (timeout === '0' || /^([-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+$/.test(timeout)) return;
  throw badRequest(`invalid timeout specified in the request URL - time: invalid duration ${JSON.stringify(timeout)}`);
}
