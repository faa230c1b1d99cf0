/** An HTTP proxy that knows CONNECT and nothing else, and may be taken away, refuse, or keep silent. */
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

export interface ConnectProxy {
  readonly url: string;
  /** Tunnels that were asked for. */
  asked(): number;
  /** From now on: do its work, answer with this status, or never answer. */
  behave(how: 'work' | 'silence' | number): void;
  /** Every tunnel breaks, and the port is closed. */
  down(): Promise<void>;
  /** On the same port again. */
  up(): Promise<void>;
}

export async function startConnectProxy(): Promise<ConnectProxy> {
  const sockets = new Set<Socket>();
  let asked = 0;
  let behaviour: 'work' | 'silence' | number = 'work';
  let port = 0;
  let server: Server | undefined;

  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    return socket;
  };
  const open = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const next = createServer((_request, response) => response.writeHead(405).end());
      next.on('connection', keep);
      next.on('connect', (request, client) => {
        asked++;
        if (behaviour === 'silence') return;
        if (behaviour !== 'work') {
          client.end(`HTTP/1.1 ${behaviour} No\r\nContent-Length: 0\r\n\r\n`);
          return;
        }
        const [host = '', target = ''] = (request.url ?? '').split(':');
        const upstream = keep(connect(Number(target), host));
        upstream.on('connect', () => {
          client.write('HTTP/1.1 200 Connection established\r\n\r\n');
          upstream.pipe(client).pipe(upstream);
        });
        upstream.on('close', () => client.destroy());
        client.on('close', () => upstream.destroy());
      });
      next.on('error', reject);
      next.listen({ host: '127.0.0.1', port }, () => {
        port = (next.address() as AddressInfo).port;
        server = next;
        resolve();
      });
    });

  await open();
  return {
    url: `http://127.0.0.1:${port}`,
    asked: () => asked,
    behave(how) {
      behaviour = how;
    },
    down: () =>
      new Promise((resolve) => {
        server?.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
    up: open,
  };
}
