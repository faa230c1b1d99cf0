/**
 * When to look at the manifests again. Knows the folder, not what is in the files.
 *
 *   fs.watch event ──▶ touch(file) ──▶ quiet for 50 ms (500 ms at most) ──▶ onQuiet(files touched)
 *   every 2 s      ──▶ onPoll: the net under the watch; it calls touch() if it finds a difference
 *
 * The folder is watched, never a file: editors replace files, and a watch would stay with the one replaced. Network
 * file systems report nothing, links may point out of the folder, and watches can run out: hence the poll.
 */
import { type FSWatcher, watch } from 'node:fs';
import { basename, join } from 'node:path';
import type { Clock, Logger } from '../../backend.ts';
import type { ManifestFiles } from './files.ts';

export interface ManifestWatchOptions {
  /** What the operator gave: a folder, or a file in the folder to watch. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when changes have come to rest, with the files that were touched; never again before it settled. */
  readonly onQuiet: (touched: ReadonlySet<string>) => Promise<void>;
  readonly onPoll: () => Promise<void>;
}

export interface ManifestWatch {
  /** Watch this folder from now on; costs nothing when it is the one watched already. */
  follow(files: ManifestFiles): void;
  /** Something may have changed; if `file` is given, that one must be read again even if it looks the same. */
  touch(file?: string): void;
  startPolling(): void;
  /** Resolves when no callback is running any more. */
  stop(): Promise<void>;
}

const QUIET_MS = 50;
/** What never comes to rest is looked at all the same. */
const LONGEST_UNREST_MS = 500;
const POLL_MS = 2_000;

export function watchManifests(options: ManifestWatchOptions): ManifestWatch {
  const { path, clock, log } = options;
  let touched = new Set<string>();
  let unrestSince: number | undefined;
  let watcher: FSWatcher | undefined;
  let watchedFolder = '';
  let complained = false;
  let looking: Promise<void> | undefined;
  let polling: Promise<void> | undefined;
  let stopped = false;
  let cancelQuiet = (): void => {};
  let cancelPoll = (): void => {};

  function touch(file?: string): void {
    if (stopped) return;
    if (file !== undefined) touched.add(file);
    unrestSince ??= clock.now();
    cancelQuiet();
    const delay = Math.max(0, Math.min(QUIET_MS, unrestSince + LONGEST_UNREST_MS - clock.now()));
    cancelQuiet = clock.after(delay, () => {
      unrestSince = undefined;
      // One look at a time; this one is asked for again when the other ends.
      if (looking) void looking.then(() => touch());
      else looking = look();
    });
  }

  async function look(): Promise<void> {
    const files = touched;
    touched = new Set();
    await options.onQuiet(files);
    looking = undefined;
  }

  function unwatched(error: unknown): void {
    if (!complained) {
      log.warn('The manifests cannot be watched and are looked at every two seconds instead', {
        path,
        error: error instanceof Error ? error.message : String(error),
      });
    }
    complained = true;
  }

  function follow(files: ManifestFiles): void {
    if (stopped || (watcher && watchedFolder === files.folderIdentity)) return;
    watcher?.close();
    watcher = undefined;
    const only = files.folder === path ? undefined : basename(path);
    try {
      const current = watch(files.folder, (_event, name) => {
        // Beside a single file, only names with two dots matter: they swap a mounted ConfigMap.
        if (only !== undefined && name !== null && name !== only && !name.startsWith('..')) return;
        if (name === null) touch();
        else touch(only === undefined ? join(path, name) : path);
      });
      current.on('error', (error) => {
        unwatched(error);
        current.close();
        if (watcher === current) watcher = undefined;
      });
      watcher = current;
      watchedFolder = files.folderIdentity;
      complained = false;
    } catch (error) {
      unwatched(error);
    }
  }

  function startPolling(): void {
    if (stopped) return;
    cancelPoll = clock.after(POLL_MS, () => {
      polling = options.onPoll().then(() => {
        polling = undefined;
        startPolling();
      });
    });
  }

  return {
    follow,
    touch,
    startPolling,
    async stop() {
      stopped = true;
      watcher?.close();
      cancelQuiet();
      cancelPoll();
      await Promise.all([looking, polling]);
    },
  };
}
