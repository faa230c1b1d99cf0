/**
 * Session affinity: a client keeps its endpoint for as long as it lasts, and no longer. What not every data plane can do
 * stands by itself.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import { endpointSlice, type KubernetesObject, service } from '../conformance/objects.ts';
import { answerer, ask, BOTH, type DataPlane, flagsOf, play, serviceOf, VIP, VIP6 } from './backend-scene.ts';
import type { World } from './world.ts';
import type { Pod } from './world-topology.ts';

export function affinityTests(test: Test, plane: DataPlane): void {
  keptAffinityTest(test, plane);
  endedAffinityTest(test, plane);
}

export function keptAffinityTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: 150 clients each keep their endpoint, and lose it only with the endpoint`, async () => {
    const objects = (world: World, count: number) =>
      serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 600, type: 'NodePort' }, world.pods.slice(0, count));
    await play(
      { flags, objects: (world) => objects(world, 3), world: { clientAddressCount: 150 } },
      async ({ world, proxy }) => {
        for (const [family, destination] of [
          ['IPv4', VIP],
          ['IPv6', VIP6],
        ] as const) {
          const clients = world.clientIPs[family];
          const first = await ask(world, 'client', clients, destination);
          assert.equal([...new Set(first)].sort(), ['pod-a', 'pod-b', 'pod-c'], family);
          assert.equal(await ask(world, 'client', clients, destination), first, family);
          await proxy.apply(objects(world, 2));
          const after = await ask(world, 'client', clients, destination);
          for (const [index, server] of after.entries()) {
            if (first[index] === 'pod-c') assert.ok(server === 'pod-a' || server === 'pod-b', server);
            else assert.is(server, first[index]);
          }
          // The endpoint that comes back has forgotten its clients: nobody moves.
          await proxy.apply(objects(world, 3));
          assert.equal(await ask(world, 'client', clients, destination), after, family);
        }
      },
    );
  });
}

/** Where connections that have ended do not prolong it, and each choice is by chance. */
function endedAffinityTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: affinity ends when its time is over`, async () => {
    const objects = (world: World) =>
      serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 2 }, world.pods.slice(0, 2));
    await play({ flags, objects, world: { clientAddressCount: 40 } }, async ({ world }) => {
      const clients = world.clientIPs.IPv4;
      const first = await ask(world, 'client', clients);
      assert.equal(await ask(world, 'client', clients), first);
      await sleep(3200);
      // Chance that 40 clients all choose the same of two again: 1 in 10^12.
      assert.not.equal(await ask(world, 'client', clients), first);
    });
  });
}

/** More of it, for data planes that keep what clients did in one place of the kernel. */
export function lastingAffinityTests(test: Test, plane: DataPlane): void {
  sharedAffinityTest(test, plane);
  prolongedAffinityTest(test, plane);
  switchedAffinityTest(test, plane);
  udpAffinityTest(test, plane);
}

const NODE_PORT = 30085;
const EXTERNAL_IP = '203.0.113.7';

/** A Service with affinity that clients reach by clusterIP, node port and external IP. */
export function reachedEachWay(pods: readonly Pod[]): readonly KubernetesObject[] {
  const ways = { type: 'NodePort', nodePort: NODE_PORT, externalIPs: [EXTERNAL_IP] } as const;
  return serviceOf({ name: 'web', clusterIPs: { IPv4: VIP }, ...ways, affinitySeconds: 600 }, pods);
}

/** Who answers each of these clients, the same whichever way it comes. */
export async function askEachWay(world: World, clients: readonly string[]): Promise<readonly string[]> {
  const first = await ask(world, 'client', clients);
  assert.equal(await ask(world, 'client', clients, world.nodeIPs.IPv4[0], NODE_PORT), first, 'by node port');
  assert.equal(await ask(world, 'client', clients, EXTERNAL_IP), first, 'by external IP');
  return first;
}

/** Where all ways to a Service port share it. */
function sharedAffinityTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: 200 clients keep one endpoint by clusterIP, node port, external IP, and through a crash`, async () => {
    const objects = (world: World, count: number) =>
      reachedEachWay([...world.pods, ...world.remotePods].slice(0, count));
    await play(
      { flags, objects: (world) => objects(world, 5), world: { clientAddressCount: 200 } },
      async ({ world, proxy }) => {
        const clients = world.clientIPs.IPv4;
        const first = await askEachWay(world, clients);
        assert.is(new Set(first).size, 5, [...new Set(first)].join(' '));
        await proxy.stop('SIGKILL');
        assert.equal(await ask(world, 'client', clients), first, 'with no program running');
        await proxy.start();
        assert.equal(await ask(world, 'client', clients, world.nodeIPs.IPv4[0], NODE_PORT), first, 'after the crash');
        await proxy.apply(objects(world, 4));
        const after = await ask(world, 'client', clients);
        const gone = world.remotePods[1]!.name;
        assert.not.ok(after.includes(gone), 'clients of the endpoint that left move at once');
        assert.equal(
          after.filter((_, index) => first[index] !== gone),
          first.filter((who) => who !== gone),
        );
      },
    );
  });
}

