/**
 * The TCP side of the server: it owns the port and every connection, and hands them to the HTTPS server. So a test can
 * drop connections with RST, leave a TLS handshake unanswered, and stop and start again on the same port.
 */
import type { Server as HttpsServer } from 'node:https';
import { createServer, type Server, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ResetConnection } from './http/outlet.ts';

export interface Listener {
  /** 0 before the first `open`. */
  port(): number;
  /** Listen; again on the same port after the first time. */
  open(): Promise<void>;
  /** Stop listening; connections stay. */
  close(): Promise<void>;
  /** Drop all connections: with RST, or properly. */
  drop(how: 'reset' | 'close'): void;
  /** Connections accepted from now on are not answered, until `false`; those held then go on. */
  stallHandshakes(stalled: boolean): void;
  /** How many connections there are. */
  connections(): number;
  readonly resetConnection: ResetConnection;
}

export function createListener(server: HttpsServer, host: string, wantedPort: number): Listener {
  const sockets = new Map<string, Socket>();
  const held = new Set<Socket>();
  const secured = new Map<string, TLSSocket>();
  let stalled = false;
  let port = wantedPort;
  let listening: Server | undefined;
  const key = (socket: { remoteAddress?: string | undefined; remotePort?: number | undefined }) =>
    `${socket.remoteAddress} ${socket.remotePort}`;

  /**
   * RST. Where the stream is already being shut down, libuv refuses that, and Node.js then holds the handle for closed
   * without having closed it: the connection would stay, and the process never end.
   */
  const reset = (socket: Socket): void => {
    if (secured.get(key(socket))?.writableEnded) socket.destroy();
    else socket.resetAndDestroy();
  };
  server.on('secureConnection', (socket) => {
    const name = key(socket);
    secured.set(name, socket);
    socket.on('close', () => {
      if (secured.get(name) === socket) secured.delete(name);
    });
  });

  const accept = (socket: Socket): void => {
    const name = key(socket);
    sockets.set(name, socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      held.delete(socket);
      if (sockets.get(name) === socket) sockets.delete(name);
    });
    if (stalled) held.add(socket);
    else server.emit('connection', socket);
  };

  return {
    port: () => port,
    connections: () => sockets.size,
    open: () =>
      new Promise((resolve, reject) => {
        const next = createServer({ noDelay: true }, accept);
        next.on('error', reject);
        next.listen({ host, port }, () => {
          const address = next.address();
          if (typeof address === 'object' && address !== null) port = address.port;
          listening = next;
          resolve();
        });
      }),
    close: () =>
      new Promise((resolve) => {
        if (listening === undefined) {
          resolve();
          return;
        }
        // Connections may outlive this: only the port is given up now.
        listening.close();
        listening = undefined;
        resolve();
      }),
    drop(how) {
      for (const socket of sockets.values()) {
        if (how === 'reset') reset(socket);
        else socket.destroy();
      }
    },
    stallHandshakes(on) {
      stalled = on;
      if (on) return;
      for (const socket of held) server.emit('connection', socket);
      held.clear();
    },
    resetConnection(response) {
      const { socket } = response;
      const raw = socket === null ? undefined : sockets.get(key(socket));
      if (raw === undefined) response.destroy();
      else reset(raw);
    },
  };
}
