/** Each fault of the script does to a client what it says, as often as it says. */
import * as assert from 'uvu/assert';
import type { ApiServer } from '../../apiserver/server.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { until, type Watching } from './client.ts';
import { serverSuite, service } from './with-server.ts';

const { test, run } = serverSuite('apiserver faults');

const ALL = '/api/v1/services';
const WATCH = `${ALL}?watch=1`;
const WATCH_LIST = `${WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`;

const put = (server: ApiServer, name: string, app = name) => server.objects.apply(service(name, { labels: { app } }));
const count = (watching: Watching, wanted: number) => until(`${wanted} events`, () => watching.events.length >= wanted);
const ended = async (watching: Watching) => {
  await until('the end', () => watching.ended() !== '');
  return watching.ended();
};
const short = ({ events }: Watching) =>
  events.map(({ type, object }) => (object.metadata?.name === undefined ? type : `${type} ${object.metadata.name}`));

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  }
  throw new Error('it was answered');
}

test('a fault strikes what it matches, as often as it says', async (server, { get }) => {
  const fault = server.faults.add({ kind: 'answer', status: 500 }, { verb: 'list', resource: 'services' }, 2);
  assert.is((await get('/api/v1/nodes')).status, 200);
  assert.is((await get(`${ALL.replace('/services', '/namespaces/default/services')}/web`)).status, 404);
  assert.is((await get(ALL)).status, 500);
  assert.is((await get(ALL)).status, 500);
  assert.is((await get(ALL)).status, 200);
  assert.is(fault.hits(), 2);
  assert.is(server.requests()[2]!.status, 500);
});

test('a fault can be meant for some verbs, some resources or one user, and be taken back', async (server, { get }) => {
  const match = { verb: ['list', 'watch'], resource: ['nodes', 'services'], user: 'tester' };
  const fault = server.faults.add({ kind: 'answer', status: 500 }, match, Number.POSITIVE_INFINITY);
  server.faults.add({ kind: 'answer', status: 500 }, { user: 'somebody' });
  assert.is((await get(ALL)).status, 500);
  assert.is((await get('/api/v1/nodes?watch=1')).status, 500);
  assert.is((await get('/api/v1/namespaces')).status, 200);
  fault.remove();
  assert.is((await get(ALL)).status, 200);
  server.faults.add({ kind: 'answer', status: 500 });
  server.faults.clear();
  assert.is((await get(ALL)).status, 200);
});

test('too many requests and an unavailable service answer in plain text, as filters in front of the API do', async (server, {
  get,
}) => {
  server.faults.add({ kind: 'answer', status: 429, retryAfterSeconds: 7 });
  const busy = await get(ALL);
  assert.is(busy.status, 429);
  assert.is(busy.headers['retry-after'], '7');
  assert.match(String(busy.headers['content-type']), 'text/plain');
  assert.is(busy.text, 'Too many requests, please try again later.\n');
  server.faults.add({ kind: 'answer', status: 503 });
  assert.is((await get(ALL)).text, 'Service Unavailable\n');
  server.faults.add({ kind: 'answer', status: 500 });
  assert.is((await get(ALL)).json.reason, 'InternalError');
  server.faults.add({ kind: 'answer', status: 200, body: '<html>', contentType: 'text/html' });
  const page = await get(ALL);
  assert.is(page.text, '<html>');
  assert.is(page.headers['content-type'], 'text/html');
});

test('a list, a page of it, or a watch can be too old', async (server, { get, watch }) => {
  for (const name of ['a', 'b']) put(server, name);
  const { json } = await get(`${ALL}?limit=1`);
  server.faults.add({ kind: 'expired' }, { verb: 'list' }, 2);
  const list = await get(ALL);
  assert.is(list.status, 410);
  assert.is(list.json.reason, 'Expired');
  assert.is((await get(`${ALL}?continue=${json.metadata.continue}`)).status, 410);
  server.faults.add({ kind: 'expired' }, { verb: 'watch' });
  const inStream = await watch(`${WATCH}&resourceVersion=5`);
  assert.is(inStream.status, 200);
  assert.is(await ended(inStream), 'end');
  assert.is(inStream.events[0]!.object.code, 410);
  server.faults.add({ kind: 'expired', as: 'http' }, { verb: 'watch' });
  assert.is((await get(WATCH)).status, 410);
});

test('a request can be reset, or never answered', async (server, client) => {
  server.faults.add({ kind: 'reset' });
  assert.is(await failure(client.get(ALL)), 'ECONNRESET');
  server.faults.add({ kind: 'silence' });
  let answered = false;
  const waiting = client.get(ALL).then(
    () => {
      answered = true;
    },
    () => {},
  );
  await until('the request has come', () => server.requests().length === 2);
  assert.is((await client.get(ALL)).status, 200, 'others are answered meanwhile');
  assert.is(answered, false);
  assert.is(server.requests()[1]!.status, 0);
  server.dropConnections('close');
  await waiting;
});

