/**
 * The runtime's own socket handles, which node:net and node:dgram are built on, with their types.
 *
 * A connection forwarded between two net.Sockets costs 1.4 times the CPU of one between two handles, and over twice the
 * memory: streams, events, timers and promises that a forwarder has no use for, and a buffer for each read. Handles
 * read into one buffer that all connections share, and write from it.
 *
 * They are no public interface of Node.js, though as old as it and unchanged for years. What is used of them is all in
 * this file, is looked for before the first use, and tested as any other dependency; the executable carries the
 * Node.js that it was tested with.
 */

/** A negative errno; 0: fine. */
type Result = number;

export interface HandleAddress {
  address?: string;
  port?: number;
  family?: 'IPv4' | 'IPv6';
}

/** A request that waits for its end. One whose call ended at once is free to be used again. */
export interface Request<Owner> {
  oncomplete: (this: Request<Owner>, status: Result) => void;
  owner: Owner | undefined;
  /** Keeps what is being written from being collected. */
  buffer?: Uint8Array | undefined;
}

/** A TCP socket. `Owner` is what its callbacks find in `this.owner`. */
export interface TCPHandle<Owner> {
  owner: Owner | undefined;
  readonly fd: number;
  readonly writeQueueSize: number;
  /** The count is in `lastRead()`. What it returns is read into from then on. */
  onread: (this: TCPHandle<Owner>) => Uint8Array | undefined;
  onconnection: (this: TCPHandle<Owner>, status: Result, client: unknown) => void;
  bind(ip: string, port: number, flags: number): Result;
  bind6(ip: string, port: number, flags: number): Result;
  listen(backlog: number): Result;
  connect(request: Request<Owner>, ip: string, port: number): Result;
  connect6(request: Request<Owner>, ip: string, port: number): Result;
  /** Reads go there from now on. The handle does not keep it from being collected. */
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): Result;
  readStop(): Result;
  /** Whether it waits is in `wasAsync()`. */
  writeBuffer(request: Request<Owner>, bytes: Uint8Array): Result;
  shutdown(request: Request<Owner>): Result;
  setNoDelay(on: boolean): Result;
  setKeepAlive(on: boolean, seconds: number): Result;
  getpeername(out: HandleAddress): Result;
  getsockname(out: HandleAddress): Result;
  close(): void;
  /** Closes with a reset. Never while a shutdown waits: the handle would neither close then nor ever after. */
  reset(): Result;
}

/** A UDP socket. */
export interface UDPHandle<Owner> {
  owner: Owner | undefined;
  readonly fd: number;
  onmessage: (
    this: UDPHandle<Owner>,
    count: number,
    handle: UDPHandle<Owner>,
    bytes: Uint8Array | undefined,
    from: { readonly address: string; readonly port: number } | undefined,
  ) => void;
  bind(ip: string, port: number, flags: number): Result;
  bind6(ip: string, port: number, flags: number): Result;
  connect(ip: string, port: number): Result;
  connect6(ip: string, port: number): Result;
  recvStart(): Result;
  recvStop(): Result;
  /** With an address, or to whom it is connected. Above 0: sent at once, that many bytes and 1; 0: `request` waits. */
  send(...what: [...Datagram, hasCallback: boolean] | [...Datagram, ...To, hasCallback: boolean]): Result;
  send6(...what: [...Datagram, ...To, hasCallback: boolean]): Result;
  getSendQueueCount(): number;
  getsockname(out: HandleAddress): Result;
  close(): void;
}

type Datagram = readonly [request: SendRequest, list: readonly Uint8Array[], count: number];
type To = readonly [port: number, ip: string];

export interface SendRequest {
  oncomplete?: (this: SendRequest, status: Result) => void;
  list?: readonly Uint8Array[];
}

