/**
 * What one family has to look at again: the Services, why (for the metrics of pending changes), and when their
 * endpoints' changes were triggered (for the network programming latency).
 */

/** Services that wait, counted once for each cause. */
export interface PendingCounts {
  readonly services: number;
  readonly endpoints: number;
}

export interface PendingChanges {
  add(key: string, cause: 'service' | 'endpoints'): void;
  size(): number;
  /** The keys; forgets them. */
  take(): ReadonlySet<string>;
  counts(): PendingCounts;
  /** `at`: milliseconds since the epoch. */
  triggered(key: string, at: number): void;
  forgetTriggers(key: string): void;
  takeTriggers(): readonly number[];
}

/** A Service whose backend fails for hours must not collect without end. */
const MOST_TRIGGERS_PER_SERVICE = 100;

export function createPendingChanges(): PendingChanges {
  let services = new Set<string>();
  let endpoints = new Set<string>();
  let keys = new Set<string>();
  let triggers = new Map<string, number[]>();

  return {
    add(key, cause) {
      keys.add(key);
      (cause === 'service' ? services : endpoints).add(key);
    },
    size: () => keys.size,
    take() {
      const taken = keys;
      keys = new Set();
      services = new Set();
      endpoints = new Set();
      return taken;
    },
    counts: () => ({ services: services.size, endpoints: endpoints.size }),
    triggered(key, at) {
      const known = triggers.get(key);
      if (!known) triggers.set(key, [at]);
      else if (known.length < MOST_TRIGGERS_PER_SERVICE) known.push(at);
    },
    forgetTriggers: (key) => void triggers.delete(key),
    takeTriggers() {
      const taken = [...triggers.values()].flat();
      triggers = new Map();
      return taken;
    },
  };
}
