/**
 * Cleaning up: `kube-proxy cleanup`, where every built-in backend, and a plugin that the command or the file of --config
 * names, removes what it ever made; and in the daemon, where what one backend left goes when another has taken over. One
 * that fails does not keep the others from their part.
 */
import { isDeepStrictEqual } from 'node:util';
import { readConfigFile } from '../config/read-config.ts';
import { checkSettings, type Settings } from '../config/settings.ts';
import { type ChosenBackend, openBackend } from '../daemon/open-backend.ts';
import { containFaults } from '../daemon/process.ts';
import { systemClock } from '../node/clock.ts';
import { errorText, escapeControls, type Log } from '../observe/log.ts';
import {
  BUILT_IN,
  type BuiltIn,
  backendNames,
  CLEANED_IN_ORDER,
  findBackend,
  type LoadedBackend,
  loadBackend,
} from './backends.ts';
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
  for (const entry of CLEANED_IN_ORDER) {
    const options = named?.builtIn === entry && entry.cleanedByOptions ? settings.backendOptions : {};
    if (entry.cleanedByOptions && named?.builtIn !== entry) {
      const how = `kube-proxy cleanup --backend ${entry.name}, with the options that it had`;
      terminal.stdout(`${entry.name}: not tried; if it ran here: ${how}\n`);
      continue;
    }
    report(entry.name, await cleanUpBuiltIn(entry, { settings, log, options }));
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
  /** One that is in force no longer has programmed something after all; cleanUp() is to be called again. */
  cameBack(chosen: ChosenBackend): void;
  /**
   * Removes what the other backends left; to be called once the one that took over has programmed everything, so that
   * no connection falls between. Two sets of rules would both see each packet. Faults are logged. Resolves to whether
   * the one in force is to look at everything again: something of its name was cleaned up, which may have taken what it
   * needs, or connections pass through it.
   */
  cleanUp(): Promise<boolean>;
}

/** Of a backend that is no more than its options: which program it runs. */
const PROGRAM_OPTIONS: readonly string[] = ['command', 'args', 'options'];

/**
 * Built-in ones are cleaned up wherever they may have run; others if they did so in this process, with the options that
 * they had, since nothing else tells that they exist. When `signal` is aborted, their Hosts end what they started.
 * `settings` tells those in force.
 */
export function createLeftovers(log: Log, signal: AbortSignal, settings: () => Settings): Leftovers {
  let current: ChosenBackend | undefined;
  /** Another one was in force in this process. */
  let replaced = false;
  const earlier: ChosenBackend[] = [];
  /** Of those, the ones whose name the backend in force has, and that were told of. */
  const told = new Set<ChosenBackend>();

  async function tidy(name: string, work: Promise<Outcome>): Promise<Outcome['kind']> {
    const outcome = await work;
    if (outcome.kind !== 'failed') return outcome.kind;
    // Nor could it be removed by hand, by whoever runs this.
    if (process.getuid?.() !== 0 && /\b(?:EPERM|EACCES)\b/.test(errorText(outcome.error))) {
      log.info('Without rights nobody can tell whether another backend left something here', { backend: name });
      return outcome.kind;
    }
    const remedy = 'run `kube-proxy cleanup`, then start again';
    log.warn(`What another backend left here could not be removed; ${remedy}`, {
      backend: name,
      error: errorText(outcome.error),
    });
    return outcome.kind;
  }

  function remember(left: ChosenBackend): void {
    if (left.leavesHostAlone || isCleanedAnyway(left)) return;
    const { plugin, options, file } = left;
    if (!earlier.some((one) => isSame(one, left))) earlier.push({ plugin, options, file });
  }

  function forget(one: ChosenBackend): void {
    earlier.splice(earlier.indexOf(one), 1);
  }

  function tellOptions(one: ChosenBackend, now: ChosenBackend): void {
    if (told.has(one)) return;
    told.add(one);
    const named = `kube-proxy cleanup --backend ${one.file ?? one.plugin.name}`;
    log.warn('The backend had other options before; what it made with those and does not replace now stays', {
      backend: one.plugin.name,
      changed: changedOptions(one, now).join(','),
      remedy: `to remove it: stop kube-proxy, run \`${named}\` with the options before, start again`,
    });
  }

  return {
    tookOver(chosen) {
      const before = current;
      current = chosen;
      if (!before) return;
      replaced = true;
      remember(before);
    },

    cameBack: remember,

    async cleanUp() {
      // One that leaves the host alone takes over from nobody.
      const inForce = current;
      if (!inForce || inForce.leavesHostAlone) return false;
      const { name } = inForce.plugin;
      const removed: string[] = [];
      for (const entry of CLEANED_IN_ORDER) {
        if (entry.name === name || entry.leavesHostAlone || entry.cleanedByOptions) continue;
        const kind = await tidy(entry.name, cleanUpBuiltIn(entry, { settings: settings(), log, signal }));
        if (kind === 'clean') removed.push(entry.name);
      }
      let mayLack = false;
      for (const one of [...earlier]) {
        if (one.plugin.name === name) {
          if (isSame(one, inForce)) {
            forget(one);
            continue;
          }
          // What it made with other options is its own business: cleanup would take its new rules, too.
          if (isSameProgram(one, inForce)) {
            tellOptions(one, inForce);
            continue;
          }
          mayLack = true;
        }
        const kind = await tidy(one.plugin.name, cleanUp(one, log, signal));
        if (kind === 'failed') continue;
        forget(one);
        if (kind === 'clean') removed.push(one.plugin.name);
      }
      // Whether there was anything, only they know: after a start it is nothing as a rule, after an edit it is something.
      if (removed.length > 0) {
        const values = { backend: name, of: removed.join(',') };
        if (replaced) log.info('Cleaned up after other backends', values);
        else log.verbose(2, 'Cleaned up after other backends', values);
      }
      // Until now the old rules may have taken UDP clients past a backend that they are to pass through.
      return mayLack || (replaced && removed.length > 0 && inForce.plugin.endsWithProcess === true);
    },
  };
}

