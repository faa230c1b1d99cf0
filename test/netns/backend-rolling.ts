/**
 * A rolling update under a load of short TCP connections: endpoints are replaced one after the other, and a server stops
 * as soon as nobody may come to it any more. Whoever is still sent there is refused, and fails the test.
 */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import {
  ENDPOINT_PORT,
  type EndpointSpec,
  endpointSlice,
  type KubernetesObject,
  service,
} from '../conformance/objects.ts';
import type { Proxy } from '../conformance/proxy.ts';
import type { Flood } from './agent-protocol.ts';
import { BOTH, type DataPlane, flagsOf, play } from './backend-scene.ts';
import type { Server, World } from './world.ts';
import type { Pod } from './world-topology.ts';

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const NODE_PORT = 30080;
/** Not where the pods of the scene listen all the time. */
const PORT = ENDPOINT_PORT + 1;
const REPLACEMENTS = 6;
/** Few, so that each comes again while the kernel remembers its last connection. */
const FEW = 16;
const LIMIT_MS = 120_000;

export function rollingTest(test: Test, plane: DataPlane): void {
  test(`${plane.title}: a rolling update fails no short connection, client ports used again and again included`, async () => {
    await play({ flags: flagsOf(plane), objects: () => [] }, async ({ world, proxy }) => {
      const all = [...world.pods, ...world.remotePods];
      const pod = (index: number): Pod => all[index % all.length]!;
      const serving = new Map<Pod, Server>();
      const start = async (one: Pod) => void serving.set(one, await servePod(world, one));
      const [first, second] = [pod(0), pod(1)];
      await Promise.all([start(first), start(second)]);
      await proxy.apply(web(ready(first, second)));

      const floods = await Promise.all(
        loads(world).map(async ([title, namespace, flood]) => [title, await world.flood(namespace, flood)] as const),
      );
      for (let index = 0; index < REPLACEMENTS; index++) {
        const [old, kept, next] = [pod(index), pod(index + 1), pod(index + 2)];
        await start(next);
        await replace(proxy, old, kept, next);
        // Never idle: connections are still sent there.
        await serving.get(old)!.close(true);
      }
      let sum = 0;
      for (const [title, flood] of floods) {
        const { total, outcomes, servers } = await flood.stop();
        assert.equal(outcomes, { answered: total }, title);
        assert.ok(total > 2 * FEW, `${title}: only ${total} connections`);
        assert.equal(Object.keys(servers).sort(), all.map(({ name }) => name).sort(), title);
        sum += total;
      }
      console.log(`# ${REPLACEMENTS} endpoints replaced under ${sum} connections`);
    });
  });
}

/** As a Deployment does: the new one is ready, the old one terminates and still serves, the old one is gone. */
async function replace(proxy: Proxy, old: Pod, kept: Pod, next: Pod): Promise<void> {
  await proxy.apply(web(ready(old, kept, next)));
  await proxy.apply(web([...ready(kept, next), { pod: old, state: 'terminating' }]));
  await proxy.apply(web(ready(kept, next)));
}

interface PodState {
  readonly pod: Pod;
  readonly state: NonNullable<EndpointSpec['state']>;
}

function ready(...pods: readonly Pod[]): readonly PodState[] {
  return pods.map((pod) => ({ pod, state: 'ready' }));
}

function web(pods: readonly PodState[]): readonly KubernetesObject[] {
  const port = { name: '', protocol: 'TCP' as const };
  return [
    service({
      name: 'web',
      clusterIPs: BOTH,
      type: 'NodePort',
      ports: [{ ...port, port: 80, nodePort: NODE_PORT }],
    }),
    ...FAMILIES.map((family) =>
      endpointSlice({
        service: 'web',
        family,
        port: { ...port, port: PORT },
        endpoints: pods.map(({ pod, state }) => ({ ip: pod.ip[family], nodeName: pod.nodeName, state })),
      }),
    ),
  ];
}

function servePod(world: World, { name, namespace, ip }: Pod): Promise<Server> {
  return world.serve(namespace, { protocol: 'TCP', port: PORT, server: name, addresses: Object.values(ip) });
}

/**
 * Of each load its own: IPVS knows an answer's connection by the client and the real server alone, and could not tell
 * apart what comes from one port to two destinations at a time.
 */
function fewPorts(from: number): readonly number[] {
  return Array.from({ length: FEW }, (_, index) => from + index);
}

function loads(world: World): readonly (readonly [title: string, namespace: string, flood: Flood])[] {
  const to = (destinationIP: string, destinationPort = 80): Pick<Flood, 'request' | 'limitMs'> => ({
    request: { protocol: 'TCP', destinationIP, destinationPort, timeoutMs: 3000 },
    limitMs: LIMIT_MS,
  });
  return [
    ['from a pod', 'pod-b', { ...to(BOTH.IPv4), closing: 'by client' }],
    [
      'from a pod by IPv6, few ports',
      'pod-b',
      { ...to(BOTH.IPv6), closing: 'by server', sourcePorts: fewPorts(20_000) },
    ],
    ['from outside, few ports', 'client', { ...to(BOTH.IPv4), closing: 'by server', sourcePorts: fewPorts(21_000) }],
    [
      'from outside to a node port, few ports, reset',
      'client',
      { ...to(world.nodeIPs.IPv4[0]!, NODE_PORT), closing: 'reset', sourcePorts: fewPorts(22_000) },
    ],
    ['from the node, few ports', 'node', { ...to(BOTH.IPv4), closing: 'by server', sourcePorts: fewPorts(23_000) }],
  ];
}
