/** One request over a connection of its own, and what came back, whole. */
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface Where {
  readonly host: string;
  readonly port: number;
}

export function ask(where: Where | undefined, path: string, question: Question = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body } = question;
  return new Promise((resolve, reject) => {
    if (!where) throw new Error('the server does not listen');
    const sent = request({ ...reachable(where), path, method, headers, agent: false }, async (response) => {
      try {
        let text = '';
        for await (const part of response.setEncoding('utf8')) text += part;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      } catch (error) {
        reject(error);
      }
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** A bare connection, for what no client would send. */
export function dial(where: Where | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (!where) throw new Error('the server does not listen');
    const socket = connect({ ...reachable(where), noDelay: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => {});
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

/** Everything that it sends until it closes; rejects if it does not close within `limitMs`. */
export function untilClosed(socket: Socket, limitMs = 10_000): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(new Error('the connection stays open')), limitMs);
    socket.on('data', (part: Buffer) => {
      text += part.toString('utf8');
    });
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
    if (socket.closed) socket.emit('close');
  });
}

/** The error's code, for a connection that is refused. */
export async function refusal(where: Where): Promise<string> {
  try {
    const socket = await dial(where);
    socket.destroy();
    return 'accepted';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

/** Polls, for what other threads and the kernel do. */
export async function eventually(what: string, is: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await is())) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function reachable({ host, port }: Where): Where {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port };
  return host === '::' ? { host: '::1', port } : { host, port };
}
