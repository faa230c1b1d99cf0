/**
 * Without rights: the process listens for each service port itself, and says where.
 *
 *   Change ─▶ places, claimed ─▶ what is listened on ─▶ said in the log: which Service is reachable where
 */
import type { Change, Host, IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import { type Claim, createClaims } from '../shared/claims.ts';
import { displayName } from '../shared/frontends.ts';
import { type Place, placesOf } from './direct.ts';
import type { EngineUpdate, ListenSpec } from './forward/messages.ts';
import { askedProxyProtocol, engineKey, engineKind, forwarded } from './services.ts';

export interface Direct {
  sync(change: Change): Promise<DirectReport>;
  snapshot(): Pick<EngineUpdate, 'upsert'>;
  totals(): Readonly<Record<string, number>>;
}

export interface DirectReport {
  /** New ones, and those that are not what they were. */
  readonly changed: readonly ServicePort[];
  /** Service ports and listeners that are not what they were. */
  readonly operations: number;
}

export interface DirectOptions {
  readonly host: Pick<Host, 'log'>;
  readonly family: IPFamily;
  readonly proxyProtocol: boolean;
  /** Added to a port that may not be bound; 0: not tried. */
  readonly portOffset: number;
  readonly shared: boolean;
  readonly tell: (update: Omit<EngineUpdate, 'listen'>) => Promise<void>;
  /** Resolves to what could not be had, by id. */
  readonly listen: (family: IPFamily, specs: readonly ListenSpec[]) => Promise<Faults>;
}

type Faults = ReadonlyMap<string, { readonly code: string; readonly message: string }>;

interface PlaceClaim extends Claim {
  readonly place: Place;
  readonly port: ServicePort;
}

const MOST_PORT = 65_535;
/** More than so many lines at once say nothing to anybody; -v=2 shows all. */
const MOST_LINES = 20;

export function createDirect(options: DirectOptions): Direct {
  const { host, family, proxyProtocol, portOffset, shared, tell, listen } = options;
  const records = new Map<string, ServicePort>();
  const claims = createClaims<PlaceClaim>(() => {});
  /** By "protocol ip port": what is listened on, or was to be. */
  const specs = new Map<string, ListenSpec>();
  /** Places whose port may not be bound, with the port in its stead; and the reverse, by the place moved to. */
  const moved = new Map<string, number>();
  const movedHere = new Map<string, string>();
  const said = new Map<string, string>();
  /** Wanted, and not to be had when last tried. */
  const failing = new Set<string>();
  let node: NodeView | undefined;

  function keyOf({ protocol, ip, port }: Pick<Place, 'protocol' | 'ip' | 'port'>): string {
    return `${protocol} ${ip} ${port}`;
  }

  function replace(
    key: string,
    before: readonly Place[],
    after: readonly Place[],
    port: ServicePort | undefined,
    touched: Set<string>,
  ): void {
    const kept = new Set(after.map(keyOf));
    for (const place of before) {
      touched.add(keyOf(place));
      if (!kept.has(keyOf(place))) claims.release(keyOf(place), key);
    }
    if (port === undefined) return;
    for (const place of after) {
      touched.add(keyOf(place));
      claims.claim(keyOf(place), { owner: key, rank: place.rank, place, port });
    }
  }

  function specOf(key: string, { place, port }: PlaceClaim): ListenSpec {
    return {
      id: `${family} ${key}`,
      protocol: place.protocol,
      ip: place.ip,
      port: moved.get(key) ?? place.port,
      shared,
      serves: { service: engineKey(family, port.key), kind: engineKind({ ...place }) },
      clients: 'by address',
    };
  }

  function settle(touched: Set<string>): void {
    for (const key of [...touched]) {
      const winner = claims.winner(key);
      const guest = movedHere.get(key);
      if (winner !== undefined && guest !== undefined) {
        // Another one's place in the first instance: two on one port would share its connections.
        touched.add(guest);
        moveBack(guest);
        const itsWinner = claims.winner(guest);
        if (itsWinner !== undefined) specs.set(guest, specOf(guest, itsWinner));
      }
      if (winner !== undefined) specs.set(key, specOf(key, winner));
      else {
        specs.delete(key);
        moveBack(key);
      }
    }
  }

  function moveBack(key: string): void {
    const port = moved.get(key);
    if (port === undefined) return;
    moved.delete(key);
    movedHere.delete(`${key.slice(0, key.lastIndexOf(' '))} ${port}`);
  }

  /** Again at another port where one may not be bound. */
  async function listenAll(touched: Set<string>): Promise<Faults> {
    const faults = await listen(family, [...specs.values()]);
    let again = false;
    for (const [key, spec] of specs) {
      const fault = faults.get(spec.id);
      const other = { protocol: spec.protocol, ip: spec.ip, port: spec.port + portOffset };
      if (fault?.code !== 'EACCES' || portOffset === 0 || moved.has(key) || other.port > MOST_PORT) continue;
      if (specs.has(keyOf(other))) continue;
      moved.set(key, other.port);
      movedHere.set(keyOf(other), key);
      specs.set(key, { ...spec, port: other.port });
      touched.add(key);
      again = true;
    }
    return again ? await listen(family, [...specs.values()]) : faults;
  }

  function say(touched: ReadonlySet<string>, faults: Faults): void {
    const lines: (() => void)[] = [];
    for (const key of touched) {
      const spec = specs.get(key);
      const claim = claims.winner(key);
      const fault = spec && faults.get(spec.id);
      const service = claim ? displayName(claim.port) : '';
      const at = spec === undefined ? '' : `${spec.protocol.toLowerCase()} ${spec.ip} ${spec.port}`;
      const text = spec === undefined ? '' : fault === undefined ? `${service} at ${at}` : `${service} not at ${at}`;
      if ((said.get(key) ?? '') === text) continue;
      if (text === '') said.delete(key);
      else said.set(key, text);
      if (spec === undefined) lines.push(() => host.log.info('A Service is no longer reachable here', { at: key }));
      else if (fault === undefined) lines.push(() => host.log.info('A Service is reachable', { service, at }));
      else lines.push(() => host.log.warn('A Service cannot be served here', { service, at, reason: fault.message }));
    }
    const isMuch = lines.length > MOST_LINES && !host.log.enabled(2);
    if (!isMuch) for (const line of lines) line();
    else if (failing.size === 0) {
      host.log.info('Services are reachable; -v=2 shows where', { changed: lines.length, places: specs.size });
    } else {
      const [first] = faults.values();
      const values = { places: specs.size, notServed: failing.size, reason: first?.message };
      host.log.warn('Not all Services can be served here; -v=2 shows which', values);
    }
  }

  return {
    async sync({ full, upsert, remove, node: next }) {
      const touched = new Set<string>();
      const last = node;
      const changed: ServicePort[] = [];
      const gone: string[] = [];
      const placesBefore = (port: ServicePort | undefined): readonly Place[] =>
        port === undefined || last === undefined ? [] : placesOf(family, port, last);
      const drop = (key: string): void => {
        const before = records.get(key);
        if (before === undefined) return;
        records.delete(key);
        gone.push(engineKey(family, key));
        replace(key, placesBefore(before), [], undefined, touched);
      };
      node = next;
      if (full) {
        const wanted = new Set(upsert.map(({ key }) => key));
        for (const key of [...records.keys()]) if (!wanted.has(key)) drop(key);
      }
      for (const key of remove) drop(key);
      for (const port of upsert) {
        const before = records.get(port.key);
        if (before === port) continue;
        records.set(port.key, port);
        changed.push(port);
        replace(port.key, placesBefore(before), placesOf(family, port, next), port, touched);
      }
      if (last !== undefined && last !== next) {
        const fresh = new Set(changed);
        for (const [key, port] of records) {
          if (!fresh.has(port)) replace(key, placesOf(family, port, last), placesOf(family, port, next), port, touched);
        }
      }
      const services = changed.flatMap((port) => {
        const service = forwarded(family, port, askedProxyProtocol(port).value ?? proxyProtocol);
        return service === undefined ? [] : [service];
      });
      if (services.length > 0) await tell({ upsert: services });
      const operations = services.length + gone.length + touched.size;
      settle(touched);
      // What was not to be had is tried again.
      for (const key of failing) touched.add(key);
      if (touched.size > 0 || full) {
        const faults = await listenAll(touched);
        failing.clear();
        for (const [key, spec] of specs) if (faults.has(spec.id)) failing.add(key);
        say(touched, faults);
      }
      if (gone.length > 0) await tell({ remove: gone });
      return { changed, operations };
    },
    snapshot: () => ({
      upsert: [...records.values()].flatMap((port) => {
        const service = forwarded(family, port, askedProxyProtocol(port).value ?? proxyProtocol);
        return service === undefined ? [] : [service];
      }),
    }),
    totals: () => ({ services: records.size, listeners: specs.size - failing.size }),
  };
}
