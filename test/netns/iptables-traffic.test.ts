/** What clients live through: balancing, hairpin, affinity, endpoints that come and go, restarts and crashes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import { endpointSlice, service } from '../conformance/objects.ts';
import { answerer, play, save, serviceOf, VARIANTS, variantFlags } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import type { World } from './world.ts';

await isolateTests();
const VIP = '10.96.0.10';
const VIP6 = 'fd00:10:96::10';
const BOTH = { IPv4: VIP, IPv6: VIP6 };
const test = suite('iptables traffic');

async function ask(world: World, namespace: string, sources: readonly (string | undefined)[], destinationIP = VIP) {
  const outcomes = await world.requests(
    namespace,
    sources.map((sourceIP) => ({
      protocol: 'TCP' as const,
      destinationIP,
      destinationPort: 80,
      timeoutMs: 1500,
      ...(sourceIP === undefined ? {} : { sourceIP }),
    })),
    16,
  );
  return outcomes.map(answerer);
}

for (const variant of VARIANTS) {
  const flags = variantFlags(variant);

  test(`${variant}: connections spread evenly over the endpoints`, async () => {
    const pods = (world: World) => [...world.pods, ...world.remotePods];
    await play(
      { flags, objects: (world) => serviceOf({ name: 'web', clusterIPs: BOTH }, pods(world)) },
      async ({ world }) => {
        for (const destination of [VIP, VIP6]) {
          const servers = await ask(world, 'pod-a', new Array(1000).fill(undefined), destination);
          const counts = Object.values(Object.groupBy(servers, (server) => server)).map((list) => list!.length);
          assert.is(counts.length, 5, JSON.stringify(Map.groupBy(servers, (server) => server).keys()));
          // Chi-square, 4 degrees of freedom: 23.5 is exceeded once in 10,000 runs by a fair choice.
          const chiSquare = counts.reduce((sum, n) => sum + (n - 200) ** 2 / 200, 0);
          assert.ok(chiSquare < 23.5, `${counts.join(', ')}: chi-square ${chiSquare}`);
        }
      },
    );
  });

  for (const hairpin of ['bpf', 'rules']) {
    test(`${variant}: a pod reaches itself through its Service (hairpin by ${hairpin})`, async () => {
      const options = { flags: variantFlags(variant, `hairpin=${hairpin}`) };
      await play(
        { ...options, objects: (world) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(0, 1)) },
        async ({ world }) => {
          for (const [destinationIP, family] of [
            [VIP, 'IPv4'],
            [VIP6, 'IPv6'],
          ] as const) {
            const outcome = await world.request('pod-a', { protocol: 'TCP', destinationIP, destinationPort: 80 });
            assert.is(answerer(outcome), 'pod-a', JSON.stringify(outcome));
            if (outcome.outcome === 'answered') assert.not.equal(outcome.peer, world.pods[0]!.ip[family]);
            // Another pod of the node keeps its address.
            const other = await world.request('pod-b', { protocol: 'TCP', destinationIP, destinationPort: 80 });
            assert.is(other.outcome === 'answered' && other.peer, world.pods[1]!.ip[family]);
          }
        },
      );
    });
  }

  test(`${variant}: 150 clients each keep their endpoint, and lose it only with the endpoint`, async () => {
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

  test(`${variant}: affinity ends when its time is over`, async () => {
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

  test(`${variant}: while endpoints come and go, no connection fails and none reaches an endpoint that left`, async () => {
    const objects = (world: World, count: number) =>
      serviceOf({ name: 'web', clusterIPs: BOTH, nodePort: 30080, type: 'NodePort' }, world.pods.slice(0, count));
    await play({ flags, objects: (world) => objects(world, 3) }, async ({ world, proxy }) => {
      const request = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 };
      const floods = await Promise.all([
        world.flood('client', { request, limitMs: 60_000 }),
        world.flood('pod-a', { request, limitMs: 60_000 }),
        world.flood('client', {
          request: { ...request, destinationIP: world.nodeIPs.IPv4[0]!, destinationPort: 30080 },
          limitMs: 60_000,
        }),
      ]);
      for (let round = 0; round < 12; round++) await proxy.apply(objects(world, 1 + (round % 3)));
      for (const flood of floods) {
        const { total, outcomes } = await flood.stop();
        assert.equal(outcomes, { answered: total });
        assert.ok(total > 50, `${total} connections`);
      }
      await proxy.apply(objects(world, 1));
      const servers = await ask(world, 'client', new Array(60).fill(undefined));
      assert.equal([...new Set(servers)], ['pod-a']);
    });
  });

  test(`${variant}: a restart breaks nothing, writes nothing, and keeps affinity`, async () => {
    const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 600 }, world.pods);
    await play(
      { flags: [...flags, '-v', '2'], objects, world: { clientAddressCount: 20 } },
      async ({ world, proxy }) => {
        const first = await ask(world, 'client', world.clientIPs.IPv4);
        const request = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 };
        const held = await world.hold('client', request);
        const flood = await world.flood('pod-b', { request, limitMs: 60_000 });
        const before = await save(world, variant);
        for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
          const from = proxy.lines.length;
          await proxy.stop(signal);
          await proxy.start();
          for (const family of ['IPv4', 'IPv6']) {
            const line = await proxy.waitFor(
              'the first sync',
              ({ msg, ...line }) => msg.startsWith('Synced') && line.family === family,
              from,
            );
            assert.is(line.operations, 0, JSON.stringify(line));
          }
        }
        assert.is(await save(world, variant), before);
        const { total, outcomes } = await flood.stop();
        assert.equal(outcomes, { answered: total });
        assert.is(answerer(await held.ping()), answerer(held.first));
        assert.equal(await ask(world, 'client', world.clientIPs.IPv4), first);
      },
    );
  });

  test(`${variant}: killed at any moment between changes, the next start makes the rules right`, async () => {
    const objects = (world: World, round: number) => [
      ...serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(round % 3, (round % 3) + 1)),
      ...serviceOf({ name: `extra-${round}`, clusterIPs: { IPv4: `10.97.0.${round + 1}` } }, world.pods),
    ];
    await play({ flags, objects: (world) => objects(world, 0) }, async ({ world, proxy }) => {
      for (let round = 1; round <= 4; round++) {
        const applying = proxy.apply(objects(world, round)).catch(() => undefined);
        await sleep(round * 15);
        await proxy.stop('SIGKILL');
        await applying;
        await proxy.start();
        const servers = await ask(world, 'client', new Array(10).fill(undefined));
        assert.equal([...new Set(servers)], [world.pods[round % 3]!.name], `round ${round}`);
        const chains = (await save(world, variant)).match(/^:KUBE-SVC-/gm)?.length;
        assert.is(chains, 2, `round ${round}: the chain of a Service that is gone stays`);
      }
    });
  });

  test(`${variant}: SCTP is translated`, async () => {
    const port = { name: '', protocol: 'SCTP' as const, port: 80 };
    await play(
      {
        flags,
        objects: (world) => [
          service({ name: 'sctp', clusterIPs: { IPv4: VIP }, ports: [{ ...port, nodePort: 30080 }], type: 'NodePort' }),
          endpointSlice({
            service: 'sctp',
            family: 'IPv4',
            port: { ...port, port: ENDPOINT_PORT },
            endpoints: world.pods.slice(0, 1).map((pod) => ({ ip: pod.ip.IPv4, nodeName: pod.nodeName })),
          }),
        ],
        prepare: async (world) => void (await world.servePods({ port: ENDPOINT_PORT, protocols: ['SCTP'] })),
      },
      async ({ world }) => {
        for (const [namespace, destinationIP, destinationPort] of [
          ['pod-b', VIP, 80],
          ['client', VIP, 80],
          ['client', world.nodeIPs.IPv4[0]!, 30080],
        ] as const) {
          const outcome = await world.request(namespace, {
            protocol: 'SCTP',
            destinationIP,
            destinationPort,
            timeoutMs: 1000,
          });
          assert.is(answerer(outcome), 'pod-a', `${namespace} ${destinationIP}`);
        }
      },
    );
  });
}
test.run();
