/** What went wrong while a plugin was loaded, in one line: the file and its line, as far as Node.js tells, and a remedy. */
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { errorText } from '../observe/log.ts';
import { isPluginFault, type PluginFault, pluginFault } from './fault.ts';
import { placeInStack } from './stack-place.ts';

/** `files`: the plugin's that were read so far, the one that was asked for first. Never throws. */
export function loadFault(path: string, thrown: unknown, files: readonly string[]): PluginFault {
  if (isPluginFault(thrown)) return thrown;
  const describe = (what: string): PluginFault => pluginFault('KP_PLUGIN_LOAD', `${path}: cannot be loaded: ${what}`);
  try {
    return describe(`${reason(thrown)}${shownPlace(placeOf(thrown, files), files[0])}; ${remedy(thrown)}`);
  } catch {
    return describe('it threw what cannot be shown; mend it');
  }
}

/** The file that the sentence begins with is not named again. */
function shownPlace(place: string | undefined, own = ''): string {
  if (place === undefined || place === own) return '';
  return place.startsWith(`${own}:`) ? ` (line ${place.slice(own.length + 1)})` : ` (${place})`;
}

function reason(thrown: unknown): string {
  // What follows are lists of files ("Require stack:"), which the place tells better.
  const [first = ''] = errorText(thrown).split('\n');
  return thrown instanceof Error && thrown.name !== 'Error' ? `${thrown.name}: ${first}` : first;
}

function remedy(thrown: unknown): string {
  const again = 'then start again: a file is read once';
  switch (thrown instanceof Error && 'code' in thrown ? thrown.code : undefined) {
    case 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX':
      return `types are only left out of it: write plain JavaScript for enums and the like, ${again}`;
    case 'ERR_MODULE_NOT_FOUND':
    case 'MODULE_NOT_FOUND':
      return `put what it imports beside it or into one file, and import types with "import type", ${again}`;
    default:
      return `mend it, ${again}`;
  }
}

/** "/plugins/acme.js:12", or undefined. */
function placeOf(thrown: unknown, files: readonly string[]): string | undefined {
  const stack = thrown instanceof Error && typeof thrown.stack === 'string' ? thrown.stack : '';
  const place = placeInStack(stack, (path) => files.includes(path));
  if (place) return `${place.path}:${place.line}`;
  // The call of `require` is beyond the frames that Node.js keeps; the file that made it is not.
  const requirers: unknown = thrown instanceof Error && 'requireStack' in thrown ? thrown.requireStack : undefined;
  if (Array.isArray(requirers)) return files.find((path) => path === requirers[0]);
  return thrown instanceof SyntaxError ? badSyntaxIn(files) : undefined;
}

/** Node.js does not say where in an ES module the syntax is wrong; its parser of TypeScript does. */
function badSyntaxIn(files: readonly string[]): string | undefined {
  const { emitWarning } = process;
  // That the parser is called experimental helps nobody whose plugin has a slip.
  process.emitWarning = () => {};
  try {
    for (const path of files) {
      const line = badLine(path);
      if (line !== undefined) return `${path}:${line}`;
    }
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

function badLine(path: string): string | undefined {
  try {
    stripTypeScriptTypes(readFileSync(path, 'utf8'));
    return undefined;
  } catch (error) {
    return error instanceof SyntaxError ? /^[^\n]*:(\d+)\n/.exec(error.stack ?? '')?.[1] : undefined;
  }
}
