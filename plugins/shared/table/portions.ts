/** Every element of a table, a portion at a time: a large one fits neither into one message nor twice into memory. */
import type { NftElement } from '../../../core/backend.ts';
import type { Description } from './edits.ts';
import { append, type Elements } from './layout.ts';

/** A portion ends with the part in which it comes to `portion` elements; the last may have none. */
export function* inPortions<S extends string>(
  portion: number,
  parts: Iterable<Description<S>>,
): Generator<Elements<S>> {
  let found = new Map<S, NftElement[]>();
  let size = 0;
  const emit = (set: S, element: NftElement): void => {
    append(found, set, element);
    size++;
  };
  for (const part of parts) {
    if (size >= portion) {
      yield found;
      found = new Map();
      size = 0;
    }
    part(emit);
  }
  yield found;
}
