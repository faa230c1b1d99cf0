/** How many hold each key, and what has moved since somebody looked. */
export interface Counts {
  add(key: string, by: 1 | -1): void;
  has(key: string): boolean;
  keys(): Iterable<string>;
  /** Tells which keys appeared and which are gone since the last call of this or of `takeTouched`. */
  settle(changed: (key: string, present: boolean) => void): void;
  /** Every key that was counted since then, whether or not it makes a difference. */
  takeTouched(): readonly string[];
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
    has: (key) => held.has(key),
    keys: () => held.keys(),
    settle(changed) {
      for (const [key, was] of before) if (was !== held.has(key)) changed(key, !was);
      before = new Map();
    },
    takeTouched() {
      const touched = [...before.keys()];
      before = new Map();
      return touched;
    },
  };
}
