/**
 * Random sequences of changes, partial and full mixed, with threads that end among them: whatever happened before, the
 * table, and what threads know, is what a fresh start with the final state makes.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change } from '../../../core/backend.ts';
import type { Random } from '../model/random.ts';
import { createRandomModel } from '../nftables/random-model.ts';
import { eachSequence } from '../shared/each-sequence.ts';
import { settle } from '../sync/fake-clock.ts';
import { type FakeThread, type Stage, stage } from './stage.ts';

const SEQUENCES = 60;
const CHANGES = 12;
const RESTART_MS = 1_000;
const test = suite('userspace sequences of changes');

function sorted<T>(map: ReadonlyMap<string, T>): readonly (readonly [string, T])[] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
}

function knowledge({ inside, services, frontends, listens }: FakeThread) {
  return { inside, services: sorted(services), frontends: sorted(frontends), listens: sorted(listens) };
}

/** Lines of the table, and of what each thread knows. */
function state({ kernel, threads }: Stage) {
  return { table: kernel.dump().split('\n').sort(), threads: threads.alive.map(knowledge) };
}

async function fresh(whole: Change, way: 'redirect' | 'direct', refuse: Stage['threads']['refuse']): Promise<Stage> {
  const one = stage({ way, families: [whole.family] });
  one.threads.refuse = refuse;
  await one.sync(whole);
  return one;
}

async function endOne(random: Random, one: Stage, whole: () => Change): Promise<void> {
  random.pick(one.threads.alive)?.crash();
  // Told everything at once, or after some more changes.
  if (random.chance(0.5)) await recover(one, whole);
}

/** As the core does it: a full sync that was asked for follows. */
async function recover({ clock, requests, sync }: Stage, whole: () => Change): Promise<void> {
  await clock.advance(RESTART_MS);
  await settle();
  if (requests.splice(0).length === 0) return;
  await sync(whole());
  await clock.advance(RESTART_MS);
  await settle();
}

for (const way of ['redirect', 'direct'] as const) {
  // A place that may not be bound is another one, which may be taken, or not.
  const refuse: Stage['threads']['refuse'] = ({ port }) => (way === 'direct' && port < 1024 ? 'EACCES' : undefined);
  test(`${way}: after every change all is as a fresh start would make it`, async () => {
    let ended = 0;
    await eachSequence(SEQUENCES, async (random, family) => {
      const model = createRandomModel(random, family);
      const one = await fresh(model.whole(), way, refuse);
      for (let step = 0; step < CHANGES; step++) {
        if (random.chance(0.15)) {
          await endOne(random, one, model.whole);
          ended++;
        }
        await one.sync(model.next());
        if (one.threads.alive.length < 2 && random.chance(0.5)) continue;
        if (one.threads.alive.length < 2) await recover(one, model.whole);
        assert.equal(state(one), state(await fresh(model.whole(), way, refuse)), `step ${step}`);
        assert.equal(one.backend.health(), { healthy: true });
      }
      if (one.threads.alive.length < 2) await recover(one, model.whole);
      assert.is((await one.sync(model.whole())).operations, 0, 'said again, it is nothing new');
    });
    assert.ok(ended > SEQUENCES / 2);
  });
}

test.run();
