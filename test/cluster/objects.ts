/** Services and EndpointSlices as a test writes them, in the API's own words, and what the server adds to them. */
import type { IPFamily, Protocol } from '../../core/backend.ts';
import type { MergePatch, Metadata, RawObject } from './client.ts';

export interface ServiceObject extends RawObject {
  readonly kind: 'Service';
  readonly spec: ServiceSpec;
}

export interface ServiceSpec {
  readonly type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';
  readonly ports?: readonly ServicePortField[];
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly healthCheckNodePort?: number;
  readonly [field: string]: unknown;
}

export interface ServicePortField {
  readonly name?: string;
  readonly protocol?: Protocol;
  readonly port: number;
  readonly targetPort?: number | string;
  readonly nodePort?: number;
}

export interface EndpointSliceObject extends RawObject {
  readonly kind: 'EndpointSlice';
  readonly addressType: IPFamily;
  readonly endpoints: readonly EndpointField[];
  readonly ports: readonly { readonly name?: string; readonly protocol?: Protocol; readonly port: number }[];
}

export interface EndpointField {
  readonly addresses: readonly string[];
  readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
  readonly nodeName?: string;
  readonly zone?: string;
  readonly hints?: MergePatch;
}

/** What a Service of type LoadBalancer says so that no cloud's controller makes one. */
export const NO_CONTROLLER = { type: 'LoadBalancer', loadBalancerClass: 'kube-proxy-e2e.example/none' } as const;

/** No selector, so that in a whole cluster its controllers leave the endpoints to us. Default: one TCP port 80. */
export function service(
  namespace: string,
  name: string,
  spec: ServiceSpec = {},
  labels: Metadata['labels'] = {},
): ServiceObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name, labels },
    spec: { ports: [{ port: 80 }], ...spec },
  };
}

export interface SliceSpec {
  /** Default: "SERVICE-1". */
  readonly name?: string;
  readonly family: IPFamily;
  readonly endpoints: readonly EndpointField[];
  /** Default: one unnamed TCP port 8080. */
  readonly ports?: EndpointSliceObject['ports'];
  readonly annotations?: Readonly<Record<string, string>>;
}

export function slice({ metadata: { namespace, name } }: ServiceObject, spec: SliceSpec): EndpointSliceObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      ...(namespace === undefined ? {} : { namespace }),
      name: spec.name ?? `${name}-1`,
      labels: { 'kubernetes.io/service-name': name, 'endpointslice.kubernetes.io/managed-by': 'kube-proxy-e2e' },
      annotations: spec.annotations ?? {},
    },
    addressType: spec.family,
    endpoints: spec.endpoints,
    ports: spec.ports ?? [{ name: '', protocol: 'TCP', port: 8080 }],
  };
}

/** Addresses for documentation (RFC 5737, RFC 3849): `number` from 1 to 200 names one. */
export function address(family: IPFamily, number: number): string {
  return family === 'IPv4' ? `192.0.2.${number}` : `2001:db8::${number.toString(16)}`;
}

/** A ready one. */
export function endpointAt(family: IPFamily, number: number, more: Partial<EndpointField> = {}): EndpointField {
  return { addresses: [address(family, number)], conditions: { ready: true }, ...more };
}

/** The address that the server allocated in this family. */
export function clusterIP({ metadata, spec }: ServiceObject, family: IPFamily): string {
  const found = spec.clusterIPs?.find((ip) => ip.includes(':') === (family === 'IPv6'));
  if (found === undefined) throw new Error(`Service ${metadata.name} got no ${family} address from the server`);
  return found;
}

/** The node port that the server allocated to the port. */
export function nodePort({ metadata, spec }: ServiceObject, port = 80): number {
  const found = spec.ports?.find((each) => each.port === port)?.nodePort;
  if (found === undefined) throw new Error(`port ${port} of Service ${metadata.name} got no node port from the server`);
  return found;
}
