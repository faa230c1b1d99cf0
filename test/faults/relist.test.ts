/** When the whole state is needed again: history that is gone, versions that went back, servers that do not stream. */
import * as assert from 'uvu/assert';
import { mostRequests, RESOURCES } from './bounds.ts';
import { serviceObject, sliceObject } from './churn.ts';
import { faultSuite } from './fault-suite.ts';
import { running, type Scene, scene } from './scene.ts';

const test = faultSuite('faults: relist');
const HOWS = ['reset', 'close', 'end'] as const;

function relists({ status }: Scene): number {
  return RESOURCES.reduce((sum, resource) => sum + status().resources[resource].relists, 0);
}

for (const as of ['http', 'event'] as const) {
  test(`410 for a watch (${as}) brings one list at once, and tells only what changed`, () =>
    running({ pace: 20 }, async (stage) => {
      const { server, churn, clock, recorder, settled } = stage;
      const expired = RESOURCES.map((resource) =>
        server.faults.add({ kind: 'expired', as }, { verb: 'watch', resource }),
      );
      for (const watch of server.watches()) watch.end();
      const calls = recorder.calls();
      await clock.sleep(2_000);
      for (const fault of expired) assert.is(fault.hits(), 1);
      assert.is(relists(stage), RESOURCES.length);
      assert.is(recorder.calls(), calls, 'nothing had changed');
      churn.apply(serviceObject('steady', 'steady-0', 81));
      churn.remove('Service', 'steady', 'steady-1');
      await clock.sleep(2_000);
      assert.is(recorder.calls(), calls + 2);
      await settled();
    }));

  test(`410 for each watch (${as}) is answered with lists at growing distances`, () =>
    running({ pace: 500 }, async ({ server, clock, settled, during, recorder }) => {
      const expired = server.faults.add({ kind: 'expired', as }, { verb: 'watch' }, Number.POSITIVE_INFINITY);
      for (const watch of server.watches()) watch.end();
      const calls = recorder.calls();
      const { requests } = await during(() => clock.sleep(300_000));
      assert.is(recorder.calls(), calls);
      for (const resource of RESOURCES) {
        const asked = requests.filter((request) => request.resource === resource).length;
        // The first list comes without a pause.
        const most = mostRequests(300_000) + 3;
        assert.ok(asked >= 10 && asked <= most, `${resource}: ${asked} requests in five minutes, at most ${most}`);
      }
      expired.remove();
      await settled();
    }));
}

test('410 for lists, too, leaves the last state in force until one succeeds', () =>
  running({ pace: 500 }, async ({ server, clock, settled, during, recorder }) => {
    const expired = server.faults.add({ kind: 'expired', as: 'http' }, {}, Number.POSITIVE_INFINITY);
    for (const watch of server.watches()) watch.end();
    const calls = recorder.calls();
    const { requests } = await during(() => clock.sleep(300_000));
    assert.is(recorder.calls(), calls);
    for (const resource of RESOURCES) {
      const asked = requests.filter((request) => request.resource === resource).length;
      assert.ok(asked >= 10 && asked <= mostRequests(300_000) + 3, `${resource}: ${asked} requests in five minutes`);
    }
    expired.remove();
    await settled();
  }));

test('what changed while the server was away, and is forgotten by it, is told once it is back', () =>
  running({}, async ({ server, churn, clock, recorder, settled, status }) => {
    await server.down('reset');
    for (let write = 0; write < 200; write++) churn.step();
    churn.remove('Service', 'steady', 'steady-0');
    // No longer ours: gone, though the object is there.
    const other = serviceObject('steady', 'steady-1');
    const labels = { 'service.kubernetes.io/service-proxy-name': 'another' };
    churn.apply({ ...other, metadata: { namespace: 'steady', name: 'steady-1', labels } });
    const slice = sliceObject('steady', 'steady-2', 2);
    const headless = { 'kubernetes.io/service-name': 'steady-2', 'service.kubernetes.io/headless': '' };
    churn.apply({ ...slice, metadata: { namespace: 'steady', name: 'steady-2', labels: headless } });
    // Another Service of the same name.
    churn.remove('Service', 'steady', 'steady-3');
    churn.apply(serviceObject('steady', 'steady-3'));
    server.compact();
    await clock.sleep(20_000);
    assert.is(recorder.state.Service.has('steady/steady-0'), true, 'the last known state stays');
    await server.up();
    await settled();
    assert.is(recorder.state.Service.has('steady/steady-0'), false);
    assert.is(recorder.state.Service.has('steady/steady-1'), false);
    assert.is(recorder.state.EndpointSlice.has('steady/steady-2'), false);
    assert.ok(status().resources.services.relists >= 1);
  }));

