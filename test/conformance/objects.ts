/** Short ways to write Kubernetes objects in tests, as the API has them. */
import type { IPFamily, Protocol } from '../../core/backend.ts';
import { NODE_NAME, type Pod } from '../netns/world-topology.ts';

/** What servers in the world listen on. */
export const ENDPOINT_PORT = 8080;

export type KubernetesObject = Readonly<Record<string, unknown>>;

export interface ServiceSpec {
  readonly name: string;
  readonly namespace?: string;
  /** One family or both. */
  readonly clusterIPs: Readonly<Partial<Record<IPFamily, string>>>;
  readonly ports: readonly { name: string; protocol: Protocol; port: number; nodePort: number }[];
  readonly type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer';
  readonly externalIPs?: readonly string[];
  readonly loadBalancerVIPs?: readonly string[];
  readonly sourceRanges?: readonly string[];
  readonly internalPolicy?: 'Cluster' | 'Local';
  readonly externalPolicy?: 'Cluster' | 'Local';
  readonly affinitySeconds?: number;
  readonly healthCheckNodePort?: number;
}

export function service(spec: ServiceSpec): KubernetesObject {
  const { name, namespace = 'default', clusterIPs, ports, affinitySeconds = 0 } = spec;
  const families = (['IPv4', 'IPv6'] as const).filter((family) => clusterIPs[family] !== undefined);
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: {
      type: spec.type ?? 'ClusterIP',
      clusterIP: clusterIPs[families[0]!],
      clusterIPs: families.map((family) => clusterIPs[family]),
      ipFamilies: families,
      ports: ports.map(({ nodePort, ...port }) => (nodePort === 0 ? port : { ...port, nodePort })),
      externalIPs: spec.externalIPs ?? [],
      loadBalancerSourceRanges: spec.sourceRanges ?? [],
      internalTrafficPolicy: spec.internalPolicy ?? 'Cluster',
      ...(spec.externalPolicy === undefined ? {} : { externalTrafficPolicy: spec.externalPolicy }),
      ...(spec.healthCheckNodePort === undefined ? {} : { healthCheckNodePort: spec.healthCheckNodePort }),
      ...(affinitySeconds === 0
        ? { sessionAffinity: 'None' }
        : { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: affinitySeconds } } }),
    },
    status: { loadBalancer: { ingress: (spec.loadBalancerVIPs ?? []).map((ip) => ({ ip, ipMode: 'VIP' })) } },
  };
}

export interface EndpointSpec {
  readonly ip: string;
  /** "" = the slice does not say. */
  readonly nodeName: string;
  /** Default 'ready'. */
  readonly state?: 'ready' | 'terminating' | 'not ready';
}

export interface SliceSpec {
  readonly service: string;
  readonly namespace?: string;
  readonly family: IPFamily;
  readonly port: { readonly name: string; readonly protocol: Protocol; readonly port: number };
  readonly endpoints: readonly EndpointSpec[];
  /** Tells several slices of one Service and family apart. */
  readonly suffix?: string;
}

export function endpointSlice(spec: SliceSpec): KubernetesObject {
  const { service, namespace = 'default', family, port, endpoints, suffix = '1' } = spec;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service}-${family.toLowerCase()}-${suffix}`,
      namespace,
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: family,
    ports: [port],
    endpoints: endpoints.map(({ ip, nodeName, state = 'ready' }) => ({
      addresses: [ip],
      ...(nodeName === '' ? {} : { nodeName }),
      conditions: {
        ready: state === 'ready',
        serving: state !== 'not ready',
        terminating: state === 'terminating',
      },
    })),
  };
}

/** The Node object of the world's node, with these addresses as InternalIPs. */
export function nodeObject(ips: readonly string[], name = NODE_NAME): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    status: { addresses: ips.map((address) => ({ type: 'InternalIP', address })) },
  };
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
