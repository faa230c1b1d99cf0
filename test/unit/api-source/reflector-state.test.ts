/** How a whole state comes in: streamed, listed, in pages, again; and that nothing less than a whole one counts. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { node, type Resource, serviceCIDRs } from '../../../core/source/api/resource.ts';
import { list, nodeObject, service, serviceCIDR, status } from './raw-objects.ts';
import { stage } from './stage.ts';

const test = suite('reflector: whole states');

const EXPIRED = status(410, 'Expired', 'The provided continue parameter is too old');
const REFUSED = status(422, 'Invalid', 'sendInitialEvents is forbidden for watch unless the feature gate is enabled');
const TOO_LARGE = status(504, 'Timeout', 'Too large resource version: 90, current: 20', {
  causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
});

test('the first request is a stream of all objects, with the selectors of the reference', async () => {
  const { request } = await stage();
  const { path, query } = request();
  assert.is(path, '/api/v1/services');
  assert.equal(query, {
    labelSelector: '!service.kubernetes.io/service-proxy-name',
    fieldSelector: 'spec.clusterIP!=None',
    watch: 'true',
    allowWatchBookmarks: 'true',
    timeoutSeconds: '450',
    sendInitialEvents: 'true',
    resourceVersionMatch: 'NotOlderThan',
  });
});

test('selectors are percent-encoded as one value each', async () => {
  const { request } = await stage();
  const { asked } = request();
  assert.match(asked.path, 'labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&');
  assert.match(asked.path, 'fieldSelector=spec.clusterIP%21%3DNone&');
});

test('streamed objects are delivered together when the server says that these are all', async () => {
  const { request, told, published, reflector } = await stage();
  const stream = request().open();
  await stream.event('ADDED', service('a', { version: '5' }));
  await stream.event('ADDED', service('b', { version: '7' }));
  assert.equal(told, []);
  assert.is(reflector.status().synced, false);
  await stream.bookmark('9', { initialEventsEnd: true });
  assert.equal(told, ['+ shop/a', '+ shop/b']);
  assert.is(published(), 1);
  assert.is(reflector.status().resourceVersion, '9');
  assert.is(reflector.status().objects, 2);
});

test('changes that come among the initial events count', async () => {
  const { request, names } = await stage();
  const stream = request().open();
  await stream.event('ADDED', service('a', { version: '5' }));
  await stream.event('ADDED', service('b', { version: '7' }));
  await stream.event('DELETED', service('a', { version: '8' }));
  await stream.bookmark('9', { initialEventsEnd: true });
  assert.is(names(), 'b');
});

test('after the initial events the same stream goes on as the watch', async () => {
  const { request, api, names } = await stage();
  const stream = request().open();
  await stream.bookmark('9', { initialEventsEnd: true });
  await stream.event('ADDED', service('late', { version: '12' }));
  assert.is(names(), 'late');
  assert.is(api.sent.length, 1);
});

test('a stream that breaks off before its end leaves everything as it was', async () => {
  const { request, told, published, clock } = await stage();
  const stream = request().open();
  await stream.event('ADDED', service('a'));
  await stream.breakOff();
  assert.equal(told, []);
  assert.is(published(), 0);
  await clock.advance(800);
  assert.is(request().query.sendInitialEvents, 'true');
});

test('a server that refuses to stream is listed at once, and not asked to stream for each later list', async () => {
  const { request, names, api, clock } = await stage();
  await request().answer(422, REFUSED);
  const first = request();
  assert.equal(first.query.watch, undefined);
  assert.is(first.query.resourceVersion, '0');
  assert.is(first.query.limit, '500');
  await first.answer(200, list('20', [service('a')]));
  assert.is(names(), 'a');
  const watch = request();
  assert.is(watch.query.watch, 'true');
  assert.is(watch.query.resourceVersion, '20');
  assert.is(watch.query.sendInitialEvents, undefined);
  await watch.answer(410, EXPIRED);
  await clock.advance(0);
  assert.is(request().query.watch, undefined);
  assert.is(api.sent.length, 4);
});

for (const code of [400, 405, 422]) {
  test(`status ${code} counts as a refusal to stream`, async () => {
    const { request, log } = await stage();
    await request().answer(code, status(code, '', 'no'));
    assert.is(request().query.resourceVersion, '0');
    assert.equal(log.at('warn'), []);
  });
}

test('a server that streams but never says that these were all is listed after a quarter of a minute', async () => {
  const { request, clock, told } = await stage();
  const stream = request().open();
  await stream.event('ADDED', service('a'));
  await clock.advance(14_999);
  assert.not.ok(stream.aborted);
  await clock.advance(1);
  assert.ok(stream.aborted);
  assert.equal(told, []);
  assert.is(request().query.resourceVersion, '0');
});

test('a plain bookmark among initial events shows a server that does not know how to stream', async () => {
  const { request } = await stage();
  const stream = request().open();
  await stream.event('ADDED', service('a'));
  await stream.bookmark('30');
  assert.ok(stream.aborted);
  assert.is(request().query.limit, '500');
});

test('a stream that fails for no lasting reason is tried as a list once, then as a stream again', async () => {
  const { request, clock } = await stage();
  await request().answer(500, status(500, 'InternalError', 'oops'));
  await clock.advance(800);
  const asList = request();
  assert.is(asList.query.watch, undefined);
  await asList.answer(200, list('20', []));
  await request().answer(410, EXPIRED);
  await clock.advance(0);
  assert.is(request().query.sendInitialEvents, 'true');
});

test('a list is read page by page and delivered as one', async () => {
  const { request, told, names } = await stage({ streams: false });
  await request().answer(200, list('20', [service('a')], 'token-1'));
  assert.equal(told, []);
  const second = request();
  assert.equal(second.query, {
    labelSelector: '!service.kubernetes.io/service-proxy-name',
    fieldSelector: 'spec.clusterIP!=None',
    limit: '500',
    continue: 'token-1',
  });
  await second.answer(200, list('20', [service('b')], 'token-2'));
  await request().answer(200, list('20', [service('c')]));
  assert.is(names(), 'a b c');
  assert.is(request().query.resourceVersion, '20');
});

test('a continue token that expired starts the list over in one piece', async () => {
  const { request, names } = await stage({ streams: false });
  await request().answer(200, list('20', [service('a')], 'token-1'));
  await request().answer(410, EXPIRED);
  const again = request();
  assert.is(again.query.limit, undefined);
  assert.is(again.query.continue, undefined);
  assert.is(again.query.resourceVersion, undefined);
  await again.answer(200, list('25', [service('b')]));
  assert.is(names(), 'b');
});

test('a page that names itself as the next does not go on for ever', async () => {
  const { request, api, clock } = await stage({ streams: false });
  await request().answer(200, list('20', [], 'same'));
  await request().answer(200, list('20', [], 'same'));
  assert.is(api.waiting('services'), 0);
  await clock.advance(800);
  assert.is(request().query.continue, undefined);
});

test('a list without a resourceVersion, or that is none, is not believed', async () => {
  for (const body of [{ items: [] }, { kind: 'Status', metadata: {} }, '[]', '{"items":[', '']) {
    const { request, published, log } = await stage({ streams: false });
    await request().answer(200, body);
    assert.is(published(), 0, JSON.stringify(body));
    assert.is(log.at('warn').length, 1);
  }
});

test('an empty list whose items are null is an empty list', async () => {
  const { request, published } = await stage({ streams: false });
  await request().answer(200, { metadata: { resourceVersion: '4' }, items: null });
  assert.is(published(), 1);
});

test('410 for a watch brings a new list, not older than what was seen, and only differences are delivered', async () => {
  const { request, told, reflector } = await stage({ streams: false });
  await request().answer(200, list('20', [service('a'), service('b', { version: '2' }), service('gone')]));
  const watch = request().open();
  await watch.event('MODIFIED', service('a', { version: '21', port: 81 }));
  told.length = 0;
  await watch.event('ERROR', EXPIRED);
  const again = request();
  assert.equal(
    [again.query.resourceVersion, again.query.resourceVersionMatch, again.query.limit],
    ['21', 'NotOlderThan', undefined],
  );
  const changed = service('a', { version: '30', port: 82 });
  await again.answer(200, list('33', [changed, service('b', { version: '2' }), service('new')]));
  assert.equal(told, ['- shop/gone', '+ shop/a', '+ shop/new']);
  assert.is(reflector.status().relists, 1);
  assert.is(request().query.resourceVersion, '33');
});

test('a broken list after 410 leaves the old state in force', async () => {
  const { request, names, clock } = await stage({ streams: false });
  await request().answer(200, list('20', [service('a'), service('b')]));
  await request().answer(410, EXPIRED);
  const body = JSON.stringify(list('30', [service('a'), service('c')]));
  await request().answer(200, body.slice(0, -20));
  assert.is(names(), 'a b');
  await clock.advance(30_000);
  await request().answer(200, body);
  assert.is(names(), 'a c');
});

test('410 for every watch is answered with lists at growing distances', async () => {
  const { request, api, clock } = await stage({ streams: false });
  await request().answer(200, list('20', []));
  await request().answer(410, EXPIRED);
  for (let round = 0; round < 5; round++) {
    await request().answer(200, list('20', []));
    await request().answer(410, EXPIRED);
    assert.is(api.waiting('services'), 0, `round ${round}`);
    await clock.advance(600 * 2 ** round - 1);
    assert.is(api.waiting('services'), 0, `round ${round}`);
    await clock.advance(1);
  }
});

test('a list that is not to be older than what was seen, but is, is asked for again as it is now', async () => {
  const { request, names, clock } = await stage({ streams: false });
  await request().answer(200, list('90', [service('a', { version: '80' }), service('b', { version: '85' })]));
  await request().answer(410, EXPIRED);
  const cautious = request();
  assert.is(cautious.query.resourceVersion, '90');
  await cautious.answer(504, TOO_LARGE);
  await clock.advance(600);
  const latest = request();
  assert.equal([latest.query.resourceVersion, latest.query.limit], [undefined, '500']);
  await latest.answer(200, list('20', [service('a', { version: '7' })]));
  assert.is(names(), 'a');
});

test('a server whose versions went back is believed: its older objects replace ours', async () => {
  const { request, names, objects } = await stage({ streams: false });
  await request().answer(200, list('90', [service('a', { version: '80', port: 80 }), service('b', { version: '85' })]));
  await request().answer(504, TOO_LARGE);
  const latest = request();
  assert.equal([latest.query.resourceVersion, latest.query.limit], [undefined, '500']);
  await latest.answer(200, list('20', [service('a', { version: '7', port: 79 })]));
  assert.is(names(), 'a');
  assert.is((objects.get('shop/a') as { ports: { port: number }[] }).ports[0]?.port, 79);
  const watch = request();
  assert.is(watch.query.resourceVersion, '20');
  const stream = watch.open();
  await stream.event('MODIFIED', service('a', { version: '21', port: 78 }));
  assert.is((objects.get('shop/a') as { ports: { port: number }[] }).ports[0]?.port, 78);
});

test('a resource that the cluster does not have is looked for under its older version, then not for ten minutes', async () => {
  const resource = serviceCIDRs() as Resource<unknown>;
  const { request, published, clock, log, api, names } = await stage({ resource });
  const v1 = request();
  assert.is(v1.path, '/apis/networking.k8s.io/v1/servicecidrs');
  await v1.answer(404, status(404, 'NotFound', 'the server could not find the requested resource'));
  const beta = request();
  assert.is(beta.path, '/apis/networking.k8s.io/v1beta1/servicecidrs');
  await beta.answer(404, '404 page not found');
  assert.is(published(), 1);
  assert.is(api.waiting('servicecidrs'), 0);
  await clock.advance(599_999);
  assert.is(api.waiting('servicecidrs'), 0);
  await clock.advance(1);
  const again = request();
  assert.is(again.path, '/apis/networking.k8s.io/v1/servicecidrs');
  assert.equal(log.at('warn'), []);
  const stream = again.open();
  await stream.event('ADDED', serviceCIDR('kubernetes'));
  await stream.bookmark('9', { initialEventsEnd: true });
  assert.is(names(), 'kubernetes');
});

test('a resource that went away with an upgrade is found under its new version at once', async () => {
  const resource = serviceCIDRs() as Resource<unknown>;
  const { request, names, clock } = await stage({ resource });
  await request().answer(404, '');
  const stream = request().open();
  await stream.event('ADDED', serviceCIDR('kubernetes'));
  await stream.bookmark('9', { initialEventsEnd: true });
  await clock.advance(5_000);
  await stream.end();
  const beta = request();
  assert.is(beta.path, '/apis/networking.k8s.io/v1beta1/servicecidrs');
  await beta.answer(404, '');
  assert.is(request().path, '/apis/networking.k8s.io/v1/servicecidrs');
  assert.is(names(), 'kubernetes');
});

test('the node is asked for by name', async () => {
  const { request, names } = await stage({ resource: node('node-1') as Resource<unknown> });
  const asked = request();
  assert.is(asked.query.fieldSelector, 'metadata.name=node-1');
  const stream = asked.open();
  await stream.event('ADDED', nodeObject('node-1'));
  await stream.bookmark('9', { initialEventsEnd: true });
  assert.is(names(), 'node-1');
});

test.run();
