/** Reading bodies and writing whole answers: content negotiation, compression, Status objects, and their headers. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { parse as parseYAML } from 'yaml';
import { badRequest, failure, notAcceptable, type Status, unsupportedMediaType } from '../api/status.ts';
import type { Outlet } from './outlet.ts';

const MOST_BODY_BYTES = 3 * 1024 * 1024;
/** Real servers compress from this size on. */
const GZIP_FROM_BYTES = 128 * 1024;
const CHUNK_CHARACTERS = 128 * 1024;
const compress = promisify(gzip);

/** Throws 406 when JSON, the only language of this server, is not among what the client takes. */
export function mustAcceptJSON({ headers }: IncomingMessage): void {
  const accept = headers.accept ?? '';
  if (accept.trim() === '') return;
  const fits = accept.split(',').some((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    // "as=Table" and its like ask for a form of the object that this server does not make.
    if (parameters.some((parameter) => parameter.startsWith('as='))) return false;
    if (type === 'application/json') return !parameters.some((parameter) => /^g=|^v=/.test(parameter));
    return type === 'application/*' || type === '*/*';
  });
  if (!fits) throw notAcceptable();
}

/** The media type of the request without parameters; "" when absent. */
export function mediaType({ headers }: IncomingMessage): string {
  return (headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
}

/** The body as a value; undefined when it is empty. */
export async function readBody(
  request: IncomingMessage,
  accepted: readonly string[],
  required = true,
): Promise<unknown> {
  const type = mediaType(request);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MOST_BODY_BYTES) {
      throw failure(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${MOST_BODY_BYTES}`, {});
    }
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  if (text === '' && !required) return undefined;
  if (!accepted.includes(type)) throw unsupportedMediaType(accepted.filter((one) => one !== ''));
  try {
    return type === 'application/yaml' ? parseYAML(text) : JSON.parse(text);
  } catch (error) {
    throw badRequest(`couldn't get version/kind; json parse error: ${(error as Error).message}`);
  }
}

/** Headers that every answer of an API server has. */
export function setCommonHeaders(response: ServerResponse, auditID: string): void {
  response.setHeader('Audit-Id', auditID);
  response.setHeader('Cache-Control', 'no-cache, private');
}

export async function answerJSON(
  request: IncomingMessage,
  response: ServerResponse,
  outlet: Outlet,
  status: number,
  parts: Iterable<string>,
): Promise<void> {
  response.statusCode = status;
  response.setHeader('Content-Type', 'application/json');
  const body = [...parts];
  const size = body.reduce((sum, part) => sum + part.length, 0);
  const compressible = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  if (size > GZIP_FROM_BYTES && compressible) {
    const packed = (await compress(body.join(''), { level: 1 })) as Buffer;
    response.setHeader('Content-Encoding', 'gzip');
    response.setHeader('Vary', 'Accept-Encoding');
    await sendAll(outlet, [packed]);
    return;
  }
  await sendAll(outlet, body);
}

/** In pieces of a good size for the socket, no faster than it takes them. */
export async function sendAll(outlet: Outlet, parts: readonly (string | Buffer)[]): Promise<void> {
  let at = 0;
  await new Promise<void>((resolve) => {
    const pump = (): void => {
      while (at < parts.length && !outlet.done()) {
        let body = parts[at++]!;
        if (typeof body === 'string') {
          while (at < parts.length && body.length < CHUNK_CHARACTERS && typeof parts[at] === 'string')
            body += parts[at++];
        }
        if (!outlet.write(body) && at < parts.length) {
          if (outlet.done()) resolve();
          return;
        }
      }
      resolve();
    };
    outlet.onReady(pump);
    pump();
  });
  outlet.end();
}

export function answerStatus(response: ServerResponse, status: Status): void {
  response.statusCode = status.code ?? 200;
  if (status.details?.retryAfterSeconds !== undefined) {
    response.setHeader('Retry-After', String(status.details.retryAfterSeconds));
  }
  response.setHeader('Content-Type', 'application/json');
  response.end(`${JSON.stringify(status)}\n`);
}

export function answerText(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.end(text);
}
