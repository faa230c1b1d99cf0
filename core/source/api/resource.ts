/**
 * What is read from the API server: where each collection is, which of its objects count, and how one is parsed.
 * The selectors are the reference's, so that the RBAC role system:node-proxier suffices and the server leaves out what
 * no proxy needs.
 */
import type { EndpointSlice, Node, Parsed, Service, ServiceCIDR } from '../../model/objects.ts';
import { parseEndpointSlice } from '../../model/parse-endpointslice.ts';
import { parseNode } from '../../model/parse-node.ts';
import { parseService } from '../../model/parse-service.ts';
import { parseServiceCIDR } from '../../model/parse-servicecidr.ts';

export type ResourceName = 'services' | 'endpointslices' | 'nodes' | 'servicecidrs';

export interface Resource<T> {
  /** The collection's name in paths and in RBAC rules. */
  readonly name: ResourceName;
  readonly kind: 'Service' | 'EndpointSlice' | 'Node' | 'ServiceCIDR';
  /** As RBAC rules and kubectl name it: "endpointslices.discovery.k8s.io". */
  readonly fullName: string;
  /** "/api/v1", "/apis/discovery.k8s.io/v1": where it may be, the first that exists counts. */
  readonly roots: readonly [string, ...string[]];
  readonly namespaced: boolean;
  /** A cluster may lack it; that is no fault then. */
  readonly optional: boolean;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  parse(raw: unknown): Parsed<T>;
}

export function services(): Resource<Service> {
  return {
    name: 'services',
    kind: 'Service',
    fullName: 'services',
    roots: ['/api/v1'],
    namespaced: true,
    optional: false,
    labelSelector: '!service.kubernetes.io/service-proxy-name',
    fieldSelector: 'spec.clusterIP!=None',
    parse: parseService,
  };
}

export function endpointSlices(): Resource<EndpointSlice> {
  return {
    name: 'endpointslices',
    kind: 'EndpointSlice',
    fullName: 'endpointslices.discovery.k8s.io',
    roots: ['/apis/discovery.k8s.io/v1'],
    namespaced: true,
    optional: false,
    labelSelector: '!service.kubernetes.io/headless',
    parse: sharingNames(parseEndpointSlice),
  };
}

/** This node alone: a node's kubelet writes its Node object every few seconds, and a cluster has thousands. */
export function node(name: string): Resource<Node> {
  return {
    name: 'nodes',
    kind: 'Node',
    fullName: 'nodes',
    roots: ['/api/v1'],
    namespaced: false,
    optional: false,
    fieldSelector: `metadata.name=${name}`,
    parse: parseNode,
  };
}

/** v1 from Kubernetes 1.33 on, v1beta1 in 1.31 and 1.32 where somebody switched it on. */
export function serviceCIDRs(): Resource<ServiceCIDR> {
  return {
    name: 'servicecidrs',
    kind: 'ServiceCIDR',
    fullName: 'servicecidrs.networking.k8s.io',
    roots: ['/apis/networking.k8s.io/v1', '/apis/networking.k8s.io/v1beta1'],
    namespaced: false,
    optional: true,
    parse: parseServiceCIDR,
  };
}

/** Path and query of a list or a watch of the whole collection. */
export function collectionPath(
  resource: Resource<unknown>,
  root: string,
  parameters: Readonly<Record<string, string>>,
): string {
  const { name, labelSelector, fieldSelector } = resource;
  const query = new URLSearchParams();
  if (labelSelector !== undefined) query.set('labelSelector', labelSelector);
  if (fieldSelector !== undefined) query.set('fieldSelector', fieldSelector);
  for (const [key, value] of Object.entries(parameters)) query.set(key, value);
  // URLSearchParams writes a space as "+", which the API server reads as a space, too.
  return query.size === 0 ? `${root}/${name}` : `${root}/${name}?${query}`;
}

/** The same for one object of it, asked for as a list, because the role allows no "get". `key` is "namespace/name". */
export function oneObjectPath(
  resource: Resource<unknown>,
  root: string,
  key: string,
  parameters: Readonly<Record<string, string>>,
): string {
  const [first = '', second] = key.split('/');
  const scope = second === undefined ? '' : `/namespaces/${encodeURIComponent(first)}`;
  const query = new URLSearchParams({ fieldSelector: `metadata.name=${second ?? first}`, ...parameters });
  return `${root}${scope}/${resource.name}?${query}`;
}

/** Of names that a cluster has; what churn leaves behind is forgotten when there are more. */
const MAX_SHARED_NAMES = 10_000;

/**
 * JSON.parse makes a new string of every text. Node names and zones repeat once per endpoint, a million times in a
 * large cluster where only some thousands differ, so equal ones become one.
 */
function sharingNames(parse: (raw: unknown) => Parsed<EndpointSlice>): (raw: unknown) => Parsed<EndpointSlice> {
  const names = new Map<string, string>();
  const share = (name: string): string => {
    const known = names.get(name);
    if (known !== undefined) return known;
    if (names.size >= MAX_SHARED_NAMES) names.clear();
    names.set(name, name);
    return name;
  };
  return (raw) => {
    const { value, problems } = parse(raw);
    if (value === undefined) return { value, problems };
    const endpoints = value.endpoints.map((endpoint) => ({
      ip: endpoint.ip,
      nodeName: share(endpoint.nodeName),
      zone: share(endpoint.zone),
      ready: endpoint.ready,
      serving: endpoint.serving,
      terminating: endpoint.terminating,
      hintZones: endpoint.hintZones.length === 0 ? endpoint.hintZones : endpoint.hintZones.map(share),
      hintNodes: endpoint.hintNodes.length === 0 ? endpoint.hintNodes : endpoint.hintNodes.map(share),
    }));
    return { value: { ...value, namespace: share(value.namespace), endpoints }, problems };
  };
}
