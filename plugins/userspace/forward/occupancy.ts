/**
 * How much is open in all threads together. Each writes what it has into its own words of memory that all share, and
 * adds up those of all before it takes one more:
 *
 *   16 words for each thread, one cache line: connections, sessions, 14 unused
 *
 * There is no lock: threads that take one at the same instant may go beyond a bound, by one for each other thread.
 */

const WORDS = 16;
const CONNECTIONS = 0;
const SESSIONS = 1;

export interface Occupancy {
  readonly threads: number;
  readonly connections: Occupied;
  readonly sessions: Occupied;
}

export interface Occupied {
  /** Of this thread. */
  own(): number;
  /** Of all threads. */
  all(): number;
  add(by: 1 | -1): void;
}

export function createOccupancyMemory(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * WORDS * 4);
}

/** `thread`: which words are its own, from 0 on. What one before it had is nobody's. */
export function openOccupancy(memory: SharedArrayBuffer, thread: number): Occupancy {
  vacate(memory, thread);
  const words = new Int32Array(memory);
  return {
    threads: words.length / WORDS,
    connections: occupied(words, thread, CONNECTIONS),
    sessions: occupied(words, thread, SESSIONS),
  };
}

/** The thread has ended, and with it what it had. */
export function vacate(memory: SharedArrayBuffer, thread: number): void {
  const words = new Int32Array(memory);
  for (const what of [CONNECTIONS, SESSIONS]) Atomics.store(words, thread * WORDS + what, 0);
}

/** Connections of all threads, for whoever is none of them. */
export function connectionsIn(memory: SharedArrayBuffer): number {
  return sum(new Int32Array(memory), CONNECTIONS);
}

function sum(words: Int32Array, what: number): number {
  let all = 0;
  for (let at = what; at < words.length; at += WORDS) all += Atomics.load(words, at);
  return all;
}

function occupied(words: Int32Array, thread: number, what: number): Occupied {
  let own = 0;
  return {
    own: () => own,
    all: () => sum(words, what),
    add(by) {
      own += by;
      Atomics.store(words, thread * WORDS + what, own);
    },
  };
}
