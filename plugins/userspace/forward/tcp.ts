/** TCP forwarding of an engine: who is accepted, and what watches over connections that are open. */
import type { SocketAddress } from '../../../core/backend.ts';
import { abort, type Connection, type Half, openHalf, resetBy } from './connection.ts';
import { addressOf, DIAL_TIMEOUTS_MS, dial, dialNext } from './dial.ts';
import { destinationOf, type Forwarding, type Route, routeOf } from './forwarding.ts';
import type { HandleAddress, TCPHandle } from './handles.ts';
import { closeLane, enterLane, type Lane, NOT_WAITING, openLane, type Waiting } from './lane.ts';
import type { Failure, ListenSpec } from './messages.ts';
import { type Buffers, openBuffers } from './relay.ts';
import { NOT_SERVED } from './service-state.ts';

/** An idle connection is noticed between one time and one time and a quarter of the limit. */
const WATCH_ROUNDS = 4;
const WATCH_WITHOUT_LIMIT_MS = 30_000;

export interface TCPForwarding {
  readonly forwarding: Forwarding;
  readonly buffers: Buffers;
  /** One for each attempt. */
  readonly dials: readonly Lane[];
  /** Connections that have an idle limit, or of which one side has ended. */
  readonly watch: Lane;
}

export function openTCP(forwarding: Forwarding): TCPForwarding {
  const { clock, limits } = forwarding;
  const period = limits.idleSeconds > 0 ? (limits.idleSeconds * 1000) / WATCH_ROUNDS : WATCH_WITHOUT_LIMIT_MS;
  return {
    forwarding,
    buffers: openBuffers(),
    dials: DIAL_TIMEOUTS_MS.map((timeout) => openLane(clock, timeout, onDialTimeout)),
    watch: openLane(clock, period, onWatch),
  };
}

export function closeTCP({ dials, watch }: TCPForwarding): void {
  for (const lane of [...dials, watch]) closeLane(lane);
}

export function acceptTCP(tcp: TCPForwarding, spec: ListenSpec, handle: TCPHandle<Half>): void {
  const { forwarding } = tcp;
  const { totals, occupancy, limits, serviceState, facts, complaints } = forwarding;
  let original: SocketAddress | undefined;
  const destination = destinationOf(forwarding, spec, () => {
    original = facts.originalDestination(handle.fd);
    return original;
  });
  const state = destination === undefined ? undefined : serviceState(destination.service);
  if (destination === undefined || state === undefined) {
    totals.strays++;
    handle.reset();
    return;
  }
  state.counters.connections++;
  if (occupancy.connections.all() >= limits.maxConnections) {
    totals.overLimit++;
    state.counters.failures.limit++;
    complaints.warn('As many connections are open as may be; more are reset (maxConnections, open files)', {
      limit: limits.maxConnections,
    });
    handle.reset();
    return;
  }
  const route = routeOf(forwarding, spec, destination.kind, state, () => addressOf({ handle }, 'getpeername').ip);
  if (route === undefined) {
    // Silence would be right, but the kernel has answered already.
    state.counters.failures.source_range++;
    handle.reset();
    return;
  }
  state.counters.open++;
  occupancy.connections.add(1);
  dial(openConnection(tcp, route, handle, original));
}

function openConnection(
  tcp: TCPForwarding,
  { state, kind, isInside }: Route,
  handle: TCPHandle<Half>,
  original: SocketAddress | undefined,
): Connection {
  const connection = {
    tcp,
    state,
    kind,
    isInside,
    original,
    client: undefined as unknown as Half,
    server: undefined,
    target: undefined,
    isClosed: false,
    attempts: 0,
    tried: undefined,
    since: tcp.forwarding.clock.now(),
    quietRounds: 0,
    end,
    ...NOT_SERVED,
    ...NOT_WAITING,
  };
  // The two refer to each other.
  connection.client = openHalf(handle, connection);
  return connection;
}

/** An endpoint that goes while it is dialed has nothing to be drained: the client is offered the next one. */
function end(this: Connection, reason: Failure): void {
  const isDialing = this.lane !== undefined && this.tcp.dials.includes(this.lane);
  if (reason === 'drained' && isDialing && !this.state.isGone) dialNext(this, false);
  else abort(this, reason);
}

function onDialTimeout(waiting: Waiting): void {
  dialNext(waiting as Connection, false);
}

/**
 * Nothing is read any more from a side that has ended, so that its reset, or its not answering keep-alives, would go
 * unnoticed until something is written there: the kernel knows.
 */
function onWatch(waiting: Waiting): void {
  const connection = waiting as Connection;
  const { client, server, tcp } = connection;
  for (const half of [client, server]) {
    if (half?.isEnded && half.handle.getpeername({} satisfies HandleAddress) !== 0) {
      abort(connection, resetBy(half));
      return;
    }
  }
  const hasLimit = tcp.forwarding.limits.idleSeconds > 0;
  if (hasLimit && ++connection.quietRounds >= WATCH_ROUNDS + 1) abort(connection, 'idle');
  else enterLane(tcp.watch, connection);
}
