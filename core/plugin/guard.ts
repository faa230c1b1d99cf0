/**
 * Keeps the rule of trust.ts for every file that a plugin imports, at the moment when it does: a plugin that nobody
 * else can write would be of no use if its sibling could be.
 *
 * Node.js asks before it resolves any `import` or `require` (module.registerHooks). What the program itself imports is
 * none of our business: only what the plugin does, and what that in turn imports, and so on.
 */
import { lstatSync } from 'node:fs';
import { isBuiltin, registerHooks } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { pluginFault } from './fault.ts';
import { type Way, wayTo } from './places.ts';
import { distrust } from './trust.ts';

export interface Guard {
  /** From now on what this file imports is looked at. `realPath` has been looked at itself. */
  admit(realPath: string): void;
  /** The plugin's files that were imported since, this one first. */
  filesOf(realPath: string): readonly string[];
  /** Is it a file of any plugin? Without links. */
  holds(realPath: string): boolean;
}

/** URL of each file of a plugin, and the plugin. */
const pluginOf = new Map<string, string>();
let isOn = false;

/** Throws KP_PLUGIN_WRITABLE, and KP_PLUGIN_NOT_FOUND if it is not there. Resolves links; the result has none. */
export function trustedPath(path: string, about = path): string {
  const { realPath, kind } = mayBeNamed(path, about);
  if (kind === 'folder') throw pluginFault('KP_PLUGIN_NOT_FOUND', `${about}: is a folder; give the plugin's file`);
  return realPath;
}

/** Throws KP_PLUGIN_WRITABLE: the way is walked, since who may change a link on it has what is run in hand. */
function mayBeNamed(path: string, about: string): Way {
  const way = wayTo(path);
  const faults = distrust(way.places, process.geteuid?.() ?? 0);
  if (faults === undefined) return way;
  const why = 'could be changed by others, and what is in it runs with all rights of this program';
  throw pluginFault('KP_PLUGIN_WRITABLE', `${about}: ${why}: ${faults}`);
}

/** There is one for the process, on once there is a plugin: code that was imported stays, and may import at any time. */
export const guard: Guard = {
  admit(realPath) {
    const url = pathToFileURL(realPath).href;
    pluginOf.set(url, url);
    if (isOn) return;
    isOn = true;
    registerHooks({
      resolve(specifier, context, nextResolve) {
        const resolved = nextResolve(specifier, context);
        const plugin = context.parentURL === undefined ? undefined : pluginOf.get(bare(context.parentURL));
        if (plugin === undefined || !resolved.url.startsWith('file:')) return resolved;
        const importer = fileURLToPath(bare(context.parentURL ?? plugin));
        for (const path of namedPaths(specifier, importer)) mayBeNamed(path, `${path}, imported by ${importer}`);
        const url = bare(resolved.url);
        if (pluginOf.has(url)) return resolved;
        const path = fileURLToPath(url);
        trustedPath(path, `${path}, imported by ${importer}`);
        pluginOf.set(url, plugin);
        return resolved;
      },
    });
  },
  filesOf(realPath) {
    const plugin = pathToFileURL(realPath).href;
    return [...pluginOf].filter(([, of]) => of === plugin).map(([url]) => fileURLToPath(url));
  },
  holds: (realPath) => pluginOf.has(pathToFileURL(realPath).href),
};

/** What `require` may take in place of a name. */
const ENDINGS: readonly string[] = ['', '.js', '.json', '.node', '/index.js', '/index.json', '/index.node'];

/** The paths by which the importer finds it, before links are resolved; those that are there. */
function namedPaths(specifier: string, importer: string): readonly string[] {
  const folder = dirname(importer);
  let path: string | undefined;
  if (/^\.{0,2}\//.test(specifier) || specifier === '.' || specifier === '..') {
    // Percent signs and question marks mean something in an import and nothing in a require; as either it may be there.
    const plain = specifier.startsWith('/') ? specifier : join(folder, specifier);
    const paths = [plain, pathOf(new URL(specifier, pathToFileURL(importer)).href) ?? plain];
    return [...new Set(paths)].flatMap((each) => ENDINGS.map((ending) => each + ending)).filter(isThere);
  }
  if (specifier.startsWith('file:')) path = pathOf(specifier);
  else if (!isBuiltin(specifier)) path = inPackages(specifier, folder);
  return path === undefined || !isThere(path) ? [] : [path];
}

/** The package, not what it exports: its folder may be a link, and what lies in it is looked at where it leads. */
function inPackages(specifier: string, folder: string): string | undefined {
  const [name] = /^(@[^/]+\/)?[^/]+/.exec(specifier) ?? [''];
  for (let at = folder; ; at = dirname(at)) {
    const path = join(at, 'node_modules', name);
    if (isThere(path)) return path;
    if (at === '/') return undefined;
  }
}

function pathOf(url: string): string | undefined {
  try {
    return fileURLToPath(bare(url));
  } catch {
    // As one with %2F in it, which leads to no file.
    return undefined;
  }
}

function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    // ENOTDIR: what it would lie in is a file.
    return false;
  }
}

/** Without the query that makes two modules of one file. */
function bare(url: string): string {
  return url.replace(/[?#].*$/s, '');
}
