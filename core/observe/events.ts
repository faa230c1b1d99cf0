/**
 * Events for those who look at objects and not at logs (`kubectl describe`), through events.k8s.io/v1.
 *
 *   record ──▶ seen within 6 minutes? ──no──▶ queue (1,000) ──▶ POST, one request at a time
 *                └─yes─▶ count it ──once a minute──▶ queue ──▶ PATCH with the count
 *
 * Nobody waits for an event: `record` only remembers, and whatever the API server does (slow, full, away) costs at
 * worst the event. An object that is written about too often is left alone for a while (event-spam.ts).
 */
import type { Clock, Logger } from '../backend.ts';
import { type Delivery, deliver, type EventApi } from './event-delivery.ts';
import { eventBody, eventsPath, objectKey, PATCH_TYPE, type ProxyEvent, seriesPatch } from './event-format.ts';
import { createSeriesBook, type Series } from './event-series.ts';
import { createSpamFilter } from './event-spam.ts';

export interface EventsOptions {
  /** Undefined where there is no API server: events are then logged only. */
  readonly api: EventApi | undefined;
  readonly nodeName: string;
  readonly clock: Clock;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** 0 ≤ n < 1; default Math.random. */
  readonly random?: () => number;
}

export interface Events {
  /** Returns at once, never throws. */
  record(event: ProxyEvent): void;
  /** How many occurrences the API server has not been told of and will not be. */
  lost(): number;
  /** Say what is still to be said, within a second; after that, and to what is recorded later, silence. */
  stop(): Promise<void>;
}

const MOST_WAITING = 1000;
const SERIES_PAUSE_MS = 60_000;
const STOP_LIMIT_MS = 1000;

export function createEvents(options: EventsOptions): Events {
  const { api, log } = options;
  const note = (event: ProxyEvent): void => {
    if (log.enabled(2)) log.verbose(2, 'Event', describe(event));
  };
  if (api === undefined) return { record: note, lost: () => 0, stop: async () => {} };
  const sink = createSink({ ...options, api });
  return {
    record(event) {
      try {
        note(event);
        sink.accept(event);
      } catch (error) {
        log.error('An event could not be recorded', { error });
      }
    },
    lost: sink.lost,
    stop: sink.stop,
  };
}

function describe({ type, reason, action, note, regarding }: ProxyEvent): Readonly<Record<string, unknown>> {
  const name = regarding.namespace === '' ? regarding.name : `${regarding.namespace}/${regarding.name}`;
  return { type, reason, action, object: `${regarding.kind} ${name}`, note };
}

/** Occurrences that the server does not know of. */
function untold({ count, sentCount }: Series): number {
  return count - sentCount;
}

