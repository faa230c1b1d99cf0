/** What becomes of a watch: its events, its ends, and what is asked next and when. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { settle } from '../sync/fake-clock.ts';
import { list, service, status } from './raw-objects.ts';
import { stage } from './stage.ts';

const test = suite('reflector: watches');

/** A watch from version 20 on, with Service "a" of version 10. */
async function watching(options: Parameters<typeof stage>[0] = {}) {
  const there = await stage({ streams: false, ...options });
  await there.request().answer(200, list('20', [service('a', { version: '10' })]));
  there.told.length = 0;
  return { ...there, watch: there.request().open() };
}

/** The port of a Service that the sink holds. */
function portOf(objects: ReadonlyMap<string, unknown>, name: string): number | undefined {
  return (objects.get(`shop/${name}`) as { ports: { port: number }[] } | undefined)?.ports[0]?.port;
}

const unreachable = (): Error => Object.assign(new Error('connect ECONNREFUSED'), { code: 'KP_API_UNREACHABLE' });

test('events are applied as they come, and unchanged objects are not delivered again', async () => {
  const { watch, told } = await watching();
  await watch.event('ADDED', service('b', { version: '21' }));
  await watch.event('MODIFIED', service('b', { version: '22', port: 81 }));
  await watch.event('MODIFIED', service('b', { version: '23', port: 81 }));
  await watch.event('DELETED', service('a', { version: '24' }));
  assert.equal(told, ['+ shop/b', '+ shop/b', '- shop/a']);
});

test('ADDED for what exists, MODIFIED and DELETED for what does not are taken for what they say', async () => {
  const { watch, told, objects } = await watching();
  await watch.event('ADDED', service('a', { version: '21', port: 81 }));
  await watch.event('MODIFIED', service('new', { version: '22' }));
  await watch.event('DELETED', service('never', { version: '23' }));
  assert.equal(told, ['+ shop/a', '+ shop/new']);
  assert.is(portOf(objects, 'a'), 81);
});

test('several events in one piece, and one event in many pieces, are the same events', async () => {
  const { watch, names } = await watching();
  const text = ['b', 'c'].map((name) => JSON.stringify({ type: 'ADDED', object: service(name, { version: '30' }) }));
  await watch.bytes(text.join(''));
  const bytes = Buffer.from(JSON.stringify({ type: 'ADDED', object: service('d', { version: '31' }) }));
  for (const byte of bytes) await watch.bytes(Uint8Array.of(byte));
  assert.is(names(), 'a b c d');
});

test('events that come twice or late leave the newest state', async () => {
  const { watch, objects, names, request } = await watching();
  await watch.event('MODIFIED', service('a', { version: '30', port: 83 }));
  await watch.event('ADDED', service('b', { version: '31' }));
  await watch.event('MODIFIED', service('a', { version: '30', port: 83 }));
  await watch.event('DELETED', service('b', { version: '32' }));
  await watch.event('MODIFIED', service('a', { version: '25', port: 82 }));
  // The last one is late, so that the state is asked for again; the rest comes on the watch that follows.
  await request().answer(200, list('32', [service('a', { version: '30', port: 83 })]));
  const next = request().open();
  await next.event('ADDED', service('b', { version: '28' }));
  await next.event('DELETED', service('a', { version: '29' }));
  assert.is(names(), 'a');
  assert.is(portOf(objects, 'a'), 83);
});

test('an object that was deleted is not brought back by an event from before', async () => {
  const { watch, names } = await watching();
  await watch.event('DELETED', service('a', { version: '40' }));
  await watch.event('MODIFIED', service('a', { version: '35' }));
  assert.is(names(), '');
});

test('an object that was made again after its deletion is not taken by the late deletion', async () => {
  const { watch, names } = await watching();
  await watch.event('ADDED', service('a', { version: '45' }));
  await watch.event('DELETED', service('a', { version: '40' }));
  assert.is(names(), 'a');
});

test('a new object whose event comes late is not lost', async () => {
  const { watch, names } = await watching();
  await watch.event('ADDED', service('c', { version: '42' }));
  await watch.event('ADDED', service('b', { version: '41' }));
  assert.is(names(), 'a b c');
});

