/**
 * The reflector's state machine: what to ask next, and when, after how the last attempt ended. Pure.
 *
 *   stream ──all came──▶ watch ──its time is over, or lost──▶ watch, from the last version
 *     │ refused, failed    ▲  │
 *     ▼                    │  │
 *   list ──all came────────┘  │
 *     ▲                       ▼
 *     └── version expired or refused, or five faults in a row, or the server's versions went back
 *
 * `stream` is WatchList: a watch that first sends everything that exists. `verify` goes with a watch that follows on one
 * that was lost or ended before its time: as soon as it is open, the server is asked which version it has. Whoever
 * restores etcd from a backup restarts the API server, and a watch from a version that such a server has not reached
 * yet is silent, without an error, until it has; by then changes are missed.
 */
import { backoffMs, throttleMs } from './backoff.ts';
import type { Fault } from './fault.ts';

export type Step = 'stream' | 'list' | 'watch';

/** How a list is asked for; each later one costs the server more and is more certain to succeed. */
export type ListMode =
  /** Whatever the server has in its cache. At the first start nothing newer has been seen that could be undone. */
  | 'any'
  /** From the cache, but not older than the newest version seen. */
  | 'known'
  /** The most recent state, in pages. */
  | 'latest'
  /** The same in one piece: a large list can outlive the version that its pages are of. */
  | 'unpaged';

export interface Course {
  /** The version from which to watch; undefined while the whole state is needed. */
  readonly version: string | undefined;
  /** The newest version ever seen; "" before the first. */
  readonly newest: string;
  readonly listMode: ListMode;
  /** The next attempt at the whole state is to be a list, not a stream. */
  readonly avoidStream: boolean;
  /** The next watch is to find out whether the server has reached `version`. */
  readonly verify: boolean;
  /** Attempts in a row that came to nothing. */
  readonly failures: number;
  /** Times in a row that the whole state was needed again before a watch lasted. */
  readonly relists: number;
  /** Watches in a row on which not a byte came. */
  readonly silences: number;
}

/** How an attempt ended. */
export interface End {
  readonly step: Step;
  /** Undefined: the server ended it in order (a watch), or it did what it was to do (a list). */
  readonly fault: Fault | undefined;
  /** For how long it was open as a watch of a known state. */
  readonly watchedMs: number;
  /** It brought a version that was not known when it began. */
  readonly advanced: boolean;
  /** Any byte came after the response's headers. */
  readonly heard: boolean;
  /** The server ended a watch before the time that it was asked for: it is going away. */
  readonly early: boolean;
}

export interface Turn {
  readonly course: Course;
  readonly pauseMs: number;
  /** Read the credentials again before the next attempt. */
  readonly reload: boolean;
}

const LASTING_MS = 5_000;
/** A watch that ends in order sooner, having brought nothing, would be a busy loop if it were repeated at once. */
const SHORT_MS = 1_000;
/** So many failures of one kind, and it is worth a try to do without the version that they have in common. */
const PATIENCE = 5;
const PAGE_SIZE = '500';

export const FIRST_COURSE: Course = {
  version: undefined,
  newest: '',
  listMode: 'any',
  avoidStream: false,
  verify: false,
  failures: 0,
  relists: 0,
  silences: 0,
};

export function nextStep(course: Course, streamingRefused: boolean): Step {
  if (course.version !== undefined) return 'watch';
  return course.avoidStream || streamingRefused ? 'list' : 'stream';
}

/** The whole state was published as of this version. */
export function published(course: Course, version: string): Course {
  return { ...course, version, newest: version, listMode: 'known', avoidStream: false, verify: false };
}

/** The watch has come to this version. */
export function reached(course: Course, version: string): Course {
  return { ...course, version, newest: version };
}

/** Query parameters of a list, or of its next page. */
export function listParameters({ listMode, newest }: Course, next: string): Readonly<Record<string, string>> {
  const limit = { limit: PAGE_SIZE };
  // The version is in the token, and the server takes no second one. Where there are pages, they go on as pages.
  if (next !== '') return { ...limit, continue: next };
  if (listMode === 'unpaged') return {};
  if (listMode === 'any') return { ...limit, resourceVersion: '0' };
  if (listMode === 'latest' || newest === '') return limit;
  // A limit would send this one past the server's cache to etcd.
  return { resourceVersion: newest, resourceVersionMatch: 'NotOlderThan' };
}

