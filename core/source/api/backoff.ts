/**
 * How long to wait before the next attempt after n failures: 0.8 s doubling to 30 s, of which up to a half is chance.
 * Thousands of nodes lose the API server in the same moment; they must not come back in the same moment.
 */

const FIRST_MS = 800;
const LONGEST_MS = 30_000;

/** `failures` counts from 1; `random` gives a number from 0 to below 1. */
export function backoffMs(failures: number, random: () => number): number {
  const full = Math.min(FIRST_MS * 2 ** Math.min(failures - 1, 16), LONGEST_MS);
  return full / 2 + (full / 2) * random();
}

/** What the server asked for and up to a fifth more, never less than the backoff alone would give. */
export function throttleMs(retryAfterMs: number, failures: number, random: () => number): number {
  return Math.max(retryAfterMs * (1 + random() / 5), backoffMs(failures, random));
}
