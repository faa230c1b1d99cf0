/**
 * Decides *when* one family is synced; what a sync is, it does not know.
 *
 *   run() ──▶ [requested] ─┐            ┌── success: again after max, should nobody ask before
 *                          ├─▶ job() ───┤
 *   retryNow() ────────────┘            └── failure: again after retry(1), retry(2), …
 *
 *   |-- job --|<--- min --->|- job -|        run() inside the gap waits for its end; many run()s become one job
 *
 * The gap is counted from the *end* of a job, so that a slow kernel is never kept busy for more than its share. A
 * run() never starts the job on the caller's stack: everything that one event delivers lands in one sync.
 */
import type { Clock } from '../backend.ts';

export interface RunnerOptions {
  readonly clock: Clock;
  /** Milliseconds between the end of one job and the start of the next. */
  readonly minIntervalMs: number;
  /** Milliseconds after the end of a job until it runs again unasked. */
  readonly maxIntervalMs: number;
  /** Milliseconds until the retry after this many failures in a row (1, 2, …); never less than the minimum has effect. */
  readonly retryMs: (failures: number) => number;
  /** Resolves to whether it succeeded. A throw or rejection counts as a failure. */
  readonly job: () => Promise<boolean>;
  /** Called after each job, when busy() already tells what remains. */
  readonly onEnd?: () => void;
}

export interface Runner {
  /** Run as soon as the minimum interval allows; the first time without delay. */
  run(): void;
  /** Run at once, whatever was run when; while a job runs, right after it. */
  retryNow(): void;
  /** A job runs, or one was asked for, or a failed one waits for its retry. */
  busy(): boolean;
  /** Start no more jobs; resolves when none is in flight. */
  stop(): Promise<void>;
}

/** What one timer can wait for: beyond it, Node fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function startRunner(options: RunnerOptions): Runner {
  const { clock, minIntervalMs, maxIntervalMs, retryMs, job } = options;
  if (!(minIntervalMs >= 0) || !(maxIntervalMs >= minIntervalMs)) {
    throw new RangeError(
      `sync intervals: minimum ${minIntervalMs} ms must not be negative nor above the maximum, ${maxIntervalMs} ms`,
    );
  }
  let requested = false;
  let urgent = false;
  let failures = 0;
  let endedAt: number | undefined;
  let inFlight: Promise<void> | undefined;
  let stopped = false;
  let cancelTimer = (): void => {};

  /** When the next job is due on the clock; undefined: not before someone asks. */
  function due(): number | undefined {
    if (urgent) return clock.now();
    if (endedAt === undefined) return requested ? clock.now() : undefined;
    if (requested) return endedAt + minIntervalMs;
    const wait = failures > 0 ? Math.min(retryMs(failures), maxIntervalMs) : maxIntervalMs;
    return endedAt + Math.max(wait, minIntervalMs);
  }

  function schedule(): void {
    cancelTimer();
    cancelTimer = () => {};
    if (stopped || inFlight) return;
    const at = due();
    if (at === undefined) return;
    cancelTimer = clock.after(Math.min(Math.max(0, at - clock.now()), LONGEST_TIMER_MS), wake);
  }

  function wake(): void {
    const at = due();
    if (stopped || inFlight || at === undefined) return;
    if (clock.now() < at) schedule();
    else inFlight = Promise.resolve().then(execute);
  }

  async function execute(): Promise<void> {
    requested = false;
    urgent = false;
    let succeeded = false;
    try {
      succeeded = await job();
    } catch {
      // The job reports its own faults; here they only decide when to try again.
    }
    failures = succeeded ? 0 : failures + 1;
    endedAt = clock.now();
    inFlight = undefined;
    schedule();
    options.onEnd?.();
  }

  return {
    run() {
      if (requested) return;
      requested = true;
      schedule();
    },
    retryNow() {
      if (urgent) return;
      urgent = true;
      schedule();
    },
    busy: () => inFlight !== undefined || requested || urgent || failures > 0,
    async stop() {
      stopped = true;
      schedule();
      await inFlight;
    },
  };
}

/** Doubles from `firstMs` up to `longestMs`. */
export function exponentialBackoff(firstMs: number, longestMs: number): (failures: number) => number {
  return (failures) => Math.min(firstMs * 2 ** Math.max(0, failures - 1), longestMs);
}
