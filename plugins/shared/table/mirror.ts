/**
 * What the kernel's table holds, as text that can be compared: read at the start, after a failure and when someone
 * else may have changed it, never for a change.
 */
import type { Nftables, NftFamily, NftSet } from '../../../core/backend.ts';
import { dataText, keyText, type TableLayout } from './layout.ts';

/**
 * Set → key → data, both as text. Without sets that packets fill, and without those that were not read because filling
 * them anew takes less time.
 */
export type Mirror<S extends string> = ReadonlyMap<S, Map<string, string>>;

/**
 * The kernel begins each portion of a listing at the set's first element, so that the time grows with the square:
 * 110,000 elements take 0.23 s, 1,100,000 take 38 s. Filling that many takes 2 s.
 */
export const MOST_LISTED = 250_000;

const MOST_TRIES = 20;
const RETRY_MS = 25;

/** `expected`: about how many elements each set has. */
export async function readMirror<S extends string>(
  nftables: Nftables,
  layout: TableLayout<S>,
  expected: ReadonlyMap<S, number>,
): Promise<Mirror<S>> {
  const mirror = new Map<S, Map<string, string>>();
  for (const name of layout.setNames) {
    if (layout.filledByPackets.includes(name) || (expected.get(name) ?? 0) > MOST_LISTED) continue;
    mirror.set(name, await readSet(nftables, layout.table, layout.name, layout.sets[name]));
  }
  return mirror;
}

/**
 * While a set that was just filled is being rearranged, a listing repeats some elements and lacks as many others. It
 * always has as many as there are, so that one without repetitions is whole.
 */
async function readSet(
  nftables: Nftables,
  family: NftFamily,
  table: string,
  set: NftSet,
): Promise<Map<string, string>> {
  for (let tries = 1; ; tries++) {
    const elements = new Map<string, string>();
    let listed = 0;
    await nftables.elements(family, table, set, (element) => {
      listed++;
      elements.set(keyText(element), dataText(element));
    });
    if (elements.size === listed) return elements;
    if (tries === MOST_TRIES) throw new Error(`set ${set.name} of table ${family} ${table} changes while it is listed`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
