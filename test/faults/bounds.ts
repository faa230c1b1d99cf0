/**
 * How often a node may ask, derived from what is promised: after each failure in a row a pause of 0.8 s that doubles up
 * to 30 s, of which up to a half may be left out by chance.
 */

/** What a proxy asks for; the pauses of one are not those of another. */
export const RESOURCES = ['services', 'endpointslices', 'nodes', 'servicecidrs'] as const;

const FIRST_MS = 800;
const LONGEST_MS = 30_000;
/** A watch that failed may be followed by a question whether the server still knows its version; a stream, by a list. */
const REQUESTS_PER_ATTEMPT = 2;

/** For one resource whose attempts all succeed for a moment, so that the first pause follows each. */
export const SHORTEST_PAUSE_REQUESTS_IN_10S = (10_000 / (FIRST_MS / 2) + 1) * REQUESTS_PER_ATTEMPT;

/** For one resource all of whose attempts fail for so long. */
export function mostRequests(milliseconds: number): number {
  let attempts = 1;
  for (let left = milliseconds; ; attempts++) {
    left -= Math.min(FIRST_MS * 2 ** (attempts - 1), LONGEST_MS) / 2;
    if (left < 0) return attempts * REQUESTS_PER_ATTEMPT;
  }
}

/** The most that ever came within so long. `times` in milliseconds, ascending. */
export function busiest(times: readonly number[], windowMs: number): number {
  let most = 0;
  for (let first = 0, last = 0; last < times.length; last++) {
    while (times[last]! - times[first]! > windowMs) first++;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
