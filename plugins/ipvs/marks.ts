/** Numbers of the virtual servers that marks select: one for each service port that has one, kept over a restart. */
import { FIRST_MARK, LAST_MARK } from './layout.ts';

export interface Marks {
  /** `known`, if it is one of ours and nobody has it. Undefined when all are taken. */
  take(known: number | undefined): number | undefined;
  release(mark: number): void;
}

export function createMarks(first: number = FIRST_MARK, last: number = LAST_MARK): Marks {
  const taken = new Set<number>();
  // Numbers just freed come last: a packet under way may still carry one.
  let latest = first - 1;
  return {
    take(known) {
      if (known !== undefined && known >= first && known <= last && !taken.has(known)) {
        taken.add(known);
        latest = Math.max(latest, known);
        return known;
      }
      if (taken.size > last - first) return undefined;
      do latest = latest >= last ? first : latest + 1;
      while (taken.has(latest));
      taken.add(latest);
      return latest;
    },
    release(mark) {
      taken.delete(mark);
    },
  };
}

export function isOurMark(mark: number): boolean {
  return mark >= FIRST_MARK && mark <= LAST_MARK;
}
