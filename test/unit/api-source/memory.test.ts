/** What stays in memory of what was read: the small parsed objects, and nothing of the text that they came from. */

import { registerHooks } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { jsonList } from '../../../core/source/api/json-stream.ts';
import { loadKubeConfigClass } from '../../../core/source/api/load-kubeconfig.ts';
import { createMirror } from '../../../core/source/api/mirror.ts';
import { endpointSlices, services } from '../../../core/source/api/resource.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { endpointSlice, service } from './raw-objects.ts';

const test = suite('memory');

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

test('no object keeps the text of its list alive, however much of it is of no use', () => {
  const kept: unknown[] = [];
  const mirror = createMirror({
    resource: services(),
    delivery: { upsert: (value) => void kept.push(value), remove() {} },
    onProblem() {},
    log: fakeLog(),
  });
  const before = heapBytes();
  const collection = mirror.collect();
  const stream = jsonList(collection.put);
  stream.push(Buffer.from('{"metadata":{"resourceVersion":"9"},"items":['));
  const padding = 'x'.repeat(500_000);
  for (let index = 0; index < 100; index++) {
    const object = service(`a-name-that-is-long-enough-to-be-cut-out-of-a-larger-text-${index}`);
    const raw = { ...object, metadata: { ...object.metadata, managedFields: [`${index}${padding}`] } };
    stream.push(Buffer.from(`${index === 0 ? '' : ','}${JSON.stringify(raw)}`));
  }
  stream.push(Buffer.from(']}'));
  stream.end();
  mirror.publish(collection, '9');
  const grown = heapBytes() - before;
  assert.is(kept.length, 100);
  assert.ok(grown < 5_000_000, `${grown} bytes are kept of 50 MB`);
});

test('a list that brings the same again keeps the objects that were there', () => {
  const delivered: unknown[] = [];
  const mirror = createMirror({
    resource: endpointSlices(),
    delivery: { upsert: (value) => void delivered.push(value), remove() {} },
    onProblem() {},
    log: fakeLog(),
  });
  for (const version of ['5', '6']) {
    const collection = mirror.collect();
    collection.put(endpointSlice('web', { version }));
    mirror.publish(collection, version);
  }
  assert.is(delivered.length, 1);
});

test('thousands of lists leave nothing but the last', () => {
  const mirror = createMirror({
    resource: endpointSlices(),
    delivery: { upsert() {}, remove() {} },
    onProblem() {},
    log: fakeLog(),
  });
  const round = (version: number): void => {
    const collection = mirror.collect();
    for (let index = 0; index < 100; index++) {
      collection.put(endpointSlice(`s-${index}`, { version: `${version}`, ips: [`10.0.${version % 250}.${index}`] }));
    }
    mirror.publish(collection, `${version}`);
  };
  for (let version = 1; version < 100; version++) round(version);
  const before = heapBytes();
  for (let version = 100; version < 2_000; version++) round(version);
  const grown = heapBytes() - before;
  assert.ok(grown < 3_000_000, `${grown} bytes`);
});

test('endpoints share the names of their nodes', () => {
  const resource = endpointSlices();
  const name = 'ip-10-0-12-17.eu-west-1.compute.internal';
  const raw = (index: number): string => {
    const object = endpointSlice(`s-${index}`, { ips: ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'] });
    return JSON.stringify({ ...object, endpoints: object.endpoints.map((one) => ({ ...one, nodeName: name })) });
  };
  const before = heapBytes();
  const kept = Array.from({ length: 10_000 }, (_, index) => resource.parse(JSON.parse(raw(index))).value);
  const grown = heapBytes() - before;
  assert.is(kept[9_999]?.endpoints[3]?.nodeName, name);
  // 40,000 endpoints of some 130 bytes and 10,000 slices; the names alone would be 2.2 MB more.
  assert.ok(grown < 9_500_000, `${grown} bytes`);
});

test('of the client library only its configuration is loaded, not the API and not another HTTP client', async () => {
  const loaded: string[] = [];
  const hooks = registerHooks({
    load(url, context, next) {
      loaded.push(url);
      return next(url, context);
    },
  });
  const KubeConfig = await loadKubeConfigClass();
  hooks.deregister();
  assert.ok(loaded.some((url) => url.endsWith('/client-node/dist/config.js')));
  const unwanted = loaded.filter((url) => /\/dist\/gen\/index|\/dist\/gen\/models|\/undici\//.test(url));
  assert.equal(unwanted, []);
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: 'c', server: 'https://x', skipTLSVerify: true }, { name: 'u', token: 't' });
  const options: { headers?: Record<string, string> } = {};
  await config.applyToHTTPSOptions(options);
  assert.is(options.headers?.Authorization, 'Bearer t');
});

test.run();
