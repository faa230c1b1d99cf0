/** Property tests run one random sequence for each seed; both families and both kinds of tables come in turn. */
import type { IPFamily } from '../../../core/backend.ts';
import { type Random, seeded } from '../model/random.ts';

/** A failure names what makes the sequence again. */
export async function eachSequence(
  count: number,
  run: (random: Random, family: IPFamily, owned: boolean) => Promise<void>,
): Promise<void> {
  for (let seed = 1; seed <= count; seed++) {
    const family = seed % 2 === 0 ? 'IPv4' : 'IPv6';
    const owned = seed % 3 !== 0;
    try {
      await run(seeded(seed), family, owned);
    } catch (error) {
      throw new Error(`seed ${seed}, ${family}, owned ${owned}: ${error instanceof Error ? error.stack : error}`);
    }
  }
}
