/**
 * Which events recur. The same event within six minutes of the last time is no new one but part of a series, of which
 * the server is told the count. Upstream's client counts in the same way; ours also compares the note, because two
 * faults of one object are not one fault that happened twice.
 */
import { eventKey, eventName, type ProxyEvent } from './event-format.ts';

const WINDOW_MS = 6 * 60_000;
/** Remembered at once; the one that recurred longest ago is forgotten for another. */
const MOST = 1000;

/** One event and its recurrences. Whoever sends it keeps the lower half up to date. */
export interface Series {
  readonly event: ProxyEvent;
  readonly key: string;
  name: string;
  /** Milliseconds since the epoch. */
  readonly firstSeen: number;
  lastSeen: number;
  /** The same on the monotonic clock. */
  lastSeenAt: number;
  count: number;

  /** Waits to be sent, or is being sent. */
  busy: boolean;
  /** The count that the server knows; 0: it does not know the event. */
  sentCount: number;
  /** Not before this time (monotonic) is the server told again. */
  nextAt: number;
}

export interface SeriesBook {
  /** Count one occurrence: `fresh` if it begins a series. `now`: since the epoch; `at`: monotonic. Milliseconds. */
  observe(event: ProxyEvent, now: number, at: number): { readonly series: Series; readonly fresh: boolean };
  /** The next occurrence begins a series. */
  forget(series: Series): void;
  /** Give it another name, for the server forgot the event. */
  rename(series: Series, now: number): void;
}

/** `onForgotten`: for room, or because it ended; not for `forget`. */
export function createSeriesBook(onForgotten: (series: Series) => void): SeriesBook {
  /** In the order of their last occurrences. */
  const book = new Map<string, Series>();
  let lastName = 0n;

  function nameFor(event: ProxyEvent, now: number): string {
    const nanoseconds = BigInt(Math.floor(now)) * 1_000_000n;
    lastName = nanoseconds > lastName ? nanoseconds : lastName + 1n;
    return eventName(event, lastName);
  }

  function makeRoom(at: number): void {
    for (const series of book.values()) {
      if (book.size < MOST && at - series.lastSeenAt < WINDOW_MS) return;
      book.delete(series.key);
      onForgotten(series);
    }
  }

  return {
    observe(event, now, at) {
      const key = eventKey(event);
      const known = book.get(key);
      if (known !== undefined && at - known.lastSeenAt < WINDOW_MS) {
        book.delete(key);
        book.set(key, known);
        known.count++;
        known.lastSeen = now;
        known.lastSeenAt = at;
        return { series: known, fresh: false };
      }
      makeRoom(at);
      const series: Series = {
        event,
        key,
        name: nameFor(event, now),
        firstSeen: now,
        lastSeen: now,
        lastSeenAt: at,
        count: 1,
        busy: false,
        sentCount: 0,
        nextAt: 0,
      };
      book.set(key, series);
      return { series, fresh: true };
    },
    forget(series) {
      if (book.get(series.key) === series) book.delete(series.key);
    },
    rename(series, now) {
      series.name = nameFor(series.event, now);
    },
  };
}
