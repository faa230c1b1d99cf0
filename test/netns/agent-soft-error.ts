/**
 * An ICMP error that reaches a TCP socket while connect(2) still holds it does not end the attempt: Linux keeps it as
 * a "soft error" and repeats the SYN a second later (tcp_v6_err, TCP_SYN_SENT). Between namespaces packets are
 * delivered within the call that sends them, so that this is the rule here, for IPv6, where on a wire it is the
 * exception. SO_ERROR tells the soft error at once; Node has no call for it.
 */
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { loadKoffi } from '../../core/netlink/load-koffi.ts';
import { SLOW } from './slow.ts';

const SOL_SOCKET = 1;
const SO_ERROR = 4;
/** For each connection that is waited for: on a slow machine hundreds of them would leave time for nothing else. */
const LOOK_EVERY_MS = 25 * SLOW;

type Getsockopt = (fd: number, level: number, option: number, value: Uint8Array, length: Uint8Array) => number;

let getsockopt: Getsockopt | undefined;

/** Until the socket is connected or closed, tell of the error that the kernel keeps to itself. */
export function watchSoftError(socket: Socket, tell: (error: NodeJS.ErrnoException) => void): void {
  const timer = setInterval(() => {
    const code = pendingError(socket);
    if (code === undefined) return;
    clearInterval(timer);
    tell(Object.assign(new Error(`connect: ${code}`), { code }));
  }, LOOK_EVERY_MS);
  const stop = () => clearInterval(timer);
  socket.on('connect', stop).on('close', stop);
}

function pendingError(socket: Socket): string | undefined {
  const { fd = -1 } = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle ?? {};
  if (fd < 0) return undefined;
  // null: what the running program has loaded already, its libc among it.
  getsockopt ??= loadKoffi()
    .load(null)
    .func<Getsockopt>('int getsockopt(int fd, int level, int option, void *value, void *length)');
  const value = Buffer.alloc(4);
  const length = Buffer.from(Uint32Array.of(value.length).buffer);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length) !== 0) return undefined;
  const errno = value.readInt32LE();
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
}
