/** UDP clients that keep their source port and keep sending, while what they talk to changes under them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import {
  type EndpointSpec,
  endpointSlice,
  type KubernetesObject,
  type ServiceSpec,
  service,
} from '../conformance/objects.ts';
import type { Proxy } from '../conformance/proxy.ts';
import { nftablesPlane } from './backend-nftables.ts';
import { answerer, BOTH, type DataPlane, flagsOf, play, serviceOf } from './backend-scene.ts';
import type { Entry } from './conntrack-list.ts';
import { iptablesPlane } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import type { HeldFlow, World } from './world.ts';
import type { Pod } from './world-topology.ts';

await isolateTests();
const PLANES: readonly DataPlane[] = [nftablesPlane(), iptablesPlane('nft'), iptablesPlane('legacy')];
const FAMILIES = ['IPv4', 'IPv6'] as const;
const EXTERNAL: Readonly<Record<IPFamily, string>> = { IPv4: '203.0.113.5', IPv6: '2001:db8:113::5' };
const NODE_PORT = 30053;
const LIST = fileURLToPath(new URL('./conntrack-list.ts', import.meta.url));
const UDP = 17;
const test = suite('conntrack');

type Backends = readonly (Pod | readonly [Pod, EndpointSpec['state'] & string])[];
type Spec = Partial<ServiceSpec> & { readonly nodePort?: number };

/** A Service "dns" of both families with UDP port 53 and these pods behind it. */
function dns(backends: Backends, { nodePort = 0, ...spec }: Spec = {}): KubernetesObject[] {
  const port = { name: '', protocol: 'UDP' as const, port: 53 };
  const states = backends.map((one) => ('ip' in one ? ([one, 'ready'] as const) : one));
  return [
    service({ name: 'dns', clusterIPs: BOTH, ...spec, ports: [{ ...port, nodePort }] }),
    ...FAMILIES.map((family) =>
      endpointSlice({
        service: 'dns',
        family,
        port: { ...port, port: ENDPOINT_PORT },
        endpoints: states.map(([pod, state]) => ({ ip: pod.ip[family], nodeName: pod.nodeName, state })),
      }),
    ),
  ];
}

function holdUDP(world: World, sourcePort: number, destinationIP: string, destinationPort = 53): Promise<HeldFlow> {
  return world.hold('client', { protocol: 'UDP', destinationIP, destinationPort, sourcePort, timeoutMs: 200 });
}

/** Keep sending until that is what comes back. */
async function untilPing(flow: HeldFlow, expected: (answer: string) => boolean, what: string): Promise<string> {
  let answer = '';
  for (let attempt = 0; attempt < 60; attempt++) {
    answer = answerer(await flow.ping(200));
    if (expected(answer)) return answer;
    await sleep(20);
  }
  throw new Error(`${what}: the last datagram's answer was ${answer}`);
}

/** Apply, and wait until conntrack has been looked through for it. */
async function applyAndReconcile(proxy: Proxy, objects: readonly KubernetesObject[]): Promise<void> {
  const from = proxy.lines.length;
  await proxy.apply(objects);
  await reconciled(proxy, from);
}

async function reconciled(proxy: Proxy, from: number): Promise<void> {
  for (const family of FAMILIES) {
    await proxy.waitFor(
      `conntrack of ${family}`,
      (line) => line.family === family && /^(Stale UDP flows were|No UDP flow in conntrack)/.test(line.msg),
      from,
    );
  }
}

async function entries(world: World): Promise<readonly Entry[]> {
  const { stdout } = await world.exec('node', process.execPath, [LIST]);
  const lines = stdout.trim().split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as Entry);
}

/** Ids of the entries of flows from this port. */
async function idsOf(world: World, sourcePort: number): Promise<readonly number[]> {
  const own = (await entries(world)).filter((one) => one.sourcePort === sourcePort && one.protocol === UDP);
  return own.map(({ id }) => id).sort();
}