/** A watch worth having: what follows is the first failure of a new row. */
export function isLasting({ advanced, watchedMs }: End): boolean {
  return advanced || watchedMs >= LASTING_MS;
}

/** The server has come at least as far as we. */
export function verified(course: Course): Course {
  return { ...course, verify: false };
}

export function afterEnd(before: Course, end: End, random: () => number): Turn {
  const course: Course = isLasting(end) ? { ...before, failures: 0, relists: 0 } : before;
  const { step, fault } = end;
  if (step === 'watch' && end.heard) return after({ ...course, silences: 0 }, end, random);
  if (fault?.kind === 'silent' && step === 'watch') {
    return after({ ...course, silences: course.silences + 1 }, end, random);
  }
  return after(course, end, random);
}

function after(course: Course, { step, fault, watchedMs, advanced, early }: End, random: () => number): Turn {
  const failures = course.failures + 1;
  const failed: Course = { ...course, failures };
  const pauseMs = backoffMs(failures, random);
  const turn = (next: Course, pause = pauseMs): Turn => ({ course: next, pauseMs: pause, reload: false });

  if (fault === undefined) {
    if (step === 'list') return turn({ ...course, failures: 0 }, 0);
    const verify = course.verify || early;
    return advanced || watchedMs >= SHORT_MS ? turn({ ...course, verify }, 0) : turn({ ...failed, verify });
  }

  switch (fault.kind) {
    case 'unauthorized':
    case 'tls':
      return { course: withVerify(failed, step), pauseMs, reload: true };
    case 'throttled':
      return turn(failed, throttleMs(fault.retryAfterMs ?? 0, failures, random));
    case 'forbidden':
    case 'missing':
      return turn(failed);
    case 'expired':
    case 'ahead':
      return relist(course, step, fault.kind === 'ahead', random);
    case 'refused':
      // A stream that is refused is nothing bad: the list follows at once.
      if (step === 'stream') return turn({ ...course, avoidStream: true }, 0);
      if (step === 'list') return turn({ ...failed, listMode: harder(course.listMode) });
      return turn({ ...failed, version: undefined, listMode: 'latest' });
    case 'silent':
      if (step === 'stream') return turn({ ...failed, avoidStream: true });
      // Twice nothing at all, although the server knows the version: it may have forgotten the watch, but not the state.
      if (course.silences >= 2) return turn({ ...failed, silences: 0, version: undefined }, 0);
      return turn(withVerify(failed, step));
    case 'broken':
    case 'server':
    case 'unreachable': {
      const pause = fault.retryAfterMs === undefined ? pauseMs : throttleMs(fault.retryAfterMs, failures, random);
      if (fault.kind === 'unreachable') return turn(withVerify(failed, step), pause);
      if (step === 'stream') return turn({ ...failed, avoidStream: true }, pause);
      // What the server cannot send from this version on, it may be able to list.
      const hopeless = step === 'watch' && failures >= PATIENCE;
      return turn(hopeless ? { ...failed, version: undefined } : withVerify(failed, step), pause);
    }
  }
}

/** The first time at once; if that does not lead to a watch that lasts, with growing pauses. */
function relist(course: Course, step: Step, ahead: boolean, random: () => number): Turn {
  const relists = course.relists + 1;
  const pauseMs = course.relists === 0 ? 0 : backoffMs(course.relists, random);
  const listMode = ahead ? 'latest' : step === 'list' ? harder(course.listMode) : course.listMode;
  const avoidStream = step === 'stream';
  return { course: { ...course, relists, version: undefined, listMode, avoidStream }, pauseMs, reload: false };
}

function harder(mode: ListMode): ListMode {
  return mode === 'known' ? 'latest' : 'unpaged';
}

function withVerify(course: Course, step: Step): Course {
  return step === 'watch' ? { ...course, verify: true } : course;
}
