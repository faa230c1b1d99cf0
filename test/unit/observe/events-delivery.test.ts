import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { event, type Reply, service, stage } from './events-server.ts';

const test = suite('delivery of events');
const SECOND = 1000;
const MINUTE = 60 * SECOND;

test('a request that is never answered is ended, and tried again', async () => {
  const { events, clock, requests } = stage((_, number) => (number === 1 ? new Promise(() => {}) : 201));
  events.record(event());
  await clock.advance(15 * SECOND);
  assert.is(requests[0]!.signal.aborted, true);
  await clock.advance(2 * SECOND);
  assert.is(requests.length, 2);
  assert.is(requests[1]!.body, requests[0]!.body);
});

test('what may pass is tried again with growing pauses, up to eight times', async () => {
  for (const failing of [
    500,
    503,
    429,
    () => {
      throw new Error('ECONNRESET');
    },
  ]) {
    const respond = () => (typeof failing === 'number' ? failing : failing());
    const { events, clock, requests, log } = stage(respond);
    events.record(event());
    const times: number[] = [];
    for (let second = 0; second < 200; second++) {
      await clock.advance(SECOND);
      while (times.length < requests.length) times.push(second);
    }
    assert.is(requests.length, 8, String(failing));
    const pauses = times.slice(1).map((time, index) => time - times[index]!);
    assert.ok(
      pauses.every((pause, index) => index === 0 || pause >= pauses[index - 1]!),
      pauses.join(),
    );
    assert.is(events.lost(), 1);
    assert.is(log.at('warn').length, 1);
  }
});

test('after an event that was given up, the next one is sent, and the same one begins anew', async () => {
  let failing = true;
  const { events, clock, requests } = stage(() => (failing ? 503 : 201));
  events.record(event());
  events.record(event({ regarding: service('other') }));
  await clock.advance(100 * SECOND);
  failing = false;
  await clock.advance(10 * SECOND);
  assert.match(requests.at(-1)!.body, /uid-other/);
  events.record(event());
  await clock.advance(SECOND);
  assert.is(requests.at(-1)!.method, 'POST');
  assert.match(requests.at(-1)!.body, /uid-web/);
  assert.is(events.lost(), 1);
});

test('Retry-After is heeded', async () => {
  const slow: Reply = { status: 429, headers: { 'retry-after': '20' } };
  const { events, clock, requests } = stage((_, number) => (number === 1 ? slow : 201));
  events.record(event());
  await clock.advance(20 * SECOND - 1);
  assert.is(requests.length, 1);
  await clock.advance(1);
  assert.is(requests.length, 2);
});

test('a 401 has the credentials read again before the next try', async () => {
  const { events, clock, requests, reloads } = stage((_, number) => (number === 1 ? 401 : 201));
  events.record(event());
  await clock.advance(2 * SECOND);
  assert.is(reloads(), 1);
  assert.is(requests.length, 2);
});

test('what the server refuses for good is not repeated, and told once with its words', async () => {
  const refusal = { status: 403, body: JSON.stringify({ kind: 'Status', message: 'events is forbidden' }) };
  const { events, clock, requests, log } = stage(() => refusal);
  events.record(event());
  events.record(event({ regarding: service('other') }));
  await clock.advance(10 * MINUTE);
  assert.is(requests.length, 2);
  assert.is(log.at('warn').length, 1);
  assert.match(JSON.stringify(log.at('warn')[0]), /403 events is forbidden.*create and patch events/);
});

test('a name that is taken after a lost answer is our own event: its series goes on', async () => {
  const { events, clock, requests } = stage((_, number) => {
    if (number === 1) throw new Error('the connection broke before the answer');
    return number === 2 ? 409 : 200;
  });
  events.record(event());
  await clock.advance(5 * SECOND);
  events.record(event());
  await clock.advance(2 * MINUTE);
  assert.equal(
    requests.map(({ method }) => method),
    ['POST', 'POST', 'PATCH'],
  );
  assert.is(events.lost(), 0);
});

test('an event that the server forgot is written anew under another name, with its count and its first time', async () => {
  const { events, clock, requests, bodies } = stage(({ method }) => (method === 'PATCH' ? 404 : 201));
  events.record(event());
  await clock.advance(SECOND);
  events.record(event());
  await clock.advance(MINUTE);
  assert.equal(
    requests.map(({ method }) => method),
    ['POST', 'PATCH', 'POST'],
  );
  const [first, , again] = bodies();
  assert.is.not(again!.metadata.name, first!.metadata.name);
  assert.is(again!.eventTime, first!.eventTime);
  assert.is(again!.series?.count, 2);
  await clock.advance(10 * MINUTE);
  assert.is(requests.length, 3);
});

test('a patch that fails for good ends nothing: the next occurrence is patched again', async () => {
  const { events, clock, requests, bodies } = stage((_, number) => (number === 2 ? 422 : 200));
  events.record(event());
  await clock.advance(0);
  events.record(event());
  await clock.advance(5 * MINUTE);
  assert.is(requests.length, 2);
  events.record(event());
  await clock.advance(MINUTE);
  assert.is(requests[2]?.method, 'PATCH');
  assert.is(bodies()[2]!.series?.count, 3);
});

test.run();
