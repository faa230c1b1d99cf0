/** UDP service ports, changes and flows in few words. */
import type { Change, Endpoint, NodeView, ServicePort } from '../../../core/backend.ts';
import type { Flow } from '../../../core/node/conntrack-frontends.ts';
import { endpoint, servicePort, view } from '../model/samples.ts';

export const NODE: NodeView = view();
export const VIP = '10.96.0.10:53';
export const A = '10.244.1.1:5353';
export const B = '10.244.1.2:5353';

export function endpoints(...keys: readonly string[]): Endpoint[] {
  return keys.map((key) => {
    const [ip = '', port] = key.split(':');
    return endpoint(ip, { port: Number(port) });
  });
}

/** "shop/dns/UDP" at 10.96.0.10:53 with nothing else, and these endpoints. */
export function dns(to: readonly string[], rest: Partial<ServicePort> = {}): ServicePort {
  const name = rest.name ?? 'dns';
  return servicePort({
    key: `shop/${name}/UDP`,
    name,
    portName: '',
    protocol: 'UDP',
    port: 53,
    nodePort: 0,
    externalIPs: [],
    loadBalancerVIPs: [],
    cluster: endpoints(...to),
    local: [],
    hasEndpoints: to.length > 0,
    ...rest,
  });
}

export function full(upsert: readonly ServicePort[], node = NODE): Change {
  return { family: 'IPv4', full: true, node, upsert, remove: [] };
}

export function partial(upsert: readonly ServicePort[], remove: readonly string[] = [], node = NODE): Change {
  return { family: 'IPv4', full: false, node, upsert, remove };
}

/** A flow to a destination, answered by someone; by the destination itself when nothing was translated. */
export function flow(destination: string, answerer = destination): Flow {
  const [destinationIP = '', destinationPort] = destination.split(':');
  const [replyIP = '', replyPort] = answerer.split(':');
  return { destinationIP, destinationPort: Number(destinationPort), replyIP, replyPort: Number(replyPort) };
}
