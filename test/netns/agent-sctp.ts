/**
 * SCTP over raw sockets, so that the translation of SCTP is judged by packets on kernels that have it in netfilter
 * but not as a protocol. A raw socket gets every SCTP packet to its address; ports and tags are compared here.
 * Where the kernel does speak SCTP, it would answer INITs itself, with an ABORT: see `sctpProblem`.
 */
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';
import { loadKoffi } from '../../core/netlink/load-koffi.ts';
import { type Answer, hostPort, type Outcome, outcomeOfError, type Request } from './agent-protocol.ts';
import { decodeSctp, encodeSctp, type SctpPacket } from './agent-sctp-packet.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW_NONBLOCK = 3 | 0o4000;
const IPPROTO_SCTP = 132;
const POLLIN = 1;
const SOCKADDR_BYTES = 28;
/** How long a poll takes at most before it begins again with the sockets that came meanwhile. */
const [SERVERS_MS, REQUESTS_MS] = [100, 20];

/** Why SCTP cannot be tried here; "" if it can. */
export function sctpProblem(): string {
  if (existsSync('/proc/net/sctp')) return 'this kernel speaks SCTP itself and would reset what the raw sockets began';
  return '';
}

const servers = createPoller(SERVERS_MS);
const requests = createPoller(REQUESTS_MS);

/** Resolves once the server is listened to. */
export async function serveSctp(ip: string, port: number, name: string): Promise<() => Promise<void>> {
  const socket = openRaw(ip);
  socket.bind(ip);
  await servers.watch(socket.fd, () => {
    for (let got = socket.receive(); got !== undefined; got = socket.receive()) {
      const init = decodeSctp(got.payload);
      if (init?.kind !== 'INIT' || init.destinationPort !== port) continue;
      const answer: Answer = { server: name, address: hostPort(ip, port), peer: got.peer, peerPort: init.sourcePort };
      socket.sendTo(got.peer, encodeSctp(initAck(init, JSON.stringify(answer))));
    }
  });
  return async () => {
    servers.forget(socket.fd);
    socket.close();
  };
}

/** Send one INIT and wait for its INIT ACK. */
export async function requestSctp(request: Request, timeoutMs: number): Promise<Outcome> {
  const { destinationIP, destinationPort, sourceIP } = request;
  const localPort = request.sourcePort ?? 32768 + Math.floor(Math.random() * 28000);
  const initiateTag = 1 + Math.floor(Math.random() * 0xfffffffe);
  const socket = openRaw(destinationIP);
  // An ICMP error reaches every raw socket with that peer, whatever its ports: it counts only if no answer comes.
  let told: Outcome = { outcome: 'timeout' };
  try {
    if (sourceIP !== undefined) socket.bind(sourceIP);
    socket.connect(destinationIP);
    const header = { sourcePort: localPort, destinationPort, verificationTag: 0 };
    const next = (): ReturnType<RawSocket['receive']> | 'error' => {
      try {
        return socket.receive();
      } catch (error) {
        told = outcomeOfError((error as NodeJS.ErrnoException).code) ?? told;
        return 'error';
      }
    };
    socket.send(encodeSctp({ kind: 'INIT', ...header, initiateTag, cookie: '' }));
    return await new Promise<Outcome>((resolve) => {
      const timer = setTimeout(() => resolve(told), timeoutMs);
      void requests.watch(socket.fd, () => {
        for (let got = next(); got !== undefined; got = next()) {
          if (got === 'error') continue;
          const ack = decodeSctp(got.payload);
          if (ack?.kind !== 'INIT ACK' || ack.verificationTag !== initiateTag) continue;
          if (ack.destinationPort !== localPort || ack.sourcePort !== destinationPort) continue;
          clearTimeout(timer);
          resolve({ outcome: 'answered', localPort, ...(JSON.parse(ack.cookie) as Answer) });
          return;
        }
      });
    });
  } catch (error) {
    const outcome = outcomeOfError((error as NodeJS.ErrnoException).code);
    if (outcome) return outcome;
    throw error;
  } finally {
    requests.forget(socket.fd);
    socket.close();
  }
}

function initAck(init: SctpPacket, cookie: string): SctpPacket {
  return {
    kind: 'INIT ACK',
    sourcePort: init.destinationPort,
    destinationPort: init.sourcePort,
    verificationTag: init.initiateTag,
    initiateTag: 1,
    cookie,
  };
}

interface Poller {
  /** Calls `ready` whenever there is something to receive. Resolves once it is listened for. */
  watch(fd: number, ready: () => void): Promise<void>;
  /** Before it is closed. */
  forget(fd: number): void;
}

/** One poll for all its sockets: each takes one of the four threads that Node has, for as long as it waits. */
function createPoller(roundMs: number): Poller {
  const watched = new Map<number, () => void>();
  let looping = false;
  let heard: (() => void)[] = [];
  const loop = async (): Promise<void> => {
    looping = true;
    while (watched.size > 0) {
      const waiting = heard;
      heard = [];
      for (const tell of waiting) tell();
      for (const fd of await readable([...watched.keys()], roundMs)) watched.get(fd)?.();
    }
    looping = false;
  };
  return {
    watch(fd, ready) {
      watched.set(fd, ready);
      const listening = new Promise<void>((resolve) => heard.push(resolve));
      if (!looping) void loop();
      return listening;
    },
    forget: (fd) => void watched.delete(fd),
  };
}

