/**
 * What the fake's kernel holds, and the elements of one set with the kernel's rules for them. Every change leaves its
 * reverse in a journal, so that a refused transaction costs only what it did.
 */
import type { NftElement, NftFamily, NftHook, NftRule, NftSet } from '../../nftables.ts';
import { valueBytes } from './values.ts';

export interface FakeNftablesState {
  readonly tables: Map<string, FakeTable>;
  /** Raised by every commit. */
  generation: number;
  nextPort: number;
  /** Seconds. */
  now: number;
}

export interface FakeTable {
  readonly family: NftFamily;
  readonly name: string;
  readonly comment: string;
  /** Made as an owned one: outlives its owner, and may then be taken over. */
  readonly persists: boolean;
  /** Port id; 0 = nobody. */
  owner: number;
  readonly chains: Map<string, FakeChain>;
  readonly sets: Map<string, FakeSet>;
}

export interface FakeChain {
  readonly name: string;
  readonly hook?: NftHook;
  rules: readonly NftRule[];
  /** How many verdicts lead here, of rules and of elements. */
  users: number;
}

export type FakeElement = NftElement & {
  /** On the clock of the state; absent: stays. */
  readonly expiresAt?: number;
};

export interface FakeSet {
  readonly set: NftSet;
  elements: Map<string, FakeElement>;
  /** Ranges by their first part if that is one value, otherwise under "": only those can overlap. */
  ranges: Map<string, Set<FakeElement>>;
  /** Chains that verdicts lead to, with the number of elements. */
  targets: Map<string, number>;
  /** Statements that name it. */
  users: number;
}

export type Journal = (() => void)[];

export function createFakeState(): FakeNftablesState {
  return { tables: new Map(), generation: 1, nextPort: 4001, now: 0 };
}

export function createFakeSet(set: NftSet): FakeSet {
  return { set, elements: new Map(), ranges: new Map(), targets: new Map(), users: 0 };
}

export function elementKey({ key, keyEnd }: NftElement): string {
  const first = key.join(' . ');
  const last = keyEnd?.join(' . ') ?? first;
  return first === last ? first : `${first}-${last}`;
}

/** The chain that an element leads to. */
export function elementTarget({ data }: NftElement): string | undefined {
  return data !== undefined && 'verdict' in data && 'chain' in data ? data.chain : undefined;
}

export function sameData(one: NftElement, other: NftElement): boolean {
  return JSON.stringify(dataOf(one)) === JSON.stringify(dataOf(other));
}

function dataOf({ data }: NftElement): unknown {
  if (data === undefined || !('verdict' in data)) return data;
  return [data.verdict, 'chain' in data ? data.chain : ''];
}

/** Keeps what there is for the journal, since it is deleted whole. */
export function flushElements(state: FakeSet, journal: Journal): void {
  const { elements, ranges, targets } = state;
  journal.push(() => Object.assign(state, { elements, ranges, targets }));
  state.elements = new Map();
  state.ranges = new Map();
  state.targets = new Map();
}

export function insertElement(state: FakeSet, element: FakeElement, journal: Journal): void {
  attach(state, element);
  journal.push(() => detach(state, element));
}

export function deleteElement(state: FakeSet, element: FakeElement, journal: Journal): void {
  detach(state, element);
  journal.push(() => attach(state, element));
}

function attach(state: FakeSet, element: FakeElement): void {
  state.elements.set(elementKey(element), element);
  const target = elementTarget(element);
  if (target !== undefined) state.targets.set(target, (state.targets.get(target) ?? 0) + 1);
  if (!state.set.interval) return;
  const bucket = state.ranges.get(rangeBucket(element));
  if (bucket === undefined) state.ranges.set(rangeBucket(element), new Set([element]));
  else bucket.add(element);
}

function detach(state: FakeSet, element: FakeElement): void {
  state.elements.delete(elementKey(element));
  state.ranges.get(rangeBucket(element))?.delete(element);
  const target = elementTarget(element);
  if (target === undefined) return;
  const left = (state.targets.get(target) ?? 0) - 1;
  if (left > 0) state.targets.set(target, left);
  else state.targets.delete(target);
}

function rangeBucket({ key, keyEnd = key }: NftElement): string {
  return key[0] === keyEnd[0] ? String(key[0]) : '';
}

/**
 * Whether the kernel would call it an overlap: of two ranges of one value in any way; of concatenations only if the
 * first or the last value of the new range lies within an old one.
 */
export function overlaps(state: FakeSet, element: NftElement): boolean {
  const { set, ranges } = state;
  if (!set.interval) return false;
  const bucket = rangeBucket(element);
  const candidates = bucket === '' ? [...ranges.values()] : [ranges.get(bucket) ?? [], ranges.get('') ?? []];
  const { key, keyEnd = key } = element;
  for (const elements of candidates) {
    for (const other of elements) {
      if (holds(set, other, key) || holds(set, other, keyEnd)) return true;
      if (set.key.length === 1 && holds(set, element, other.key)) return true;
    }
  }
  return false;
}

function holds({ key: types }: NftSet, { key, keyEnd = key }: NftElement, value: NftElement['key']): boolean {
  return types.every((type, part) => {
    const bytes = (values: NftElement['key']) => valueBytes(type, values[part] ?? '');
    return Buffer.compare(bytes(key), bytes(value)) <= 0 && Buffer.compare(bytes(value), bytes(keyEnd)) <= 0;
  });
}
