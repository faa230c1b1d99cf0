/**
 * What backends are given to try them: Services of every kind that the API has, resolved by the model as the core does,
 * and the changes between states of them. Pure.
 */
import type { Change, IPFamily, NodeView, ServicePort } from '../../core/backend.ts';
import type { InterfaceAddress } from '../../core/model/node-settings.ts';
import { CLUSTER_CIDR, NODE_NAME, POD_CIDR, REMOTE_NODE_NAME, SERVICE_CIDR } from '../netns/world-topology.ts';
import { DEFAULT_SETTINGS, modelState } from './model-state.ts';
import {
  type EndpointSpec,
  endpointSlice,
  type KubernetesObject,
  nodeObject,
  type ServiceSpec,
  service,
} from './objects.ts';
import { NODE_ADDRESSES } from './private-network.ts';

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const PORT = { name: 'http', protocol: 'TCP', port: 80, nodePort: 0 } as const;

/** One Service of the sample, by what is special about it. */
export interface Kind {
  readonly title: string;
  readonly spec: Omit<ServiceSpec, 'name' | 'clusterIPs' | 'ports' | 'externalIPs' | 'loadBalancerVIPs'> &
    Partial<Pick<ServiceSpec, 'name' | 'ports'>>;
  /** Last numbers of its external addresses. */
  readonly externalIPs?: readonly number[];
  readonly vips?: readonly number[];
  readonly ranges?: true;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Default: one here and two elsewhere, all ready. */
  readonly endpoints?: (family: IPFamily) => readonly EndpointSpec[];
}

/** A pod's address: of this node, or of another one. */
function pod(family: IPFamily, where: 'here' | 'elsewhere', index: number): EndpointSpec {
  const base = POD_CIDR[family].replace(/(0|::)\/\d+$/, family === 'IPv4' ? '' : '::');
  const ours = where === 'here' ? base : family === 'IPv4' ? '10.244.2.' : 'fd00:244:2::';
  const ip = `${ours}${family === 'IPv4' ? 10 + index : (0x10 + index).toString(16)}`;
  return { ip, nodeName: where === 'here' ? NODE_NAME : REMOTE_NODE_NAME };
}

const usual = (family: IPFamily): readonly EndpointSpec[] => [
  pod(family, 'here', 0),
  pod(family, 'elsewhere', 0),
  pod(family, 'elsewhere', 1),
];
const elsewhere = (family: IPFamily): readonly EndpointSpec[] => [pod(family, 'elsewhere', 0)];
const nowhere = (): readonly EndpointSpec[] => [];
const terminating = (family: IPFamily): readonly EndpointSpec[] =>
  usual(family).map((endpoint) => ({ ...endpoint, state: 'terminating' }));

const nodePort = (number: number, port: Partial<ServiceSpec['ports'][number]> = {}) => [
  { ...PORT, ...port, nodePort: number },
];
const LONG = 'a-name-of-sixty-three-characters-which-is-the-most-that-there-is';

/** What every backend begins with. */
const PLAIN: readonly Kind[] = [
  { title: 'a clusterIP', spec: {} },
  { title: 'a clusterIP with an unnamed port', spec: { ports: [{ ...PORT, name: '' }] } },
  { title: 'another clusterIP', spec: { namespace: 'shop' }, endpoints: elsewhere },
];

