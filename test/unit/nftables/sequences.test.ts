/**
 * Random sequences of changes, partial and full mixed, with restarts, failures and vandals among them: whatever
 * happened before, the table means what a fresh one for the final state means.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change, IPFamily, NftOperation, NftTable } from '../../../core/backend.ts';
import { createFakeState, type FakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { TABLE } from '../../../plugins/nftables/layout.ts';
import { createPlanner } from '../../../plugins/nftables/plan.ts';
import { tableOf } from '../../../plugins/shared/table/whole.ts';
import type { Random } from '../model/random.ts';
import { eachSequence } from '../shared/each-sequence.ts';
import { checkClasses, type Meaning, meaningOf } from './meaning.ts';
import { createRandomModel } from './random-model.ts';
import { type Stage, stage } from './stage.ts';

const SEQUENCES = 120;
const CHANGES = 14;
const test = suite('nftables sequences of changes');

function freshTable(whole: Change): NftTable {
  const planner = createPlanner({ family: whole.family, comments: true });
  planner.adopt(whole, undefined);
  return tableOf(planner);
}

function tableIn({ kernel }: Stage, family: IPFamily): NftTable {
  const table = kernel.table(family === 'IPv4' ? 'ip' : 'ip6', TABLE);
  assert.ok(table, 'there is a table');
  return table!;
}

/** `spare`: classes that nobody uses any more may have kept their chains. */
function assertMeaning(actual: Meaning, wanted: Meaning, spare: boolean): void {
  for (const [set, rows] of Object.entries(wanted.sets)) assert.equal(actual.sets[set], rows, set);
  const verdicts = spare ? actual.verdicts.filter((row) => wanted.verdicts.includes(row)) : actual.verdicts;
  assert.equal(verdicts, wanted.verdicts);
  for (const [name, chain] of wanted.chains) assert.is(actual.chains.get(name), chain, `chain ${name}`);
  if (!spare) assert.equal([...actual.chains.keys()].sort(), [...wanted.chains.keys()].sort());
}

/** Deletes or adds something; says what. */
async function vandalise(random: Random, { commit }: FakeNftables, table: NftTable): Promise<string> {
  const { family, name } = table;
  const sets = table.sets.filter((set) => set.data !== 'verdict');
  const full = sets.filter((set) => [...set.elements].length > 0);
  const set = random.pick(full.length > 0 ? full : sets);
  const elements = [...set.elements];
  const chain = random.pick(table.chains);
  const operations: readonly NftOperation[] = random.pick<readonly NftOperation[]>([
    elements.length > 0 ? [{ do: 'delete elements', set, elements: [random.pick(elements)] }] : [],
    [{ do: 'flush set', set }],
    [{ do: 'flush chain', chain: chain.name }],
    [{ do: 'add rule', chain: chain.name, rule: { statements: [{ counter: true }] } }],
    [{ do: 'add chain', chain: { name: 'foreign' } }],
    [
      { do: 'add chain', chain: { name: 'foreign' } },
      { do: 'add rule', chain: 'foreign', rule: { statements: [{ verdict: 'jump', chain: 'services' }] } },
      { do: 'add rule', chain: chain.name, rule: { statements: [{ counter: true }] } },
    ],
    [{ do: 'add set', set: { name: 'foreign', key: ['mark'] } }],
    [{ do: 'delete table' }],
  ]);
  await commit({ family, table: name, operations });
  return operations.map((step) => JSON.stringify(step)).join();
}

test('after every change the table means what a fresh one would', async () => {
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const model = createRandomModel(random, family);
    const one = stage({ owned });
    let swept = true;
    await one.sync(model.whole());
    for (let step = 0; step < CHANGES; step++) {
      const change = model.next();
      await one.sync(change);
      swept = change.full;
      assertMeaning(meaningOf(tableIn(one, family)), meaningOf(freshTable(model.whole())), !swept);
    }
    await one.sync(model.whole());
    assertMeaning(meaningOf(tableIn(one, family)), meaningOf(freshTable(model.whole())), false);
    assert.equal((await one.sync(model.whole())).operations, 0, 'said again, it is nothing new');
    assert.equal(await one.backend.check(family), { intact: true });
  });
});

test('every single commit leaves a table in which each class has its chain and all of its endpoints', async () => {
  let commits = 0;
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const model = createRandomModel(random, family);
    const one = stage({ owned });
    const nftables = one.host.netlink.nftables();
    const { commit } = one.kernel;
    let live = false;
    Object.assign(nftables, {
      async commit(transaction: Parameters<typeof commit>[0]) {
        const done = await commit(transaction);
        const table = one.kernel.table(transaction.family, TABLE);
        live ||= table?.chains.some(({ hook }) => hook !== undefined) ?? false;
        if (live) checkClasses(table!);
        commits++;
        return done;
      },
    });
    await one.sync(model.whole());
    for (let step = 0; step < CHANGES; step++) await one.sync(model.next());
  });
  assert.ok(commits > SEQUENCES * CHANGES);
});

