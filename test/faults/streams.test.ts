/** Watches that break in the middle, at any byte, in any way, or stay open and say nothing. */
import * as assert from 'uvu/assert';
import { mostRequests, RESOURCES } from './bounds.ts';
import { serviceObject } from './churn.ts';
import { faultSuite } from './fault-suite.ts';
import { running, scene } from './scene.ts';

const test = faultSuite('faults: streams');
const HOWS = ['reset', 'close', 'end', 'freeze'] as const;

test('objects arrive, change and go as the cluster lives, over one request for each resource', () =>
  running({}, async ({ churn, clock, settled, requests }) => {
    churn.start(clock, 200);
    await clock.sleep(60_000);
    churn.stop();
    assert.ok(churn.writes() > 200);
    await settled();
    for (const resource of RESOURCES) assert.is(requests(resource).length, 1, resource);
  }));

for (const how of ['reset', 'close', 'end'] as const) {
  test(`watches that are broken off (${how}) again and again lose nothing`, () =>
    running({}, async ({ server, churn, clock, settled, status }) => {
      churn.start(clock, 100);
      for (let round = 0; round < 8; round++) {
        await clock.sleep(5_000);
        const open = server.watches();
        assert.ok(open.length > 0);
        for (const watch of open) watch[how]();
      }
      churn.stop();
      await settled();
      const { relists, watches } = status().resources.services;
      assert.is(relists, 0, 'the versions were known: no list was due');
      assert.ok(watches >= 8);
    }));
}

for (const how of HOWS) {
  for (const streams of [true, false]) {
    const what = streams ? 'a first stream' : 'a first list';
    test(`${what} that breaks off (${how}) at several places delivers nothing, and is repeated`, () =>
      scene(
        { pace: how === 'freeze' ? 400 : 200, server: { watchList: streams } },
        async ({ server, start, until, recorder, settled }) => {
          const match = { verb: streams ? ['watch', 'list'] : 'list', resource: 'services' };
          let cut = server.faults.add({ kind: 'cut', how, afterBytes: 1 }, match);
          await start();
          for (const afterBytes of [700, 5_000]) {
            await until('the fault struck', () => cut.hits() === 1, 120_000);
            cut = server.faults.add({ kind: 'cut', how, afterBytes }, match);
          }
          await until('the last fault struck', () => cut.hits() === 1, 120_000);
          assert.is(recorder.state.Service.size, 0);
          assert.is(recorder.syncs(), 0);
          await until('synced', () => recorder.syncs() === 1, 120_000);
          assert.is(recorder.state.Service.size, 12);
          assert.is(recorder.state.EndpointSlice.size, 12);
          assert.is(recorder.state.Node.size, 1);
          await settled();
        },
      ));
  }

  test(`a watch that breaks off (${how}) inside an event delivers that event all the same`, () =>
    running({ pace: how === 'freeze' ? 400 : 100 }, async ({ server, clock, churn, settled }) => {
      const cut = server.faults.add({ kind: 'cut', how, afterBytes: 333 }, { verb: 'watch' }, 8);
      for (const watch of server.watches()) watch.end();
      churn.start(clock, 300);
      await clock.sleep(20_000);
      churn.stop();
      assert.ok(cut.hits() >= 4, `it struck ${cut.hits()} watches`);
      await settled(400_000);
    }));
}

test('half-open connections are given up within three minutes, and nothing is lost', () =>
  running({ pace: 500 }, async ({ server, churn, clock, settled, requests, recorder }) => {
    const before = requests().length;
    for (const watch of server.watches()) watch.freeze();
    churn.start(clock, 1_000);
    await clock.sleep(140_000);
    assert.is(requests().length, before, 'a server may be silent for two minutes');
    assert.ok(recorder.state.Service.size >= 12);
    await clock.sleep(45_000);
    churn.stop();
    assert.ok(requests().length >= before + RESOURCES.length);
    await settled(30_000);
  }));

test('connections that stay half-open whenever they are opened again do not make a busy loop', () =>
  running({ pace: 500 }, async ({ server, clock, settled, during }) => {
    for (const watch of server.watches()) watch.freeze();
    const silence = server.faults.add({ kind: 'silence' }, {}, Number.POSITIVE_INFINITY);
    const { asked } = await during(() => clock.sleep(600_000));
    assert.ok(silence.hits() >= RESOURCES.length);
    assert.ok(asked >= RESOURCES.length && asked <= RESOURCES.length * 12, `${asked} requests in ten minutes`);
    silence.remove();
    await settled(120_000);
  }));

