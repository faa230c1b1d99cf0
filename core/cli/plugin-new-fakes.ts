/** fake-host.js of a new plugin: what its test needs of kube-proxy, whatever its data plane is. */
export const FAKES_TEMPLATE = `// @ts-check
/**
 * What kube-proxy gives a backend, for tests: a Host without a kernel behind it, and changes. Made of types alone, so
 * that it need not be touched when you put your data plane in.
 *
 * @import { Change, Endpoint, Host, Netlink, NodeView, ServicePort } from './kube-proxy.d.ts'
 */

/**
 * Fails where something is used that the test does not fake; give what your backend uses:
 *   fakeHost({ exec: async () => ({ status: 0, stdout: '', stderr: '', timedOut: false }) })
 * @param {Partial<Host>} [parts]
 * @returns {Host}
 */
export function fakeHost(parts = {}) {
  /** @returns {never} */
  const absent = () => {
    throw new Error('this test fakes no such thing; give it to fakeHost()');
  };
  return {
    log: { error() {}, warn() {}, info() {}, verbose() {}, enabled: () => false },
    exec: absent,
    spawn: absent,
    thread: absent,
    sysctl: { read: absent, ensure: absent },
    netlink: /** @type {Netlink} */ (new Proxy({}, { get: () => absent })),
    sockets: { originalDestination: absent, originalUDPDestination: absent },
    clock: { now: () => performance.now(), after: absent },
    signal: new AbortController().signal,
    requestFullSync: absent,
    metrics: { register: () => () => {} },
    events: { warn() {} },
    ...parts,
  };
}

/**
 * Frozen, as kube-proxy's are.
 * @param {Partial<Change>} rest
 * @returns {Change}
 */
export function change(rest) {
  return frozen({ family: 'IPv4', full: false, node: NODE, upsert: [], remove: [], ...rest });
}

/**
 * A Service's port with one endpoint.
 * @param {string} key "namespace/name:port/TCP"
 * @param {Partial<ServicePort>} [rest]
 * @returns {ServicePort}
 */
export function port(key, rest = {}) {
  const [, namespace = '', name = '', portName = '', protocol] = /^(.+?)\\/(.+?)(?::(.+))?\\/(.+)$/.exec(key) ?? [];
  return frozen({
    key,
    namespace,
    name,
    portName,
    protocol: protocol === 'UDP' || protocol === 'SCTP' ? protocol : 'TCP',
    clusterIP: '10.96.0.10',
    port: 80,
    nodePort: 30080,
    externalIPs: [],
    loadBalancerVIPs: [],
    sourceRanges: [],
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    affinitySeconds: 0,
    healthCheckNodePort: 0,
    cluster: [ENDPOINT],
    local: [],
    hasEndpoints: true,
    annotations: {},
    ...rest,
  });
}

/** @type {Endpoint} */
const ENDPOINT = { ip: '10.244.1.2', port: 8080, isLocal: true, ready: true, nodeName: 'node', zone: '' };

/** @type {NodeView} */
const NODE = {
  name: 'node',
  zone: '',
  nodeIPs: ['192.168.0.10'],
  addresses: ['127.0.0.1', '192.168.0.10'],
  nodePortAddresses: { match: 'all', loopback: false },
  localDetector: { kind: 'none' },
  masqueradeAll: false,
  serviceCIDRs: [],
  tcpBeLiberal: false,
};

/**
 * With all that is in it.
 * @template T
 * @param {T} value
 * @returns {T}
 */
function frozen(value) {
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(frozen);
  return Object.freeze(value);
}
`;
