/** Small objects for the tests of this folder. */
import type { EndpointSlice, Node, Service } from '../../../core/model/objects.ts';

export function service(name: string, more: Partial<Service> = {}): Service {
  return {
    namespace: 'default',
    name,
    uid: '',
    families: { IPv4: { clusterIP: '10.96.0.10', externalIPs: [], loadBalancerVIPs: [], sourceRanges: [] } },
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 0 }],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    annotations: {},
    ...more,
  };
}

export function headless(name: string): Service {
  return service(name, { families: {} });
}

/** Served in both families. */
export function dualStack(name: string): Service {
  const none = { externalIPs: [], loadBalancerVIPs: [], sourceRanges: [] };
  return service(name, {
    families: { IPv4: { clusterIP: '10.96.0.10', ...none }, IPv6: { clusterIP: 'fd00:10:96::10', ...none } },
  });
}

export function slice(serviceName: string, ips: readonly string[], more: Partial<EndpointSlice> = {}): EndpointSlice {
  return {
    namespace: 'default',
    name: `${serviceName}-1`,
    serviceName,
    family: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: ips.map((ip) => ({
      ip,
      nodeName: '',
      zone: '',
      ready: true,
      serving: true,
      terminating: false,
      hintZones: [],
      hintNodes: [],
    })),
    triggerTimeMs: 0,
    ...more,
  };
}

export function node(name: string, more: Partial<Node> = {}): Node {
  return { name, uid: '', zone: 'z1', ips: ['192.168.50.10'], podCIDRs: [], eligible: true, ...more };
}
