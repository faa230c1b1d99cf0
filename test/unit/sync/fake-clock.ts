/** A clock that moves only when told to, one timer at a time, letting promises settle in between. */
import type { Clock } from '../../../core/backend.ts';

export interface FakeClock extends Clock {
  /** Move on, firing what falls due in order. */
  advance(milliseconds: number): Promise<void>;
  /** Timers that wait. */
  pending(): number;
}

export function fakeClock(): FakeClock {
  let time = 1_000;
  let timers: { at: number; callback: () => void }[] = [];

  return {
    now: () => time,
    after(milliseconds, callback) {
      const timer = { at: time + milliseconds, callback };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    pending: () => timers.length,
    async advance(milliseconds) {
      const end = time + milliseconds;
      await settle();
      for (;;) {
        const [next] = timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
        if (!next) break;
        timers = timers.filter((timer) => timer !== next);
        time = Math.max(time, next.at);
        next.callback();
        await settle();
      }
      time = end;
    },
  };
}

/** Let every promise that can settle do so. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