function createSink(options: EventsOptions & { readonly api: EventApi }) {
  const { api, nodeName, clock, now, log, random = Math.random } = options;
  const hurry = new AbortController();
  const end = new AbortController();
  const spam = createSpamFilter();
  /** Series of which the server knows a lower count. */
  const behind = new Set<Series>();
  const book = createSeriesBook((series) => {
    if (behind.delete(series)) lost += untold(series);
  });
  const queue: Series[] = [];
  let working: Promise<void> | undefined;
  let wakeUp: (() => void) | undefined;
  let catchUp: { readonly at: number; readonly cancel: () => void } | undefined;
  let lost = 0;
  let full = false;
  let complained = false;

  function accept(event: ProxyEvent): void {
    if (hurry.signal.aborted) return;
    const { series, fresh } = book.observe(event, now(), clock.now());
    if (!fresh) {
      if (!series.busy) fallBehind(series);
    } else if (!enqueue(series)) {
      book.forget(series);
      lost++;
    }
  }

  /** False if it cannot be sent now: its object has had its share, or there is no room. */
  function enqueue(series: Series): boolean {
    if (queue.length >= MOST_WAITING) {
      if (!full) log.warn('Too many events wait for the API server; further ones are lost', { waiting: queue.length });
      full = true;
      return false;
    }
    if (!spam.take(objectKey(series.event.regarding), clock.now())) return false;
    series.busy = true;
    queue.push(series);
    // Never from here: the first step of a request is somebody else's code.
    wakeUp ??= clock.after(0, () => {
      wakeUp = undefined;
      work();
    });
    return true;
  }

  function work(): void {
    working ??= workThrough().finally(() => {
      working = undefined;
      if (queue.length > 0) work(); // Came while we were ending.
    });
  }

  async function workThrough(): Promise<void> {
    for (let series = queue.shift(); series !== undefined; series = queue.shift()) {
      try {
        if (end.signal.aborted) lost += untold(series);
        else await send(series);
      } catch (error) {
        book.forget(series);
        log.error('An event cannot be sent', { ...describe(series.event), error });
      }
      series.busy = false;
      fallBehind(series);
    }
    if (full) log.info('Events are sent again', { lost });
    full = false;
  }

  async function send(series: Series): Promise<void> {
    const { regarding } = series.event;
    const recurrence = { count: series.count, lastSeen: series.lastSeen };
    const way = { api, clock, random, hurry: hurry.signal, end: end.signal };
    const known = series.sentCount > 0;
    const delivery = await deliver(
      known
        ? {
            method: 'PATCH',
            path: eventsPath(regarding, series.name),
            contentType: PATCH_TYPE,
            body: seriesPatch(recurrence),
          }
        : {
            method: 'POST',
            path: eventsPath(regarding),
            contentType: 'application/json',
            body: eventBody(series.event, { name: series.name, nodeName, firstSeen: series.firstSeen, recurrence }),
          },
      way,
    );
    series.nextAt = clock.now() + SERIES_PAUSE_MS;
    if (delivery.outcome === 'gone') {
      // Events live for an hour and anyone may delete them: what recurs is written anew.
      series.sentCount = 0;
      book.rename(series, now());
      return send(series);
    }
    if (delivery.outcome === 'refused' || delivery.outcome === 'unreachable') return giveUp(series, delivery);
    complained = false;
    series.sentCount = recurrence.count;
  }

  function giveUp(series: Series, { outcome, reason }: Delivery & { readonly reason: string }): void {
    // The next occurrence begins anew, unless there is an event that can be patched then.
    if (series.sentCount === 0) book.forget(series);
    lost += untold(series);
    series.sentCount = series.count;
    if (complained || end.signal.aborted) return;
    complained = true;
    const remedy =
      outcome === 'refused'
        ? 'let the ServiceAccount create and patch events.events.k8s.io'
        : 'see whether the API server can be reached';
    log.warn('An event could not be written; others may be lost, too', {
      ...describe(series.event),
      cause: reason,
      remedy,
    });
  }

  /** See to it that the server is told, if it does not know all. */
  function fallBehind(series: Series): void {
    if (series.event.everyNode || series.sentCount === 0 || series.count === series.sentCount) return;
    if (hurry.signal.aborted) {
      if (end.signal.aborted || !enqueue(series)) lost += untold(series);
      return;
    }
    if (behind.has(series)) return;
    behind.add(series);
    armCatchUp(series.nextAt);
  }

  function armCatchUp(at: number): void {
    if (catchUp !== undefined && catchUp.at <= at) return;
    catchUp?.cancel();
    catchUp = { at, cancel: clock.after(Math.max(0, at - clock.now()), tellCounts) };
  }

  /** Queue what is behind and due; the rest waits on. */
  function tellCounts(): void {
    catchUp = undefined;
    let next = Number.POSITIVE_INFINITY;
    for (const series of behind) {
      if (series.nextAt <= clock.now()) {
        if (enqueue(series)) {
          behind.delete(series);
          continue;
        }
        series.nextAt = clock.now() + SERIES_PAUSE_MS;
      }
      next = Math.min(next, series.nextAt);
    }
    if (next !== Number.POSITIVE_INFINITY) armCatchUp(next);
  }

  async function stop(): Promise<void> {
    if (hurry.signal.aborted) return;
    for (const series of behind) if (!enqueue(series)) lost += untold(series);
    behind.clear();
    hurry.abort();
    catchUp?.cancel();
    wakeUp?.();
    if (queue.length > 0) work();
    if (working === undefined) return;
    await new Promise<void>((resolve) => {
      const cancel = clock.after(STOP_LIMIT_MS, () => {
        end.abort(new Error('stopped'));
        resolve();
      });
      const settled = (): void => {
        if (working !== undefined) return void working.then(settled);
        cancel();
        resolve();
      };
      settled();
    });
  }

  return { accept, stop, lost: () => lost };
}