export const KINDS: readonly Kind[] = [
  ...PLAIN,
  { title: 'UDP', spec: { ports: [{ ...PORT, name: 'dns', protocol: 'UDP', port: 53 }] } },
  { title: 'SCTP', spec: { ports: [{ ...PORT, name: 'sctp', protocol: 'SCTP', port: 9899 }] } },
  {
    title: 'one port number in two protocols',
    spec: {
      ports: [
        { ...PORT, name: 'dns', port: 53 },
        { ...PORT, name: 'dns-udp', protocol: 'UDP', port: 53 },
      ],
    },
  },
  { title: 'a node port', spec: { type: 'NodePort', ports: nodePort(30001) } },
  { title: 'a UDP node port', spec: { type: 'NodePort', ports: nodePort(30002, { protocol: 'UDP' }) } },
  {
    title: 'a node port with externalTrafficPolicy Local',
    spec: { type: 'NodePort', ports: nodePort(30003), externalPolicy: 'Local' },
  },
  { title: 'an external IP', spec: {}, externalIPs: [1] },
  { title: 'a load balancer', spec: { type: 'LoadBalancer', ports: nodePort(30004) }, vips: [2] },
  {
    title: 'a load balancer with two addresses and source ranges',
    spec: { type: 'LoadBalancer', ports: nodePort(30005) },
    vips: [3, 4],
    ranges: true,
  },
  {
    title: 'a load balancer with externalTrafficPolicy Local and a health check node port',
    spec: { type: 'LoadBalancer', ports: nodePort(30006), externalPolicy: 'Local', healthCheckNodePort: 31006 },
    vips: [5],
  },
  { title: 'internalTrafficPolicy Local', spec: { internalPolicy: 'Local' } },
  {
    title: 'internalTrafficPolicy Local without an endpoint here',
    spec: { internalPolicy: 'Local' },
    endpoints: elsewhere,
  },
  {
    title: 'externalTrafficPolicy Local without an endpoint here',
    spec: { type: 'NodePort', ports: nodePort(30007), externalPolicy: 'Local' },
    endpoints: elsewhere,
  },
  { title: 'session affinity', spec: { affinitySeconds: 10800 } },
  {
    title: 'session affinity on a node port and an external IP',
    spec: { type: 'NodePort', ports: nodePort(30008), affinitySeconds: 60 },
    externalIPs: [6],
  },
  { title: 'no endpoints', spec: {}, endpoints: nowhere },
  {
    title: 'no endpoints, of every exposure',
    spec: { type: 'LoadBalancer', ports: nodePort(30009) },
    externalIPs: [7],
    vips: [8],
    endpoints: nowhere,
  },
  { title: 'endpoints that terminate', spec: {}, endpoints: terminating },
  {
    title: 'UDP with endpoints that keep their flows',
    spec: { ports: [{ ...PORT, name: 'dns', protocol: 'UDP', port: 53 }] },
    endpoints: (family) => [pod(family, 'here', 3), { ...pod(family, 'elsewhere', 4), state: 'terminating' }],
  },
  {
    title: 'an endpoint in the network of the node itself',
    spec: {},
    endpoints: (family) => [{ ip: NODE_ADDRESSES[family], nodeName: NODE_NAME }],
  },
  {
    title: 'endpoints whose node is not known',
    spec: {},
    endpoints: (family) => [{ ...pod(family, 'here', 5), nodeName: '' }],
  },
  {
    title: '60 endpoints',
    spec: {},
    endpoints: (family) => Array.from({ length: 60 }, (_, index) => pod(family, 'elsewhere', 20 + index)),
  },
  {
    title: 'the longest names',
    spec: {
      name: LONG.slice(0, 63),
      namespace: `${LONG.slice(0, 60)}-ns`,
      ports: [{ ...PORT, name: 'a-name-of-15-ch' }],
    },
  },
  { title: 'annotations', spec: {}, annotations: { 'kube-proxy.io/example': 'a value "in quotes"\nof two lines' } },
  { title: 'an external IP that another Service has, too', spec: {}, externalIPs: [1] },
];

/** A set of Services, and which of them belongs to which kind. */
export interface Cluster {
  readonly objects: readonly KubernetesObject[];
  readonly titles: ReadonlyMap<string, string>;
}

/** `from`: where numbering begins, so that two draws differ in all addresses and names. */
export function clusterOf(kinds: readonly Kind[], from = 0): Cluster {
  const titles = new Map<string, string>();
  const objects = kinds.flatMap((kind, index): readonly KubernetesObject[] => {
    const number = from + index;
    const { name = `s-${number}`, namespace = 'default', ports = [PORT], ...spec } = kind.spec;
    titles.set(`${namespace}/${name}`, kind.title);
    const external = (family: IPFamily, numbers: readonly number[] = []): readonly string[] =>
      numbers.map((last) => (family === 'IPv4' ? `203.0.113.${last}` : `2001:db8:113::${last.toString(16)}`));
    const both = (numbers: readonly number[] | undefined) => FAMILIES.flatMap((family) => external(family, numbers));
    const made = service({
      ...spec,
      name,
      namespace,
      ports,
      clusterIPs: { IPv4: clusterIP('IPv4', number), IPv6: clusterIP('IPv6', number) },
      externalIPs: both(kind.externalIPs),
      loadBalancerVIPs: both(kind.vips),
      sourceRanges: kind.ranges ? ['198.51.100.0/24', '2001:db8:51::/64'] : [],
    });
    const annotated = kind.annotations
      ? { ...made, metadata: { ...(made.metadata as object), annotations: kind.annotations } }
      : made;
    const endpoints = kind.endpoints ?? usual;
    const slices = FAMILIES.flatMap((family) =>
      ports.map((port, at) =>
        endpointSlice({
          service: name,
          namespace,
          family,
          port: { name: port.name, protocol: port.protocol, port: 8080 + at },
          endpoints: endpoints(family),
          suffix: String(at),
        }),
      ),
    );
    return [annotated, ...slices];
  });
  return { objects, titles };
}