for (const [what, text] of [
  ['no JSON', 'HTTP/1.1 502 Bad Gateway\r\n\r\n'],
  ['a web page', '<html><body>Please log in</body></html>\n'],
  ['binary', '\u0000\u0001\u{10ffff}{\u0002'],
  ['a half event', '{"type":"MODIFIED","object":{"metadata":\n'],
  ['whole, but no JSON inside', '{"type":"MODIFIED","object":{"metadata":{"name":oops}}}\n'],
  ['brackets that do not match', '{"type":"MODIFIED","object":{"metadata":[}]}}\n'],
] as const) {
  test(`a frame that is ${what} ends the watch, which is resumed where it was`, () =>
    running({}, async ({ server, churn, clock, settled, recorder, status }) => {
      const garbage = server.faults.add({ kind: 'garbage', text, afterEvents: 1 }, { verb: 'watch' }, 8);
      for (const watch of server.watches()) watch.end();
      churn.start(clock, 300);
      await clock.sleep(15_000);
      churn.stop();
      assert.ok(garbage.hits() >= 4);
      const ended = RESOURCES.reduce((sum, resource) => sum + status().resources[resource].failures, 0);
      // The frame comes after the first event, which not every watch that it is to strike has had.
      assert.ok(ended >= 3, `${ended} watches ended with a fault`);
      await settled();
      assert.is(status().resources.services.relists, 0);
      assert.ok(recorder.state.Service.has('steady/steady-0'));
    }));
}

for (const [what, text] of [
  ['an event without an object', '{"type":"MODIFIED"}\n'],
  ['an event of a type that nobody knows', '{"type":"RENAMED","object":{"metadata":{"name":"x","namespace":"y"}}}\n'],
  ['an empty object', '{}\n'],
  ['a deletion of nothing', '{"type":"DELETED","object":null}\n'],
  ['an object whose metadata is a list', '{"type":"ADDED","object":{"metadata":[1,2]}}\n'],
  ['empty lines', '\n\r\n\n'],
] as const) {
  test(`${what} is stepped over, and the watch goes on`, () =>
    running({}, async ({ server, settled, requests }) => {
      const before = requests().length;
      for (const watch of server.watches()) watch.send(text);
      await settled();
      assert.is(requests().length, before);
    }));
}

test('events that come twice change nothing the second time', () =>
  running({}, async ({ server, churn, clock, settled, status }) => {
    const twice = server.faults.add({ kind: 'duplicate' }, { verb: 'watch' }, Number.POSITIVE_INFINITY);
    for (const watch of server.watches()) watch.end();
    churn.start(clock, 100);
    await clock.sleep(30_000);
    churn.stop();
    assert.is(twice.hits(), RESOURCES.length);
    await settled();
    assert.is(status().resources.services.relists, 0);
  }));

test('events that come late, after newer ones, undo nothing', () =>
  running({}, async ({ server, churn, clock, settled, status, recorder }) => {
    const late = server.faults.add({ kind: 'replay' }, { verb: 'watch' }, Number.POSITIVE_INFINITY);
    for (const watch of server.watches()) watch.end();
    const zones: string[] = [];
    const { upsertNode } = recorder;
    Object.assign(recorder, {
      upsertNode(node: Parameters<typeof upsertNode>[0]) {
        zones.push(node.zone);
        upsertNode(node);
      },
    });
    churn.start(clock, 100);
    await clock.sleep(150_000);
    churn.stop();
    assert.ok(late.hits() >= RESOURCES.length);
    await settled();
    const { relists } = status().resources.endpointslices;
    assert.ok(relists >= 1 && relists <= 4, `${relists} lists in two and a half minutes`);
  }));

