/**
 * What must be: the server's objects as the program's own parsers read them, and what its model makes of them on this
 * node. Pure; whoever has these has no need of a proxy.
 */
import type { IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import type { InterfaceAddress, NodeSettings } from '../../core/model/node-settings.ts';
import { nodeView } from '../../core/model/node-view.ts';
import type { Parsed } from '../../core/model/objects.ts';
import { parseEndpointSlice } from '../../core/model/parse-endpointslice.ts';
import { parseNode } from '../../core/model/parse-node.ts';
import { parseService } from '../../core/model/parse-service.ts';
import { parseServiceCIDR } from '../../core/model/parse-servicecidr.ts';
import { resolveService } from '../../core/model/resolve.ts';
import type { KubeObject } from '../apiserver/kinds/kind.ts';
import type { Objects } from '../apiserver/objects.ts';
import { DEFAULT_SETTINGS } from '../conformance/model-state.ts';
import { CLUSTER_CIDR, NODE_NAME } from '../netns/world-topology.ts';
import { FAMILIES } from './places.ts';
import type { ResourceName } from './plan.ts';
import { HEADLESS_LABEL } from './random-slice.ts';

export interface Truth {
  /** How many objects of each kind a proxy on this node has to know. */
  readonly counts: Readonly<Record<ResourceName, number>>;
  readonly families: Readonly<Record<IPFamily, FamilyTruth>>;
  /** "namespace/name" of every Service that is served. */
  readonly served: ReadonlySet<string>;
  /** Services for which the proxy answers health checks of load balancers, once for each family. */
  readonly healthChecks: number;
}

export interface FamilyTruth {
  readonly node: NodeView;
  /** By key. */
  readonly ports: readonly ServicePort[];
}

/** As configuration.ts writes them. */
const SETTINGS: NodeSettings = { ...DEFAULT_SETTINGS, clusterCIDRs: [CLUSTER_CIDR.IPv4, CLUSTER_CIDR.IPv6] };

export function truthOf(objects: Objects, addresses: readonly InterfaceAddress[]): Truth {
  const read = <T>(kind: string, parse: (raw: unknown) => Parsed<T>, selected: (object: KubeObject) => boolean) =>
    objects
      .list(kind)
      .filter(selected)
      .flatMap((object) => parse(object).value ?? []);
  const services = read('Service', parseService, ({ spec }) => (spec as { clusterIP?: string }).clusterIP !== 'None');
  const slices = read(
    'EndpointSlice',
    parseEndpointSlice,
    ({ metadata }) => !(HEADLESS_LABEL in (metadata.labels ?? {})),
  );
  const nodes = read('Node', parseNode, ({ metadata }) => metadata.name === NODE_NAME);
  const ranges = read('ServiceCIDR', parseServiceCIDR, () => true);

  const ofService = Map.groupBy(slices, ({ namespace, serviceName }) => `${namespace}/${serviceName}`);
  const familyTruth = (family: IPFamily): FamilyTruth => {
    const node = nodeView(family, nodes[0], SETTINGS, addresses, ranges);
    const ports = services
      .filter((service) => service.families[family] !== undefined)
      .flatMap((service) => {
        const own = (ofService.get(`${service.namespace}/${service.name}`) ?? []).filter(
          (one) => one.family === family,
        );
        return resolveService(service, own, { family, ...node });
      });
    return { node, ports: ports.sort((a, b) => (a.key < b.key ? -1 : 1)) };
  };
  const families = { IPv4: familyTruth('IPv4'), IPv6: familyTruth('IPv6') };
  const servicesOf = (ports: readonly ServicePort[]) =>
    new Set(ports.map(({ namespace, name }) => `${namespace}/${name}`));
  const checked = (ports: readonly ServicePort[]) =>
    servicesOf(ports.filter((port) => port.healthCheckNodePort !== 0)).size;
  return {
    counts: {
      services: services.length,
      endpointslices: slices.length,
      nodes: nodes.length,
      servicecidrs: ranges.length,
    },
    families,
    served: new Set(FAMILIES.flatMap((family) => [...servicesOf(families[family].ports)])),
    healthChecks: FAMILIES.reduce((sum, family) => sum + checked(families[family].ports), 0),
  };
}
