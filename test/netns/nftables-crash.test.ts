/** Killed in the middle of whatever it did, the program finds its way back: rules right, connections unbroken. */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { KubernetesObject } from '../conformance/objects.ts';
import { listTable, nftablesPlane, tableHandle } from './backend-nftables.ts';
import { answerer, ask, BOTH, flagsOf, play, serviceOf, VIP } from './backend-scene.ts';
import { isolateTests } from './isolated.ts';
import type { World } from './world.ts';

await isolateTests(['nftables']);
const test = suite('nftables crashes');
const MANY = 300;
const KILLS = 6;

const addressOf = (index: number) => `10.98.${index >> 8}.${index & 255}`;
/** Which of five pods serves Service `index` in this state; -1: the Service is gone. */
const podOf = (index: number, state: number) => ((index * 7 + state * 3) % 6) - 1;

function objects(world: World, state: number): KubernetesObject[] {
  const pods = [...world.pods, ...world.remotePods];
  return [
    ...serviceOf({ name: 'steady', clusterIPs: BOTH }, world.pods),
    ...Array.from({ length: MANY }, (_, index) => {
      const pod = podOf(index, state);
      const spec = { name: `s-${index}`, clusterIPs: { IPv4: addressOf(index) }, affinitySeconds: index % 3 };
      return pod < 0 ? [] : serviceOf(spec, [pods[pod]!]);
    }).flat(),
  ];
}

for (const ownership of ['auto', 'off'] as const) {
  test(`ownership=${ownership}: killed in the middle of large changes, it makes the rules right at its next start`, async () => {
    const flags = [...flagsOf(nftablesPlane(`ownership=${ownership}`)), '-v', '2'];
    await play({ flags, objects: (world) => objects(world, 0) }, async ({ world, proxy }) => {
      const request = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 };
      const held = await world.hold('client', request);
      const flood = await world.flood('client', { request, limitMs: 60_000 });
      const handle = await tableHandle(world);
      let state = 0;
      for (let kill = 1; kill <= KILLS; kill++) {
        // A stream of changes, each large, and the end somewhere among them.
        const end = performance.now() + 30 + kill * 23;
        while (performance.now() < end) {
          proxy.write(objects(world, ++state));
          await sleep(12);
        }
        await proxy.stop('SIGKILL');
        if (kill % 2 === 0) proxy.write(objects(world, ++state));
        await proxy.start();
        const pods = [...world.pods, ...world.remotePods];
        const asked = Array.from({ length: 40 }, (_, k) => (k * 37 + kill) % MANY);
        const outcomes = await world.requests(
          'pod-a',
          asked.map((index) => ({
            ...request,
            destinationIP: addressOf(index),
            timeoutMs: podOf(index, state) < 0 ? 250 : 3000,
          })),
        );
        assert.equal(
          outcomes.map(answerer),
          asked.map((index) => pods[podOf(index, state)]?.name ?? 'timeout'),
          `kill ${kill}, state ${state}`,
        );
        assert.is(answerer(await held.ping(3000)), answerer(held.first));
      }
      const { total, outcomes } = await flood.stop();
      assert.equal(outcomes, { answered: total });
      assert.is(await tableHandle(world), handle, 'the table was taken over each time, never made again');

      const before = [await listTable(world), await listTable(world, 'IPv6')];
      const from = proxy.lines.length;
      await proxy.stop('SIGKILL');
      await proxy.start();
      for (const family of ['IPv4', 'IPv6']) {
        const first = (line: { msg: string; family?: unknown }) =>
          line.msg.startsWith('Synced') && line.family === family;
        const line = await proxy.waitFor('the first sync', first, from);
        assert.equal([line.msg, line.operations], ['Synced; nothing had to change', 0], JSON.stringify(line));
      }
      assert.equal([await listTable(world), await listTable(world, 'IPv6')], before);
      const listed = new Set(before[0]!.match(/\b10\.98\.\d+\.\d+/g));
      const expected = Array.from({ length: MANY }, (_, index) => index).filter((index) => podOf(index, state) >= 0);
      assert.equal([...listed].sort(), expected.map(addressOf).sort(), 'Services that are gone leave nothing');
    });
  });
}

test('Services that appear while no program runs and claim what another with affinity has get an affinity of their own', async () => {
  const EXTERNAL = ['203.0.113.7'];
  const first = (world: World) =>
    serviceOf({ name: 'a', clusterIPs: { IPv4: VIP }, affinitySeconds: 600, externalIPs: EXTERNAL }, world.pods);
  const second = (world: World, name: string, clusterIP: string, affinitySeconds: number) =>
    serviceOf({ name, clusterIPs: { IPv4: clusterIP }, affinitySeconds, externalIPs: EXTERNAL }, world.pods);
  await play(
    { flags: flagsOf(nftablesPlane()), objects: first, world: { clientAddressCount: 40 } },
    async ({ world, proxy }) => {
      const clients = world.clientIPs.IPv4;
      const ofFirst = await ask(world, 'client', clients);
      await proxy.stop('SIGKILL');
      proxy.write([...first(world), ...second(world, 'b', '10.96.0.11', 60), ...second(world, 'c', '10.96.0.12', 90)]);
      const from = proxy.lines.length;
      await proxy.start();
      assert.equal(
        proxy.lines.slice(from).filter(({ level }) => level === 'error'),
        [],
      );
      assert.equal(await ask(world, 'client', clients), ofFirst);
      assert.equal(await ask(world, 'client', clients, EXTERNAL[0]), ofFirst);
      const ofSecond = await ask(world, 'client', clients, '10.96.0.11');
      // Chance that 40 clients choose alike of three: 1 in 10^19.
      assert.not.equal(ofSecond, ofFirst);
      assert.equal(await ask(world, 'client', clients, '10.96.0.11'), ofSecond);
      await proxy.apply([...first(world), ...second(world, 'c', '10.96.0.12', 90)]);
      assert.equal(await ask(world, 'client', clients), ofFirst);
      const ofThird = await ask(world, 'client', clients, '10.96.0.12');
      assert.equal(await ask(world, 'client', clients, '10.96.0.12'), ofThird);
    },
  );
});

test('what changed while no program ran is all that the next start writes', async () => {
  const flags = [...flagsOf(nftablesPlane()), '-v', '2'];
  await play({ flags, objects: (world) => objects(world, 0) }, async ({ world, proxy }) => {
    await proxy.stop('SIGKILL');
    const changed = serviceOf({ name: 'steady', clusterIPs: BOTH }, world.pods.slice(1, 2));
    proxy.write([...objects(world, 0).slice(changed.length), ...changed]);
    const from = proxy.lines.length;
    await proxy.start();
    const first = (line: { msg: string; family?: unknown }) => line.msg === 'Synced' && line.family === 'IPv4';
    const line = await proxy.waitFor('the first sync', first, from);
    assert.ok(Number(line.operations) > 0 && Number(line.operations) < 20, JSON.stringify(line));
    const servers = await ask(world, 'client', new Array(10).fill(undefined));
    assert.equal([...new Set(servers)], ['pod-b']);
  });
});
test.run();
