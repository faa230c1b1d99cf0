/** How many elements each set has, and so which sets a rule would look in in vain. */

/** Whether a set has elements. */
export type IsUsed<S extends string> = (set: S) => boolean;

export interface Sizes<S extends string> {
  count(set: S, by: number): void;
  of(set: S): number;
  readonly isUsed: IsUsed<S>;
  all(): ReadonlyMap<S, number>;
}

export function createSizes<S extends string>(): Sizes<S> {
  const sizes = new Map<S, number>();
  const of = (set: S): number => sizes.get(set) ?? 0;
  return {
    count: (set, by) => void sizes.set(set, of(set) + by),
    of,
    isUsed: (set) => of(set) > 0,
    all: () => sizes,
  };
}
