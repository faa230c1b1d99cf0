/** How much of what a program says is heard, so that one that raves fills no log. Pure but for the clock. */
import type { Clock } from '../../core/backend.ts';

export interface Allowance {
  /** Undefined: say nothing now. Else go ahead, and say that so many before it were passed over. */
  take(): { readonly passedOver: number } | undefined;
}

/** `burst` at once, and one more each `refillMs`. */
export function createAllowance(clock: Clock, burst: number, refillMs: number): Allowance {
  let left = burst;
  let at = clock.now();
  let passedOver = 0;
  return {
    take() {
      const gained = Math.floor((clock.now() - at) / refillMs);
      at += gained * refillMs;
      left = Math.min(burst, left + gained);
      if (left === 0) {
        passedOver++;
        return undefined;
      }
      left--;
      const told = { passedOver };
      passedOver = 0;
      return told;
    },
  };
}

export interface Recent {
  add(): void;
  /** So many within so long? */
  many(): boolean;
  clear(): void;
}

/** Tells whether the last `count` came within `withinMs`, now. */
export function createRecent(clock: Clock, count: number, withinMs: number): Recent {
  let times: number[] = [];
  return {
    add() {
      times = [...times.slice(1 - count), clock.now()];
    },
    many: () => times.length === count && clock.now() - times[0]! < withinMs,
    clear() {
      times = [];
    },
  };
}

export interface Flood {
  /** One more, of this length. True from then on that there were too many. */
  add(length: number): boolean;
}

/** More than `lines`, or more than `bytes` in them, within one stretch of `withinMs`. */
export function createFlood(clock: Clock, lines: number, bytes: number, withinMs: number): Flood {
  let since = clock.now();
  let [count, sum] = [0, 0];
  return {
    add(length) {
      const now = clock.now();
      if (now - since >= withinMs) {
        since = now;
        [count, sum] = [0, 0];
      }
      count++;
      sum += length;
      return count > lines || sum > bytes;
    },
  };
}
