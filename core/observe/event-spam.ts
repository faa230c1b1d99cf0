/**
 * How often one object may be written about: a bucket of 25 requests for each object, filled again by one in five
 * minutes, as in upstream's client. A fault that repeats under ever new words must not fill the API server's store.
 */
const BURST = 25;
const REFILL_MS = 5 * 60_000;
/** Objects remembered at once; one that is forgotten begins with a full bucket. */
const MOST_OBJECTS = 4096;

export interface SpamFilter {
  /** Take one request out of the object's bucket; false if it is empty. `at`: monotonic milliseconds. */
  take(object: string, at: number): boolean;
}

export function createSpamFilter(): SpamFilter {
  /** In the order of their last requests. */
  const buckets = new Map<string, { readonly tokens: number; readonly at: number }>();
  return {
    take(object, at) {
      const last = buckets.get(object);
      const tokens = last === undefined ? BURST : Math.min(BURST, last.tokens + (at - last.at) / REFILL_MS);
      if (tokens < 1) return false;
      buckets.delete(object);
      buckets.set(object, { tokens: tokens - 1, at });
      const [oldest] = buckets.keys();
      if (buckets.size > MOST_OBJECTS) buckets.delete(oldest!);
      return true;
    },
  };
}
