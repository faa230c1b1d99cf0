/**
 * Keeps one resource's objects equal to the API server's for as long as the process lives. What to do next is decided
 * in course.ts, what is held and delivered in mirror.ts; here are the requests and the reading of their answers.
 *
 *   connection ──bytes──▶ json-stream ──items, events──▶ mirror ──what differs──▶ sink
 *        ▲                                  │
 *        └──────── course ◀── how it ended ─┘
 */
import type { Clock, Logger } from '../../backend.ts';
import { createAnswers } from './answers.ts';
import type { ApiConnection } from './api-connection.ts';
import { backoffMs } from './backoff.ts';
import {
  afterEnd,
  type Course,
  type End,
  FIRST_COURSE,
  isLasting,
  listParameters,
  nextStep,
  published,
  reached,
  type Step,
  verified,
} from './course.ts';
import { broken, type Fault } from './fault.ts';
import { jsonDocuments } from './json-stream.ts';
import type { Collection, Mirror } from './mirror.ts';
import type { OutageLog } from './outage-log.ts';
import { collectionPath, oneObjectPath, type Resource } from './resource.ts';
import { compareVersions } from './resource-version.ts';
import { readEventVersion, readWatchEvent, type WatchEvent } from './watch-event.ts';

/** Whether this server does WatchList; what one resource learns holds for all. */
export interface Streaming {
  isRefused(): boolean;
  refused(why: string): void;
}

export interface ReflectorOptions {
  readonly resource: Resource<unknown>;
  readonly mirror: Mirror;
  readonly connection: ApiConnection;
  /** A whole state has been delivered. */
  readonly onPublished: () => void;
  readonly streaming: Streaming;
  readonly outages: OutageLog;
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to below 1. */
  readonly random: () => number;
}

export interface Reflector {
  start(): void;
  /** Resolves when nothing is under way; nothing is delivered once it was called. */
  stop(): Promise<void>;
  status(): ResourceStatus;
}

/** For health and metrics. */
export interface ResourceStatus {
  /** A whole state has been delivered. */
  readonly synced: boolean;
  /** A watch is open. */
  readonly connected: boolean;
  /** On the monotonic clock: when the server was last heard; undefined before the first time. */
  readonly lastContactMs: number | undefined;
  readonly objects: number;
  /** "" before the first. */
  readonly resourceVersion: string;
  /** Whole states that were delivered after the first. */
  readonly relists: number;
  /** Watches that were accepted. */
  readonly watches: number;
  /** Attempts that came to nothing. */
  readonly failures: number;
  readonly lastError: string | undefined;
}

const HEADERS_MS = 30_000;
/** A list's headers come when the server has the list together. */
const LIST_HEADERS_MS = 60_000;
/** The server sends a bookmark about once a minute: without any byte for this long and longer, the connection is dead. */
const WATCH_SILENCE_MS = 150_000;
const WATCH_SILENCE_SPREAD_MS = 30_000;
/** Initial events come without pause. A server that does not know the parameter never says that they ended. */
const INITIAL_SILENCE_MS = 15_000;
const SHORTEST_WATCH_SECONDS = 300;
const LONGEST_WATCH_SECONDS = 600;
/** What a cluster does not have, it may have after an upgrade. */
const MISSING_PAUSE_MS = 600_000;
/** So often in a row, half a minute at most, before objects that were there count as gone with their resource. */
const MISSING_PATIENCE = 6;
/** Events out of order make another list worth while, but not one for each. */
const DISTRUST_PAUSE_MS = 60_000;

/** How a step ended; what is left out did not happen. */
type Outcome = Pick<End, 'fault'> & Partial<End>;
const DONE: Outcome = { fault: undefined };

