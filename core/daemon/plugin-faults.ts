/**
 * What becomes of a fault that escaped from a backend: nobody knows what it left half done, so the backend counts as
 * unhealthy and gets a full sync; it is healthy again when that succeeded and it has been quiet for a while.
 *
 *              escaped()                    every family synced in full since, and 15 s of quiet
 *   healthy ─────────────▶ unhealthy ───────────────────────────────────────────────────────────▶ healthy
 *                           │    ▲
 *                           └────┘ escaped(): full syncs at once, then after 10, 20, 40 s … 5 min
 *
 * 15 seconds are less than the three probes in a row that load balancers and the kubelet commonly wait for: a single
 * leak is seen by everyone and costs no traffic, one that goes on does.
 */
import type { Clock, IPFamily, Logger } from '../backend.ts';
import type { BackendHealth } from '../sync/driver.ts';
import { harmlessError } from './harmless-error.ts';
import type { EscapeKind } from './plugin-context.ts';

export interface PluginFaultsOptions {
  /** The plugin's name. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Sync every family in full soon. */
  readonly requestFullSync: (reason: string) => void;
  /** Told of each fault, for metrics. */
  readonly onFault: (kind: EscapeKind) => void;
}

export interface PluginFaults {
  escaped(kind: EscapeKind, thrown: unknown): void;
  /** The families that must be synced after a fault. Until it is told, no fault is over. */
  serves(families: readonly IPFamily[]): void;
  /** A full sync of this family, begun at this instant of the clock, has succeeded. */
  restored(family: IPFamily, beganAt: number): void;
  health(): BackendHealth;
  /** Another backend has taken over: what still escapes is told, and nothing else follows from it. */
  retire(): void;
}

export const QUIET_MS = 15_000;
const FIRST_PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 300_000;
/** Between lines of one text. */
const FIRST_LINE_PAUSE_MS = 1_000;
const LONGEST_LINE_PAUSE_MS = 60_000;
/** So many texts are told apart. */
const MOST_LINES = 20;
const ANY_OTHER = '';

interface Line {
  readonly notBefore: number;
  readonly pauseMs: number;
  /** How many there were since it was told. */
  readonly untold: number;
}
const NEW_LINE: Line = { notBefore: Number.NEGATIVE_INFINITY, pauseMs: 0, untold: 0 };

const MESSAGES: Readonly<Record<EscapeKind, string>> = {
  exception: 'An exception escaped from the backend',
  rejection: 'A rejection in the backend was not handled',
  refused: 'The backend wanted what would harm the whole process and was refused',
};
const REASONS: Readonly<Record<EscapeKind, string>> = {
  exception: 'an exception escaped',
  rejection: 'a rejection was not handled',
  refused: 'it wanted what would harm the whole process',
};

export function createPluginFaults(options: PluginFaultsOptions): PluginFaults {
  const { name, clock, log, requestFullSync, onFault } = options;
  let families: readonly IPFamily[] | undefined;
  /** The last one, unless it is over. */
  let last: { readonly at: number; readonly reason: string } | undefined;
  let count = 0;
  const clean = new Set<IPFamily>();
  let retired = false;

  let lastEver: number | undefined;
  let pauseMs = FIRST_PAUSE_MS;
  /** Undefined: a full sync may be asked for at once. */
  let cancelPause: (() => void) | undefined;
  let quiet = false;
  let cancelQuiet = (): void => {};

  const lines = new Map<string, Line>();

  /** One that leaks a thousand times a second must not fill the disk with it; what is new is told at once. */
  function tell(kind: EscapeKind, error: Error): void {
    const now = clock.now();
    const text = lines.has(error.message) || lines.size < MOST_LINES ? error.message : ANY_OTHER;
    const { notBefore, pauseMs: pausedMs, untold } = lines.get(text) ?? NEW_LINE;
    if (now < notBefore) {
      lines.set(text, { notBefore, pauseMs: pausedMs, untold: untold + 1 });
      return;
    }
    const nextMs = Math.min(Math.max(FIRST_LINE_PAUSE_MS, 2 * pausedMs), LONGEST_LINE_PAUSE_MS);
    lines.set(text, { notBefore: now + nextMs, pauseMs: nextMs, untold: 0 });
    const then = retired
      ? 'it is no longer in use'
      : 'it counts as unhealthy until a full sync has succeeded and it is quiet';
    log.error(`${MESSAGES[kind]}; ${then}`, { backend: name, error, ...(untold > 0 ? { notShown: untold } : {}) });
  }

  /** Again and again until it is clean: what was asked for may have been lost, or be a sync that began too early. */
  function askForSync(): void {
    if (cancelPause || !last || isClean()) return;
    cancelPause = clock.after(pauseMs, () => {
      cancelPause = undefined;
      askForSync();
    });
    pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    requestFullSync(`a fault escaped from backend ${name}`);
  }

  function isClean(): boolean {
    return families?.every((family) => clean.has(family)) ?? false;
  }

  function look(): void {
    if (!last || !isClean() || !quiet) return;
    last = undefined;
    log.info('The backend has been synced in full and was quiet since; it counts as healthy again', {
      backend: name,
      faults: count,
    });
    count = 0;
  }

  return {
    escaped(kind, thrown) {
      onFault(kind);
      const now = clock.now();
      // What leaks again and again is no news; after a long silence it is.
      if (lastEver === undefined || now - lastEver >= 2 * LONGEST_PAUSE_MS) {
        pauseMs = FIRST_PAUSE_MS;
        lines.clear();
      }
      lastEver = now;
      const error = harmlessError(thrown);
      tell(kind, error);
      if (retired) return;
      count++;
      last = { at: now, reason: `${REASONS[kind]}: ${error.message}` };
      clean.clear();
      cancelQuiet();
      quiet = false;
      // Not by comparing instants: a timer may come a moment before its time.
      cancelQuiet = clock.after(QUIET_MS, () => {
        quiet = true;
        look();
      });
      askForSync();
    },

    serves(all) {
      families = all;
    },

    restored(family, beganAt) {
      if (!last || beganAt < last.at) return;
      clean.add(family);
      look();
    },

    health: () => (last ? { healthy: false, reason: last.reason } : { healthy: true }),

    retire() {
      retired = true;
      last = undefined;
      cancelPause?.();
      cancelQuiet();
    },
  };
}
