/** Objects as the API server sends them, as short as they can be. */

interface Identity {
  readonly version?: string;
  readonly namespace?: string;
  readonly uid?: string;
}

function metadata(name: string, { version = '1', namespace, uid = `uid-${name}` }: Identity) {
  return { name, uid, resourceVersion: version, ...(namespace === undefined ? {} : { namespace }) };
}

export function service(name: string, given: Identity & { readonly ip?: string; readonly port?: unknown } = {}) {
  const { ip = '10.96.0.10', port = 80 } = given;
  return {
    kind: 'Service',
    apiVersion: 'v1',
    metadata: metadata(name, { namespace: 'shop', ...given }),
    spec: { clusterIP: ip, clusterIPs: [ip], ipFamilies: ['IPv4'], type: 'ClusterIP', ports: [{ port }] },
  };
}

export function endpointSlice(name: string, given: Identity & { readonly ips?: readonly string[] } = {}) {
  const { ips = ['10.244.0.1'] } = given;
  const identity = metadata(name, { namespace: 'shop', ...given });
  return {
    kind: 'EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    metadata: { ...identity, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ port: 8080 }],
    endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: 'node-1', conditions: { ready: true } })),
  };
}

export function nodeObject(
  name: string,
  given: Identity & { readonly ips?: readonly string[]; readonly podCIDRs?: readonly string[] } = {},
) {
  const { ips = ['192.0.2.1'], podCIDRs = [] } = given;
  return {
    kind: 'Node',
    apiVersion: 'v1',
    metadata: metadata(name, given),
    spec: { podCIDRs },
    status: { addresses: ips.map((address) => ({ type: 'InternalIP', address })) },
  };
}

export function serviceCIDR(name: string, given: Identity & { readonly cidrs?: readonly string[] } = {}) {
  const { cidrs = ['10.96.0.0/12'] } = given;
  return { kind: 'ServiceCIDR', metadata: metadata(name, given), spec: { cidrs } };
}

/** A list, or one page of it. */
export function list(version: string, items: readonly unknown[], next?: string) {
  return { kind: 'List', apiVersion: 'v1', metadata: { resourceVersion: version, continue: next }, items };
}

/** What a real server says when it refuses, in a body or in an ERROR event. */
export function status(code: number, reason: string, message: string, details: Readonly<Record<string, unknown>> = {}) {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, details, code };
}
