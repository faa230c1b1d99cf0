/**
 * Who owns a frontend that several service ports claim (two Services with one external IP and port, say). The lowest
 * rank wins, then the smaller owner in byte order, whatever the order of arrival; when the winner goes, the next
 * one takes over.
 */
export interface Claim {
  readonly owner: string;
  readonly rank: number;
}

export interface Claims<T extends Claim> {
  /** Make or replace the owner's claim of this key. */
  claim(key: string, claim: T): void;
  release(key: string, owner: string): void;
  /** Who has the key. */
  winner(key: string): T | undefined;
  /** The owner's claim, whether or not it wins. */
  held(key: string, owner: string): T | undefined;
}

/** `onWinner` is told after each call who has the key now. */
export function createClaims<T extends Claim>(onWinner: (key: string, winner: T | undefined) => void): Claims<T> {
  /** Nearly every key has one claim, which is then kept without a list. */
  const claims = new Map<string, T | readonly T[]>();
  const listOf = (key: string): readonly T[] => {
    const held = claims.get(key);
    return held === undefined ? [] : Array.isArray(held) ? held : [held as T];
  };
  const settle = (key: string, list: readonly T[]): void => {
    if (list.length === 0) claims.delete(key);
    else claims.set(key, list.length === 1 ? list[0]! : list);
    onWinner(key, strongest(list));
  };
  return {
    claim(key, claim) {
      settle(key, [...listOf(key).filter((other) => other.owner !== claim.owner), claim]);
    },
    release(key, owner) {
      settle(
        key,
        listOf(key).filter((other) => other.owner !== owner),
      );
    },
    winner: (key) => strongest(listOf(key)),
    held: (key, owner) => listOf(key).find((claim) => claim.owner === owner),
  };
}

function before(a: Claim, b: Claim): boolean {
  return a.rank !== b.rank ? a.rank < b.rank : a.owner < b.owner;
}

function strongest<T extends Claim>(list: readonly T[]): T | undefined {
  return list.reduce<T | undefined>(
    (best, next) => (best === undefined || before(next, best) ? next : best),
    undefined,
  );
}
