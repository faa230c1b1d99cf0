/**
 * What a plugin threw, as an error of our own. Plugins may throw null, proxies, or errors whose `message` is a trap;
 * each of those, handed on as it is, would throw again in whoever wants to show it.
 */
import { basename } from 'node:path';
import { guard } from '../plugin/guard.ts';
import { placeInStack } from '../plugin/stack-place.ts';
import { errorMessage } from '../sync/describe-error.ts';

const MOST_CAUSES = 5;
const MOST_PARTS = 5;

const made = new WeakSet<Error>();

/**
 * With the message, the code and the stack of the original, where it has them, and without a code with the place in the
 * plugin's files: nobody meant to throw it. Never throws. Applied again it changes nothing.
 */
export function harmlessError(thrown: unknown, depth = 0): Error {
  if (isMade(thrown)) return thrown;
  const code = textOf(thrown, 'code');
  const stack = textOf(thrown, 'stack');
  const place = code === '' && depth === 0 ? placeOf(stack) : '';
  const error = new Error([errorMessage(thrown), ...partsOf(thrown)].join(': ') + place);
  made.add(error);
  error.stack = stack || error.message;
  if (code !== '') Object.assign(error, { code });
  const cause = depth < MOST_CAUSES ? partOf(thrown, 'cause') : undefined;
  if (cause !== undefined) error.cause = harmlessError(cause, depth + 1);
  return error;
}

/** The same, with the plugin's name and what was called before it, unless it says the name itself. */
export function named(plugin: string, call: string, thrown: unknown): Error {
  const error = harmlessError(thrown);
  if (error.message.includes(plugin)) return error;
  const begin = `backend ${plugin}: ${call} failed: `;
  return Object.assign(error, { message: begin + error.message, stack: begin + error.stack });
}

function isMade(thrown: unknown): thrown is Error {
  return typeof thrown === 'object' && thrown !== null && made.has(thrown as Error);
}

/** " (acme.js:14)"; of a plugin that is bundled there is nothing more to say. */
function placeOf(stack: string): string {
  try {
    const place = placeInStack(stack, guard.holds);
    return place ? ` (${basename(place.path)}:${place.line})` : '';
  } catch {
    // A stack may be any text, with URLs of no file.
    return '';
  }
}

function textOf(thrown: unknown, key: string): string {
  const value = partOf(thrown, key);
  return typeof value === 'string' ? value : '';
}

/** Of an AggregateError, whose own message is often empty. */
function partsOf(thrown: unknown): readonly string[] {
  const errors = partOf(thrown, 'errors');
  return Array.isArray(errors) ? errors.slice(0, MOST_PARTS).map(errorMessage) : [];
}

function partOf(thrown: unknown, key: string): unknown {
  try {
    if (!(thrown instanceof Error)) return undefined;
    return Reflect.get(thrown, key);
  } catch {
    return undefined;
  }
}
