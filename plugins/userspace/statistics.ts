/**
 * What is counted of each service port, by all threads that run or ran: totals that never fall while they are shown.
 *
 *   a thread's answer ─minus its last one─▶ totals
 *
 * A thread begins to count at 0, and so does a service port that comes back, which would be a fall for whoever reads a
 * counter. Totals of service ports that are gone are kept for when they come back, those that went last.
 */
import { openCounters, statisticsOf } from './forward/counters.ts';
import { type EngineStatistics, FAILURES, type Failure, type ServiceStatistics } from './forward/messages.ts';

export interface Statistics {
  /** Keys of service ports that are served from now on, and of those that are not any more. */
  learn(served: readonly string[], gone: readonly string[]): void;
  /** `thread` stands for one from its beginning to its end. */
  answered(thread: object, answer: Pick<EngineStatistics, 'services' | 'ended'>): void;
  /** Nothing is served any more, until something is again. */
  rest(): void;
  /** Its counters stay as it told them last; what was open there is not any more. */
  ended(thread: object): void;
  /** By key of those that are served, or drained, and have met a connection. */
  services(): ReadonlyMap<string, ServiceStatistics>;
}

const MOST_GONE = 4_096;
const NOTHING: ServiceStatistics = statisticsOf(openCounters());

/** `mostGone`: how many service ports that are gone are remembered. */
export function createStatistics(mostGone = MOST_GONE): Statistics {
  const served = new Set<string>();
  /** With nothing open: that is added up when it is asked for. */
  const totals = new Map<string, ServiceStatistics>();
  /** Totals of those that are gone, the first that went first. */
  const past = new Map<string, ServiceStatistics>();
  /** What each thread that runs told last. */
  const last = new Map<object, EngineStatistics['services']>();

  function move(key: string, from: Map<string, ServiceStatistics>, to: Map<string, ServiceStatistics>): void {
    const total = from.get(key);
    if (total === undefined) return;
    from.delete(key);
    to.set(key, total);
  }

  function add(key: string, now: ServiceStatistics, before: ServiceStatistics | undefined): void {
    const book = served.has(key) ? totals : past;
    book.set(key, sum(book.get(key) ?? NOTHING, now, before ?? NOTHING));
  }

  /** Those that are still drained are shown, and so must not begin anew. */
  function forget(): void {
    for (const key of past.keys()) {
      if (past.size <= mostGone) return;
      if (![...last.values()].some((services) => services.has(key))) past.delete(key);
    }
  }

  return {
    learn(come, gone) {
      for (const key of come) {
        served.add(key);
        move(key, past, totals);
      }
      for (const key of gone) {
        served.delete(key);
        move(key, totals, past);
      }
    },

    answered(thread, { services, ended }) {
      const before = last.get(thread);
      for (const [key, now] of ended) add(key, now, before?.get(key));
      for (const [key, now] of services) add(key, now, ended.has(key) ? undefined : before?.get(key));
      last.set(thread, services);
      forget();
    },

    rest() {
      served.clear();
      for (const key of [...totals.keys()]) move(key, totals, past);
    },

    ended: (thread) => void last.delete(thread),

    services() {
      const shown = new Map(totals);
      for (const services of last.values()) {
        for (const [key, { open }] of services) {
          const row = shown.get(key) ?? past.get(key) ?? NOTHING;
          shown.set(key, { ...row, open: row.open + open });
        }
      }
      return shown;
    },
  };
}

function sum(total: ServiceStatistics, now: ServiceStatistics, before: ServiceStatistics): ServiceStatistics {
  const grown = (read: (statistics: ServiceStatistics) => number): number =>
    read(total) + growth(read(now), read(before));
  const failures = FAILURES.map((failure) => [failure, grown((s) => s.failures[failure])]);
  return {
    connections: grown((s) => s.connections),
    open: 0,
    bytesIn: grown((s) => s.bytesIn),
    bytesOut: grown((s) => s.bytesOut),
    failures: Object.fromEntries(failures) as Record<Failure, number>,
    dialSeconds: grown((s) => s.dialSeconds),
    dials: grown((s) => s.dials),
    dialBuckets: NOTHING.dialBuckets.map((_, bucket) => grown((s) => s.dialBuckets[bucket] ?? 0)),
  };
}

/** Less than before: a thread has forgotten what it counted, and begun anew. */
function growth(now: number, before: number): number {
  return now >= before ? now - before : now;
}
