/**
 * What a change alters in the sets: elements that go and elements that come. An element whose data changes does both,
 * since the kernel has no way to replace it.
 */
import type { NftElement } from '../../../core/backend.ts';
import { append, dataText, type Elements, type Emit, keyText } from './layout.ts';

export interface ElementEdits<S extends string> {
  readonly deletes: Elements<S>;
  readonly adds: Elements<S>;
}

/** Emits every element of something. */
export type Description<S extends string> = (emit: Emit<S>) => void;

export interface Edit<S extends string> {
  readonly set: S;
  readonly element: NftElement;
  /** What the other description has under the same key, if it has something else there. */
  readonly other?: NftElement;
}

export interface Difference<S extends string> {
  /** Elements of the first description that the second lacks or has with other data, in the order of the first. */
  readonly gone: readonly Edit<S>[];
  /** The reverse, in the order of the second. */
  readonly fresh: readonly Edit<S>[];
}

/** `undefined`: nothing is there. A description emits a key once. */
export function difference<S extends string>(
  before: Description<S> | undefined,
  after: Description<S> | undefined,
): Difference<S> {
  const gone: Edit<S>[] = [];
  const fresh: Edit<S>[] = [];
  // Whole tables come this way, without a key made into text.
  if (before === undefined || after === undefined) {
    before?.((set, element) => gone.push({ set, element }));
    after?.((set, element) => fresh.push({ set, element }));
    return { gone, fresh };
  }
  const old = new Map<string, Edit<S>>();
  before((set, element) => old.set(`${set} ${keyText(element)}`, { set, element }));
  after((set, element) => {
    const key = `${set} ${keyText(element)}`;
    const existing = old.get(key);
    if (existing === undefined) fresh.push({ set, element });
    else if (dataText(existing.element) === dataText(element)) old.delete(key);
    else {
      old.set(key, { ...existing, other: element });
      fresh.push({ set, element, other: existing.element });
    }
  });
  return { gone: [...old.values()], fresh };
}

/** Takes what differs, from whoever finds it out. */
export interface EditSink<S extends string> {
  /** What one of two descriptions says that the other does not. */
  difference(before: Description<S> | undefined, after: Description<S> | undefined): void;
  add(set: S, element: NftElement): void;
  delete(set: S, element: NftElement): void;
}

/** Of one change: its edits grow while elements come in. */
export interface EditCollector<S extends string> extends EditSink<S>, ElementEdits<S> {}

export interface EditOptions<S extends string> {
  /** Told of every element that comes (1) or goes (-1). */
  readonly count: (set: S, by: 1 | -1, element: NftElement) => void;
  /** Without, elements are only counted, as when a whole table is taken over. */
  readonly isKept: boolean;
}

export function createEdits<S extends string>({ count, isKept }: EditOptions<S>): EditCollector<S> {
  const deletes = new Map<S, NftElement[]>();
  const adds = new Map<S, NftElement[]>();

  function add(set: S, element: NftElement): void {
    if (isKept) append(adds, set, element);
    count(set, 1, element);
  }

  function remove(set: S, element: NftElement): void {
    if (isKept) append(deletes, set, element);
    count(set, -1, element);
  }

  return {
    deletes,
    adds,
    difference(before, after) {
      const { gone, fresh } = difference(before, after);
      for (const { set, element } of gone) remove(set, element);
      for (const { set, element } of fresh) add(set, element);
    },
    add,
    delete: remove,
  };
}
