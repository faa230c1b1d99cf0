import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, Change, SyncReport } from '../../../core/backend.ts';
import { type AnyBackend, containBackend } from '../../../core/daemon/contain-backend.ts';
import { createPluginCalls } from '../../../core/daemon/plugin-calls.ts';
import { culprit, type PluginContext } from '../../../core/daemon/plugin-context.ts';
import { createPluginFaults } from '../../../core/daemon/plugin-faults.ts';
import { nodeView } from '../../../core/model/node-view.ts';
import type { Source } from '../../../core/source/source.ts';
import { startSync } from '../../../core/sync/start.ts';
import { SETTINGS } from '../sync/fake-backend.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { service, slice } from '../sync/objects.ts';

const test = suite('a contained backend');

const DONE: SyncReport = { operations: 1, bytes: 1 };

function contain(made: unknown, file?: string) {
  const [clock, log] = [fakeClock(), fakeLog()];
  const asked: string[] = [];
  const requestFullSync = (reason: string): void => void asked.push(reason);
  const faults = createPluginFaults({ name: 'odd', clock, log, requestFullSync, onFault: () => {} });
  const context: PluginContext = { name: 'odd', escaped: faults.escaped };
  const calls = createPluginCalls({ context, clock, log, onStall: () => {}, cpuMs: () => 0 });
  const backend = containBackend({ name: 'odd', file, made, calls, faults, clock, requestFullSync });
  return { clock, log, faults, context, backend, asked };
}

const fine = (more: object = {}): Backend => ({
  families: ['IPv4'],
  sync: async () => DONE,
  cleanup: async () => {},
  close: async () => {},
  ...more,
});

function change(full = true): Change {
  const node = nodeView('IPv4', undefined, SETTINGS, [], []);
  return { family: 'IPv4', full, node, upsert: [], remove: [] };
}

test('what is no backend is refused with what is wrong, and its code', () => {
  const trapped = Object.defineProperty(fine(), 'families', {
    get() {
      throw new Error('gotcha');
    },
  });
  for (const [made, says] of [
    [
      undefined,
      /^backend odd: create\(\) made no backend: it returned undefined \(is a return missing\?\); correct the plugin; kube-proxy\.d\.ts .* \(KP_BACKEND_SHAPE\)$/,
    ],
    [null, /it returned null;/],
    [7, /it returned 7;/],
    [{}, /sync is no function; cleanup is no function; close is no function; families is no list/],
    [fine({ families: 'IPv4' }), /: families is no list of "IPv4" and "IPv6", each at most once;/],
    [fine({ families: ['IPv4', 'IPv4'] }), /families is no list/],
    [fine({ families: ['ipv4'] }), /families is no list/],
    [fine({ check: true }), /: check is no function/],
    [trapped, /: reading it throws: gotcha/],
  ] as const) {
    assert.throws(
      () => contain(made),
      (error: Error & { code?: string }) => says.test(error.message) && error.code === 'KP_BACKEND_SHAPE',
    );
  }
});

test('a member that is misspelt is named where the right one is missing', () => {
  const { sync, ...rest } = fine();
  for (const [made, says] of [
    [{ ...rest, snyc: sync }, /: sync is no function \(found snyc\); correct/],
    [{ ...fine(), cleanup: undefined, cleanUp: sync }, /: cleanup is no function \(found cleanUp\);/],
    [{ families: ['IPv4'], sync, close: sync, cleanUp: sync }, /: cleanup is no function \(found cleanUp\); correct/],
    [{ familys: ['IPv4'], sync, close: sync, cleanup: sync }, /families is no list .* \(found familys\)/],
  ] as const) {
    assert.throws(() => contain(made), says);
  }
});

test('the file of the plugin is named where it is known', () => {
  assert.throws(() => contain({}, '/p/odd.js'), /^\/p\/odd\.js: backend odd: create\(\) made no backend: /);
});

test('it has the abilities that the plugin has, and calls them in the context of the plugin', async () => {
  assert.equal(Object.keys(contain(fine()).backend).sort(), ['cleanup', 'close', 'families', 'health', 'sync']);
  const seen: [string, unknown][] = [];
  const see =
    <T>(name: string, answer?: T) =>
    (): T | undefined => {
      seen.push([name, culprit()]);
      return answer;
    };
  const { backend, context } = contain({
    families: ['IPv4'],
    usesConntrack: true,
    sync: see('sync', Promise.resolve(DONE)),
    cleanup: see('cleanup'),
    close: see('close'),
    check: see('check', { intact: true }),
    health: see('health', { healthy: false, reason: 'ill' }),
    initialize: see('initialize'),
    answersAt: see('answersAt', []),
  });
  assert.is(backend.usesConntrack, true);
  assert.equal(backend.answersAt?.('IPv4'), []);
  assert.is(await backend.sync(change()), DONE);
  await backend.cleanup();
  await backend.close();
  assert.equal(await backend.check?.('IPv4'), { intact: true });
  assert.equal(backend.health?.(), { healthy: false, reason: 'ill' });
  backend.initialize?.('IPv4', change().node);
  assert.equal(
    seen.map(([name, where]) => [name, where === context]),
    ['answersAt', 'sync', 'cleanup', 'close', 'check', 'health', 'initialize'].map((name) => [name, true]),
  );
});

test('methods keep their object', async () => {
  class Counting implements Backend {
    readonly families = ['IPv4'] as const;
    count = 0;
    async sync() {
      return { operations: ++this.count, bytes: 0 };
    }
    async cleanup() {}
    async close() {}
  }
  const { backend } = contain(new Counting());
  await backend.sync(change());
  assert.is((await backend.sync(change())).operations, 2);
});

