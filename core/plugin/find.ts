/**
 * Where a plugin's file is. A path names it; a name is looked for in one folder, the only one that is ever looked at:
 *
 *   DIR/acme.js  .mjs  .cjs  .ts         a file
 *   DIR/acme/package.json                with "exports" or "main"
 *   DIR/acme/index.js  .mjs  .cjs  .ts   a folder, as for `import`
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { nearest } from '../config/command-line.ts';
import { PLUGIN_NAME } from '../config/validate.ts';
import { errorText } from '../observe/log.ts';
import { isPluginFault, type PluginFault, pluginFault } from './fault.ts';
import { trustedPath } from './guard.ts';

export const EXTENSIONS = ['.js', '.mjs', '.cjs', '.ts'];

/**
 * The absolute path of its file, which may not exist if it was given; throws a `PluginFault`. `backend`: a name, or an
 * absolute path. `others`: names that could have been meant, too.
 */
export function findPlugin(backend: string, pluginDir: string, others: readonly string[] = []): string {
  if (backend.includes('/')) {
    return isKind(backend, 'folder')
      ? oneOf(entriesOf(backend), backend, `${backend}: is a folder ${WITHOUT}`)
      : backend;
  }
  const names = namesIn(pluginDir);
  const near = nearest(backend, [...others, ...names]);
  const there = names.length === 0 ? 'that folder has no plugin' : `there are ${names.join(', ')}`;
  const tried = `${pluginDir} has no file ${backend}.js (.mjs, .cjs, .ts), nor a folder ${backend} with one`;
  const remedy = near ? `did you mean ${near}?` : there;
  return oneOf(candidates(backend, pluginDir), backend, `backend ${backend}: ${tried}; ${remedy}`);
}

const WITHOUT = 'without a plugin: no package.json that names its main file, and no index.js (.mjs, .cjs, .ts)';

export interface FoundPlugin {
  readonly name: string;
  readonly path: string | PluginFault;
}

/** Every plugin of the folder, in order of names, without loading any. Throws if the folder cannot be read. */
export function listPlugins(pluginDir: string): readonly FoundPlugin[] {
  return namesIn(pluginDir).map((name) => {
    try {
      return { name, path: findPlugin(name, pluginDir) };
    } catch (error) {
      if (!isPluginFault(error)) throw error;
      return { name, path: error };
    }
  });
}

function oneOf(found: readonly string[], wanted: string, otherwise: string): string {
  const [first, ...more] = found;
  if (first === undefined) throw pluginFault('KP_PLUGIN_NOT_FOUND', otherwise);
  if (more.length > 0) {
    const all = found.join(', ');
    throw pluginFault('KP_PLUGIN_AMBIGUOUS', `backend ${wanted}: could be any of ${all}; keep one, or give its path`);
  }
  return first;
}

function candidates(name: string, pluginDir: string): readonly string[] {
  const files = EXTENSIONS.map((extension) => join(pluginDir, name + extension)).filter((path) => isKind(path, 'file'));
  const folder = join(pluginDir, name);
  return isKind(folder, 'folder') ? [...files, ...entriesOf(folder)] : files;
}

/** The file that a folder stands for; more than one if it leaves that open. */
function entriesOf(folder: string): readonly string[] {
  const main = mainOf(join(folder, 'package.json'));
  if (main !== undefined) return [resolve(folder, main)];
  return EXTENSIONS.map((extension) => join(folder, `index${extension}`)).filter((path) => isKind(path, 'file'));
}

function mainOf(path: string): string | undefined {
  let manifest: unknown;
  try {
    const text = readFileSync(path, 'utf8');
    // Who may write it says which file is run.
    trustedPath(path);
    manifest = JSON.parse(text);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    if (isPluginFault(error)) throw error;
    throw pluginFault('KP_PLUGIN_LOAD', `${path}: cannot be read (${errorText(error)}); mend it, or leave it out`);
  }
  const { exports, main } = recordOf(manifest);
  return target(recordOf(exports)['.'] ?? exports) ?? (typeof main === 'string' ? main : undefined);
}

/** A path, or one for each condition under which it counts, perhaps nested. */
function target(exported: unknown): string | undefined {
  if (typeof exported === 'string') return exported;
  if (typeof exported !== 'object' || exported === null) return undefined;
  const conditions = recordOf(exported);
  for (const name of ['node', 'import', 'require', 'default']) {
    const found = target(conditions[name]);
    if (found !== undefined) return found;
  }
  return undefined;
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/** Names that could be asked for. What cannot be one (types.d.ts, a test beside the plugin, node_modules) is left out. */
function namesIn(folder: string): readonly string[] {
  let entries: readonly string[];
  try {
    entries = readdirSync(folder);
  } catch (error) {
    const what = 'is where plugins are to be looked for, and cannot be read';
    throw pluginFault('KP_PLUGIN_NOT_FOUND', `${folder}: ${what} (${errorText(error)}); give a folder that exists`);
  }
  const names = entries.flatMap((entry): readonly string[] => {
    const path = join(folder, entry);
    if (EXTENSIONS.includes(extname(entry)))
      return isKind(path, 'file') ? [entry.slice(0, -extname(entry).length)] : [];
    return isKind(path, 'folder') && holdsPlugin(path) ? [entry] : [];
  });
  return [...new Set(names)].filter((name) => PLUGIN_NAME.test(name)).sort();
}

function holdsPlugin(folder: string): boolean {
  try {
    return entriesOf(folder).length > 0;
  } catch {
    // Its package.json is at fault, which is to be told when it is asked for.
    return true;
  }
}

/** Links are followed. What cannot be looked at is neither. */
function isKind(path: string, kind: 'file' | 'folder'): boolean {
  try {
    const stats = statSync(path);
    return kind === 'file' ? stats.isFile() : stats.isDirectory();
  } catch {
    return false;
  }
}
