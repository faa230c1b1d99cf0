/** The table that a planner describes, whole: for `render`, for `dump`, and for tests. */
import type { NftElement, NftTable } from '../../core/backend.ts';
import { SET_NAMES, type SetName, TABLE, TABLE_COMMENT } from './layout.ts';
import type { Planner } from './plan.ts';

export function tableOf(planner: Planner): NftTable {
  const { layout } = planner;
  const elements = new Map<SetName, NftElement[]>();
  for (const portion of planner.elements(Number.POSITIVE_INFINITY)) {
    for (const [set, list] of portion) elements.set(set, [...(elements.get(set) ?? []), ...list]);
  }
  const { inner, hooks } = planner.chains();
  return {
    family: layout.table,
    name: TABLE,
    comment: TABLE_COMMENT,
    sets: SET_NAMES.map((name) => ({ ...layout.sets[name], elements: elements.get(name) ?? [] })),
    chains: [...inner, ...hooks],
  };
}
