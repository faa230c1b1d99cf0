/** Asks a test API server plainly, as little between the test and the wire as possible. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import type { ApiServer } from '../../apiserver/server.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body; undefined when it is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

export interface WatchedEvent {
  readonly type: string;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly object: any;
}

export interface Watching {
  readonly status: number;
  readonly events: readonly WatchedEvent[];
  /** Everything received. */
  text(): string;
  /** "" while it lasts; "end" when the answer ended properly; else the error's code. */
  ended(): string;
  close(): void;
}

export type ClientOptions = Omit<RequestOptions, 'headers'> & { readonly headers?: OutgoingHttpHeaders };

export interface Client {
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  send(method: string, path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** Resolves when the headers have come. */
  watch(path: string, headers?: Readonly<Record<string, string>>): Promise<Watching>;
  close(): void;
}

/** A user of its own, unless the options bring credentials (`headers: {}` = none at all). */
export function createClient(server: ApiServer, options: ClientOptions = {}): Client {
  const token = server.tokens.issue('tester');
  const agent = new Agent({ keepAlive: true });
  const own: OutgoingHttpHeaders =
    options.cert === undefined && options.headers === undefined
      ? { authorization: `Bearer ${token}` }
      : { ...options.headers };
  const begin = (method: string, path: string, headers: Readonly<Record<string, string>>) =>
    request(server.url + path, { ca: server.ca(), agent, ...options, method, headers: { ...own, ...headers } });

  const call = (method: string, path: string, body: string | undefined, headers: Readonly<Record<string, string>>) =>
    new Promise<Answer>((resolve, reject) => {
      const outgoing = begin(method, path, headers);
      outgoing.on('error', reject);
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('latin1');
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parsed(text) });
        });
      });
      outgoing.end(body);
    });

  return {
    get: (path, headers = {}) => call('GET', path, undefined, headers),
    send(method, path, body, headers = { 'content-type': 'application/json' }) {
      const text = typeof body === 'string' ? body : body === undefined ? undefined : JSON.stringify(body);
      // Node.js does not work out the length of a DELETE's body by itself.
      const length = text === undefined ? {} : { 'content-length': String(Buffer.byteLength(text)) };
      return call(method, path, text, { ...headers, ...length });
    },
    watch: (path, headers = {}) =>
      new Promise((resolve, reject) => {
        const outgoing = begin('GET', path, headers);
        outgoing.on('error', reject);
        outgoing.on('response', (response) => {
          const events: WatchedEvent[] = [];
          let text = '';
          let rest = '';
          let ended = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => {
            text += chunk;
            const lines = (rest + chunk).split('\n');
            rest = lines.pop() ?? '';
            for (const line of lines) events.push(parsed(line) ?? { type: 'UNREADABLE', object: line });
          });
          response.on('end', () => {
            ended = 'end';
          });
          response.on('error', (error: NodeJS.ErrnoException) => {
            ended = error.code ?? error.message;
          });
          outgoing.removeListener('error', reject);
          outgoing.on('error', () => {});
          resolve({
            status: response.statusCode ?? 0,
            events,
            text: () => text,
            ended: () => ended,
            close: () => outgoing.destroy(),
          });
        });
        outgoing.end();
      }),
    close: () => agent.destroy(),
  };
}

function parsed(text: string) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Bounded, for what arrives over a real connection. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited 10 s in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
