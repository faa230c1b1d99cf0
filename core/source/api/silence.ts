/**
 * A connection whose other end vanished without a word gives no sign at all: reading from it simply never ends. Only
 * time tells. One timer for each open answer, however many bytes come.
 */
import type { Clock } from '../../backend.ts';

export interface Silence {
  /** Something came. */
  heard(): void;
  /** The limit that was passed; undefined while it was not. */
  brokenMs(): number | undefined;
  stop(): void;
}

/** `onSilence` is called once when nothing was heard for `limitMs()`, which may change meanwhile. */
export function watchSilence(clock: Clock, limitMs: () => number, onSilence: () => void): Silence {
  let last = clock.now();
  let broken: number | undefined;
  let cancel = clock.after(limitMs(), look);

  function look(): void {
    const limit = limitMs();
    const left = last + limit - clock.now();
    if (left > 0) {
      cancel = clock.after(left, look);
      return;
    }
    broken = limit;
    onSilence();
  }

  return {
    heard() {
      last = clock.now();
    },
    brokenMs: () => broken,
    stop: () => cancel(),
  };
}