function isCleanedAnyway({ plugin }: ChosenBackend): boolean {
  return BUILT_IN.some(({ name, cleanedByOptions }) => name === plugin.name && !cleanedByOptions);
}

function isSame(one: ChosenBackend, other: ChosenBackend): boolean {
  return isSameFile(one, other) && isDeepStrictEqual(one.options, other.options);
}

/** A file that goes by two paths is loaded once. */
function isSameFile(one: ChosenBackend, other: ChosenBackend): boolean {
  return one.plugin === other.plugin || (one.file !== undefined && one.file === other.file);
}

function isSameProgram(one: ChosenBackend, other: ChosenBackend): boolean {
  if (!isSameFile(one, other)) return false;
  const isProgram = BUILT_IN.some(({ name, cleanedByOptions }) => name === one.plugin.name && cleanedByOptions);
  return !isProgram || !changedOptions(one, other).some((key) => PROGRAM_OPTIONS.includes(key));
}

function changedOptions(one: ChosenBackend, other: ChosenBackend): readonly string[] {
  const keys = new Set([...Object.keys(one.options), ...Object.keys(other.options)]);
  return [...keys].filter((key) => !isDeepStrictEqual(one.options[key], other.options[key])).sort();
}

type Outcome =
  | { readonly kind: 'clean' }
  | { readonly kind: 'unsupported'; readonly reason: string }
  | { readonly kind: 'failed'; readonly error: unknown };

interface BuiltInCleanup {
  readonly settings: Settings;
  readonly log: Log;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
}

async function cleanUpBuiltIn(entry: BuiltIn, { settings, log, options, signal }: BuiltInCleanup): Promise<Outcome> {
  try {
    const chosen = { plugin: await loadBackend(entry), options: { ...entry.cleanupOptions?.(settings), ...options } };
    return await cleanUp(chosen, log, signal);
  } catch (error) {
    return { kind: 'failed', error };
  }
}

/** Contained as in the daemon, whatever it does. Never rejects. */
async function cleanUp(chosen: ChosenBackend, log: Log, signal?: AbortSignal): Promise<Outcome> {
  const { plugin } = chosen;
  const controller = new AbortController();
  const told = signal === undefined ? controller.signal : AbortSignal.any([controller.signal, signal]);
  const { promise: late, resolve } = Promise.withResolvers<Outcome>();
  const cancel = systemClock.after(LIMIT_MS, () => {
    const what = `backend ${plugin.name}: cleanup did not end within ${LIMIT_MS / 1000} s; see to what it waits for`;
    resolve({ kind: 'failed', error: new Error(what) });
  });
  try {
    return await Promise.race([cleanUpWith(chosen, told, log), late]);
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
