/** What TCP and UDP forwarding share within an engine, and how both find out what serves a client. */
import type { Clock, SocketAddress, SocketFacts } from '../../../core/backend.ts';
import type { Chooser } from './choose.ts';
import type { Complaints } from './complain.ts';
import type { Destination, Frontends } from './frontends.ts';
import { isOutOfDescriptors } from './handles.ts';
import type { EngineLimits, ForwardedProtocol, FrontendKind, ListenSpec, Target } from './messages.ts';
import type { Occupancy } from './occupancy.ts';
import { mayReach, type ServiceState } from './service-state.ts';
import type { Sources } from './sources.ts';

export interface Forwarding {
  readonly limits: EngineLimits;
  readonly clock: Clock;
  readonly chooser: Chooser;
  readonly facts: SocketFacts;
  /** By key; undefined if there is no such service port. */
  readonly serviceState: (key: string) => ServiceState | undefined;
  readonly frontends: Frontends;
  readonly listensAt: (protocol: ForwardedProtocol, address: SocketAddress) => boolean;
  inside: Sources;
  readonly complaints: Complaints;
  readonly occupancy: Occupancy;
  readonly totals: Totals;
}

export interface Totals {
  strays: number;
  outOfDescriptors: number;
  overLimit: number;
}

/** What serves a client. */
export interface Route {
  readonly state: ServiceState;
  readonly isInside: boolean;
  readonly kind: FrontendKind;
}

/** `original` finds out where the client wanted to go; it may throw. Undefined: nothing serves that. */
export function destinationOf(
  { frontends, complaints }: Forwarding,
  { serves, protocol }: ListenSpec,
  original: () => SocketAddress | undefined,
): Destination | undefined {
  if (serves !== undefined) return serves;
  try {
    const address = original();
    return address === undefined ? undefined : frontends.find(protocol, address);
  } catch (error) {
    complaints.warn('The original destination of a client cannot be found out; it is refused', {
      error: error instanceof Error ? error.message : String(error),
    });
    return undefined;
  }
}

/**
 * A connection to it would come back here, to be forwarded there again. The kernel takes what this process itself sends
 * for a client's.
 */
export function leadsHere(
  { frontends, inside, listensAt, complaints }: Forwarding,
  { service: { key, protocol } }: ServiceState,
  target: Target,
): boolean {
  const isNodePort = inside.names(target.ip) && frontends.find(protocol, target) !== undefined;
  if (!isNodePort && !frontends.has(protocol, target) && !listensAt(protocol, target)) return false;
  complaints.warn('An endpoint is itself an address of a Service, and would lead back here; give it another port', {
    servicePort: key,
    endpoint: `${target.ip} port ${target.port}`,
  });
  return true;
}

/** `client` finds out the client's address, which few Services need. Undefined: source ranges leave it out. */
export function routeOf(
  { inside }: Forwarding,
  { clients }: ListenSpec,
  kind: FrontendKind,
  state: ServiceState,
  client: () => string,
): Route | undefined {
  if (kind === 'loadBalancerVIP' && state.service.sourceRanges.length > 0 && !mayReach(state, client())) {
    return undefined;
  }
  return { state, kind, isInside: clients === 'by address' ? inside.has(client()) : clients === 'inside' };
}

/** Other Services, and connections that are open, go on. */
export function countOutOfDescriptors({ totals, complaints }: Forwarding, result: number): boolean {
  if (!isOutOfDescriptors(result)) return false;
  totals.outOfDescriptors++;
  complaints.warn('No descriptor is left for another connection; raise the limit of open files (LimitNOFILE)');
  return true;
}