for (const plane of PLANES) {
  const flags = flagsOf(plane, '-v', '3');
  const title = plane.title;

  test(`${title}: a flow whose endpoint goes moves to another one, and all other flows stay as they are`, async () => {
    const objects = (world: World, pods: readonly Pod[]) => [
      ...dns(pods),
      ...serviceOf({ name: 'web', clusterIPs: { IPv4: '10.96.0.80' } }, world.pods),
    ];
    await play({ flags, objects: (world) => objects(world, world.pods) }, async ({ world, proxy }) => {
      const [first, second] = world.pods;
      for (const family of FAMILIES) {
        const flows = await Promise.all(
          Array.from({ length: 24 }, async (_, index) => {
            const sourcePort = 40_000 + index;
            const flow = await holdUDP(world, sourcePort, BOTH[family]);
            return { sourcePort, flow, server: answerer(flow.first) };
          }),
        );
        const tcp = await world.hold('client', {
          protocol: 'TCP',
          destinationIP: '10.96.0.80',
          destinationPort: 80,
          sourcePort: 41_000,
        });
        const foreign = await world.hold(first!.namespace, {
          protocol: 'UDP',
          destinationIP: world.remotePods[0]!.ip[family],
          destinationPort: ENDPOINT_PORT,
          sourcePort: 41_001,
        });
        assert.is(answerer(foreign.first), 'remote-a');
        const before = await entries(world);
        const idOf = (list: readonly Entry[], port: number) => list.find((one) => one.sourcePort === port)?.id;
        const leaving = flows.filter(({ server }) => server === second!.name);
        const staying = flows.filter(({ server }) => server !== second!.name);
        assert.ok(leaving.length > 0 && staying.length > 0, 'chance: 1 in 10,000');

        await applyAndReconcile(
          proxy,
          objects(
            world,
            world.pods.filter((pod) => pod !== second),
          ),
        );
        for (const { flow } of leaving) {
          assert.ok(['pod-a', 'pod-c'].includes(await untilPing(flow, (name) => name !== 'timeout', 'after removal')));
        }
        for (const { flow, server } of staying) assert.is(answerer(await flow.ping()), server);
        assert.is(answerer(await foreign.ping()), 'remote-a');
        assert.is(answerer(await tcp.ping()), answerer(tcp.first));
        const after = await entries(world);
        for (const { sourcePort } of staying) assert.is(idOf(after, sourcePort), idOf(before, sourcePort));
        for (const port of [41_000, 41_001]) assert.is(idOf(after, port), idOf(before, port), `port ${port}`);

        for (const { flow } of [...flows, { flow: tcp }, { flow: foreign }]) await flow.close();
        await applyAndReconcile(proxy, objects(world, world.pods));
      }
    });
  });

  test(`${title}: a flow whose last endpoint goes is refused at once, and answered when there is one again`, async () => {
    await play({ flags, objects: (world) => dns(world.pods.slice(0, 1)) }, async ({ world, proxy }) => {
      for (const family of FAMILIES) {
        const flow = await holdUDP(world, 40_000, BOTH[family]);
        assert.is(answerer(flow.first), 'pod-a');
        await proxy.apply(dns([]));
        await untilPing(flow, (answer) => answer === 'refused', `${family} without endpoints`);
        await proxy.apply(dns([world.pods[1]!]));
        await untilPing(flow, (answer) => answer === 'pod-b', `${family} with another`);
        await flow.close();
        await applyAndReconcile(proxy, dns([world.pods[0]!]));
      }
    });
  });

  test(`${title}: a flow that began before its Service is translated from then on, and no more when it goes`, async () => {
    await play({ flags, objects: () => [] }, async ({ world, proxy }) => {
      for (const [family, port] of [
        ['IPv4', 40_000],
        ['IPv6', 40_001],
      ] as const) {
        const flow = await holdUDP(world, port, BOTH[family]);
        assert.is(answerer(flow.first), 'timeout');
        assert.is((await idsOf(world, port)).length, 1, 'conntrack knows it, untranslated');
        await proxy.apply(dns(world.pods.slice(0, 1)));
        await untilPing(flow, (answer) => answer === 'pod-a', `${family} with a Service`);
        await proxy.apply([]);
        await untilPing(flow, (answer) => answer === 'timeout', `${family} without it`);
        const answerers = (await entries(world)).filter((one) => one.sourcePort === port).map((one) => one.answerer);
        assert.ok(answerers.every((ip) => ip !== world.pods[0]!.ip[family]));
        await flow.close();
      }
    });
  });

  test(`${title}: node ports and external IPs take flows over when they come and let go of them when they go`, async () => {
    const pods = (world: World) => world.pods.slice(0, 1);
    const wide = { nodePort: NODE_PORT, type: 'NodePort', externalIPs: Object.values(EXTERNAL) } as const;
    await play({ flags, objects: (world) => dns(pods(world)) }, async ({ world, proxy }) => {
      for (const family of FAMILIES) {
        const flows = {
          nodePort: await holdUDP(world, 40_000, world.nodeIPs[family][0]!, NODE_PORT),
          external: await holdUDP(world, 40_001, EXTERNAL[family]),
        };
        const cluster = await holdUDP(world, 40_002, BOTH[family]);
        const ids = await idsOf(world, 40_002);
        assert.is(answerer(flows.nodePort.first), 'refused');
        assert.is(answerer(flows.external.first), 'timeout');
        await applyAndReconcile(proxy, dns(pods(world), wide));
        await untilPing(flows.nodePort, (answer) => answer === 'pod-a', `${family} node port`);
        await untilPing(flows.external, (answer) => answer === 'pod-a', `${family} external IP`);
        await applyAndReconcile(proxy, dns(pods(world)));
        await untilPing(flows.nodePort, (answer) => answer === 'refused', `${family} no node port`);
        await untilPing(flows.external, (answer) => answer === 'timeout', `${family} no external IP`);
        assert.is(answerer(await cluster.ping()), 'pod-a');
        assert.equal(await idsOf(world, 40_002), ids);
        for (const flow of [flows.nodePort, flows.external, cluster]) await flow.close();
      }
    });
  });

  test(`${title}: an endpoint that terminates keeps its flows for as long as it serves`, async () => {
    await play({ flags, objects: (world) => dns(world.pods.slice(0, 1)) }, async ({ world, proxy }) => {
      const [a, b] = [world.pods[0]!, world.pods[1]!];
      const flow = await holdUDP(world, 40_000, BOTH.IPv4);
      const ids = await idsOf(world, 40_000);
      assert.is(ids.length, 1);
      await applyAndReconcile(proxy, dns([[a, 'terminating'], b]));
      assert.is(
        answerer(await world.request('client', { protocol: 'UDP', destinationIP: BOTH.IPv4, destinationPort: 53 })),
        'pod-b',
      );
      assert.is(answerer(await flow.ping()), 'pod-a');
      assert.equal(await idsOf(world, 40_000), ids);
      await applyAndReconcile(proxy, dns([[a, 'not ready'], b]));
      await untilPing(flow, (answer) => answer === 'pod-b', 'after it stopped serving');
    });
  });

  test(`${title}: a restart keeps flows, except those that became wrong while nobody watched`, async () => {
    await play({ flags, objects: (world) => dns(world.pods.slice(0, 2)) }, async ({ world, proxy }) => {
      const flows = await Promise.all(
        Array.from({ length: 16 }, async (_, index) => {
          const flow = await holdUDP(world, 40_000 + index, BOTH.IPv4);
          return { flow, port: 40_000 + index, server: answerer(flow.first) };
        }),
      );
      const ids = await Promise.all(flows.map(({ port }) => idsOf(world, port)));
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await proxy.stop(signal);
        const from = proxy.lines.length;
        await proxy.start();
        await reconciled(proxy, from);
        assert.equal(await Promise.all(flows.map(({ port }) => idsOf(world, port))), ids, signal);
      }
      await proxy.stop();
      // The manifests change; nobody is there to see it, so that this ends in an error that does not matter.
      await proxy.apply(dns(world.pods.slice(0, 1))).catch(() => undefined);
      const from = proxy.lines.length;
      await proxy.start();
      await reconciled(proxy, from);
      for (const [index, { flow, port, server }] of flows.entries()) {
        await untilPing(flow, (answer) => answer === 'pod-a', `a flow of ${server}`);
        if (server === 'pod-a') assert.equal(await idsOf(world, port), ids[index]);
      }
    });
  });
}

test.run();
