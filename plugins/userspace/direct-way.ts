/**
 * Without rights: the process listens for each service port itself, and says where.
 *
 *   Change ─▶ places, claimed ─▶ what is listened on ─▶ said in the log: which Service is reachable where
 *
 * A change costs what it is about. A full one asks for every listener, and what cannot be had is asked for again every
 * ten seconds: whoever has it does not tell when it is free.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Change, Host, IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import { displayName } from '../shared/frontends.ts';
import { removedKeys } from '../shared/removed-keys.ts';
import { type Place, placesOf, unservedOf } from './direct.ts';
import { createPlaces, idOf } from './direct-places.ts';
import type { EngineUpdate, ListenSpec, ListenUpdate } from './forward/messages.ts';
import { askedProxyProtocol, engineKey, forwarded } from './services.ts';
import { createTurns } from './turns.ts';

export interface Direct {
  sync(change: Change): Promise<DirectReport>;
  snapshot(): Pick<EngineUpdate, 'upsert'>;
  totals(): Readonly<Record<string, number>>;
  /** Nothing is tried again from now on. */
  close(): void;
}

export interface DirectReport {
  /** New ones, and those that are not what they were. */
  readonly changed: readonly ServicePort[];
  /** Service ports and listeners that are not what they were. */
  readonly operations: number;
}

export interface DirectOptions {
  readonly host: Pick<Host, 'log' | 'clock'>;
  readonly family: IPFamily;
  readonly proxyProtocol: boolean;
  /** Added to a port that may not be bound; 0: not tried. */
  readonly portOffset: number;
  readonly shared: boolean;
  readonly tell: (update: Omit<EngineUpdate, 'listen'>) => Promise<void>;
  /** Resolves to what could not be had, by id. */
  readonly listen: (update: ListenUpdate) => Promise<ReadonlyMap<string, Fault>>;
}

/** What the log says of a place. */
interface Said {
  /** Of the service port. */
  readonly key: string;
  readonly service: string;
  /** With the port that is listened on. */
  readonly at: string;
  readonly isServed: boolean;
}

/** Addresses that no place serves, as the log has them; `isTaken`: of some the place is another Service's. */
interface Unplaced {
  readonly text: string;
  readonly isTaken: boolean;
}

interface Fault {
  readonly code: string;
  readonly message: string;
}

const RETRY_MS = 10_000;

/** More than so many lines at once say nothing to anybody; -v=2 shows all. */
const MOST_LINES = 20;

