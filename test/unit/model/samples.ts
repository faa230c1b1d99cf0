/** Valid objects to start a test from; each test states only what matters to it. */
import type { Endpoint, NodeView, Packet, ServicePort } from '../../../core/backend.ts';
import type { NodeSettings } from '../../../core/model/node-settings.ts';
import type { EndpointSlice, Service, SliceEndpoint } from '../../../core/model/objects.ts';

type Raw = Record<string, unknown>;

export function rawService(spec: Raw = {}, rest: Raw = {}): Raw {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'shop', name: 'web' },
    spec: {
      type: 'ClusterIP',
      clusterIP: '10.96.0.10',
      clusterIPs: ['10.96.0.10'],
      ipFamilies: ['IPv4'],
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }],
      ...spec,
    },
    ...rest,
  };
}

export function rawSlice(rest: Raw = {}): Raw {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: 'shop', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: [
      {
        addresses: ['10.244.1.5'],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: 'node-a',
        zone: 'zone-a',
      },
    ],
    ...rest,
  };
}

export function rawNode(rest: Raw = {}): Raw {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'node-a', labels: { 'topology.kubernetes.io/zone': 'zone-a' } },
    spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'] },
    status: {
      addresses: [
        { type: 'Hostname', address: 'node-a' },
        { type: 'ExternalIP', address: '198.51.100.7' },
        { type: 'InternalIP', address: '192.168.50.10' },
        { type: 'InternalIP', address: 'fd00:50::10' },
      ],
    },
    ...rest,
  };
}

export function service(rest: Partial<Service> = {}): Service {
  return {
    namespace: 'shop',
    name: 'web',
    uid: '',
    families: {
      IPv4: { clusterIP: '10.96.0.10', externalIPs: [], loadBalancerVIPs: [], sourceRanges: [] },
    },
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 0 }],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    annotations: {},
    ...rest,
  };
}

export function slice(endpoints: readonly SliceEndpoint[], rest: Partial<EndpointSlice> = {}): EndpointSlice {
  return {
    namespace: 'shop',
    name: 'web-1',
    serviceName: 'web',
    family: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints,
    triggerTimeMs: 0,
    ...rest,
  };
}

/** Ready and remote unless said otherwise. */
export function sliceEndpoint(ip: string, rest: Partial<SliceEndpoint> = {}): SliceEndpoint {
  return {
    ip,
    nodeName: 'node-b',
    zone: 'zone-b',
    ready: true,
    serving: true,
    terminating: false,
    hintZones: [],
    hintNodes: [],
    ...rest,
  };
}

export const TERMINATING = { ready: false, serving: true, terminating: true } as const;
export const HERE = { nodeName: 'node-a', zone: 'zone-a' } as const;

export function endpoint(ip: string, rest: Partial<Endpoint> = {}): Endpoint {
  return { ip, port: 8080, isLocal: false, ready: true, nodeName: 'node-b', zone: 'zone-b', ...rest };
}

export const REMOTE_POD = endpoint('10.244.2.5');
export const LOCAL_POD = endpoint('10.244.1.5', { isLocal: true, ...HERE });

/** Two endpoints, one of them here, and every kind of destination. */
export function servicePort(rest: Partial<ServicePort> = {}): ServicePort {
  return {
    key: 'shop/web:http/TCP',
    namespace: 'shop',
    name: 'web',
    portName: 'http',
    protocol: 'TCP',
    clusterIP: '10.96.0.10',
    port: 80,
    nodePort: 30080,
    externalIPs: ['203.0.113.1'],
    loadBalancerVIPs: ['203.0.113.2'],
    sourceRanges: [],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    cluster: [LOCAL_POD, REMOTE_POD],
    local: [LOCAL_POD],
    hasEndpoints: true,
    annotations: {},
    ...rest,
  };
}

export function view(rest: Partial<NodeView> = {}): NodeView {
  return {
    name: 'node-a',
    zone: 'zone-a',
    nodeIPs: ['192.168.50.10'],
    addresses: ['127.0.0.1', '192.168.50.10', '192.168.60.10'],
    nodePortAddresses: { match: 'all', loopback: true },
    localDetector: { kind: 'cidr', cidr: '10.244.0.0/16' },
    masqueradeAll: false,
    serviceCIDRs: [],
    tcpBeLiberal: false,
    ...rest,
  };
}

export const CLIENT = { sourceIP: '198.18.0.9', origin: 'outside', inputInterface: 'eth0' } as const;
export const POD = { sourceIP: '10.244.1.77', origin: 'pod', inputInterface: 'veth77' } as const;
export const NODE = { sourceIP: '192.168.50.10', origin: 'node', inputInterface: '' } as const;

/** "203.0.113.1:80" */
export function packet(source: Pick<Packet, 'sourceIP' | 'origin' | 'inputInterface'>, destination: string): Packet {
  const colon = destination.lastIndexOf(':');
  const destinationIP = destination.slice(0, colon).replace(/^\[|\]$/g, '');
  const family = destinationIP.includes(':') ? 'IPv6' : 'IPv4';
  return { family, protocol: 'TCP', ...source, destinationIP, destinationPort: Number(destination.slice(colon + 1)) };
}

export function settings(rest: Partial<NodeSettings> = {}): NodeSettings {
  return {
    nodeName: 'node-a',
    bindAddress: '0.0.0.0',
    detectLocalMode: 'ClusterCIDR',
    clusterCIDRs: ['10.244.0.0/16', 'fd00:244::/48'],
    podBridgeInterface: '',
    podInterfaceNamePrefix: '',
    nodePortAddresses: [],
    localhostNodePorts: true,
    masqueradeAll: false,
    serviceCIDRs: ['10.96.0.0/12', 'fd00:10:96::/112'],
    tcpBeLiberal: false,
    allowExternalIPs: true,
    ...rest,
  };
}
