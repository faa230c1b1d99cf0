/**
 * UDP forwarding: a client's datagrams to a listener are a session, with a connected socket of its own to one endpoint;
 * what comes back there leaves from the listener, as if the Service had answered.
 *
 *   client ─▶ listener ─▶ session ─▶ endpoint          sessions of a listener by the client's address and port
 *          ◀─          ◀─         ◀─
 *
 * A session ends when nothing came for a while (sooner if the endpoint never answered), when the endpoint is gone or
 * answers with an ICMP error, with its listener, or when there are too many: then the one that was quiet longest goes.
 *
 * The kernel gives two destinations that one client port talks to at a time two source ports here. But it forgets a client
 * that is quiet before a session does, and the client's port may come back for another Service, as may a Service's
 * address: then the session is another's (isMeant).
 */
import type { ArrivingFlow, SocketAddress } from '../../../core/backend.ts';
import { chooseTarget, forgetTarget, ringFor } from './choose.ts';
import { countDial } from './counters.ts';
import { countOutOfDescriptors, destinationOf, type Forwarding, leadsHere, routeOf } from './forwarding.ts';
import { SendRequest, type UDPHandle, udpSocket } from './handles.ts';
import { closeLane, enterLane, type Lane, leaveLane, NOT_WAITING, openLane, type Waiting } from './lane.ts';
import type { Failure, FrontendKind, ListenSpec, Target } from './messages.ts';
import { joinEndpoint, leaveEndpoint, NOT_SERVED, type Served, type ServiceState } from './service-state.ts';

/** Datagrams that wait for room in a socket; more are lost, as they would be in the kernel. */
const MOST_WAITING = 64;
/** A client that was quiet for so long may have been forgotten by conntrack (nf_conntrack_udp_timeout, 30 s as a rule). */
const FORGOTTEN_MS = 5_000;
/** A datagram that meets the ICMP error of an earlier one is sent once more, to whichever endpoint comes next. */
const MOST_TRIES = 2;

export interface UDPForwarding {
  readonly forwarding: Forwarding;
  readonly unreplied: Lane;
  readonly replied: Lane;
  request: SendRequest;
}

/** What sessions of one listener share. */
export interface UDPEntrance {
  readonly udp: UDPForwarding;
  readonly spec: ListenSpec;
  /** The one that was bound, where any free one was asked for. */
  readonly port: number;
  readonly handle: UDPHandle<UDPEntrance>;
  readonly sessions: Map<string, Session>;
}

interface Session extends Served, Waiting {
  readonly entrance: UDPEntrance;
  readonly name: string;
  readonly clientIP: string;
  readonly clientPort: number;
  readonly state: ServiceState;
  readonly kind: FrontendKind;
  /** Where the client's first datagram was going, if that was asked of the kernel. */
  readonly original: SocketAddress | undefined;
  readonly target: Target;
  readonly handle: UDPHandle<Session>;
  readonly since: number;
  /** When the client's last datagram came, in the clock's milliseconds. */
  heardAt: number;
  /** Of the frontends, when its destination was last looked up. */
  generation: number;
  isReplied: boolean;
  isClosed: boolean;
}

export function openUDP(forwarding: Forwarding): UDPForwarding {
  const { clock, limits } = forwarding;
  return {
    forwarding,
    unreplied: openLane(clock, limits.unrepliedSeconds * 1000, onQuiet),
    replied: openLane(clock, limits.repliedSeconds * 1000, onQuiet),
    request: new SendRequest(),
  };
}

export function closeUDP({ unreplied, replied }: UDPForwarding): void {
  closeLane(unreplied);
  closeLane(replied);
}

/** `handle` is bound; from now on its datagrams are served. */
export function openEntrance(
  udp: UDPForwarding,
  spec: ListenSpec,
  handle: UDPHandle<UDPEntrance>,
  port: number,
): UDPEntrance {
  const entrance: UDPEntrance = { udp, spec, handle, port, sessions: new Map() };
  handle.owner = entrance;
  handle.onmessage = onClientDatagram;
  handle.recvStart();
  return entrance;
}

/** Without it no answer could leave from where the client expects it: its sessions end, too. */
export function closeEntrance({ handle, sessions }: UDPEntrance): void {
  for (const session of [...sessions.values()]) close(session);
  handle.close();
}

