/**
 * An API server that is away, for this node only: the daemon reaches it through a relay, which is cut. So the same
 * tests run against a real cluster without doing anything to it.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../skip.ts';
import { valueOf } from '../unit/observe/exposition.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { address, endpointAt, service, slice } from './objects.ts';
import { startRelay } from './relay.ts';

const test = suite('an API server that is away');
const cluster: Cluster = await openCluster();
const { client, namespace, nodeName, server } = cluster;
const [family] = cluster.families;
const relay = await startRelay({ host: '127.0.0.1', port: 0 }, cluster.place);
const kubeconfig = cluster.kubeconfigFor({ port: relay.port });
let daemon: Daemon;

test.before(async () => {
  daemon = await startDaemon({ kubeconfig, nodeName });
  await daemon.ready();
});
test.after(async () => {
  await daemon?.stop();
  await relay.close();
  await cluster.close();
});

/** A Service with endpoint 1, as far as `running` serves it. */
async function serve(name: string) {
  const web = await client.create(service(namespace, name));
  const all = await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
  const served = (running = daemon) =>
    running.served
      .port(family, namespace, `${name}/TCP`)
      ?.cluster.map(({ ip }) => ip)
      .join();
  await daemon.until(`${name} is served`, () => served() === address(family, 1));
  return { all, served, moveTo: (number: number) => client.patch(all, { endpoints: [endpointAt(family, number)] }) };
}

async function ofServices(metric: string): Promise<number> {
  const value = valueOf(await daemon.metrics(), metric, { resource: 'services' });
  assert.ok(value !== undefined, metric);
  return value;
}

test('while it is away everything stays in force, health too, and metrics tell how old it is; then it catches up', async () => {
  const { served, moveTo } = await serve('steady');
  const [age, failures] = ['kubeproxy_source_age_seconds', 'kubeproxy_source_failures_total'];
  const before = await ofServices(failures);
  await relay.cut();
  await moveTo(2);
  const added = await client.create(service(namespace, 'meanwhile'));
  await daemon.until('several failures', async () => (await ofServices(failures)) >= before + 2);
  const commits = daemon.served.commits();
  const aged = await ofServices(age);
  await daemon.until('the age grows', async () => (await ofServices(age)) > aged);
  for (const path of ['/healthz', '/livez', '/readyz']) assert.is((await daemon.health(path)).status, 200, path);
  assert.is(served(), address(family, 1));
  assert.is(daemon.served.commits(), commits, 'nothing is programmed');

  await relay.restore();
  await daemon.until('what changed meanwhile', () => served() === address(family, 2));
  await daemon.until('what came meanwhile', () => daemon.served.port(family, namespace, 'meanwhile/TCP') !== undefined);
  await daemon.until('the age is small again', async () => (await ofServices(age)) < aged);
  await client.delete(added);
  await daemon.until('what goes after it', () => daemon.served.port(family, namespace, 'meanwhile/TCP') === undefined);
});

test('what was deleted while it was away goes when it is back', async () => {
  const { all } = await serve('short-lived');
  await relay.cut();
  await client.delete(all);
  await client.delete({ kind: 'Service', metadata: { namespace, name: 'short-lived' } });
  await relay.restore();
  await daemon.until('it is gone', () => daemon.served.port(family, namespace, 'short-lived/TCP') === undefined);
});

test('one that starts while it is away waits, live but not ready, and programs nothing before it knows everything', async () => {
  const { served } = await serve('from-start');
  await relay.cut();
  const late = await startDaemon({ kubeconfig, nodeName });
  try {
    await late.until('a failure', async () => {
      const families = await late.metrics();
      return (valueOf(families, 'kubeproxy_source_failures_total', { resource: 'services' }) ?? 0) > 0;
    });
    assert.is((await late.health('/readyz')).status, 503);
    assert.is((await late.health('/livez')).status, 200);
    assert.is(late.served.commits(), 0);
    await relay.restore();
    await late.ready();
    assert.is(served(late), address(family, 1));
  } finally {
    await late.stop();
  }
});

const restored = 'a server that comes back with an older state and lower versions is followed, too';
if (server === undefined) skip(restored, 'a real cluster is not restored from a backup for a test');
else {
  test(restored, async () => {
    const { served, moveTo } = await serve('restored');
    const backup = server.resourceVersion();
    await moveTo(2);
    await daemon.until('the newest state', () => served() === address(family, 2));
    const later = await serve('after-backup');
    await server.restart({ how: 'reset', restoreTo: backup, lowerResourceVersion: true });
    await daemon.until('the state of the backup', () => served() === address(family, 1));
    await daemon.until('what was made after it is gone', () => later.served() === undefined);
    await moveTo(3);
    await daemon.until('what comes after it', () => served() === address(family, 3));
  });
}

const expired = 'a server that has forgotten what happened since is read anew';
if (server === undefined) skip(expired, 'the history of a real cluster is not ours to compact');
else {
  test(expired, async () => {
    const { served, moveTo } = await serve('compacted');
    const forgotten = await serve('forgotten');
    await relay.cut();
    await moveTo(2);
    await client.delete({ kind: 'Service', metadata: { namespace, name: 'forgotten' } });
    server.compact();
    await relay.restore();
    await daemon.until('what changed meanwhile', () => served() === address(family, 2));
    await daemon.until('what went meanwhile is gone', () => forgotten.served() === undefined);
  });
}

const partly = 'nothing is programmed while one kind of objects cannot be had';
if (server === undefined) skip(partly, 'only our own server can refuse one kind');
else {
  test(partly, async () => {
    const { served } = await serve('partly');
    const slices = { verb: ['list', 'watch'], resource: 'endpointslices' };
    const fault = server.faults.add({ kind: 'answer', status: 500 }, slices, Number.POSITIVE_INFINITY);
    const late = await startDaemon({ kubeconfig, nodeName });
    try {
      await late.until('the rest is there, and this refused twice', async () => {
        const families = await late.metrics();
        const synced = ['services', 'nodes', 'servicecidrs'].every(
          (resource) => valueOf(families, 'kubeproxy_source_synced', { resource }) === 1,
        );
        return synced && fault.hits() >= 2;
      });
      assert.equal([late.served.commits(), (await late.health('/readyz')).status], [0, 503]);
      fault.remove();
      await late.ready();
      assert.is(served(late), address(family, 1));
    } finally {
      fault.remove();
      await late.stop();
    }
  });
}

test.run();
