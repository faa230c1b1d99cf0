/**
 * Between Node.js' HTTP messages and our routes: finds the route, reads no more of a body than it wants, writes the
 * reply. Whatever a route throws becomes 500 here; nothing that a client sends can.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '../backend.ts';
import { type HttpReply, type HttpRequest, NO_SNIFF, plain, type Route, type Routes } from './http-reply.ts';

export type RequestListener = (request: IncomingMessage, response: ServerResponse) => void;

/** `server` names it in the log. */
export function createRequestListener(routes: Routes, log: Logger, server: string): RequestListener {
  /** Paths whose fault was told: one bug must not fill the log, however often a client asks for it. */
  const told = new Set<Route>();

  async function answer(request: IncomingMessage, response: ServerResponse, closed: AbortController): Promise<void> {
    const { path, query } = target(request.url ?? '');
    const method = request.method ?? '';
    const route = routes(path);
    if (!route) return send(response, request, plain('404 page not found\n', 404));
    if (route.methods && !route.methods.includes(method === 'HEAD' ? 'GET' : method)) {
      const allow = route.methods.flatMap((each) => (each === 'GET' ? ['GET', 'HEAD'] : each)).join(', ');
      const reply = plain(`405 method not allowed: use ${allow}\n`, 405);
      return send(response, request, { ...reply, headers: { ...reply.headers, Allow: allow } });
    }
    try {
      const asked: HttpRequest = {
        method,
        path,
        query,
        headers: request.headers,
        body: () => readBody(request, route.bodyLimit ?? 0),
        signal: closed.signal,
      };
      send(response, request, await route.handle(asked));
    } catch (error) {
      if (error instanceof BodyTooLarge) return send(response, request, plain('413 body too large\n', 413));
      if (closed.signal.aborted) return;
      if (!told.has(route)) log.error('A request could not be answered; this is a bug', { server, path, error });
      told.add(route);
      send(response, request, plain('500 internal error, see the log\n', 500));
    }
  }

  return (request, response) => {
    const closed = new AbortController();
    response.once('close', () => closed.abort());
    // A client that breaks off while it sends is no fault of ours.
    request.on('error', () => {});
    response.on('error', () => {});
    answer(request, response, closed).catch((error: unknown) => {
      log.verbose(2, 'An answer could not be sent', { server, error });
      response.destroy();
    });
  };
}

function send(response: ServerResponse, request: IncomingMessage, reply: HttpReply): void {
  if (response.destroyed || response.headersSent) return;
  const { status = 200, type = 'text/plain; charset=utf-8', headers = NO_SNIFF, body } = reply;
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength;
  // What it still has to send is not waited for, nor taken for the next request.
  const unread = !request.complete && hasBody(request);
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': length,
    ...headers,
    ...(unread ? { Connection: 'close' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Of "/metrics?a=b", and of the form that proxies get, "http://host/metrics". */
function target(url: string): { readonly path: string; readonly query: URLSearchParams } {
  const local = url.replace(/^https?:\/\/[^/?#]*/i, '');
  const at = local.indexOf('?');
  return {
    path: at < 0 ? local : local.slice(0, at),
    query: new URLSearchParams(at < 0 ? '' : local.slice(at + 1)),
  };
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** The route did not want that much. */
class BodyTooLarge extends Error {}

async function readBody(request: IncomingMessage, limit: number): Promise<string> {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw new BodyTooLarge();
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.byteLength;
    if (size > limit) throw new BodyTooLarge();
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
