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

/** Without its code. */
export function errorMessage(thrown: unknown): string {
  try {
    // A message may be anything, too, and what is no text would throw where the text is used.
    return String(thrown instanceof Error ? thrown.message || thrown.name : thrown).slice(0, LONGEST);
  } catch {
    return 'something was thrown that cannot be shown';
  }
}
