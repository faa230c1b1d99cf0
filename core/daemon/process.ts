/** The process itself: signals that end it, and faults that must not. */
import { endProcess } from '../node/end-process.ts';
import type { Log } from '../observe/log.ts';
import { harmlessError } from './harmless-error.ts';
import { type EscapeKind, tellCulprit } from './plugin-context.ts';
import { guardProcess, isForged, keepListener, type ProcessGuard, wasTold } from './process-guard.ts';

/** How long stopping may take before the process ends regardless. */
const STOP_LIMIT_MS = 5000;

export interface StopSignal {
  readonly signal: AbortSignal;
  /** Resolves with the name of the first signal. */
  readonly received: Promise<string>;
  release(): void;
}

/** As they were before any plugin was loaded, which may break them. */
const { setTimeout: startTimer } = globalThis;
const off = process.off.bind(process);

let isForGood = false;

/** The second signal ends the process at once: who asks twice does not want to wait. */
export function stopSignal(log: Log): StopSignal {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<string>();
  const listener = (name: string): void => {
    if (isForged(name)) return;
    if (controller.signal.aborted) {
      try {
        log.warn('Told twice to stop; ending at once', { signal: name });
      } finally {
        end(1);
      }
    }
    try {
      resolve(name);
      controller.abort();
    } finally {
      endWithin(STOP_LIMIT_MS, () => 0, log);
    }
  };
  keepListener(listener);
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, listener);
  return {
    signal: controller.signal,
    received: promise,
    release() {
      for (const name of ['SIGTERM', 'SIGINT'] as const) off(name, listener);
    },
  };
}

/** The daemon could not start: whatever a plugin left running must not keep the process from saying so by its status. */
export function endAfterFailure(log: Log): void {
  endWithin(STOP_LIMIT_MS, () => process.exitCode ?? 1, log);
}

/** Unreferenced: only a process that something else keeps alive is ended by it. */
function endWithin(milliseconds: number, status: () => NodeJS.Process['exitCode'], log: Log): void {
  const timer = startTimer(() => {
    try {
      log.warn('Something did not stop in time; ending without it', { seconds: milliseconds / 1000 });
    } finally {
      end(status());
    }
  }, milliseconds);
  timer.unref();
}

function end(status: NodeJS.Process['exitCode']): never {
  endProcess(Number(status ?? 0));
}

/**
 * What escapes from a plugin's own timers and promises is told to the plugin's context, and logged if it was nobody's;
 * the other parts of the process go on. For good: it may escape while the process ends, too. What plugins must not do
 * to the process is refused until `release`, or for good.
 */
export function containFaults(log: Log): { release(): void } {
  // Who asks again is served already.
  if (isForGood) return { release() {} };
  const contain = (kind: EscapeKind, message: string) => (thrown: unknown) => {
    try {
      if (wasTold(thrown) || tellCulprit(kind, thrown)) return;
      log.error(`${message}; this is a bug`, { error: harmlessError(thrown) });
    } catch {
      // Whatever is thrown here ends the process.
    }
  };
  const thrown = contain('exception', 'An exception was thrown and nobody caught it');
  const rejected = contain('rejection', 'A promise was rejected and nobody handled it');
  // Node.js would write its own lines among ours.
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) => log.verbose(1, 'A warning of Node.js', { name, warning: message }));
  keepListener(rejected);
  process.on('unhandledRejection', rejected);
  // With it no listener for 'uncaughtException' is called: libraries that plugins bundle like to end the process there.
  process.setUncaughtExceptionCaptureCallback(null);
  process.setUncaughtExceptionCaptureCallback(thrown);
  return guardFor(log);
}

function guardFor(log: Log): ProcessGuard {
  return guardProcess({
    onStranger: (error) => log.error('Something wanted what would harm the whole process and was refused', { error }),
  });
}

/**
 * For a process that runs a plugin's code, to its end, which must be by `endProcess`: what a plugin left behind could
 * otherwise end the process after the command, with another status.
 */
export function containForGood(log: Log): void {
  containFaults(log);
  isForGood = true;
}

/** The same for who watches for faults in another way. */
export function guardForGood(log: Log): void {
  guardFor(log);
  isForGood = true;
}
