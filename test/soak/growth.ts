/**
 * Whether the proxy's last process grew while it ran: what it held when it was a minute old against what it holds in
 * the end. Gross growth only: what a collector of garbage holds at any one moment is a matter of chance.
 */
import type { Holds } from './daemon.ts';

export interface Growth {
  /** A reading of the process when it was this old; `listeners`: open files that are health checks of Services. */
  read(holds: Holds, listeners: number, ageMs: number): void;
  /** Another process runs now. */
  restarted(): void;
  /** Without those listeners. The first is undefined when the process was never old enough. */
  ends(): { readonly settled: Holds | undefined; readonly last: Holds | undefined };
  /** What grew, one line each. */
  problems(): readonly string[];
}

const SETTLED_MS = 60_000;
const MOST_TIMES = 2;
const MOST_MORE_MIB = 32;
/** Connections to the server come and go. */
const MOST_MORE_FDS = 16;

export function createGrowth(): Growth {
  let settled: Holds | undefined;
  let last: Holds | undefined;
  return {
    read({ privateMiB, fds }, listeners, ageMs) {
      const holds = { privateMiB, fds: fds - listeners };
      if (ageMs >= SETTLED_MS) settled ??= holds;
      last = holds;
    },
    restarted() {
      settled = undefined;
      last = undefined;
    },
    ends: () => ({ settled, last }),
    problems() {
      if (settled === undefined || last === undefined) return [];
      const found: string[] = [];
      const [before, after] = [settled.privateMiB, last.privateMiB];
      if (after > before * MOST_TIMES + MOST_MORE_MIB) {
        found.push(`private memory grew from ${before.toFixed(1)} to ${after.toFixed(1)} MiB`);
      }
      if (last.fds > settled.fds + MOST_MORE_FDS) found.push(`open files grew from ${settled.fds} to ${last.fds}`);
      return found;
    },
  };
}
