/** The parts of an engine that need no sockets. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openComplaints } from '../../../plugins/userspace/forward/complain.ts';
import { countDial, openCounters, statisticsOf } from '../../../plugins/userspace/forward/counters.ts';
import { enterLane, leaveLane, openLane, type Waiting } from '../../../plugins/userspace/forward/lane.ts';
import { DIAL_BUCKETS, type EngineEvent } from '../../../plugins/userspace/forward/messages.ts';
import { proxyHeader } from '../../../plugins/userspace/forward/proxy-header.ts';
import { openSources } from '../../../plugins/userspace/forward/sources.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { service, world } from './forward-world.ts';

const test = suite('forward parts');

function thing(name: string): Waiting & { readonly name: string } {
  return { name, lane: undefined, earlier: undefined, later: undefined, due: 0 };
}

function lane(milliseconds = 100) {
  const clock = fakeClock();
  const due: string[] = [];
  const made = openLane(clock, milliseconds, (waiting) => due.push((waiting as ReturnType<typeof thing>).name));
  return { clock, due, made };
}

test('what waits in a lane falls due in turn, with one timer for all', async () => {
  const { clock, due, made } = lane();
  enterLane(made, thing('a'));
  await clock.advance(50);
  enterLane(made, thing('b'));
  enterLane(made, thing('c'));
  assert.is(clock.pending(), 1);
  await clock.advance(49);
  assert.equal(due, []);
  await clock.advance(1);
  assert.equal(due, ['a']);
  await clock.advance(50);
  assert.equal(due, ['a', 'b', 'c']);
  assert.is(clock.pending(), 0);
});

test('what leaves a lane, wherever it stands, does not fall due', async () => {
  const { clock, due, made } = lane();
  const things = ['a', 'b', 'c', 'd', 'e'].map(thing);
  for (const one of things) enterLane(made, one);
  for (const index of [0, 2, 4]) leaveLane(things[index]!);
  leaveLane(things[0]!);
  assert.is(made.length, 2);
  await clock.advance(100);
  assert.equal(due, ['b', 'd']);
});

test('what enters a lane again begins anew', async () => {
  const { clock, due, made } = lane();
  const [a, b] = [thing('a'), thing('b')];
  enterLane(made, a);
  enterLane(made, b);
  await clock.advance(60);
  enterLane(made, a);
  await clock.advance(60);
  assert.equal(due, ['b']);
  await clock.advance(40);
  assert.equal(due, ['b', 'a']);
});

test('what enters a lane while another falls due waits its whole time', async () => {
  const clock = fakeClock();
  const due: number[] = [];
  const made = openLane(clock, 100, (waiting) => {
    due.push(clock.now());
    if (due.length < 3) enterLane(made, waiting);
  });
  const start = clock.now();
  enterLane(made, thing('a'));
  await clock.advance(1000);
  assert.equal(
    due.map((time) => time - start),
    [100, 200, 300],
  );
});

test('a PROXY header of IPv6 has all of both addresses', () => {
  const bytes = Buffer.from(proxyHeader({ ip: 'fd00::1:2', port: 258 }, { ip: '::ffff:192.0.2.1', port: 65535 }));
  const expected =
    '0d0a0d0a000d0a515549540a' +
    '21210024' +
    'fd000000000000000000000000010002' +
    '00000000000000000000ffffc0000201' +
    '0102ffff';
  assert.is(bytes.toString('hex'), expected);
  const local = Buffer.from(proxyHeader({ ip: 'fe80::1%eth0', port: 1 }, { ip: '1:2:3:4:5:6:7:8', port: 2 }));
  assert.is(local.subarray(16, 48).toString('hex'), 'fe80000000000000000000000000000100010002000300040005000600070008');
});

test('dial latency is counted in the bucket that it fits', () => {
  const counters = openCounters();
  for (const milliseconds of [0.1, 0.5, 0.6, 250, 3000]) countDial(counters, milliseconds);
  const { dialBuckets, dials, dialSeconds } = statisticsOf(counters);
  assert.equal(dialBuckets, [2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
  assert.is(dialBuckets.length, DIAL_BUCKETS.length + 1);
  assert.equal([dials, dialSeconds.toFixed(4)], [5, '3.2512']);
});

test('a complaint is said once a minute, with how often it was meant', async () => {
  const clock = fakeClock();
  const events: EngineEvent[] = [];
  const { warn } = openComplaints(clock, (event) => events.push(event));
  for (let index = 0; index < 5; index++) warn('One');
  warn('Another', { limit: 3 });
  assert.is(events.length, 2);
  await clock.advance(60_000);
  warn('One');
  assert.equal(events[2], { event: 'log', level: 'warn', message: 'One', values: { times: 5 } });
});

test('a source is told by its address, whatever the zone it is in', () => {
  const sources = openSources(['10.0.0.1', '10.244.0.0/16', 'fe80::1', 'fe81::/16', 'fd00::1']);
  const found = ['10.0.0.1', '10.0.0.2', '10.244.7.7', 'fe80::1%eth0', 'fe81::1%eth0', 'fd00::1', 'fd00::2'].filter(
    sources.has,
  );
  assert.equal(found, ['10.0.0.1', '10.244.7.7', 'fe80::1%eth0', 'fe81::1%eth0', 'fd00::1']);
  assert.is(openSources([]).has('10.0.0.1'), false);
});

test('service ports that meet no connection are not counted', () => {
  const { engine } = world();
  engine.update({ upsert: [service()] });
  assert.is(engine.statistics().services.size, 0);
});

test.run();
