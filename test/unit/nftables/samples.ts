/** Service ports, endpoints and changes for tests of the nftables backend. */
import type { Change, Endpoint, IPFamily, NodeView, ServicePort } from '../../../core/backend.ts';
import { servicePort as sample, view } from '../model/samples.ts';

export function endpoint(ip: string, rest: Partial<Endpoint> = {}): Endpoint {
  return { ip, port: 8080, isLocal: true, ready: true, nodeName: 'node-a', zone: '', ...rest };
}

export function endpoints(...ips: string[]): Endpoint[] {
  return ips.map((ip) => endpoint(ip));
}

/** default/web:http/TCP at 10.96.0.10:80 with two local endpoints and no other address, unless told otherwise. */
export function servicePort(rest: Partial<ServicePort> = {}): ServicePort {
  const port = sample({
    namespace: 'default',
    nodePort: 0,
    externalIPs: [],
    loadBalancerVIPs: [],
    cluster: endpoints('10.244.1.11', '10.244.1.12'),
    local: [],
    ...rest,
  });
  return { ...port, key: rest.key ?? `${port.namespace}/${port.name}:${port.portName}/${port.protocol}` };
}

/** s0, s1, … at 10.96.0.1, 10.96.0.2, … */
export function many(count: number, rest: Partial<ServicePort> = {}): ServicePort[] {
  return Array.from({ length: count }, (_, index) =>
    servicePort({ name: `s${index}`, clusterIP: `10.96.${(index + 1) >> 8}.${(index + 1) & 255}`, ...rest }),
  );
}

export const NODE: NodeView = view();

export const NODE6: NodeView = view({
  addresses: ['::1', 'fd00:50::10'],
  nodePortAddresses: { match: 'all', loopback: false },
  localDetector: { kind: 'cidr', cidr: 'fd00:244:1::/64' },
});

/** Of other nodes: they reach themselves only where they are. */
export function remote(...ips: string[]): Endpoint[] {
  return ips.map((ip) => endpoint(ip, { isLocal: false, nodeName: 'node-b' }));
}

export function full(upsert: readonly ServicePort[], node: NodeView = NODE, family: IPFamily = 'IPv4'): Change {
  return { family, full: true, node, upsert, remove: [] };
}

export function partial(
  upsert: readonly ServicePort[],
  remove: readonly string[] = [],
  node: NodeView = NODE,
  family: IPFamily = 'IPv4',
): Change {
  return { family, full: false, node, upsert, remove };
}
