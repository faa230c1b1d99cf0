/**
 * Carries bytes from one place to another: to reach an API server from where no route leads to it, and to take it away
 * from one client without touching it.
 *
 *   daemon ──▶ 127.0.0.1:PORT ──relay──▶ /tmp/…/api.sock ──relay──▶ the real server
 *   (in a network namespace)              (one file system)          (outside)
 *
 * A unix socket with a path belongs to the file system and not to a network namespace, so it joins two of them. TLS
 * passes through unopened: certificates and credentials stay those of the server and its client.
 */
import { rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net';

export type Place = { readonly path: string } | { readonly host: string; readonly port: number };

export interface Relay {
  /** Where it listens; 0 on a unix socket. */
  readonly port: number;
  /** From now on connections are refused, and those that there are end. */
  cut(): Promise<void>;
  /** Listen again, at the same place. */
  restore(): Promise<void>;
  close(): Promise<void>;
}

/** `from` port 0: any that is free. */
export async function startRelay(from: Place, to: Place): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => join(client, dial(to), sockets));
  let place = from;
  await listen(server, place);
  const address = server.address() as AddressInfo | string;
  const port = typeof address === 'string' ? 0 : address.port;
  if ('port' in place) place = { host: place.host, port };

  async function cut(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
    if ('path' in place) rmSync(place.path, { force: true });
  }
  return { port, cut, restore: () => listen(server, place), close: cut };
}

function dial(to: Place): Socket {
  return 'path' in to
    ? connect({ path: to.path, allowHalfOpen: true })
    : connect({ host: to.host, port: to.port, allowHalfOpen: true, noDelay: true });
}

function join(client: Socket, upstream: Socket, sockets: Set<Socket>): void {
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    sockets.add(one);
    one.pipe(other);
    // Its end is told by 'close', whatever the reason.
    one.on('error', () => {});
    one.on('close', () => {
      sockets.delete(one);
      other.destroy();
    });
  }
}

function listen(server: Server, place: Place): Promise<void> {
  const options: ListenOptions = 'path' in place ? { path: place.path } : { host: place.host, port: place.port };
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