interface RawSocket {
  readonly fd: number;
  bind(ip: string): void;
  connect(ip: string): void;
  send(payload: Buffer): void;
  sendTo(ip: string, payload: Buffer): void;
  /** The next packet that waits, without its IP header; undefined if none does. */
  receive(): { readonly peer: string; readonly payload: Buffer } | undefined;
  close(): void;
}

function openRaw(ip: string): RawSocket {
  const c = libc();
  const inet6 = ip.includes(':');
  const fd = check('socket', c.socket(inet6 ? AF_INET6 : AF_INET, SOCK_RAW_NONBLOCK, IPPROTO_SCTP));
  const buffer = Buffer.alloc(65536);
  const from = Buffer.alloc(SOCKADDR_BYTES);
  const fromLength = Buffer.alloc(4);
  return {
    fd,
    bind: (to) => void check('bind', c.bind(fd, ...socketAddress(to))),
    connect: (to) => void check('connect', c.connect(fd, ...socketAddress(to))),
    send: (payload) => void check('send', c.send(fd, payload, payload.length, 0)),
    sendTo: (to, payload) => void check('sendto', c.sendto(fd, payload, payload.length, 0, ...socketAddress(to))),
    receive() {
      fromLength.writeUInt32LE(SOCKADDR_BYTES);
      const length = c.recvfrom(fd, buffer, buffer.length, 0, from, fromLength);
      if (length < 0 && libc().errno() === constants.errno.EAGAIN) return undefined;
      check('recvfrom', length);
      // IPv4 raw sockets deliver the IP header too, its length in 4-byte words in the low half of the first byte.
      const header = inet6 ? 0 : (buffer[0]! & 0x0f) * 4;
      const address = inet6 ? from.subarray(8, 24) : from.subarray(4, 8);
      const peer = ipaddr.fromByteArray([...address]).toString();
      return { peer, payload: Buffer.from(buffer.subarray(header, length)) };
    },
    close: () => void c.close(fd),
  };
}

/** sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes), port 0, and its length. */
function socketAddress(ip: string): readonly [Buffer, number] {
  const parsed = ipaddr.parse(ip);
  const inet6 = parsed.kind() === 'ipv6';
  const bytes = Buffer.alloc(inet6 ? 28 : 16);
  bytes.writeUInt16LE(inet6 ? AF_INET6 : AF_INET, 0);
  Buffer.from(parsed.toByteArray()).copy(bytes, inet6 ? 8 : 4);
  return [bytes, bytes.length];
}

/** Those of the descriptors that have something to receive, an error included, within the time. Off the main thread. */
async function readable(fds: readonly number[], milliseconds: number): Promise<readonly number[]> {
  const polled = Buffer.alloc(8 * fds.length); // struct pollfd: int fd; short events, revents
  for (const [index, fd] of fds.entries()) {
    polled.writeInt32LE(fd, 8 * index);
    polled.writeInt16LE(POLLIN, 8 * index + 4);
  }
  const count = await new Promise<number>((resolve, reject) => {
    libc().poll.async(polled, fds.length, milliseconds, (error: Error | null, result: number) => {
      if (error) reject(error);
      else resolve(result);
    });
  });
  if (count < 0) await sleep(10); // interrupted: the caller looks at the clock and asks again
  return fds.filter((_, index) => polled.readInt16LE(8 * index + 6) !== 0);
}

/** The calls that Node lacks; each returns -1 on failure, and `errno` then tells why. */
interface Sockets {
  errno(): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(descriptor: number, address: Uint8Array, length: number): number;
  connect(descriptor: number, address: Uint8Array, length: number): number;
  send(descriptor: number, data: Uint8Array, size: number, flags: number): number;
  sendto(
    descriptor: number,
    data: Uint8Array,
    size: number,
    flags: number,
    address: Uint8Array,
    length: number,
  ): number;
  recvfrom(
    descriptor: number,
    data: Uint8Array,
    size: number,
    flags: number,
    address: Uint8Array,
    length: Uint8Array,
  ): number;
  /** `async` calls it in another thread. */
  readonly poll: ((polled: Uint8Array, count: number, milliseconds: number) => number) & {
    async(
      polled: Uint8Array,
      count: number,
      milliseconds: number,
      done: (error: Error | null, result: number) => void,
    ): void;
  };
  close(descriptor: number): number;
}

let loaded: Sockets | undefined;

function libc(): Sockets {
  loaded ??= loadLibc();
  return loaded;
}

function loadLibc(): Sockets {
  const koffi = loadKoffi();
  // null: what the running program has loaded already, its libc among it.
  const library = koffi.load(null);
  return {
    errno: koffi.errno,
    socket: library.func('int socket(int domain, int type, int protocol)'),
    bind: library.func('int bind(int fd, const void *address, uint32_t length)'),
    connect: library.func('int connect(int fd, const void *address, uint32_t length)'),
    send: library.func('long send(int fd, const void *data, size_t length, int flags)'),
    sendto: library.func(
      'long sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t size)',
    ),
    recvfrom: library.func('long recvfrom(int fd, void *data, size_t length, int flags, void *address, void *size)'),
    poll: library.func('int poll(void *fds, unsigned long count, int milliseconds)'),
    close: library.func('int close(int fd)'),
  };
}

function check(call: string, result: number): number {
  if (result >= 0) return result;
  const errno = libc().errno();
  const code = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? String(errno);
  throw Object.assign(new Error(`${call} on a raw SCTP socket failed: ${code}`), { code });
}
