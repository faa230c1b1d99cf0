/** Behaviours of sync(): whatever way leads to a state, the state is what counts. */
import type { Change, SyncReport } from '../../core/backend.ts';
import { freezeChange } from '../../core/daemon/freeze-change.ts';
import { type Behaviour, brief, broken, doubtful, sayThrown, untried } from './behaviour.ts';
import { FILE } from './evidence.ts';
import { EVERY_KIND, full, large, partial, type State, type States } from './sample-cluster.ts';
import {
  eachFamily,
  expectState,
  FROZEN_REMEDY,
  type Instance,
  lookAgain,
  synced,
  type Trial,
  wroteToFrozen,
} from './trial.ts';

/** A full sync of one state, then the change to another; then the other must be there. */
async function changed(trial: Trial, from: (states: States) => State, to: (states: States) => State) {
  const instance = await synced(trial, from);
  await eachFamily(trial, instance, async (states) => void (await instance.sync(partial(from(states), to(states)))));
  return expectState(trial, instance, to);
}

export const SYNC_BEHAVIOURS: readonly Behaviour[] = [
  {
    // The first of them, since others would only meet the same error.
    id: 'input-untouched',
    needs: ['create'],
    sentence: 'sync() leaves the change that it is given as it is',
    contract: 'Conventions: "Data handed to a backend is frozen and may be kept by reference."',
    remedy: FROZEN_REMEDY,
    async try(trial) {
      const instance = await trial.open();
      let note: { readonly note: string } | undefined;
      await eachFamily(trial, instance, async ({ few, moved, fewer }) => {
        for (const change of [full(few), partial(few, moved), partial(moved, fewer), full(few)]) {
          try {
            await trial.within('sync()', () => instance.backend.sync(freezeChange(change)));
          } catch (error) {
            if (wroteToFrozen(error)) throw broken('no attempt to change what is frozen', sayThrown(error));
            note = { note: 'as far as it went' };
            return;
          }
        }
      });
      return note;
    },
  },
  {
    id: 'sync',
    needs: ['create'],
    unless: ['input-untouched'],
    sentence: 'A full sync of a few plain Services resolves',
    contract: 'Backend.sync(): "Make the data plane equal to the state described."',
    remedy: 'apply every service port in `upsert`, for each of `families`',
    async try(trial) {
      const { evidence, facts } = trial;
      const before = await evidence.look();
      const instance = await trial.open();
      const own = (): number => evidence.listening().filter(({ isOwn }) => isOwn).length;
      const listened = own();
      await eachFamily(trial, instance, async ({ few }) => void (await instance.sync(full(few))));
      const after = await evidence.look();
      const differs = [
        ...after.filter((line) => !before.includes(line)),
        ...before.filter((line) => !after.includes(line)),
      ];
      facts.visible = differs.length > 0;
      facts.inTheWay = differs.some((line) => !line.startsWith(FILE));
      facts.listens = own() > listened;
      return undefined;
    },
  },
  {
    id: 'sync-nothing',
    needs: ['sync'],
    sentence: 'A full sync of nothing resolves',
    contract: 'Change.full: "`upsert` is everything that must exist", which may be nothing',
    remedy: 'a cluster without Services is a state like any other',
    async try(trial) {
      await synced(trial, ({ empty }) => empty);
      return undefined;
    },
  },
  {
    id: 'sync-report',
    needs: ['sync'],
    sentence: 'sync() resolves to a report of numbers',
    contract: 'SyncReport: operations, bytes, totals?',
    remedy: 'return { operations: 12, bytes: 3400 }: what was written; 0 if nothing had to be',
    async try(trial) {
      const instance = await trial.open();
      await eachFamily(trial, instance, async ({ few, moved }) => {
        checkReport(await instance.sync(full(few)));
        checkReport(await instance.sync(partial(few, moved)));
      });
      return undefined;
    },
  },
  {
    id: 'every-kind',
    needs: ['sync'],
    sentence: 'A full sync of every kind of Service resolves',
    contract: 'ServicePort: protocols, destinations, policies, source ranges, affinity, endpoints or none',
    remedy: 'what the data plane cannot do must not keep it from doing the rest: log a warning and go on',
    async try(trial) {
      const instance = await trial.open();
      let count = 0;
      await eachFamily(trial, instance, async ({ every }) => {
        count = Math.max(count, every.ports.length);
        try {
          await instance.sync(full(every));
        } catch (error) {
          throw broken('all of them to be applied', (await guilty(trial, every)) ?? sayThrown(error));
        }
      });
      return { note: `${count} service ports in ${EVERY_KIND.titles.size} Services` };
    },
  },
  {
    id: 'same-again',
    needs: ['sync'],
    sentence: 'The same full sync again resolves',
    contract: 'Backend.sync(): a full sync comes every hour, and after whatever went wrong',
    remedy: 'what is there already is no error',
    async try(trial) {
      const instance = await trial.open();
      let again = 0;
      await eachFamily(trial, instance, async ({ few }) => {
        await instance.sync(full(few));
        again += (await instance.sync(full(few)))?.operations ?? 0;
      });
      trial.facts.again = again;
      trial.facts.quiet = again === 0;
      await learnDumps(trial, instance);
      return undefined;
    },
  },
  {
    id: 'quiet',
    needs: ['same-again'],
    sentence: 'A full sync of a state that is there already reports 0 operations',
    contract: 'SyncReport.operations: "0: the data plane was right already"',
    remedy: 'compare with what is there and write the difference only',
    async try({ facts }) {
      if (facts.again !== 0) throw doubtful('0 operations the second time', `${facts.again} operations`);
      return undefined;
    },
  },
  {
    id: 'new-service',
    needs: ['same-again'],
    sentence: 'A partial change that brings a Service leads to the same as a full one',
    contract: 'Change: "Otherwise only what changed", each new service port whole',
    remedy: 'keep what was there and add what is in `upsert`',
    try: (trial) =>
      changed(
        trial,
        ({ few }) => few,
        ({ more }) => more,
      ),
  },
  {
    id: 'changed-endpoints',
    needs: ['same-again'],
    sentence: 'A partial change of endpoints leads to the same as a full one',
    contract: 'Change.upsert: "holds each new or changed service port whole"',
    remedy: 'a key in `upsert` that exists is replaced by what comes',
    try: (trial) =>
      changed(
        trial,
        ({ few }) => few,
        ({ moved }) => moved,
      ),
  },
  {
    id: 'removed-service',
    needs: ['same-again'],
    sentence: 'A partial change that removes a Service leads to the same as a full one',
    contract: 'Change.remove: "the keys that are gone"',
    remedy: 'take away all that serves a key in `remove`',
    try: (trial) =>
      changed(
        trial,
        ({ few }) => few,
        ({ fewer }) => fewer,
      ),
  },
  {
    id: 'changed-node',
    needs: ['same-again'],
    sentence: 'A partial change of nothing but the node leads to the same as a full one',
    contract: 'Change.node: "may differ from the last one in both cases"',
    remedy: 'compare `change.node` with the last one, also when `upsert` and `remove` are empty',
    try: (trial) =>
      changed(
        trial,
        ({ few }) => few,
        ({ grown }) => grown,
      ),
  },
  {
    id: 'full-after-partial',
    needs: ['same-again'],
    sentence: 'A full change after partial ones leaves nothing but what it holds',
    contract: 'Change.full: "anything else of ours must go"',
    remedy: 'when `change.full` is true, forget what was there before and remove what is not in `upsert`',
    async try(trial) {
      const instance = await synced(trial, ({ few }) => few);
      await eachFamily(trial, instance, async ({ few, more, others }) => {
        await instance.sync(partial(few, more));
        await instance.sync(full(others));
      });
      return expectState(trial, instance, ({ others }) => others);
    },
  },
  {
    id: 'crash',
    needs: ['same-again'],
    sentence: 'After a crash a new instance takes over what the old one left',
    contract: 'Change.full: "anything else of ours must go", whoever left it',
    remedy: 'a new process knows nothing of the old one: look at what is there, or replace it whole',
    async try(trial) {
      await synced(trial, ({ others }) => others);
      const expected = await trial.evidence.look();
      await trial.tidy();
      const old = await synced(trial, ({ few }) => few);
      await old.crash();
      const instance = await trial.open();
      await eachFamily(trial, instance, async ({ others }) => void (await instance.sync(full(others))));
      const left = await lookAgain(trial, expected);
      const note = await expectState(trial, instance, ({ others }) => others);
      const wanted = expected.length;
      const more = left.length - wanted;
      if (trial.facts.visible && more > 0) {
        const which = left.filter((line) => !expected.includes(line)).slice(0, 3);
        throw broken(
          `what a new host would have (${wanted} objects in the kernel)`,
          `${more} more: ${which.join('; ')}`,
        );
      }
      return note;
    },
  },
  {
    id: 'restart-quiet',
    needs: ['crash', 'quiet'],
    sentence: 'A restart with the right state in place writes nothing',
    contract: 'SyncReport.operations: "0: the data plane was right already"',
    remedy: 'in a full sync compare with what the data plane has, not with what this process remembers',
    async try(trial) {
      if (trial.subject.plugin.leavesHostAlone) throw untried('it programs nothing of this host (leavesHostAlone)');
      if (trial.facts.listens) throw untried('its listeners are in the process, and none is in place after a restart');
      const old = await synced(trial, ({ few }) => few);
      await old.crash();
      const instance = await trial.open();
      await eachFamily(trial, instance, async ({ family, few }) => {
        const { operations } = await instance.sync(full(few));
        if (operations !== 0) throw doubtful('0 operations', `${operations} operations in ${family}`);
      });
      return undefined;
    },
  },
  {
    id: 'families-overlap',
    needs: ['changed-endpoints'],
    sentence: 'Syncs of the two families at the same time do not disturb each other',
    contract: 'Backend.sync(): "calls for the two families may overlap"',
    remedy: 'keep the state of each family apart, and share nothing between a call and the next across an await',
    async try(trial) {
      const instance = await trial.open();
      if (instance.families.length < 2) throw untried('it serves one family only');
      for (const pick of [({ few }: States) => full(few), ({ few, moved }: States) => partial(few, moved)]) {
        await Promise.all(instance.families.map((family) => instance.sync(pick(trial.states(family)))));
      }
      return expectState(trial, instance, ({ moved }) => moved);
    },
  },
  {
    id: 'large',
    needs: ['sync'],
    sentence: 'Many Services are programmed, and one of them changes',
    contract: 'Backend.sync(): "A call that takes over five minutes counts as failed"',
    remedy: 'do work for what changed, not for all that is there',
    async try(trial) {
      const instance = await trial.open();
      const [family] = instance.families;
      const { limits, addresses } = trial.subject;
      const [all, next] = large(family!, limits.manyServices, addresses);
      const timed = async (change: Change): Promise<string> => {
        const begin = performance.now();
        await instance.sync(change);
        return `${(performance.now() - begin).toFixed(1)} ms`;
      };
      return {
        note: `${limits.manyServices} Services ${await timed(full(all))}, one changed ${await timed(partial(all, next))}`,
      };
    },
  },
];

