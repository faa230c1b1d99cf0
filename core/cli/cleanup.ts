/**
 * Cleaning up: `kube-proxy cleanup`, where every built-in backend, and a plugin that the command or the file of --config
 * names, removes what it ever made; and in the daemon, where what one backend left goes when another has taken over. One that fails does not keep
 * the others from their part.
 */
import { isDeepStrictEqual } from 'node:util';
import { readConfigFile } from '../config/read-config.ts';
import { checkSettings, type Settings } from '../config/settings.ts';
import { type ChosenBackend, openBackend } from '../daemon/open-backend.ts';
import { containFaults } from '../daemon/process.ts';
import { systemClock } from '../node/clock.ts';
import { errorText, escapeControls, type Log } from '../observe/log.ts';
import { BUILT_IN, type BuiltIn, backendNames, findBackend, type LoadedBackend, loadBackend } from './backends.ts';
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
  const { line, log } = run;
  const isNamed = line.given.has('backend');
  if (!isNamed && line.values.config === '') return cleanUpEach(run, undefined, 0);
  const contained = containFaults(log);
  try {
    const { settings, fault } = await withFile(run);
    if (fault !== undefined) tell(run, `${fault}; what it names is not cleaned up`);
    const failures = fault === undefined ? 0 : 1;
    // What was named wrongly in the command is to be known before anything is removed.
    if (isNamed) {
      return await cleanUpEach({ ...run, settings }, await findBackend(settings.backend, settings.pluginDir), failures);
    }
    if (fault !== undefined) return await cleanUpEach(run, undefined, failures);
    let named: LoadedBackend | undefined;
    try {
      named = await findBackend(settings.backend, settings.pluginDir);
    } catch (error) {
      tell(run, `${errorText(error)}; it is not cleaned up`);
    }
    return await cleanUpEach({ ...run, settings }, named, named ? 0 : 1);
  } finally {
    contained.release();
  }
}

interface WithFile {
  readonly settings: Settings;
  /** Why the file is left out; its name begins it. */
  readonly fault?: string;
}

/** A file that is faulty, or gone, keeps nobody from cleaning up, least of all who wants to be rid of all this. */
async function withFile({ settings, line }: Run): Promise<WithFile> {
  const fileName = line.values.config;
  if (fileName === '') return { settings };
  try {
    const read = checkSettings(line, backendNames(), { text: await readConfigFile(fileName), fileName });
    if (read.faults.length === 0) return { settings: read.settings };
    return { settings, fault: read.faults.map(({ where, what }) => `${where}: ${what}`).join('; ') };
  } catch (error) {
    return { settings, fault: `--config: ${errorText(error)}` };
  }
}

function tell({ terminal }: Run, text: string): void {
  terminal.stderr(`kube-proxy: ${escapeControls(text)}\n`);
}

async function cleanUpEach(run: Run, named: LoadedBackend | undefined, earlierFailures: number): Promise<number> {
  const { settings, terminal, log } = run;
  let failures = earlierFailures;
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
    report(plugin.name, await cleanUp({ plugin, options: settings.backendOptions, file: named.path }, log));
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
      const { plugin, options, file } = before;
      const isKnown = earlier.some((one) => one.plugin === plugin && isDeepStrictEqual(one.options, options));
      if (!isKnown) earlier.push({ plugin, options, file });
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
        const done = await tidy(one.plugin.name, cleanUp(one, log));
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
    return await cleanUp({ plugin: await loadBackend(entry), options: { ...entry.cleanupOptions, ...options } }, log);
  } catch (error) {
    return { kind: 'failed', error };
  }
}

/** Contained as in the daemon, whatever it does. Never rejects. */
async function cleanUp(chosen: ChosenBackend, log: Log): Promise<Outcome> {
  const { plugin } = chosen;
  const controller = new AbortController();
  const { promise: late, resolve } = Promise.withResolvers<Outcome>();
  const cancel = systemClock.after(LIMIT_MS, () => {
    const what = `backend ${plugin.name}: cleanup did not end within ${LIMIT_MS / 1000} s; see to what it waits for`;
    resolve({ kind: 'failed', error: new Error(what) });
  });
  try {
    return await Promise.race([cleanUpWith(chosen, controller.signal, log), late]);
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
