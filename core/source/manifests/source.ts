/**
 * A file or a folder of manifests as a live source of objects: an edit is in force a tenth of a second later.
 *
 *   watch ──▶ list ──▶ read what changed ──▶ parse ──▶ catalog ──▶ sink
 *                            │
 *                            └── not YAML, emptied, gone, unreadable: what the file last held stays
 *
 * Editors and tools write files in steps, so no single look at a file is believed when it takes things away: text that
 * does not parse keeps the last good version until it does, an emptied file counts after a second, a missing one after
 * a fifth of it. A source on which traffic depends rather shows an old state than half a state.
 */
import { createHash } from 'node:crypto';
import type { Clock, Logger } from '../../backend.ts';
import type { ObjectSink, Source } from '../source.ts';
import { type CatalogChange, createCatalog } from './catalog.ts';
import {
  formatOf,
  listManifestFile,
  listManifests,
  type ManifestFile,
  type ManifestFiles,
  manifestError,
  readManifest,
} from './files.ts';
import { keepSpoiled, type ManifestObject, type ParsedManifest, parseManifest } from './parse-manifest.ts';
import { watchManifests } from './watch-manifests.ts';

export interface ManifestSourceOptions {
  /** A file, or a folder of *.yaml, *.yml and *.json files. */
  readonly path: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Told of every fault in a file or object, besides the log. */
  readonly onProblem?: (problem: ManifestProblem) => void;
}

export interface ManifestProblem {
  readonly file: string;
  /** One line that names the place or object, what is wrong and what was done. */
  readonly problem: string;
}

const EMPTY_GRACE_MS = 1_000;
const MISSING_GRACE_MS = 200;
/** How many objects a log line names. */
const NAMED_OBJECTS = 10;

/** What is known about one file. */
interface FileState {
  fingerprint: string;
  /** Of the text that was last parsed; "" = none. */
  textHash: string;
  /** Its last good version. */
  objects: ReadonlyMap<string, ManifestObject>;
  /** Why its present text is not in force; undefined when it is. */
  fault: string | undefined;
  /** Faults of single objects that were reported. */
  reported: ReadonlySet<string>;
  /** Since when it is empty or missing, not yet believed. */
  vanishedAt: number | undefined;
}

/** A file as it was just found on disk. */
type Reading =
  | { readonly file: ManifestFile; readonly fault: string }
  | { readonly file: ManifestFile; readonly text: string; readonly parsed: () => ParsedManifest };

/** The first reading, not yet delivered. */
interface Prepared {
  readonly found: ManifestFiles;
  readonly readings: readonly Reading[];
}

