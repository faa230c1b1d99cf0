/** What the iptables packet tests have in common: a world with servers in every pod, and the program running in it. */
import type { IPFamily } from '../../core/backend.ts';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import { endpointSlice, type KubernetesObject, type ServiceSpec, service } from '../conformance/objects.ts';
import { type Proxy, startProxy } from '../conformance/proxy.ts';
import type { Outcome } from './agent-protocol.ts';
import { createWorld, type World } from './world.ts';
import { CLUSTER_CIDR, type Pod, type WorldOptions } from './world-topology.ts';

export const VARIANTS = ['nft', 'legacy'] as const;
export type Variant = (typeof VARIANTS)[number];

/** What every scene's flags begin with. */
export function variantFlags(variant: Variant, ...options: readonly string[]): string[] {
  const all = [`variant=${variant}`, ...options].flatMap((option) => ['--backend-option', option]);
  return ['--cluster-cidr', `${CLUSTER_CIDR.IPv4},${CLUSTER_CIDR.IPv6}`, ...all];
}

export interface Scene {
  readonly world: World;
  readonly proxy: Proxy;
}

export interface SceneOptions {
  readonly flags: readonly string[];
  readonly objects: (world: World) => readonly KubernetesObject[];
  readonly world?: WorldOptions;
  /** Called before the program starts. */
  readonly prepare?: (world: World) => Promise<void>;
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

/** A Service with one unnamed TCP port 80 and these pods behind it, in every family it has. */
export function serviceOf(
  spec: Omit<ServiceSpec, 'ports'> & { readonly nodePort?: number },
  pods: readonly Pod[],
): KubernetesObject[] {
  const port = { name: '', protocol: 'TCP' as const, port: 80 };
  const families = Object.keys(spec.clusterIPs) as IPFamily[];
  return [
    service({ ...spec, ports: [{ ...port, nodePort: spec.nodePort ?? 0 }] }),
    ...families.map((family) =>
      endpointSlice({
        service: spec.name,
        ...(spec.namespace === undefined ? {} : { namespace: spec.namespace }),
        family,
        port: { ...port, port: ENDPOINT_PORT },
        endpoints: pods.map((pod) => ({ ip: pod.ip[family], nodeName: pod.nodeName })),
      }),
    ),
  ];
}

/** Who answered, or how the request ended. */
export function answerer(outcome: Outcome): string {
  return outcome.outcome === 'answered' ? outcome.server : outcome.outcome;
}

export async function save(world: World, variant: Variant, family: IPFamily = 'IPv4'): Promise<string> {
  const command = `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}-save`;
  const { stdout } = await world.exec('node', command, []);
  // Dates and packet counters change by themselves.
  return stdout.replaceAll(/^#.*\n/gm, '').replaceAll(/\[\d+:\d+\]/g, '[0:0]');
}
