/**
 * Threads of this process that run a plugin's module (node:worker_threads):
 *
 *   Host.thread ──▶ thread-module.ts: may it be run? ──▶ Worker ──▶ thread-start.ts ──▶ the module
 *        post() ──▶ ───────────────────────────────────────────▶ ThreadHost.onMessage
 *     onMessage ◀── ◀─────────────────────────────────────────── ThreadHost.post
 *        onExit ◀── its end, whatever that was
 *
 * An uncaught error, a rejection that nobody handles, process.exit() and too little memory end the thread and nothing
 * else. It can be ended wherever it is, also in a loop; what it opened is closed then.
 */
import { closeSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import type { Logger, Thread, ThreadModule, ThreadOptions } from '../backend.ts';
import { placeInStack } from '../plugin/stack-place.ts';
import { closedFault } from './spawn.ts';
import { startWorker } from './thread-code.ts';
import { type FromThread, postTo, type ThreadStart, threadFault, uncopied } from './thread-messages.ts';
import { threadModule } from './thread-module.ts';

export interface Threads {
  /** As `Host.thread`. */
  readonly thread: (module: ThreadModule, options: ThreadOptions) => Thread;
  /** Begins to end what still runs. */
  close(): void;
}

export function createThreads(log: Logger): Threads {
  const running = new Set<Thread>();
  let closed = false;
  return {
    thread(module, options) {
      const { module: code, name } = threadModule(module);
      if (closed) throw closedFault(`cannot start thread ${name}`);
      const thread = startThread({ module: code, name, data: options.data }, log, {
        onMessage: options.onMessage,
        onExit(reason) {
          running.delete(thread);
          options.onExit(reason);
        },
      });
      running.add(thread);
      return thread;
    },
    close() {
      closed = true;
      for (const thread of running) void thread.end();
    },
  };
}

function startThread(start: ThreadStart, log: Logger, told: Pick<ThreadOptions, 'onMessage' | 'onExit'>): Thread {
  const { name } = start;
  const worker = workerOf(start);
  const over = Promise.withResolvers<void>();
  /** Those that Node.js does not close with the thread. */
  const descriptors = new Set<number>();
  let ended = false;
  let reason: string | undefined;

  worker.on('message', (what: FromThread) => {
    switch (what.kind) {
      case 'message':
        return told.onMessage(what.message);
      case 'opened':
        return void descriptors.add(what.descriptor);
      case 'closed':
        return void descriptors.delete(what.descriptor);
      case 'warning':
        log.verbose(1, 'A warning of Node.js in a thread', { thread: name, name: what.name, warning: what.text });
    }
  });
  worker.on('error', (thrown: unknown) => {
    reason = `ended by an error: ${describe(thrown)}`;
  });
  // What the thread said before comes first.
  worker.once('exit', (status) => {
    ended = true;
    for (const descriptor of descriptors) closeSync(descriptor);
    over.resolve();
    told.onExit(reason ?? `ended with status ${status}`);
  });

  return {
    post(message) {
      if (!ended) postTo(worker, name, message);
    },
    end() {
      reason ??= ended ? undefined : 'was ended';
      if (!ended) void worker.terminate();
      return over.promise;
    },
  };
}

function workerOf(start: ThreadStart): Worker {
  try {
    return startWorker({ workerData: start, name: start.name });
  } catch (error) {
    if (error instanceof DOMException) throw uncopied(start.name, 'its data', error);
    const why = error instanceof Error ? error.message : String(error);
    throw threadFault(start.name, `cannot be started (${why}); free memory, or raise the limit of tasks`, error);
  }
}

/** Where it was thrown is told of what nobody meant to throw: what has no code. Never throws. */
function describe(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return String(thrown);
    const { message, name, stack } = thrown;
    const text = String(message) || String(name);
    const place = 'code' in thrown ? undefined : placeInStack(String(stack), () => true);
    return place ? `${text} (${place.path}:${place.line})` : text;
  } catch {
    return 'something was thrown that cannot be shown';
  }
}