for (const how of HOWS) {
  test(`a server that restarts (${how}) among changes forgets what watches were at, and nothing is lost`, () =>
    running({}, async ({ server, churn, clock, settled }) => {
      churn.start(clock, 50);
      for (let round = 0; round < 4; round++) {
        await clock.sleep(6_000);
        await server.restart({ how });
      }
      churn.stop();
      await settled();
    }));

  test(`a server that comes back (${how}) with the same objects under lower versions is believed, and nothing is told`, () =>
    running({ pace: 500 }, async (stage) => {
      const { server, churn, clock, recorder, settled, until } = stage;
      server.advance(100_000);
      churn.apply(serviceObject('steady', 'steady-0', 99));
      churn.apply(sliceObject('steady', 'steady-0', 99));
      await clock.sleep(2_000);
      const calls = recorder.calls();
      await server.restart({ how, lowerResourceVersion: true });
      await until('the state was read again', () => relists(stage) >= 2, 200_000);
      assert.is(recorder.calls(), calls);
      await settled(240_000);
    }));

  test(`a server that comes back (${how}) from a backup is believed, whatever was newer`, () =>
    running({ pace: 500 }, async ({ server, churn, clock, recorder, settled, until }) => {
      for (let write = 0; write < 100; write++) churn.step();
      const backup = server.resourceVersion();
      for (let write = 0; write < 300; write++) churn.step();
      churn.apply(serviceObject('steady', 'new-since'));
      churn.remove('Service', 'steady', 'steady-5');
      churn.remove('EndpointSlice', 'steady', 'steady-6');
      await until('all of it arrived', () => recorder.state.Service.has('steady/new-since'));
      await until('all of it arrived', () => !recorder.state.EndpointSlice.has('steady/steady-6'));
      await clock.sleep(2_000);
      await churn.around(() => server.restart({ how, restoreTo: backup }));
      await until('it is gone', () => !recorder.state.Service.has('steady/new-since'), 200_000);
      await until('it is back', () => recorder.state.EndpointSlice.has('steady/steady-6'), 200_000);
      await settled(240_000);
    }));
}

test('a server that does not stream lists is listed at once, and asked to stream no more', () =>
  scene({ pace: 40, server: { watchList: false } }, async ({ server, start, churn, clock, settled, requests }) => {
    await start();
    await settled();
    const [stream] = requests('services', 'watch');
    const [list] = requests('services', 'list');
    assert.is(stream?.status, 422);
    assert.ok(list!.at - stream!.at < 400, `the list came ${list!.at - stream!.at} ms later`);
    churn.start(clock, 200);
    for (let round = 0; round < 3; round++) {
      await clock.sleep(5_000);
      server.compact();
      server.advance();
      server.dropConnections('reset');
    }
    churn.stop();
    await settled();
    const streams = requests(undefined, 'watch').filter(({ query }) => query.has('sendInitialEvents'));
    assert.ok(streams.length >= 1 && streams.length <= RESOURCES.length, `${streams.length} streams asked for`);
    assert.ok(requests('services', 'list').length >= 1);
  }));

