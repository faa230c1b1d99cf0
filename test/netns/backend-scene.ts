/**
 * What the packet tests of all backends have in common: the data plane under test, a world with servers in every pod,
 * and the program running in it. The backend-*.ts files register tests for a data plane; <backend>-*.test.ts call them.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { IPFamily, Protocol } from '../../core/backend.ts';
import { answerer } from '../conformance/ask.ts';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import type { KubernetesObject } from '../conformance/objects.ts';
import { type Proxy, startProxy } from '../conformance/proxy.ts';
import { createWorld, type World } from './world.ts';
import { CLUSTER_CIDR, type WorldOptions } from './world-topology.ts';

export { answerer } from '../conformance/ask.ts';
export { serviceOf } from '../conformance/objects.ts';

/** A backend in one of its ways to work. */
export interface DataPlane {
  /** Begins the title of each of its tests. */
  readonly title: string;
  /** What chooses it: --backend and its options. */
  readonly flags: readonly string[];
  /** The same for code that makes the backend itself. */
  readonly backend: { readonly name: string; readonly options: Readonly<Record<string, string>> };
  /** Endpoints see an address of this node, whoever the client is. */
  readonly hidesSources?: boolean;
  /** Protocols that it does not serve. */
  readonly lacks?: readonly Protocol[];
  /** What the kernel holds of it, as text: the same whenever it does the same, whatever packets passed. */
  rules(world: World, family?: IPFamily): Promise<string>;
  /** How many Services with endpoints that text serves; for data planes that name things after Services. */
  countServices?(rules: string): number;
}

/** A data plane of these options ("name=value"), but for what its rules look like. */
export function choice(name: string, options: readonly string[]): Pick<DataPlane, 'flags' | 'backend'> {
  return {
    flags: ['--backend', name, ...options.flatMap((option) => ['--backend-option', option])],
    backend: { name, options: Object.fromEntries(options.map((option) => option.split('=') as [string, string])) },
  };
}

/** The plane's flags, with pods told by the cluster's CIDRs. */
export function flagsOf(plane: DataPlane, ...further: readonly string[]): string[] {
  return ['--cluster-cidr', `${CLUSTER_CIDR.IPv4},${CLUSTER_CIDR.IPv6}`, ...plane.flags, ...further];
}

/** The addresses that most scenes serve. */
export const VIP = '10.96.0.10';
export const VIP6 = 'fd00:10:96::10';
export const BOTH: Readonly<Record<IPFamily, string>> = { IPv4: VIP, IPv6: VIP6 };

export interface Scene {
  readonly world: World;
  readonly proxy: Proxy;
}

export interface SceneOptions {
  readonly flags: readonly string[];
  readonly objects: (world: World) => readonly KubernetesObject[];
  readonly world?: WorldOptions;
  /** Called before the program starts. */
  readonly prepare?: (world: World) => Promise<unknown>;
}

/** Build it, play it, and take it down whatever happens. */
export async function play(options: SceneOptions, act: (scene: Scene) => Promise<void>): Promise<void> {
  const world = await createWorld(options.world);
  try {
    await world.servePods({ port: ENDPOINT_PORT });
    await options.prepare?.(world);
    const proxy = await startProxy({ world, flags: options.flags, objects: options.objects(world) });
    try {
      await act({ world, proxy });
    } finally {
      await proxy.close();
    }
  } finally {
    await world.close();
  }
}

/** Who answers one TCP connection. */
export async function answersFrom(
  world: World,
  namespace: string,
  destinationIP = VIP,
  destinationPort = 80,
): Promise<string> {
  return answerer(await world.request(namespace, { protocol: 'TCP', destinationIP, destinationPort, timeoutMs: 1500 }));
}

/** Who answers TCP connections from each of these addresses (undefined: from the kernel's choice), in their order. */
export async function ask(
  world: World,
  namespace: string,
  sources: readonly (string | undefined)[],
  destinationIP = VIP,
  destinationPort = 80,
): Promise<string[]> {
  const outcomes = await world.requests(
    namespace,
    sources.map((sourceIP) => ({
      protocol: 'TCP' as const,
      destinationIP,
      destinationPort,
      timeoutMs: 1500,
      ...(sourceIP === undefined ? {} : { sourceIP }),
    })),
    16,
  );
  return outcomes.map(answerer);
}

const MAIN = fileURLToPath(new URL('../../core/main.ts', import.meta.url));

/** Exit status of `kube-proxy cleanup` on the node, and what it said. */
export async function cleanup(world: World): Promise<[status: number, said: string]> {
  const child = world.spawn('node', process.execPath, [MAIN, 'cleanup'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [status] = (await once(child, 'close')) as [number];
  return [status, said];
}

/** A command line on the node, words parted by single blanks. */
export async function run(world: World, line: string): Promise<string> {
  const [command, ...args] = line.split(' ');
  return (await world.exec('node', command!, args)).stdout;
}
