/** Behaviours of cleanup(): all that is ours, nothing that is not. */
import { type Behaviour, broken, doubtful, sayThrown, untried } from './behaviour.ts';
import { full } from './sample-cluster.ts';
import { difference, eachFamily, type Instance, lookAgain, needsSight, sameLines, synced } from './trial.ts';

async function cleanUp(instance: Instance): Promise<void> {
  try {
    await instance.cleanup();
  } catch (error) {
    throw broken('cleanup() to resolve', `a rejection: ${sayThrown(error)}`);
  }
}

export const CLEANUP_BEHAVIOURS: readonly Behaviour[] = [
  {
    id: 'cleanup',
    needs: ['sync'],
    sentence: 'cleanup() after a sync resolves',
    contract: 'Backend.cleanup(): "Remove everything this backend ever made on this host"',
    remedy: 'remove all that sync() makes, children and files included',
    async try(trial) {
      await cleanUp(await synced(trial, ({ few }) => few));
      return undefined;
    },
  },
  {
    id: 'cleanup-complete',
    needs: ['cleanup'],
    sentence: 'After cleanup() nothing of it is left',
    contract: 'Backend.cleanup(): "Remove everything this backend ever made on this host"',
    remedy: 'remove what every kind of Service needs, sets and chains included',
    async try(trial) {
      needsSight(trial);
      const before = await trial.evidence.look();
      const instance = await trial.open();
      await eachFamily(trial, instance, async ({ every, few }) => {
        await instance.sync(full(every)).catch(() => instance.sync(full(few)));
      });
      await cleanUp(instance);
      // What listens in this process need not stop before close(), whose outcome is for another behaviour to judge.
      await instance.close().catch(() => {});
      const after = await lookAgain(trial, before);
      if (!sameLines(after, before))
        throw broken('the host as it was before the first sync', difference(before, after));
      return undefined;
    },
  },
  {
    id: 'cleanup-twice',
    needs: ['cleanup'],
    sentence: 'cleanup() again, with nothing left to do, resolves',
    contract: 'Backend.cleanup(): "MUST throw if something of ours could not be removed", and only then',
    remedy: 'what is not there need not be removed',
    async try(trial) {
      const instance = await synced(trial, ({ few }) => few);
      await instance.cleanup();
      await cleanUp(instance);
      return undefined;
    },
  },
  {
    id: 'cleanup-fresh',
    needs: ['cleanup'],
    sentence: 'cleanup() without a sync removes what a crashed process left',
    contract: 'Backend.cleanup(): "Works without a prior sync (after a crash, or what another version left)."',
    remedy: 'find what is yours by its name, not by what this process remembers',
    async try(trial) {
      const before = await trial.evidence.look();
      const first = await trial.open();
      await cleanUp(first);
      await first.close().catch(() => {});
      const old = await synced(trial, ({ few }) => few);
      await old.crash();
      await cleanUp(await trial.open());
      if (!trial.facts.visible) return { note: 'only that it resolves: its work does not show in the kernel' };
      const after = await lookAgain(trial, before);
      if (!sameLines(after, before))
        throw broken('the host as it was before the first sync', difference(before, after));
      return undefined;
    },
  },
  {
    id: 'cleanup-without-options',
    needs: ['cleanup'],
    sentence: 'A backend created without options can clean up',
    contract: 'BackendPlugin.create(): "Cleanup passes those it knows, or none."',
    remedy: 'demand options only when sync() is called, or have defaults for all of them',
    async try(trial) {
      if (Object.keys(trial.subject.options).length === 0) return { note: 'none were given in any case' };
      const instance = await trial.open({}).catch((error: unknown) => {
        throw doubtful('create() without options to resolve', sayThrown(error));
      });
      await instance.cleanup().catch((error: unknown) => {
        throw doubtful('cleanup() to resolve', `a rejection: ${sayThrown(error)}`);
      });
      return undefined;
    },
  },
  {
    id: 'foreign',
    needs: ['sync', 'cleanup'],
    sentence: 'What others made is left alone, by sync() and by cleanup()',
    contract: 'Backend.cleanup(): "and nothing else"',
    remedy: 'give what you make names of your own, and touch nothing by any other name',
    async try(trial) {
      if (!(await trial.evidence.plant()))
        throw untried('nothing of somebody else’s could be made here (no nf_tables)');
      const instance = await trial.open();
      for (const [what, act] of [
        ['sync()', () => eachFamily(trial, instance, async ({ few }) => void (await instance.sync(full(few))))],
        ['cleanup()', () => instance.cleanup()],
      ] as const) {
        await act();
        if (!(await trial.evidence.planted()))
          throw broken("somebody else's table of nf_tables as it was", `it changed or went with ${what}`);
      }
      return undefined;
    },
  },
];