test('events out of order bring one new list a minute at most', async () => {
  const { watch, api, request, clock, reflector } = await watching();
  await watch.event('ADDED', service('c', { version: '42' }));
  await watch.event('ADDED', service('b', { version: '41' }));
  assert.ok(watch.aborted);
  const items = [service('b', { version: '41' }), service('c', { version: '42' })];
  const again = request();
  assert.is(again.query.resourceVersion, undefined);
  await again.answer(200, list('42', items));
  const next = request().open();
  for (let version = 50; version > 43; version--)
    await next.event('ADDED', service(`d${version}`, { version: `${version}` }));
  assert.not.ok(next.aborted);
  assert.is(reflector.status().resourceVersion, '50');
  await clock.advance(60_000);
  await next.event('ADDED', service('e', { version: '43' }));
  assert.ok(next.aborted);
  assert.is(api.waiting('services'), 1);
});

test('versions that are no numbers are not compared: the order of arrival counts', async () => {
  const { watch, objects } = await watching();
  await watch.event('MODIFIED', service('a', { version: 'zzz', port: 81 }));
  await watch.event('MODIFIED', service('a', { version: 'aaa', port: 82 }));
  assert.is(portOf(objects, 'a'), 82);
});

test('a watch whose time is over goes on at once from the last version, bookmarks included', async () => {
  const { watch, clock, request } = await watching();
  await watch.event('ADDED', service('b', { version: '21' }));
  for (const version of ['33', '34', '35']) {
    await clock.advance(150_000);
    await watch.bookmark(version);
  }
  await watch.end();
  const next = request();
  assert.equal([next.query.watch, next.query.resourceVersion], ['true', '35']);
});

test('a watch that ends before its time goes on at once, too, but the server may be another: it is asked', async () => {
  const { watch, clock, request } = await watching();
  await clock.advance(10_000);
  await watch.event('ADDED', service('b', { version: '21' }));
  await watch.end();
  const next = request();
  assert.is(next.query.resourceVersion, '21');
  next.open();
  await settle();
  assert.is(request().query.limit, '1');
});

test('a watch that ends at once with events goes on at once', async () => {
  const { watch, request } = await watching();
  await watch.event('ADDED', service('b', { version: '21' }));
  await watch.end();
  assert.is(request().query.resourceVersion, '21');
});

test('watches that end at once with nothing are repeated at growing distances', async () => {
  const { watch, clock, request, api } = await watching();
  await watch.end();
  for (let failures = 1; failures <= 8; failures++) {
    const pause = Math.min(800 * 2 ** (failures - 1), 30_000) * 0.75;
    await clock.advance(pause - 1);
    assert.is(api.waiting('services'), 0, `after ${failures} failures`);
    await clock.advance(1);
    await request().open().end();
    assert.ok(request().aborted);
  }
});

test('after a lost connection the watch goes on from the last version, and the server is asked for its own', async () => {
  const { watch, clock, request, names, api } = await watching();
  await watch.event('ADDED', service('b', { version: '21' }));
  await watch.breakOff();
  await clock.advance(600);
  const next = request();
  assert.equal([next.query.watch, next.query.resourceVersion], ['true', '21']);
  const stream = next.open();
  await settle();
  const question = request();
  assert.is(question.path, '/api/v1/namespaces/shop/services');
  assert.equal(question.query, { fieldSelector: 'metadata.name=a', limit: '1' });
  await question.answer(200, list('25', [service('a', { version: '10' })]));
  await stream.event('ADDED', service('c', { version: '26' }));
  assert.is(names(), 'a b c');
  // Once is enough.
  for (const version of ['27', '28', '29']) {
    await clock.advance(150_000);
    await stream.bookmark(version);
  }
  await stream.end();
  request().open();
  await settle();
  assert.is(api.waiting('services'), 0);
});

test('a server that was restored from a backup while it was away is noticed, and read anew as it is', async () => {
  const { watch, clock, request, names } = await watching();
  await watch.breakOff();
  await clock.advance(600);
  const silent = request().open();
  await settle();
  await request().answer(200, list('7', []));
  assert.ok(silent.aborted);
  const latest = request();
  assert.equal([latest.query.watch, latest.query.resourceVersion, latest.query.limit], [undefined, undefined, '500']);
  await latest.answer(200, list('7', [service('old', { version: '3' })]));
  assert.is(names(), 'old');
  assert.is(request().query.resourceVersion, '7');
});

