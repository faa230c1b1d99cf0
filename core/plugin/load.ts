/**
 * From a plugin's file to a plugin that may be used:
 *
 *   path ──trustedPath──▶ real path ──import()──▶ module ──default export──▶ checkPlugin ──▶ BackendPlugin
 *              └─ KP_PLUGIN_WRITABLE      └─ KP_PLUGIN_LOAD           └─ KP_PLUGIN_NOT_A_PLUGIN, _API_VERSION, _NAME
 *
 * `import()` is that of importer.ts, which takes every kind of file that Node.js runs, from the packed program too.
 */
import { extname } from 'node:path';
import type { BackendPlugin } from '../backend.ts';
import { pluginFault } from './fault.ts';
import { EXTENSIONS } from './find.ts';
import { guard, trustedPath } from './guard.ts';
import { importFile } from './importer.ts';
import { loadFault } from './load-fault.ts';
import { checkPlugin, defaultExport } from './metadata.ts';
import { rememberFiles } from './stamps.ts';

export interface LoadOptions {
  /** Absolute. */
  readonly path: string;
  /** The name by which it was asked for; undefined if by its path. */
  readonly name?: string | undefined;
  /** Names that a plugin cannot have. */
  readonly reserved: readonly string[];
  /** Milliseconds that loading may take where it waits (top-level await). */
  readonly deadlineMs?: number;
}

const DEADLINE_MS = 10_000;

/**
 * Rejects with a `PluginFault`. The file's code is run, and only that: nothing of the plugin is called. A module is
 * never unloaded: asked for again, it is the same one, even if the file is another by now.
 */
export async function loadPlugin({
  path,
  name,
  reserved,
  deadlineMs = DEADLINE_MS,
}: LoadOptions): Promise<BackendPlugin> {
  const realPath = trustedPath(path);
  if (![...EXTENSIONS, '.mts', '.cts'].includes(extname(realPath))) {
    const what = `is no file of JavaScript or TypeScript (${EXTENSIONS.join(', ')}); for a program give --backend exec`;
    throw pluginFault('KP_PLUGIN_NOT_A_PLUGIN', `${path}: ${what}`);
  }
  guard.admit(realPath);
  rememberFiles(realPath, [realPath]);
  return checkPlugin(defaultExport(await importInTime(path, realPath, deadlineMs)), { about: path, name, reserved });
}

async function importInTime(path: string, realPath: string, deadlineMs: number): Promise<unknown> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  // It keeps the process alive: a plugin that waits for what never comes must not end it in silence.
  const timer = setTimeout(() => {
    const what = `was not loaded within ${deadlineMs / 1000} s; it must wait for nothing (await) before create()`;
    reject(pluginFault('KP_PLUGIN_LOAD', `${path}: ${what}`));
  }, deadlineMs);
  try {
    return await Promise.race([importFile(realPath), late]);
  } catch (error) {
    throw loadFault(path, error, guard.filesOf(realPath));
  } finally {
    rememberFiles(realPath, guard.filesOf(realPath));
    clearTimeout(timer);
  }
}
