/** Watch streams over HTTPS: how they begin, what they carry, how they end. */
import * as assert from 'uvu/assert';
import type { ApiServer } from '../../apiserver/server.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { until, type WatchedEvent, type Watching } from './client.ts';
import { serverSuite, service } from './with-server.ts';

const { test, run } = serverSuite('apiserver watches');

const WATCH = '/api/v1/services?watch=1';
const WATCH_LIST = `${WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`;

const put = (server: ApiServer, name: string, app = name) =>
  server.objects.apply(service(name, { labels: { app } })).metadata.resourceVersion!;
const short = ({ events }: Watching) => events.map(say);
const say = ({ type, object }: WatchedEvent) =>
  type === 'BOOKMARK' || type === 'ERROR' ? type : `${type} ${object.metadata.name}`;
const count = (watching: Watching, wanted: number) => until(`${wanted} events`, () => watching.events.length >= wanted);

for (const version of ['', '&resourceVersion=0']) {
  test(`a watch ${version === '' ? 'without version' : 'from version 0'} begins with the state, then sends changes`, async (server, client) => {
    put(server, 'a');
    const watching = await client.watch(WATCH + version);
    assert.is(watching.status, 200);
    await count(watching, 1);
    put(server, 'b');
    put(server, 'a', 'other');
    server.objects.delete('Service', 'default', 'b');
    await count(watching, 4);
    assert.equal(short(watching), ['ADDED a', 'ADDED b', 'MODIFIED a', 'DELETED b']);
    const [first] = watching.events;
    assert.is(first!.object.kind, 'Service');
    assert.is(first!.object.apiVersion, 'v1');
    const { resourceVersion } = watching.events[3]!.object.metadata;
    assert.is(resourceVersion, String(server.resourceVersion()), 'a deletion carries its own version');
  });
}

test('a watch from a version sends what came after it', async (server, client) => {
  put(server, 'a');
  const version = put(server, 'b');
  put(server, 'c');
  const watching = await client.watch(`${WATCH}&resourceVersion=${version}`);
  put(server, 'd');
  await count(watching, 2);
  assert.equal(short(watching), ['ADDED c', 'ADDED d']);
});

test('a streamed list ends its initial events with an annotated bookmark', async (server, client) => {
  put(server, 'a');
  put(server, 'b');
  const watching = await client.watch(`${WATCH_LIST}&allowWatchBookmarks=true`);
  await count(watching, 3);
  put(server, 'c');
  await count(watching, 4);
  assert.equal(short(watching), ['ADDED a', 'ADDED b', 'BOOKMARK', 'ADDED c']);
  const { object } = watching.events[2]!;
  assert.equal(object.metadata.annotations, { 'k8s.io/initial-events-end': 'true' });
  assert.is(Number(object.metadata.resourceVersion), server.resourceVersion() - 1);
  assert.is(object.kind, 'Service');
  assert.equal(object.status, { loadBalancer: {} });
});

test('without permission for bookmarks a streamed list has no end', async (server, client) => {
  put(server, 'a');
  const watching = await client.watch(WATCH_LIST);
  put(server, 'b');
  await count(watching, 2);
  assert.equal(short(watching), ['ADDED a', 'ADDED b']);
});

test('a streamed list is never too old', async (server, client) => {
  put(server, 'a');
  server.compact();
  const watching = await client.watch(`${WATCH_LIST}&allowWatchBookmarks=true&resourceVersion=1001`);
  await count(watching, 2);
  assert.equal(short(watching), ['ADDED a', 'BOOKMARK']);
});

test(
  'a streamed list of a version that never comes ends in an ERROR event',
  async (server, client) => {
    const watching = await client.watch(`${WATCH_LIST}&resourceVersion=${server.resourceVersion() + 5}`);
    await until('the end', () => watching.ended() !== '');
    assert.equal(short(watching), ['ERROR']);
    assert.is(watching.events[0]!.object.code, 504);
    assert.is(watching.events[0]!.object.details.causes[0].reason, 'ResourceVersionTooLarge');
  },
  { freshnessMilliseconds: 1 },
);

test('initial events can be declined', async (server, client) => {
  const version = put(server, 'a');
  const declined = `${WATCH}&sendInitialEvents=false&resourceVersionMatch=NotOlderThan`;
  const fromNow = await client.watch(declined);
  const fromThere = await client.watch(`${declined}&resourceVersion=${Number(version) - 1}`);
  put(server, 'b');
  await count(fromNow, 1);
  await count(fromThere, 2);
  assert.equal(short(fromNow), ['ADDED b']);
  assert.equal(short(fromThere), ['ADDED a', 'ADDED b']);
});

test('a version too old is one ERROR event in a good answer', async (server, client) => {
  put(server, 'a');
  server.compact();
  const watching = await client.watch(`${WATCH}&resourceVersion=1001`);
  await until('the end', () => watching.ended() !== '');
  assert.is(watching.status, 200);
  assert.is(watching.ended(), 'end');
  const [{ type, object }] = watching.events as [WatchedEvent];
  assert.is(type, 'ERROR');
  assert.is(object.kind, 'Status');
  assert.is(object.code, 410);
  assert.is(object.reason, 'Expired');
  assert.match(object.message, `too old resource version: 1001 (${server.resourceVersion()})`);
});

