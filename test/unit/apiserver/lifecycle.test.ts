/** The server goes down and comes back, as itself or restored from a backup; connections drop and handshakes stall. */
import { existsSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { type ApiServer, startApiServer } from '../../apiserver/server.ts';
import { until } from './client.ts';
import { serverSuite, service } from './with-server.ts';

const { test, client: clientOf, run } = serverSuite('apiserver lifecycle');

const ALL = '/api/v1/services';
const put = (server: ApiServer, name: string) => server.objects.apply(service(name)).metadata.resourceVersion!;

test('after a restart the objects are there, at the same address, but watches from before are too old', async (server, client) => {
  const version = put(server, 'a');
  put(server, 'b');
  const watching = await client.watch(`${ALL}?watch=1`);
  await server.restart();
  await until('the end', () => watching.ended() !== '');
  assert.is(watching.ended(), 'end', 'a shutdown ends watches properly');
  // Connections from before are gone, whether or not a client has noticed.
  const later = clientOf(server);
  assert.is((await later.get(ALL)).json.items.length, 2);
  const resumed = await later.watch(`${ALL}?watch=1&resourceVersion=${version}`);
  await until('an event', () => resumed.events.length > 0);
  assert.is(resumed.events[0]!.object.code, 410);
  const exact = await later.get(`${ALL}?resourceVersion=${version}&resourceVersionMatch=Exact`);
  assert.is(exact.json.items.length, 1, 'what etcd has not compacted can be listed');
});

test('while it is down nothing answers', async (server, client) => {
  const watching = await client.watch(`${ALL}?watch=1`);
  await server.down('reset');
  await until('the end', () => watching.ended() !== '');
  assert.is(watching.ended(), 'ECONNRESET');
  assert.is(await failure(clientOf(server).get(ALL)), 'ECONNREFUSED');
  put(server, 'a');
  await server.up();
  assert.is((await clientOf(server).get(ALL)).json.items.length, 1);
});

test('restored from a backup it has the old objects, the old version, and goes on from there', async (server) => {
  put(server, 'a');
  const backup = server.resourceVersion();
  put(server, 'b');
  server.objects.delete('Service', 'default', 'a');
  await server.restart({ restoreTo: backup });
  const { json } = await clientOf(server).get(ALL);
  assert.equal(
    json.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name),
    ['a'],
  );
  assert.is(json.metadata.resourceVersion, String(backup));
  assert.is(put(server, 'c'), String(backup + 1));
});

test('it can come back with lower versions', async (server) => {
  for (const name of ['a', 'b', 'c']) put(server, name);
  const before = server.resourceVersion();
  await server.restart({ how: 'close', lowerResourceVersion: true });
  const { json } = await clientOf(server).get(ALL);
  assert.is(json.items.length, 3);
  assert.ok(Number(json.metadata.resourceVersion) < before);
  for (const { metadata } of json.items) {
    assert.ok(Number(metadata.resourceVersion) <= Number(json.metadata.resourceVersion));
  }
});

test('connections drop between requests', async (server, client) => {
  await client.get(ALL);
  assert.is(server.connections(), 1);
  server.dropConnections('close');
  await until('they are gone', () => server.connections() === 0);
  assert.is((await clientOf(server).get(ALL)).status, 200);
});

test('a handshake waits for ever, until it may go on', async (server, client) => {
  const before = clientOf(server);
  await before.get('/api/v1/nodes');
  server.stallHandshakes(true);
  let status = 0;
  const answer = client.get(ALL).then((got) => {
    status = got.status;
  });
  await until('the connection is there', () => server.connections() === 2);
  // Many times as many turns as a handshake takes, on the connection from before.
  for (let round = 0; round < 20; round++) assert.is((await before.get('/api/v1/nodes')).status, 200);
  assert.is(status, 0);
  assert.not.ok(server.requests().some(({ resource }) => resource === 'services'));
  server.stallHandshakes(false);
  await answer;
  assert.is(status, 200);
});

test('stopping takes its own folder away', async () => {
  const server = await startApiServer();
  const path = server.adminKubeconfig();
  assert.ok(existsSync(path));
  await server.stop();
  assert.not.ok(existsSync(path));
});

test('it listens where it is told to, also on IPv6', async () => {
  const server = await startApiServer({ host: '::1' });
  try {
    assert.match(server.url, /^https:\/\/\[::1\]:\d+$/);
    assert.is((await clientOf(server).get(ALL)).status, 200);
  } finally {
    await server.stop();
  }
});

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  }
  throw new Error('it was answered');
}

run();