test('if the server cannot say its version, the watch is begun again', async () => {
  const { watch, clock, request } = await watching();
  await watch.breakOff();
  await clock.advance(600);
  const first = request().open();
  await settle();
  await request().answer(500, 'no');
  assert.ok(first.aborted);
  await clock.advance(1_200);
  request().open();
  await settle();
  assert.is(request().query.limit, '1');
});

test('while the server cannot be reached, the distances grow to half a minute, half of it by chance', async () => {
  let chance = 0;
  const { watch, clock, request, api, names } = await watching({ random: () => chance });
  const steps = [
    { random: 0, pauseMs: 400 },
    { random: 0.5, pauseMs: 1_200 },
    { random: 0.75, pauseMs: 2_800 },
    { random: 0, pauseMs: 3_200 },
    { random: 0, pauseMs: 6_400 },
    { random: 0, pauseMs: 12_800 },
    { random: 0, pauseMs: 15_000 },
    { random: 0.5, pauseMs: 22_500 },
  ];
  for (const [index, { random, pauseMs }] of steps.entries()) {
    chance = random;
    if (index === 0) await watch.breakOff();
    else await request().fail(unreachable());
    await clock.advance(pauseMs - 1);
    assert.is(api.waiting('services'), 0, `before ${pauseMs} ms`);
    await clock.advance(1);
    assert.is(api.waiting('services'), 1, `after ${pauseMs} ms`);
  }
  assert.is(names(), 'a');
});

test('after a watch that lasted the distances begin anew', async () => {
  const { watch, clock, request, api } = await watching();
  await watch.breakOff();
  for (let failures = 0; failures < 6; failures++) {
    await clock.advance(30_000);
    await request().fail(unreachable());
  }
  await clock.advance(30_000);
  const lasting = request().open();
  await clock.advance(5_000);
  await lasting.breakOff();
  assert.ok(request().aborted);
  await clock.advance(599);
  assert.is(api.waiting('services'), 0);
  await clock.advance(1);
  assert.is(api.waiting('services'), 1);
});

test('a watch on which nothing came for two and a half minutes and more is given up', async () => {
  const { watch, clock, request, names } = await watching();
  await clock.advance(100_000);
  await watch.bookmark('22');
  await clock.advance(164_999);
  assert.not.ok(watch.aborted);
  await clock.advance(1);
  assert.ok(watch.aborted);
  await clock.advance(600);
  assert.is(request().query.resourceVersion, '22');
  assert.is(names(), 'a');
});

test('two watches in a row on which nothing ever came are followed by a list', async () => {
  const { clock, request } = await watching();
  await clock.advance(165_000 + 600);
  request().open();
  await settle();
  await request().answer(200, list('25', []));
  await clock.advance(165_000);
  const again = request();
  assert.equal([again.query.watch, again.query.resourceVersion], [undefined, '20']);
});

test('a list whose bytes stop coming is given up after a minute', async () => {
  const { request, clock, published } = await stage({ streams: false });
  const stream = request().open();
  await stream.bytes('{"metadata":{"resourceVersion":"5"},"items":[');
  await clock.advance(59_999);
  assert.not.ok(stream.aborted);
  await clock.advance(1);
  assert.ok(stream.aborted);
  assert.is(published(), 0);
});

test('an error whose explanation never comes is given up, too', async () => {
  const { request, clock, api } = await stage({ streams: false });
  const stuck = request().open(500);
  await clock.advance(59_999);
  assert.not.ok(stuck.aborted);
  await clock.advance(1);
  assert.ok(stuck.aborted);
  await clock.advance(600);
  assert.is(api.waiting('services'), 1);
});

test('410 as an event leads to a list, other errors to another watch', async () => {
  const first = await watching();
  await first.watch.event('ERROR', status(410, 'Expired', 'too old resource version: 20 (90)'));
  assert.is(first.request().query.watch, undefined);

  const second = await watching();
  await second.watch.event('ERROR', status(500, 'InternalError', 'unable to decode'));
  await second.clock.advance(600);
  const next = second.request();
  assert.equal([next.query.watch, next.query.resourceVersion], ['true', '20']);
});

