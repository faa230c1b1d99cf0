/** Graceful ends: who waits with weight 0, until when, and who comes back. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPVSStep, RealServerState, VirtualServer, VirtualServerState } from '../../../core/backend.ts';
import { createServerBook } from '../../../plugins/ipvs/book.ts';
import type { ServerSpec } from '../../../plugins/ipvs/frontends.ts';

const test = suite('ipvs graceful ends, step by step');
const GRACE = 60_000;
const SERVER: VirtualServer = {
  protocol: 'TCP',
  ip: '10.96.0.10',
  port: 80,
  scheduler: 'rr',
  persistenceSeconds: 0,
  hashPort: false,
  hashFallback: false,
};
const NO_STATISTICS = { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };

/** "10.244.1.1=3": with weight 3; without: 1. */
function spec(reals: readonly string[], rest: Partial<ServerSpec> = {}): ServerSpec {
  const parsed = reals.map((text) => {
    const [ip = '', weight = '1'] = text.split('=');
    return { ip, port: 8080, weight: Number(weight) };
  });
  return { server: SERVER, reals: parsed, isGraceful: true, keeps: new Set(), ...rest };
}

function held(text: string, active = 0, rest: Partial<RealServerState> = {}): RealServerState {
  const [ip = '', weight = '1'] = text.split('=');
  return {
    ip,
    port: 8080,
    weight: Number(weight),
    forwarding: 'masquerade',
    upperThreshold: 0,
    lowerThreshold: 0,
    activeConnections: active,
    inactiveConnections: 0,
    persistentConnections: 0,
    statistics: NO_STATISTICS,
    ...rest,
  };
}

const STANDING: VirtualServerState = {
  ...SERVER,
  persistencePrefix: 32,
  hashPort: false,
  hashFallback: false,
  onePacket: false,
  persistenceEngine: '',
  statistics: NO_STATISTICS,
};

function rows(steps: readonly IPVSStep[]): string[] {
  return steps.map((step) => {
    if (!('real' in step)) return step.do;
    const { ip } = step.real;
    return 'weight' in step.real && step.do !== 'delete real server'
      ? `${step.do} ${ip}=${step.real.weight}`
      : `${step.do} ${ip}`;
  });
}

test('a real server that goes gets weight 0 at once, and is deleted when its connections have ended', () => {
  const book = createServerBook(GRACE);
  assert.equal(rows(book.change(spec(['a', 'b']), spec(['b']), 0)), ['set real server a=0']);
  assert.is(book.waiting(), 1);
  assert.equal(book.draining(), [SERVER]);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 3), held('b', 9)], 5_000)), []);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 0, { inactiveConnections: 2 }), held('b', 9)], 10_000)), []);
  assert.equal(rows(book.sweep(SERVER, [held('a=0'), held('b')], 15_000)), ['delete real server a']);
  assert.equal([book.waiting(), book.draining().length], [0, 0]);
});

test('with connections that stay open it is deleted when its grace ends, not before', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a']), spec([]), 1_000);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 1)], 1_000 + GRACE - 1)), []);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 1)], 1_000 + GRACE)), ['delete real server a']);
});

test('one that comes back has its weight at once and waits no longer', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a=4', 'b']), spec(['b']), 0);
  assert.equal(rows(book.change(spec(['b']), spec(['a=7', 'b']), 1)), ['set real server a=7']);
  assert.equal([book.waiting(), rows(book.sweep(SERVER, [held('a=7'), held('b')], GRACE * 2))], [0, []]);
});

test('one that goes, comes back and goes again is waited for anew', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a']), spec([]), 0);
  book.change(spec([]), spec(['a']), 10);
  assert.equal(rows(book.change(spec(['a']), spec([]), 20)), ['set real server a=0']);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 1)], GRACE + 19)), []);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 1)], GRACE + 20)), ['delete real server a']);
});

test('while it waits, other changes neither repeat its steps nor prolong its grace', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a', 'b']), spec(['b']), 0);
  assert.equal(rows(book.change(spec(['b']), spec(['b', 'c']), 1_000)), ['add real server c=1']);
  assert.equal(rows(book.change(spec(['b', 'c']), spec(['c']), 2_000)), ['set real server b=0']);
  assert.is(book.waiting(), 2);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 1), held('b=0', 1), held('c')], GRACE)), ['delete real server a']);
});

