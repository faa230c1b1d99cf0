/** The process itself: signals that end it, and faults that must not. */
import type { Log } from '../observe/log.ts';

/** How long stopping may take before the process ends regardless. */
const STOP_LIMIT_MS = 5000;

export interface StopSignal {
  readonly signal: AbortSignal;
  /** Resolves with the name of the first signal. */
  readonly received: Promise<string>;
  release(): void;
}

/** The second signal ends the process at once: who asks twice does not want to wait. */
export function stopSignal(log: Log): StopSignal {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<string>();
  const listener = (name: string): void => {
    if (controller.signal.aborted) {
      log.warn('Told twice to stop; ending at once', { signal: name });
      process.exit(1);
    }
    endWithin(STOP_LIMIT_MS, log);
    resolve(name);
    controller.abort();
  };
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, listener);
  return {
    signal: controller.signal,
    received: promise,
    release() {
      for (const name of ['SIGTERM', 'SIGINT'] as const) process.off(name, listener);
    },
  };
}

/** Unreferenced: only a process that something else keeps alive is ended by it. */
function endWithin(milliseconds: number, log: Log): void {
  const timer = setTimeout(() => {
    log.warn('Something did not stop in time; ending without it', { seconds: milliseconds / 1000 });
    process.exit(0);
  }, milliseconds);
  timer.unref();
}

/**
 * What escapes from a plugin's own timers and promises is logged; the other parts of the process go on. For good:
 * it may escape while the process ends, too.
 */
export function containFaults(log: Log): void {
  const rejected = (reason: unknown): void =>
    log.error('A promise was rejected and nobody handled it; this is a bug', { error: reason });
  const thrown = (error: unknown): void =>
    log.error('An exception was thrown and nobody caught it; this is a bug', { error });
  // Node.js would write its own lines among ours.
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) => log.verbose(1, 'A warning of Node.js', { name, warning: message }));
  process.on('unhandledRejection', rejected);
  process.on('uncaughtException', thrown);
}
