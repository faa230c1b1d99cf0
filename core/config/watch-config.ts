/**
 * When the file that --config names has another text, and what it is.
 *
 *   fs.watch of its folder ──▶ quiet for 200 ms (2 s at most) ──▶ read ──▶ other text? ──▶ onChange
 *   every 10 s: other file behind the name? ───────────────────────▲
 *
 * The folder is watched and not the file. A ConfigMap's file is a link through "..data", and the kubelet changes what
 * "..data" points to: neither the name nor the file that was opened ever changes. Editors put a new file in place of
 * the old one. The look every 10 s is for file systems that report nothing, and for links that lead out of the folder.
 */
import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Clock, Logger } from '../backend.ts';
import { readConfigFile } from './read-config.ts';

export interface ConfigWatchOptions {
  readonly path: string;
  /** What the program goes by already. */
  readonly text: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Gets each other text, once it has come to rest. */
  readonly onChange: (text: string) => void;
  /** Told why it cannot be read, once for each reason, and with undefined when it can be again. */
  readonly onTrouble?: (reason: string | undefined) => void;
}

export interface ConfigWatch {
  /** Resolves when nothing is read any more; onChange is not called again. */
  stop(): Promise<void>;
}

const QUIET_MS = 200;
/** What never comes to rest is read all the same. */
const LONGEST_UNREST_MS = 2_000;
const POLL_MS = 10_000;

/** Also notices what changed between reading `text` and this call. */
export function watchConfig({ path, text, clock, log, onChange, onTrouble }: ConfigWatchOptions): ConfigWatch {
  const folder = dirname(path);
  const name = basename(path);
  let current = text;
  let trouble = '';
  let seen = '';
  let watcher: FSWatcher | undefined;
  let watchedFolder = '';
  let unwatched = false;
  let unrestSince: number | undefined;
  let reading: Promise<void> | undefined;
  let stopped = false;
  let cancelQuiet = (): void => {};
  let cancelPoll = (): void => {};

  function touch(): void {
    if (stopped) return;
    unrestSince ??= clock.now();
    cancelQuiet();
    const delay = Math.max(0, Math.min(QUIET_MS, unrestSince + LONGEST_UNREST_MS - clock.now()));
    cancelQuiet = clock.after(delay, () => {
      unrestSince = undefined;
      // One at a time; what changed meanwhile is read when the other ends.
      if (reading) void reading.then(touch);
      else reading = read();
    });
  }

  async function read(): Promise<void> {
    try {
      await follow();
      // Before the text: a change between the two is then a difference to the next look.
      seen = await identity(path);
      const now = await readConfigFile(path);
      if (stopped) return;
      if (trouble !== '') {
        log.info('The configuration file can be read again', { path });
        onTrouble?.(undefined);
      }
      trouble = '';
      if (now !== current) {
        current = now;
        announce(now);
      }
    } catch (error) {
      complain(error instanceof Error ? error.message : String(error));
    } finally {
      reading = undefined;
    }
  }

  function announce(now: string): void {
    try {
      onChange(now);
    } catch (error) {
      log.error('The changed configuration caused an exception; this is a bug', { error });
    }
  }

  /** Once for each state that the file is in, not once for each look at it. */
  function complain(error: string): void {
    if (stopped || error === trouble) return;
    trouble = error;
    log.error('The configuration file cannot be read; the last configuration stays in force', { error });
    onTrouble?.(error);
  }

  /** Another folder may have taken the place of the one watched. */
  async function follow(): Promise<void> {
    const there = await identity(folder);
    if (stopped || (watcher && there === watchedFolder)) return;
    watcher?.close();
    watcher = undefined;
    watchedFolder = there;
    if (there === ABSENT) return;
    try {
      const next = watch(folder, { persistent: false }, (_event, changed) => {
        // Beside the file itself, only names with two dots matter: they swap a mounted ConfigMap.
        if (changed === null || changed === name || changed.startsWith('..')) touch();
      });
      next.on('error', (error) => {
        next.close();
        if (watcher === next) watcher = undefined;
        withoutWatch(error);
      });
      watcher = next;
      unwatched = false;
    } catch (error) {
      withoutWatch(error);
    }
  }

  function withoutWatch(error: unknown): void {
    if (!unwatched && !stopped) {
      log.warn('The configuration file cannot be watched and is looked at every 10 seconds instead', {
        path,
        error: error instanceof Error ? error.message : String(error),
      });
    }
    unwatched = true;
  }

  function poll(): void {
    cancelPoll = clock.after(POLL_MS, () => {
      void look().then(() => {
        if (!stopped) poll();
      });
    });
  }

  async function look(): Promise<void> {
    const isSame = (await identity(path)) === seen && (await identity(folder)) === watchedFolder;
    if (!isSame || !watcher || trouble !== '') touch();
  }

  touch();
  poll();
  return {
    async stop() {
      stopped = true;
      watcher?.close();
      cancelQuiet();
      cancelPoll();
      await reading;
    },
  };
}

const ABSENT = 'absent';

/** Differs whenever another file or folder may be behind the name, or a file may have other content. */
async function identity(path: string): Promise<string> {
  try {
    const stats = await stat(path, { bigint: true });
    const { dev, ino, size, mtimeNs, ctimeNs } = stats;
    return stats.isDirectory() ? `${dev}:${ino}` : `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  } catch {
    // Why it cannot be looked at is told when it is read.
    return ABSENT;
  }
}
