/** A synthetic cluster for benchmarks: N Services with M endpoints each, as the parsed objects that a source delivers. */
import type { EndpointSlice, Service } from '../../core/model/objects.ts';

export interface Load {
  readonly services: number;
  readonly endpoints: number;
}

/** ClusterIPs are spread over 10.96.0.0/12, as the API server's random allocation does. */
export function clusterIP(index: number): string {
  const n = Math.imul(index + 1, 2654435761) >>> 12;
  return `10.${96 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
}

/** Pod addresses fill 10.128.0.0/9 in sequence. */
export function endpointIP(number: number): string {
  return `10.${128 + ((number >> 16) & 127)}.${(number >> 8) & 255}.${number & 255}`;
}

export function service(index: number): Service {
  return {
    namespace: `ns-${index % 100}`,
    name: `service-${index}`,
    uid: '',
    families: {
      IPv4: { clusterIP: clusterIP(index), externalIPs: [], loadBalancerVIPs: [], sourceRanges: [] },
    },
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 0 }],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    annotations: {},
  };
}

/** The slice of a Service; `generation` moves its first endpoint to another address. */
export function endpointSlice(index: number, endpoints: number, generation = 0): EndpointSlice {
  return {
    namespace: `ns-${index % 100}`,
    name: `service-${index}-abcde`,
    serviceName: `service-${index}`,
    family: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: Array.from({ length: endpoints }, (_, i) => ({
      ip:
        i === 0 && generation > 0
          ? `10.127.${(generation >> 8) & 255}.${generation & 255}`
          : endpointIP(index * endpoints + i),
      nodeName: `node-${i}`,
      zone: `zone-${i % 3}`,
      ready: true,
      serving: true,
      terminating: false,
      hintZones: [],
      hintNodes: [],
    })),
    triggerTimeMs: 0,
  };
}