/** Where each choice is by chance. */
export function prolongedAffinityTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: each new connection prolongs affinity, and each Service port has its own`, async () => {
    const objects = (world: World) => [
      ...serviceOf({ name: 'a', clusterIPs: { IPv4: VIP }, affinitySeconds: 4 }, world.pods),
      ...serviceOf({ name: 'b', clusterIPs: { IPv4: '10.96.0.11' }, affinitySeconds: 600 }, world.pods),
    ];
    await play({ flags, objects, world: { clientAddressCount: 40 } }, async ({ world }) => {
      const clients = world.clientIPs.IPv4;
      const first = await ask(world, 'client', clients);
      // Chance that 40 clients choose alike of three: 1 in 10^19.
      assert.not.equal(await ask(world, 'client', clients, '10.96.0.11'), first);
      for (let round = 0; round < 2; round++) {
        await sleep(2500);
        assert.equal(await ask(world, 'client', clients), first, `round ${round}`);
      }
    });
  });
}

/** Where each choice is by chance. */
export function switchedAffinityTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: affinity that is switched off, on and given another time takes effect at once`, async () => {
    const objects = (world: World, affinitySeconds: number) =>
      serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds }, world.pods);
    await play(
      { flags, objects: (world) => objects(world, 600), world: { clientAddressCount: 40 } },
      async ({ world, proxy }) => {
        const clients = world.clientIPs.IPv6;
        const first = await ask(world, 'client', clients, VIP6);
        await proxy.apply(objects(world, 0));
        assert.not.equal(await ask(world, 'client', clients, VIP6), first);
        for (const seconds of [600, 900]) {
          await proxy.apply(objects(world, seconds));
          const kept = await ask(world, 'client', clients, VIP6);
          assert.equal(await ask(world, 'client', clients, VIP6), kept, `${seconds} s`);
        }
      },
    );
  });
}

export function udpAffinityTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: UDP clients keep their endpoint, too, and leave it when it goes`, async () => {
    const port = { name: '', protocol: 'UDP' as const, port: 53 };
    const objects = (world: World, count: number) => [
      service({ name: 'dns', clusterIPs: BOTH, affinitySeconds: 600, ports: [{ ...port, nodePort: 0 }] }),
      ...(['IPv4', 'IPv6'] as const).map((family) =>
        endpointSlice({
          service: 'dns',
          family,
          port: { ...port, port: ENDPOINT_PORT },
          endpoints: world.pods.slice(0, count).map((pod) => ({ ip: pod.ip[family], nodeName: pod.nodeName })),
        }),
      ),
    ];
    // A port of its own for each flow, because conntrack remembers a flow that used one by chance before.
    let sourcePort = 20_000;
    const askUDP = async (world: World, family: IPFamily): Promise<string[]> => {
      sourcePort++;
      const requests = world.clientIPs[family].map((sourceIP) => ({
        protocol: 'UDP' as const,
        sourceIP,
        sourcePort,
        destinationIP: BOTH[family],
        destinationPort: 53,
        timeoutMs: 1500,
      }));
      return (await world.requests('client', requests)).map(answerer);
    };
    await play(
      { flags, objects: (world) => objects(world, 3), world: { clientAddressCount: 40 } },
      async ({ world, proxy }) => {
        const first = { IPv4: await askUDP(world, 'IPv4'), IPv6: await askUDP(world, 'IPv6') };
        for (const family of ['IPv4', 'IPv6'] as const) {
          assert.is(new Set(first[family]).size, 3);
          assert.equal(await askUDP(world, family), first[family], family);
        }
        await proxy.apply(objects(world, 2));
        for (const family of ['IPv4', 'IPv6'] as const) {
          const after = await askUDP(world, family);
          assert.equal([...new Set(after)].sort(), ['pod-a', 'pod-b'], family);
          const stayed = (list: readonly string[]) => list.filter((_, index) => first[family][index] !== 'pod-c');
          assert.equal(stayed(after), stayed(first[family]), family);
        }
      },
    );
  });
}