test('a restart at any time takes over what there is and writes only what changed meanwhile', async () => {
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    // Who of two that name one address had which number before, nothing tells.
    const contests = random.chance(0.3);
    const model = createRandomModel(random, family, { contests });
    const state = createFakeState();
    let one = stage({ owned }, state);
    await one.sync(model.whole());
    for (let round = 0; round < 4; round++) {
      for (let step = random.below(3); step > 0; step--) await one.sync(model.next());
      // Sweeps what nobody uses any more, so that nothing is left to do.
      await one.sync(model.whole());
      const before = one.kernel.dump();
      one.kernel.close();
      one = stage({ owned }, state);
      const { operations } = await one.sync(model.whole());
      if (!contests) assert.is(operations, 0, 'an unchanged model');
      if (!contests) assert.is(one.kernel.dump(), before);
      assertMeaning(meaningOf(tableIn(one, family)), meaningOf(freshTable(model.whole())), false);
      one.kernel.close();
      one = stage({ owned }, state);
      for (let step = random.below(3); step > 0; step--) model.next();
      await one.sync(model.whole());
      assertMeaning(meaningOf(tableIn(one, family)), meaningOf(freshTable(model.whole())), false);
    }
  });
});

const FAULTS = [
  { code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' },
  { code: 'KP_NETLINK_REFUSED', errno: 'EPERM', text: 'operation not permitted' },
  { code: 'KP_NETLINK_REFUSED', errno: 'ENOMEM', text: 'out of memory' },
] as const;

test('a commit that fails, or seems to, is made good by the next full sync', async () => {
  let failures = 0;
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const model = createRandomModel(random, family);
    const one = stage({ owned });
    if (random.chance(0.7)) await one.sync(model.whole());
    for (let step = 0; step < CHANGES; step++) {
      const change = random.chance(0.2) ? model.whole() : model.next();
      const fault = random.pick(FAULTS);
      // An error number of the kernel's means that nothing happened.
      const when = fault.code === 'KP_NETLINK_OVERRUN' && random.chance(0.5) ? 'after' : 'before';
      let left = random.below(3);
      const { commit } = one.host.netlink.nftables();
      let failed = false;
      const failing = async (transaction: Parameters<typeof commit>[0]) => {
        if (left-- === 0) one.kernel.failNext(fault, when);
        return one.kernel.commit(transaction);
      };
      Object.assign(one.host.netlink.nftables(), { commit: failing });
      try {
        // A partial change may only follow a sync that succeeded.
        await one.sync(step === 0 ? model.whole() : change);
      } catch (error) {
        assert.match((error as Error).message, fault.text);
        failed = true;
      }
      Object.assign(one.host.netlink.nftables(), { commit });
      if (!failed) continue;
      failures++;
      assert.is((await one.backend.check(family)).intact, false);
      for (let attempt = 0; ; attempt++) {
        try {
          await one.sync(model.whole());
          break;
        } catch (error) {
          // What did not come to pass before now fails this.
          assert.ok(attempt < 2, (error as Error).message);
        }
      }
      assertMeaning(meaningOf(tableIn(one, family)), meaningOf(freshTable(model.whole())), false);
      assert.equal(await one.backend.check(family), { intact: true });
    }
    await one.sync(model.whole());
    assertMeaning(meaningOf(tableIn(one, family)), meaningOf(freshTable(model.whole())), false);
  });
  assert.ok(failures > SEQUENCES, String(failures));
});

test('without ownership, whatever somebody else did to the table, a check notices and a full sync mends', async () => {
  await eachSequence(SEQUENCES, async (random, family) => {
    const model = createRandomModel(random, family);
    const state = createFakeState();
    const one = stage({ owned: false }, state);
    for (let step = 0; step < 5; step++) model.next();
    await one.sync(model.whole());
    const vandal = stage({ owned: false }, state).kernel;
    for (let step = 0; step < 4; step++) {
      // Without a sweep some classes are kept, which is not a difference.
      if (random.chance(0.5)) await one.sync(model.next());
      const before = one.kernel.dump();
      const damage = await vandalise(random, vandal, tableIn(one, family));
      const changed = one.kernel.dump() !== before;
      const answer = await one.backend.check(family);
      assert.is(answer.intact, !changed, `${damage}: ${JSON.stringify(answer)}`);
      await one.sync(model.whole());
      assertMeaning(meaningOf(tableIn(one, family)), meaningOf(freshTable(model.whole())), false);
      assert.equal(await one.backend.check(family), { intact: true });
    }
  });
});

test.run();
