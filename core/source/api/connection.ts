/**
 * Requests to the API server over node:http and node:https: HTTP/1.1, so that each watch has a connection of its own
 * and none is held up by another. What is read is handed on as it comes.
 *
 *   request ──▶ rate limit ──▶ credentials ──▶ connect (10 s) ──▶ headers (30 s) ──▶ body: as long as it likes
 *
 * Nothing here repeats a request, and no timer runs on a body: both are for the caller, who knows what is normal.
 */
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { Clock, Logger } from '../../backend.ts';
import type { ApiConnection, ApiRequest, ApiResponse, ConnectionObserver } from './api-connection.ts';
import { type Identity, openCredentials } from './credentials.ts';
import type { Environment } from './environment-proxy.ts';
import { createRateLimit } from './rate-limit.ts';

export interface ConnectionOptions {
  /** Path; "" with `master` "" means a pod's own service account. */
  readonly kubeconfig: string;
  /** URL that replaces the kubeconfig's server; without a kubeconfig, the whole configuration. */
  readonly master: string;
  /** Requests a second over time, and at once. 0 = as the reference (5, 10); qps below 0 = no limit. */
  readonly qps: number;
  readonly burst: number;
  readonly userAgent: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly observer?: ConnectionObserver;
  /** Replaced by tests. */
  readonly environment?: Environment;
  readonly serviceAccountFolder?: string;
}

const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';
const CONNECT_MS = 10_000;
const HEADERS_MS = 30_000;
/** Finds a dead peer within minutes even where nobody reads; sooner is for who reads (the reflector's own limit). */
const KEEPALIVE_MS = 30_000;
/** The default of 250 ms for each of a name's addresses is too short for a server far away. */
const ADDRESS_ATTEMPT_MS = 2_000;
const TEXT_LIMIT_BYTES = 64 * 1024;

/** Rejects (KP_API_CONFIG) if what is configured can never work; a server that does not answer is no such thing. */
export async function openConnection(options: ConnectionOptions): Promise<ApiConnection> {
  const { clock, log, userAgent, observer } = options;
  const credentials = await openCredentials({
    kubeconfig: options.kubeconfig,
    master: options.master,
    log,
    environment: options.environment ?? process.env,
    serviceAccountFolder: options.serviceAccountFolder ?? SERVICE_ACCOUNT_FOLDER,
  });
  const limit = createRateLimit({ qps: options.qps, burst: options.burst, clock });
  const open = new Set<http.ClientRequest>();
  let closed = false;

  async function request(asked: ApiRequest): Promise<ApiResponse> {
    const asking = clock.now();
    await limit.acquire(asked.signal);
    const sending = clock.now();
    const told = { verb: asked.method ?? 'GET', host: URL.parse(credentials.server())?.host ?? '', code: '<error>' };
    try {
      const response = await exchange(asked);
      told.code = String(response.status);
      return response;
    } finally {
      const milliseconds = clock.now() - sending;
      log.verbose(6, 'Asked the API server', { ...told, path: asked.path, milliseconds: Math.round(milliseconds) });
      observer?.onRequest?.({
        ...told,
        durationSeconds: milliseconds / 1000,
        requestBytes: Buffer.byteLength(asked.body ?? ''),
        rateLimitedSeconds: (sending - asking) / 1000,
      });
    }
  }

  /** Resolves with the answer's headers; from then on, errors are the reader's of its body. */
  function exchange(asked: ApiRequest): Promise<ApiResponse> {
    const { signal, timeoutMs = HEADERS_MS } = asked;
    return new Promise((resolve, reject) => {
      let phase: 'asking' | 'answered' | 'over' = 'asking';
      let sent: http.ClientRequest | undefined;
      const timers: (() => void)[] = [];

      function fail(error: unknown): void {
        if (phase !== 'asking') return;
        finish();
        reject(error);
        sent?.destroy();
      }
      function finish(): void {
        phase = 'over';
        for (const cancel of timers) cancel();
        signal.removeEventListener('abort', abort);
        if (sent) open.delete(sent);
      }
      function abort(): void {
        fail(signal.reason);
        sent?.destroy();
      }
      function failAfter(milliseconds: number, what: string): () => void {
        const problem = `${what} within ${milliseconds / 1000} s`;
        const cancel = clock.after(milliseconds, () => fail(apiError('KP_API_TIMEOUT', problem, credentials.server())));
        timers.push(cancel);
        return cancel;
      }
      function send(identity: Identity): void {
        const request = start(asked, identity, userAgent);
        sent = request;
        open.add(request);
        whenConnected(request, failAfter(CONNECT_MS, 'no connection came about'));
        request.on('response', (message) => {
          if (phase !== 'asking') return;
          phase = 'answered';
          for (const cancel of timers) cancel();
          resolve(responseOf(message, (error) => describe(error, identity)));
        });
        request.on('error', (error) => fail(describe(error, identity)));
        // Comes last, also where the connection is kept for another request.
        request.on('close', () => {
          fail(apiError('KP_API_UNREACHABLE', 'the connection was closed', identity.server.origin));
          finish();
        });
        request.end(asked.body);
      }

      if (signal.aborted) return reject(signal.reason);
      if (closed) return reject(apiError('KP_API_UNREACHABLE', 'this program closed it', credentials.server()));
      signal.addEventListener('abort', abort);
      failAfter(timeoutMs, 'no answer came');
      credentials
        .current()
        .then((identity) => {
          if (phase === 'asking') send(identity);
        })
        .catch(fail);
    });
  }

  return {
    request,
    async reloadCredentials(reason) {
      log.verbose(2, 'The credentials are read again', { reason });
      credentials.renew();
    },
    close() {
      closed = true;
      for (const sent of open) sent.destroy();
      credentials.close();
    },
    get server() {
      return credentials.server();
    },
  };
}

