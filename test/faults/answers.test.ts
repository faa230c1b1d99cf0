/** Answers that are no help: too busy, broken, forbidden, not there, or something else altogether. */
import * as assert from 'uvu/assert';
import type { Rule } from '../apiserver/http/auth.ts';
import { mostRequests, RESOURCES } from './bounds.ts';
import { faultSuite } from './fault-suite.ts';
import { running, scene } from './scene.ts';

const test = faultSuite('faults: answers');
const EVER = Number.POSITIVE_INFINITY;

for (const status of [500, 502, 503, 504, 418] as const) {
  test(`a burst of ${status} is outlasted`, () =>
    running({}, async ({ server, churn, clock, until, settled, recorder }) => {
      const fault = server.faults.add({ kind: 'answer', status }, {}, 12);
      server.dropConnections('reset');
      churn.start(clock, 200);
      await until('the burst is over', () => fault.hits() === 12, 120_000);
      churn.stop();
      assert.ok(recorder.state.Service.size >= 12);
      await settled();
    }));
}

test('ten minutes of 503 change nothing here, and cost the server a few requests', () =>
  running({ pace: 600 }, async ({ server, clock, settled, during, recorder }) => {
    const fault = server.faults.add({ kind: 'answer', status: 503 }, {}, EVER);
    server.dropConnections('reset');
    const calls = recorder.calls();
    const { requests } = await during(() => clock.sleep(600_000));
    for (const resource of RESOURCES) {
      const asked = requests.filter((request) => request.resource === resource).length;
      assert.ok(asked >= 15 && asked <= mostRequests(600_000), `${resource}: ${asked} requests in ten minutes`);
    }
    assert.is(recorder.calls(), calls);
    assert.ok(fault.hits() > 0);
    fault.remove();
    await settled();
  }));

test('a server that fails from the start is waited for', () =>
  scene({ pace: 500 }, async ({ server, start, clock, recorder, settled }) => {
    const fault = server.faults.add({ kind: 'answer', status: 500 }, {}, EVER);
    await start();
    await clock.sleep(120_000);
    assert.is(recorder.calls() + recorder.syncs(), 0);
    fault.remove();
    await settled();
  }));

for (const [what, fault, atLeastMs, atMostMs] of [
  ['10 seconds', { status: 429, retryAfterSeconds: 10 }, 10_000, 12_000],
  ['10 seconds, with 503', { status: 503, retryAfterSeconds: 10 }, 10_000, 12_000],
  ['no time', { status: 429 }, 400, 800],
  ['a time below the backoff', { status: 429, retryAfterSeconds: 0 }, 400, 800],
  // Nobody may tell a node to be blind for years.
  ['30 years', { status: 429, retryAfterSeconds: 1e9 }, 300_000, 360_000],
  ['a time beyond all numbers', { status: 429, retryAfter: '9'.repeat(400) }, 300_000, 360_000],
  ['until a date in twenty seconds', { status: 429, retryAfter: 'date' }, 18_000, 24_000],
  ['until a date in the past', { status: 429, retryAfter: 'Wed, 21 Oct 2015 07:28:00 GMT' }, 400, 800],
  ['until nonsense', { status: 429, retryAfter: 'soon' }, 400, 800],
] as const) {
  test(`a server that asks to be left alone for ${what} is heeded within reason`, () =>
    running({}, async ({ server, clock, settled, requests, until }) => {
      const text = 'retryAfter' in fault ? fault.retryAfter : undefined;
      const retryAfter = text === 'date' ? new Date(Date.now() + 20_000).toUTCString() : text;
      const match = { resource: 'services' };
      const armed = server.faults.add({ kind: 'answer', ...fault, ...(retryAfter ? { retryAfter } : {}) }, match);
      server.watches(match)[0]?.end();
      await until('it struck', () => armed.hits() === 1);
      const [struck] = requests('services').slice(-1);
      clock.pace(atMostMs > 60_000 ? 1_000 : 50);
      await until('it asks again', () => requests('services').at(-1) !== struck, atMostMs + 20_000);
      const pause = requests('services').at(-1)!.at - struck!.at;
      // A turn or two of the loop more, for the answer to get here and the request to get there.
      assert.ok(pause >= atLeastMs && pause <= atMostMs + 10_000, `it asked again after ${pause} ms`);
      clock.pace(100);
      await settled();
    }));
}

