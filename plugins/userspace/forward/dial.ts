/**
 * From an accepted client to an endpoint that takes the connection: up to four are tried, each for twice as long as the
 * one before. Nothing is read from the client meanwhile: its bytes wait in the kernel.
 */
import type { SocketAddress } from '../../../core/backend.ts';
import { chooseTarget, forgetTarget, nameOf, ringFor } from './choose.ts';
import { abort, type Connection, closeHalf, type Half, openHalf } from './connection.ts';
import { countDial } from './counters.ts';
import { countOutOfDescriptors, leadsHere } from './forwarding.ts';
import { ConnectRequest, type HandleAddress, type Request, tcpSocket, WriteRequest } from './handles.ts';
import { enterLane, leaveLane } from './lane.ts';
import { proxyHeader } from './proxy-header.ts';
import { startRelay } from './relay.ts';
import { joinEndpoint, leaveEndpoint } from './service-state.ts';

export const DIAL_TIMEOUTS_MS = [250, 500, 1000, 2000] as const;

export function dial(connection: Connection): void {
  const { tcp, state } = connection;
  const { forwarding } = tcp;
  const ring = ringFor(state.service, state.rings, connection.kind, connection.isInside);
  if (ring.list.length === 0 || state.isGone) {
    abort(connection, 'no_endpoint');
    return;
  }
  const client = state.service.affinitySeconds === 0 ? '' : clientOf(connection).ip;
  const lane = tcp.dials[connection.attempts++];
  const target = lane && chooseTarget(state.service, ring, client, forwarding.chooser, connection.tried);
  if (lane === undefined || target === undefined) {
    abort(connection, 'dial');
    return;
  }
  if (leadsHere(forwarding, state, target)) {
    connection.target = target;
    dialNext(connection, true);
    return;
  }
  const handle = tcpSocket<Half>();
  const server = openHalf(handle, connection);
  connection.target = target;
  connection.server = server;
  joinEndpoint(state, target, connection);
  const request = new ConnectRequest<Half>();
  request.owner = server;
  request.oncomplete = onConnected;
  const result = target.ip.includes(':')
    ? handle.connect6(request, target.ip, target.port)
    : handle.connect(request, target.ip, target.port);
  if (result === 0) enterLane(lane, connection);
  else if (countOutOfDescriptors(forwarding, result)) abort(connection, 'limit');
  else dialNext(connection, true);
}

/** The endpoint did not take the connection within its time, or at all. */
export function dialNext(connection: Connection, isRefusal: boolean): void {
  const { state, target, server, tcp } = connection;
  connection.tried ??= new Map();
  if (target !== undefined) connection.tried.set(nameOf(target), isRefusal ? 'refused' : 'late');
  leaveLane(connection);
  leaveEndpoint(connection);
  if (server !== undefined) closeHalf(server);
  connection.server = undefined;
  if (target !== undefined && state.service.affinitySeconds > 0) {
    forgetTarget(state.service, target, clientOf(connection).ip, tcp.forwarding.chooser);
  }
  dial(connection);
}

function onConnected(this: Request<Half>, status: number): void {
  const server = this.owner as Half;
  // Given up meanwhile.
  if (server.isClosed) return;
  const { connection } = server;
  const { tcp, state } = connection;
  if (status < 0) {
    dialNext(connection, true);
    return;
  }
  leaveLane(connection);
  const { limits, clock } = tcp.forwarding;
  countDial(state.counters, clock.now() - connection.since);
  server.handle.setNoDelay(true);
  if (limits.keepAliveSeconds > 0) server.handle.setKeepAlive(true, limits.keepAliveSeconds);
  if (limits.idleSeconds > 0) enterLane(tcp.watch, connection);
  if (state.service.proxyProtocol) introduce(connection, server);
  startRelay(connection);
}

function introduce(connection: Connection, { handle }: Half): void {
  const header = proxyHeader(clientOf(connection), connection.original ?? addressOf(connection.client, 'getsockname'));
  const request = new WriteRequest<Half>();
  request.oncomplete = () => {};
  request.buffer = header;
  // A fault of this write is one of the next, too.
  handle.writeBuffer(request, header);
}

export function clientOf({ client }: Connection): SocketAddress {
  return addressOf(client, 'getpeername');
}

/** Of a client that was reset before it was looked at nothing is known: any address will do. */
export function addressOf({ handle }: Pick<Half, 'handle'>, which: 'getpeername' | 'getsockname'): SocketAddress {
  const out: HandleAddress = {};
  handle[which](out);
  return { ip: out.address ?? '0.0.0.0', port: out.port ?? 0 };
}
