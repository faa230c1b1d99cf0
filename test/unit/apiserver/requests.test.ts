/** Single objects over HTTPS: what is answered, with which code, and what is refused and how. */
import * as assert from 'uvu/assert';
import { SERVICES, serverSuite, service } from './with-server.ts';

const { test, run } = serverSuite('apiserver requests');

const JSON_TYPE = { 'content-type': 'application/json' };
const MERGE = { 'content-type': 'application/merge-patch+json' };
const STRATEGIC = { 'content-type': 'application/strategic-merge-patch+json' };

test('an object is created, read, replaced and deleted', async (_, { get, send }) => {
  const created = await send('POST', SERVICES, service('web'));
  assert.is(created.status, 201);
  assert.is(created.json.kind, 'Service');
  assert.is(created.json.apiVersion, 'v1');
  assert.is(created.headers['content-type'], 'application/json');
  assert.ok(created.headers['audit-id']);
  const read = await get(`${SERVICES}/web`);
  assert.is(read.status, 200);
  assert.equal(read.json, created.json);
  const body = { ...created.json, metadata: { ...created.json.metadata, labels: { a: 'b' } } };
  const updated = await send('PUT', `${SERVICES}/web`, body);
  assert.is(updated.status, 200);
  assert.ok(Number(updated.json.metadata.resourceVersion) > Number(created.json.metadata.resourceVersion));
  assert.is(updated.json.metadata.uid, created.json.metadata.uid);
  const deleted = await send('DELETE', `${SERVICES}/web`, undefined);
  assert.is(deleted.status, 200);
  assert.is(deleted.json.kind, 'Service', 'deleting a Service answers with it');
  assert.is((await get(`${SERVICES}/web`)).status, 404);
});

test('errors are Status objects of the right shape', async (_, { get, send }) => {
  const missing = await get(`${SERVICES}/web`);
  assert.equal(missing.json, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'services "web" not found',
    reason: 'NotFound',
    details: { name: 'web', kind: 'services' },
    code: 404,
  });
  const slice = await get('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web');
  assert.is(slice.json.message, 'endpointslices.discovery.k8s.io "web" not found');
  assert.equal(slice.json.details, { name: 'web', group: 'discovery.k8s.io', kind: 'endpointslices' });
  await send('POST', SERVICES, service('web'));
  const again = await send('POST', SERVICES, service('web'));
  assert.is(again.status, 409);
  assert.is(again.json.reason, 'AlreadyExists');
});

test('a stale resourceVersion or another uid is a conflict', async (_, { send }) => {
  const { json: created } = await send('POST', SERVICES, service('web'));
  const change = (metadata: object) => ({
    ...created,
    metadata: { ...created.metadata, labels: { n: '1' }, ...metadata },
  });
  await send('PUT', `${SERVICES}/web`, change({}));
  const stale = await send('PUT', `${SERVICES}/web`, change({ labels: { n: '2' } }));
  assert.is(stale.status, 409);
  assert.is(stale.json.reason, 'Conflict');
  assert.match(stale.json.message, 'the object has been modified; please apply your changes to the latest version');
  const other = await send('PUT', `${SERVICES}/web`, change({ resourceVersion: '', uid: 'other' }));
  assert.is(other.status, 409);
  const unconditional = await send('PUT', `${SERVICES}/web`, change({ resourceVersion: '', labels: { n: '3' } }));
  assert.is(unconditional.status, 200);
  const patch = { metadata: { resourceVersion: created.metadata.resourceVersion, labels: { n: '4' } } };
  assert.is((await send('PATCH', `${SERVICES}/web`, patch, MERGE)).status, 409);
});

test('the body must fit the path', async (_, { send }) => {
  const post = async (body: unknown) => (await send('POST', SERVICES, body)).status;
  assert.is(await post({ ...service('web'), kind: 'Pod' }), 400);
  assert.is(await post({ ...service('web'), apiVersion: 'v2' }), 400);
  assert.is(await post(service('web', { namespace: 'other' })), 400);
  assert.is(await post('{"kind":'), 400);
  assert.is(await post('[]'), 400);
  assert.is(await post(service('web', { resourceVersion: '5' })), 500);
  assert.is((await send('PUT', `${SERVICES}/web`, service('api'))).status, 400);
  assert.is(await post({ ...service('kindless'), kind: undefined, apiVersion: undefined }), 201);
  assert.is((await send('POST', '/api/v1/namespaces/nowhere/services', service('web'))).status, 404);
  assert.is((await send('POST', '/api/v1/services', service('web'))).status, 405);
});

