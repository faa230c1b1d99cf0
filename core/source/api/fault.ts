/**
 * What can go wrong between this node and the API server, reduced to what has to be done about it. The server says it
 * in three ways: an HTTP status, a Status object as the body, or the same object as an ERROR event in a watch.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/ (resource versions, 410 Gone responses)
 */
import type { ApiResponse } from './api-connection.ts';
import { MalformedJSON } from './json-stream.ts';

export type FaultKind =
  /** No answer at all: refused, reset, no route, no name, no time. */
  | 'unreachable'
  /** The server's certificate or ours was not accepted. */
  | 'tls'
  /** The answer broke off, or was not what it should be. */
  | 'broken'
  /** An open stream on which nothing came for longer than the server would be silent. */
  | 'silent'
  /** 410: the version asked for is no longer known; only a new list helps. */
  | 'expired'
  /** The version asked for is not known yet: the server's data is older than ours (restored from a backup, say). */
  | 'ahead'
  /** 401. */
  | 'unauthorized'
  /** 403. */
  | 'forbidden'
  /** 404: the server does not have this resource. */
  | 'missing'
  /** 429. */
  | 'throttled'
  /** The request makes no sense to this server, now or later. */
  | 'refused'
  /** Anything else, 5xx above all: the same request may succeed later. */
  | 'server';

export interface Fault {
  readonly kind: FaultKind;
  /** One line without a full stop, for the log. */
  readonly message: string;
  /** 0 when there was no HTTP answer. */
  readonly status: number;
  /** How long the server asks to be left alone. */
  readonly retryAfterMs?: number;
}

/** Longer than anybody may tell a node to be blind. */
const LONGEST_RETRY_AFTER_MS = 5 * 60_000;
const REFUSALS: readonly number[] = [400, 405, 406, 415, 422, 501];

/** The fault that an HTTP answer other than 200 tells of; reads its body. */
export async function faultOfResponse(response: ApiResponse, nowMs = Date.now()): Promise<Fault> {
  const { status, headers } = response;
  let body: unknown;
  try {
    body = JSON.parse(await response.text());
  } catch {
    // Proxies in between answer with pages of their own, and what breaks off is no more help: the status will do.
  }
  const fault = faultOfStatus(body, status);
  const retryAfterMs = parseRetryAfter(headers['retry-after'], nowMs) ?? fault.retryAfterMs;
  return retryAfterMs === undefined ? fault : { ...fault, retryAfterMs };
}

/** The fault that a Status object tells of: the object of an ERROR event, or an answer's body if it is one. */
export function faultOfStatus(body: unknown, httpStatus = 0): Fault {
  const isStatus = fieldsOf(body).kind === 'Status';
  const { message, reason, code, details } = isStatus ? fieldsOf(body) : fieldsOf(undefined);
  const { retryAfterSeconds, causes } = fieldsOf(details);
  const status = httpStatus !== 0 ? httpStatus : typeof code === 'number' ? code : 0;
  const said = typeof message === 'string' && message !== '' ? message : typeof reason === 'string' ? reason : '';
  const asked = typeof retryAfterSeconds === 'number' && retryAfterSeconds > 0 ? retryAfterSeconds * 1000 : undefined;
  return {
    kind: kindOf(status, reason, causes, said),
    message: oneLine(said === '' ? `the server answered ${status || 'with an error that says nothing'}` : said),
    status,
    ...(asked === undefined ? {} : { retryAfterMs: Math.min(asked, LONGEST_RETRY_AFTER_MS) }),
  };
}

/** The fault behind something thrown while asking or reading. */
export function faultOfError(error: unknown): Fault {
  const message = oneLine(error instanceof Error ? error.message || error.name : String(error));
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const kind = error instanceof MalformedJSON ? 'broken' : code === 'KP_API_TLS' ? 'tls' : 'unreachable';
  return { kind, message, status: 0 };
}

/** An answer that is not what it should be. */
export function broken(message: string): Fault {
  return { kind: 'broken', message, status: 0 };
}

export function silent(limitMs: number): Fault {
  return { kind: 'silent', message: `nothing was heard for ${Math.round(limitMs / 1000)} s`, status: 0 };
}

/** RFC 9110 section 10.2.3: seconds, or a date. Undefined when it is neither or says nothing. */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(wait) || wait <= 0 ? undefined : Math.min(wait, LONGEST_RETRY_AFTER_MS);
}

function kindOf(status: number, reason: unknown, causes: unknown, message: string): FaultKind {
  // Told as 504 Timeout with a cause, because clients older than the cause are to try again.
  const tooLarge =
    Array.isArray(causes) && causes.some((cause) => fieldsOf(cause).reason === 'ResourceVersionTooLarge');
  if (tooLarge || /too large resource version/i.test(message)) return 'ahead';
  // The second text is etcd's own, which some servers pass on with status 500.
  if (status === 410 || reason === 'Expired' || reason === 'Gone') return 'expired';
  if (/required revision has been compacted/.test(message)) return 'expired';
  if (status === 401) return 'unauthorized';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'missing';
  if (status === 429) return 'throttled';
  return REFUSALS.includes(status) ? 'refused' : 'server';
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > 300 ? `${line.slice(0, 297)}...` : line;
}
