import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ServiceEvents } from '../../../core/backend.ts';
import { createServiceEvents } from '../../../core/observe/service-events.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { stage } from './events-server.ts';

const test = suite('what a backend tells the author of a Service');
const WEB = { namespace: 'shop', name: 'web' };
const MINUTE = 60_000;

function opened(record: Parameters<typeof createServiceEvents>[0]['record'] = () => {}) {
  const clock = fakeClock();
  const log = fakeLog();
  const uid = (namespace: string, name: string): string => (name === 'gone' ? '' : `uid of ${namespace}/${name}`);
  return { clock, log, events: createServiceEvents({ log, clock, record, uid }) };
}

test('it is an event of type Warning on the Service, with its uid, and a warning in the log', async () => {
  const server = stage();
  const { events, log } = opened(server.events.record);
  events.warn(WEB, 'UnknownScheduler', 'there is no scheduler mhh; use mh');
  assert.equal(log.lines, [
    {
      level: 'warn',
      message: 'A Service is not served as its author asks',
      values: { service: 'shop/web', reason: 'UnknownScheduler', note: 'there is no scheduler mhh; use mh' },
    },
  ]);
  await server.clock.advance(0);
  const [sent, ...others] = server.bodies();
  assert.is(others.length, 0);
  assert.equal([sent!.reason, sent!.note], ['UnknownScheduler', 'there is no scheduler mhh; use mh']);
  const regarding = { apiVersion: 'v1', kind: 'Service', ...WEB, uid: 'uid of shop/web' };
  assert.equal(sent!.regarding, regarding);
});

test('what is said in each sync is one event and one line, until six minutes have passed', async () => {
  const server = stage();
  const { events, log, clock } = opened(server.events.record);
  for (let second = 0; second < 350; second += 50) {
    events.warn(WEB, 'Odd', 'the same');
    await clock.advance(50_000);
    await server.clock.advance(50_000);
  }
  assert.equal([log.lines.length, server.requests.length], [1, 1]);
  await clock.advance(10_000);
  events.warn(WEB, 'Odd', 'the same');
  assert.is(log.lines.length, 2);
});

test('another Service, another reason and another note are news', () => {
  const { events, log } = opened();
  events.warn(WEB, 'Odd', 'one');
  events.warn(WEB, 'Odd', 'two');
  events.warn(WEB, 'Even', 'one');
  events.warn({ ...WEB, name: 'api' }, 'Odd', 'one');
  assert.is(log.lines.length, 4);
});

test('a note that is never the same fills neither the log nor the memory', async () => {
  const { events, log, clock } = opened();
  for (let count = 0; count < 5000; count++) events.warn(WEB, 'Odd', `it is ${count}`);
  assert.is(log.lines.length, 25);
  await clock.advance(5 * MINUTE);
  events.warn(WEB, 'Odd', 'later');
  assert.is(log.lines.length, 26);
  events.warn(WEB, 'Long', 'x'.repeat(5000));
  assert.is(String(log.lines.at(-1)!.values.note).length <= 1024, true);
});

test('many Services may each be told of, and the oldest text is forgotten first', () => {
  const { events, log } = opened();
  for (let count = 0; count < 1500; count++) events.warn({ ...WEB, name: `s${count}` }, 'Odd', 'one');
  assert.is(log.lines.length, 1500);
  events.warn({ ...WEB, name: 's1499' }, 'Odd', 'one');
  assert.is(log.lines.length, 1500);
  events.warn({ ...WEB, name: 's0' }, 'Odd', 'one');
  assert.is(log.lines.length, 1501);
});

test('a Service that is gone is told of all the same', () => {
  const regarded: unknown[] = [];
  const { events } = opened(({ regarding }) => regarded.push(regarding.uid));
  events.warn({ ...WEB, name: 'gone' }, 'Odd', 'one');
  assert.equal(regarded, ['']);
});

const NONSENSE: readonly (readonly [args: readonly unknown[], says: RegExp])[] = [
  [[undefined, 'Odd', 'x'], /^event undefined\/undefined is no Service: give namespace and name of the ServicePort/],
  [[null, 'Odd', 'x'], /is no Service/],
  [[{ namespace: '', name: 'web' }, 'Odd', 'x'], /^event ""\/"web" is no Service/],
  [[{ namespace: 'shop', name: 'No Name' }, 'Odd', 'x'], /^event "shop"\/"No Name" is no Service/],
  [[{ namespace: 'shop', name: 5 }, 'Odd', 'x'], /^event "shop"\/number is no Service/],
  [[WEB, 'not camel', 'x'], /^event for shop\/web: reason "not camel" is no word in CamelCase: use up to 128/],
  [[WEB, 'camelCase', 'x'], /reason "camelCase" is no word in CamelCase/],
  [[WEB, `O${'d'.repeat(128)}`, 'x'], /is no word in CamelCase/],
  [[WEB, undefined, 'x'], /reason undefined is no word in CamelCase/],
  [[WEB, 'Odd', ' '], /^event for shop\/web: note " " is no sentence: say what is wrong and what to do$/],
  [[WEB, 'Odd'], /note undefined is no sentence/],
];
for (const [args, says] of NONSENSE) {
  test(`${JSON.stringify(args).slice(0, 60)} is refused with one clear error, and nothing is told`, () => {
    const told: unknown[] = [];
    const { events, log } = opened((event) => told.push(event));
    try {
      events.warn(...(args as unknown as Parameters<ServiceEvents['warn']>));
    } catch (thrown) {
      const { message, code } = thrown as Error & { readonly code?: string };
      assert.match(message, says);
      assert.is(code, 'KP_EVENT');
      assert.equal([told, log.lines], [[], []]);
      return;
    }
    assert.unreachable('it was accepted');
  });
}

test.run();