function checkReport(report: SyncReport | undefined): void {
  if (typeof report !== 'object' || report === null) throw broken('{ operations, bytes, totals? }', brief(report));
  for (const field of ['operations', 'bytes'] as const) {
    const value: unknown = report[field];
    if (typeof value === 'number' && Number.isFinite(value) && value >= 0) continue;
    throw broken(`${field}: a number from 0 on`, brief(value));
  }
  const totals: unknown = report.totals;
  if (totals === undefined) return;
  const isRecord = typeof totals === 'object' && totals !== null;
  if (!isRecord || !Object.values(totals).every((value) => typeof value === 'number' && Number.isFinite(value))) {
    throw broken('totals: a number by name', brief(totals));
  }
}

/** Which of the Services is too much for it, each tried alone. */
async function guilty(trial: Trial, every: State): Promise<string | undefined> {
  const found: string[] = [];
  let reason = '';
  for (const port of every.ports) {
    await trial.tidy();
    const instance = await trial.open();
    try {
      await instance.sync(full({ ...every, ports: [port] }));
    } catch (error) {
      reason ||= sayThrown(error);
      const title = EVERY_KIND.titles.get(`${port.namespace}/${port.name}`) ?? port.key;
      if (!found.includes(title)) found.push(title);
    }
  }
  return found.length === 0 ? undefined : `a rejection for ${found.join('; ')} (${every.family}): ${reason}`;
}

/** Does dump() say the same of the same state, and another thing of another? Then states can be compared by it. */
async function learnDumps(trial: Trial, instance: Instance): Promise<void> {
  const first = await instance.dump();
  if (first === undefined) return;
  await trial.tidy();
  const second = await synced(trial, ({ few }) => few);
  const same = (await second.dump()) === first;
  await eachFamily(trial, second, async ({ others }) => void (await second.sync(full(others))));
  trial.facts.dumps = same && (await second.dump()) !== first;
}