test('a watch can end at once after its headers', async (server, client) => {
  put(server, 'a');
  server.faults.add({ kind: 'empty' }, { verb: 'watch' });
  const watching = await client.watch(WATCH);
  assert.is(watching.status, 200);
  assert.is(await ended(watching), 'end');
  assert.is(watching.text(), '');
});

test('a stream is reset after so many events', async (server, client) => {
  for (const name of ['a', 'b', 'c']) put(server, name);
  server.faults.add({ kind: 'cut', how: 'reset', afterEvents: 2 }, { verb: 'watch' });
  const watching = await client.watch(WATCH);
  assert.is(await ended(watching), 'ECONNRESET');
  assert.equal(short(watching), ['ADDED a', 'ADDED b']);
});

test('a stream breaks right after its headers, though there is nothing to send', async (server, client) => {
  server.faults.add({ kind: 'cut', how: 'close', afterEvents: 0 }, { verb: 'watch' });
  const closed = await client.watch(WATCH);
  assert.is(closed.status, 200);
  assert.is(await ended(closed), 'ECONNRESET');
  server.faults.add({ kind: 'cut', how: 'freeze', afterBytes: 0 }, { verb: 'watch' });
  const watching = await client.watch(WATCH_LIST);
  put(server, 'a');
  assert.is((await client.get(ALL)).status, 200, 'the server has had its turn');
  assert.is(watching.text(), '');
  assert.is(watching.ended(), '');
});

