/**
 * A clock for real I/O at a multiple of real speed. Time does not follow the machine's clock but the turns of the event
 * loop: each turn (at least a millisecond) lets so many milliseconds pass. However slow or loaded the machine is, work
 * that the loop does never looks slow to it, and backoffs of half a minute are over in a blink.
 */
import type { Clock } from '../../core/backend.ts';

export interface LoopClock extends Clock {
  /** Milliseconds that pass with each turn from now on. */
  pace(milliseconds: number): void;
  /** Resolves after so many milliseconds of this clock. */
  sleep(milliseconds: number): Promise<void>;
  /** The same time for another user, whose waiting timers are counted apart. */
  view(): Clock & { pending(): number };
  stop(): void;
}

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

export function loopClock(pace: number): LoopClock {
  let time = 1_000;
  let step = pace;
  /** In the order in which they fall due. */
  const timers: Timer[] = [];
  let turn = setTimeout(tick, 1);

  function tick(): void {
    // First, so that whatever a callback does, time goes on.
    turn = setTimeout(tick, 1);
    const end = time + step;
    for (let next = timers[0]; next !== undefined && next.at <= end; next = timers[0]) {
      timers.shift();
      time = Math.max(time, next.at);
      next.callback();
    }
    time = Math.max(time, end);
  }

  function after(milliseconds: number, callback: () => void): () => void {
    const timer = { at: time + milliseconds, callback };
    const place = timers.findLastIndex((other) => other.at <= timer.at) + 1;
    timers.splice(place, 0, timer);
    return () => {
      const index = timers.indexOf(timer);
      if (index !== -1) timers.splice(index, 1);
    };
  }

  return {
    now: () => time,
    after,
    pace(milliseconds) {
      step = milliseconds;
    },
    sleep: (milliseconds) => new Promise((resolve) => void after(milliseconds, resolve)),
    view() {
      const waiting = new Set<object>();
      return {
        now: () => time,
        after(milliseconds, callback) {
          const key = {};
          waiting.add(key);
          const cancel = after(milliseconds, () => {
            waiting.delete(key);
            callback();
          });
          return () => {
            waiting.delete(key);
            cancel();
          };
        },
        pending: () => waiting.size,
      };
    },
    stop: () => clearTimeout(turn),
  };
}
