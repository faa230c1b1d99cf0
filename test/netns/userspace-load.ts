/**
 * A program of the tests: many TCP connections of one kind, or who answers them, until its stdin ends. The argument is a
 * `Load` as JSON; what happens is printed, one JSON object a line.
 */
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type Load =
  /** Opens so many, waits for the first bytes on each, and leaves them as they are; `reads: false`: from then on unread. */
  | {
      readonly do: 'connect';
      readonly ip: string;
      readonly port: number;
      readonly count: number;
      readonly reads: boolean;
    }
  /** Sends without end to whoever comes. */
  | { readonly do: 'pour'; readonly ip: string; readonly port: number };

export type Told =
  | { readonly told: 'ready'; readonly open: number; readonly failed: number }
  /** How those ended that did, so far; by error code, or "end". */
  | { readonly told: 'ended'; readonly how: Readonly<Record<string, number>>; readonly bytes: number };

const AT_A_TIME = 100;
const LONGEST_MS = 20_000;

if (import.meta.main) await run(JSON.parse(process.argv[2] ?? '') as Load);

async function run(load: Load): Promise<void> {
  process.stdin.resume();
  if (load.do === 'pour') pour(load.ip, load.port);
  else await connectAll(load);
}

function tell(told: Told): void {
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

function pour(host: string, port: number): void {
  const chunk = Buffer.alloc(65_536, 'x');
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    const more = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('drain', more);
    more();
  });
  server.listen({ host, port }, () => tell({ told: 'ready', open: 0, failed: 0 }));
  process.stdin.on('end', () => {
    for (const socket of sockets) socket.resetAndDestroy();
    server.close(() => process.exit(0));
  });
}

async function connectAll({ ip, port, count, reads }: Extract<Load, { readonly do: 'connect' }>): Promise<void> {
  const sockets: net.Socket[] = [];
  const how: Record<string, number> = {};
  let bytes = 0;
  let next = 0;
  const tellEnd = (reason: string): void => {
    how[reason] = (how[reason] ?? 0) + 1;
    tell({ told: 'ended', how, bytes });
  };
  const open = async (): Promise<void> => {
    const socket = net.connect({ host: ip, port });
    const first = Promise.withResolvers<boolean>();
    let isOpen = false;
    socket.on('data', (data) => {
      bytes += data.length;
      if (!isOpen && !reads) socket.pause();
      isOpen = true;
      first.resolve(true);
    });
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => {
      if (isOpen) tellEnd(code);
      first.resolve(false);
    });
    socket.on('end', () => {
      if (isOpen) tellEnd('end');
      first.resolve(false);
    });
    if (await Promise.race([first.promise, sleep(LONGEST_MS, false, { ref: false })])) sockets.push(socket);
    else socket.destroy();
  };
  const worker = async (): Promise<void> => {
    while (next < count) {
      next++;
      await open();
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, AT_A_TIME) }, worker));
  tell({ told: 'ready', open: sockets.length, failed: count - sockets.length });
  process.stdin.on('end', () => process.exit(0));
}