test('its list of families is a copy', () => {
  const families = ['IPv4'];
  const { backend } = contain(fine({ families }));
  families.push('IPv6');
  assert.equal(backend.families, ['IPv4']);
});

test('what it gets cannot be changed', async () => {
  const port = {
    key: 'default/web/TCP',
    cluster: [{ ip: '10.244.1.2', annotations: { 'kube-proxy.io/a': 'b' } }, { ip: '10.244.1.3' }],
    local: [],
    externalIPs: [],
    loadBalancerVIPs: [],
    sourceRanges: [],
    annotations: {},
  };
  const spoils: ((change: Change) => unknown)[] = [
    ({ upsert }) => (upsert as unknown[]).pop(),
    ({ upsert }) => (upsert[0]!.cluster as unknown[]).reverse(),
    ({ upsert }) => Object.assign(upsert[0]!, { key: 'x' }),
    ({ upsert }) => Object.assign(upsert[0]!.cluster[0]!, { ip: 'x' }),
    ({ upsert }) => Object.assign(upsert[0]!.annotations, { x: 'y' }),
    ({ upsert }) => Object.assign(upsert[0]!.cluster[0]!.annotations!, { x: 'y' }),
    ({ remove }) => (remove as unknown[]).push('x'),
    ({ node }) => Object.assign(node, { name: 'x' }),
    ({ node }) => (node.nodeIPs as unknown[]).push('x'),
    ({ node }) => Object.assign(node.localDetector, { kind: 'x' }),
  ];
  for (const spoil of spoils) {
    const { backend } = contain(fine({ sync: async (got: Change) => spoil(got) }));
    const told = { ...change(), upsert: [structuredClone(port)] } as unknown as Change;
    const before = structuredClone(told);
    const error = await backend.sync(told).then(
      () => 'it could',
      (fault) => fault,
    );
    assert.match(error.message, /^the change is frozen: copy it before you alter it: Cannot /, String(spoil));
    assert.equal(told, before);
  }
});

test('a fault that escaped is its health until it was synced in full', async () => {
  const { backend, faults, clock } = contain(fine());
  faults.escaped('exception', new Error('boom'));
  assert.equal(backend.health?.(), { healthy: false, reason: 'an exception escaped: boom' });
  await backend.sync(change(false));
  await clock.advance(15_000);
  assert.not(backend.health?.().healthy);
  await backend.sync(change(true));
  assert.equal(backend.health?.(), { healthy: true });
});

test('a failed full sync mends nothing', async () => {
  const { backend, faults, clock } = contain(fine({ sync: () => Promise.reject(new Error('no')) }));
  faults.escaped('exception', new Error('boom'));
  await backend.sync(change()).catch(() => {});
  await clock.advance(15_000);
  assert.not(backend.health?.().healthy);
});

test('no call of a family begins before the last one has settled, and who was refused is called again', async () => {
  const { promise, resolve } = Promise.withResolvers<SyncReport>();
  let calls = 0;
  const { backend, clock, asked } = contain(
    fine({ sync: () => (++calls === 1 ? promise : Promise.resolve(DONE)), families: ['IPv4', 'IPv6'] }),
  );
  const first = backend.sync(change());
  await clock.advance(312_000);
  const refusal = await backend.sync(change()).catch((error: Error) => error.message);
  assert.is(refusal, 'the last one has not ended yet, after 312 s');
  assert.is(calls, 1);
  await backend.sync({ ...change(), family: 'IPv6' });
  assert.is(calls, 2);
  assert.equal(asked, []);
  resolve(DONE);
  await first;
  assert.equal(asked, ['the overdue sync of IPv4 has ended']);
  await backend.sync(change());
  assert.is(calls, 3);
});

test('another pace does not make it sync twice at a time', async () => {
  const { promise, resolve } = Promise.withResolvers<SyncReport>();
  const told: Change[] = [];
  let hangs = false;
  const sync = async (got: Change) => {
    told.push(got);
    return hangs ? promise : DONE;
  };
  const contained = contain(fine({ sync }));
  const { backend, clock } = contained;
  const { promise: started, resolve: start } = Promise.withResolvers<Parameters<Source['start']>[0]>();
  const running = await startSync({
    source: { start: async (sink) => start(sink), stop: async () => {} },
    backend,
    backendName: 'odd',
    settings: SETTINGS,
    addresses: () => [],
    clock,
    log: fakeLog(),
  });
  const sink = await started;
  sink.upsertService(service('web'));
  sink.synced();
  await clock.advance(0);
  hangs = true;
  sink.upsertEndpointSlice(slice('web', ['10.244.1.2']));
  await clock.advance(310_000);
  assert.is(told.length, 2);
  await running.replaceBackend({ backend, backendName: 'odd', minSyncIntervalMs: 10 });
  await clock.advance(60_000);
  assert.is(told.length, 2);
  assert.match(
    running.health().families.IPv4?.lastError ?? '',
    /^backend odd: IPv4: sync failed: the last one has not ended yet, after 3\d\d s$/,
  );
  hangs = false;
  resolve(DONE);
  await clock.advance(60_000);
  assert.equal([told.length, told.at(-1)?.full, told.at(-1)?.upsert[0]?.cluster.length], [3, true, 1]);
  assert.ok(running.health().healthy);
});

test('who initializes in vain is told whose fault it is', () => {
  const { backend } = contain(
    fine({
      initialize() {
        throw Object.assign(new Error('read-only'), { code: 'EROFS' });
      },
    }),
  );
  assert.throws(
    () => (backend as AnyBackend).initialize?.('IPv6', change().node),
    (error: Error & { code?: string }) =>
      error.message === 'backend odd: IPv6: initialize failed: read-only' && error.code === 'EROFS',
  );
});

test.run();
