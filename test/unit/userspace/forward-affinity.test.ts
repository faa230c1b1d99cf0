/** ClientIP affinity: the table in shared memory, and engines that share it. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type AffinityTable,
  createAffinityMemory,
  openAffinityTable,
} from '../../../plugins/userspace/forward/affinity-table.ts';
import { ask, closedPort, listener, named, service, world } from './forward-world.ts';

const test = suite('forward affinity');
const KEY = service().key;
const cleanups: (() => unknown)[] = [];

test.after.each(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function claim(table: AffinityTable, client: string, endpoint: number, seconds = 10, key = KEY): number {
  let kept = -1;
  table.claim(key, client, seconds, (found) => {
    kept = found;
    return endpoint;
  });
  return kept;
}

test('a client keeps its endpoint until so long after its last new connection', () => {
  let now = 1_000;
  const table = openAffinityTable(createAffinityMemory(100, [1, 2]), () => now);
  assert.is(claim(table, '10.0.0.1', 7), 0);
  now += 99;
  assert.is(claim(table, '10.0.0.1', 7), 7);
  now += 99;
  assert.is(claim(table, '10.0.0.1', 7), 7);
  now += 100;
  assert.is(claim(table, '10.0.0.1', 8), 0);
  assert.is(claim(table, '10.0.0.1', 8), 8);
});

test('clients and service ports are told apart', () => {
  const table = openAffinityTable(createAffinityMemory(1000, [1, 2]), () => 0);
  for (let index = 0; index < 200; index++) claim(table, `10.0.0.${index}`, 1 + index);
  for (let index = 0; index < 200; index++) assert.is(claim(table, `10.0.0.${index}`, 1 + index), 1 + index);
  assert.is(claim(table, '10.0.0.1', 9, 10, 'another'), 0);
});

test('nothing is remembered of a client that got no endpoint', () => {
  const table = openAffinityTable(createAffinityMemory(100, [1, 2]), () => 0);
  assert.is(claim(table, '10.0.0.1', 0), 0);
  assert.is(claim(table, '10.0.0.1', 5), 0);
});

test('an endpoint that failed is forgotten, one that another thread gave meanwhile is not', () => {
  const table = openAffinityTable(createAffinityMemory(100, [1, 2]), () => 0);
  claim(table, '10.0.0.1', 5);
  table.forget(KEY, '10.0.0.1', 6);
  assert.is(claim(table, '10.0.0.1', 5), 5);
  table.forget(KEY, '10.0.0.1', 5);
  assert.is(claim(table, '10.0.0.1', 6), 0);
});

test('a full table forgets those whose time is over first', () => {
  let now = 0;
  // One bucket of five.
  const table = openAffinityTable(createAffinityMemory(1, [1, 2]), () => now);
  for (const [index, seconds] of [50, 20, 30, 40, 60].entries()) claim(table, `10.0.0.${index}`, 1 + index, seconds);
  claim(table, '10.0.1.1', 9, 100);
  assert.is(claim(table, '10.0.0.0', 1, 50), 1, 'stays');
  now = 1;
  assert.is(claim(table, '10.0.0.1', 2, 1), 0, 'has gone');
});

test('a clock that wraps around does no harm', () => {
  let now = 2 ** 31 - 50;
  const table = openAffinityTable(createAffinityMemory(100, [1, 2]), () => now);
  claim(table, '10.0.0.1', 7);
  now += 60;
  assert.is(claim(table, '10.0.0.1', 7), 7);
});

test('what a thread left locked when it was ended stays usable', () => {
  const memory = createAffinityMemory(1, [1, 2]);
  new Int32Array(memory)[16] = 1;
  const table = openAffinityTable(memory, () => 0);
  claim(table, '10.0.0.1', 7);
  assert.is(claim(table, '10.0.0.1', 7), 7);
});

test('a client keeps its endpoint at whichever of two engines it arrives', async () => {
  const affinity = createAffinityMemory(100, [3, 4]);
  const endpoints = [await named('1'), await named('2'), await named('3')];
  let now = 0;
  const randoms = [0.9, 0.4];
  const engines = randoms.map((random) => world({}, { affinity, tenths: () => now, random: () => random }));
  cleanups.push(
    ...engines.map(
      ({ engine }) =>
        () =>
          engine.close(0),
    ),
    ...endpoints.map(({ close }) => close),
  );
  for (const { engine } of engines) {
    engine.update({ upsert: [service({ cluster: endpoints, affinitySeconds: 10 })], listen: { open: [listener()] } });
  }
  const [one, two] = [engines[0]!.port('web'), engines[1]!.port('web')];
  const first = await ask(one);
  assert.equal([await ask(two), await ask(one), await ask(two)], [first, first, first]);
  const other = await ask(two, '127.0.0.1', '127.0.0.2');
  assert.equal([await ask(one, '127.0.0.1', '127.0.0.2'), other === first], [other, false]);

  const left = endpoints.filter((_, index) => String(index + 1) !== first);
  for (const { engine } of engines) engine.update({ upsert: [service({ cluster: left, affinitySeconds: 10 })] });
  const next = await ask(two);
  assert.is.not(next, first);
  assert.equal([await ask(one), await ask(one)], [next, next]);
  now += 100;
  assert.equal([await ask(one), await ask(one)].includes(next), false);
});

test('an endpoint that cannot be reached is no longer kept', async () => {
  const [gone, server] = [await closedPort(), await named('alive')];
  const made = world({}, { random: () => 0 });
  cleanups.push(() => made.engine.close(0), server.close);
  made.engine.update({
    upsert: [service({ cluster: [gone, server], affinitySeconds: 10 })],
    listen: { open: [listener()] },
  });
  assert.is(await ask(made.port('web')), 'alive');
  made.engine.update({ upsert: [service({ cluster: [gone, server], affinitySeconds: 10 })] });
  assert.is(await ask(made.port('web')), 'alive');
  assert.is(made.engine.statistics().services.get(KEY)!.dials, 2);
});

test.run();
