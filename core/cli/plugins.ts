/**
 * `kube-proxy plugins`: which backends there are, and what each can do on this very node, found by creating it as the
 * daemon would and closing it again, which changes nothing that stays. What is wrong with one is a line of the list.
 *
 *   built in ─┐
 *   --plugin-dir ├─▶ load ──▶ create, with a deadline ──▶ families, abilities ──▶ close ──▶ a line, or JSON
 *   --backend PATH ┘   └──────────┴─▶ why not
 */
import { basename, extname } from 'node:path';
import type { BackendPlugin, IPFamily, LogValues } from '../backend.ts';
import type { Settings } from '../config/settings.ts';
import { harmlessError } from '../daemon/harmless-error.ts';
import { createFault, type OpenBackend, openBackend, warnOfPlugin } from '../daemon/open-backend.ts';
import { inPlugin } from '../daemon/plugin-context.ts';
import { containFaults } from '../daemon/process.ts';
import { systemClock } from '../node/clock.ts';
import { errorText, escapeControls, type Log, messageText, valuesOf } from '../observe/log.ts';
import { withoutCode } from '../plugin/fault.ts';
import { findPlugin, listPlugins } from '../plugin/find.ts';
import { BUILT_IN, backendNames, findBackend, type LoadedBackend, loadBackend } from './backends.ts';
import type { Run } from './main.ts';
import { VERSION } from './version.ts';

const CREATE_LIMIT_MS = 10_000;

/** As printed with --output json. */
export interface ListedBackend {
  readonly name: string;
  /** "" when it has none, or none that could be read. */
  readonly version: string;
  /** "" for one that is built in. */
  readonly file: string;
  readonly summary: string;
  /** Those that it would serve on this node; empty if it cannot be used as it was asked for. */
  readonly families: readonly IPFamily[];
  readonly abilities: readonly string[];
  /** Why it cannot be used; "" if it can. */
  readonly reason: string;
  /** Of the fault behind it: "KP_PLUGIN_LOAD", "KP_BACKEND_UNSUPPORTED"; "" when it has none. */
  readonly code: string;
  /** What it logged while it looked at the node. */
  readonly remarks: readonly string[];
}

export async function plugins(run: Run): Promise<number> {
  const all = wanted(run.settings);
  if (all.every(({ file }) => file === '')) return list(run, all);
  const contained = containFaults(run.log);
  try {
    return await list(run, all);
  } finally {
    contained.release();
  }
}

async function list({ settings, line, terminal, log }: Run, all: readonly Wanted[]): Promise<number> {
  // A backend that is waited for keeps no process alive, nor do the limits to that.
  const alive = setInterval(() => {}, 60_000);
  try {
    const listed: ListedBackend[] = [];
    for (const { name, file, load } of all) listed.push(await look(name, file, load, settings, log));
    const isRoot = process.geteuid?.() === 0;
    terminal.stdout(line.values.output === 'json' ? `${JSON.stringify(listed, null, 2)}\n` : table(listed, isRoot));
    return 0;
  } finally {
    clearInterval(alive);
  }
}

interface Wanted {
  readonly name: string;
  readonly file: string;
  readonly load: () => Promise<LoadedBackend>;
}

/** Throws a `PluginFault` if the folder of plugins cannot be read: then the line itself is wrong. */
function wanted({ configuration: { backend, pluginDir } }: Settings): readonly Wanted[] {
  const builtIn = BUILT_IN.map((entry): Wanted => {
    return { name: entry.name, file: '', load: async () => ({ plugin: await loadBackend(entry), builtIn: entry }) };
  });
  const inFolder = (pluginDir === '' ? [] : listPlugins(pluginDir)).map(({ name, path }): Wanted => {
    const file = typeof path === 'string' ? path : pluginDir;
    // The name means the built-in one, so that it is asked for by its path, and says itself what is wrong with it.
    const asked = backendNames().includes(name) && typeof path === 'string' ? path : name;
    return { name, file, load: () => findBackend(asked, pluginDir) };
  });
  const isListed = inFolder.some(({ file }) => file === backend);
  if (!backend.includes('/') || isListed) return [...builtIn, ...inFolder];
  const given: Wanted = {
    name: basename(backend, extname(backend)),
    file: backend,
    load: async () => findBackend(findPlugin(backend, ''), ''),
  };
  return [...builtIn, ...inFolder, given];
}

async function look(
  name: string,
  file: string,
  load: Wanted['load'],
  settings: Settings,
  log: Log,
): Promise<ListedBackend> {
  const unknown = { name, version: '', file, summary: '', families: [], abilities: [], remarks: [] };
  let loaded: LoadedBackend;
  try {
    const escaped = (kind: string, thrown: unknown): void =>
      log.warn('A fault escaped from a plugin while it was looked at', {
        plugin: name,
        kind,
        error: harmlessError(thrown),
      });
    loaded = await inPlugin({ name, escaped }, load);
  } catch (error) {
    return { ...unknown, reason: reasonOf(error), code: codeOf(error) };
  }
  const { plugin, builtIn, path = '' } = loaded;
  let about: Pick<ListedBackend, 'name' | 'version' | 'file' | 'summary'>;
  try {
    // Each may be a getter, which throws the second time.
    const { name, version = '', summary } = plugin;
    about = { name, version: builtIn ? VERSION : version, file: path, summary };
  } catch (error) {
    return { ...unknown, reason: reasonOf(harmlessError(error)), code: 'KP_PLUGIN_LOAD' };
  }
  const isChosen = settings.backend === about.name || settings.backend === path;
  const options = { ...builtIn?.options?.(settings), ...(isChosen ? settings.backendOptions : {}) };
  const remarks: string[] = [];
  try {
    const { families, abilities } = await tryOut(loaded, options, remembering(log.child(about.name), remarks));
    return { ...about, families, abilities, remarks, reason: '', code: '' };
  } catch (error) {
    const wantsOptions = builtIn?.cleanedByOptions && Object.keys(options).length === 0;
    const code = wantsOptions ? 'KP_BACKEND_OPTION' : codeOf(error);
    return { ...about, families: [], abilities: [], remarks, reason: reasonOf(error), code };
  }
}

