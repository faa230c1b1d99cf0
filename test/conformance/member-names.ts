/**
 * Members that the contract does not have and that are called almost like one that it has: nobody ever looks for `chek`,
 * and its author believes himself checked. What else an object has is its own business. Pure.
 */

/** "chek is no member of the contract; did you mean check?", for each that is most likely a slip. */
export function misspelt(has: readonly string[], known: readonly string[]): readonly string[] {
  const absent = known.filter((name) => !has.includes(name));
  return has.flatMap((name) => {
    const meant = known.includes(name) ? undefined : absent.find((each) => isSlip(name, each));
    return meant === undefined ? [] : [`${name} is no member of the contract; did you mean ${meant}?`];
  });
}

/** Which of them was most likely meant to be this one. */
export function slipFor(has: readonly string[], wanted: string): string | undefined {
  return has.find((name) => name !== wanted && isSlip(name, wanted));
}

/** Of an object and of its class. */
export function memberNames(value: unknown): readonly string[] {
  const names = new Set<string>();
  for (let at = value; typeof at === 'object' && at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at))
    for (const name of Object.getOwnPropertyNames(at)) if (name !== 'constructor') names.add(name);
  return [...names];
}

function isSlip(written: string, meant: string): boolean {
  return distance(written.toLowerCase(), meant.toLowerCase()) <= (meant.length < 6 ? 1 : 2);
}

/** Single characters put in, left out, replaced, or exchanged with their neighbour (optimal string alignment). */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        next[j] = Math.min(next[j]!, before[j - 2]! + 1);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
