/** Events that `kubectl describe` shows: they are in the API, about the right object, and each only once. */
import { createServer, type Server } from 'node:net';
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

async function start(): Promise<Daemon> {
  daemon = await startDaemon({ kubeconfig: cluster.kubeconfig, nodeName });
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

test.run();
