/**
 * The connections of all healthCheckNodePorts, with one HTTP parser for them: there may be hundreds of ports, and a
 * server with its timers for each would cost more than what it answers.
 *
 *   listener of a Service ──socket──▶ accept(socket, owner) ──request──▶ answer(owner) ──▶ reply, connection closed
 *
 * One request for each connection, and ten seconds for all of it: no client can hold one for longer, whatever it
 * sends. Beyond the limit the oldest is closed, so that none can keep others out.
 */
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../backend.ts';
import type { HealthPortReply } from './service-health-ports.ts';

export interface HealthConnections<Owner extends object> {
  accept(socket: Socket, owner: Owner): void;
  /** End those of this owner. */
  drop(owner: Owner): void;
  /** How many there are. */
  count(): number;
}

export const MOST_CONNECTIONS = 256;
export const CONNECTION_MS = 10_000;
const HEADER_BYTES = 8 * 1024;
const MOST_HEADERS = 64;

/** `answer` gives undefined for an owner that is gone: then the connection breaks, as if it had not been accepted. */
export function createHealthConnections<Owner extends object>(
  clock: Clock,
  answer: (owner: Owner) => HealthPortReply | undefined,
): HealthConnections<Owner> {
  /** Oldest first. */
  const connections = new Map<Socket, { readonly owner: Owner; readonly endsAt: number }>();
  let sweeping = false;

  // It never listens itself; sockets are handed to it.
  const http = createServer({ maxHeaderSize: HEADER_BYTES }, (request, response) => {
    const connection = connections.get(request.socket);
    const reply = connection && answer(connection.owner);
    if (!reply) {
      request.socket.destroy();
      return;
    }
    response.on('error', () => {});
    response.writeHead(reply.status, {
      ...reply.headers,
      'Content-Length': Buffer.byteLength(reply.body),
      Connection: 'close',
    });
    response.end(request.method === 'HEAD' ? undefined : reply.body);
  });
  http.maxHeadersCount = MOST_HEADERS;

  function end(socket: Socket): void {
    connections.delete(socket);
    socket.destroy();
  }

  /** One timer for all, for as long as there are any. */
  function sweep(): void {
    sweeping = false;
    const now = clock.now();
    for (const [socket, { endsAt }] of connections) {
      if (endsAt > now) break;
      end(socket);
    }
    arm();
  }

  function arm(): void {
    const [first] = connections.values();
    if (sweeping || !first) return;
    sweeping = true;
    clock.after(Math.max(0, first.endsAt - clock.now()), sweep);
  }

  return {
    accept(socket, owner) {
      connections.set(socket, { owner, endsAt: clock.now() + CONNECTION_MS });
      socket.once('close', () => connections.delete(socket));
      const [oldest] = connections.keys();
      if (connections.size > MOST_CONNECTIONS && oldest) end(oldest);
      http.emit('connection', socket);
      arm();
    },
    drop(owner) {
      for (const [socket, connection] of connections) if (connection.owner === owner) end(socket);
    },
    count: () => connections.size,
  };
}
