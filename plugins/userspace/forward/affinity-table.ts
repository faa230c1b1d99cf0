/**
 * ClientIP affinity that all threads share: which endpoint a client of a service port keeps, and until when. A hash
 * table in shared memory, of a fixed size: where it is full, the client whose time is over first is forgotten.
 *
 *   header   16 words: seed, seed, number of buckets
 *   bucket   16 words, one cache line: lock, then 5 times { tag, endpoint, until }
 *              tag       second hash of service port and client, never 0; 0: free
 *              endpoint  hash of its address and port
 *              until     tenths of a second, of a monotonic clock that all threads read alike
 *
 * Hashes stand for what they are of. Where two clients meet in one tag (once in 2^32 within a bucket), they keep one
 * endpoint if they use the same service port, and lose their affinity otherwise: a hash that is not in a service port's
 * list is as none. The seed is the caller's, so that nobody can choose colliding addresses.
 */

const WORDS = 16;
const ENTRY = 3;
const ENTRIES_PER_BUCKET = 5;
/** A holder writes a few words. One that does not come back was ended meanwhile. */
const SPINS = 100_000;

export interface AffinityTable {
  /**
   * `choose` gets the hash of the endpoint that the client keeps, 0 if none, and returns the one it gets, 0 if none. It
   * is called once, while no other thread can look at this client: it must be short and not throw.
   */
  claim(service: string, client: string, seconds: number, choose: (kept: number) => number): void;
  /** The client's endpoint could not be reached: forgotten, unless another thread has given it another one already. */
  forget(service: string, client: string, endpoint: number): void;
  /** Never 0. */
  hashEndpoint(ip: string, port: number): number;
}

/** `clients` at a time, about; 26 bytes each. */
export function createAffinityMemory(clients: number, seed: readonly [number, number]): SharedArrayBuffer {
  // Twice as many places as clients: buckets fill unevenly.
  const buckets = Math.max(1, Math.ceil((clients * 2) / ENTRIES_PER_BUCKET));
  const memory = new SharedArrayBuffer((1 + buckets) * WORDS * 4);
  const words = new Int32Array(memory);
  words[0] = seed[0];
  words[1] = seed[1];
  words[2] = buckets;
  return memory;
}

/** `tenths`: tenths of a second of the shared clock. */
export function openAffinityTable(memory: SharedArrayBuffer, tenths: () => number): AffinityTable {
  const words = new Int32Array(memory);
  const [seedA = 0, seedB = 0, buckets = 0] = words;

  const bucketOf = (service: string, client: string): number =>
    (1 + ((hash(seedA, service, client) >>> 0) % buckets)) * WORDS;
  const tagOf = (service: string, client: string): number => hash(seedB, service, client) || 1;

  return {
    claim(service, client, seconds, choose) {
      const bucket = bucketOf(service, client);
      const tag = tagOf(service, client);
      const now = tenths();
      lock(words, bucket);
      const at = place(words, bucket, tag, now);
      const isKept = words[at] === tag && left(words, at, now) > 0;
      const endpoint = choose(isKept ? words[at + 1]! : 0);
      if (endpoint !== 0) {
        words[at] = tag;
        words[at + 1] = endpoint;
        words[at + 2] = now + seconds * 10;
      }
      unlock(words, bucket);
    },
    forget(service, client, endpoint) {
      const bucket = bucketOf(service, client);
      const tag = tagOf(service, client);
      lock(words, bucket);
      for (let at = bucket + 1; at < bucket + WORDS; at += ENTRY) {
        if (words[at] === tag && words[at + 1] === endpoint) words[at] = 0;
      }
      unlock(words, bucket);
    },
    hashEndpoint: (ip, port) => hash(seedA, ip, String(port)) || 1,
  };
}

/** The client's own entry, or else a free one, or else the one that ends first. */
function place(words: Int32Array, bucket: number, tag: number, now: number): number {
  let best = bucket + 1;
  let least = Number.POSITIVE_INFINITY;
  for (let at = bucket + 1; at < bucket + WORDS; at += ENTRY) {
    if (words[at] === tag) return at;
    const rest = words[at] === 0 ? Number.NEGATIVE_INFINITY : left(words, at, now);
    if (rest < least) {
      least = rest;
      best = at;
    }
  }
  return best;
}

/** Tenths of a second until an entry ends. The clock's words wrap around after years. */
function left(words: Int32Array, at: number, now: number): number {
  return (words[at + 2]! - now) | 0;
}

function lock(words: Int32Array, bucket: number): void {
  for (let spins = 0; spins < SPINS && Atomics.compareExchange(words, bucket, 0, 1) !== 0; spins++);
}

function unlock(words: Int32Array, bucket: number): void {
  Atomics.store(words, bucket, 0);
}

/** MurmurHash3's mixing, over the code units of two texts. */
function hash(seed: number, one: string, two: string): number {
  let h = mix(seed, one);
  h = mix(h ^ 0x2f, two);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function mix(seed: number, text: string): number {
  let h = seed;
  for (let index = 0; index < text.length; index++) {
    let k = Math.imul(text.charCodeAt(index), 0xcc9e2d51);
    k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    h ^= k;
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  return h;
}
