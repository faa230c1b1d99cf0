/**
 * What a plugin threw, as one line for the log. Plugins may throw anything, even what cannot be turned into text.
 */

/** Beyond it nobody reads; some tools put their whole output into an error. */
const LONGEST = 4_000;

export function describeError(thrown: unknown): string {
  const text = errorMessage(thrown);
  try {
    const code = thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : '';
    return code && !text.includes(code) ? `${code}: ${text}` : text;
  } catch {
    return text;
  }
}

/** What was returned instead of what was wanted: "true", "a promise", "an object". Never throws. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return 'a text';
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    if (Array.isArray(value)) return 'a list';
    return 'then' in value && typeof value.then === 'function' ? 'a promise' : 'an object';
  } catch {
    return 'an object';
  }
}

/** An error for the log that says this and has the stack and the causes of what was thrown, as far as there are any. */
export function loggedError(text: string, thrown: unknown): Error {
  const error = new Error(text);
  // Our own frames say nothing.
  error.stack = text;
  try {
    if (!(thrown instanceof Error)) return error;
    const frames = /\n\s+at [\s\S]*/.exec(String(thrown.stack))?.[0] ?? '';
    error.stack = text + frames;
    if (thrown.cause instanceof Error) error.cause = thrown.cause;
  } catch {
    // A member that throws when it is read.
  }
  return error;
}

/** Without its code. */
export function errorMessage(thrown: unknown): string {
  try {
    // A message may be anything, too, and what is no text would throw where the text is used.
    return String(thrown instanceof Error ? thrown.message || thrown.name : thrown).slice(0, LONGEST);
  } catch {
    return 'something was thrown that cannot be shown';
  }
}