/** Contained as in the daemon. Rejects as create() does, and if that takes long or makes no backend. */
async function tryOut({ plugin, path }: LoadedBackend, options: Readonly<Record<string, unknown>>, log: Log) {
  const { name, apiVersion, summary } = plugin;
  warnOfPlugin(log, { plugin });
  /** As the plugin made it: contained, it has a health of its own. */
  let made: unknown;
  const create: BackendPlugin['create'] = async (host, given) => {
    const backend = await plugin.create(host, given);
    made = backend;
    return backend;
  };
  const controller = new AbortController();
  const opening = openBackend({
    chosen: { plugin: { name, apiVersion, summary, create }, options, file: path },
    log,
    signal: controller.signal,
    metrics: { register: () => () => {} },
    requestFullSync: () => {},
    clock: systemClock,
  });
  try {
    const opened = await inTime(opening, name);
    const { families } = opened.backend;
    await opened.discard();
    return { families, abilities: abilitiesOf(plugin, made) };
  } finally {
    controller.abort();
  }
}

/** The daemon waits longer; who lists what there is does not want to. */
async function inTime(opening: Promise<OpenBackend>, name: string): Promise<OpenBackend> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const cancel = systemClock.after(CREATE_LIMIT_MS, () => {
    void opening.then((opened) => opened.discard()).catch(() => {});
    reject(createFault(name, CREATE_LIMIT_MS));
  });
  try {
    return await Promise.race([opening, late]);
  } finally {
    cancel();
  }
}

/** Each optional part of the contract, in words. */
function abilitiesOf(plugin: BackendPlugin, made: unknown): readonly string[] {
  const has = (member: string): unknown => (made as Readonly<Record<string, unknown>>)[member];
  const all: readonly (readonly [string, boolean])[] = [
    ['checks itself', typeof has('check') === 'function'],
    ['reports health', typeof has('health') === 'function'],
    ['uses conntrack', has('usesConntrack') === true],
    ['sets kernel parameters', typeof has('initialize') === 'function'],
    ['renders', typeof plugin.render === 'function'],
    ['leaves the host alone', plugin.leavesHostAlone === true],
    ['hides sources', plugin.hidesSources === true],
    ['ends with the process', plugin.endsWithProcess === true],
    [`serves ${plugin.protocols?.join(' and ')} only`, plugin.protocols !== undefined],
  ];
  return all.filter(([, isThere]) => isThere).map(([ability]) => ability);
}

/** What a backend says while it looks around belongs into its line; into the log only what is for who asks for more. */
function remembering(log: Log, remarks: string[]): Log {
  const remember = (message: unknown, given?: LogValues): void => {
    const values = valuesOf(given);
    const shown = Object.entries(values).map(([name, value]) => ` ${name}=${errorText(value)}`);
    const text = messageText(message);
    remarks.push(`${text}${shown.join('')}`);
    log.verbose(2, text, values);
  };
  const remembered: Log = { ...log, error: remember, warn: remember, info: remember, child: () => remembered };
  return remembered;
}

/** A line for each; `isRoot` tells a node that cannot from a user who may not. */
export function table(listed: readonly ListedBackend[], isRoot: boolean): string {
  const rows = listed.map((one) => {
    const origin = one.file === '' ? 'built in' : one.file;
    return [one.name, one.version === '' ? '-' : one.version, origin, finding(one, isRoot)].map(escapeControls);
  });
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  return lines.map((line) => `${line}\n`).join('');
}

function finding({ file, families, abilities, reason: whole, code, remarks }: ListedBackend, isRoot: boolean): string {
  // The file is in the line already.
  const reason = file !== '' && whole.startsWith(`${file}: `) ? whole.slice(file.length + 2) : whole;
  if (reason === '') {
    // Why the other family is missing, it may have said.
    const why = families.length === 1 && remarks.length > 0 ? ` only: ${remarks.join('; ')}` : '';
    return [...families].join(', ') + why + (abilities.length > 0 ? `; ${abilities.join(', ')}` : '');
  }
  if (code.startsWith('KP_PLUGIN_') || code === 'KP_BACKEND_SHAPE') return `faulty (${code}): ${reason}`;
  if (code === 'KP_BACKEND_OPTION') return `needs options that fit: ${reason}`;
  return isRoot ? `not on this node: ${reason}` : `not as this user, who is not root: ${reason}`;
}

/** Its code has a place of its own. */
function reasonOf(error: unknown): string {
  return withoutCode(errorText(error), codeOf(error));
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