test('429 for everything for five minutes keeps to the backoff', () =>
  running({ pace: 600 }, async ({ server, clock, settled, during }) => {
    const fault = server.faults.add({ kind: 'answer', status: 429, retryAfterSeconds: 1 }, {}, EVER);
    server.dropConnections('reset');
    const { requests } = await during(() => clock.sleep(300_000));
    for (const resource of RESOURCES) {
      const asked = requests.filter((request) => request.resource === resource).length;
      assert.ok(asked >= 10 && asked <= mostRequests(300_000), `${resource}: ${asked} requests in five minutes`);
    }
    fault.remove();
    await settled();
  }));

for (const [what, body, contentType] of [
  ['a web page', '<html><body>Log in to the hotel network</body></html>', 'text/html'],
  ['nothing', '', 'application/json'],
  ['an empty object', '{}', 'application/json'],
  ['a list without a version', '{"kind":"ServiceList","metadata":{},"items":[]}', 'application/json'],
  [
    'a list of something else',
    '{"kind":"PodList","metadata":{"resourceVersion":"99999"},"items":"none"}',
    'application/json',
  ],
  [
    'a list that breaks off',
    '{"kind":"ServiceList","metadata":{"resourceVersion":"99999"},"items":[{"metadata":',
    'application/json',
  ],
  [
    'a list that lacks its last bracket',
    '{"kind":"ServiceList","metadata":{"resourceVersion":"99999"},"items":[]',
    'application/json',
  ],
  ['a Status', '{"kind":"Status","status":"Success","metadata":{"resourceVersion":"99999"}}', 'application/json'],
  ['null', 'null', 'application/json'],
] as const) {
  test(`status 200 with ${what} in place of a list deletes nothing`, () =>
    running({ server: { watchList: false } }, async ({ server, until, settled, recorder }) => {
      const expired = server.faults.add({ kind: 'expired' }, { verb: 'watch' }, RESOURCES.length);
      const fault = server.faults.add({ kind: 'answer', status: 200, body, contentType }, { verb: 'list' }, 12);
      for (const watch of server.watches()) watch.end();
      const calls = recorder.calls();
      await until('most lists were answered so', () => expired.hits() > 0 && fault.hits() >= 9, 120_000);
      assert.is(recorder.calls(), calls);
      await until('all lists were answered so', () => fault.hits() === 12, 120_000);
      await settled();
    }));
}

test('status 200 with a web page in place of watches makes no busy loop', () =>
  running({ pace: 500 }, async ({ server, clock, settled, during, recorder }) => {
    const page = { status: 200, body: '<html></html>', contentType: 'text/html' };
    const fault = server.faults.add({ kind: 'answer', ...page }, { verb: 'watch' }, EVER);
    for (const watch of server.watches()) watch.end();
    const calls = recorder.calls();
    const { requests } = await during(() => clock.sleep(300_000));
    for (const resource of RESOURCES) {
      const asked = requests.filter((request) => request.resource === resource).length;
      assert.ok(asked >= 10 && asked <= mostRequests(300_000) + 5, `${resource}: ${asked} requests in five minutes`);
    }
    assert.is(recorder.calls(), calls);
    fault.remove();
    await settled();
  }));

