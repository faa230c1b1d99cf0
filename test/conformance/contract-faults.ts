/** Behaviours of sync() when its work cannot be done. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Change } from '../../core/backend.ts';
import { freezeChange } from '../../core/daemon/freeze-change.ts';
import { type Behaviour, broken, untried } from './behaviour.ts';
import { full, type States } from './sample-cluster.ts';
import { expectState, type Instance, synced, type Trial } from './trial.ts';
import type { Fault } from './watched-host.ts';

/** Faults that matter to a backend which does this through its Host. */
function faultsFor({ watched: { calls } }: Instance): readonly Fault[] {
  const faults: Fault[] = [];
  if (calls.exec + calls.netlink + calls.write > 0) faults.push('everything');
  if (calls.exec > 0) faults.push('not started');
  if (calls.execWithInput + calls.commit + calls.write > 0) faults.push('writes');
  return faults;
}

const PAUSE_MS = 100;

const WHAT: Readonly<Record<Fault, string>> = {
  none: '',
  everything: 'programs ended with status 1 and kernel interfaces refused',
  'not started': 'no program could be started and kernel interfaces refused',
  writes: 'programs that got input ended with status 1, and commits and lines to programs that run were refused',
};

/** In one family: what follows a fault may take its time, which is for another behaviour. Resolves to the faults that took effect. */
async function tryFault(trial: Trial, instance: Instance, { few, others }: States, fault: Fault): Promise<number> {
  const { watched } = instance;
  await instance.sync(full(few));
  watched.fail(fault);
  let resolved = false;
  try {
    await trial.within('sync()', () => instance.backend.sync(freezeChange(full(others))));
    resolved = true;
  } catch {
    // As it should.
  }
  const { faults } = watched;
  watched.fail('none');
  if (resolved && faults > 0) throw broken('sync() to reject', `it resolved although ${WHAT[fault]}`);
  return faults;
}

/** As the core does: again and again, with pauses. */
async function syncAgain(trial: Trial, instance: Instance, change: Change): Promise<void> {
  const end = performance.now() + trial.subject.limits.recoverMs;
  for (;;) {
    try {
      await instance.sync(change);
      return;
    } catch (error) {
      if (performance.now() > end) throw error;
      await sleep(PAUSE_MS);
    }
  }
}

export const FAULT_BEHAVIOURS: readonly Behaviour[] = [
  {
    id: 'sync-rejects',
    needs: ['same-again'],
    sentence: 'sync() rejects when its work could not be done',
    contract: 'Backend.sync(): "MUST throw when any part was not applied"',
    remedy:
      'look at `status` of every Host.exec, await every promise, and let errors of Host.netlink and Child.write through',
    async try(trial) {
      const instance = await synced(trial, ({ few }) => few);
      const faults = faultsFor(instance);
      if (faults.length === 0) throw untried('it does its work without its Host, which alone can be made to fail here');
      let hit = 0;
      for (const fault of faults) {
        for (const family of instance.families) {
          await trial.tidy();
          hit += await tryFault(trial, await trial.open(), trial.states(family), fault);
        }
      }
      if (hit === 0) throw untried('a change of all Services did nothing through its Host');
      return undefined;
    },
  },
  {
    id: 'recovers',
    needs: ['sync-rejects'],
    sentence: 'After a sync that failed, the next full one makes everything right',
    contract: 'Backend.sync(): "the core reports it, retries, and makes the next change of this family full"',
    remedy: 'do not trust what you remember after a failure: compare with what is there',
    async try(trial) {
      const faults = faultsFor(await synced(trial, ({ few }) => few));
      let note: { readonly note: string } | undefined;
      for (const fault of faults) {
        await trial.tidy();
        const instance = await trial.open();
        await tryFault(trial, instance, trial.states(instance.families[0]!), fault);
        for (const family of instance.families) await syncAgain(trial, instance, full(trial.states(family).more));
        note = await expectState(trial, instance, ({ more }) => more);
      }
      return note;
    },
  },
];
