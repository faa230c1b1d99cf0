/** The steps of a change that is known to be the difference to what is there, in an order that suits packets under way. */
import type { NftOperation } from '../../core/backend.ts';
import type { Elements } from '../shared/table/layout.ts';
import { addChain, editOperations, elementOperations, rewriteChain, type Steps } from '../shared/table/reconcile.ts';
import type { Layout, SetName } from './layout.ts';
import type { Plan } from './plan.ts';

export function planSteps(plan: Plan, layout: Layout): Steps {
  const verdictOperation = (what: 'add elements' | 'delete elements') => (lead: Plan['newVerdicts'][number]) =>
    ({ do: what, set: layout.sets[lead.set], elements: [lead.element] }) as const;
  return {
    before: [...plan.newChains.flatMap(addChain), ...plan.newVerdicts.map(verdictOperation('add elements'))],
    change: [
      ...plan.changedChains.flatMap(rewriteChain),
      ...editOperations({ deletes: without(plan.deletes, 'hairpin'), adds: plan.adds }, layout),
    ],
    after: [
      // A packet that was sent back to its sender a moment ago has yet to be masqueraded.
      ...elementOperations('delete elements', only(plan.deletes, 'hairpin'), layout),
      ...plan.oldVerdicts.map(verdictOperation('delete elements')),
      ...plan.oldChains.map((chain): NftOperation => ({ do: 'flush chain', chain })),
      ...plan.oldChains.map((chain): NftOperation => ({ do: 'delete chain', chain })),
    ],
  };
}

function without(elements: Elements<SetName>, name: SetName): Elements<SetName> {
  return new Map([...elements].filter(([set]) => set !== name));
}

function only(elements: Elements<SetName>, name: SetName): Elements<SetName> {
  return new Map([...elements].filter(([set]) => set === name));
}
