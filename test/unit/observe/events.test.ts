import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { starting } from '../../../core/observe/event-reasons.ts';
import { createEvents } from '../../../core/observe/events.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { event, service, stage } from './events-server.ts';

const test = suite('events');
const SECOND = 1000;
const MINUTE = 60 * SECOND;

test('an event is posted once, whole, to the namespace of its object', async () => {
  const { events, clock, requests, bodies } = stage();
  events.record(event());
  await clock.advance(0);
  assert.is(requests.length, 1);
  const { method, path, contentType } = requests[0]!;
  assert.equal([method, path], ['POST', '/apis/events.k8s.io/v1/namespaces/shop/events']);
  assert.is(contentType, 'application/json');
  const [{ metadata, ...rest }] = bodies() as [ReturnType<typeof bodies>[0]];
  assert.match(metadata.name, /^web\.[0-9a-f]{16}$/);
  assert.equal(rest, {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    eventTime: '2026-01-02T03:04:06.678000Z',
    type: 'Warning',
    reason: 'FailedToStartServiceHealthcheck',
    action: 'Listen',
    note: 'port 31000: address in use',
    regarding: { apiVersion: 'v1', kind: 'Service', namespace: 'shop', name: 'web', uid: 'uid-web' },
    reportingController: 'kube-proxy',
    reportingInstance: 'kube-proxy-node-1',
  });
  await clock.advance(60 * MINUTE);
  assert.is(requests.length, 1);
  assert.is(clock.pending(), 0);
});

test('an event of a Node goes to the namespace default, under the uid by which kubectl looks for it', async () => {
  const { events, clock, requests, bodies } = stage();
  events.record(starting('node-1', 'iptables'));
  await clock.advance(0);
  assert.is(requests[0]!.path, '/apis/events.k8s.io/v1/namespaces/default/events');
  assert.is(bodies()[0]!.metadata.namespace, 'default');
  assert.equal(bodies()[0]!.regarding, { apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'node-1' });
});

test('recording never runs the code that sends, and two requests are never under way at once', async () => {
  let under = 0;
  let most = 0;
  const { events, clock, requests } = stage(async () => {
    most = Math.max(most, ++under);
    await new Promise((resolve) => setImmediate(resolve));
    under--;
    return 201;
  });
  for (const name of ['a', 'b', 'c']) events.record(event({ regarding: service(name) }));
  assert.is(requests.length, 0);
  for (let turn = 0; turn < 10; turn++) await clock.advance(0);
  assert.is(requests.length, 3);
  assert.is(most, 1);
});

test('events at one moment have different names', async () => {
  const { events, clock, bodies } = stage();
  for (const note of ['one', 'two', 'three']) events.record(event({ note }));
  await clock.advance(0);
  assert.is(new Set(bodies().map(({ metadata }) => metadata.name)).size, 3);
});

test('a hot repeat costs one patch a minute at most, which carries the count', async () => {
  const { events, clock, requests, bodies } = stage();
  for (let second = 0; second < 600; second++) {
    events.record(event());
    await clock.advance(SECOND);
  }
  await clock.advance(MINUTE);
  assert.is(requests[0]!.method, 'POST');
  const patches = requests.slice(1);
  assert.ok(patches.length >= 9 && patches.length <= 11, `${patches.length} patches in 11 minutes`);
  const { name } = bodies()[0]!.metadata;
  for (const patch of patches) {
    assert.equal(
      [patch.method, patch.path, patch.contentType],
      ['PATCH', `/apis/events.k8s.io/v1/namespaces/shop/events/${name}`, 'application/merge-patch+json'],
    );
  }
  const last = bodies().at(-1)!;
  assert.equal(Object.keys(last), ['series']);
  assert.equal(last.series, { count: 600, lastObservedTime: '2026-01-02T03:14:05.678000Z' });
  assert.is(events.lost(), 0);
});

test('what recurs before it was first sent is posted with its count', async () => {
  const { events, clock, requests, bodies } = stage();
  for (let times = 0; times < 3; times++) events.record(event());
  await clock.advance(60 * MINUTE);
  assert.is(requests.length, 1);
  assert.is(bodies()[0]!.series?.count, 3);
});

