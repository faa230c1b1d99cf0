/**
 * A limit on connections that locks nobody out: beyond it the one that did nothing for the longest time is closed, not
 * the new one refused. Anyone who reaches the port can hold connections open, and a probe that finds no place would
 * have kubelet restart the proxy.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface Connections {
  /** Close those on which no request is under way, those that never sent one included. */
  closeIdle(): void;
}

/** `most`: connections at a time. */
export function limitConnections(server: Server, most: number): Connections {
  /** The longest idle first. */
  const idle = new Set<Socket>();
  const busy = new Set<Socket>();

  server.on('connection', (socket: Socket) => {
    idle.add(socket);
    socket.once('close', () => {
      idle.delete(socket);
      busy.delete(socket);
    });
    if (idle.size + busy.size <= most) return;
    const [oldest = socket] = idle.size > 1 ? idle : busy;
    // At once: its close event comes later, and the next connection must find another.
    idle.delete(oldest);
    busy.delete(oldest);
    oldest.destroy();
  });
  server.on('request', ({ socket }, response) => {
    idle.delete(socket);
    busy.add(socket);
    response.once('close', () => {
      busy.delete(socket);
      if (!socket.destroyed) idle.add(socket);
    });
  });

  return {
    closeIdle() {
      for (const socket of idle) socket.destroy();
    },
  };
}
