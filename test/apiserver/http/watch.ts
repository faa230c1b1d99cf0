/**
 * A watch stream: what it starts with, then every change as the selector sees it, bookmarks, and its end.
 *
 *   resourceVersion   sendInitialEvents   starts with
 *   "" or "0"         absent              the state as ADDED, then changes
 *   N                 absent              changes after N; too old → one ERROR event, code 410, in a stream of status 200;
 *                                         N in the future → silence until it is passed
 *   any               true                the state as ADDED, then, if bookmarks are allowed, the bookmark annotated
 *                                         k8s.io/initial-events-end; N in the future → wait, then ERROR 504
 *   "" or "0" / N     false               changes from now / after N
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../../core/backend.ts';
import { type ListOptions, parseResourceVersion } from '../api/list-options.ts';
import { prefixOf } from '../api/objects.ts';
import { type ApiError, expired, type Status, tooLargeResourceVersion } from '../api/status.ts';
import { type Fault, faultOf } from '../faults.ts';
import { groupVersion, type Kind } from '../kinds/kind.ts';
import type { Change, Store, Version } from '../store/store.ts';
import type { Outlet } from './outlet.ts';

export interface OpenWatch {
  readonly resource: string;
  readonly user: string;
  readonly namespace: string;
  /** As the client asked for it. */
  readonly query: URLSearchParams;
  /** Events sent, bookmarks among them. */
  events(): number;
  /** End the stream properly, as at a timeout. */
  end(): void;
  /** RST. */
  reset(): void;
  /** The connection ends inside the answer. */
  close(): void;
  /** Half-open: nothing more is sent, the connection stays. */
  freeze(): void;
  /** An ERROR event, then the end. */
  fail(status: Status): void;
  /** Any text, also such as is no event. */
  send(text: string): void;
  bookmark(): void;
}

export interface WatchRequest {
  readonly kind: Kind;
  readonly namespace: string;
  readonly user: string;
  readonly query: URLSearchParams;
  readonly options: ListOptions;
  readonly response: ServerResponse;
  readonly outlet: Outlet;
  readonly faults: readonly Fault[];
}

export interface WatchServices {
  readonly store: Store;
  readonly clock: Clock;
  readonly bookmarkMilliseconds: number;
  readonly defaultTimeoutSeconds: number;
  /** Resolves to whether the version was reached in the time that a server waits for it. */
  waitForVersion(resourceVersion: number): Promise<boolean>;
  /** Kept until it ends. */
  readonly open: Set<OpenWatch>;
}

const BATCH_CHARACTERS = 128 * 1024;
/** A client that reads so much too slowly loses its stream, without an ERROR event, as its buffer overflows. */
const MOST_QUEUED = 1_000_000;

type Frame = { readonly text: string; readonly type: string };

