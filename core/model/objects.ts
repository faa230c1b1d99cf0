/**
 * The Kubernetes objects as the model keeps them: parsed once at the edge, families split, addresses canonical
 * (see core/backend.ts), nothing that the proxy does not read. Small on purpose: there may be a million endpoints.
 */
import type { IPFamily, Protocol, TrafficPolicy } from '../backend.ts';

export interface Service {
  readonly namespace: string;
  readonly name: string;
  /** metadata.uid, for events about it; "" when it has none. */
  readonly uid: string;
  /** Families in which it has a cluster IP; those it has none of are not served. */
  readonly families: Readonly<Partial<Record<IPFamily, ServiceAddresses>>>;
  readonly ports: readonly ServicePortSpec[];
  readonly internalPolicy: TrafficPolicy;
  /** Already Cluster where the Service's type does not honour Local. */
  readonly externalPolicy: TrafficPolicy;
  /** 0 = no affinity. */
  readonly affinitySeconds: number;
  /** 0 = none; only for type LoadBalancer with externalPolicy Local. */
  readonly healthCheckNodePort: number;
  /** Only the kube-proxy.io/* ones. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** A Service's addresses of one family. */
export interface ServiceAddresses {
  readonly clusterIP: string;
  readonly externalIPs: readonly string[];
  readonly loadBalancerVIPs: readonly string[];
  /** Canonical CIDRs of this family; empty = everyone. */
  readonly sourceRanges: readonly string[];
}

export interface ServicePortSpec {
  /** "" for an unnamed port. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** 0 = none. */
  readonly nodePort: number;
}

export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** From the label kubernetes.io/service-name; same namespace. */
  readonly serviceName: string;
  readonly family: IPFamily;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly SliceEndpoint[];
  /** Annotation endpoints.kubernetes.io/last-change-trigger-time in milliseconds since the epoch; 0 = none. */
  readonly triggerTimeMs: number;
  /** Only the kube-proxy.io/* ones; absent when there are none. */
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface SlicePort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

export interface SliceEndpoint {
  readonly ip: string;
  readonly nodeName: string;
  readonly zone: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly hintZones: readonly string[];
  readonly hintNodes: readonly string[];
}

export interface Node {
  readonly name: string;
  /** metadata.uid; "" when it has none. */
  readonly uid: string;
  /** Label topology.kubernetes.io/zone; "" when absent. */
  readonly zone: string;
  /** InternalIPs, then ExternalIPs; canonical, in the object's order. */
  readonly ips: readonly string[];
  /** spec.podCIDRs, else spec.podCIDR; canonical. */
  readonly podCIDRs: readonly string[];
  /** Load balancers may send it traffic: it is not being deleted, by the API or by the cluster autoscaler. */
  readonly eligible: boolean;
}

/** A range, one of each family at most, from which the cluster allocates ClusterIPs. */
export interface ServiceCIDR {
  readonly name: string;
  /** spec.cidrs; canonical. */
  readonly cidrs: readonly string[];
}

/**
 * What parsing an object gave. `value` is undefined when there is nothing of it to serve: silently when it is not ours
 * (a headless Service, say), with a problem when it makes no sense. What it was before is to be forgotten either way.
 */
export interface Parsed<T> {
  readonly value: T | undefined;
  /** Faults that were stepped over, each naming the field and what was done; for the log. */
  readonly problems: readonly string[];
}
