/**
 * Who has which frontend, and whose hands it went through in the change at hand: what was programmed for the one before
 * is to go, what the one after wants is to come.
 */
import { type Claim, createClaims } from './claims.ts';
import { type Frontend, RANK } from './frontends.ts';

/** `R`: a service port as a backend remembers it. */
export interface FrontendClaim<R> extends Claim {
  readonly frontend: Frontend;
  readonly record: R;
}

export interface FrontendClaims<R> {
  /** What a service port claims from now on; undefined: nothing any more. `had`: the frontends of before, by key. */
  replace(
    owner: string,
    had: ReadonlyMap<string, Frontend>,
    has: { readonly frontends: ReadonlyMap<string, Frontend>; readonly record: R } | undefined,
  ): void;
  claim(key: string, owner: string, frontend: Frontend, record: R): void;
  release(key: string, owner: string): void;
  winner(key: string): FrontendClaim<R> | undefined;
  /** The owner's claim, whether or not it wins. */
  held(key: string, owner: string): FrontendClaim<R> | undefined;
  /**
   * Tells who had a key and who has it, of those that were claimed or released since the last call; who claims a key anew
   * has another claim.
   */
  settle(
    changed: (key: string, before: FrontendClaim<R> | undefined, after: FrontendClaim<R> | undefined) => void,
  ): void;
}

export const NO_FRONTENDS: ReadonlyMap<string, Frontend> = new Map();

export function createFrontendClaims<R>(): FrontendClaims<R> {
  const claims = createClaims<FrontendClaim<R>>(() => {});
  /** With whoever had them before. */
  const touched = new Map<string, FrontendClaim<R> | undefined>();

  function touch(key: string): void {
    if (!touched.has(key)) touched.set(key, claims.winner(key));
  }

  function claim(key: string, owner: string, frontend: Frontend, record: R): void {
    touch(key);
    claims.claim(key, { owner, rank: RANK[frontend.kind], frontend, record });
  }

  return {
    replace(owner, had, has) {
      for (const key of had.keys()) {
        touch(key);
        if (!has?.frontends.has(key)) claims.release(key, owner);
      }
      if (has === undefined) return;
      for (const [key, frontend] of has.frontends) claim(key, owner, frontend, has.record);
    },
    claim,
    release(key, owner) {
      touch(key);
      claims.release(key, owner);
    },
    winner: claims.winner,
    held: claims.held,
    settle(changed) {
      for (const [key, before] of touched) {
        const after = claims.winner(key);
        if (before !== after) changed(key, before, after);
      }
      touched.clear();
    },
  };
}
