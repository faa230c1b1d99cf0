/**
 * Endpoints in index order, changed as little as possible: what stays keeps its index, what is new takes a free one,
 * and the last ones move into what is still free, so that indexes are always 0 … count-1.
 *
 *   [a b c d] without b, with e  ▶  [a e c d]        [a b c d] without b  ▶  [a d c]
 */
import type { Slot } from './frontends.ts';

/** `wanted` itself where it has the order already, so that nothing is kept twice. */
export function arrange(before: readonly Slot[], wanted: readonly Slot[]): readonly Slot[] {
  if (before.length === 0) return wanted;
  const fresh = new Map(wanted.map((slot) => [slotKey(slot), slot]));
  const placed: (Slot | undefined)[] = before.map((slot) => {
    const now = fresh.get(slotKey(slot));
    fresh.delete(slotKey(slot));
    return now;
  });
  const added = fresh.values();
  for (let index = 0; index < placed.length; index++) placed[index] ??= added.next().value;
  placed.push(...added);
  for (let index = 0; index < placed.length; index++) {
    while (placed.length > 0 && placed.at(-1) === undefined) placed.pop();
    if (index < placed.length && placed[index] === undefined) placed[index] = placed.pop();
  }
  const slots = placed as Slot[];
  return slots.every((slot, index) => slot === wanted[index]) ? wanted : slots;
}

export function slotKey({ ip, port }: Slot): string {
  return `${ip} ${port}`;
}
