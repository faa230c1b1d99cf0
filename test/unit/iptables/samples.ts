/** Service ports, endpoints and nodes for tests of the iptables plan. */
import type { Change, Endpoint, NodeView, ServicePort } from '../../../core/backend.ts';
import { servicePort as sample, view } from '../model/samples.ts';

export function endpoint(ip: string, rest: Partial<Endpoint> = {}): Endpoint {
  return { ip, port: 8080, isLocal: true, ready: true, nodeName: 'node', zone: '', ...rest };
}

/** default/web:http/TCP at 10.96.0.10:80 with two local endpoints and no other address, unless told otherwise. */
export function servicePort(rest: Partial<ServicePort> = {}): ServicePort {
  const port = sample({
    namespace: 'default',
    nodePort: 0,
    externalIPs: [],
    loadBalancerVIPs: [],
    cluster: [endpoint('10.244.1.11'), endpoint('10.244.1.12')],
    local: [],
    ...rest,
  });
  return { ...port, key: rest.key ?? `${port.namespace}/${port.name}:${port.portName}/${port.protocol}` };
}

export function node(rest: Partial<NodeView> = {}): NodeView {
  return view({ name: 'node', zone: '', addresses: ['127.0.0.1', '192.168.50.10'], ...rest });
}

export function full(upsert: readonly ServicePort[], view: NodeView = node()): Change {
  return { family: 'IPv4', full: true, node: view, upsert, remove: [] };
}

export function partial(
  upsert: readonly ServicePort[],
  remove: readonly string[] = [],
  view: NodeView = node(),
): Change {
  return { family: 'IPv4', full: false, node: view, upsert, remove };
}
