/**
 * Where the code of threads comes from when the sources run. The packed executable has no files, so its build replaces
 * this one by another that gets the code out of the executable.
 */
import { Worker, type WorkerOptions } from 'node:worker_threads';

/** Modules below it are the program's own, as trusted as the rest of it. */
const PLUGINS = new URL('../../plugins/', import.meta.url).href;

/** A thread that runs thread-start.ts. */
export function startWorker(options: WorkerOptions): Worker {
  return new Worker(new URL('./thread-start.ts', import.meta.url), options);
}

export function isBuiltIn(module: URL): boolean {
  return module.href.startsWith(PLUGINS);
}

/** Called in the thread. */
export function importBuiltIn(module: string): Promise<unknown> {
  return import(module);
}
