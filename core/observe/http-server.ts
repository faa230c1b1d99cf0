/**
 * An HTTP server that stays: bound where it was told, tried again while that is taken, moved while it runs, and not to
 * be worn out by anyone who can reach its port. This process is root and has one thread; what a client may take of it
 * is limited in time, bytes and connections.
 *
 *   bind ──ok──▶ serving ──rebind──▶ the new address first, then the old one is let go
 *     └─fails──▶ every 5 s again, said once, and once more when it works (or KP_BIND, if it must not fail)
 *
 * "0.0.0.0" and "::" both mean every address of both families, as they do for the reference: Go listens on one socket
 * for both when it is given either. Any other address is just that one.
 */
import { createServer, type Server } from 'node:http';
import type { Clock, Logger } from '../backend.ts';
import { type Connections, limitConnections } from './http-connections.ts';
import { createRequestListener } from './http-handler.ts';
import { type Listen, listenOn } from './http-listen.ts';
import type { Routes } from './http-reply.ts';

/** An IP address and a port; port 0 takes a free one. */
export interface BindTarget {
  readonly host: string;
  readonly port: number;
}

export interface HttpServerOptions {
  /** For the log and for errors: "health server". */
  readonly name: string;
  /** What the operator changes to listen elsewhere: "--healthz-bind-address". */
  readonly flag: string;
  readonly routes: Routes;
  /** Undefined: nowhere, until rebind(). */
  readonly target: BindTarget | undefined;
  /** Failing to bind rejects, instead of being tried again. */
  readonly hardFail: boolean;
  /** Told of the first failure of each streak. */
  readonly onBindFailure?: (failure: BindFailure) => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** Replaced by tests. */
  readonly listen?: Listen;
  readonly limits?: Partial<HttpLimits>;
}

/** What a client may take of the process. */
export interface HttpLimits {
  /** From the connection, or the first byte of the next request, to the end of its headers; and of its body. */
  readonly headersMs: number;
  readonly requestMs: number;
  /** How long a connection may wait for the next request. */
  readonly keepAliveMs: number;
  /** How long nothing may be sent or read, also while an answer is being prepared. */
  readonly silenceMs: number;
  /** How often the first two are looked at. */
  readonly checkMs: number;
  readonly connections: number;
  readonly headerBytes: number;
  readonly headers: number;
}

export interface BindFailure {
  readonly name: string;
  /** "0.0.0.0:10256" */
  readonly address: string;
  readonly error: Error;
}

export interface HttpServer {
  /** Where it serves now; undefined while it does not. */
  bound(): BindTarget | undefined;
  /** Serve there instead; undefined: nowhere. Rejects (KP_BIND) only with hardFail, and then serves where it did. */
  rebind(target: BindTarget | undefined, hardFail?: boolean): Promise<void>;
  /** Lets requests under way end for a moment; then ends everything. */
  close(): Promise<void>;
}

export const RETRY_MS = 5_000;
const LIMITS: HttpLimits = {
  headersMs: 5_000,
  requestMs: 10_000,
  // Beyond a scrape interval of one minute, so that scrapers keep their connection.
  keepAliveMs: 75_000,
  // Beyond the longest profile, which is silent until its end.
  silenceMs: 90_000,
  checkMs: 2_500,
  connections: 64,
  headerBytes: 8 * 1024,
  headers: 64,
};
const CLOSE_MS = 300;

interface OpenServer {
  readonly server: Server;
  readonly connections: Connections;
}

interface Serving extends OpenServer {
  /** With the real port where a free one was asked for. */
  readonly at: BindTarget;
}

