/**
 * Members that are spelt nearly as one of the contract. An optional one that is misspelt is no fault of the shape, and
 * would be missed in silence: who writes `chek` believes that the data plane is checked. Pure.
 */
import { nearest } from '../config/command-line.ts';
import type { Kind } from './contract-members.ts';

export interface Misspelt {
  readonly found: string;
  readonly meant: string;
}

type Known = Readonly<Record<string, Kind>>;

const MOST_ANCESTORS = 10;

/**
 * Only for members that are not there, and by what is of the same kind: a backend that has `close` may well keep a
 * `closed` of its own. Inherited ones count. Never throws, and reads no member.
 */
export function misspelt(object: unknown, known: Known): readonly Misspelt[] {
  if (typeof object !== 'object' || object === null) return [];
  try {
    const found = membersOf(object);
    const missing = Object.entries(known).filter(([name]) => !found.has(name));
    return [...found].flatMap(([name, kind]): readonly Misspelt[] => {
      if (Object.hasOwn(known, name)) return [];
      const candidates = missing.filter(([, wanted]) => wanted === kind).map(([candidate]) => candidate);
      const near = nearest(
        name,
        candidates.map((candidate) => candidate.toLowerCase()),
      );
      const meant = candidates.find((candidate) => candidate.toLowerCase() === near);
      return meant === undefined ? [] : [{ found: name, meant }];
    });
  } catch {
    // A proxy, which may say what it likes.
    return [];
  }
}

/** " (found snyc)" for a member that is missing, or "". */
export function foundInstead(member: string, all: readonly Misspelt[]): string {
  const names = all.filter(({ meant }) => meant === member).map(({ found }) => found);
  return names.length === 0 ? '' : ` (found ${names.join(', ')})`;
}

function membersOf(object: object): ReadonlyMap<string, Kind> {
  const found = new Map<string, Kind>();
  let owner: object | null = object;
  for (let depth = 0; depth < MOST_ANCESTORS && owner !== null && owner !== Object.prototype; depth++) {
    for (const [name, { value, get }] of Object.entries(Object.getOwnPropertyDescriptors(owner))) {
      if (found.has(name) || (value === undefined && get === undefined)) continue;
      found.set(name, typeof value === 'function' ? 'function' : 'value');
    }
    owner = Object.getPrototypeOf(owner);
  }
  return found;
}
