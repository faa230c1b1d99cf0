/** Events that `kubectl describe` shows: they are in the API, about the right object, and each only once. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ask, refusal } from '../unit/observe/ask.ts';
import type { RawObject } from './client.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { endpointAt, NO_CONTROLLER, service, slice } from './objects.ts';

interface EventObject extends RawObject {
  readonly kind: 'Event';
  readonly type: string;
  readonly reason: string;
  readonly action: string;
  readonly note: string;
  readonly reportingController: string;
  readonly reportingInstance: string;
  readonly regarding: Readonly<Record<string, string>>;
}

const test = suite('events');
const cluster: Cluster = await openCluster();
const { client, namespace, nodeName } = cluster;
const [family] = cluster.families;
let daemon: Daemon | undefined;
let taken: Server | undefined;

test.after.each(async () => {
  taken?.close();
  await daemon?.stop();
});
test.after(() => cluster.close());

async function start(...flags: readonly string[]): Promise<Daemon> {
  daemon = await startDaemon({ kubeconfig: cluster.kubeconfig, nodeName, ...(flags.length > 0 && { flags }) });
  return daemon;
}

/** Those of this reason about this object, once there is one. */
async function eventsAbout(name: string, reason: string, where: string): Promise<readonly EventObject[]> {
  const list = () => client.list<EventObject>('Event', where, `regarding.name=${name},reason=${reason}`);
  await daemon!.until(`an event ${reason}`, async () => (await list()).length > 0);
  return list();
}

test('a start shows with the Node', async () => {
  await (await start()).ready();
  const [event, ...others] = await eventsAbout(nodeName, 'Starting', 'default');
  assert.is(others.length, 0);
  assert.equal([event!.type, event!.action], ['Normal', 'StartKubeProxy']);
  assert.equal(event!.regarding, { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName });
  assert.equal([event!.reportingController, event!.reportingInstance], ['kube-proxy', `kube-proxy-${nodeName}`]);
});

test('a healthCheckNodePort that is taken shows with the Service, once, and is opened when it is free', async () => {
  const blocked = await client.create(
    service(namespace, 'blocked', { ...NO_CONTROLLER, externalTrafficPolicy: 'Local' }),
  );
  const { healthCheckNodePort: port = 0 } = blocked.spec;
  const host = family === 'IPv4' ? '0.0.0.0' : '::';
  taken = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    taken!.once('error', reject).listen({ host, port, ipv6Only: family === 'IPv6' }, resolve);
  });
  const running = await start();
  await running.ready();
  const [event, ...others] = await eventsAbout('blocked', 'FailedToStartServiceHealthcheck', namespace);
  assert.is(others.length, 0);
  assert.is(event!.type, 'Warning');
  assert.equal(event!.regarding, {
    apiVersion: 'v1',
    kind: 'Service',
    namespace,
    name: 'blocked',
    uid: blocked.metadata.uid,
  });
  assert.match(event!.note, String(port));

  // Changes make it try again; that it fails again is no news.
  const all = await client.create(slice(blocked, { family, endpoints: [endpointAt(family, 1, { nodeName })] }));
  const local = () => running.served.port(family, namespace, 'blocked/TCP')?.local.length;
  await running.until('one endpoint', () => local() === 1);
  await new Promise((resolve) => taken!.close(resolve));
  const here = [1, 2].map((number) => endpointAt(family, number, { nodeName }));
  await client.patch(all, { endpoints: here });
  const where = { host: family === 'IPv4' ? '127.0.0.1' : '::1', port };
  await running.until('the port is open', async () => (await refusal(where)) === 'accepted');
  assert.is((await ask(where, '/')).headers['x-load-balancing-endpoint-weight'], '2');
  assert.is((await eventsAbout('blocked', 'FailedToStartServiceHealthcheck', namespace)).length, 1);
});

const COMPLAINER = `
async function create(host) {
  const sync = async ({ upsert }) => {
    for (const port of upsert) if (port.name === 'odd') host.events.warn(port, 'UnknownScheduler', 'there is no such one');
    return { operations: 0, bytes: 0 };
  };
  return { families: ['IPv4', 'IPv6'], sync, async cleanup() {}, async close() {} };
}
export default { name: 'complainer', apiVersion: 1, summary: 'complains', leavesHostAlone: true, create };
`;

test('what a backend says of a Service shows with that Service, once', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-events-'));
  try {
    const plugin = join(folder, 'complainer.mjs');
    writeFileSync(plugin, COMPLAINER);
    const odd = await client.create(service(namespace, 'odd', NO_CONTROLLER));
    const running = await start(`--backend=${plugin}`);
    await running.ready();
    const [event, ...others] = await eventsAbout('odd', 'UnknownScheduler', namespace);
    assert.is(others.length, 0);
    assert.equal([event!.type, event!.note], ['Warning', 'there is no such one']);
    const { uid } = odd.metadata;
    assert.equal(event!.regarding, { apiVersion: 'v1', kind: 'Service', namespace, name: 'odd', uid });
    const said = running.lines.filter(({ msg }) => msg === 'A Service is not served as its author asks');
    assert.equal(
      said.map(({ service: about, reason }) => [about, reason]),
      [[`${namespace}/odd`, 'UnknownScheduler']],
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