test('media types that the server does not speak are refused', async (_, { get, send }) => {
  const put = await send('POST', SERVICES, service('web'), { 'content-type': 'text/plain' });
  assert.is(put.status, 415);
  assert.is(put.json.reason, 'UnsupportedMediaType');
  assert.is((await send('POST', SERVICES, service('web'), {})).status, 201, 'no type means JSON');
  assert.is((await send('PATCH', `${SERVICES}/web`, {}, JSON_TYPE)).status, 415);
  assert.is(
    (
      await send('POST', SERVICES, 'kind: Service\napiVersion: v1\nmetadata: {name: y}\nspec: {ports: [{port: 1}]}\n', {
        'content-type': 'application/yaml',
      })
    ).status,
    201,
  );
  assert.is((await get(SERVICES, { accept: 'text/html' })).status, 406);
  assert.is((await get(SERVICES, { accept: 'application/vnd.kubernetes.protobuf' })).status, 406);
  assert.is((await get(SERVICES, { accept: 'application/json;as=Table;g=meta.k8s.io;v=v1' })).status, 406);
  for (const accept of [
    'application/json',
    '*/*',
    'application/*',
    'application/vnd.kubernetes.protobuf,application/json',
  ]) {
    assert.is((await get(SERVICES, { accept })).status, 200, accept);
  }
});

test('unknown fields are dropped with a warning, or refused when asked to be strict', async (_, { send }) => {
  const body = { ...service('web'), spec: { prots: [], ports: [{ port: 80 }] } };
  const strict = await send('POST', `${SERVICES}?fieldValidation=Strict`, body);
  assert.is(strict.status, 400);
  assert.is(
    strict.json.message,
    'Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.prots"',
  );
  const warned = await send('POST', SERVICES, body);
  assert.is(warned.status, 201);
  assert.match(String(warned.headers.warning), '299 - "unknown field');
  assert.is(warned.json.spec.prots, undefined);
  assert.is((await send('POST', `${SERVICES}?fieldValidation=No`, service('x'))).status, 400);
});

test('a dry run changes nothing, not even what is free', async (server, { send }) => {
  const before = server.resourceVersion();
  const body = { ...service('web'), spec: { type: 'NodePort', ports: [{ port: 80 }] } };
  const dry = await send('POST', `${SERVICES}?dryRun=All`, body);
  assert.is(dry.status, 201);
  assert.is(dry.json.spec.ports[0].nodePort, 30_000);
  assert.is(server.resourceVersion(), before);
  assert.is(server.objects.get('Service', 'default', 'web'), undefined);
  const fixed = { ...service('web'), spec: { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] } };
  assert.is((await send('POST', `${SERVICES}?dryRun=All`, fixed)).status, 201);
  assert.is((await send('POST', SERVICES, { ...fixed, metadata: { name: 'other' } })).status, 201, 'the port is free');
  assert.is((await send('POST', `${SERVICES}?dryRun=Some`, body)).status, 400);
});

test('patches of all three kinds reach the same validation', async (_, { send }) => {
  await send('POST', SERVICES, service('web'));
  const merged = await send('PATCH', `${SERVICES}/web`, { metadata: { labels: { a: 'b' } } }, MERGE);
  assert.is(merged.json.metadata.labels.a, 'b');
  const strategic = await send(
    'PATCH',
    `${SERVICES}/web`,
    { spec: { ports: [{ port: 80, name: 'http' }] } },
    STRATEGIC,
  );
  assert.is(strategic.json.spec.ports[0].targetPort, 80);
  const jsonPatch = [{ op: 'replace', path: '/spec/ports/0/port', value: 0 }];
  const refused = await send('PATCH', `${SERVICES}/web`, jsonPatch, { 'content-type': 'application/json-patch+json' });
  assert.is(refused.status, 422);
  assert.is(refused.json.details.causes[0].field, 'spec.ports[0].port');
  assert.is((await send('PATCH', `${SERVICES}/none`, {}, MERGE)).status, 404);
  const renamed = await send('PATCH', `${SERVICES}/web`, { metadata: { name: 'other' } }, MERGE);
  assert.is(renamed.status, 400);
});

test('a PUT creates where the kind allows it', async (_, { send }) => {
  assert.is((await send('PUT', `${SERVICES}/web`, service('web'))).status, 201);
  const slices = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
  const slice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'a' },
    addressType: 'IPv4',
  };
  assert.is((await send('PUT', `${slices}/a`, slice)).status, 404);
});

test('the status is written through its own path only', async (_, { get, send }) => {
  const spec = { type: 'LoadBalancer', ports: [{ port: 80 }] };
  const status = { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } };
  const { json: created } = await send('POST', SERVICES, { ...service('web'), spec, status });
  assert.equal(created.status, { loadBalancer: {} });
  const put = await send('PUT', `${SERVICES}/web/status`, { ...created, spec: { ports: [{ port: 81 }] }, status });
  assert.is(put.status, 200);
  assert.equal(put.json.spec, created.spec);
  assert.equal(put.json.status.loadBalancer.ingress, [{ ip: '192.0.2.1', ipMode: 'VIP' }]);
  const patched = await send('PATCH', `${SERVICES}/web/status`, { status: { loadBalancer: { ingress: null } } }, MERGE);
  assert.equal(patched.json.status, { loadBalancer: {} });
  assert.is((await get(`${SERVICES}/web/status`)).status, 200);
  assert.is((await get('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/a/status')).status, 404);
});

