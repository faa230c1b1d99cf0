/** Which of the schedulers that Services need this kernel has, found by trying each once. */
import type { Change, IPFamily, IPVS } from '../../core/backend.ts';
import { HASHES, type Scheduler, schedulersFor } from './balance.ts';
import { needsMark } from './frontends.ts';

export interface Schedulers {
  /** Tries those that the change asks for and that are unknown; with a full change those that were missing, too. */
  learn(change: Change): Promise<void>;
  /** Why there is no such scheduler; undefined if there is, or if nobody tried. */
  lack(name: string): string | undefined;
}

/** `usual`: of Services that ask for none. */
export function createSchedulers(ipvs: Pick<IPVS, 'probe'>, usual: Scheduler): Schedulers {
  /** Why it is missing; undefined: it is there. */
  const known = new Map<string, string | undefined>();

  async function attempt(family: IPFamily, name: string): Promise<void> {
    try {
      await ipvs.probe(family, name);
      known.set(name, undefined);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'KP_NETLINK_UNSUPPORTED')) throw error;
      known.set(name, error.message);
    }
  }

  return {
    async learn({ family, full, upsert }) {
      const asked = new Set<string>();
      for (const port of upsert) {
        for (const name of schedulersFor(port, usual)) asked.add(name);
        if (port.affinitySeconds > 0 && needsMark(port)) for (const hash of HASHES) asked.add(hash);
      }
      for (const name of asked) {
        const isKnown = known.has(name) && !(full && known.get(name) !== undefined);
        if (!isKnown) await attempt(family, name);
      }
    },
    lack: (name) => known.get(name),
  };
}
