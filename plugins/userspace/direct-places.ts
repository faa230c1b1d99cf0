/**
 * Without rights: what is listened on, purely. A place is claimed by service ports, of which one has it; where its port
 * may not be bound, it is served at another port, unless that is somebody's place.
 *
 *   places of service ports ─▶ claims ─▶ listeners to close and to open
 *
 *   "TCP 127.96.0.10 80" at port 80 ─may not be bound─▶ at port 20080 ─"TCP 127.96.0.10 20080" is claimed─▶ at port 80
 */
import type { IPFamily, ServicePort } from '../../core/backend.ts';
import { type Claim, createClaims } from '../shared/claims.ts';
import type { Place } from './direct.ts';
import type { ListenSpec } from './forward/messages.ts';
import { engineKey, engineKind } from './services.ts';

export interface Places {
  /** A service port is to be served there instead of `before`; `port` is undefined for one that is gone. */
  replace(key: string, before: readonly Place[], after: readonly Place[], port: ServicePort | undefined): void;
  /** By place ("TCP 127.96.0.10 80", the listener's id): what is listened on, or was to be. */
  readonly specs: ReadonlyMap<string, ListenSpec>;
  /** What becomes of the places of `replace` since the last call, and of those who must, or may, move because of them. */
  settle(): Settled;
  /** This place's port may not be bound: its listener at another one. Undefined: there is none. */
  move(id: string): ListenSpec | undefined;
  isMoved(id: string): boolean;
  /** Who has the place. */
  owner(id: string): ServicePort | undefined;
}

export interface Settled {
  /** Those of `replace`, changed or not. */
  readonly touched: ReadonlySet<string>;
  readonly close: readonly string[];
  /** By place. */
  readonly open: ReadonlyMap<string, ListenSpec>;
}

export interface PlacesOptions {
  readonly family: IPFamily;
  /** Added to a port that may not be bound; 0: not tried. */
  readonly portOffset: number;
  readonly shared: boolean;
}

interface PlaceClaim extends Claim {
  readonly place: Place;
  readonly port: ServicePort;
}

const MOST_PORT = 65_535;

export function createPlaces({ family, portOffset, shared }: PlacesOptions): Places {
  const claims = createClaims<PlaceClaim>(() => {});
  const specs = new Map<string, ListenSpec>();
  /** Places whose port may not be bound, and which are served `portOffset` higher. */
  const moved = new Set<string>();
  let touched = new Set<string>();

  function specOf(id: string, { place, port }: PlaceClaim): ListenSpec {
    return {
      id,
      protocol: place.protocol,
      ip: place.ip,
      port: moved.has(id) ? place.port + portOffset : place.port,
      shared,
      serves: { service: engineKey(family, port.key), kind: engineKind({ ...place }) },
      clients: 'by address',
    };
  }

  return {
    specs,

    replace(key, before, after, port) {
      const kept = new Set(after.map(idOf));
      for (const place of before) {
        const id = idOf(place);
        touched.add(id);
        if (!kept.has(id)) claims.release(id, key);
      }
      if (port === undefined) return;
      for (const place of after) {
        touched.add(idOf(place));
        claims.claim(idOf(place), { owner: key, rank: place.rank, place, port });
      }
    },

    settle() {
      const open = new Map<string, ListenSpec>();
      const close: string[] = [];
      const look = (id: string): void => {
        const winner = claims.winner(id);
        const before = specs.get(id);
        if (winner !== undefined) {
          const spec = specOf(id, winner);
          if (before !== undefined && isSame(before, spec)) return;
          specs.set(id, spec);
          open.set(id, spec);
        } else if (before !== undefined) {
          moved.delete(id);
          specs.delete(id);
          open.delete(id);
          close.push(id);
        }
      };
      for (const id of touched) {
        look(id);
        const lower = higher(id, -portOffset);
        if (!specs.has(id)) {
          // Who could not move here may by now.
          const waiting = specs.get(lower);
          if (waiting !== undefined && !moved.has(lower)) open.set(lower, waiting);
        } else if (moved.delete(lower)) {
          // Another one's place in the first instance: two on one port would share its connections.
          look(lower);
        }
      }
      const settled = { touched, open, close };
      touched = new Set();
      return settled;
    },

    move(id) {
      const spec = specs.get(id);
      const port = (spec?.port ?? 0) + portOffset;
      if (spec === undefined || portOffset === 0 || moved.has(id) || port > MOST_PORT) return undefined;
      if (specs.has(higher(id, portOffset))) return undefined;
      moved.add(id);
      const there = { ...spec, port };
      specs.set(id, there);
      return there;
    },

    isMoved: (id) => moved.has(id),
    owner: (id) => claims.winner(id)?.port,
  };
}

/** The listener's id. */
export function idOf({ protocol, ip, port }: Place): string {
  return `${protocol} ${ip} ${port}`;
}

/** The place whose port is so much higher. */
function higher(id: string, by: number): string {
  const port = id.lastIndexOf(' ') + 1;
  return `${id.slice(0, port)}${Number(id.slice(port)) + by}`;
}

/** Of one place, which has one protocol and address. */
function isSame(one: ListenSpec, other: ListenSpec): boolean {
  return (
    one.port === other.port && one.serves?.service === other.serves?.service && one.serves?.kind === other.serves?.kind
  );
}