interface TCPBinding {
  readonly TCP: new <Owner>(kind: number) => TCPHandle<Owner>;
  readonly TCPConnectWrap: new <Owner>() => Request<Owner>;
  readonly constants: Readonly<Record<'SOCKET' | 'SERVER' | 'UV_TCP_IPV6ONLY' | 'UV_TCP_REUSEPORT', number>>;
}

interface StreamBinding {
  readonly WriteWrap: new <Owner>() => Request<Owner>;
  readonly ShutdownWrap: new <Owner>() => Request<Owner>;
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

interface UDPBinding {
  readonly UDP: new <Owner>() => UDPHandle<Owner>;
  readonly SendWrap: new () => SendRequest;
  readonly constants: Readonly<Record<'UV_UDP_IPV6ONLY' | 'UV_UDP_REUSEPORT', number>>;
}

const tcp = binding<TCPBinding>('tcp_wrap', ['TCP', 'TCPConnectWrap', 'constants']);
const stream = binding<StreamBinding>('stream_wrap', [
  'WriteWrap',
  'ShutdownWrap',
  'streamBaseState',
  'kReadBytesOrError',
  'kLastWriteWasAsync',
]);
const udp = binding<UDPBinding>('udp_wrap', ['UDP', 'SendWrap', 'constants']);

/** End of the stream, as libuv numbers it; the others are negative errnos of Linux. */
export const EOF = -4095;
export const ECONNRESET = -104;
export const EPIPE = -32;
export const EMFILE = -24;
export const ENFILE = -23;

export const WriteRequest = stream.WriteWrap;
export const ShutdownRequest = stream.ShutdownWrap;
export const ConnectRequest = tcp.TCPConnectWrap;
export const SendRequest = udp.SendWrap;

export function tcpSocket<Owner>(): TCPHandle<Owner> {
  return new tcp.TCP<Owner>(tcp.constants.SOCKET);
}

export function tcpServer<Owner>(): TCPHandle<Owner> {
  return new tcp.TCP<Owner>(tcp.constants.SERVER);
}

export function udpSocket<Owner>(): UDPHandle<Owner> {
  return new udp.UDP<Owner>();
}

/** Inside of `onread` only: bytes read, or why no more will come. */
export function lastRead(): number {
  return stream.streamBaseState[stream.kReadBytesOrError]!;
}

/** After `writeBuffer` only: does the request wait, and own the bytes? */
export function wasAsync(): boolean {
  return stream.streamBaseState[stream.kLastWriteWasAsync] !== 0;
}

/** IPv6 sockets take IPv6 alone, so that 0.0.0.0 and :: may both be listened on. */
export function bindTCP<Owner>(handle: TCPHandle<Owner>, ip: string, port: number, shared: boolean): Result {
  const flags = shared ? tcp.constants.UV_TCP_REUSEPORT : 0;
  return ip.includes(':')
    ? handle.bind6(ip, port, flags | tcp.constants.UV_TCP_IPV6ONLY)
    : handle.bind(ip, port, flags);
}

export function bindUDP<Owner>(handle: UDPHandle<Owner>, ip: string, port: number, shared: boolean): Result {
  const flags = shared ? udp.constants.UV_UDP_REUSEPORT : 0;
  return ip.includes(':')
    ? handle.bind6(ip, port, flags | udp.constants.UV_UDP_IPV6ONLY)
    : handle.bind(ip, port, flags);
}

/** Whether an error means that the process, or the system, has no descriptor left. */
export function isOutOfDescriptors(result: Result): boolean {
  return result === EMFILE || result === ENFILE;
}

function binding<T>(name: string, members: readonly (keyof T & string)[]): T {
  const found = (process as unknown as { binding(name: string): Partial<T> }).binding(name);
  const missing = members.filter((member) => found[member] === undefined);
  if (missing.length > 0) {
    const what = `${name} of Node.js ${process.version} lacks ${missing.join(', ')}`;
    throw Object.assign(new Error(`userspace backend: ${what}; use Node.js 24, as the executable does`), {
      code: 'KP_BACKEND_UNSUPPORTED',
    });
  }
  return found as T;
}