test('a stream is reset inside a frame', async (server, client) => {
  put(server, 'a');
  server.faults.add({ kind: 'cut', how: 'reset', afterBytes: 40 }, { verb: 'watch' });
  const watching = await client.watch(WATCH);
  assert.is(await ended(watching), 'ECONNRESET');
  assert.is(watching.text().length, 40);
  assert.match(watching.text(), /^{"type":"ADDED","object":{"kind":"Serv/);
});

test('an answer ends properly in the middle of its JSON', async (server, client) => {
  put(server, 'a');
  server.faults.add({ kind: 'cut', how: 'end', afterBytes: 60 }, {}, 2);
  const watching = await client.watch(WATCH);
  assert.is(await ended(watching), 'end');
  assert.is(watching.text().length, 60);
  const list = await client.get(ALL);
  assert.is(list.status, 200);
  assert.is(list.text.length, 60);
  assert.is(list.json, undefined);
});

test('the connection ends inside an answer', async (server, client) => {
  put(server, 'a');
  server.faults.add({ kind: 'cut', how: 'close', afterBytes: 60 }, {}, 2);
  assert.is(await ended(await client.watch(WATCH)), 'ECONNRESET');
  assert.is(await failure(client.get(ALL)), 'ECONNRESET');
});

const frozen = fakeClock();
test(
  'a frozen stream sends nothing more, no bookmark and no end, and its connection stays',
  async (server, client) => {
    server.faults.add({ kind: 'cut', how: 'freeze', afterEvents: 1 }, { verb: 'watch' });
    const watching = await client.watch(`${WATCH}&allowWatchBookmarks=1&timeoutSeconds=100`);
    put(server, 'a');
    await count(watching, 1);
    put(server, 'b');
    server.advance(1);
    await frozen.advance(200_000);
    assert.is((await client.get(ALL)).status, 200, 'the server has had its turn');
    assert.equal(short(watching), ['ADDED a']);
    assert.is(watching.ended(), '');
    assert.is(server.watches().length, 1);
    watching.close();
    await until('it is forgotten', () => server.watches().length === 0);
  },
  { clock: frozen },
);

const slow = fakeClock();
test(
  'a slow answer comes in pieces',
  async (server, client) => {
    put(server, 'a');
    server.faults.add({ kind: 'slow', milliseconds: 1000, bytes: 50 }, { verb: 'watch' });
    const watching = await client.watch(`${WATCH}&timeoutSeconds=3000`);
    await until('a piece waits', () => slow.pending() >= 2);
    assert.is(watching.text(), '');
    await slow.advance(1000);
    await until('the first piece', () => watching.text().length === 50);
    await slow.advance(1000);
    await until('the second piece', () => watching.text().length === 100);
    for (let round = 0; round < 100; round++) await slow.advance(1000);
    await count(watching, 1);
    put(server, 'b');
    for (let round = 0; round < 100; round++) await slow.advance(1000);
    await count(watching, 2);
    assert.equal(short(watching), ['ADDED a', 'ADDED b']);
  },
  { clock: slow },
);

const slowList = fakeClock();
test(
  'a slow list ends, too',
  async (server, client) => {
    put(server, 'a');
    server.faults.add({ kind: 'slow', milliseconds: 10, bytes: 500 }, { verb: 'list' });
    const answer = client.get(ALL);
    await until('a piece waits', () => slowList.pending() > 0);
    for (let round = 0; round < 20; round++) await slowList.advance(10);
    assert.is((await answer).json.items.length, 1);
  },
  { clock: slowList },
);

test('garbage arrives between events', async (server, client) => {
  for (const name of ['a', 'b']) put(server, name);
  server.faults.add({ kind: 'garbage', text: '{"type": no JSON}\n', afterEvents: 1 }, { verb: 'watch' });
  const watching = await client.watch(WATCH);
  await count(watching, 3);
  assert.equal(short(watching), ['ADDED a', 'UNREADABLE', 'ADDED b']);
});

test('events arrive twice', async (server, client) => {
  put(server, 'a');
  server.faults.add({ kind: 'duplicate' }, { verb: 'watch' });
  const watching = await client.watch(WATCH);
  put(server, 'b');
  await count(watching, 4);
  assert.equal(short(watching), ['ADDED a', 'ADDED a', 'ADDED b', 'ADDED b']);
});

test('an older state of an object arrives after a newer one', async (server, client) => {
  put(server, 'a', 'old');
  server.faults.add({ kind: 'replay' }, { verb: 'watch' });
  const watching = await client.watch(WATCH);
  await count(watching, 1);
  put(server, 'a', 'new');
  await count(watching, 3);
  assert.equal(
    watching.events.map(({ type, object }) => `${type} ${object.metadata.labels.app}`),
    ['ADDED old', 'MODIFIED new', 'MODIFIED old'],
  );
  const [, newer, older] = watching.events.map(({ object }) => Number(object.metadata.resourceVersion));
  assert.ok(older! < newer!);
});

const quiet = fakeClock();
test(
  'bookmarks stay away, also the one that ends the initial events',
  async (server, client) => {
    put(server, 'a');
    server.faults.add({ kind: 'noBookmarks' }, { verb: 'watch' });
    const watching = await client.watch(WATCH_LIST);
    await count(watching, 1);
    server.advance(1);
    await quiet.advance(120_000);
    put(server, 'b');
    await count(watching, 2);
    assert.equal(short(watching), ['ADDED a', 'ADDED b']);
  },
  { clock: quiet },
);

test('streamed lists are refused, or taken for plain watches', async (server, { get, watch }) => {
  put(server, 'a');
  server.faults.add({ kind: 'watchListRefused' }, { verb: 'watch' });
  const refused = await get(WATCH_LIST);
  assert.is(refused.status, 422);
  assert.match(refused.json.message, 'unless the WatchList feature gate is enabled');
  server.faults.add({ kind: 'watchListIgnored' }, { verb: 'watch' });
  const ignored = await watch(WATCH_LIST);
  put(server, 'b');
  await count(ignored, 2);
  assert.equal(short(ignored), ['ADDED a', 'ADDED b']);
});

test('streams that are open can be ended, failed, reset, closed, frozen, and be sent anything', async (server, client) => {
  const open = async () => {
    const watching = await client.watch(WATCH);
    await until('it is open', () => server.watches().length === 1);
    return { watching, watch: server.watches()[0]! };
  };
  const end = await open();
  end.watch.end();
  assert.is(await ended(end.watching), 'end');
  await until('it is gone', () => server.watches().length === 0);

  const reset = await open();
  reset.watch.reset();
  assert.is(await ended(reset.watching), 'ECONNRESET');
  await until('it is gone', () => server.watches().length === 0);

  const close = await open();
  close.watch.close();
  assert.is(await ended(close.watching), 'ECONNRESET');
  await until('it is gone', () => server.watches().length === 0);

  const fail = await open();
  const status = {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    reason: 'Expired',
    code: 410,
  } as const;
  fail.watch.fail(status);
  assert.is(await ended(fail.watching), 'end');
  assert.equal(fail.watching.events, [{ type: 'ERROR', object: status }]);
  await until('it is gone', () => server.watches().length === 0);

  const freeze = await open();
  freeze.watch.send('x\n');
  freeze.watch.bookmark();
  await count(freeze.watching, 2);
  freeze.watch.freeze();
  put(server, 'a');
  assert.is((await client.get(ALL)).status, 200);
  assert.equal(short(freeze.watching), ['UNREADABLE', 'BOOKMARK']);
  assert.is(freeze.watching.ended(), '');
});

run();
