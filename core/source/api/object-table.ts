/**
 * The objects of one resource as the server last said they are, under "namespace/name" (or "name").
 *
 * Within one watch the server sends changes in the order of their resource versions. What comes twice or late (a proxy
 * that repeats, a server that was restored) must not undo what is newer, so each object remembers its version, deleted
 * ones for a while, and everything else is as old as the list that did not have it:
 *
 *   version of the event ≤ that of the object | of its deletion | of the list   →  stale, changes nothing
 *
 * Versions that cannot be compared never make anything stale: then the order of arrival is all there is.
 */
import { isDeepStrictEqual } from 'node:util';
import { compareVersions } from './resource-version.ts';

export interface Held<T> {
  readonly value: T;
  readonly version: string;
}

/** `same`: newer, but equal in all that is kept of it; the value held before stays. */
export type Putting = 'changed' | 'same' | 'stale';
export type Removing = 'removed' | 'absent' | 'stale';

export interface ObjectTable<T> {
  put(key: string, version: string, value: T): Putting;
  /** Deleted, or no longer anything to be served. */
  remove(key: string, version: string): Removing;
  get(key: string): Held<T> | undefined;
  keys(): Iterable<string>;
  size(): number;
  /** It is complete: what it does not have did not exist at this version. */
  seal(listVersion: string): void;
}

/** Deletions that are remembered; late events come soon after, if at all. */
const MAX_DELETIONS = 4096;

/** Values equal to those of `previous` are taken from there instead of being kept twice. */
export function createObjectTable<T>(previous?: ObjectTable<T>): ObjectTable<T> {
  const objects = new Map<string, Held<T>>();
  const deletions = new Map<string, string>();
  let listVersion = '';
  let equals = previous;

  function age(key: string, version: string): number | undefined {
    return compareVersions(version, objects.get(key)?.version ?? deletions.get(key) ?? listVersion);
  }

  return {
    put(key, version, value) {
      const difference = age(key, version);
      if (difference !== undefined && difference <= 0) return 'stale';
      const before = objects.get(key) ?? equals?.get(key);
      const equal = before !== undefined && isDeepStrictEqual(before.value, value);
      const known = objects.has(key);
      objects.set(key, { value: equal ? before.value : value, version });
      deletions.delete(key);
      return equal && known ? 'same' : 'changed';
    },

    remove(key, version) {
      // A deletion may carry the version that the object had last: equal is not stale.
      const difference = age(key, version);
      if (difference !== undefined && difference < 0) return 'stale';
      const known = objects.delete(key);
      deletions.delete(key);
      deletions.set(key, version);
      if (deletions.size > MAX_DELETIONS) {
        const [oldest] = deletions.keys();
        if (oldest !== undefined) deletions.delete(oldest);
      }
      return known ? 'removed' : 'absent';
    },

    seal(version) {
      listVersion = version;
      // Each table would otherwise keep all those before it.
      equals = undefined;
    },

    get: (key) => objects.get(key),
    keys: () => objects.keys(),
    size: () => objects.size,
  };
}
