/**
 * One request about an event, until the API server has said something final about it. What may pass is tried again
 * with growing pauses (no answer, 401, 429, 5xx); everything else is its last word.
 */
import type { Clock } from '../backend.ts';

/** As much as is needed of a connection to the API server; structurally an `ApiConnection`. */
export interface EventApi {
  request(request: {
    readonly path: string;
    readonly method: 'POST' | 'PATCH';
    readonly contentType: string;
    readonly body: string;
    readonly signal: AbortSignal;
    readonly timeoutMs: number;
  }): Promise<EventAnswer>;
  /** After a 401. */
  reloadCredentials?(reason: string): Promise<void>;
}

export interface EventAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  text(maxBytes?: number): Promise<string>;
}

export interface EventRequest {
  readonly method: 'POST' | 'PATCH';
  readonly path: string;
  readonly contentType: string;
  readonly body: string;
}

/**
 * `exists`: a POST found the name taken, by ourselves if an answer got lost. `gone`: a PATCH found no event. `refused`:
 * no repetition would help. `unreachable`: given up after many tries, or because there is no time left.
 */
export type Delivery =
  | { readonly outcome: 'accepted' | 'exists' | 'gone' }
  | { readonly outcome: 'refused' | 'unreachable'; readonly reason: string };

export interface DeliveryOptions {
  readonly api: EventApi;
  readonly clock: Clock;
  /** 0 ≤ n < 1. Spreads the repetitions of many nodes, whose API server comes back at one moment. */
  readonly random: () => number;
  /** Aborted: no more repetitions. */
  readonly hurry: AbortSignal;
  /** Aborted: no more anything. */
  readonly end: AbortSignal;
}

const TRIES = 8;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
const LONGEST_RETRY_AFTER_MS = 60_000;
/** For a whole request and its answer; a connection that forgets its own limit must not hold up all events for ever. */
const LIMIT_MS = 15_000;
const HEADERS_LIMIT_MS = 10_000;

export async function deliver(request: EventRequest, options: DeliveryOptions): Promise<Delivery> {
  const { api, hurry, random } = options;
  for (let tried = 1; ; tried++) {
    const answer = await ask(request, options);
    const final = verdict(request.method, answer);
    if (final !== undefined) return final;
    if (tried === TRIES || hurry.aborted) return { outcome: 'unreachable', reason: answer.reason };
    if (answer.status === 401)
      await limited(options, async () => api.reloadCredentials?.(answer.reason)).catch(() => {});
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tried - 1)) * (0.5 + random() / 2);
    await rest(Math.max(pause, answer.retryAfterMs), options);
  }
}

interface Answer {
  /** 0: there was none. */
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs: number;
}

/** Undefined: try again. */
function verdict(method: 'POST' | 'PATCH', { status, reason }: Answer): Delivery | undefined {
  if (status >= 200 && status < 300) return { outcome: 'accepted' };
  if (status === 409 && method === 'POST') return { outcome: 'exists' };
  if (status === 404 && method === 'PATCH') return { outcome: 'gone' };
  const passing = status === 0 || status === 401 || status === 409 || status === 429 || status >= 500;
  return passing ? undefined : { outcome: 'refused', reason };
}

async function ask(request: EventRequest, options: DeliveryOptions): Promise<Answer> {
  try {
    return await limited(options, (signal) => talk(request, options.api, signal));
  } catch (error) {
    return { status: 0, reason: error instanceof Error ? error.message : String(error), retryAfterMs: 0 };
  }
}

async function talk(request: EventRequest, api: EventApi, signal: AbortSignal): Promise<Answer> {
  const response = await api.request({ ...request, signal, timeoutMs: HEADERS_LIMIT_MS });
  const text = await response.text();
  const seconds = Number(response.headers['retry-after'] ?? 0);
  const retryAfterMs = seconds > 0 ? Math.min(LONGEST_RETRY_AFTER_MS, seconds * 1000) : 0;
  return { status: response.status, reason: `${response.status} ${messageIn(text)}`.trim(), retryAfterMs };
}

/** What the server says in the Status object that comes with a refusal. */
function messageIn(text: string): string {
  try {
    const { message } = JSON.parse(text) as { readonly message?: unknown };
    return typeof message === 'string' ? message : '';
  } catch {
    return '';
  }
}

/** Rejects after the limit and at the end, whether or not `work` heeds the signal that it gets. */
async function limited<T>({ clock, end }: DeliveryOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const limit = new AbortController();
  const cancel = clock.after(LIMIT_MS, () => limit.abort(new Error(`no answer within ${LIMIT_MS / 1000} s`)));
  const signal = AbortSignal.any([end, limit.signal]);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(signal.reason));
  try {
    signal.throwIfAborted();
    return await Promise.race([work(signal), aborted]);
  } finally {
    cancel();
  }
}

/** Resolves after the pause, or when there is no time for it. */
function rest(milliseconds: number, { clock, hurry }: DeliveryOptions): Promise<void> {
  return new Promise((resolve) => {
    if (hurry.aborted) return resolve();
    const wake = (): void => {
      cancel();
      hurry.removeEventListener('abort', wake);
      resolve();
    };
    const cancel = clock.after(milliseconds, wake);
    hurry.addEventListener('abort', wake);
  });
}