export function createReflector(options: ReflectorOptions): Reflector {
  const { resource, mirror, connection, onPublished, streaming, outages, clock, log, random } = options;
  let course: Course = FIRST_COURSE;
  /** Which of the resource's roots is asked, and how many in a row did not have it. */
  let rootIndex = 0;
  let missing = 0;
  let distrustedAt = Number.NEGATIVE_INFINITY;

  let running: Promise<void> | undefined;
  let stopped = false;
  let attempt = new AbortController();
  let wake = (): void => {};

  let synced = false;
  let connected = false;
  let lastContactMs: number | undefined;
  let relists = 0;
  let watches = 0;
  let failures = 0;
  let lastError: string | undefined;
  const onContact = (): void => {
    lastContactMs = clock.now();
  };
  const answers = createAnswers({ connection, clock, onContact });

  async function run(): Promise<void> {
    for (let faults = 0; !stopped; ) {
      try {
        const step = nextStep(course, streaming.isRefused());
        const outcome = await attemptOnce(step);
        if (stopped) return;
        const pauseMs = await digest({ step, watchedMs: 0, advanced: false, heard: false, early: false, ...outcome });
        if (pauseMs > 0) await sleep(pauseMs);
        faults = 0;
      } catch (error) {
        log.error('Reading a resource failed in an unforeseen way; this is a bug', { resource: resource.name, error });
        await sleep(backoffMs(++faults, random));
      }
    }
  }

  /** A step has a signal of its own, so that nothing of it goes on after it, and nothing adds up on a longer-lived one. */
  async function attemptOnce(step: Step): Promise<Outcome> {
    attempt = new AbortController();
    try {
      return step === 'list' ? await list() : await watch(step);
    } finally {
      connected = false;
      attempt.abort();
    }
  }

  /** Takes in how a step ended; returns how long to wait before the next. */
  async function digest(end: End): Promise<number> {
    const { step, fault } = end;
    if (!fault) missing = 0;
    else {
      failures++;
      lastError = fault.message;
      const { fullName } = resource;
      log.verbose(2, 'A request ended with a fault', {
        resource: fullName,
        step,
        kind: fault.kind,
        fault: fault.message,
      });
      if (fault.kind === 'missing' && resource.optional) return doWithout();
      if (fault.kind === 'refused' && step === 'stream') streaming.refused(fault.message);
      else if (isWorthALine(end, course)) outages.failed(fullName, fault);
    }
    const turn = afterEnd(course, end, random);
    course = turn.course;
    if (turn.reload && fault) await connection.reloadCredentials(fault.message);
    return turn.pauseMs;
  }

  /** It is not where it was looked for: maybe at the next root; if at none, there are no such objects. */
  function doWithout(): number {
    rootIndex = (rootIndex + 1) % resource.roots.length;
    if (++missing % resource.roots.length !== 0) return 0;
    // A server that is still starting does not have all of its resources yet: what is known goes only if it stays so.
    const rounds = missing / resource.roots.length;
    if (mirror.size() > 0 && rounds < MISSING_PATIENCE) return backoffMs(rounds, random);
    missing = 0;
    course = FIRST_COURSE;
    if (!synced || mirror.size() > 0) publish(mirror.collect(), '');
    outages.worked(resource.fullName);
    return MISSING_PAUSE_MS;
  }

  async function watch(first: 'stream' | 'watch'): Promise<Outcome> {
    const seconds = SHORTEST_WATCH_SECONDS + Math.floor(random() * (LONGEST_WATCH_SECONDS - SHORTEST_WATCH_SECONDS));
    const response = await answers.ask(
      attempt,
      collectionPath(resource, root(), {
        watch: 'true',
        allowWatchBookmarks: 'true',
        timeoutSeconds: String(seconds),
        ...(course.version === undefined
          ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
          : { resourceVersion: course.version }),
      }),
      { timeoutMs: HEADERS_MS },
    );
    if ('fault' in response) return response;
    watches++;
    connected = true;
    const openedMs = clock.now();

    /** Where the initial events go until all are there. */
    let collection: Collection | undefined;
    /** Since when, and from which version, this is a watch of a known state. */
    let live = { sinceMs: clock.now(), version: course.version };
    if (first === 'stream') collection = mirror.collect();
    else outages.worked(resource.fullName);
    let verdict: Fault | undefined;

    const stream = jsonDocuments((document) => {
      if (verdict || stopped) return;
      const event = readWatchEvent(document);
      if (!collection) verdict = applyLive(event);
      else if (event.type === 'put') collection.put(event.raw);
      else if (event.type === 'remove') collection.remove(event.raw);
      else if (event.type !== 'bookmark') verdict = applyOther(event);
      else if (!event.initialEventsEnd || event.version === '') verdict = streamIgnored();
      else {
        publish(collection, event.version);
        collection = undefined;
        live = { sinceMs: clock.now(), version: event.version };
      }
    });
    const verification = course.verify ? verify() : undefined;
    const onVerdict = (found: Fault | undefined): void => {
      if (!found || attempt.signal.aborted) return;
      verdict ??= found;
      attempt.abort();
    };
    // What it throws is thrown again below.
    verification?.then(onVerdict, () => {});
    const silenceMs = WATCH_SILENCE_MS + random() * WATCH_SILENCE_SPREAD_MS;
    const reading = await answers.read(attempt, response, stream, {
      silenceMs: () => (collection ? INITIAL_SILENCE_MS : silenceMs),
      wanted: () => !verdict && !stopped,
    });
    attempt.abort();
    await verification;

    const { heard } = reading;
    const fault = verdict ?? reading.fault;
    if (!collection) {
      const advanced = course.version !== live.version;
      const early = clock.now() - openedMs < (seconds - 1) * 1000;
      return { step: 'watch', fault, heard, advanced, early, watchedMs: clock.now() - live.sinceMs };
    }
    if (!fault) return { fault: broken('the stream ended before all objects had been sent') };
    // It sent objects and then nothing, not even that these were all: it does not know the parameter.
    return { fault: fault.kind === 'silent' && heard ? streamIgnored() : fault };
  }

  function applyLive(event: WatchEvent): Fault | undefined {
    if (event.type === 'error' || event.type === 'unknown') return applyOther(event);
    if (event.type === 'put') mirror.put(event.raw);
    else if (event.type === 'remove') mirror.remove(event.raw);
    const version = event.type === 'bookmark' ? event.version : readEventVersion(event.raw);
    if (version === '') return undefined;
    const order = compareVersions(version, course.newest);
    if (order === undefined || order > 0) course = reached(course, version);
    return order !== undefined && order < 0 ? distrust(version) : undefined;
  }

  function applyOther(event: Extract<WatchEvent, { type: 'error' | 'unknown' }>): Fault | undefined {
    if (event.type === 'error') return event.fault;
    log.verbose(2, 'A watch event of an unknown type was ignored', { resource: resource.fullName, type: event.text });
    return undefined;
  }

  /**
   * Something older than what was seen already. Late and repeated events change nothing (object-table.ts); but a server
   * that was restored from a backup while the watch stayed open looks the same, so the state is asked for once more.
   */
  function distrust(version: string): Fault | undefined {
    if (clock.now() - distrustedAt < DISTRUST_PAUSE_MS) return undefined;
    distrustedAt = clock.now();
    return { kind: 'ahead', message: `version ${version} was sent after ${course.newest}`, status: 0 };
  }

  async function list(): Promise<Outcome> {
    const collection = mirror.collect();
    let version = '';
    let next = '';
    do {
      const path = collectionPath(resource, root(), listParameters(course, next));
      const page = await answers.readList(attempt, path, LIST_HEADERS_MS, collection.put);
      if ('fault' in page) return page;
      if (page.version === '') return { fault: broken('the list has no resourceVersion') };
      if (page.next !== '' && page.next === next)
        return { fault: broken('a page of the list names itself as the next') };
      // All pages are of one version; if a server should see it otherwise, the watch has to begin at the oldest.
      version ||= page.version;
      next = page.next;
    } while (next !== '');
    publish(collection, version);
    return DONE;
  }

  /** Which version does the server have? One object is asked for, as it is now: the answer says it, too. */
  async function verify(): Promise<Fault | undefined> {
    const version = course.version ?? '';
    const key = mirror.anyKey();
    const parameters = { limit: '1' };
    const path =
      key === undefined
        ? collectionPath(resource, root(), parameters)
        : oneObjectPath(resource, root(), key, parameters);
    const page = await answers.readList(attempt, path, HEADERS_MS, () => {});
    if ('fault' in page) return page.fault;
    const order = compareVersions(page.version, version);
    if (order === undefined || order >= 0) {
      course = verified(course);
      return undefined;
    }
    const message = `the server's version is ${page.version}, older than ${version}`;
    return { kind: 'ahead', message, status: 0 };
  }

  function publish(collection: Collection, version: string): void {
    if (stopped) return;
    mirror.publish(collection, version);
    if (version !== '') {
      course = published(course, version);
      outages.worked(resource.fullName);
    }
    if (synced) relists++;
    synced = true;
    if (!stopped) onPublished();
  }

  function root(): string {
    return resource.roots[rootIndex] ?? resource.roots[0];
  }

  function sleep(milliseconds: number): Promise<void> {
    if (stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = clock.after(milliseconds, resolve);
      wake = () => {
        cancel();
        resolve();
      };
    });
  }

  return {
    start() {
      running ??= run();
    },
    async stop() {
      stopped = true;
      mirror.close();
      attempt.abort();
      wake();
      await running;
    },
    status: () => ({
      synced,
      connected,
      lastContactMs,
      objects: mirror.size(),
      resourceVersion: course.version ?? course.newest,
      relists,
      watches,
      failures,
      lastError,
    }),
  };
}

/** A watch that lasted and broke off is everyday life behind a load balancer; that none can be opened again is not. */
function isWorthALine(end: End, course: Course): boolean {
  const { kind } = end.fault ?? {};
  if (kind === 'expired' || kind === 'ahead') return course.relists > 0 && !isLasting(end);
  const brokeOff = kind === 'unreachable' || kind === 'broken' || kind === 'silent';
  return !(brokeOff && end.step === 'watch' && isLasting(end));
}

function streamIgnored(): Fault {
  return { kind: 'refused', message: 'the server does not say when all objects have been sent', status: 0 };
}
