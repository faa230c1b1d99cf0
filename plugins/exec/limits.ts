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