test('deletion heeds its preconditions, and a whole collection can be deleted by selector', async (server, {
  send,
}) => {
  const { json: created } = await send('POST', SERVICES, service('web', { labels: { app: 'a' } }));
  const bad = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid: 'other' } };
  assert.is((await send('DELETE', `${SERVICES}/web`, bad)).status, 409);
  const good = { ...bad, preconditions: { uid: created.metadata.uid } };
  assert.is((await send('DELETE', `${SERVICES}/web`, good)).status, 200);
  for (const name of ['a', 'b']) await send('POST', SERVICES, service(name, { labels: { app: name } }));
  const gone = await send('DELETE', `${SERVICES}?labelSelector=app%3Da`, undefined);
  assert.is(gone.json.kind, 'ServiceList');
  assert.equal(
    server.objects.list('Service').map(({ metadata }) => metadata.name),
    ['b'],
  );
});

test('deleting what is no Service answers with a Status that has its uid', async (server, { send }) => {
  const { metadata } = server.objects.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } });
  const { json } = await send('DELETE', '/api/v1/nodes/n', undefined);
  assert.equal(json, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name: 'n', kind: 'nodes', uid: metadata.uid },
  });
});

test('an Event is created, and its series patched, as recorders do', async (_, { send }) => {
  const path = '/apis/events.k8s.io/v1/namespaces/default/events';
  const event = {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: 'n.1', namespace: 'default' },
    eventTime: '2026-01-01T00:00:00.000000Z',
    reportingController: 'kube-proxy',
    reportingInstance: 'kube-proxy-n',
    action: 'Sync',
    reason: 'Failed',
    regarding: { kind: 'Node', name: 'n', uid: 'n' },
    note: 'why',
    type: 'Warning',
  };
  assert.is((await send('POST', path, event)).status, 201);
  const series = { count: 2, lastObservedTime: '2026-01-01T00:00:01.000000Z' };
  const patched = await send('PATCH', `${path}/n.1`, { series }, STRATEGIC);
  assert.is(patched.status, 200);
  assert.equal(patched.json.series, series);
  assert.is((await send('PATCH', `${path}/n.1`, { note: 'else' }, MERGE)).status, 422);
});

test('unknown paths are plain 404s, unknown methods 405s', async (_, { get, send }) => {
  for (const path of ['/api/v1/pods', '/apis/apps/v1/deployments', '/api/v2', '/nothing', '/api/v1/services/web']) {
    const answer = await get(path);
    assert.is(answer.status, 404, path);
    assert.is(answer.text, '404 page not found\n');
  }
  assert.is((await send('PUT', SERVICES, service('web'))).status, 405);
  assert.is((await send('POST', `${SERVICES}/web`, service('web'))).status, 405);
});

test('discovery names every resource', async (_, { get }) => {
  assert.equal((await get('/api')).json.versions, ['v1']);
  const groups = (await get('/apis')).json.groups.map(({ name }: { name: string }) => name);
  assert.equal(groups, ['discovery.k8s.io', 'networking.k8s.io', 'events.k8s.io']);
  const core = (await get('/api/v1')).json.resources.map(({ name }: { name: string }) => name);
  assert.equal(core, ['namespaces', 'namespaces/status', 'nodes', 'nodes/status', 'services', 'services/status']);
  assert.is((await get('/apis/discovery.k8s.io')).json.kind, 'APIGroup');
  assert.is((await get('/version')).json.minor, '36');
  assert.is((await get('/readyz')).text, 'ok');
});

test('a malformed timeout is refused, a good one is not', async (_, { get }) => {
  assert.is((await get(`${SERVICES}?timeout=10`)).status, 400);
  assert.is((await get(`${SERVICES}?timeout=1m30s`)).status, 200);
});

test('every request is logged with its user, verb, resource, body and status', async (server, { get, send }) => {
  await send('POST', SERVICES, service('web'), { ...JSON_TYPE, 'user-agent': 'kube-proxy/v1' });
  await get('/api/v1/services?limit=5');
  const [first, second] = server.requests();
  assert.is(first!.user, 'tester');
  assert.is(first!.verb, 'create');
  assert.is(first!.resource, 'services');
  assert.is(first!.namespace, 'default');
  assert.is(first!.status, 201);
  assert.is(first!.userAgent, 'kube-proxy/v1');
  assert.equal(first!.body, service('web'));
  assert.is(second!.verb, 'list');
  assert.is(second!.query.get('limit'), '5');
  server.forgetRequests();
  assert.is(server.requests().length, 0);
});

run();