function clusterIP(family: IPFamily, number: number): string {
  return family === 'IPv4'
    ? `10.96.${1 + (number >> 8)}.${number & 255}`
    : `${SERVICE_CIDR.IPv6.replace('/112', '')}${(0x1000 + number).toString(16)}`;
}

/** What one family is told. */
export interface State {
  readonly family: IPFamily;
  readonly node: NodeView;
  readonly ports: readonly ServicePort[];
}

const SETTINGS = { ...DEFAULT_SETTINGS, clusterCIDRs: FAMILIES.map((family) => CLUSTER_CIDR[family]) };

export function stateOf(family: IPFamily, cluster: Cluster, addresses: readonly InterfaceAddress[]): State {
  const own = addresses.map(({ ip }) => ip).filter((ip) => Object.values<string>(NODE_ADDRESSES).includes(ip));
  const objects = [nodeObject(own), ...cluster.objects];
  const { node, ports } = modelState(family, objects, SETTINGS, addresses);
  return { family, node, ports: [...ports].sort((a, b) => (a.key < b.key ? -1 : 1)) };
}

export function full({ family, node, ports }: State): Change {
  return { family, full: true, node, upsert: ports, remove: [] };
}

/** The partial change from one state to another. */
export function partial(before: State, after: State): Change {
  const had = new Map(before.ports.map((port) => [port.key, JSON.stringify(port)]));
  const has = new Set(after.ports.map(({ key }) => key));
  return {
    family: after.family,
    full: false,
    node: after.node,
    upsert: after.ports.filter((port) => had.get(port.key) !== JSON.stringify(port)),
    remove: [...had.keys()].filter((key) => !has.has(key)),
  };
}

/** The states that most behaviours are tried with. */
export interface States {
  readonly family: IPFamily;
  readonly empty: State;
  /** A few plain Services. */
  readonly few: State;
  /** One Service more. */
  readonly more: State;
  /** `few` with other endpoints behind its first Service. */
  readonly moved: State;
  /** `few` without one of its Services. */
  readonly fewer: State;
  /** `few` on a node with one address more. */
  readonly grown: State;
  /** Other Services altogether. */
  readonly others: State;
  /** Every kind. */
  readonly every: State;
}

export function statesOf(family: IPFamily, addresses: readonly InterfaceAddress[]): States {
  const of = (kinds: readonly Kind[], from = 0): State => stateOf(family, clusterOf(kinds, from), addresses);
  const exposed = { title: 'a node port', spec: { type: 'NodePort' as const, ports: nodePort(30001) } };
  const base = [...PLAIN, exposed];
  const [first, ...rest] = base;
  const few = of(base);
  const another = { interfaceName: 'eth0', ip: family === 'IPv4' ? '192.168.60.10' : 'fd00:60::10' };
  return {
    family,
    empty: of([]),
    few,
    more: of([...base, { title: 'one more', spec: {} }]),
    moved: of([{ ...first!, endpoints: (own) => [pod(own, 'here', 1), pod(own, 'elsewhere', 2)] }, ...rest]),
    fewer: without(few, 'default/s-1/TCP'),
    grown: stateOf(family, clusterOf(base), [...addresses, another]),
    others: of(PLAIN, 100),
    every: of(KINDS),
  };
}

function without(state: State, key: string): State {
  return { ...state, ports: state.ports.filter((port) => port.key !== key) };
}

export const EVERY_KIND: Cluster = clusterOf(KINDS);

/** So many Services of ten endpoints each, and the same with one endpoint exchanged. */
export function large(
  family: IPFamily,
  services: number,
  addresses: readonly InterfaceAddress[],
): readonly [State, State] {
  const ten = (shift: number) => (own: IPFamily) =>
    Array.from({ length: 10 }, (_, index) => pod(own, 'elsewhere', index + shift));
  const kinds = Array.from({ length: services }, (): Kind => ({ title: 'one of many', spec: {}, endpoints: ten(0) }));
  const changed = kinds.with(services >> 1, { ...kinds[0]!, endpoints: ten(1) });
  return [stateOf(family, clusterOf(kinds, 1000), addresses), stateOf(family, clusterOf(changed, 1000), addresses)];
}

/** Addresses to be used where those of this process's network mean nothing. */
export const SAMPLE_ADDRESSES: readonly InterfaceAddress[] = [
  { interfaceName: 'lo', ip: '127.0.0.1' },
  { interfaceName: 'lo', ip: '::1' },
  { interfaceName: 'eth0', ip: NODE_ADDRESSES.IPv4 },
  { interfaceName: 'eth0', ip: NODE_ADDRESSES.IPv6 },
];
