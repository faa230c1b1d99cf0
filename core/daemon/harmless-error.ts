/**
 * What a plugin threw, as an error of our own. Plugins may throw null, proxies, or errors whose `message` is a trap;
 * each of those, handed on as it is, would throw again in whoever wants to show it.
 */
import { errorMessage } from '../sync/describe-error.ts';

const MOST_CAUSES = 5;
const MOST_PARTS = 5;

/** With the message, the code and the stack of the original, where it has them. Never throws. */
export function harmlessError(thrown: unknown, depth = 0): Error {
  const error = new Error([errorMessage(thrown), ...partsOf(thrown)].join(': '));
  error.stack = textOf(thrown, 'stack') || error.message;
  const code = textOf(thrown, 'code');
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
