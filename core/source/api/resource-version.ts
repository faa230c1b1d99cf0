/**
 * Which of two resource versions is newer. They are etcd's revisions, and from 1.35 on the API says that clients may
 * compare them as numbers if they are numbers (KEP-5504). Before that it was only true: every server whose objects are
 * read here has always sent decimal revisions. Where a version is not one, nothing is concluded from it.
 */

const DECIMAL = /^[1-9][0-9]*$/;

/** Negative, zero or positive as `a` is older, the same or newer; undefined when it cannot be told. */
export function compareVersions(a: string, b: string): number | undefined {
  if (a === b) return a === '' ? undefined : 0;
  if (!DECIMAL.test(a) || !DECIMAL.test(b)) return undefined;
  // 64 bits do not fit a number of this language; without leading zeros, longer is larger.
  return a.length === b.length ? (a < b ? -1 : 1) : a.length - b.length;
}
