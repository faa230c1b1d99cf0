/**
 * What etcd and the watch cache are to a real API server: the current objects of every resource, one counter of
 * versions for all of them, and a history from which watches resume and past states are rebuilt.
 *
 *   version:  … 41  42  43  44  45 = current
 *                   │       └ watches may resume from here on (the watch cache's window; forgotten by a restart, too)
 *                   └ lists of the past may ask for this state (what etcd has not compacted)
 *
 * Objects are kept as text, serialised once when they are written, so that sending a hundred thousand of them costs
 * little more than copying them. Everything here is synchronous: what is written is seen by the next read.
 */

/** One state of one object. */
export interface Version {
  /** "namespace/name", or "name" for what has no namespace: the order of lists. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly resourceVersion: number;
  /** The JSON object without its opening brace, kind and apiVersion, which lists leave out and single objects carry. */
  readonly tail: string;
  readonly labels: Readonly<Record<string, string>>;
  /** By field label, for field selectors. */
  readonly fields: Readonly<Record<string, string>>;
}

export interface Change {
  readonly resourceVersion: number;
  /** Undefined when the object was deleted. */
  readonly current: Version | undefined;
  /** Undefined when it was created. */
  readonly previous: Version | undefined;
  /** The previous state stamped with this change's version, as DELETED carries it; made when first asked for. */
  departed(): Version;
}

export interface Table {
  get(key: string): Version | undefined;
  /** In the order of keys. */
  list(): readonly Version[];
  size(): number;
  /** The state as it was; undefined when the history does not reach back that far. */
  listAt(resourceVersion: number): readonly Version[] | undefined;
  /** Changes after this version; undefined when a watch can no longer resume from it. */
  since(resourceVersion: number): readonly Change[] | undefined;
  /** The oldest version from which a watch can resume. */
  oldest(): number;
  put(make: (resourceVersion: number) => Version): Version;
  remove(key: string): Change | undefined;
  /** Called after every change, in order. Returns how to stop it. */
  subscribe(listener: (change: Change) => void): () => void;
}

export interface Store {
  table(plural: string): Table;
  resourceVersion(): number;
  /** Move on without a change, as other resources of a cluster make it. */
  advance(by: number): void;
  /** Forget all history: watches from the past and lists of the past are too old. */
  compact(): void;
  /** As a new process would: no watch can resume from before, but the past can still be listed. */
  forgetWatches(): void;
  /** Back to the state of a past version, as when etcd is restored from a backup; that version is the current one. */
  restore(resourceVersion: number): void;
  /** Keep the objects under lower versions, as when a backup of the same objects is restored into a fresh etcd. */
  renumber(): void;
}

/** `window`: changes that each resource remembers for watches. */
export function createStore(plurals: readonly string[], window: number, firstVersion: number): Store {
  let current = firstVersion;
  const tables = new Map(
    plurals.map((plural) => [plural, createTable({ window, next: () => ++current, current: () => current })] as const),
  );
  const all = () => [...tables.values()];
  for (const table of all()) table.forgetWatches();
  return {
    table(plural) {
      const table = tables.get(plural);
      if (table === undefined) throw new Error(`the store has no table ${plural}`);
      return table;
    },
    resourceVersion: () => current,
    advance(by) {
      current += by;
    },
    compact() {
      for (const table of all()) table.compact();
    },
    forgetWatches() {
      for (const table of all()) table.forgetWatches();
    },
    restore(resourceVersion) {
      if (resourceVersion > current)
        throw new Error(`cannot restore version ${resourceVersion}: ${current} is the last`);
      for (const table of all()) table.restore(resourceVersion);
      current = resourceVersion;
      for (const table of all()) table.forgetWatches();
    },
    renumber() {
      current = 1;
      for (const table of all()) table.renumber();
      for (const table of all()) table.compact();
    },
  };
}

interface OwnTable extends Table {
  compact(): void;
  forgetWatches(): void;
  restore(resourceVersion: number): void;
  renumber(): void;
}

