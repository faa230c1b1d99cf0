/** What comes about by itself: looked for again and again, for a limited time. */
import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 250;

/** Rejects if it does not hold within so many seconds. */
export async function until(what: string, holds: () => Promise<boolean>, seconds = 60): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await sleep(PAUSE_MS);
  }
}