test('a server that has never heard of streaming is listed, though its watches send everything', () =>
  scene({ pace: 200 }, async ({ server, start, churn, clock, until, recorder, settled, requests }) => {
    const ignored = server.faults.add({ kind: 'watchListIgnored' }, { verb: 'watch' }, Number.POSITIVE_INFINITY);
    churn.start(clock, 1_000);
    await start();
    // Changes follow the initial events without a gap, so that only a bookmark shows that it does not stream.
    await until('synced', () => recorder.syncs() === 1, 90_000);
    churn.stop();
    assert.ok(ignored.hits() > 0);
    assert.ok(requests('services', 'list').length >= 1);
    await settled();
  }));

test('pages that are forgotten between two of them are read again in one piece', () =>
  scene(
    { server: { watchList: false }, services: 700, pace: 200 },
    async ({ server, start, settled, until, requests, recorder, churn }) => {
      await start();
      await settled();
      const slow = server.faults.add(
        { kind: 'slow', milliseconds: 1_000, bytes: 50_000 },
        { verb: 'list' },
        Number.POSITIVE_INFINITY,
      );
      const paged = () =>
        requests('endpointslices', 'list').filter(
          ({ query }) => query.get('limit') === '500' && !query.has('resourceVersion'),
        );
      const calls = recorder.calls();
      // Only after versions went back are lists asked for in pages.
      await server.restart({ how: 'reset', lowerResourceVersion: true });
      await until('a first page was asked for', () => paged().some(({ query }) => !query.has('continue')));
      churn.remove('EndpointSlice', 'steady', 'steady-699');
      server.compact();
      server.advance();
      await until('the second was refused', () =>
        paged().some(({ query, status }) => query.has('continue') && status === 410),
      );
      assert.is(recorder.state.EndpointSlice.size, 701);
      slow.remove();
      await settled();
      const whole = ({ query }: { query: URLSearchParams }) => !query.has('limit') && !query.has('resourceVersion');
      assert.is(requests('endpointslices', 'list').filter(whole).length, 1);
      assert.is(recorder.state.EndpointSlice.has('steady/steady-699'), false);
      const told = recorder.calls() - calls;
      assert.ok(told >= 1 && told < 20, `${told} calls for one deletion and some changes`);
    },
  ));

test('5,000 objects that change while they are listed are all as they are now in the end', () =>
  scene(
    { server: { watchList: false }, services: 2_500 },
    async ({ server, start, settled, until, recorder, churn, clock, requests }) => {
      await start();
      await settled();
      const slow = server.faults.add({ kind: 'slow', milliseconds: 500, bytes: 20_000 }, { verb: 'list' }, 8);
      server.advance();
      server.compact();
      server.advance();
      const before = requests('endpointslices', 'list').length;
      const calls = recorder.calls();
      server.dropConnections('reset');
      await until('a list is on its way', () => requests('endpointslices', 'list').length > before);
      for (let index = 0; index < 2_500; index++) {
        if (index % 500 === 0) await clock.sleep(100);
        if (index % 10 === 0) churn.remove('Service', 'steady', `steady-${index}`);
        else churn.apply(serviceObject('steady', `steady-${index}`, 8080));
        churn.apply(sliceObject('steady', `steady-${index}`, index + 7_000));
      }
      assert.ok(slow.hits() >= 2);
      assert.is(recorder.calls(), calls, 'a list that is not complete delivers nothing');
      await settled();
      assert.is(recorder.state.Service.size, 2_500 - 250 + 1);
    },
  ));

for (const interrupted of [false, true]) {
  test(`a namespace that goes with everything in it takes nothing else along${interrupted ? ', connection lost' : ''}`, () =>
    running({}, async ({ server, churn, settled, recorder }) => {
      for (let index = 0; index < 300; index++) {
        churn.apply(serviceObject('doomed', `doomed-${index}`));
        churn.apply(sliceObject('doomed', `doomed-${index}`, 3_000 + index));
      }
      await settled();
      if (interrupted) {
        server.faults.add({ kind: 'cut', how: 'reset', afterEvents: 100 }, { verb: 'watch' }, 4);
        for (const watch of server.watches()) watch.end();
      }
      churn.removeNamespace('doomed');
      await settled();
      assert.is(recorder.state.Service.size, 13);
      assert.is(recorder.state.EndpointSlice.size, 13);
    }));
}

test.run();
