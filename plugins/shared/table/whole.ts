/** The table that a model describes, whole: for printing, and for tests. */
import type { NftElement, NftTable } from '../../../core/backend.ts';
import type { TableModel } from './layout.ts';

export function tableOf<S extends string>(model: TableModel<S>): NftTable {
  const { layout } = model;
  const elements = new Map<S, NftElement[]>();
  for (const portion of model.elements(Number.POSITIVE_INFINITY)) {
    for (const [set, list] of portion) elements.set(set, [...(elements.get(set) ?? []), ...list]);
  }
  const { inner, hooks } = model.chains();
  return {
    family: layout.table,
    name: layout.name,
    comment: layout.comment,
    sets: layout.setNames.map((name) => ({ ...layout.sets[name], elements: elements.get(name) ?? [] })),
    chains: [...inner, ...hooks],
  };
}