test('UDP goes at once, unless the model lets flows go on: then until it lets go of them', () => {
  const book = createServerBook(GRACE);
  const udp = (reals: readonly string[], keeps: readonly string[] = []) =>
    spec(reals, { isGraceful: false, keeps: new Set(keeps.map((ip) => `${ip} 8080`)) });
  assert.equal(rows(book.change(udp(['a', 'b']), udp(['b']), 0)), ['delete real server a']);
  assert.equal(rows(book.change(udp(['b']), udp([], ['b']), 0)), ['set real server b=0']);
  assert.equal([book.waiting(), book.draining().length], [1, 0], 'nothing to look at');
  assert.equal(rows(book.sweep(SERVER, [held('b=0')], GRACE * 9)), []);
  assert.equal(rows(book.change(udp([], ['b']), udp(['c'], ['b']), 1)), ['add real server c=1']);
  assert.equal(rows(book.change(udp(['c'], ['b']), udp(['c']), 2)), ['delete real server b']);
  assert.is(book.waiting(), 0);
});

test('a virtual server that goes takes those who wait with it, and comes back without them', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a']), spec([]), 0);
  assert.equal(rows(book.change(spec([]), undefined, 1)), ['delete virtual server']);
  assert.is(book.waiting(), 0);
  assert.equal(rows(book.change(undefined, spec(['a']), 2)), ['add virtual server', 'add real server a=1']);
});

test('a virtual server with other settings is set, not made anew, and its real servers stay', () => {
  const book = createServerBook(GRACE);
  const other = { ...spec(['a', 'b=2']), server: { ...SERVER, scheduler: 'wrr', persistenceSeconds: 600 } };
  assert.equal(rows(book.change(spec(['a', 'b']), other, 0)), ['set virtual server', 'set real server b=2']);
  assert.equal(book.change(spec(['a']), spec(['a']), 0), []);
});

test('after a restart what has weight 0 and is not wanted waits from now on; what is wanted gets its weight', () => {
  const book = createServerBook(GRACE);
  assert.equal(rows(book.mend(STANDING, [held('a=0', 2), held('b=0')], spec(['b=3']), 500)), ['set real server b=3']);
  assert.is(book.waiting(), 1);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 2)], 500 + GRACE - 1)), []);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 2)], 500 + GRACE)), ['delete real server a']);
});

test('mending sets what differs and keeps the grace that is running', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a', 'b']), spec(['b']), 0);
  const odd = [held('a=5', 1), held('b', 0, { forwarding: 'direct' }), held('c')];
  assert.equal(rows(book.mend({ ...STANDING, scheduler: 'lc' }, odd, spec(['b']), 1_000)).sort(), [
    'set real server a=0',
    'set real server b=1',
    'set real server c=0',
    'set virtual server',
  ]);
  assert.equal(rows(book.sweep(SERVER, [held('a=0', 1), held('c=0', 1)], GRACE)), ['delete real server a']);
});

test('who waited and was deleted by somebody else is added when it comes back, not set', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a', 'b']), spec(['b']), 0);
  assert.equal(book.mend(STANDING, [held('b')], spec(['b']), 1), []);
  assert.is(book.waiting(), 0);
  assert.equal(rows(book.change(spec(['b']), spec(['a', 'b']), 2)), ['add real server a=1']);
  book.change(spec(['a', 'b']), spec(['b']), 3);
  // The virtual server itself was lost, and is made anew.
  book.change(undefined, spec(['b']), 4);
  assert.equal(rows(book.change(spec(['b']), spec(['a', 'b']), 5)), ['add real server a=1']);
});

test('a connection that was being scheduled when the weight became 0 is waited for, though nothing is counted yet', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a', 'b']), spec(['b']), 5_000);
  assert.equal(rows(book.sweep(SERVER, [held('a=0'), held('b')], 5_001)), []);
  assert.equal(rows(book.sweep(SERVER, [held('a=0'), held('b')], 6_000)), ['delete real server a']);
});

test('a sweep passes over those who are gone already', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a']), spec([]), 0);
  assert.equal(book.sweep(SERVER, [], 1), []);
  assert.is(book.waiting(), 0);
});

test('a check names real servers that are missing, other, or not wanted, and nobody who waits', () => {
  const book = createServerBook(GRACE);
  book.change(spec(['a', 'b']), spec(['b']), 0);
  assert.is(book.fault(spec(['b']), [held('a=0', 1), held('b')]), undefined);
  assert.match(book.fault(spec(['b']), [held('a=0')]) ?? '', 'b 8080 is missing');
  assert.match(book.fault(spec(['b']), [held('b=2')]) ?? '', 'b 8080 is another');
  assert.match(book.fault(spec(['b']), [held('b', 0, { upperThreshold: 7 })]) ?? '', 'b 8080 is another');
  assert.match(book.fault(spec(['b']), [held('a'), held('b')]) ?? '', 'a 8080 is not wanted');
  assert.match(book.fault(spec(['b']), [held('c=0'), held('b')]) ?? '', 'c 8080 is not wanted');
});

test.run();