function start(asked: ApiRequest, identity: Identity, userAgent: string): http.ClientRequest {
  const { server, headers, options } = identity;
  const { method = 'GET', body, contentType = 'application/json', compressed } = asked;
  return (server.protocol === 'http:' ? http : https).request({
    ...options,
    hostname: server.hostname.replace(/^\[|\]$/g, ''),
    port: server.port,
    // A server behind a gateway has a path of its own.
    path: server.pathname.replace(/\/$/, '') + asked.path,
    method,
    headers: {
      ...headers,
      accept: 'application/json',
      'user-agent': userAgent,
      ...(compressed ? { 'accept-encoding': 'gzip' } : {}),
      ...(body === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }),
    },
    autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_MS,
  } as https.RequestOptions);
}

/** Calls back when the request has a connection on which it can speak. */
function whenConnected(request: http.ClientRequest, callback: () => void): void {
  request.once('socket', (socket) => {
    socket.setKeepAlive(true, KEEPALIVE_MS);
    if (socket.connecting) socket.once('encrypted' in socket ? 'secureConnect' : 'connect', callback);
    else callback();
  });
}

function responseOf(message: http.IncomingMessage, describeError: (error: Error) => Error): ApiResponse {
  // An error after the last reader has gone is nobody's.
  message.on('error', () => {});
  const zipped = message.headers['content-encoding'] === 'gzip';
  const body: Readable = zipped ? pipeline(message, createGunzip(), () => {}) : message;
  const discard = (): void => {
    message.destroy();
    body.destroy();
  };
  async function* read(): AsyncGenerator<Uint8Array> {
    try {
      yield* body as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw describeError(error as Error);
    } finally {
      discard();
    }
  }
  const chunks = read();
  return {
    status: message.statusCode ?? 0,
    headers: message.headers as Readonly<Record<string, string | undefined>>,
    body: chunks,
    discard,
    async text(maxBytes = TEXT_LIMIT_BYTES) {
      const kept: Uint8Array[] = [];
      let length = 0;
      for await (const chunk of chunks) {
        kept.push(chunk.subarray(0, maxBytes - length));
        length += chunk.length;
        if (length >= maxBytes) break;
      }
      return Buffer.concat(kept).toString();
    },
  };
}

type ErrorCode = 'KP_API_UNREACHABLE' | 'KP_API_TIMEOUT' | 'KP_API_TLS';

function apiError(code: ErrorCode, problem: string, server: string, cause?: unknown): Error {
  return Object.assign(new Error(`${server}: ${problem}`, { cause }), { code });
}

/** OpenSSL's words for a chain that ends in nothing trusted; the others begin with CERT_ or ERR_TLS_ or ERR_SSL_. */
const UNTRUSTED = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|CRL_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA)/;
const TLS_FAULT = /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|EPROTO$)/;

function describe(error: Error, { origin, server: { origin: server } }: Identity): Error {
  // A name with several addresses fails once for each; the first says enough.
  const first = error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : error;
  const code = 'code' in first && typeof first.code === 'string' ? first.code : '';
  const message = first.message.split('\n')[0] || code || first.name;
  if (UNTRUSTED.test(code)) {
    const remedy = `correct certificate-authority or tls-server-name (${origin})`;
    return apiError('KP_API_TLS', `its certificate is not accepted (${message}); ${remedy}`, server, error);
  }
  if (TLS_FAULT.test(code)) return apiError('KP_API_TLS', `no TLS connection (${message}) (${origin})`, server, error);
  const via = origin.includes(', proxy ') ? ` (${origin})` : '';
  return apiError('KP_API_UNREACHABLE', `${message}${via}`, server, error);
}
