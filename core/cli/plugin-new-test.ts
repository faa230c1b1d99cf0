/** NAME.test.js of a new plugin, with "my-backend" for its name. It needs Node.js and nothing else. */
export const TEST_TEMPLATE = `// @ts-check
/**
 * node --test
 *
 * @import { TestContext } from 'node:test'
 * @import { Backend, Change, Endpoint, Host, NodeView, SelfChecking, ServicePort } from './kube-proxy.d.ts'
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import plugin from './my-backend.js';

test('a full sync makes the state, and another with the same state writes nothing', async (t) => {
  const { backend, served } = await start(t);
  const full = change({ full: true, upsert: [port('default/web/TCP')] });
  assert.equal((await backend.sync(full)).operations, 1);
  assert.deepEqual(served(), ['default/web/TCP']);
  assert.equal((await backend.sync(full)).operations, 0);
});

test('a change touches what it names, and leaves the rest', async (t) => {
  const { backend, served } = await start(t);
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP'), port('default/b/TCP')] }));
  await backend.sync(change({ upsert: [port('default/c/TCP')], remove: ['default/a/TCP'] }));
  assert.deepEqual(served(), ['default/b/TCP', 'default/c/TCP']);
});

test('a full sync removes what is ours and not in it', async (t) => {
  const { backend, served } = await start(t);
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP'), port('default/b/TCP')] }));
  await backend.sync(change({ full: true, upsert: [port('default/b/TCP')] }));
  assert.deepEqual(served(), ['default/b/TCP']);
});

test('the families do not disturb each other', async (t) => {
  const { backend, served } = await start(t);
  await Promise.all([
    backend.sync(change({ full: true, upsert: [port('default/web/TCP')] })),
    backend.sync(change({ full: true, family: 'IPv6', upsert: [port('default/six/TCP')] })),
  ]);
  assert.deepEqual(served(), ['default/web/TCP']);
  assert.deepEqual(served('IPv6'), ['default/six/TCP']);
});

test('a sync that was not applied rejects, and the full one after it makes everything right', async (t) => {
  const { backend, served, folder } = await start(t);
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP')] }));
  rmSync(folder, { recursive: true });
  await assert.rejects(backend.sync(change({ upsert: [port('default/b/TCP')] })));
  mkdirSync(folder);
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP'), port('default/b/TCP')] }));
  assert.deepEqual(served(), ['default/a/TCP', 'default/b/TCP']);
});

test('it notices what somebody else changed', async (t) => {
  const { backend, file } = await start(t);
  assert.deepEqual(await backend.check('IPv4'), { intact: true });
  await backend.sync(change({ full: true, upsert: [port('default/web/TCP')] }));
  assert.deepEqual(await backend.check('IPv4'), { intact: true });
  writeFileSync(file(), '');
  assert.equal((await backend.check('IPv4')).intact, false);
});

test('cleaning up removes what an earlier run made, and nothing else', async (t) => {
  const { backend, folder } = await start(t);
  writeFileSync(join(folder, 'of-somebody-else'), '');
  await backend.sync(change({ full: true, upsert: [port('default/web/TCP')] }));
  await backend.close();
  const fresh = await plugin.create(fakeHost(), { folder });
  await fresh.cleanup();
  assert.deepEqual(readdirSync(folder), ['of-somebody-else']);
  await fresh.cleanup();
});

test('an option that is wrong is refused, by name', async () => {
  const code = 'KP_BACKEND_OPTION';
  await assert.rejects(plugin.create(fakeHost(), { foldr: '/run' }), { code, message: /foldr/ });
  await assert.rejects(plugin.create(fakeHost(), { folder: 'relative' }), { code, message: /relative/ });
  await assert.rejects(plugin.create(fakeHost(), { folder: '/there/is/no/such' }), { code, message: /such/ });
});

test('render prints what a first sync writes', async (t) => {
  const { backend, file } = await start(t);
  const first = change({ full: true, upsert: [port('default/web/TCP')] });
  await backend.sync(first);
  const printed = plugin.render?.([first], {}, { nftables: () => '' });
  assert.equal(printed, readFileSync(file(), 'utf8'));
});

/**
 * The backend in a folder of its own, which goes with the test.
 * @param {TestContext} t
 */
async function start(t) {
  const folder = mkdtempSync(join(tmpdir(), 'my-backend-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const backend = /** @type {Backend & SelfChecking} */ (await plugin.create(fakeHost(), { folder }));
  const file = (family = 'IPv4') => join(folder, \`my-backend.\${family}.json\`);
  /** Keys of what the data plane serves. */
  const served = (family = 'IPv4') => {
    /** @type {{ servicePorts: ServicePort[] }} */
    const state = JSON.parse(readFileSync(file(family), 'utf8'));
    return state.servicePorts.map(({ key }) => key);
  };
  return { backend, folder, file, served };
}

/**
 * What kube-proxy gives a backend, without a kernel behind it. Fake what yours uses.
 * @returns {Host}
 */
function fakeHost() {
  /** @returns {never} */
  const absent = () => {
    throw new Error('this test fakes no such thing');
  };
  return {
    log: { error() {}, warn() {}, info() {}, verbose() {}, enabled: () => false },
    exec: absent,
    spawn: absent,
    sysctl: { read: absent, ensure: absent },
    netlink: { ipset: absent, nftablesGeneration: absent, nftables: absent, nfacct: absent },
    clock: { now: () => performance.now(), after: absent },
    signal: new AbortController().signal,
    requestFullSync: absent,
    metrics: { register: () => () => {} },
  };
}

/**
 * @param {Partial<Change>} rest
 * @returns {Change}
 */
function change(rest) {
  return { family: 'IPv4', full: false, node: NODE, upsert: [], remove: [], ...rest };
}

/**
 * A Service's port with one endpoint.
 * @param {string} key
 * @param {Partial<ServicePort>} [rest]
 * @returns {ServicePort}
 */
function port(key, rest = {}) {
  return {
    key,
    namespace: 'default',
    name: key.split('/')[1] ?? '',
    portName: '',
    protocol: 'TCP',
    clusterIP: '10.96.0.10',
    port: 80,
    nodePort: 30080,
    externalIPs: [],
    loadBalancerVIPs: [],
    sourceRanges: [],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    cluster: [ENDPOINT],
    local: [],
    hasEndpoints: true,
    annotations: {},
    ...rest,
  };
}

/** @type {Endpoint} */
const ENDPOINT = { ip: '10.244.1.2', port: 8080, isLocal: true, ready: true, nodeName: 'node', zone: '' };

/** @type {NodeView} */
const NODE = {
  name: 'node',
  zone: '',
  nodeIPs: ['192.168.0.10'],
  addresses: ['127.0.0.1', '192.168.0.10'],
  nodePortAddresses: { match: 'all', loopback: false },
  localDetector: { kind: 'none' },
  masqueradeAll: false,
  serviceCIDRs: [],
  tcpBeLiberal: false,
};
`;