export function manifestSource(options: ManifestSourceOptions): Source {
  const { path, log, clock } = options;
  const catalog = createCatalog();
  const states = new Map<string, FileState>();
  const graces = new Set<() => void>();
  let list: () => Promise<ManifestFiles> = () => listManifests(path);
  let listFault: string | undefined;
  let sink: ObjectSink | undefined;
  let stopped = false;
  let prepared: Prepared | undefined;
  const watching = watchManifests({ path, clock, log, onQuiet: scan, onPoll: poll });

  async function scan(touched: ReadonlySet<string>): Promise<void> {
    try {
      const found = await listOrComplain();
      if (!found) return;
      const readings = await readChanged(found.files, touched);
      if (!stopped) apply(found.files, readings);
    } catch (error) {
      log.error('The manifests could not be applied; their last state stays in force', { path, error: text(error) });
    }
  }

  async function poll(): Promise<void> {
    const found = await listOrComplain();
    if (!found) return;
    watching.follow(found);
    const present = new Set(found.files.map((file) => file.path));
    const changed = found.files.some((file) => states.get(file.path)?.fingerprint !== file.fingerprint);
    if (changed || [...states.keys()].some((file) => !present.has(file))) watching.touch();
  }

  async function listOrComplain(): Promise<ManifestFiles | undefined> {
    try {
      const found = await list();
      if (listFault !== undefined) log.info('The manifests can be read again', { path });
      listFault = undefined;
      return found;
    } catch (error) {
      const fault = text(error);
      if (fault !== listFault) report(path, fault, 'The manifests cannot be read; their last state stays in force');
      listFault = fault;
      return undefined;
    }
  }

  async function readChanged(files: readonly ManifestFile[], touched: ReadonlySet<string>): Promise<Reading[]> {
    const readings: Reading[] = [];
    for (const file of files) {
      const state = states.get(file.path);
      const known = state?.fingerprint === file.fingerprint && state.vanishedAt === undefined;
      if (!known || touched.has(file.path)) readings.push(await readOne(file));
    }
    return readings;
  }

  /** From here to the sink nothing waits, so that one edit arrives whole. */
  function apply(files: readonly ManifestFile[], readings: readonly Reading[]): void {
    const changed = new Map<string, ReadonlyMap<string, ManifestObject> | undefined>();
    const present = new Set(files.map((file) => file.path));
    for (const [file, state] of states) {
      if (present.has(file) || !isBelieved(state, file, MISSING_GRACE_MS)) continue;
      states.delete(file);
      changed.set(file, undefined);
      log.info('A manifest is gone; so are its objects', { file, objects: state.objects.size });
    }
    for (const reading of readings) {
      const objects = digest(reading);
      if (objects) changed.set(reading.file.path, objects);
    }
    if (changed.size === 0) return;

    const delta = catalog.replace(changed);
    for (const { id, usedFile, ignoredFile } of delta.duplicates) {
      const problem = `${id} is also in ${usedFile}, which counts because its name is first; remove one`;
      report(ignoredFile, problem, 'An object is in two manifests; the first file counts');
    }
    for (const change of delta.changes) if (sink) deliver(change, sink);
    log.verbose(2, 'Applied manifests', { files: changed.size, changes: delta.changes.length });
  }

  /** The objects that a file holds from now on; undefined when that is what it held before. */
  function digest(reading: Reading): ReadonlyMap<string, ManifestObject> | undefined {
    const file = reading.file.path;
    const state = states.get(file) ?? newState();
    states.set(file, state);
    state.fingerprint = reading.file.fingerprint;
    if ('fault' in reading) return spoil(state, file, reading.fault);

    if (reading.text.trim() === '' && state.objects.size > 0) {
      if (!isBelieved(state, file, EMPTY_GRACE_MS)) return undefined;
      log.info('A manifest was emptied; its objects are removed', { file, objects: state.objects.size });
    }
    state.vanishedAt = undefined;
    const hash = createHash('sha256').update(reading.text).digest('base64');
    if (hash === state.textHash && state.fault === undefined) return undefined;
    state.textHash = hash;

    const parsed = reading.parsed();
    if (parsed.kind === 'malformed') return spoil(state, file, parsed.problem);
    if (state.fault !== undefined) log.info('A manifest is good again and in force', { file });
    state.fault = undefined;
    const { contents } = parsed;
    for (const problem of contents.problems) {
      if (!state.reported.has(problem)) report(file, problem, 'A manifest has a fault in an object; the rest counts');
    }
    state.reported = new Set(contents.problems);
    for (const object of contents.ignored)
      log.verbose(2, 'Ignored an object that is not for a proxy', { file, object });
    const objects = keepSpoiled(state.objects, contents);
    const gone = [...state.objects.keys()].filter((id) => !objects.has(id));
    if (gone.length > 0) {
      // A file that was cut at a good place looks like an edit: say at least what it costs.
      const shown = gone.slice(0, NAMED_OBJECTS).join(', ');
      log.info('Objects are no longer in a manifest and go', { file, count: gone.length, objects: shown });
    }
    state.objects = objects;
    return objects;
  }

  /** Whether a file has been empty or missing long enough; arranges another look if not. */
  function isBelieved(state: FileState, file: string, graceMs: number): boolean {
    state.vanishedAt ??= clock.now();
    const left = state.vanishedAt + graceMs - clock.now();
    if (left <= 0) return true;
    const cancel = clock.after(left, () => {
      graces.delete(cancel);
      watching.touch(file);
    });
    graces.add(cancel);
    return false;
  }

  function spoil(state: FileState, file: string, fault: string): undefined {
    if (state.fault !== fault) {
      report(
        file,
        fault,
        'A manifest cannot be read; what it held when last good stays in force until it is corrected',
      );
    }
    state.fault = fault;
  }

  function report(file: string, problem: string, message: string): void {
    log.warn(message, { file, problem });
    options.onProblem?.({ file, problem });
  }

  async function stop(): Promise<void> {
    stopped = true;
    for (const cancel of graces) cancel();
    await watching.stop();
  }

  async function prepare(): Promise<Prepared> {
    const found = await list();
    // A path that is a file now stays one: should it vanish for a moment, that is no fault of the path.
    if (found.folder !== path) list = () => listManifestFile(path);
    // Before the first read, so that no edit falls between the two.
    watching.follow(found);
    try {
      const readings = await readChanged(found.files, new Set());
      refuseMalformed(readings);
      return { found, readings };
    } catch (error) {
      await stop();
      throw error;
    }
  }

  return {
    async prepare() {
      prepared ??= await prepare();
    },
    async start(target) {
      sink = target;
      const { found, readings } = prepared ?? (await prepare());
      prepared = undefined;
      apply(found.files, readings);
      if (found.files.length === 0) log.warn('There are no manifests yet; nothing is served until some come', { path });
      target.synced();
      watching.startPolling();
    },
    stop,
  };
}

function newState(): FileState {
  return {
    fingerprint: '',
    textHash: '',
    objects: new Map(),
    fault: undefined,
    reported: new Set(),
    vanishedAt: undefined,
  };
}

async function readOne(file: ManifestFile): Promise<Reading> {
  try {
    const content = await readManifest(file);
    let parsed: ParsedManifest | undefined;
    return {
      file,
      text: content,
      parsed: () => {
        parsed ??= parseManifest(content, formatOf(file.path));
        return parsed;
      },
    };
  } catch (error) {
    return { file, fault: text(error) };
  }
}

/** At start there is no last good version: say all that is wrong at once. */
function refuseMalformed(readings: readonly Reading[]): void {
  const faults = readings.flatMap((reading) => {
    if ('fault' in reading) return [reading.fault];
    const parsed = reading.parsed();
    return parsed.kind === 'malformed' ? [`${reading.file.path}: ${parsed.problem}; correct the file`] : [];
  });
  if (faults.length > 0) throw manifestError(faults);
}

function deliver(change: CatalogChange, sink: ObjectSink): void {
  const { object } = change;
  const put = change.type === 'put';
  switch (object.kind) {
    case 'Service':
      if (put && object.value) sink.upsertService(object.value);
      else sink.deleteService(object.namespace, object.name);
      return;
    case 'EndpointSlice':
      if (put && object.value) sink.upsertEndpointSlice(object.value);
      else sink.deleteEndpointSlice(object.namespace, object.name);
      return;
    case 'Node':
      if (put && object.value) sink.upsertNode(object.value);
      else sink.deleteNode(object.name);
      return;
    case 'ServiceCIDR':
      if (put && object.value) sink.upsertServiceCIDR(object.value);
      else sink.deleteServiceCIDR(object.name);
      return;
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
