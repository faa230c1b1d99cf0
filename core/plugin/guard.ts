/**
 * Keeps the rule of trust.ts for every file that a plugin imports, at the moment when it does: a plugin that nobody
 * else can write would be of no use if its sibling could be.
 *
 * Node.js asks before it resolves any `import` or `require` (module.registerHooks). What the program itself imports is
 * none of our business: only what the plugin does, and what that in turn imports, and so on.
 */
import { registerHooks } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { pluginFault } from './fault.ts';
import { wayTo } from './places.ts';
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
  const { places, realPath, kind } = wayTo(path);
  if (kind === 'folder') throw pluginFault('KP_PLUGIN_NOT_FOUND', `${about}: is a folder; give the plugin's file`);
  const faults = distrust(places, process.geteuid?.() ?? 0);
  if (faults === undefined) return realPath;
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
        const url = bare(resolved.url);
        if (pluginOf.has(url)) return resolved;
        const path = fileURLToPath(url);
        trustedPath(path, `${path}, imported by ${fileURLToPath(bare(context.parentURL ?? plugin))}`);
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

/** Without the query that makes two modules of one file. */
function bare(url: string): string {
  return url.replace(/[?#].*$/s, '');
}
