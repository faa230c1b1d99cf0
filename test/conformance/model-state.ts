/** The oracle's view of a set of objects: what the core's model makes of them on this node. Pure. */
import type { IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import type { InterfaceAddress, NodeSettings } from '../../core/model/node-settings.ts';
import { nodeView } from '../../core/model/node-view.ts';
import type { EndpointSlice, Node, Service } from '../../core/model/objects.ts';
import { parseEndpointSlice } from '../../core/model/parse-endpointslice.ts';
import { parseNode } from '../../core/model/parse-node.ts';
import { parseService } from '../../core/model/parse-service.ts';
import { resolveService } from '../../core/model/resolve.ts';
import { NODE_NAME } from '../netns/world-topology.ts';
import type { KubernetesObject } from './objects.ts';

export interface ModelState {
  readonly node: NodeView;
  readonly ports: readonly ServicePort[];
}

/** Those of the program without any flag but the node's name. */
export const DEFAULT_SETTINGS: NodeSettings = {
  nodeName: NODE_NAME,
  bindAddress: '0.0.0.0',
  detectLocalMode: 'ClusterCIDR',
  clusterCIDRs: [],
  podBridgeInterface: '',
  podInterfaceNamePrefix: '',
  nodePortAddresses: [],
  localhostNodePorts: true,
  masqueradeAll: false,
  serviceCIDRs: [],
  tcpBeLiberal: false,
  allowExternalIPs: true,
};

export function modelState(
  family: IPFamily,
  objects: readonly KubernetesObject[],
  nodeSettings: NodeSettings,
  addresses: readonly InterfaceAddress[],
): ModelState {
  const services: Service[] = [];
  const slices: EndpointSlice[] = [];
  let nodeObject: Node | undefined;
  for (const object of objects) {
    if (object.kind === 'Service') services.push(expectValue(parseService(object)));
    if (object.kind === 'EndpointSlice') slices.push(expectValue(parseEndpointSlice(object)));
    if (object.kind === 'Node') nodeObject = expectValue(parseNode(object));
  }
  const node = nodeView(family, nodeObject, nodeSettings, addresses);
  const ports = services.flatMap((service) => {
    const own = slices.filter(
      (slice) => slice.family === family && slice.namespace === service.namespace && slice.serviceName === service.name,
    );
    return service.families[family] === undefined ? [] : resolveService(service, own, { family, ...node });
  });
  return { node, ports };
}

function expectValue<T>({ value, problems }: { value: T | undefined; problems: readonly string[] }): T {
  if (value === undefined) throw new Error(`a test object is not valid: ${problems.join('; ')}`);
  return value;
}

/** The flags that say the same as the settings. */
export function settingsFlags(of: NodeSettings): string[] {
  const flags = ['--detect-local-mode', of.detectLocalMode];
  const add = (name: string, value: string): void => {
    if (value !== '') flags.push(`--${name}`, value);
  };
  add('cluster-cidr', of.clusterCIDRs.join(','));
  add('pod-bridge-interface', of.podBridgeInterface);
  add('pod-interface-name-prefix', of.podInterfaceNamePrefix);
  add('service-cidr', of.serviceCIDRs.join(','));
  add('nodeport-addresses', of.nodePortAddresses.join(','));
  flags.push(`--iptables-localhost-nodeports=${of.localhostNodePorts}`, `--masquerade-all=${of.masqueradeAll}`);
  return flags;
}
