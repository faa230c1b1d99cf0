/**
 * Objects of a cluster of any size, as its controllers would write them: Services, EndpointSlices of at most 100
 * endpoints with everything that real ones carry, Nodes. Pure, and the same for the same numbers.
 */
export interface Workload {
  readonly services: number;
  readonly endpointsPerService: number;
  /** Default: one for every 100 endpoints, at least 3. */
  readonly nodes?: number;
  /** Default 'bench'. */
  readonly namespace?: string;
}

type Manifest = Readonly<Record<string, unknown>>;

const MOST_PER_SLICE = 100;
const ZONES = ['zone-a', 'zone-b', 'zone-c'];

export function workload(options: Workload): readonly Manifest[] {
  return [...workloadNodes(options), ...workloadServices(options), ...workloadSlices(options)];
}

export function nodeCount({ services, endpointsPerService, nodes }: Workload): number {
  return nodes ?? Math.max(3, Math.ceil((services * endpointsPerService) / MOST_PER_SLICE));
}

export function workloadNodes(options: Workload): readonly Manifest[] {
  return Array.from({ length: nodeCount(options) }, (_, index) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: nodeName(index),
      labels: {
        'kubernetes.io/hostname': nodeName(index),
        'kubernetes.io/os': 'linux',
        'topology.kubernetes.io/zone': zoneOf(index),
      },
    },
    spec: {
      podCIDR: `10.${128 + (index >> 8)}.${index & 255}.0/24`,
      podCIDRs: [`10.${128 + (index >> 8)}.${index & 255}.0/24`],
    },
    status: {
      addresses: [{ type: 'InternalIP', address: `172.${16 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}` }],
    },
  }));
}

export function workloadServices({ services, namespace = 'bench' }: Workload): readonly Manifest[] {
  return Array.from({ length: services }, (_, index) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: serviceName(index),
      namespace,
      labels: { 'app.kubernetes.io/name': serviceName(index), 'app.kubernetes.io/managed-by': 'Helm' },
      annotations: { 'meta.helm.sh/release-name': serviceName(index), 'meta.helm.sh/release-namespace': namespace },
    },
    spec: {
      type: 'ClusterIP',
      selector: { 'app.kubernetes.io/name': serviceName(index) },
      ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
    },
  }));
}

export function workloadSlices(options: Workload): readonly Manifest[] {
  return Array.from({ length: options.services }, (_, index) => slicesOf(options, index)).flat();
}

/** The EndpointSlices of one Service; `first` moves its addresses, for changes. */
export function slicesOf(
  options: Workload,
  service: number,
  first = service * options.endpointsPerService,
): readonly Manifest[] {
  const { endpointsPerService, namespace = 'bench' } = options;
  const nodes = nodeCount(options);
  const slices = Math.ceil(endpointsPerService / MOST_PER_SLICE);
  return Array.from({ length: slices }, (_, part) => {
    const begin = part * MOST_PER_SLICE;
    const count = Math.min(MOST_PER_SLICE, endpointsPerService - begin);
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${serviceName(service)}-${suffix(service * slices + part)}`,
        generateName: `${serviceName(service)}-`,
        namespace,
        labels: {
          'app.kubernetes.io/name': serviceName(service),
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
          'kubernetes.io/service-name': serviceName(service),
        },
        annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:00Z' },
        ownerReferences: [
          {
            apiVersion: 'v1',
            kind: 'Service',
            name: serviceName(service),
            uid: uidOf('5e', service),
            controller: true,
            blockOwnerDeletion: true,
          },
        ],
      },
      addressType: 'IPv4',
      endpoints: Array.from({ length: count }, (_, at) =>
        endpoint(first + begin + at, service, begin + at, nodes, namespace),
      ),
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    };
  });
}

function endpoint(address: number, service: number, index: number, nodes: number, namespace: string): Manifest {
  const node = address % nodes;
  return {
    addresses: [podIP(address)],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: nodeName(node),
    zone: zoneOf(node),
    targetRef: {
      kind: 'Pod',
      namespace,
      name: `${serviceName(service)}-${suffix(service)}-${suffix(index)}`,
      uid: uidOf('90', address),
    },
  };
}

function serviceName(index: number): string {
  return `service-${String(index).padStart(6, '0')}`;
}

function nodeName(index: number): string {
  return `node-${String(index).padStart(5, '0')}`;
}

function zoneOf(node: number): string {
  return ZONES[node % ZONES.length]!;
}

/** 10.0.0.0 and up, without the addresses that end in 0 or 255. */
function podIP(index: number): string {
  const [block, last] = [Math.floor(index / 254), (index % 254) + 1];
  return `10.${(block >> 8) & 255}.${block & 255}.${last}`;
}

/** Like the random suffixes of generated names. */
function suffix(index: number): string {
  return ((index + 1) * 7_919).toString(36).padStart(5, 'x').slice(-5);
}

function uidOf(prefix: string, index: number): string {
  return `${prefix}000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;
}