test('six minutes after the last time, the same is a new event', async () => {
  const { events, clock, requests } = stage();
  events.record(event());
  await clock.advance(6 * MINUTE - 1);
  events.record(event());
  await clock.advance(6 * MINUTE);
  events.record(event());
  await clock.advance(MINUTE);
  assert.equal(
    requests.map(({ method }) => method),
    ['POST', 'PATCH', 'POST'],
  );
});

test('what differs in type, reason, action, note or object is another event', async () => {
  const { events, clock, requests } = stage();
  events.record(event());
  for (const other of [
    { type: 'Normal' },
    { reason: 'Other' },
    { action: 'Other' },
    { note: 'other' },
    { regarding: service('other') },
    { regarding: { ...service(), uid: 'other' } },
  ] as const) {
    events.record(event(other));
  }
  await clock.advance(0);
  assert.equal(
    requests.map(({ method }) => method),
    new Array(7).fill('POST'),
  );
});

test('of one object at most 25 events are sent in a burst, then one in five minutes; others are not held up', async () => {
  const { events, clock, requests } = stage();
  const spam = (count: number, prefix: string) => {
    for (let n = 0; n < count; n++) events.record(event({ note: `${prefix} ${n}` }));
  };
  spam(100, 'first');
  events.record(event({ regarding: service('other') }));
  await clock.advance(0);
  assert.is(requests.length, 26);
  assert.is(events.lost(), 75);
  await clock.advance(5 * MINUTE);
  spam(100, 'second');
  await clock.advance(0);
  assert.is(requests.length, 27);
});

test('counts of an object that had its share are told later, not lost', async () => {
  const { events, clock, bodies } = stage();
  for (let n = 0; n < 25; n++) events.record(event({ note: `${n}` }));
  await clock.advance(0);
  for (let times = 0; times < 40; times++) events.record(event({ note: '0' }));
  await clock.advance(4 * MINUTE);
  assert.is(bodies().length, 25);
  await clock.advance(2 * MINUTE);
  assert.is(bodies()[25]?.series?.count, 41);
});

test('a server that does not answer delays nobody: a thousand events wait, further ones are lost and told once', async () => {
  const { events, clock, requests, log } = stage(() => new Promise(() => {}));
  events.record(event({ regarding: service('first') }));
  await clock.advance(0);
  for (let n = 0; n < 1500; n++) events.record(event({ regarding: service(`s${n}`) }));
  assert.is(requests.length, 1);
  assert.is(events.lost(), 500);
  assert.is(log.at('warn').length, 1);
  assert.match(log.at('warn')[0]!.message, /Too many events/);
});

test('what every node says has one name on all of them, is posted once, and being there already is success', async () => {
  const shared = event({ everyNode: true });
  const here = stage();
  const there = stage(() => 409);
  await there.clock.advance(12_345);
  for (const { events, clock, requests } of [here, there]) {
    events.record(shared);
    await clock.advance(0);
    for (let times = 0; times < 5; times++) events.record(shared);
    await clock.advance(5 * MINUTE);
    assert.is(requests.length, 1);
    assert.is(events.lost(), 0);
  }
  const names = [here, there].map((one) => one.bodies()[0]!.metadata.name);
  assert.is(names[0], names[1]);
  here.events.record({ ...shared, note: 'another fault' });
  await here.clock.advance(0);
  assert.is.not(here.bodies()[1]!.metadata.name, names[0]);
});

test('long notes and names are cut to what the server takes, between characters', async () => {
  const { events, clock, bodies } = stage();
  events.record(event({ note: 'ü'.repeat(2000), reason: 'r'.repeat(200), action: 'a'.repeat(200) }));
  events.record(event({ regarding: service('x'.repeat(253)) }));
  events.record(event({ regarding: service('No_Valid Name!') }));
  await clock.advance(0);
  const [long, named, odd] = bodies();
  assert.ok(Buffer.byteLength(long!.note) <= 1024 && Buffer.byteLength(long!.note) > 1000);
  assert.match(long!.note, /^ü+…$/);
  assert.ok(Buffer.byteLength(long!.reason) <= 128);
  assert.ok(Buffer.byteLength(long!.action) <= 128);
  assert.ok(named!.metadata.name.length <= 253);
  assert.match(odd!.metadata.name, /^no-valid-name\.[0-9a-f]+$/);
});

