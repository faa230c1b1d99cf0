/**
 * A TCP connection: two sockets, joined. Its ends:
 *
 *   both sides have ended theirs (FIN)                          ─▶ finish: both are closed
 *   one side was reset, or it is ended from here (idle, drained) ─▶ abort: both are reset, so that neither side takes a
 *                                                                  stream that broke off for a complete one
 *
 *   accepted ─▶ dialing (dial.ts) ─▶ open (relay.ts) ─▶ closed
 */
import type { SocketAddress } from '../../../core/backend.ts';
import type { Tried } from './choose.ts';
import type { Route } from './forwarding.ts';
import type { TCPHandle } from './handles.ts';
import { leaveLane, type Waiting } from './lane.ts';
import type { Failure, Target } from './messages.ts';
import { leaveEndpoint, type Served, type ServiceState } from './service-state.ts';
import type { TCPForwarding } from './tcp.ts';

export interface Connection extends Served, Waiting {
  readonly tcp: TCPForwarding;
  readonly state: ServiceState;
  readonly kind: Route['kind'];
  readonly isInside: boolean;
  /** Where the client wanted to go, if that was asked of the kernel. */
  readonly original: SocketAddress | undefined;
  readonly client: Half;
  /** The dialed one. */
  server: Half | undefined;
  target: Target | undefined;
  isClosed: boolean;
  attempts: number;
  /** Undefined: the first one took it, or is being tried. */
  tried: Tried | undefined;
  /** When the first dial began, in the clock's milliseconds. */
  readonly since: number;
  /** Rounds of the watch without a byte. */
  quietRounds: number;
}

/** One socket of a connection. */
export interface Half {
  readonly handle: TCPHandle<Half>;
  readonly connection: Connection;
  /** No more will come from there. */
  isEnded: boolean;
  /** A shutdown waits for its end. */
  isShutting: boolean;
  isClosed: boolean;
  /** To be reset as soon as the shutdown has ended. */
  mustReset: boolean;
  /** Of this socket alone, while much comes from it. */
  ownBuffer: Buffer | undefined;
}

export function openHalf(handle: TCPHandle<Half>, connection: Connection): Half {
  const half: Half = {
    handle,
    connection,
    isEnded: false,
    isShutting: false,
    isClosed: false,
    mustReset: false,
    ownBuffer: undefined,
  };
  handle.owner = half;
  return half;
}

export function closeHalf(half: Half): void {
  if (half.isClosed) return;
  half.isClosed = true;
  half.handle.close();
}

export function resetHalf(half: Half): void {
  if (half.isClosed) return;
  half.isClosed = true;
  if (half.isShutting) {
    // A shutdown is only asked for when all is written, so that it ends in the loop's next round.
    half.mustReset = true;
    half.handle.readStop();
  } else {
    half.handle.reset();
  }
}

export function finish(connection: Connection): void {
  if (!leave(connection)) return;
  closeHalf(connection.client);
  if (connection.server !== undefined) closeHalf(connection.server);
}

export function abort(connection: Connection, reason: Failure): void {
  if (!leave(connection)) return;
  connection.state.counters.failures[reason]++;
  resetHalf(connection.client);
  if (connection.server !== undefined) resetHalf(connection.server);
}

export function otherHalf(half: Half): Half {
  const { client, server } = half.connection;
  return half === client ? (server as Half) : client;
}

/** What a fault of this socket is counted as. */
export function resetBy(half: Half): Failure {
  return half === half.connection.client ? 'client_reset' : 'endpoint_reset';
}

function leave(connection: Connection): boolean {
  if (connection.isClosed) return false;
  connection.isClosed = true;
  connection.state.counters.open--;
  connection.tcp.forwarding.occupancy.connections.add(-1);
  leaveLane(connection);
  leaveEndpoint(connection);
  return true;
}
