/** Who may ask what: tokens, client certificates, rules, and the kubeconfigs that carry them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import type { Rule } from '../../apiserver/http/auth.ts';
import { SERVICES, serverSuite, service } from './with-server.ts';

const { test, client: clientOf, run } = serverSuite('apiserver authentication');

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

test('a token is good until it expires', async (server) => {
  const token = server.tokens.issue('alice');
  const { get } = clientOf(server, bearer(token));
  assert.is((await get(SERVICES)).status, 200);
  assert.is(server.requests()[0]!.user, 'alice');
  server.tokens.expire(token);
  const refused = await get(SERVICES);
  assert.equal(refused.json, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'Unauthorized',
    reason: 'Unauthorized',
    code: 401,
  });
});

test('a request without credentials is anonymous and may see the version only', async (server) => {
  const { get } = clientOf(server, { headers: {} });
  const refused = await get('/api/v1/services');
  assert.is(refused.status, 403);
  assert.is(
    refused.json.message,
    'services is forbidden: User "system:anonymous" cannot list resource "services" in API group "" at the cluster scope',
  );
  assert.is((await get('/version')).status, 200);
  assert.is((await get('/api')).status, 403);
  assert.is((await get('/api')).json.message, 'forbidden: User "system:anonymous" cannot get path "/api"');
});

test(
  'without anonymous access it is refused with 401',
  async (server) => {
    assert.is((await clientOf(server, { headers: {} }).get('/version')).status, 401);
  },
  { anonymous: false },
);

test('a client certificate names the user and the groups', async (server) => {
  const { certificate, key } = server.clientCertificate('bob', ['system:masters', 'team/a']);
  const { get } = clientOf(server, { cert: certificate, key });
  server.setRules([]);
  assert.is((await get(SERVICES)).status, 200);
  assert.is(server.requests()[0]!.user, 'bob');
});

test('a certificate of another authority, or one that has expired, is refused', async (server) => {
  const foreign = server.clientCertificate('bob');
  server.rotateCertificate({ newAuthority: true });
  const { certificate, key } = server.clientCertificate('bob', [], -1);
  assert.is((await clientOf(server, { cert: foreign.certificate, key: foreign.key }).get(SERVICES)).status, 401);
  assert.is((await clientOf(server, { cert: certificate, key }).get(SERVICES)).status, 401);
});

const RULES: readonly Rule[] = [
  { subject: 'proxy', verbs: ['list', 'watch'], groups: [''], resources: ['services', 'nodes'] },
  { subject: 'proxies', verbs: ['create', 'patch'], groups: ['events.k8s.io'], resources: ['events'] },
  { subject: 'proxy', verbs: ['*'], groups: ['networking.k8s.io'], resources: ['*'] },
];

test(
  'rules allow what they say and nothing else',
  async (server) => {
    const { get, send, watch } = clientOf(server, bearer(server.tokens.issue('proxy', ['proxies'])));
    assert.is((await get('/api/v1/services')).status, 200);
    assert.is((await get(SERVICES)).status, 200);
    assert.is((await watch('/api/v1/nodes?watch=1')).status, 200);
    assert.is((await get('/apis/networking.k8s.io/v1/servicecidrs/kubernetes')).status, 200);
    assert.is(
      (await send('POST', '/apis/events.k8s.io/v1/namespaces/default/events', {})).status,
      422,
      'allowed, but no event',
    );
    assert.is((await get('/api')).status, 200, 'discovery is for every known user');
    const single = await get(`${SERVICES}/web`);
    assert.is(single.status, 403);
    assert.is(
      single.json.message,
      'services "web" is forbidden: User "proxy" cannot get resource "services" in API group "" in the namespace "default"',
    );
    assert.equal(single.json.details, { name: 'web', kind: 'services' });
    assert.is((await send('POST', SERVICES, service('web'))).status, 403);
    assert.is((await get('/apis/discovery.k8s.io/v1/endpointslices')).status, 403);
    assert.is((await send('PUT', '/api/v1/nodes/n/status', {})).status, 403);
    assert.is((await clientOf(server, bearer(server.tokens.issue('other'))).get('/api/v1/services')).status, 403);
    server.setRules([]);
    assert.is((await get('/api/v1/services')).status, 403, 'rules can change while it runs');
  },
  { rules: RULES },
);

test('a kubeconfig carries the server, its authority and a token', async (server) => {
  const token = server.tokens.issue('alice');
  const { path } = server.kubeconfigFor({ kind: 'token', token });
  const config = parse(readFileSync(path, 'utf8'));
  const [{ cluster }] = config.clusters;
  assert.is(cluster.server, server.url);
  assert.is(Buffer.from(cluster['certificate-authority-data'], 'base64').toString(), server.ca());
  assert.equal(config.users[0].user, { token });
  assert.is(config['current-context'], 'test');
});

test('a kubeconfig can name files, which a test may rotate', async (server) => {
  const byToken = server.kubeconfigFor({ kind: 'token', token: 'first', files: true });
  const { users, clusters } = parse(readFileSync(byToken.path, 'utf8'));
  assert.equal(users[0].user, { tokenFile: byToken.tokenFile });
  assert.is(readFileSync(clusters[0].cluster['certificate-authority'], 'utf8'), server.ca());
  writeFileSync(byToken.tokenFile, 'second');
  const made = server.clientCertificate('bob');
  const byCertificate = server.kubeconfigFor({ kind: 'certificate', ...made, files: true });
  const { user } = parse(readFileSync(byCertificate.path, 'utf8')).users[0];
  assert.is(readFileSync(user['client-certificate'], 'utf8'), made.certificate);
  assert.is(readFileSync(user['client-key'], 'utf8'), made.key);
  assert.is.not(byToken.path, byCertificate.path);
});

test('a pod finds its credentials in a folder', async (server) => {
  const folder = server.serviceAccountFolder(server.tokens.issue('system:serviceaccount:kube-system:kube-proxy'));
  const { get } = clientOf(server, {
    ca: readFileSync(join(folder, 'ca.crt')),
    ...bearer(readFileSync(join(folder, 'token'), 'utf8')),
  });
  assert.is((await get(SERVICES)).status, 200);
  assert.is(readFileSync(join(folder, 'namespace'), 'utf8'), 'kube-system');
});

test('the certificate is good for the names that a server goes by, and for no others', async (server) => {
  const options = bearer(server.tokens.issue('alice'));
  for (const servername of ['localhost', 'kubernetes.default.svc']) {
    assert.is((await clientOf(server, { ...options, servername }).get(SERVICES)).status, 200);
  }
  await rejects(
    clientOf(server, { ...options, servername: 'example.com' }).get(SERVICES),
    'ERR_TLS_CERT_ALTNAME_INVALID',
  );
});

test('after a rotation new connections see the new certificate, signed by the new authority', async (server) => {
  const options = bearer(server.tokens.issue('alice'));
  const old = clientOf(server, { ...options, ca: server.ca() });
  await old.get(SERVICES);
  server.rotateCertificate();
  assert.is((await clientOf(server, { ...options, ca: server.ca(), agent: false }).get(SERVICES)).status, 200);
  const before = server.ca();
  server.rotateCertificate({ newAuthority: true });
  assert.is.not(server.ca(), before);
  assert.is((await old.get(SERVICES)).status, 200, 'the connection that is open goes on');
  await rejects(
    clientOf(server, { ...options, ca: before, agent: false }).get(SERVICES),
    /UNABLE_TO_VERIFY|SELF_SIGNED|SIGNATURE/,
  );
  assert.is((await clientOf(server, { ...options, ca: server.ca(), agent: false }).get(SERVICES)).status, 200);
});

async function rejects(promise: Promise<unknown>, code: string | RegExp): Promise<void> {
  try {
    await promise;
  } catch (error) {
    assert.match((error as NodeJS.ErrnoException).code ?? '', code);
    return;
  }
  throw new Error('it was answered');
}

run();
