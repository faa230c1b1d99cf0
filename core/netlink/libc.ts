/**
 * The C functions that Node lacks for sockets, and one to give memory back, called through koffi. Everything else on a
 * netlink socket is plain fs.readSync and fs.writeSync on its descriptor, so FFI is out of the way once it is open.
 */
import { type Koffi, loadKoffi } from './load-koffi.ts';

/** Each returns -1 on failure; `errno` then tells why. */
export interface Libc {
  socket(family: number, type: number, protocol: number): number;
  setsockopt(descriptor: number, level: number, option: number, value: Uint8Array, length: number): number;
  /** Both write into `value` and `address`; `length` is one number, at first their size and then what was written. */
  getsockopt(descriptor: number, level: number, option: number, value: Uint8Array, length: Uint32Array): number;
  getsockname(descriptor: number, address: Uint8Array, length: Uint32Array): number;
  bind(descriptor: number, address: Uint8Array, length: number): number;
  connect(descriptor: number, address: Uint8Array, length: number): number;
  errno(): number;
  /** Gives free memory of malloc back to the system. Undefined where the C library has no such function (musl). */
  readonly trim: (() => void) | undefined;
  /** _exit(2). */
  exit(status: number): void;
}

let libc: Libc | undefined;

/** Loads koffi (about 8 MB of memory) at the first call. */
export function loadLibc(): Libc {
  if (libc !== undefined) return libc;
  const koffi = loadKoffi();
  // null: what the running program has loaded already, which includes its libc, whatever that is called.
  const program = koffi.load(null);
  libc = {
    socket: program.func('int socket(int family, int type, int protocol)'),
    setsockopt: program.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t length)'),
    getsockopt: program.func('int getsockopt(int fd, int level, int option, void *value, void *length)'),
    getsockname: program.func('int getsockname(int fd, void *address, void *length)'),
    bind: program.func('int bind(int fd, const void *address, uint32_t length)'),
    connect: program.func('int connect(int fd, const void *address, uint32_t length)'),
    errno: koffi.errno,
    trim: trimOf(program),
    exit: program.func('void _exit(int status)'),
  };
  return libc;
}

function trimOf(program: ReturnType<Koffi['load']>): (() => void) | undefined {
  try {
    const trim = program.func<(pad: number) => number>('int malloc_trim(size_t pad)');
    return () => void trim(0);
  } catch {
    return undefined;
  }
}
