/**
 * Cleaning up: `kube-proxy cleanup`, where every built-in backend, and a plugin that is named, removes what it ever
 * made; and in the daemon, where what one backend left goes when another has taken over. One that fails does not keep
 * the others from their part.
 */
import { isDeepStrictEqual } from 'node:util';
import type { BackendPlugin } from '../backend.ts';
import { type ChosenBackend, openBackend } from '../daemon/open-backend.ts';
import { containFaults } from '../daemon/process.ts';
import { systemClock } from '../node/clock.ts';
import { errorText, type Log } from '../observe/log.ts';
import { BUILT_IN, type BuiltIn, findBackend, type LoadedBackend, loadBackend } from './backends.ts';
import type { Run } from './main.ts';
import { faultLines } from './report-fault.ts';

/** A plugin that hangs must not keep a daemon from changing its backend again. */
const LIMIT_MS = 300_000;

export async function cleanup(run: Run): Promise<number> {
  // The clock of a backend that waits for the kernel keeps no process alive, and here nothing else does.
  const alive = setInterval(() => {}, 60_000);
  try {
    return await cleanUpAll(run);
  } finally {
    clearInterval(alive);
  }
}

async function cleanUpAll(run: Run): Promise<number> {
  const { settings, line, log } = run;
  if (!line.given.has('backend')) return cleanUpEach(run, undefined);
  const contained = containFaults(log);
  try {
    // What was named wrongly is to be known before anything is removed.
    return await cleanUpEach(run, await findBackend(settings.backend, settings.pluginDir));
  } finally {
    contained.release();
  }
}

async function cleanUpEach({ settings, terminal, log }: Run, named: LoadedBackend | undefined): Promise<number> {
  let failures = 0;
  const report = (name: string, outcome: Outcome): void => {
    if (outcome.kind === 'clean') terminal.stdout(`${name}: cleaned up\n`);
    else if (outcome.kind === 'unsupported') {
      terminal.stdout(`${name}: cannot have left anything on this host: ${outcome.reason}\n`);
    } else {
      failures++;
      terminal.stderr(faultLines(outcome.error, `cleanup of ${name}`, settings.verbosity));
    }
  };
  for (const entry of BUILT_IN) {
    const options = named?.builtIn === entry && entry.cleanedByOptions ? settings.backendOptions : {};
    if (entry.cleanedByOptions && named?.builtIn !== entry) {
      const how = `kube-proxy cleanup --backend ${entry.name}, with the options that it had`;
      terminal.stdout(`${entry.name}: not tried; if it ran here: ${how}\n`);
      continue;
    }
    report(entry.name, await cleanUpBuiltIn(entry, log, options));
  }
  if (named && !named.builtIn) {
    const { plugin } = named;
    report(plugin.name, await cleanUp(plugin, settings.backendOptions, log));
  }
  return failures === 0 ? 0 : 1;
}

/** What backends that were in force before leave behind. */
export interface Leftovers {
  /** From now on this backend programs the host. */
  tookOver(chosen: ChosenBackend): void;
  /**
   * Removes what the other backends left; to be called once the one that took over has programmed everything, so that
   * no connection falls between. Two sets of rules would both see each packet. Faults are logged.
   */
  cleanUp(): Promise<void>;
}

/**
 * Built-in ones are cleaned up wherever they may have run; others if they did so in this process, with the options that
 * they had, since nothing else tells that they exist.
 */
export function createLeftovers(log: Log): Leftovers {
  let current: ChosenBackend | undefined;
  const earlier: ChosenBackend[] = [];

  async function tidy(name: string, work: Promise<Outcome>): Promise<boolean> {
    const outcome = await work;
    if (outcome.kind !== 'failed') return true;
    const remedy = 'run `kube-proxy cleanup`, then start again';
    log.warn(`What another backend left here could not be removed; ${remedy}`, {
      backend: name,
      error: errorText(outcome.error),
    });
    return false;
  }

  return {
    tookOver(chosen) {
      const before = current;
      current = chosen;
      if (!before || before.leavesHostAlone || isCleanedAnyway(before)) return;
      const { plugin, options } = before;
      const isKnown = earlier.some((one) => one.plugin === plugin && isDeepStrictEqual(one.options, options));
      if (!isKnown) earlier.push({ plugin, options });
    },

    async cleanUp() {
      // One that leaves the host alone takes over from nobody.
      if (!current || current.leavesHostAlone) return;
      const { name } = current.plugin;
      for (const entry of BUILT_IN) {
        if (entry.name === name || entry.leavesHostAlone || entry.cleanedByOptions) continue;
        await tidy(entry.name, cleanUpBuiltIn(entry, log));
      }
      for (const one of [...earlier]) {
        // What the same plugin made with other options is its own business: cleanup would take its new rules, too.
        if (one.plugin.name === name) continue;
        const done = await tidy(one.plugin.name, cleanUp(one.plugin, one.options, log));
        if (done) earlier.splice(earlier.indexOf(one), 1);
      }
    },
  };
}

function isCleanedAnyway({ plugin }: ChosenBackend): boolean {
  return BUILT_IN.some(({ name, cleanedByOptions }) => name === plugin.name && !cleanedByOptions);
}

type Outcome =
  | { readonly kind: 'clean' }
  | { readonly kind: 'unsupported'; readonly reason: string }
  | { readonly kind: 'failed'; readonly error: unknown };

async function cleanUpBuiltIn(
  entry: BuiltIn,
  log: Log,
  options: Readonly<Record<string, unknown>> = {},
): Promise<Outcome> {
  try {
    return await cleanUp(await loadBackend(entry), { ...entry.cleanupOptions, ...options }, log);
  } catch (error) {
    return { kind: 'failed', error };
  }
}

/** Contained as in the daemon, whatever it does. Never rejects. */
async function cleanUp(plugin: BackendPlugin, options: ChosenBackend['options'], log: Log): Promise<Outcome> {
  const controller = new AbortController();
  const { promise: late, resolve } = Promise.withResolvers<Outcome>();
  const cancel = systemClock.after(LIMIT_MS, () => {
    const what = `backend ${plugin.name}: cleanup did not end within ${LIMIT_MS / 1000} s; see to what it waits for`;
    resolve({ kind: 'failed', error: new Error(what) });
  });
  try {
    return await Promise.race([cleanUpWith({ plugin, options }, controller.signal, log), late]);
  } finally {
    cancel();
    controller.abort();
  }
}

async function cleanUpWith(chosen: ChosenBackend, signal: AbortSignal, log: Log): Promise<Outcome> {
  try {
    const opened = await openBackend({
      chosen,
      log,
      signal,
      metrics: { register: () => () => {} },
      requestFullSync: () => {},
      clock: systemClock,
    });
    try {
      await opened.backend.cleanup();
    } finally {
      await opened.discard();
    }
    return { kind: 'clean' };
  } catch (error) {
    return isUnsupported(error) ? { kind: 'unsupported', reason: errorText(error) } : { kind: 'failed', error };
  }
}

function isUnsupported(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'KP_BACKEND_UNSUPPORTED';
}
