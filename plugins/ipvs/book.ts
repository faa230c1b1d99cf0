/**
 * From virtual servers as they are and as they are to be to steps, with graceful ends: a real server that goes gets
 * weight 0 and stays as long as it has connections, at most for the grace. UDP has no end to wait for: it goes at once,
 * unless the model says that its flows may go on.
 *
 *   wanted ──goes──▶ draining (weight 0) ──no connections, or grace over──▶ deleted
 *     ▲                   │
 *     └──comes back───────┘ its weight at once
 */
import type { IPVSStep, RealServer, RealServerState, VirtualServer, VirtualServerState } from '../../core/backend.ts';
import { realName, type ServerSpec, serverName } from './frontends.ts';

export interface ServerBook {
  /** Steps for a virtual server that was programmed as `before` says. `now`: milliseconds, monotonic. */
  change(before: ServerSpec | undefined, after: ServerSpec | undefined, now: number): readonly IPVSStep[];
  /** Steps for one that the kernel holds like this. */
  mend(found: VirtualServerState, reals: readonly RealServerState[], spec: ServerSpec, now: number): IPVSStep[];
  /** What does not match; undefined if the kernel holds what it should. */
  fault(spec: ServerSpec, reals: readonly RealServerState[]): string | undefined;
  /** Virtual servers with real servers that wait for the end of their connections. */
  draining(): readonly VirtualServer[];
  /** Steps that end the waiting of those that have no connections any more, or have waited for long enough. */
  sweep(server: VirtualServer, reals: readonly RealServerState[], now: number): IPVSStep[];
  /** How many real servers are waiting. */
  waiting(): number;
}

interface Waiting {
  readonly server: VirtualServer;
  /** By name. */
  readonly reals: Map<string, WaitingReal>;
}

/** Times in milliseconds. */
interface WaitingReal {
  readonly real: RealServer;
  readonly since: number;
  /** Infinity: until the model lets go of it. */
  readonly until: number;
}

/** A connection that was being scheduled when the weight became 0 is counted a moment later. */
const SETTLE_MS = 1_000;

export function createServerBook(graceMs: number): ServerBook {
  const waiting = new Map<string, Waiting>();

  function* realSteps(have: ReadonlyMap<string, RealServer>, spec: ServerSpec, now: number): Generator<IPVSStep> {
    const { server } = spec;
    const name = serverName(server);
    const wanted = new Set<string>();
    for (const real of spec.reals) {
      const id = realName(real);
      wanted.add(id);
      const found = have.get(id);
      if (found === undefined) yield { do: 'add real server', server, real };
      else if (!isAs(found, real)) yield { do: 'set real server', server, real };
      stopWaiting(name, id);
    }
    for (const [id, found] of have) {
      if (wanted.has(id)) continue;
      const real: RealServer = { ip: found.ip, port: found.port, weight: 0 };
      if (spec.isGraceful || spec.keeps.has(id)) {
        if (!isAs(found, real)) yield { do: 'set real server', server, real };
        const { since = now, until = now + graceMs } = waiting.get(name)?.reals.get(id) ?? {};
        wait(name, server, id, { real, since, until: spec.isGraceful ? until : Infinity });
      } else {
        yield { do: 'delete real server', server, real };
        stopWaiting(name, id);
      }
    }
  }

  function wait(name: string, server: VirtualServer, id: string, entry: WaitingReal): void {
    const known = waiting.get(name) ?? { server, reals: new Map() };
    known.reals.set(id, entry);
    waiting.set(name, known);
  }

  function stopWaiting(name: string, id: string): void {
    const known = waiting.get(name);
    if (known?.reals.delete(id) && known.reals.size === 0) waiting.delete(name);
  }

  return {
    change(before, after, now) {
      const server = (after ?? before)?.server;
      if (server === undefined) return [];
      if (after === undefined) {
        waiting.delete(serverName(server));
        return [{ do: 'delete virtual server', server }];
      }
      if (before === undefined) {
        waiting.delete(serverName(server));
        const reals = after.reals.map((real): IPVSStep => ({ do: 'add real server', server, real }));
        return [{ do: 'add virtual server', server }, ...reals];
      }
      const have = new Map(before.reals.map((real) => [realName(real), real]));
      for (const [id, { real }] of waiting.get(serverName(server))?.reals ?? []) have.set(id, real);
      const set: IPVSStep[] = isSame(before.server, server) ? [] : [{ do: 'set virtual server', server }];
      return [...set, ...realSteps(have, after, now)];
    },

    mend(found, reals, spec, now) {
      const have = new Map(reals.map((real) => [realName(real), real]));
      // Until when others wait is known to nobody else, and stays.
      const name = serverName(spec.server);
      for (const id of waiting.get(name)?.reals.keys() ?? []) if (!have.has(id)) stopWaiting(name, id);
      const set: IPVSStep[] = isSame(found, spec.server) ? [] : [{ do: 'set virtual server', server: spec.server }];
      return [...set, ...realSteps(have, spec, now)];
    },

    fault(spec, reals) {
      const known = waiting.get(serverName(spec.server))?.reals;
      const have = new Map(reals.map((real) => [realName(real), real]));
      for (const real of spec.reals) {
        const found = have.get(realName(real));
        if (found === undefined) return `real server ${realName(real)} is missing`;
        if (!isAs(found, real)) return `real server ${realName(real)} is another`;
        have.delete(realName(real));
      }
      for (const [id, { weight }] of have) {
        if (!known?.has(id) || weight !== 0) return `real server ${id} is not wanted`;
      }
      return undefined;
    },

    draining() {
      const ending = [...waiting.values()].filter(({ reals }) =>
        [...reals.values()].some(({ until }) => until < Infinity),
      );
      return ending.map(({ server }) => server);
    },

    sweep(server, reals, now) {
      const name = serverName(server);
      const steps: IPVSStep[] = [];
      const have = new Map(reals.map((real) => [realName(real), real]));
      for (const [id, { real, since, until }] of waiting.get(name)?.reals ?? []) {
        if (until === Infinity) continue;
        const found = have.get(id);
        if (found !== undefined) {
          const isIdle = found.activeConnections + found.inactiveConnections === 0 && now >= since + SETTLE_MS;
          if (!isIdle && now < until) continue;
          steps.push({ do: 'delete real server', server, real });
        }
        stopWaiting(name, id);
      }
      return steps;
    },

    waiting: () => [...waiting.values()].reduce((sum, { reals }) => sum + reals.size, 0),
  };
}

/** Whether the kernel holds a real server as it is to be; what is not said is as usual. */
function isAs(found: RealServer, wanted: RealServer): boolean {
  const { weight, forwarding = 'masquerade', upperThreshold = 0, lowerThreshold = 0 } = found;
  const isPlain =
    (forwarding === 'masquerade' || forwarding === 'local') && upperThreshold === 0 && lowerThreshold === 0;
  return weight === wanted.weight && isPlain;
}

/** Whether two virtual servers of one key do the same. */
export function isSame(found: VirtualServer, wanted: VirtualServer): boolean {
  return settingsText(found) === settingsText(wanted);
}

function settingsText(server: VirtualServer): string {
  const { scheduler, persistenceSeconds, hashPort = false, hashFallback = false } = server;
  const { onePacket = false, persistenceEngine = '' } = server;
  const whole = ('mark' in server ? server.family === 'IPv6' : server.ip.includes(':')) ? 128 : 32;
  const prefix = persistenceSeconds === 0 ? whole : (server.persistencePrefix ?? whole);
  return [scheduler, persistenceSeconds, hashPort, hashFallback, onePacket, persistenceEngine, prefix].join(' ');
}