function onClientDatagram(
  this: UDPHandle<UDPEntrance>,
  count: number,
  _handle: UDPHandle<UDPEntrance>,
  bytes: Uint8Array | undefined,
  from: { readonly address: string; readonly port: number } | undefined,
): void {
  // An error of this socket: an answer that some client no longer wanted.
  if (count < 0 || bytes === undefined || from === undefined) return;
  const entrance = this.owner as UDPEntrance;
  const { udp, sessions } = entrance;
  const name = `${from.address} ${from.port}`;
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    let session = sessions.get(name);
    if (session !== undefined && !isMeant(session)) {
      close(session);
      session = undefined;
    }
    session ??= openSession(entrance, name, from);
    if (session === undefined) return;
    enterLane(session.isReplied ? udp.replied : udp.unreplied, session);
    session.state.counters.bytesIn += bytes.length;
    if (session.handle.getSendQueueCount() >= MOST_WAITING) return;
    const list = [bytes];
    const result = session.handle.send(udp.request, list, 1, false);
    if (result >= 0) {
      keepIfWaiting(udp, result, list);
      return;
    }
    // The kernel tells the ICMP error of an earlier datagram now.
    if (!isUnreachable(result)) return;
    fail(session);
  }
}

function onEndpointDatagram(
  this: UDPHandle<Session>,
  count: number,
  _handle: UDPHandle<Session>,
  bytes: Uint8Array | undefined,
): void {
  const session = this.owner as Session;
  if (session.isClosed) return;
  if (count < 0) {
    fail(session);
    return;
  }
  // Nothing to read.
  if (bytes === undefined) return;
  const { entrance, state, clientIP, clientPort } = session;
  const { udp, handle } = entrance;
  if (!session.isReplied) {
    session.isReplied = true;
    countDial(state.counters, udp.forwarding.clock.now() - session.since);
  }
  enterLane(udp.replied, session);
  state.counters.bytesOut += bytes.length;
  if (handle.getSendQueueCount() >= MOST_WAITING) return;
  const list = [bytes];
  const result = clientIP.includes(':')
    ? handle.send6(udp.request, list, 1, clientPort, clientIP, false)
    : handle.send(udp.request, list, 1, clientPort, clientIP, false);
  keepIfWaiting(udp, result, list);
}

function openSession(
  entrance: UDPEntrance,
  name: string,
  { address: clientIP, port: clientPort }: { readonly address: string; readonly port: number },
): Session | undefined {
  const { udp, spec } = entrance;
  const { forwarding } = udp;
  const { totals, occupancy, serviceState, chooser, facts, clock } = forwarding;
  const flow = flowOf(entrance, clientIP, clientPort);
  let original: SocketAddress | undefined;
  const destination = destinationOf(forwarding, spec, () => {
    original = facts.originalUDPDestination(flow);
    return original;
  });
  const state = destination === undefined ? undefined : serviceState(destination.service);
  if (destination === undefined || state === undefined) {
    totals.strays++;
    return undefined;
  }
  const { counters, service } = state;
  counters.connections++;
  const route = routeOf(forwarding, spec, destination.kind, state, () => clientIP);
  if (route === undefined) {
    counters.failures.source_range++;
    return undefined;
  }
  const ring = ringFor(service, state.rings, route.kind, route.isInside);
  const target = chooseTarget(service, ring, clientIP, chooser);
  if (target === undefined) {
    counters.failures.no_endpoint++;
    return undefined;
  }
  if (leadsHere(forwarding, state, target)) {
    counters.failures.dial++;
    return undefined;
  }
  makeRoom(udp);
  const handle = udpSocket<Session>();
  const result = target.ip.includes(':')
    ? handle.connect6(target.ip, target.port)
    : handle.connect(target.ip, target.port);
  if (result < 0) {
    const isLimit = countOutOfDescriptors(forwarding, result);
    counters.failures[isLimit ? 'limit' : 'dial']++;
    if (!isLimit) forgetTarget(service, target, clientIP, chooser);
    handle.close();
    return undefined;
  }
  const session: Session = {
    entrance,
    name,
    clientIP,
    clientPort,
    state,
    kind: destination.kind,
    original,
    target,
    handle,
    since: clock.now(),
    heardAt: clock.now(),
    generation: forwarding.frontends.generation(),
    isReplied: false,
    isClosed: false,
    end,
    ...NOT_SERVED,
    ...NOT_WAITING,
  };
  handle.owner = session;
  handle.onmessage = onEndpointDatagram;
  handle.recvStart();
  counters.open++;
  occupancy.sessions.add(1);
  joinEndpoint(state, target, session);
  entrance.sessions.set(name, session);
  return session;
}

