/** Changes with Services that have a healthCheckNodePort. */
import type { Change, Endpoint, IPFamily, NodePortAddresses, ServicePort } from '../../../core/backend.ts';

export const EVERYWHERE: NodePortAddresses = { match: 'all', loopback: true };

export function endpoint(ip: string, more: Partial<Endpoint> = {}): Endpoint {
  return { ip, port: 80, isLocal: true, ready: true, nodeName: 'here', zone: '', ...more };
}

/** Of type LoadBalancer with externalTrafficPolicy Local. `ips` are its endpoints on this node. */
export function servicePort(name: string, ips: readonly string[], more: Partial<ServicePort> = {}): ServicePort {
  const portName = more.portName ?? '';
  return {
    key: `default/${name}${portName === '' ? '' : `:${portName}`}/TCP`,
    namespace: 'default',
    name,
    portName,
    protocol: 'TCP',
    clusterIP: '10.96.0.1',
    port: 80,
    nodePort: 30_080,
    externalIPs: [],
    loadBalancerVIPs: ['203.0.113.1'],
    sourceRanges: [],
    internalPolicy: 'Cluster',
    externalPolicy: 'Local',
    affinitySeconds: 0,
    healthCheckNodePort: 32_000,
    cluster: ips.map((ip) => endpoint(ip)),
    local: ips.map((ip) => endpoint(ip)),
    hasEndpoints: ips.length > 0,
    annotations: {},
    ...more,
  };
}

export function change(
  upsert: readonly ServicePort[],
  more: {
    readonly family?: IPFamily;
    readonly full?: boolean;
    readonly remove?: readonly string[];
    readonly nodePortAddresses?: NodePortAddresses;
  } = {},
): Change {
  return {
    family: more.family ?? 'IPv4',
    full: more.full ?? false,
    upsert,
    remove: more.remove ?? [],
    node: {
      name: 'here',
      zone: '',
      nodeIPs: [],
      addresses: [],
      nodePortAddresses: more.nodePortAddresses ?? EVERYWHERE,
      localDetector: { kind: 'none' },
      masqueradeAll: false,
      serviceCIDRs: [],
      tcpBeLiberal: false,
    },
  };
}
