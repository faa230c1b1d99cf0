/** Graceful ends: what becomes of an endpoint that is taken away while clients are connected to it. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ENDPOINT_PORT, endpointSlice, service } from '../conformance/objects.ts';
import { ipvsPlane, weights } from '../netns/backend-ipvs.ts';
import { answerer, ask, BOTH, flagsOf, play, serviceOf, VIP } from '../netns/backend-scene.ts';
import { isolateTests } from '../netns/isolated.ts';
import type { HeldFlow, World } from '../netns/world.ts';
import type { Pod } from '../netns/world-topology.ts';
import { onlyInVm } from './inside.ts';
import { until } from './until.ts';

onlyInVm();
await isolateTests(['ipvsadm', 'nftables']);
const test = suite('ipvs graceful ends');
const SERVER = `${VIP}:80`;

const web = (pods: readonly Pod[]) => serviceOf({ name: 'web', clusterIPs: BOTH }, pods);
const realOf = (pod: Pod): string => `${pod.ip.IPv4}:${ENDPOINT_PORT}`;
const weightOf = async (world: World, pod: Pod) => (await weights(world, SERVER)).get(realOf(pod));

/** A connection, the pod that it has, and the others. */
async function connect(
  world: World,
  protocol: 'TCP' | 'UDP' = 'TCP',
  destinationPort = 80,
): Promise<readonly [flow: HeldFlow, served: Pod, others: readonly Pod[]]> {
  const flow = await world.hold('client', { protocol, destinationIP: VIP, destinationPort, timeoutMs: 1500 });
  const name = answerer(flow.first);
  const served = world.pods.find((pod) => pod.name === name);
  assert.ok(served, name);
  return [flow, served!, world.pods.filter((pod) => pod !== served)];
}

async function neverAnswers(world: World, pod: Pod): Promise<void> {
  const servers = await ask(world, 'client', new Array(12).fill(undefined));
  const others = world.pods.filter((each) => each !== pod).map(({ name }) => name);
  assert.equal([...new Set(servers)].sort(), others);
}

test('an endpoint that goes keeps its connections, gets no new ones, and goes with the last of them', async () => {
  await play({ flags: flagsOf(ipvsPlane()), objects: (world) => web(world.pods) }, async ({ world, proxy }) => {
    const [flow, served, others] = await connect(world);
    await proxy.apply(web(others));
    assert.is(await weightOf(world, served), 0);
    for (const other of others) assert.is(await weightOf(world, other), 1);
    await neverAnswers(world, served);
    assert.is(answerer(await flow.ping(1500)), served.name);
    // By a reset: the kernel remembers what was closed in order for two minutes.
    await flow.close(true);
    await until('the real server is deleted', async () => (await weightOf(world, served)) === undefined, 150);
    await neverAnswers(world, served);
  });
});

test('an endpoint whose connections stay open is deleted when its grace is over', async () => {
  const plane = ipvsPlane('graceSeconds=3');
  await play({ flags: flagsOf(plane), objects: (world) => web(world.pods) }, async ({ world, proxy }) => {
    const [flow, served, others] = await connect(world);
    await proxy.apply(web(others));
    assert.is(await weightOf(world, served), 0);
    await until('the real server is deleted', async () => (await weightOf(world, served)) === undefined, 150);
    await flow.close();
  });
});

test('weights are right after a restart amid a graceful end, and an endpoint that returns serves at once', async () => {
  await play({ flags: flagsOf(ipvsPlane()), objects: (world) => web(world.pods) }, async ({ world, proxy }) => {
    const [flow, served, others] = await connect(world);
    await proxy.apply(web(others));
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await proxy.stop(signal);
      assert.is(await weightOf(world, served), 0, signal);
      await proxy.start();
      assert.is(await weightOf(world, served), 0, signal);
      for (const other of others) assert.is(await weightOf(world, other), 1, signal);
      assert.is(answerer(await flow.ping(1500)), served.name, signal);
    }
    await neverAnswers(world, served);
    await proxy.apply(web(world.pods));
    assert.is(await weightOf(world, served), 1);
    assert.is(answerer(await flow.ping(1500)), served.name);
    const servers = await ask(world, 'client', new Array(12).fill(undefined));
    assert.ok(servers.includes(served.name), servers.join(' '));
    await flow.close();
  });
});

test('what is gone when the program starts ends as gracefully', async () => {
  await play({ flags: flagsOf(ipvsPlane()), objects: (world) => web(world.pods) }, async ({ world, proxy }) => {
    const [flow, served, others] = await connect(world);
    await proxy.stop('SIGKILL');
    proxy.write(web(others));
    await proxy.start();
    assert.is(await weightOf(world, served), 0);
    await neverAnswers(world, served);
    assert.is(answerer(await flow.ping(1500)), served.name);
    await flow.close();
  });
});

test('UDP endpoints go at once, and their clients are answered by others', async () => {
  const port = { name: '', protocol: 'UDP' as const };
  const dns = (pods: readonly Pod[]) => [
    service({ name: 'dns', clusterIPs: { IPv4: VIP }, ports: [{ ...port, port: 53, nodePort: 0 }] }),
    endpointSlice({
      service: 'dns',
      family: 'IPv4',
      port: { ...port, port: ENDPOINT_PORT },
      endpoints: pods.map(({ ip, nodeName }) => ({ ip: ip.IPv4, nodeName })),
    }),
  ];
  await play({ flags: flagsOf(ipvsPlane()), objects: (world) => dns(world.pods) }, async ({ world, proxy }) => {
    const [flow, served, others] = await connect(world, 'UDP', 53);
    assert.is(others.length, 2, served.name);
    await proxy.apply(dns(others));
    assert.equal([...(await weights(world, `${VIP}:53`)).keys()].sort(), others.map(realOf));
    // The core deletes the entry of conntrack off the sync's path.
    await until('another one answers', async () => {
      const answer = answerer(await flow.ping(1500));
      return others.some((pod) => pod.name === answer);
    });
    await flow.close();
  });
});

test.run();
