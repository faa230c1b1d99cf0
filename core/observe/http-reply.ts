/** What a handler of our HTTP servers is asked and what it answers; nothing in it knows of sockets. */

export interface HttpRequest {
  /** "GET", in capitals. */
  readonly method: string;
  /** Without the query: "/healthz". */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** At most `bodyLimit` bytes of it as text; rejects if there is more. "" for a route without a limit. */
  body(): Promise<string>;
  /** Aborted when the client is gone or the server closes. */
  readonly signal: AbortSignal;
}

export interface HttpReply {
  /** Default 200. */
  readonly status?: number;
  /** Content-Type; default "text/plain; charset=utf-8". */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

export interface Route {
  /** Methods that it takes; absent = every method. GET includes HEAD. */
  readonly methods?: readonly string[];
  /** Bytes of a body that it wants; default 0. */
  readonly bodyLimit?: number;
  handle(request: HttpRequest): HttpReply | Promise<HttpReply>;
}

/** By path; one that ends in "/" takes everything below it that no other takes. Asked at each request. */
export type Routes = (path: string) => Route | undefined;

/** Browsers must not guess another type. */
export const NO_SNIFF = { 'X-Content-Type-Options': 'nosniff' };

export function json(body: unknown, status = 200): HttpReply {
  return { status, type: 'application/json', headers: NO_SNIFF, body: JSON.stringify(body) };
}

export function plain(body: string, status = 200): HttpReply {
  return { status, headers: NO_SNIFF, body };
}

export function routeTable(routes: Readonly<Record<string, Route | undefined>>): Routes {
  const exact = new Map(Object.entries(routes).filter((entry): entry is [string, Route] => entry[1] !== undefined));
  const below = [...exact.keys()].filter((path) => path.endsWith('/')).sort((a, b) => b.length - a.length);
  return (path) => {
    const route = exact.get(path);
    if (route) return route;
    const prefix = below.find((each) => path.startsWith(each));
    return prefix === undefined ? undefined : exact.get(prefix);
  };
}
