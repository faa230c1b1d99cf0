/** The threads that forward, all told the same, and started again when they end. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListenSpec } from '../../../plugins/userspace/forward/messages.ts';
import { createPool, type Pool } from '../../../plugins/userspace/pool.ts';
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

test('what cannot be listened on is told by id, once for all threads, and tried again the next time', async () => {
  const { pool, threads } = open();
  threads.refuse = ({ port }) => (port === 81 ? 'EADDRINUSE' : undefined);
  const faults = await pool.listen([spec('a'), spec('b', 81)]);
  assert.equal(
    [...faults].map(([id, { code }]) => [id, code]),
    [['b', 'EADDRINUSE']],
  );
  assert.is((await pool.listen([spec('a'), spec('b', 81)])).size, 1);
  threads.refuse = () => undefined;
  assert.is((await pool.listen([spec('a'), spec('b', 81)])).size, 0);
  assert.equal(
    threads.all.map(({ listens }) => [...listens.keys()]),
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
  );
});

test('lists that come at the same time are applied one after the other, and each hears of its own', async () => {
  const { pool, threads } = open();
  threads.refuse = ({ port }) => (port === 81 ? 'EACCES' : undefined);
  const [first, second] = await Promise.all([pool.listen([spec('a', 81)]), pool.listen([spec('a', 82), spec('b')])]);
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
  await pool.listen([spec('a', 80)]);
  threads.refuse = () => 'EACCES';
  assert.is((await pool.listen([spec('a', 81)])).get('a')?.code, 'EACCES');
});

test('a thread that ends is started again after a second, and told everything', async () => {
  const { pool, threads, clock, log } = open();
  await pool.listen([spec('a')]);
  threads.all[0]!.crash();
  assert.match(pool.fault()!, /ended by an error: test/);
  assert.is(log.at('error').length, 1);
  // The other one goes on, and nobody waits for the one that has ended.
  await pool.tell({ upsert: [WEB] });
  assert.is((await pool.listen([spec('a'), spec('b')])).size, 0);
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
  const asked = [pool.tell({ upsert: [WEB] }), pool.listen([spec('a')]), pool.statistics()];
  threads.all[0]!.crash();
  await Promise.all(asked);
  assert.equal(await pool.statistics(), []);
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
  await pool.listen([spec('a'), spec('never', 81)]);
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

test('what threads say for the log is said, and their statistics are given by thread', async () => {
  const { pool, threads, log } = open();
  threads.all[1]!.say({ event: 'log', level: 'warn', message: 'Something', values: { n: 1 } });
  threads.statistics = { ...NO_STATISTICS, openConnections: 3 };
  const statistics = await pool.statistics();
  assert.equal(
    statistics.map(({ openConnections }) => openConnections),
    [3, 3],
  );
  assert.equal(log.at('warn'), [{ level: 'warn', message: 'Something', values: { n: 1 } }]);
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
