/**
 * Deleting what rules referred to a moment ago (IP sets, counters): nf_tables drops its reference some time after the
 * commit that removed the rule, and until then the kernel calls it busy.
 */
import type { Host } from '../../core/backend.ts';

const LIMIT_MS = 3000;
const PAUSE_MS = 20;

/** One that stays in use does not keep the others from being destroyed; its fault is thrown in the end. */
export async function destroyEventually(
  host: Host,
  names: readonly string[],
  destroy: (name: string) => void,
): Promise<void> {
  const deadline = host.clock.now() + LIMIT_MS;
  let left = names;
  for (;;) {
    const faults: unknown[] = [];
    left = left.filter((name) => {
      try {
        destroy(name);
        return false;
      } catch (error) {
        faults.push(error);
        return true;
      }
    });
    if (left.length === 0) return;
    if (host.clock.now() > deadline) throw faults[0];
    await new Promise<void>((resolve) => {
      host.clock.after(PAUSE_MS, resolve);
    });
  }
}