function createTable(options: { window: number; next: () => number; current: () => number }): OwnTable {
  const versions = new Map<string, Version>();
  const listeners = new Set<(change: Change) => void>();
  let history: Change[] = [];
  /** Cached until something changes. */
  let sorted: readonly Version[] | undefined;
  let watchFloor = options.current();
  let listFloor = options.current();

  const record = (change: Change): void => {
    sorted = undefined;
    history.push(change);
    // Cut in batches: shifting one by one would cost the whole window per change.
    if (history.length > options.window * 2) {
      const gone = history.length - options.window;
      watchFloor = Math.max(watchFloor, history[gone - 1]!.resourceVersion);
      listFloor = Math.max(listFloor, history[gone - 1]!.resourceVersion);
      history = history.slice(gone);
    }
    for (const listener of [...listeners]) listener(change);
  };

  /** Undo everything after a version. */
  const rewind = (resourceVersion: number): Map<string, Version> => {
    const past = new Map(versions);
    for (let index = history.length - 1; index >= 0; index--) {
      const change = history[index]!;
      if (change.resourceVersion <= resourceVersion) break;
      if (change.previous === undefined) past.delete(change.current!.key);
      else past.set(change.previous.key, change.previous);
    }
    return past;
  };

  return {
    get: (key) => versions.get(key),
    size: () => versions.size,
    list() {
      sorted ??= inOrder(versions);
      return sorted;
    },
    listAt(resourceVersion) {
      if (resourceVersion < listFloor) return undefined;
      return inOrder(rewind(resourceVersion));
    },
    since(resourceVersion) {
      if (resourceVersion < watchFloor) return undefined;
      return history.slice(firstAfter(history, resourceVersion));
    },
    oldest: () => watchFloor,
    put(make) {
      const version = make(options.next());
      const previous = versions.get(version.key);
      versions.set(version.key, version);
      record(makeChange(version.resourceVersion, version, previous));
      return version;
    },
    remove(key) {
      const previous = versions.get(key);
      if (previous === undefined) return undefined;
      versions.delete(key);
      const change = makeChange(options.next(), undefined, previous);
      record(change);
      return change;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    compact() {
      history = [];
      watchFloor = options.current();
      listFloor = options.current();
    },
    forgetWatches() {
      watchFloor = options.current();
    },
    restore(resourceVersion) {
      if (resourceVersion < listFloor) throw new Error(`version ${resourceVersion} is no longer in the history`);
      const past = rewind(resourceVersion);
      versions.clear();
      for (const [key, version] of past) versions.set(key, version);
      history = history.slice(0, firstAfter(history, resourceVersion));
      sorted = undefined;
    },
    renumber() {
      for (const [key, version] of versions) versions.set(key, restamp(version, options.next()));
      sorted = undefined;
    },
  };
}

function inOrder(versions: ReadonlyMap<string, Version>): readonly Version[] {
  return [...versions.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** Index of the first change after a version. */
function firstAfter(history: readonly Change[], resourceVersion: number): number {
  let low = 0;
  let high = history.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (history[middle]!.resourceVersion > resourceVersion) high = middle;
    else low = middle + 1;
  }
  return low;
}

function makeChange(resourceVersion: number, current: Version | undefined, previous: Version | undefined): Change {
  let departed: Version | undefined;
  return {
    resourceVersion,
    current,
    previous,
    departed() {
      if (previous === undefined) throw new Error(`change ${resourceVersion} has no state before it`);
      departed ??= restamp(previous, resourceVersion);
      return departed;
    },
  };
}

/** The same state under another version. */
export function restamp(version: Version, resourceVersion: number): Version {
  const body = JSON.parse(`{${version.tail}`) as { metadata: Record<string, unknown> };
  const metadata = { ...body.metadata, resourceVersion: String(resourceVersion) };
  return { ...version, resourceVersion, tail: JSON.stringify({ ...body, metadata }).slice(1) };
}
