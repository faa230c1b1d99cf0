/** Lists over HTTPS: versions, pieces, selectors, compression. */

import { get as httpsGet } from 'node:https';
import { gunzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import type { ApiServer } from '../../apiserver/server.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { until } from './client.ts';
import { SERVICES, serverSuite, service } from './with-server.ts';

const { test, run } = serverSuite('apiserver lists');

const ALL = '/api/v1/services';
type Item = { metadata: { name: string } };
const names = (json: { items: readonly Item[] }) => json.items.map(({ metadata }) => metadata.name);

function fill(server: ApiServer, list: readonly string[]): void {
  for (const name of list) server.objects.apply(service(name, { labels: { app: name } }));
}

test('a list has its version, and items without kind and apiVersion', async (server, { get }) => {
  fill(server, ['b', 'a']);
  const { status, json } = await get(ALL);
  assert.is(status, 200);
  assert.is(json.kind, 'ServiceList');
  assert.is(json.apiVersion, 'v1');
  assert.equal(json.metadata, { resourceVersion: String(server.resourceVersion()) });
  assert.equal(names(json), ['a', 'b']);
  assert.equal(Object.keys(json.items[0]), ['metadata', 'spec', 'status']);
  assert.equal((await get('/api/v1/nodes')).json.items, []);
});

test('a list is of one namespace or of all', async (server, { get }) => {
  fill(server, ['a']);
  server.objects.apply(service('b', { namespace: 'default-too' }));
  assert.equal(names((await get(SERVICES)).json), ['a']);
  assert.equal(names((await get('/api/v1/namespaces/default-too/services')).json), ['b']);
  // In the order of whole keys, as etcd has them: "default-too/" comes before "default/".
  assert.equal(names((await get(ALL)).json), ['b', 'a']);
  assert.equal(names((await get('/api/v1/namespaces/none/services')).json), []);
});

test('a list in pieces is of one state, however much changes meanwhile', async (server, { get }) => {
  fill(server, ['a', 'b', 'c', 'd', 'e']);
  const version = server.resourceVersion();
  const first = await get(`${ALL}?limit=2`);
  assert.equal(names(first.json), ['a', 'b']);
  assert.is(first.json.metadata.remainingItemCount, 3);
  server.objects.delete('Service', 'default', 'c');
  fill(server, ['bb']);
  const second = await get(`${ALL}?limit=2&continue=${first.json.metadata.continue}`);
  assert.equal(names(second.json), ['c', 'd']);
  const third = await get(`${ALL}?limit=2&continue=${second.json.metadata.continue}`);
  assert.equal(names(third.json), ['e']);
  for (const { json } of [first, second, third]) assert.is(json.metadata.resourceVersion, String(version));
  assert.is(third.json.metadata.continue, undefined);
  assert.is(third.json.metadata.remainingItemCount, undefined);
});

test('a continue token is too old after a compaction; the answer has one for an inconsistent rest', async (server, {
  get,
}) => {
  fill(server, ['a', 'b', 'c']);
  const first = await get(`${ALL}?limit=1`);
  fill(server, ['bb']);
  server.compact();
  const second = await get(`${ALL}?limit=1&continue=${first.json.metadata.continue}`);
  assert.is(second.status, 410);
  assert.is(second.json.reason, 'Expired');
  assert.match(second.json.message, 'The provided continue parameter is too old');
  const rest = await get(`${ALL}?continue=${second.json.metadata.continue}`);
  assert.equal(names(rest.json), ['b', 'bb', 'c']);
});

test('bad continue tokens, or one together with a version, are bad requests', async (server, { get }) => {
  fill(server, ['a', 'b']);
  const token = (await get(`${ALL}?limit=1`)).json.metadata.continue;
  assert.is((await get(`${ALL}?continue=${token}&resourceVersion=5`)).status, 400);
  assert.is((await get(`${ALL}?continue=${token}&resourceVersion=0`)).status, 200);
  assert.is((await get(`${ALL}?continue=abc`)).status, 400);
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  for (const value of [
    { v: 'v2', rv: 1, start: 'a' },
    { v: 'meta.k8s.io/v1', rv: 0, start: 'a' },
    { v: 'meta.k8s.io/v1', rv: 5 },
  ]) {
    assert.is((await get(`${ALL}?continue=${encode(value)}`)).status, 400);
  }
});

test('an exact version is that state, "not older" the newest, and one too old is 410', async (server, { get }) => {
  fill(server, ['a']);
  const old = server.resourceVersion();
  fill(server, ['b']);
  const at = (query: string) => get(`${ALL}?resourceVersion=${old}${query}`);
  const exact = await at('&resourceVersionMatch=Exact');
  assert.equal(names(exact.json), ['a']);
  assert.is(exact.json.metadata.resourceVersion, String(old));
  assert.equal(names((await at('&resourceVersionMatch=NotOlderThan')).json), ['a', 'b']);
  assert.equal(names((await at('')).json), ['a', 'b']);
  assert.equal(names((await at('&limit=10')).json), ['a'], 'with a limit and no rule it means exactly');
  server.compact();
  const expired = await at('&resourceVersionMatch=Exact');
  assert.is(expired.status, 410);
  assert.is(expired.json.reason, 'Expired');
  assert.is((await at('&resourceVersionMatch=NotOlderThan')).status, 200);
});

test('version 0 takes what there is, whole', async (server, { get }) => {
  fill(server, ['a', 'b']);
  assert.equal(names((await get(`${ALL}?resourceVersion=0&limit=1`)).json), ['a', 'b']);
});

test(
  'a version that is still to come is waited for, then 504 with what clients look for',
  async (server, { get }) => {
    const ahead = server.resourceVersion() + 10;
    const answer = await get(`${ALL}?resourceVersion=${ahead}&resourceVersionMatch=NotOlderThan`);
    assert.is(answer.status, 504);
    assert.is(answer.json.reason, 'Timeout');
    assert.is(answer.headers['retry-after'], '1');
    assert.equal(answer.json.details, {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      retryAfterSeconds: 1,
    });
    assert.match(
      answer.json.message,
      `Timeout: Too large resource version: ${ahead}, current: ${server.resourceVersion()}`,
    );
  },
  { freshnessMilliseconds: 1 },
);

const clock = fakeClock();
test(
  'a version that comes in time is answered',
  async (server, { get }) => {
    const ahead = server.resourceVersion() + 1;
    const answer = get(`${ALL}?resourceVersion=${ahead}`);
    await until('the server waits', () => clock.pending() > 0);
    fill(server, ['a']);
    await clock.advance(50);
    assert.equal(names((await answer).json), ['a']);
  },
  { clock },
);

test('selectors choose, and nobody counts what remains of a selected list', async (server, { get }) => {
  fill(server, ['a', 'b', 'c']);
  assert.equal(names((await get(`${ALL}?labelSelector=app+in+(a,c)`)).json), ['a', 'c']);
  assert.equal(names((await get(`${ALL}?labelSelector=!app`)).json), []);
  assert.equal(names((await get(`${ALL}?fieldSelector=metadata.name=b`)).json), ['b']);
  assert.equal(names((await get(`${ALL}?fieldSelector=spec.type!%3DClusterIP`)).json), []);
  const piece = await get(`${ALL}?labelSelector=app&limit=2`);
  assert.equal(names(piece.json), ['a', 'b']);
  assert.is(piece.json.metadata.remainingItemCount, undefined);
  assert.is((await get(`${ALL}?labelSelector=a b`.replace(' ', '%20'))).status, 400);
  assert.is((await get(`${ALL}?fieldSelector=spec.ports=1`)).status, 400);
  assert.is((await get(`/api/v1/nodes?fieldSelector=spec.unschedulable=false`)).status, 200);
});

test('large lists are compressed for those who take it, small ones are not', async (server, client) => {
  const large = { annotations: { note: 'x'.repeat(100_000) } };
  server.objects.apply(service('a', large));
  const small = await client.get(ALL, { 'accept-encoding': 'gzip' });
  assert.is(small.headers['content-encoding'], undefined);
  server.objects.apply(service('b', large));
  const plain = await client.get(ALL);
  assert.is(plain.headers['content-encoding'], undefined);
  const packed = await client.get(ALL, { 'accept-encoding': 'gzip' });
  assert.is(packed.headers['content-encoding'], 'gzip');
  assert.is(gunzipSync(Buffer.from(packed.text, 'latin1')).toString(), plain.text);
});

test('a list of many megabytes arrives whole at a slow reader', async (server) => {
  const note = 'x'.repeat(200_000);
  for (let index = 0; index < 100; index++) server.objects.apply(service(`s${index}`, { annotations: { note } }));
  const token = server.tokens.issue('slow');
  const text = await new Promise<string>((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    httpsGet(`${server.url}${ALL}`, { ca: server.ca(), headers, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
        response.pause();
        setImmediate(() => response.resume());
      });
      response.on('end', () => resolve(body));
      response.on('error', reject);
    }).on('error', reject);
  });
  assert.is(JSON.parse(text).items.length, 100);
});

run();