test('a version that the server cannot watch from five times is given up for a list', async () => {
  const { watch, clock, request } = await watching();
  await watch.event('ERROR', status(500, 'InternalError', 'unable to decode'));
  for (let failures = 1; failures < 5; failures++) {
    await clock.advance(30_000);
    await request().answer(500, status(500, 'InternalError', 'unable to decode'));
  }
  await clock.advance(30_000);
  assert.equal(request().query.watch, undefined);
});

test('a watch that the server refuses for good is replaced by a list', async () => {
  const { watch, clock, request } = await watching();
  await watch.event('ERROR', status(400, 'BadRequest', 'invalid resource version'));
  await clock.advance(600);
  const again = request();
  assert.equal([again.query.watch, again.query.resourceVersion], [undefined, undefined]);
});

test('429 is obeyed for as long as it asks, with a fifth more by chance', async () => {
  const { watch, clock, request, api } = await watching({ random: () => 0.5 });
  await watch.breakOff();
  await clock.advance(600);
  await request().answer(429, status(429, 'TooManyRequests', 'slow down'), { 'retry-after': '20' });
  await clock.advance(21_999);
  assert.is(api.waiting('services'), 0);
  await clock.advance(1);
  assert.is(api.waiting('services'), 1);
});

test('a Retry-After of hours is cut to five minutes, and 503 may carry one, too', async () => {
  const { request, clock, api } = await stage({ streams: false, random: () => 0 });
  await request().answer(503, 'busy', { 'retry-after': '86400' });
  await clock.advance(299_999);
  assert.is(api.waiting('services'), 0);
  await clock.advance(1);
  assert.is(api.waiting('services'), 1);
});

test('401 has the credentials read again before the next attempt', async () => {
  const { watch, request, clock, api, log } = await watching();
  await watch.breakOff();
  await clock.advance(600);
  await request().answer(401, status(401, 'Unauthorized', 'Unauthorized'));
  assert.equal(api.reloads, ['Unauthorized']);
  assert.is(api.waiting('services'), 0);
  await clock.advance(1_200);
  assert.is(request().query.resourceVersion, '20');
  assert.ok(log.at('warn').some(({ message }) => message.includes('does not accept the credentials')));
});

test('a certificate that is not accepted has the credentials read again, too', async () => {
  const { request, api } = await stage();
  await request().fail(Object.assign(new Error('unable to verify'), { code: 'KP_API_TLS' }));
  assert.is(api.reloads.length, 1);
});

test('403 is told with the verbs and the resource that are lacking', async () => {
  const { request, log, clock } = await stage();
  await request().answer(403, status(403, 'Forbidden', 'services is forbidden: User "x" cannot watch'));
  const [line] = log.at('warn');
  assert.equal([line?.values.resource, line?.values.verbs], ['services', 'list, watch']);
  await clock.advance(800);
  assert.is(request().query.watch, 'true');
});

test('bytes that are no JSON end the watch, and what came before them counts', async () => {
  const { watch, clock, request, names } = await watching();
  await watch.event('ADDED', service('b', { version: '21' }));
  await watch.bytes('{"type":"ADDED","object":}\n');
  assert.ok(watch.aborted);
  await clock.advance(600);
  assert.is(request().query.resourceVersion, '21');
  assert.is(names(), 'a b');
});

test('a stream that ends in the middle of an event is a lost connection, not an end', async () => {
  const { watch, clock, request, names } = await watching();
  await watch.bytes(JSON.stringify({ type: 'ADDED', object: service('b', { version: '21' }) }).slice(0, -1));
  await watch.end();
  await clock.advance(600);
  assert.is(request().query.resourceVersion, '20');
  assert.is(names(), 'a');
});

test('events of unknown types and without objects do not end the watch', async () => {
  const { watch, names } = await watching();
  await watch.event('RENAMED', service('x'));
  await watch.event('ADDED', null);
  await watch.event('DELETED', { metadata: {} });
  await watch.bytes('{}\n');
  await watch.event('ADDED', service('b', { version: '21' }));
  assert.not.ok(watch.aborted);
  assert.is(names(), 'a b');
});

