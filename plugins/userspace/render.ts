/** What a first sync makes of an empty host that may redirect, as `nft list ruleset` prints it; pure. */
import type { Change, Printers } from '../../core/backend.ts';
import { tableOf } from '../shared/table/whole.ts';
import { parseOptions } from './options.ts';
import { createPlanner } from './plan.ts';

export function render(
  changes: readonly Change[],
  rawOptions: Readonly<Record<string, unknown>>,
  { nftables }: Printers,
): string {
  const { comments, proxyProtocol } = parseOptions(rawOptions);
  return changes
    .map((change) => {
      const planner = createPlanner({ family: change.family, comments, proxyProtocol });
      // Where it will listen nobody knows before.
      planner.apply(change, undefined);
      return nftables(tableOf(planner));
    })
    .join('\n');
}
