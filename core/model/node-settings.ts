/** What the operator configured about this node, parsed and validated; input of core/model/node-view.ts. */
export interface NodeSettings {
  readonly nodeName: string;
  /** Replaces the primary node IP unless unspecified ("0.0.0.0", "::"). */
  readonly bindAddress: string;
  readonly detectLocalMode: 'ClusterCIDR' | 'NodeCIDR' | 'BridgeInterface' | 'InterfaceNamePrefix';
  /** Canonical, at most one of each family. */
  readonly clusterCIDRs: readonly string[];
  readonly podBridgeInterface: string;
  readonly podInterfaceNamePrefix: string;
  /** Canonical CIDRs, or exactly ["primary"]; empty = every local address. */
  readonly nodePortAddresses: readonly string[];
  /** Node ports also answer on 127.0.0.0/8 (IPv4 only). */
  readonly localhostNodePorts: boolean;
  readonly masqueradeAll: boolean;
  readonly serviceCIDRs: readonly string[];
  readonly tcpBeLiberal: boolean;
  /** Feature gate AllowServiceExternalIPs: externalIPs of Services are served. */
  readonly allowExternalIPs: boolean;
}

/** An address on one of the host's interfaces, canonical, without zone or prefix length. */
export interface InterfaceAddress {
  readonly interfaceName: string;
  readonly ip: string;
}
