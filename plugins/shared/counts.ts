/** How many hold each key; `settle` tells which appeared and which are gone since the last time. */
export interface Counts {
  add(key: string, by: 1 | -1): void;
  settle(changed: (key: string, present: boolean) => void): void;
  keys(): Iterable<string>;
}

export function createCounts(): Counts {
  const held = new Map<string, number>();
  let before = new Map<string, boolean>();
  return {
    add(key, by) {
      const count = held.get(key) ?? 0;
      if (!before.has(key)) before.set(key, count > 0);
      if (count + by === 0) held.delete(key);
      else held.set(key, count + by);
    },
    settle(changed) {
      for (const [key, was] of before) if (was !== held.has(key)) changed(key, !was);
      before = new Map();
    },
    keys: () => held.keys(),
  };
}
