/**
 * A netlink socket: opened through libc, then used with plain reads and writes.
 *
 *   koffi: socket ─ setsockopt ─ bind ─ connect     fs: writeSync ⇄ kernel ⇄ readSync (blocks, at most the timeout)
 *
 * The kernel answers a request inside the send call, so that a read right after it finds the answer waiting; the
 * timeout only guards against a kernel that says nothing. The socket belongs to the network namespace of its opening.
 */
import { closeSync, read, readSync, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { HOST_IS_LITTLE_ENDIAN } from './attributes.ts';
import { errnoMeaning, errnoMeaningByName, NetlinkError } from './errors.ts';
import { type Libc, loadLibc } from './libc.ts';
import type { Transport } from './transport.ts';

// Protocols: the last argument of socket(2).
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;

// linux/socket.h and asm-generic/socket.h; the same on every architecture that koffi serves.
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const SOCKADDR_NL_BYTES = 12;
/** The kernel doubles what it is asked for, in an int. */
const LARGEST_SEND_BUFFER = 1 << 29;

const writeOffLoop = promisify(write);
const readOffLoop = promisify(read);

export interface NetlinkOptions {
  readonly protocol: number;
  /** Largest message that can be sent, nearly; unprivileged it is capped by net.core.wmem_max. */
  readonly sendBufferBytes?: number;
  /** How much the kernel may queue for us; unprivileged it is capped by net.core.rmem_max. */
  readonly receiveBufferBytes?: number;
  /** Milliseconds, 1 or more. */
  readonly receiveTimeoutMs?: number;
  /** Largest datagram that can be received. Dumps come in at most 32 KiB, or one oversized object. */
  readonly datagramBytes?: number;
  /** Multicast groups to hear, as a bit mask: group n is bit n - 1, so only groups 1 to 31. */
  readonly groups?: number;
  /** Receiving does not wait: with nothing there it is KP_NETLINK_TIMEOUT at once. */
  readonly nonBlocking?: boolean;
}

export interface NetlinkSocket extends Transport {
  /** For those who want to read without blocking; stays ours to close. */
  readonly descriptor: number;
}

/** @throws NetlinkError KP_NETLINK_UNAVAILABLE: no koffi here, or no such protocol in this kernel. */
export function openNetlink(options: NetlinkOptions): NetlinkSocket {
  const {
    protocol,
    sendBufferBytes = 1 << 20,
    receiveBufferBytes = 4 << 20,
    receiveTimeoutMs = 5000,
    datagramBytes = 64 << 10,
    groups = 0,
    nonBlocking = false,
  } = options;
  const libc = loadLibc();
  const descriptor = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (nonBlocking ? SOCK_NONBLOCK : 0), protocol);
  if (descriptor < 0) throw unavailable(libc, `socket of protocol ${protocol}`);
  try {
    setBuffer(libc, descriptor, SO_SNDBUFFORCE, SO_SNDBUF, sendBufferBytes);
    setBuffer(libc, descriptor, SO_RCVBUFFORCE, SO_RCVBUF, receiveBufferBytes);
    // Error texts and short acks: comforts of Linux 4.12 and 4.3, done without where they are missing.
    setOption(libc, descriptor, SOL_NETLINK, NETLINK_EXT_ACK, int32(1));
    setOption(libc, descriptor, SOL_NETLINK, NETLINK_CAP_ACK, int32(1));
    const timeout = timeval(receiveTimeoutMs);
    if (!setOption(libc, descriptor, SOL_SOCKET, SO_RCVTIMEO, timeout)) throw unavailable(libc, 'receive timeout');
    // All zero but the family (and groups): the kernel picks our port id, and talks to us from port 0 …
    const address = new Uint8Array(SOCKADDR_NL_BYTES);
    const addressView = new DataView(address.buffer);
    addressView.setUint16(0, AF_NETLINK, HOST_IS_LITTLE_ENDIAN);
    addressView.setUint32(8, groups, HOST_IS_LITTLE_ENDIAN);
    if (libc.bind(descriptor, address, address.length) < 0) throw unavailable(libc, 'bind');
    // … and nobody else may: without a connection any privileged process can send us forged answers. The connection
    // has no groups: those are for sending.
    addressView.setUint32(8, 0, HOST_IS_LITTLE_ENDIAN);
    if (libc.connect(descriptor, address, address.length) < 0) throw unavailable(libc, 'connect');
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  return socketOf(libc, descriptor, new Uint8Array(datagramBytes), receiveTimeoutMs, sendBufferBytes);
}

function socketOf(
  libc: Libc,
  descriptor: number,
  buffer: Uint8Array,
  receiveTimeoutMs: number,
  initialSendBufferBytes: number,
): NetlinkSocket {
  let open = true;
  let sendBufferBytes = initialSendBufferBytes;
  /** Threads that are still inside read(2) or write(2): the descriptor's number must not become another file's before. */
  let busyThreads = 0;

  // The descriptor's number may belong to another file by now, so a closed socket must not touch it.
  function assertOpen(): void {
    if (!open) throw new NetlinkError({ code: 'KP_NETLINK_INVALID', text: 'the socket is closed' });
  }

  async function offLoop<T>(call: () => Promise<T>): Promise<T> {
    busyThreads++;
    try {
      return await call();
    } finally {
      busyThreads--;
      if (!open && busyThreads === 0) closeSync(descriptor);
    }
  }

  return {
    descriptor,
    send(datagram) {
      assertOpen();
      try {
        writeSync(descriptor, datagram, 0, datagram.length, null);
      } catch (error) {
        throw sendFault(error, datagram.length);
      }
    },
    async sendOffLoop(datagram) {
      assertOpen();
      try {
        await offLoop(() => writeOffLoop(descriptor, datagram, 0, datagram.length, null));
      } catch (error) {
        throw sendFault(error, datagram.length);
      }
    },
    async receiveOffLoop() {
      assertOpen();
      try {
        const { bytesRead } = await offLoop(() => readOffLoop(descriptor, buffer, 0, buffer.length, null));
        if (bytesRead === buffer.length) throw truncated(bytesRead);
        return buffer.subarray(0, bytesRead);
      } catch (error) {
        throw receiveFault(error, receiveTimeoutMs);
      }
    },
    reserveSendBuffer(bytes) {
      assertOpen();
      if (bytes < sendBufferBytes) return;
      sendBufferBytes = Math.min(LARGEST_SEND_BUFFER, 2 ** Math.ceil(Math.log2(bytes + 1)));
      setBuffer(libc, descriptor, SO_SNDBUFFORCE, SO_SNDBUF, sendBufferBytes);
    },
    receive() {
      assertOpen();
      // A signal interrupts a read that has a timeout, and libuv does not repeat it.
      const deadline = performance.now() + receiveTimeoutMs;
      for (;;) {
        try {
          const count = readSync(descriptor, buffer, 0, buffer.length, null);
          // read(2) drops the rest of a longer datagram silently, so a full buffer is a truncated one.
          if (count === buffer.length) throw truncated(count);
          return buffer.subarray(0, count);
        } catch (error) {
          if (codeOf(error) === 'EINTR' && performance.now() < deadline) continue;
          throw receiveFault(error, receiveTimeoutMs);
        }
      }
    },
    close() {
      if (open && busyThreads === 0) closeSync(descriptor);
      open = false;
    },
  };
}

/** The forced size needs CAP_NET_ADMIN in the initial user namespace; elsewhere the system's limit applies. */
function setBuffer(libc: Libc, descriptor: number, forced: number, limited: number, bytes: number): void {
  if (!setOption(libc, descriptor, SOL_SOCKET, forced, int32(bytes))) {
    setOption(libc, descriptor, SOL_SOCKET, limited, int32(bytes));
  }
}

function setOption(libc: Libc, descriptor: number, level: number, option: number, value: Uint8Array): boolean {
  return libc.setsockopt(descriptor, level, option, value, value.length) === 0;
}

function int32(value: number): Uint8Array {
  return new Uint8Array(new Int32Array([value]).buffer);
}

/** struct timeval of a 64-bit architecture: seconds, microseconds. */
function timeval(milliseconds: number): Uint8Array {
  const seconds = Math.floor(milliseconds / 1000);
  return new Uint8Array(
    new BigInt64Array([BigInt(seconds), BigInt(Math.round((milliseconds - seconds * 1000) * 1000))]).buffer,
  );
}

function unavailable(libc: Libc, object: string): NetlinkError {
  const { name, text, remedy } = errnoMeaning(libc.errno());
  return new NetlinkError({
    code: 'KP_NETLINK_UNAVAILABLE',
    operation: 'netlink open',
    object,
    errno: name,
    text,
    remedy: process.platform === 'linux' ? remedy : 'netlink exists on Linux only',
  });
}

/** Faults of sending and receiving name no operation: the caller knows what it was for, and adds it. */
function sendFault(error: unknown, bytes: number): unknown {
  const errno = codeOf(error);
  if (errno === undefined) return error;
  const { text, remedy } = errnoMeaningByName(errno);
  const code = errno === 'EMSGSIZE' ? 'KP_NETLINK_TOO_LONG' : 'KP_NETLINK_REFUSED';
  return new NetlinkError({ code, object: `message of ${bytes} bytes`, errno, text, remedy });
}

function receiveFault(error: unknown, timeoutMs: number): unknown {
  const errno = codeOf(error);
  if (errno === undefined || error instanceof NetlinkError) return error;
  if (errno === 'EAGAIN' || errno === 'EINTR') {
    return new NetlinkError({ code: 'KP_NETLINK_TIMEOUT', text: `no answer within ${timeoutMs} ms` });
  }
  const { text, remedy } = errnoMeaningByName(errno);
  if (errno !== 'ENOBUFS') return new NetlinkError({ code: 'KP_NETLINK_REFUSED', errno, text, remedy });
  return new NetlinkError({
    code: 'KP_NETLINK_OVERRUN',
    errno,
    text: 'answers were lost, the receive buffer overflowed',
    remedy: 'raise net.core.rmem_max',
  });
}

function truncated(bytes: number): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_OVERRUN',
    text: `a datagram of ${bytes} bytes or more did not fit`,
  });
}

/** The error code of Node's fs functions; undefined for other errors. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