test('events about objects that are gone, or were made anew since, come too late to change anything', () =>
  running({}, async ({ server, churn, settled, recorder, until }) => {
    const eventOf = (type: string, name: string) =>
      `${JSON.stringify({ type, object: server.objects.get('Service', 'steady', name) })}\n`;
    const late = [eventOf('MODIFIED', 'steady-0'), eventOf('DELETED', 'steady-1')];
    churn.remove('Service', 'steady', 'steady-0');
    churn.remove('Service', 'steady', 'steady-1');
    churn.apply(serviceObject('steady', 'steady-1', 8080));
    await until('the deletion arrived', () => !recorder.state.Service.has('steady/steady-0'));
    await settled();
    for (const text of late) {
      // What is out of order also ends the watch, so that each comes through one of its own.
      for (const watch of server.watches({ resource: 'services' })) watch.send(text);
      await settled();
    }
    assert.is(recorder.deletions.get('Service steady/steady-0'), 1);
    assert.is(recorder.deletions.get('Service steady/steady-1'), 1);
  }));

test('without bookmarks a quiet cluster is asked a few times in ten minutes, and nothing is delivered again', () =>
  running({ pace: 500 }, async ({ server, clock, settled, during, recorder }) => {
    const silent = server.faults.add({ kind: 'noBookmarks' }, { verb: 'watch' }, Number.POSITIVE_INFINITY);
    for (const watch of server.watches()) watch.end();
    await clock.sleep(1_000);
    const calls = recorder.calls();
    const { requests } = await during(() => clock.sleep(600_000));
    assert.ok(silent.hits() > 0);
    assert.is(recorder.calls(), calls);
    for (const resource of RESOURCES) {
      const asked = requests.filter((request) => request.resource === resource).length;
      assert.ok(asked >= 3 && asked <= 12, `${resource}: ${asked}`);
    }
    silent.remove();
    await settled();
  }));

test('an answer that trickles in is read to its end', () =>
  scene({ pace: 500 }, async ({ server, start, until, recorder, settled }) => {
    const slow = server.faults.add({ kind: 'slow', milliseconds: 5_000, bytes: 2_000 }, {}, 8);
    await start();
    await until('synced', () => recorder.syncs() === 1, 120_000);
    assert.ok(slow.hits() >= 2);
    assert.is(recorder.state.Service.size, 12);
    slow.remove();
    await settled(120_000);
  }));

test('a first stream that trickles too slowly is replaced by a list', () =>
  scene({ pace: 500 }, async ({ server, start, until, recorder, settled, requests }) => {
    server.faults.add({ kind: 'slow', milliseconds: 20_000, bytes: 3_000 }, {}, Number.POSITIVE_INFINITY);
    await start();
    await until('synced', () => recorder.syncs() === 1, 600_000);
    assert.ok(requests('services', 'list').length >= 1);
    server.faults.clear();
    for (const watch of server.watches()) watch.end();
    await settled(120_000);
  }));

for (const verb of ['watch', 'list'] as const) {
  test(`${verb === 'watch' ? 'watches' : 'lists'} that end with their headers are no invitation to ask at once`, () =>
    running({ pace: 500 }, async ({ server, clock, settled, during }) => {
      // For lists: none is asked for while watches last, so there are to be no watches either.
      const empty = server.faults.add({ kind: 'empty' }, verb === 'watch' ? { verb } : {}, Number.POSITIVE_INFINITY);
      for (const watch of server.watches()) watch.end();
      const { requests } = await during(() => clock.sleep(300_000));
      assert.ok(empty.hits() > 0);
      for (const resource of RESOURCES) {
        const asked = requests.filter((request) => request.resource === resource).length;
        const most = mostRequests(300_000);
        assert.ok(asked >= 8 && asked <= most, `${resource}: ${asked} requests in five minutes, at most ${most}`);
      }
      empty.remove();
      await settled();
    }));
}

test('watches that end after each event are reopened no faster than the rate limit allows', () =>
  running({ qps: 5 }, async ({ server, clock, churn, settled, during }) => {
    server.faults.add({ kind: 'cut', how: 'end', afterEvents: 1 }, { verb: 'watch' }, Number.POSITIVE_INFINITY);
    for (const watch of server.watches()) watch.end();
    churn.start(clock, 20);
    const { requests } = await during(() => clock.sleep(60_000));
    churn.stop();
    server.faults.clear();
    assert.ok(churn.writes() > 1_000);
    assert.ok(requests.length > 100 && requests.length <= 10 + 5 * 60 + 1, `${requests.length} requests in a minute`);
    await settled();
  }));

test.run();