/** Resolves when the stream has begun; it then lives on its own. */
export async function serveWatch(request: WatchRequest, services: WatchServices): Promise<void> {
  const { kind, namespace, options, response, outlet, faults } = request;
  const { store, clock } = services;
  const table = store.table(kind.plural);
  const prefix = prefixOf(kind);
  const from = parseResourceVersion(options.resourceVersion);
  const wantsState = options.sendInitialEvents === true || (options.sendInitialEvents === undefined && from === 0);

  response.statusCode = 200;
  response.setHeader('Content-Type', 'application/json');
  response.flushHeaders();
  outlet.begun();

  const expiredFault = faultOf(faults, 'expired');
  if (expiredFault !== undefined)
    return failAtOnce(outlet, expired(`too old resource version: ${from} (${store.resourceVersion()})`));
  if (options.sendInitialEvents === true && from > store.resourceVersion() && !(await services.waitForVersion(from))) {
    return failAtOnce(outlet, tooLargeResourceVersion(from, store.resourceVersion()));
  }

  const inside = (version: Version): boolean =>
    (namespace === '' || version.namespace === namespace) &&
    options.labels.matches(version.labels) &&
    options.fields.matches(version.fields);
  const frame = (type: string, version: Version): Frame => ({
    type,
    text: `{"type":"${type}","object":${prefix}${version.tail}}\n`,
  });
  const bookmark = (annotations?: Readonly<Record<string, string>>): Frame => {
    const metadata = { resourceVersion: String(store.resourceVersion()), ...(annotations ? { annotations } : {}) };
    const object = { kind: kind.kind, apiVersion: groupVersion(kind), metadata, ...kind.empty };
    return { type: 'BOOKMARK', text: `${JSON.stringify({ type: 'BOOKMARK', object })}\n` };
  };
  const frameOf = (change: Change): Frame | undefined => {
    const now = change.current !== undefined && inside(change.current);
    const before = change.previous !== undefined && inside(change.previous);
    if (now) return frame(before ? 'MODIFIED' : 'ADDED', change.current!);
    return before ? frame('DELETED', change.departed()) : undefined;
  };

  /** Where the stream stands: what has this version or an older one is not sent (again). */
  let position = from;
  const queue: (Change | Frame)[] = [];
  let state: Iterator<Version> = [][Symbol.iterator]();
  let afterState: Frame | undefined;
  if (wantsState) {
    position = Math.max(from, store.resourceVersion());
    state = table.list()[Symbol.iterator]();
    if (options.sendInitialEvents === true && options.allowWatchBookmarks) {
      afterState = bookmark({ 'k8s.io/initial-events-end': 'true' });
    }
  } else {
    if (from === 0) position = store.resourceVersion();
    const missed = table.since(position);
    if (missed === undefined)
      return failAtOnce(outlet, expired(`too old resource version: ${from} (${table.oldest()})`));
    queue.push(...missed);
  }

  let sent = 0;
  let head = 0;
  const nextFrame = (): Frame | undefined => {
    for (let next = state.next(); !next.done; next = state.next()) {
      if (inside(next.value)) return frame('ADDED', next.value);
    }
    if (afterState !== undefined) {
      const ending = afterState;
      afterState = undefined;
      return ending;
    }
    while (head < queue.length) {
      const entry = queue[head++]!;
      const found = 'text' in entry ? entry : frameOf(entry);
      if (found === undefined) continue;
      if (!('text' in entry) && replay && found.type === 'MODIFIED')
        queue.splice(head, 0, frame('MODIFIED', entry.previous!));
      return found;
    }
    queue.length = 0;
    head = 0;
    return undefined;
  };
  const noBookmarks = faultOf(faults, 'noBookmarks') !== undefined;
  const twice = faultOf(faults, 'duplicate') !== undefined;
  const replay = faultOf(faults, 'replay') !== undefined;
  const garbage = faultOf(faults, 'garbage');
  const one = outlet.precise || garbage !== undefined;
  let spoiled = garbage === undefined;

  const batch = (): { text: string; count: number } => {
    let text = '';
    let count = 0;
    if (!spoiled && sent >= (garbage?.afterEvents ?? 0)) {
      spoiled = true;
      return { text: garbage!.text, count: 0 };
    }
    while (text.length < BATCH_CHARACTERS) {
      const next = nextFrame();
      if (next === undefined) break;
      if (next.type === 'BOOKMARK' && noBookmarks) continue;
      text += twice ? next.text + next.text : next.text;
      count += twice ? 2 : 1;
      if (one) break;
    }
    return { text, count };
  };
  let blocked = false;
  const pump = (): void => {
    blocked = false;
    while (!outlet.done()) {
      const { text, count } = batch();
      if (text === '') return;
      sent += count;
      if (outlet.write(text, count)) continue;
      blocked = true;
      return;
    }
    finish();
  };
  const wake = (): void => {
    if (!blocked) pump();
  };

  const enqueue = (entry: Change | Frame): void => {
    if (queue.length - head > MOST_QUEUED) outlet.cut('end');
    else queue.push(entry);
    wake();
  };
  const unsubscribe = table.subscribe((change) => {
    if (change.resourceVersion > position) enqueue(change);
  });
  const sendBookmark = (): void => {
    if (store.resourceVersion() > position && !noBookmarks) enqueue(bookmark());
  };
  const seconds = options.timeoutSeconds || services.defaultTimeoutSeconds;
  let cancelBookmark = (): void => {};
  const nextBookmark = (): void => {
    cancelBookmark = clock.after(services.bookmarkMilliseconds, () => {
      sendBookmark();
      nextBookmark();
    });
  };
  if (options.allowWatchBookmarks) nextBookmark();
  const cancelTimeout = clock.after(Math.max(0, seconds) * 1000, () => outlet.end());

  let finished = false;
  const finish = (): void => {
    if (finished) return;
    finished = true;
    unsubscribe();
    cancelBookmark();
    cancelTimeout();
    // A frozen stream stays listed: its connection is still there.
    if (response.closed || response.destroyed) services.open.delete(watch);
    else response.on('close', () => services.open.delete(watch));
  };
  const watch: OpenWatch = {
    resource: kind.plural,
    user: request.user,
    namespace,
    query: request.query,
    events: () => sent,
    end: () => outlet.end(),
    reset: () => outlet.cut('reset'),
    close: () => outlet.cut('close'),
    freeze() {
      outlet.cut('freeze');
      finish();
    },
    fail(status) {
      outlet.write(errorFrame(status));
      outlet.end();
    },
    send: (text) => enqueue({ type: 'RAW', text }),
    bookmark: () => enqueue(bookmark()),
  };
  services.open.add(watch);
  response.on('close', finish);
  outlet.onReady(pump);
  pump();
}

function errorFrame(status: Status): string {
  return `${JSON.stringify({ type: 'ERROR', object: status })}\n`;
}

function failAtOnce(outlet: Outlet, { status }: ApiError): void {
  outlet.write(errorFrame(status), 1);
  outlet.end();
}
