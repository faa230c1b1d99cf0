/** Keys of the service ports that a change takes away: a full one takes whatever it does not name. */
import type { Change } from '../../core/backend.ts';

export function removedKeys(known: Iterable<string>, { full, upsert, remove }: Change): readonly string[] {
  if (!full) return remove;
  const wanted = new Set(upsert.map(({ key }) => key));
  return [...known].filter((key) => !wanted.has(key));
}