test('stopping says what is still to be said, counts too, and nothing after it', async () => {
  const { events, clock, requests, bodies } = stage();
  events.record(event());
  await clock.advance(0);
  for (let times = 0; times < 4; times++) events.record(event());
  events.record(event({ regarding: service('other') }));
  await events.stop();
  assert.equal(requests.map(({ method }) => method).sort(), ['PATCH', 'POST', 'POST']);
  assert.is(bodies().find((body) => body.metadata === undefined)?.series?.count, 5);
  assert.is(clock.pending(), 0);
  events.record(event({ note: 'too late' }));
  await events.stop();
  await clock.advance(60 * MINUTE);
  assert.is(requests.length, 3);
});

test('a count that rose while its event was under way is told when stopping', async () => {
  let release = (_: number): void => {};
  const { events, clock, bodies } = stage(({ method }) =>
    method === 'PATCH' ? 200 : new Promise<number>((resolve) => (release = resolve)),
  );
  events.record(event());
  await clock.advance(0);
  events.record(event());
  const stopped = events.stop();
  release(201);
  await stopped;
  assert.is(bodies()[1]?.series?.count, 2);
});

test('stopping takes a second at most, whatever the server does, and ends its request', async () => {
  const { events, clock, requests, log } = stage(() => new Promise(() => {}));
  events.record(event());
  events.record(event({ regarding: service('other') }));
  await clock.advance(0);
  let stopped = false;
  const stopping = events.stop().then(() => {
    stopped = true;
  });
  await clock.advance(999);
  assert.is(stopped, false);
  await clock.advance(1);
  await stopping;
  assert.is(requests[0]!.signal.aborted, true);
  await clock.advance(60 * MINUTE);
  assert.is(requests.length, 1);
  assert.is(events.lost(), 2);
  assert.is(clock.pending(), 0);
  assert.equal(log.at('warn'), []);
});

test('stopping does not wait out the pauses between tries', async () => {
  const { events, clock, requests } = stage(() => 503);
  events.record(event());
  events.record(event({ regarding: service('other') }));
  await clock.advance(0);
  assert.is(requests.length, 1);
  await events.stop();
  assert.is(requests.length, 3, 'each once more');
});

test('without an API server events are logged from -v=2 on, and that is all', async () => {
  const log = fakeLog();
  const clock = fakeClock();
  const events = createEvents({ api: undefined, nodeName: 'node-1', clock, now: () => 0, log });
  events.record(event());
  assert.is(log.lines.length, 1);
  assert.equal([log.lines[0]!.level, log.lines[0]!.values.object], ['v2', 'Service shop/web']);
  await events.stop();
  const quiet = createEvents({
    api: undefined,
    nodeName: 'n',
    clock,
    now: () => 0,
    log: { ...log, enabled: () => false },
  });
  quiet.record(event());
  assert.is(log.lines.length, 1);
  assert.is(clock.pending(), 0);
});

test('what cannot be sent at all stops no other event', async () => {
  const { events, clock, requests, log } = stage();
  events.record(event({ regarding: { ...service(), namespace: '\ud800' } }));
  events.record(event());
  await clock.advance(0);
  assert.is(requests.length, 1);
  assert.is(log.at('error').length, 1);
});

test('recording does not throw where sending is impossible', () => {
  const log = fakeLog();
  const broken = () => {
    throw new Error('no time');
  };
  const api = { request: async () => ({ status: 201, headers: {}, text: async () => '' }) };
  const events = createEvents({ api, nodeName: 'n', clock: fakeClock(), now: broken, log });
  events.record(event());
  assert.is(log.at('error').length, 1);
});

test.run();