function flowOf({ spec: { ip }, port }: UDPEntrance, clientIP: string, clientPort: number): ArrivingFlow {
  return { family: ip.includes(':') ? 'IPv6' : 'IPv4', ip, port, clientIP, clientPort };
}

/** Whether the client still talks to the Service that it began with. */
function isMeant(session: Session): boolean {
  const { entrance, original, state, kind, clientIP, clientPort } = session;
  if (original === undefined) return true;
  const { frontends, facts, clock } = entrance.udp.forwarding;
  const now = clock.now();
  const wasQuiet = now - session.heardAt > FORGOTTEN_MS;
  session.heardAt = now;
  if (!wasQuiet && session.generation === frontends.generation()) return true;
  session.generation = frontends.generation();
  let present: SocketAddress | undefined = original;
  if (wasQuiet) {
    try {
      present = facts.originalUDPDestination(flowOf(entrance, clientIP, clientPort)) ?? original;
    } catch {
      // Who opens the next session is told why.
    }
  }
  if (present.ip !== original.ip || present.port !== original.port) return false;
  const destination = frontends.find('UDP', original);
  return destination?.service === state.service.key && destination.kind === kind;
}

/** The endpoint does not listen, or cannot be reached. */
function fail(session: Session): void {
  const { state, target, clientIP, entrance } = session;
  state.counters.failures.dial++;
  forgetTarget(state.service, target, clientIP, entrance.udp.forwarding.chooser);
  close(session);
}

function end(this: Session, reason: Failure): void {
  this.state.counters.failures[reason]++;
  close(this);
}

function onQuiet(waiting: Waiting): void {
  close(waiting as Session);
}

/**
 * Only sessions of this thread can be ended here. A thread that has less than its share takes one more all the same, and
 * the next one that has more makes room for it: together they are beyond the bound by about one for each thread at most.
 */
function makeRoom(udp: UDPForwarding): void {
  const { occupancy, limits } = udp.forwarding;
  const { threads, sessions } = occupancy;
  for (let all = sessions.all(); all >= limits.maxSessions; all = sessions.all()) {
    const isBelowShare = sessions.own() < limits.maxSessions / threads;
    if ((isBelowShare && all < limits.maxSessions + threads) || !evict(udp)) return;
  }
}

/** Of the session that was quiet longest. False: there is none. */
function evict({ unreplied, replied, forwarding }: UDPForwarding): boolean {
  const quietSince = ({ first, milliseconds }: Lane): number =>
    first === undefined ? Number.POSITIVE_INFINITY : first.due - milliseconds;
  const oldest = quietSince(unreplied) <= quietSince(replied) ? unreplied.first : replied.first;
  if (oldest === undefined) return false;
  forwarding.totals.overLimit++;
  forwarding.complaints.warn('As many UDP sessions are open as may be; for each new one the quietest ends', {
    limit: forwarding.limits.maxSessions,
  });
  (oldest as Session).end('limit');
  return true;
}

function close(session: Session): void {
  if (session.isClosed) return;
  session.isClosed = true;
  const { entrance, state, name, handle } = session;
  state.counters.open--;
  entrance.udp.forwarding.occupancy.sessions.add(-1);
  entrance.sessions.delete(name);
  leaveLane(session);
  leaveEndpoint(session);
  handle.close();
}

/** A request that waits is not ours any more. */
function keepIfWaiting(udp: UDPForwarding, result: number, list: readonly Uint8Array[]): void {
  if (result !== 0) return;
  udp.request.list = list;
  udp.request = new SendRequest();
}

/** ECONNREFUSED, EHOSTUNREACH, ENETUNREACH of Linux. */
function isUnreachable(result: number): boolean {
  return result === -111 || result === -113 || result === -101;
}
