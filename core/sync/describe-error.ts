/**
 * What a plugin threw, as one line for the log. Plugins may throw anything, even what cannot be turned into text.
 */
export function describeError(thrown: unknown): string {
  try {
    const text = thrown instanceof Error ? thrown.message || thrown.name : String(thrown);
    const code = thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : '';
    return code && !text.includes(code) ? `${code}: ${text}` : text;
  } catch {
    return 'something was thrown that cannot be shown';
  }
}
