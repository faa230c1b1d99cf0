/** The threads that forward, all told the same, and started again when they end. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCounters, statisticsOf } from '../../../plugins/userspace/forward/counters.ts';
import type { ListenSpec } from '../../../plugins/userspace/forward/messages.ts';
import { openOccupancy } from '../../../plugins/userspace/forward/occupancy.ts';
import { createPool, type Pool } from '../../../plugins/userspace/pool.ts';
import { createStatistics } from '../../../plugins/userspace/statistics.ts';
import { type FakeClock, fakeClock, settle } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';
import { LIMITS, service } from './forward-world.ts';
import { fakeThreads, NO_STATISTICS, type Threads } from './stage.ts';

const test = suite('userspace pool');
const WEB = service({ key: 'IPv4 web' });
const SECOND = 1_000;

function spec(id: string, port = 80): ListenSpec {
  return { id, protocol: 'TCP', ip: '127.0.0.1', port, shared: true, serves: undefined, clients: 'inside' };
}

interface Stand {
  readonly pool: Pool;
  readonly threads: Threads;
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly lost: readonly string[];
}

function open(count = 2, threads = fakeThreads()): Stand {
  const clock = fakeClock();
  const log = fakeLog();
  const lost: string[] = [];
  const pool = createPool({
    statistics: createStatistics(),
    host: { thread: threads.start, clock, log },
    module: new URL('file:///worker.js'),
    count,
    data: { limits: LIMITS, affinity: undefined },
    snapshot: () => ({ inside: ['10.0.0.0/8'], upsert: [WEB] }),
    onLost: (reason) => void lost.push(reason),
  });
  return { pool, threads, clock, log, lost };
}

test('every thread is told, and has applied it when that resolves', async () => {
  const { pool, threads } = open(3);
  await pool.tell({ upsert: [WEB] });
  assert.equal(
    threads.all.map(({ services }) => [...services.keys()]),
    [['IPv4 web'], ['IPv4 web'], ['IPv4 web']],
  );
  assert.is(pool.fault(), undefined);
});

test('what cannot be listened on is told by id, once for all threads, and tried again when it is asked for', async () => {
  const { pool, threads } = open();
  threads.refuse = ({ port }) => (port === 81 ? 'EADDRINUSE' : undefined);
  const faults = await pool.listen({ open: [spec('a'), spec('b', 81)] });
  assert.equal(
    [...faults].map(([id, { code }]) => [id, code]),
    [['b', 'EADDRINUSE']],
  );
  assert.is((await pool.listen({ open: [spec('c', 82)] })).size, 0, 'of what was asked for');
  assert.is((await pool.listen({ open: [spec('b', 81)] })).size, 1);
  threads.refuse = () => undefined;
  assert.is((await pool.listen({ open: [spec('b', 81)] })).size, 0);
  const tries = ['open a, open b', 'open c', 'open b', 'open b'];
  assert.equal(
    threads.all.map(({ listens, told }) => [[...listens.keys()], told]),
    [
      [['a', 'c', 'b'], tries],
      [['a', 'c', 'b'], tries],
    ],
  );
});

test('updates that come at the same time are applied one after the other, and each hears of its own', async () => {
  const { pool, threads } = open();
  threads.refuse = ({ port }) => (port === 81 ? 'EACCES' : undefined);
  const [first, second] = await Promise.all([
    pool.listen({ open: [spec('a', 81)] }),
    pool.listen({ open: [spec('a', 82), spec('b')] }),
  ]);
  assert.equal([first.size, second.size], [1, 0]);
  assert.equal(
    threads.all.map(({ listens }) => [...listens.values()].map(({ id, port }) => `${id} ${port}`)),
    [
      ['a 82', 'b 80'],
      ['a 82', 'b 80'],
    ],
  );
});

test('a listener with other contents is another one, although its id stays', async () => {
  const { pool, threads } = open(1);
  await pool.listen({ open: [spec('a', 80)] });
  threads.refuse = () => 'EACCES';
  assert.is((await pool.listen({ open: [spec('a', 81)] })).get('a')?.code, 'EACCES');
});

test('a thread is told what changes, and one that begins all that there is by then', async () => {
  const { pool, threads, clock } = open(1);
  await pool.listen({ open: [spec('a'), spec('b', 81), spec('c', 82)] });
  await pool.listen({ open: [spec('d', 81)], close: ['b'] });
  await pool.listen({ open: [spec('c', 83)] });
  await pool.listen({ close: ['a', 'unknown'] });
  const changes = ['open a, open b, open c', 'close b, open d', 'open c', 'close a, close unknown'];
  assert.equal(threads.all[0]!.told, changes);
  threads.all[0]!.crash();
  await clock.advance(SECOND);
  await settle();
  const fresh = threads.all[1]!;
  assert.equal(fresh.told, ['+IPv4 web', 'open c, open d']);
  assert.equal(
    [...fresh.listens].map(([id, { port }]) => [id, port]),
    [
      ['c', 83],
      ['d', 81],
    ],
  );
});

test('what a thread could not have before it ended is no fault of what is asked for after', async () => {
  const { pool, threads } = open();
  threads.refuse = () => 'EACCES';
  await pool.listen({ open: [spec('a')] });
  threads.all[0]!.crash();
  threads.refuse = () => undefined;
  assert.is((await pool.listen({ open: [spec('a')] })).size, 0);
});

test('a thread that ends is started again after a second, and told everything', async () => {
  const { pool, threads, clock, log } = open();
  await pool.listen({ open: [spec('a')] });
  threads.all[0]!.crash();
  assert.match(pool.fault()!, /ended by an error: test/);
  assert.is(log.at('error').length, 1);
  // The other one goes on, and nobody waits for the one that has ended.
  await pool.tell({ upsert: [WEB] });
  assert.is((await pool.listen({ open: [spec('a'), spec('b')] })).size, 0);
  assert.is(threads.alive.length, 1);
  await clock.advance(SECOND - 1);
  assert.is(threads.all.length, 2);
  await clock.advance(1);
  await settle();
  const fresh = threads.all[2]!;
  assert.equal([...fresh.services.keys()], ['IPv4 web']);
  assert.equal(fresh.inside, ['10.0.0.0/8']);
  assert.equal([...fresh.listens.keys()], ['a', 'b']);
  assert.is(pool.fault(), undefined);
  await pool.tell({ remove: ['IPv4 web'] });
  assert.is(fresh.services.size, 0);
});

test('a thread that ends while it is asked holds nobody up', async () => {
  const { pool, threads } = open(1);
  const asked = [pool.tell({ upsert: [WEB] }), pool.listen({ open: [spec('a')] }), pool.statistics()];
  threads.all[0]!.crash();
  await Promise.all(asked);
  assert.is((await pool.statistics()).size, 0);
});

test('a thread that ends again and again is started once a second', async () => {
  const { pool, threads, clock } = open(1);
  for (let round = 0; round < 5; round++) {
    threads.all.at(-1)!.crash();
    await clock.advance(SECOND);
  }
  assert.is(threads.all.length, 6);
  await settle();
  assert.is(pool.fault(), undefined);
});

test('one that cannot be started is tried again', async () => {
  const { pool, threads, clock, log } = open(1);
  threads.all[0]!.crash();
  threads.failure = new Error('no memory');
  await clock.advance(SECOND);
  assert.is(threads.alive.length, 0);
  assert.is(log.at('error').at(-1)?.message, 'A thread could not be started again');
  assert.match(pool.fault()!, /ended/);
  await clock.advance(SECOND);
  await settle();
  assert.is(threads.alive.length, 1);
  assert.is(pool.fault(), undefined);
});

test('a fresh thread that cannot listen where the others do is a fault until it can', async () => {
  const { pool, threads, clock, lost } = open();
  threads.refuse = ({ id }) => (id === 'never' ? 'EACCES' : undefined);
  await pool.listen({ open: [spec('a'), spec('never', 81)] });
  threads.all[0]!.crash();
  threads.refuse = ({ id }) => (id === 'never' ? 'EACCES' : 'EADDRINUSE');
  await clock.advance(SECOND);
  await settle();
  assert.match(pool.fault()!, /cannot listen: 127\.0\.0\.1 port 80: EADDRINUSE/);
  assert.equal(lost, ['a thread that was started again cannot listen']);
  threads.refuse = ({ id }) => (id === 'never' ? 'EACCES' : undefined);
  await clock.advance(SECOND);
  await settle();
  assert.is(pool.fault(), undefined, 'what nobody could have is no fault of this one');
  assert.equal([...threads.all[2]!.listens.keys()], ['a']);
});

test('what could not be had once, and then was, is a fault of a fresh thread that cannot have it', async () => {
  const { pool, threads, clock } = open();
  threads.refuse = () => 'EADDRINUSE';
  await pool.listen({ open: [spec('a')] });
  threads.refuse = () => undefined;
  await pool.listen({ open: [spec('a')] });
  threads.refuse = () => 'EADDRINUSE';
  threads.all[0]!.crash();
  await clock.advance(SECOND);
  assert.match(pool.fault()!, /cannot listen/);
});

test('what a fresh thread cannot have is tried alone, until it has it or nobody wants it any more', async () => {
  const { pool, threads, clock } = open(1);
  await pool.listen({ open: [spec('a'), spec('b', 81), spec('c', 82)] });
  threads.all[0]!.crash();
  threads.refuse = ({ id }) => (id === 'a' ? undefined : 'EADDRINUSE');
  await clock.advance(SECOND);
  await clock.advance(SECOND);
  await pool.listen({ close: ['b'] });
  await clock.advance(SECOND);
  threads.refuse = () => undefined;
  await clock.advance(SECOND);
  await clock.advance(10 * SECOND);
  const tries = ['open a, open b, open c', 'open b, open c', 'close b', 'open c', 'open c'];
  assert.equal(threads.all[1]!.told.slice(1), tries);
  assert.equal([...threads.all[1]!.listens.keys()], ['a', 'c']);
  assert.is(pool.fault(), undefined);
});

test('if one of several cannot be started at first, none stays', () => {
  const threads = fakeThreads();
  const { start } = threads;
  let left = 1;
  const failing: Threads = {
    ...threads,
    start(module, options) {
      if (left-- === 0) throw Object.assign(new Error('no more threads'), { code: 'KP_THREAD' });
      return start(module, options);
    },
  };
  assert.throws(() => open(2, failing), /no more threads/);
  assert.equal([threads.all.length, threads.all[0]!.isAlive], [1, false]);
});

test('what threads say for the log is said', async () => {
  const { pool, threads, log } = open();
  threads.all[1]!.say({ event: 'log', level: 'warn', message: 'Something', values: { n: 1 } });
  await pool.tell({});
  assert.equal(log.at('warn'), [{ level: 'warn', message: 'Something', values: { n: 1 } }]);
});

test('statistics are of all threads together, and stay when one ends, but for what is open', async () => {
  const { pool, threads, clock } = open();
  await pool.tell({ upsert: [WEB] });
  const counted = async (): Promise<readonly number[]> => {
    const { connections, open: isOpen } = (await pool.statistics()).get(WEB.key)!;
    return [connections, isOpen];
  };
  const services = new Map([[WEB.key, { ...statisticsOf(openCounters()), connections: 3, open: 2 }]]);
  threads.statistics = { ...NO_STATISTICS, services };
  assert.equal(await counted(), [6, 4]);
  threads.all[0]!.crash();
  assert.equal(await counted(), [6, 2]);
  await clock.advance(SECOND);
  await settle();
  assert.equal(await counted(), [9, 4], 'the fresh one has counted three of its own');
  threads.statistics = NO_STATISTICS;
  assert.equal(await counted(), [9, 0]);
  await pool.tell({ remove: [WEB.key] });
  assert.is((await pool.statistics()).size, 0);
});

test('what a thread had open counts for nobody once it has ended', () => {
  const { threads } = open();
  const [one, two] = threads.all.map(({ data }) => openOccupancy(data.occupancy, data.thread));
  one!.connections.add(1);
  one!.sessions.add(1);
  two!.connections.add(1);
  assert.equal([two!.connections.all(), two!.sessions.all()], [2, 1]);
  threads.all[0]!.crash();
  assert.equal([two!.connections.all(), two!.sessions.all()], [1, 0]);
});

test('closed, all threads end, and none is started again', async () => {
  const { pool, threads, clock, log } = open();
  threads.all[0]!.crash();
  await pool.close();
  assert.is(clock.pending(), 0);
  await clock.advance(10 * SECOND);
  assert.equal([threads.all.length, threads.alive.length], [2, 0]);
  assert.is(log.at('error').length, 1);
});

test.run();