export function createDirect(options: DirectOptions): Direct {
  const { host, family, proxyProtocol, portOffset, tell, listen } = options;
  const records = new Map<string, ServicePort>();
  const places = createPlaces(options);
  const { specs } = places;
  /** By place. */
  const said = new Map<string, Said>();
  /** Addresses that no place serves, as text, by service port. */
  const unserved = new Map<string, Unplaced>();
  /** Wanted, and not to be had when last tried, by place. */
  const failing = new Map<string, Fault>();
  const inTurn = createTurns();
  let node: NodeView | undefined;
  let cancelRetry: (() => void) | undefined;
  let closed = false;

  /** Again at another port where one may not be bound. */
  async function listenTo(open: readonly ListenSpec[], close: readonly string[] = []): Promise<void> {
    for (const id of close) failing.delete(id);
    const faults = await ask({ open, close });
    const elsewhere = open.flatMap(({ id }) => (faults.get(id)?.code === 'EACCES' ? (places.move(id) ?? []) : []));
    await ask({ open: elsewhere });
  }

  async function ask({ open = [], close = [] }: ListenUpdate): ReturnType<typeof listen> {
    if (open.length + close.length === 0) return new Map();
    const faults = await listen({ close, open });
    for (const { id } of open) {
      const fault = faults.get(id);
      if (fault === undefined) failing.delete(id);
      else failing.set(id, fault);
    }
    return faults;
  }

  /** `ports`: those whose addresses without a place are others than before. */
  function say(touched: Iterable<string>, ports: Iterable<ServicePort> = []): void {
    const lines: (() => void)[] = [];
    for (const id of touched) {
      const spec = specs.get(id);
      const before = said.get(id);
      if (spec === undefined) {
        said.delete(id);
        if (before === undefined) continue;
        const { service, at } = before;
        lines.push(() => host.log.info('A Service is no longer reachable here', { service, at }));
        continue;
      }
      const owner = places.owner(id);
      const fault = failing.get(id);
      const service = owner ? displayName(owner) : '';
      const at = `${spec.protocol.toLowerCase()} ${spec.ip} ${spec.port}`;
      const now: Said = { key: owner?.key ?? '', service, at, isServed: fault === undefined };
      if (isDeepStrictEqual(before, now)) continue;
      said.set(id, now);
      if (fault !== undefined) {
        lines.push(() =>
          host.log.warn('A Service cannot be served here', { service, at, reason: reasonOf(fault, id) }),
        );
      } else if (before === undefined || before.key === now.key || !records.has(before.key)) {
        lines.push(() => host.log.info('A Service is reachable', { service, at }));
      } else {
        const values = { service, at, insteadOf: before.service };
        lines.push(() => host.log.warn('A Service is reachable in place of another', values));
      }
    }
    for (const port of ports) {
      const { text, isTaken } = unserved.get(port.key) ?? { text: '', isTaken: false };
      const values = { service: displayName(port), addresses: text };
      lines.push(() => host.log[isTaken ? 'warn' : 'info']('Addresses of a Service are not served here', values));
    }
    const isMuch = lines.length > MOST_LINES && !host.log.enabled(2);
    if (!isMuch) for (const line of lines) line();
    else if (failing.size === 0) {
      const values = { changed: lines.length, places: specs.size, withUnservedAddresses: unserved.size };
      host.log.info('Services are reachable; -v=2 shows where', values);
    } else {
      const [first] = failing.values();
      const values = {
        places: specs.size,
        notServed: failing.size,
        reason: first?.message,
        withUnservedAddresses: unserved.size,
      };
      host.log.warn('Not all Services can be served here; -v=2 shows which', values);
    }
  }

  /** With what to do about it. */
  function reasonOf({ code, message }: Fault, id: string): string {
    if (code === 'EADDRINUSE') return `${message}, perhaps on all addresses; it is tried again every ten seconds`;
    if (code !== 'EACCES') return message;
    const other =
      portOffset === 0 ? 'portOffset is 0' : `the port ${portOffset} higher (portOffset) is not to be had, either`;
    return specs.get(id) !== undefined && places.isMoved(id)
      ? message
      : `${message}, and ${other}; choose another portOffset, or lower net.ipv4.ip_unprivileged_port_start`;
  }

  /** The timer runs while something is failing. */
  function watch(): void {
    if (failing.size === 0 || closed) {
      cancelRetry?.();
      cancelRetry = undefined;
    } else {
      cancelRetry ??= host.clock.after(RETRY_MS, () => {
        cancelRetry = undefined;
        void inTurn(retry);
      });
    }
  }

  async function retry(): Promise<void> {
    const ids = [...failing.keys()];
    try {
      await listenTo(ids.flatMap((id) => specs.get(id) ?? []));
      say(ids);
    } finally {
      watch();
    }
  }

  function service(port: ServicePort): NonNullable<EngineUpdate['upsert']> {
    const found = forwarded(family, port, askedProxyProtocol(port).value ?? proxyProtocol);
    return found === undefined ? [] : [found];
  }

  /** Whether there are addresses without a place, and others than when this was last asked. */
  function lacksOtherThanBefore(port: ServicePort, at: NodeView): boolean {
    const taken = placesOf(family, port, at).flatMap((place) => {
      const owner = places.owner(idOf(place));
      return owner === undefined || owner.key === port.key
        ? []
        : [`${place.ip} port ${place.port} (${displayName(owner)} has it)`];
    });
    const text = [...unservedOf(family, port, at).map(({ ip, reason }) => `${ip} (${reason})`), ...taken].join(', ');
    if (text === (unserved.get(port.key)?.text ?? '')) return false;
    if (text === '') unserved.delete(port.key);
    else unserved.set(port.key, { text, isTaken: taken.length > 0 });
    return text !== '';
  }

  /** Remembers what is to be, and returns what the threads are to learn. */
  function learn(change: Change) {
    const last = node;
    const next = change.node;
    const changed: ServicePort[] = [];
    const gone: string[] = [];
    const placesBefore = (port: ServicePort | undefined): readonly Place[] =>
      port === undefined || last === undefined ? [] : placesOf(family, port, last);
    const drop = (key: string): void => {
      const before = records.get(key);
      if (before === undefined) return;
      records.delete(key);
      unserved.delete(key);
      gone.push(engineKey(family, key));
      places.replace(key, placesBefore(before), [], undefined);
    };
    node = next;
    for (const key of removedKeys(records.keys(), change)) drop(key);
    for (const port of change.upsert) {
      const before = records.get(port.key);
      if (before === port) continue;
      records.set(port.key, port);
      changed.push(port);
      places.replace(port.key, placesBefore(before), placesOf(family, port, next), port);
    }
    if (last !== undefined && last !== next) {
      const fresh = new Set(changed);
      for (const [key, port] of records) {
        if (fresh.has(port)) continue;
        places.replace(key, placesOf(family, port, last), placesOf(family, port, next), port);
      }
    }
    const settled = places.settle();
    const looked = last === next ? changed : [...records.values()];
    return { changed, gone, lacking: looked.filter((port) => lacksOtherThanBefore(port, next)), ...settled };
  }

  /** Which interface a connection came by no socket tells. */
  function warnOfDetector({ localDetector: { kind } }: NodeView): void {
    if (kind === 'cidr' || kind === 'none') return;
    host.log.warn('Without rights pods of this node are not told by interface: they count as clients from elsewhere', {
      family,
      remedy: 'have pods told by address: --detect-local-mode=ClusterCIDR or NodeCIDR',
    });
  }

  async function sync(change: Change): Promise<DirectReport> {
    if (change.node.localDetector.kind !== node?.localDetector.kind) warnOfDetector(change.node);
    const { changed, gone, lacking, touched, open, close } = learn(change);
    const services = changed.flatMap(service);
    try {
      if (services.length > 0) await tell({ upsert: services });
      await listenTo([...(change.full ? specs : open).values()], close);
      say(new Set([...touched, ...(change.full ? specs : open).keys()]), lacking);
      if (gone.length > 0) await tell({ remove: gone });
    } finally {
      watch();
    }
    return { changed, operations: services.length + gone.length + touched.size };
  }

  return {
    sync: (change) => inTurn(() => sync(change)),
    snapshot: () => ({ upsert: [...records.values()].flatMap(service) }),
    totals: () => ({ services: records.size, listeners: specs.size - failing.size }),
    close() {
      closed = true;
      watch();
    },
  };
}