/** Rejects (KP_BIND) only with hardFail. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { name, flag, routes, clock, log, listen = listenOn } = options;
  const limits = { ...LIMITS, ...options.limits };
  const listener = createRequestListener(routes, log, name);
  let wanted: BindTarget | undefined;
  let serving: Serving | undefined;
  let failing = false;
  let closed = false;
  let cancelRetry = (): void => {};
  /** One change of address at a time. */
  let turn: Promise<unknown> = Promise.resolve();

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = turn.then(work);
    turn = result.catch(() => {});
    return result;
  }

  function newServer(): OpenServer {
    const server = createServer(
      {
        headersTimeout: limits.headersMs,
        requestTimeout: limits.requestMs,
        keepAliveTimeout: limits.keepAliveMs,
        connectionsCheckingInterval: limits.checkMs,
        maxHeaderSize: limits.headerBytes,
      },
      listener,
    );
    server.maxHeadersCount = limits.headers;
    server.timeout = limits.silenceMs;
    return { server, connections: limitConnections(server, limits.connections) };
  }

  async function open(target: BindTarget): Promise<Serving> {
    const { host, port } = target;
    const everywhere = host === '0.0.0.0' || host === '::';
    let opened = newServer();
    try {
      await listen(opened.server, everywhere ? { host: '::', port, ipv6Only: false } : { host, port });
    } catch (error) {
      if (!everywhere || !NO_IPV6.includes(codeOf(error))) throw error;
      opened = newServer();
      await listen(opened.server, { host: '0.0.0.0', port });
    }
    opened.server.on('error', (error) => log.error('A server had a fault', { server: name, error }));
    const address = opened.server.address();
    return { ...opened, at: { host, port: typeof address === 'object' && address ? address.port : port } };
  }

  async function letGo(): Promise<void> {
    const before = serving;
    serving = undefined;
    if (before) await end(before, clock);
  }

  /** Make `wanted` true. */
  async function bind(hardFail: boolean): Promise<void> {
    cancelRetry();
    const target = wanted;
    if (closed) return;
    if (target === undefined || (serving && sameTarget(serving.at, target))) {
      failing = false;
      return target === undefined ? letGo() : undefined;
    }
    const before = serving;
    try {
      serving = await openInsteadOf(before, target);
    } catch (cause) {
      fail(target, cause, hardFail);
      return;
    }
    const values = { server: name, address: text(serving.at) };
    if (failing) log.info('Listening at last', values);
    else log.verbose(1, 'Listening', values);
    failing = false;
    if (before) void end(before, clock);
  }

  /** An address that overlaps with the present one can only be had once that one was let go. */
  async function openInsteadOf(before: Serving | undefined, target: BindTarget): Promise<Serving> {
    try {
      return await open(target);
    } catch (error) {
      if (!before || codeOf(error) !== 'EADDRINUSE' || before.at.port !== target.port) throw error;
      before.server.close();
      try {
        return await open(target);
      } catch (again) {
        // Its connections go on; only new ones were refused for a moment.
        serving = await open(before.at).catch(() => undefined);
        throw again;
      }
    }
  }

  function fail(target: BindTarget, cause: unknown, hardFail: boolean): void {
    const error = bindError(name, flag, target, cause);
    if (!failing) options.onBindFailure?.({ name, address: text(target), error });
    if (hardFail) throw error;
    if (!failing) log.error('Cannot listen; trying again until it works', { error, everySeconds: RETRY_MS / 1000 });
    failing = true;
    cancelRetry = clock.after(RETRY_MS, () => void inTurn(() => bind(false)));
  }

  const server: HttpServer = {
    bound: () => serving?.at,
    rebind(target, hardFail = options.hardFail) {
      wanted = target;
      return inTurn(() => bind(hardFail));
    },
    close() {
      closed = true;
      cancelRetry();
      return inTurn(letGo);
    },
  };
  await server.rebind(options.target, options.hardFail);
  return server;
}

/** A kernel without IPv6. */
const NO_IPV6: readonly unknown[] = ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL', 'EPROTONOSUPPORT'];

/** What is being answered gets a moment, all other connections none. */
async function end({ server, connections }: OpenServer, clock: Clock): Promise<void> {
  const cancel = clock.after(CLOSE_MS, () => server.closeAllConnections());
  const closed = new Promise<void>((resolve) => {
    // Already so for one that made room for its successor; then only its connections are left.
    server.close(() => resolve());
  });
  connections.closeIdle();
  await closed;
  cancel();
}

function bindError(name: string, flag: string, target: BindTarget, cause: unknown): Error {
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `${name}: cannot listen on ${text(target)}: ${why}: free the port, or choose another with ${flag}`;
  return Object.assign(new Error(message), { code: 'KP_BIND' });
}

function sameTarget(a: BindTarget, b: BindTarget): boolean {
  return a.host === b.host && a.port === b.port;
}

function text({ host, port }: BindTarget): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
