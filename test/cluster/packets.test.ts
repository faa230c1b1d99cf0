/**
 * Packets through what the API server says: the program with its real backends on the node of a small world
 * (netns/world.ts), for which the only way to the API server is a relay.
 *
 *   node: core/main.ts ──▶ 127.0.0.1 ──relay-process.ts──▶ unix socket ──▶ the API server, wherever it is
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { answerer } from '../netns/backend-scene.ts';
import { createWorld, type World } from '../netns/world.ts';
import { endProcess } from '../netns/world-commands.ts';
import { CLUSTER_CIDR, type Pod, planTopology } from '../netns/world-topology.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { isolateClusterTests } from './isolated.ts';
import { clusterIP, type EndpointSliceObject, nodePort, type ServiceObject, service, slice } from './objects.ts';

await isolateClusterTests(['iptables', 'nftables']);
const RELAY = fileURLToPath(new URL('relay-process.ts', import.meta.url));
const PORT = 8080;
const test = suite('packets');
const { nodeIPs } = planTopology();
const cluster: Cluster = await openCluster({ ips: [nodeIPs.IPv4[0]!, nodeIPs.IPv6[0]!] });
const { client, namespace, nodeName, families } = cluster;
const [family] = families;
const BACKENDS = ['nftables', 'iptables'] as const;

test.after(() => cluster.close());

/** The node's way to the API server. */
interface Gateway {
  readonly kubeconfig: string;
  cut(): Promise<void>;
  restore(): Promise<void>;
}

interface Scene {
  readonly world: World;
  readonly gateway: Gateway;
  start(): Promise<Daemon>;
}

