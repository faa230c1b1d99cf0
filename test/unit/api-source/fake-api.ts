/**
 * An API server of a test's own words: every request waits until the test answers it.
 *
 *   const stream = (await api.request('services')).open();
 *   stream.event('ADDED', service('a', { version: '5' }));
 */
import type { ApiConnection, ApiRequest, ApiResponse } from '../../../core/source/api/api-connection.ts';
import type { ResourceName } from '../../../core/source/api/resource.ts';
import { settle } from '../sync/fake-clock.ts';

export interface FakeRequest {
  readonly resource: ResourceName;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly asked: ApiRequest;
  /** Given up by who sent it, answered or not. */
  readonly aborted: boolean;
  /** A whole answer. */
  answer(status: number, body: unknown, headers?: Readonly<Record<string, string>>): Promise<void>;
  /** Headers, and a body that is still to come. */
  open(status?: number): FakeStream;
  fail(error: Error): Promise<void>;
}

export interface FakeStream {
  event(type: string, object: unknown): Promise<void>;
  /** The end of the initial events, or a plain bookmark. */
  bookmark(version: string, options?: { readonly initialEventsEnd?: boolean }): Promise<void>;
  bytes(text: string | Uint8Array): Promise<void>;
  end(): Promise<void>;
  /** As when the connection is reset. */
  breakOff(): Promise<void>;
  readonly aborted: boolean;
}

export interface FakeApi {
  readonly connection: ApiConnection;
  /** The oldest request for this resource that was not handed out yet; fails if there is none. */
  request(resource: ResourceName): FakeRequest;
  /** Requests for this resource that were not handed out yet. */
  waiting(resource: ResourceName): number;
  /** All that were ever sent. */
  readonly sent: readonly FakeRequest[];
  readonly reloads: readonly string[];
}

const NAMES: readonly ResourceName[] = ['services', 'endpointslices', 'nodes', 'servicecidrs'];

export function fakeApi(): FakeApi {
  const sent: FakeRequest[] = [];
  const untaken: FakeRequest[] = [];
  const reloads: string[] = [];
  const connection: ApiConnection = {
    server: 'https://api.test:6443',
    request(asked) {
      return new Promise((resolve, reject) => {
        const request = fakeRequest(asked, resolve, reject);
        sent.push(request);
        untaken.push(request);
      });
    },
    async reloadCredentials(reason) {
      reloads.push(reason);
    },
    close() {},
  };
  return {
    connection,
    sent,
    reloads,
    waiting: (resource) => untaken.filter((request) => request.resource === resource).length,
    request(resource) {
      const index = untaken.findIndex((request) => request.resource === resource);
      const [request] = index === -1 ? [] : untaken.splice(index, 1);
      if (!request) throw new Error(`nothing asks for ${resource}; so far: ${sent.map(({ path }) => path).join(' ')}`);
      return request;
    },
  };
}

function fakeRequest(
  asked: ApiRequest,
  resolve: (response: ApiResponse) => void,
  reject: (error: unknown) => void,
): FakeRequest {
  const [path = '', query = ''] = asked.path.split('?');
  const resource = NAMES.find((name) => path.endsWith(`/${name}`)) ?? 'services';
  const { signal } = asked;
  signal.addEventListener('abort', () => reject(signal.reason));

  const open = (status: number, headers: Readonly<Record<string, string>> = {}) => {
    const body = fakeBody(signal);
    const text = async (): Promise<string> => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body.chunks()) chunks.push(chunk);
      return Buffer.concat(chunks).toString();
    };
    resolve({ status, headers, body: body.chunks(), text, discard: body.close });
    return body;
  };

  return {
    resource,
    path,
    query: Object.fromEntries(new URLSearchParams(query)),
    asked,
    get aborted() {
      return signal.aborted;
    },
    async answer(status, content, headers) {
      const body = open(status, headers);
      body.push(typeof content === 'string' ? content : JSON.stringify(content));
      body.end();
      await settle();
    },
    open(status = 200) {
      const body = open(status);
      const bytes = async (text: string | Uint8Array): Promise<void> => {
        body.push(text);
        await settle();
      };
      const event = (type: string, object: unknown) => bytes(`${JSON.stringify({ type, object })}\n`);
      return {
        event,
        bytes,
        bookmark(version, { initialEventsEnd = false } = {}) {
          const annotations = initialEventsEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
          return event('BOOKMARK', { metadata: { resourceVersion: version, ...annotations } });
        },
        async end() {
          body.end();
          await settle();
        },
        async breakOff() {
          body.fail(new Error('read ECONNRESET'));
          await settle();
        },
        get aborted() {
          return signal.aborted || body.isClosed();
        },
      };
    },
    async fail(error) {
      reject(error);
      await settle();
    },
  };
}

function fakeBody(signal: AbortSignal) {
  const queue: Uint8Array[] = [];
  let ending: { readonly error?: unknown } | undefined;
  let closed = false;
  let wake = (): void => {};
  const finish = (how: { readonly error?: unknown }): void => {
    ending ??= how;
    wake();
  };
  signal.addEventListener('abort', () => finish({ error: signal.reason }));
  return {
    push(text: string | Uint8Array) {
      queue.push(typeof text === 'string' ? Buffer.from(text) : text);
      wake();
    },
    end: () => finish({}),
    fail: (error: unknown) => finish({ error }),
    close() {
      closed = true;
    },
    isClosed: () => closed,
    async *chunks(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          const chunk = queue.shift();
          if (chunk) yield chunk;
          else if (ending && 'error' in ending) throw ending.error;
          else if (ending) return;
          else {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        }
      } finally {
        closed = true;
      }
    },
  };
}
