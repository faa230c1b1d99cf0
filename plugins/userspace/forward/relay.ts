/**
 * Bytes from one socket of a connection to the other.
 *
 *   socket ─read─▶ buffer that all sockets share ─copy─▶ spare ─write─▶ other socket
 *                                                          │ its kernel buffer is full: the spare belongs to the write
 *                                                          ▼ until that ends, and nothing is read meanwhile
 *   socket ─read─▶ buffer of its own, once it fills the shared one ─write─▶ other socket
 *
 * So an idle connection has no buffer, and one whose reader is slow has one. A write that ended at once, as most do,
 * leaves its request and its buffer free for the next, of whichever connection.
 */
import { abort, type Connection, finish, type Half, otherHalf, resetBy } from './connection.ts';
import { EOF, lastRead, type Request, ShutdownRequest, WriteRequest, wasAsync } from './handles.ts';
import { enterLane } from './lane.ts';

/** As much as a read of libuv takes at once. */
const BUFFER_BYTES = 65_536;
const MOST_SPARE_BUFFERS = 64;

export interface Buffers {
  /** Read into, and empty again before anything else runs. */
  readonly shared: Buffer;
  readonly spare: Buffer[];
  request: Request<Half>;
}

export function openBuffers(): Buffers {
  return { shared: Buffer.allocUnsafeSlow(BUFFER_BYTES), spare: [], request: writeRequest() };
}

/** Both are connected. What the client has sent since it was accepted waits in the kernel. */
export function startRelay(connection: Connection): void {
  startReading(connection.client);
  startReading(connection.server as Half);
}

function startReading(half: Half): void {
  const { handle } = half;
  handle.onread = onRead;
  handle.useUserBuffer(half.connection.tcp.buffers.shared);
  const result = handle.readStart();
  if (result < 0) abort(half.connection, resetBy(half));
}

function onRead(this: Half['handle']): Buffer | undefined {
  const count = lastRead();
  const half = this.owner as Half;
  if (half.connection.isClosed) return undefined;
  if (count > 0) return pass(half, count);
  if (count === EOF) endStream(half);
  else if (count < 0) abort(half.connection, resetBy(half));
  return undefined;
}

/** Returns what is to be read into from now on, if that changes. */
function pass(from: Half, count: number): Buffer | undefined {
  const { connection } = from;
  const { buffers } = connection.tcp;
  const { counters } = connection.state;
  const to = otherHalf(from);
  connection.quietRounds = 0;
  if (from === connection.client) counters.bytesIn += count;
  else counters.bytesOut += count;

  const own = from.ownBuffer;
  const buffer = own ?? takeSpare(buffers);
  if (own === undefined) buffers.shared.copy(buffer, 0, 0, count);
  const { request } = buffers;
  const result = to.handle.writeBuffer(request, buffer.subarray(0, count));
  if (result < 0) {
    if (own === undefined) giveSpare(buffers, buffer);
    abort(connection, resetBy(to));
    return undefined;
  }
  if (wasAsync()) {
    request.owner = from;
    request.buffer = buffer;
    buffers.request = writeRequest();
    from.handle.readStop();
    return undefined;
  }
  if (own === undefined) {
    if (count < BUFFER_BYTES) {
      giveSpare(buffers, buffer);
      return undefined;
    }
    from.ownBuffer = buffer;
    return buffer;
  }
  // What was read did not fill it: nothing waits there, and an idle connection is to hold nothing.
  if (count === BUFFER_BYTES) return undefined;
  from.ownBuffer = undefined;
  giveSpare(buffers, own);
  return buffers.shared;
}

function onWritten(this: Request<Half>, status: number): void {
  const from = this.owner as Half;
  const { connection } = from;
  const buffer = this.buffer as Buffer;
  this.buffer = undefined;
  if (from.ownBuffer !== buffer) giveSpare(connection.tcp.buffers, buffer);
  if (connection.isClosed) return;
  connection.quietRounds = 0;
  if (status < 0) abort(connection, resetBy(otherHalf(from)));
  else from.handle.readStart();
}

/** All that came before has been written: reading waits for writes. */
function endStream(from: Half): void {
  const { connection } = from;
  const to = otherHalf(from);
  from.isEnded = true;
  if (to.isEnded) {
    finish(connection);
    return;
  }
  const request = new ShutdownRequest<Half>();
  request.oncomplete = onShut;
  request.owner = to;
  to.isShutting = true;
  const result = to.handle.shutdown(request);
  if (result < 0) {
    to.isShutting = false;
    abort(connection, resetBy(to));
  } else if (connection.lane === undefined) {
    enterLane(connection.tcp.watch, connection);
  }
}

function onShut(this: Request<Half>): void {
  const half = this.owner as Half;
  half.isShutting = false;
  if (!half.mustReset) return;
  half.mustReset = false;
  half.handle.reset();
}

function writeRequest(): Request<Half> {
  const request = new WriteRequest<Half>();
  request.oncomplete = onWritten;
  return request;
}

function takeSpare({ spare }: Buffers): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

function giveSpare({ spare }: Buffers, buffer: Buffer): void {
  if (spare.length < MOST_SPARE_BUFFERS) spare.push(buffer);
}
