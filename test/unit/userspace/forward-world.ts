/** An engine in this thread, with endpoints and clients on loopback ports that the system chooses. */
import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import type { Clock, SocketFacts } from '../../../core/backend.ts';
import { createAffinityMemory } from '../../../plugins/userspace/forward/affinity-table.ts';
import { createEngine, type Engine, type EngineSeams } from '../../../plugins/userspace/forward/engine.ts';
import type {
  EngineEvent,
  EngineLimits,
  ForwardedService,
  ListenSpec,
  Target,
} from '../../../plugins/userspace/forward/messages.ts';
import { createOccupancyMemory } from '../../../plugins/userspace/forward/occupancy.ts';

export const LIMITS: EngineLimits = {
  graceSeconds: 30,
  idleSeconds: 0,
  keepAliveSeconds: 15,
  unrepliedSeconds: 30,
  repliedSeconds: 120,
  maxConnections: 1000,
  maxSessions: 1000,
};

const POLLS = 1000;
const POLL_MS = 10;

/** Resolves when it holds; real sockets take their time. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let polls = 0; polls < POLLS; polls++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`never: ${what}`);
}

export const realClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
};

export const noSocketFacts: SocketFacts = {
  originalDestination: () => undefined,
  originalUDPDestination: () => undefined,
};

export function service(rest: Partial<ForwardedService> = {}): ForwardedService {
  return {
    key: 'IPv4 default/web:http/TCP',
    protocol: 'TCP',
    cluster: [],
    local: [],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    sourceRanges: [],
    proxyProtocol: false,
    keepsSessions: [],
    ...rest,
  };
}

export interface World {
  readonly engine: Engine;
  readonly events: readonly EngineEvent[];
  /** The port that a listener got. */
  port(id: string): number;
}

export function world(limits: Partial<EngineLimits> = {}, seams: Partial<EngineSeams> = {}): World {
  const events: EngineEvent[] = [];
  const engine = createEngine(
    { ...LIMITS, ...limits },
    {
      clock: realClock,
      tenths: () => 0,
      random: () => 0,
      sockets: noSocketFacts,
      affinity: createAffinityMemory(1000, [1, 2]),
      occupancy: createOccupancyMemory(1),
      thread: 0,
      emit: (event) => events.push(event),
      ...seams,
    },
  );
  const port = (id: string): number => {
    for (const event of events) if (event.event === 'listening' && event.id === id) return event.port;
    throw new Error(`${id} does not listen: ${JSON.stringify(events)}`);
  };
  return { engine, events, port };
}

export function listener(rest: Partial<ListenSpec> = {}): ListenSpec {
  return {
    id: 'web',
    protocol: 'TCP',
    ip: '127.0.0.1',
    port: 0,
    shared: false,
    serves: { service: 'IPv4 default/web:http/TCP', kind: 'clusterIP' },
    clients: 'inside',
    ...rest,
  };
}

export interface Endpoint extends Target {
  /** Those accepted, in order. */
  readonly sockets: readonly net.Socket[];
  close(): void;
}

/** A server that `serve`s each connection. */
export async function endpoint(serve: (socket: net.Socket) => void = () => {}, ip = '127.0.0.1'): Promise<Endpoint> {
  const sockets: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
    serve(socket);
  });
  server.listen(0, ip);
  await once(server, 'listening');
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { ip, port: (server.address() as AddressInfo).port, sockets, close };
}

/** Says its name to whoever connects. */
export function named(name: string): Promise<Endpoint> {
  return endpoint((socket) => socket.end(name));
}

const STALLED_PROGRAM = `
const server = require('node:net').createServer();
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
`;

/** Listens, but never answers: its process is stopped and its queue of connections full. */
export async function stalled(): Promise<Endpoint> {
  const child = spawn(process.execPath, ['-e', STALLED_PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  child.kill('SIGSTOP');
  const target = { ip: '127.0.0.1', port: Number(line.toString()) };
  const filling = [1, 2, 3, 4].map(() => net.connect(target.port, target.ip).on('error', () => {}));
  const isConnected = (socket: net.Socket): boolean => !socket.connecting;
  await until('two are in the queue', () => filling.filter(isConnected).length === 2);
  const close = (): void => {
    for (const socket of filling) socket.destroy();
    child.kill('SIGKILL');
  };
  return { ...target, sockets: filling, close };
}

/** A port of the loopback interface on which nothing listens. */
export async function closedPort(): Promise<Target> {
  const { ip, port, close } = await endpoint();
  close();
  return { ip, port };
}

export interface Client {
  readonly socket: net.Socket;
  readonly received: () => string;
  /** 'end' without an error, or the error's code; undefined: it is open. */
  readonly outcome: () => string | undefined;
}

export function connect(port: number, ip = '127.0.0.1', localAddress = ip): Client {
  const chunks: Buffer[] = [];
  let outcome: string | undefined;
  const socket = net.connect({ host: ip, port, localAddress, allowHalfOpen: true });
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('end', () => {
    outcome ??= 'end';
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    outcome = error.code;
  });
  return { socket, received: () => Buffer.concat(chunks).toString(), outcome: () => outcome };
}

/** What a client gets to read until the stream ends, however it does. */
export async function ask(port: number, ip?: string, localAddress?: string): Promise<string> {
  const client = connect(port, ip, localAddress);
  await until('an answer ends', () => client.outcome() !== undefined);
  client.socket.destroy();
  return client.received() || (client.outcome() as string);
}

export interface UDPSocket {
  readonly socket: dgram.Socket;
  readonly port: number;
  readonly received: readonly { readonly text: string; readonly port: number }[];
}

export async function udpSocket(
  answer: (text: string) => string | undefined = () => undefined,
  address = '127.0.0.1',
): Promise<UDPSocket> {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const received: { text: string; port: number }[] = [];
  socket.on('error', () => {});
  socket.on('message', (message, { port, address: from }) => {
    received.push({ text: message.toString(), port });
    const back = answer(message.toString());
    if (back !== undefined) socket.send(back, port, from);
  });
  socket.bind(0, address);
  await once(socket, 'listening');
  return { socket, port: socket.address().port, received };
}