test('a watch from the future is silent until it is reached', async (server, client) => {
  const ahead = server.resourceVersion() + 2;
  const watching = await client.watch(`${WATCH}&resourceVersion=${ahead}&allowWatchBookmarks=1`);
  put(server, 'a');
  put(server, 'b');
  for (const watch of server.watches()) watch.bookmark();
  put(server, 'c');
  await count(watching, 2);
  assert.equal(short(watching), ['BOOKMARK', 'ADDED c'], 'only what a test sends by hand comes earlier');
});

test('a version that is no number is refused before the stream', async (_, { get }) => {
  assert.is((await get(`${WATCH}&resourceVersion=abc`)).status, 500);
});

test('an object that begins or ceases to be selected is added or deleted', async (server, client) => {
  put(server, 'a', 'web');
  const watching = await client.watch(`${WATCH}&labelSelector=app%3Dweb`);
  await count(watching, 1);
  put(server, 'b', 'db');
  put(server, 'a', 'db');
  const deleted = server.resourceVersion();
  put(server, 'b', 'web');
  server.objects.delete('Service', 'default', 'a');
  put(server, 'c', 'web');
  await count(watching, 4);
  assert.equal(short(watching), ['ADDED a', 'DELETED a', 'ADDED b', 'ADDED c']);
  const { object } = watching.events[1]!;
  assert.is(object.metadata.labels.app, 'web', 'the last state that was selected');
  assert.is(object.metadata.resourceVersion, String(deleted), 'under the version of the change');
});

test('a watch sees its namespace, its name, its resource only', async (server, client) => {
  const inNamespace = await client.watch('/api/v1/namespaces/shop/services?watch=1');
  const named = await client.watch(`${WATCH}&fieldSelector=metadata.name%3Db`);
  const nodes = await client.watch('/api/v1/nodes?watch=1');
  put(server, 'a');
  server.objects.apply(service('b', { namespace: 'shop' }));
  server.objects.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } });
  await count(nodes, 1);
  await count(inNamespace, 1);
  await count(named, 1);
  assert.equal([short(inNamespace), short(named), short(nodes)], [['ADDED b'], ['ADDED b'], ['ADDED n']]);
});

const clock = fakeClock();
test(
  'bookmarks come once a period to those who allow them, and only when versions have moved',
  async (server, client) => {
    const from = `&resourceVersion=${server.resourceVersion()}`;
    const allowing = await client.watch(`${WATCH}&allowWatchBookmarks=true${from}`);
    const other = await client.watch(WATCH + from);
    await clock.advance(60_000);
    server.advance(5);
    await clock.advance(60_000);
    await count(allowing, 1);
    server.advance(1);
    await clock.advance(60_000);
    await count(allowing, 2);
    put(server, 'a');
    await count(other, 1);
    await count(allowing, 3);
    assert.equal(short(allowing), ['BOOKMARK', 'BOOKMARK', 'ADDED a']);
    assert.equal(short(other), ['ADDED a']);
    assert.is(allowing.events[0]!.object.metadata.annotations, undefined);
    assert.is(Number(allowing.events[1]!.object.metadata.resourceVersion), server.resourceVersion() - 1);
  },
  { clock },
);

const timeouts = fakeClock();
test(
  'a watch ends after its time, properly, and leaves nothing behind',
  async (server, client) => {
    const watching = await client.watch(`${WATCH}&timeoutSeconds=5&allowWatchBookmarks=1`);
    assert.is(server.watches({ resource: 'services' }).length, 1);
    await timeouts.advance(4_999);
    assert.is(watching.ended(), '');
    await timeouts.advance(1);
    await until('the end', () => watching.ended() !== '');
    assert.is(watching.ended(), 'end');
    await until('it is forgotten', () => server.watches().length === 0);
    assert.is(timeouts.pending(), 0);
  },
  { clock: timeouts },
);

test('a watch that its client leaves is forgotten', async (server, client) => {
  const watching = await client.watch(WATCH);
  assert.is(server.watches({ user: 'tester' }).length, 1);
  assert.is(server.watches({ user: 'nobody' }).length, 0);
  watching.close();
  await until('it is forgotten', () => server.watches().length === 0);
});

test('thousands of objects stream whole, with changes that happen meanwhile after them', async (server, client) => {
  for (let index = 0; index < 3000; index++) put(server, `s${index}`);
  const opening = client.watch(`${WATCH_LIST}&allowWatchBookmarks=true`);
  const watching = await opening;
  put(server, 'late');
  await count(watching, 3002);
  assert.is(watching.events.filter(({ type }) => type === 'UNREADABLE').length, 0);
  assert.is(say(watching.events[3000]!), 'BOOKMARK');
  assert.is(say(watching.events[3001]!), 'ADDED late');
});

test(
  'on a server without the WatchList feature the request is refused',
  async (_, { get }) => {
    assert.is((await get(WATCH_LIST)).status, 422);
  },
  { watchList: false },
);

run();
