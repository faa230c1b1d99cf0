/** Time as the core and the plugins see it, so that tests can hand them another. */
import type { Clock } from '../backend.ts';

/** The longest that one timer of the runtime lasts; a longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** As they are before a plugin is loaded, which may break them. */
const { setTimeout, clearTimeout } = globalThis;
const now = performance.now.bind(performance);

export const systemClock: Clock = {
  now,
  after(milliseconds, callback) {
    const end = now() + milliseconds;
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const left = Math.max(0, end - now());
      timer = left > LONGEST_TIMER_MS ? setTimeout(arm, LONGEST_TIMER_MS) : setTimeout(callback, left);
      timer.unref();
    };
    arm();
    return () => clearTimeout(timer);
  },
};