test('a cluster without ServiceCIDRs is served; they count once it has them', () =>
  scene({ pace: 500 }, async ({ server, start, until, clock, recorder, settled, during }) => {
    const absent = server.faults.add({ kind: 'answer', status: 404 }, { resource: 'servicecidrs' }, EVER);
    await start();
    await until('synced', () => recorder.syncs() === 1, 5_000);
    assert.is(recorder.state.Service.size, 12);
    clock.pace(2_000);
    const { requests } = await during(() => clock.sleep(1_800_000));
    const asked = requests.filter(({ path }) => path.endsWith('/servicecidrs')).length;
    assert.ok(asked >= 4 && asked <= 10, `${asked} requests in half an hour`);
    assert.is(recorder.state.ServiceCIDR.size, 0);
    absent.remove();
    await until('the ranges are there', () => recorder.state.ServiceCIDR.has('kubernetes'), 660_000);
    clock.pace(300);
    await settled();
  }));

test('404 for a moment, as from a server that is still starting, takes no ServiceCIDR away', () =>
  running({ pace: 500 }, async ({ server, clock, settled, recorder }) => {
    const absent = server.faults.add({ kind: 'answer', status: 404 }, { resource: 'servicecidrs' }, 3);
    for (const watch of server.watches({ resource: 'servicecidrs' })) watch.reset();
    await clock.sleep(10_000);
    assert.ok(absent.hits() >= 1);
    assert.ok(recorder.state.ServiceCIDR.has('kubernetes'));
    await settled(900_000);
  }));

test('404 for what every cluster has is a fault like others', () =>
  running({ pace: 500 }, async ({ server, clock, settled, during, recorder }) => {
    const match = { resource: ['services', 'endpointslices', 'nodes'] };
    const absent = server.faults.add({ kind: 'answer', status: 404 }, match, EVER);
    for (const watch of server.watches()) watch.end();
    const { requests } = await during(() => clock.sleep(300_000));
    assert.ok(requests.length >= 30 && requests.length <= 3 * mostRequests(300_000) + 6, `${requests.length} requests`);
    assert.ok(absent.hits() > 0);
    assert.is(recorder.state.Service.size, 13);
    absent.remove();
    await settled();
  }));

/** What ClusterRole system:node-proxier allows. */
function proxierRules(...left: readonly string[]): readonly Rule[] {
  const rule = (group: string, ...resources: readonly string[]): Rule => ({
    subject: 'system:kube-proxy',
    verbs: ['list', 'watch'],
    groups: [group],
    resources: resources.filter((resource) => !left.includes(resource)),
  });
  return [
    rule('', 'services', 'nodes'),
    rule('discovery.k8s.io', 'endpointslices'),
    rule('networking.k8s.io', 'servicecidrs'),
  ];
}

test("the rights of a node's proxy are enough", () =>
  scene({ server: { rules: proxierRules() } }, async ({ server, start, settled, requests }) => {
    await start();
    await settled();
    server.dropConnections('reset');
    await settled();
    for (const request of requests()) assert.is(request.status, 200, `${request.verb} ${request.path}`);
  }));

for (const missing of RESOURCES) {
  test(`a right to read ${missing} that is granted late is enough, too`, () =>
    scene({ pace: 500, server: { rules: proxierRules(missing) } }, async (stage) => {
      const { server, start, clock, during, recorder, settled, log } = stage;
      await start();
      const { requests } = await during(() => clock.sleep(120_000));
      const refused = requests.filter(({ resource, status }) => resource === missing && status === 403).length;
      assert.ok(refused >= 5 && refused <= mostRequests(120_000), `${refused} refused requests in two minutes`);
      assert.is(recorder.syncs(), missing === 'services' || missing === 'endpointslices' ? 0 : 1);
      const told = log.at('warn').filter(({ message }) => message.includes('grant it'));
      assert.ok(told.length >= 1 && told.length <= 4, `${told.length} lines about it in two minutes`);
      server.setRules(proxierRules());
      await settled();
    }));
}

test('rights that are taken away leave the last state in force', () =>
  running({ pace: 500 }, async ({ server, clock, settled, recorder }) => {
    server.setRules([]);
    server.dropConnections('reset');
    const calls = recorder.calls();
    await clock.sleep(120_000);
    assert.is(recorder.calls(), calls);
    server.setRules(undefined);
    await settled();
  }));

test.run();
