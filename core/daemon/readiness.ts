/** When a backend has programmed everything for the first time, in every family that it serves. */
import type { IPFamily } from '../backend.ts';

export interface Readiness {
  synced(family: IPFamily, servicePorts: number): void;
  /** `hung`: it has not even ended, so that there will be no other attempt. */
  failed(family: IPFamily, hung?: boolean): void;
  ready(): boolean;
}

export interface ReadinessOptions {
  readonly families: readonly IPFamily[];
  /** Called once; also for a backend that was hopeless and works after all. */
  readonly onReady: (servicePorts: Readonly<Partial<Record<IPFamily, number>>>) => void;
  /** Called once, unless it was ready before: a family has failed this many times without ever succeeding. */
  readonly failuresUntilHopeless?: number;
  readonly onHopeless?: (family: IPFamily) => void;
}

export function createReadiness(options: ReadinessOptions): Readiness {
  const { families, onReady, onHopeless, failuresUntilHopeless = 3 } = options;
  const counts = new Map<IPFamily, number>();
  const failures = new Map<IPFamily, number>();
  let state: 'waiting' | 'ready' | 'hopeless' = 'waiting';
  return {
    synced(family, servicePorts) {
      counts.set(family, servicePorts);
      if (state === 'ready' || !families.every((each) => counts.has(each))) return;
      state = 'ready';
      onReady(Object.fromEntries(families.map((each) => [each, counts.get(each) ?? 0])));
    },
    failed(family, hung = false) {
      if (counts.has(family)) return;
      const count = hung ? failuresUntilHopeless : (failures.get(family) ?? 0) + 1;
      failures.set(family, count);
      if (state !== 'waiting' || count < failuresUntilHopeless || !onHopeless) return;
      state = 'hopeless';
      onHopeless(family);
    },
    ready: () => state === 'ready',
  };
}