async function openGateway(world: World): Promise<Gateway> {
  const socket = await cluster.socket();
  let child: ChildProcess | undefined;
  async function listen(port: number): Promise<number> {
    const started = world.spawn('node', process.execPath, [RELAY, socket, String(port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child = started;
    const [line] = (await once(createInterface({ input: started.stdout! }), 'line')) as [string];
    return Number(line);
  }
  const port = await listen(0);
  return {
    kubeconfig: cluster.kubeconfigFor({ port }),
    cut: async () => void (child && (await endProcess(child))),
    restore: async () => void (await listen(port)),
  };
}

async function play(backend: (typeof BACKENDS)[number], act: (scene: Scene) => Promise<void>): Promise<void> {
  const world = await createWorld();
  const daemons: Daemon[] = [];
  try {
    await world.servePods({ port: PORT });
    const gateway = await openGateway(world);
    await act({
      world,
      gateway,
      async start() {
        const daemon = await startDaemon({
          kubeconfig: gateway.kubeconfig,
          nodeName,
          flags: [`--backend=${backend}`, `--cluster-cidr=${CLUSTER_CIDR.IPv4},${CLUSTER_CIDR.IPv6}`],
          spawn: (command, args, options) => world.spawn('node', command, args, options),
        });
        daemons.push(daemon);
        return daemon;
      },
    });
  } finally {
    for (const daemon of daemons) await daemon.stop();
    await world.close();
  }
}

const endpointOf = (pod: Pod, of: IPFamily) => ({
  addresses: [pod.ip[of]],
  conditions: { ready: true },
  nodeName: pod.nodeName === 'node' ? nodeName : pod.nodeName,
});

interface Web {
  readonly object: ServiceObject;
  readonly slices: ReadonlyMap<IPFamily, EndpointSliceObject>;
  moveTo(pod: Pod): Promise<void>;
}

/** A Service in every family of the cluster with this pod behind it, and a route of the client's to it. */
async function createWeb(world: World, name: string, pod: Pod): Promise<Web> {
  const spec = { type: 'NodePort', ipFamilyPolicy: 'PreferDualStack' } as const;
  const object = await client.create(service(namespace, name, spec));
  const slices = new Map<IPFamily, EndpointSliceObject>();
  for (const each of families) {
    const ports = [{ name: '', protocol: 'TCP' as const, port: PORT }];
    const spec = { name: `${name}-${each.toLowerCase()}`, family: each, endpoints: [endpointOf(pod, each)], ports };
    slices.set(each, await client.create(slice(object, spec)));
    const destination = `${clusterIP(object, each)}/${each === 'IPv4' ? 32 : 128}`;
    await world.exec('client', 'ip', ['route', 'replace', destination, 'via', nodeIPs[each][0]!]);
  }
  return {
    object,
    slices,
    async moveTo(next) {
      for (const [each, old] of slices) await client.patch(old, { endpoints: [endpointOf(next, each)] });
    },
  };
}

/** Who answers at every address of the Service, asked from the client and from a pod. */
async function answers(world: World, { object }: Web): Promise<readonly string[]> {
  const asked = families.flatMap((each) =>
    ['client', 'pod-c'].flatMap((from) => [
      { from, destinationIP: clusterIP(object, each), destinationPort: 80 },
      { from, destinationIP: nodeIPs[each][0]!, destinationPort: nodePort(object) },
    ]),
  );
  const outcomes = await Promise.all(
    asked.map(({ from, ...to }) => world.request(from, { protocol: 'TCP', timeoutMs: 1000, ...to })),
  );
  return outcomes.map(answerer);
}

async function untilAnswers(daemon: Daemon, world: World, web: Web, who: string): Promise<void> {
  let last: readonly string[] = [];
  const all = async () => {
    last = await answers(world, web);
    return last.every((each) => each === who);
  };
  await daemon.until(`${who} answers`, all).catch((error) => {
    throw new Error(`${error.message}\nlast answers: ${last.join(', ')}`);
  });
}

for (const backend of BACKENDS) {
  test(`${backend}: pods and clients reach the addresses that the server gave, and traffic follows the API`, async () => {
    await play(backend, async ({ world, start }) => {
      const [first, second] = world.pods;
      const daemon = await start();
      await daemon.ready();
      const web = await createWeb(world, `web-${backend}`, first!);
      await untilAnswers(daemon, world, web, first!.name);
      await web.moveTo(second!);
      await untilAnswers(daemon, world, web, second!.name);
      for (const old of web.slices.values()) await client.delete(old);
      await untilAnswers(daemon, world, web, 'refused');
      await client.delete(web.object);
    });
  });

  test(`${backend}: restarted while the API server is away, it leaves the rules be, and they serve`, async () => {
    await play(backend, async ({ world, gateway, start }) => {
      const [first, second] = world.pods;
      const web = await createWeb(world, `lasting-${backend}`, first!);
      const daemon = await start();
      await daemon.ready();
      await untilAnswers(daemon, world, web, first!.name);
      await gateway.cut();
      assert.is(await daemon.stop(), 0);
      await web.moveTo(second!);
      const expected = (await answers(world, web)).map(() => first!.name);
      assert.equal(await answers(world, web), expected, 'while nothing runs');
      const again = await start();
      await again.says('that the server is away', ({ msg, level }) => level !== 'info' && /API server/.test(msg));
      assert.equal(await answers(world, web), expected, 'while it waits');
      await gateway.restore();
      await untilAnswers(again, world, web, second!.name);
      await again.ready();
    });
  });
}

test('nftables: packets to unused addresses of a ServiceCIDR are dropped while there is that range', async () => {
  await play('nftables', async ({ world, start }) => {
    const [cidr, ip] =
      family === 'IPv4' ? ['203.0.113.208/28', '203.0.113.215'] : ['2001:db8:cd::/112', '2001:db8:cd::7'];
    // Without the range somebody outside answers there.
    await world.exec('remote', 'ip', ['address', 'add', `${ip}/${family === 'IPv4' ? 32 : 128}`, 'dev', 'lo']);
    await world.exec('node', 'ip', ['route', 'add', cidr, 'via', world.remoteNodeIP[family]]);
    await world.serve('remote', { protocol: 'TCP', port: 80, server: 'outside', addresses: [ip] });
    const daemon = await start();
    await daemon.ready();
    const who = async () =>
      answerer(await world.request('pod-a', { protocol: 'TCP', destinationIP: ip, destinationPort: 80 }));
    await daemon.until('somebody outside answers', async () => (await who()) === 'outside');
    const range = await client.create({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata: { name: cluster.randomName() },
      spec: { cidrs: [cidr] },
    });
    await daemon.until('nobody answers', async () => (await who()) === 'timeout');
    await client.delete(range);
    await daemon.until('somebody outside answers again', async () => (await who()) === 'outside');
  });
});

test.run();