test('an object with faults is told once, does not hold up others, and is forgotten if nothing of it can be served', async () => {
  const { watch, problems, names, log } = await watching();
  await watch.event('MODIFIED', service('a', { version: '21', ip: 'nonsense' }));
  await watch.event('MODIFIED', service('a', { version: '22', ip: 'nonsense' }));
  await watch.event('MODIFIED', service('b', { version: '23', port: 'eighty' }));
  await watch.event('ADDED', service('c', { version: '24' }));
  assert.equal(
    problems.map(({ kind, namespace, name, uid }) => [kind, namespace, name, uid]),
    [
      ['Service', 'shop', 'a', 'uid-a'],
      ['Service', 'shop', 'b', 'uid-b'],
    ],
  );
  assert.is(log.at('warn').length, 2);
  assert.is(names(), 'a c');
  await watch.event('MODIFIED', service('b', { version: '25' }));
  await watch.event('MODIFIED', service('b', { version: '26', port: 'eighty' }));
  assert.is(problems.length, 3);
  assert.is(names(), 'a c');
});

test('an object that the sink cannot take is named in the log, and offered again with the next list', async () => {
  let broken = true;
  const { watch, log, names, request } = await watching({
    onUpsert(key) {
      if (broken && key === 'shop/b') throw new Error('no room');
    },
  });
  await watch.event('ADDED', service('b', { version: '21' }));
  await watch.event('ADDED', service('c', { version: '22' }));
  assert.is(names(), 'a c');
  assert.equal(
    log.at('error').map(({ values }) => [values.kind, values.namespace, values.name]),
    [['Service', 'shop', 'b']],
  );
  broken = false;
  await watch.event('ERROR', status(410, 'Expired', 'too old'));
  const items = [service('a', { version: '10' }), service('b', { version: '21' }), service('c', { version: '22' })];
  await request().answer(200, list('30', items));
  assert.is(names(), 'a b c');
});

test('nothing is delivered once it was stopped, even from a piece that is already there', async () => {
  const { watch, told, reflector } = await watching({ onUpsert: () => void reflector.stop() });
  const text = ['b', 'c'].map((name, i) =>
    JSON.stringify({ type: 'ADDED', object: service(name, { version: `${30 + i}` }) }),
  );
  await watch.bytes(text.join('\n'));
  assert.equal(told, ['+ shop/b']);
  assert.ok(watch.aborted);
});

test('nor is the rest of a whole state', async () => {
  const there = await stage({ streams: false, onUpsert: () => void there.reflector.stop() });
  await there.request().answer(200, list('20', [service('a'), service('b')]));
  assert.equal(there.told, ['+ shop/a']);
  assert.is(there.published(), 0);
});

test('stopping ends a request that was not answered, and a pause', async () => {
  const asking = await stage();
  await asking.reflector.stop();
  assert.ok(asking.request().aborted);

  const pausing = await stage();
  await pausing.request().fail(unreachable());
  await pausing.reflector.stop();
  assert.is(pausing.clock.pending(), 0);
});

test('thousands of reconnects leave no timer and no table behind', async () => {
  const { watch, clock, request, reflector } = await watching();
  await watch.end();
  for (let round = 0; round < 2_000; round++) {
    await clock.advance(30_000);
    await request().fail(unreachable());
  }
  assert.is(clock.pending(), 1);
  assert.is(reflector.status().failures, 2_000);
});

test('status says what there is, how old it is and what was wrong', async () => {
  const { watch, reflector, clock, request } = await watching();
  const began = clock.now();
  await clock.advance(7_000);
  await watch.bookmark('28');
  assert.equal(reflector.status(), {
    synced: true,
    connected: true,
    lastContactMs: began + 7_000,
    objects: 1,
    resourceVersion: '28',
    relists: 0,
    watches: 1,
    failures: 0,
    lastError: undefined,
  });
  await watch.breakOff();
  await clock.advance(600);
  await request().fail(unreachable());
  const { connected, lastContactMs, failures, lastError } = reflector.status();
  assert.equal([connected, lastContactMs, failures, lastError], [false, began + 7_000, 2, 'connect ECONNREFUSED']);
});

test.run();
