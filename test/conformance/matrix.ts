/**
 * The matrix: Services of every kind × policies × endpoint situations, and what each source asks of them. Generated
 * from a seed; the oracle says what must come of each request. Pure.
 */
import type { IPFamily, Packet, Protocol } from '../../core/backend.ts';
import { type OracleState, route, type Verdict } from '../../core/model/oracle.ts';
import type { Addresses } from '../netns/world-topology.ts';
import { ENDPOINT_PORT, type EndpointSpec, endpointSlice, type KubernetesObject, service } from './objects.ts';

export { ENDPOINT_PORT };

const EXPOSURES = ['clusterIP', 'nodePort', 'externalIP', 'VIP', 'VIP allowed', 'VIP denied'] as const;
const SITUATIONS = [
  'local and remote',
  'remote only',
  'local only',
  'none',
  'terminating only',
  'local terminating, remote ready',
  'not ready',
] as const;
const POLICIES = ['Cluster', 'Local'] as const;

export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    // xorshift32: enough to pick test cases.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 4294967296;
  };
}

export interface MatrixOptions {
  readonly family: IPFamily;
  readonly addresses: Addresses;
  readonly protocols: readonly Protocol[];
  readonly seed: number;
  /** How many of all combinations to take. */
  readonly services: number;
}

/** Objects for `services` combinations, drawn without repetition. */
export function matrixObjects({ family, addresses, protocols, seed, services }: MatrixOptions): KubernetesObject[] {
  const random = seededRandom(seed);
  const all = EXPOSURES.flatMap((exposure) =>
    SITUATIONS.flatMap((situation) =>
      POLICIES.flatMap((internalPolicy) =>
        POLICIES.flatMap((externalPolicy) =>
          [0, 60].flatMap((affinitySeconds) =>
            protocols.map((protocol) => ({
              exposure,
              situation,
              internalPolicy,
              externalPolicy,
              affinitySeconds,
              protocol,
            })),
          ),
        ),
      ),
    ),
  );
  const shuffled = all.map((one) => [random(), one] as const).sort(([a], [b]) => a - b);
  return shuffled.slice(0, services).flatMap(([, one], index) => {
    const { exposure, protocol } = one;
    const name = `m-${index}`;
    const exposed = exposure !== 'clusterIP';
    const vip = exposure.startsWith('VIP');
    const client = addresses.clientIPs[family][0]!;
    const port = { name: 'p', protocol, port: 80 };
    return [
      service({
        name,
        clusterIPs: { [family]: clusterIP(family, index) },
        type: vip ? 'LoadBalancer' : exposed ? 'NodePort' : 'ClusterIP',
        ports: [{ ...port, nodePort: exposed ? 30000 + index : 0 }],
        externalIPs: exposure === 'externalIP' ? [externalIP(family, index)] : [],
        loadBalancerVIPs: vip ? [externalIP(family, index)] : [],
        sourceRanges:
          exposure === 'VIP allowed'
            ? [`${client}${family === 'IPv4' ? '/32' : '/128'}`]
            : exposure === 'VIP denied'
              ? [family === 'IPv4' ? '198.51.100.0/24' : '2001:db8:100::/64']
              : [],
        internalPolicy: one.internalPolicy,
        ...(exposed ? { externalPolicy: one.externalPolicy } : {}),
        affinitySeconds: one.affinitySeconds,
      }),
      endpointSlice({
        service: name,
        family,
        port: { ...port, port: ENDPOINT_PORT },
        endpoints: endpoints(one.situation, family, addresses),
      }),
    ];
  });
}

function clusterIP(family: IPFamily, index: number): string {
  return family === 'IPv4'
    ? `10.${96 + (index % 4)}.${index >> 4}.${1 + index}`
    : `fd00:10:96::${(0x100 + index).toString(16)}`;
}

function externalIP(family: IPFamily, index: number): string {
  return family === 'IPv4' ? `203.0.113.${1 + index}` : `2001:db8:113::${(0x100 + index).toString(16)}`;
}

function endpoints(situation: (typeof SITUATIONS)[number], family: IPFamily, addresses: Addresses): EndpointSpec[] {
  const local = addresses.pods.slice(0, 2).map((pod) => ({ ip: pod.ip[family], nodeName: pod.nodeName }));
  const remote = addresses.remotePods.slice(0, 2).map((pod) => ({ ip: pod.ip[family], nodeName: pod.nodeName }));
  const as = (list: EndpointSpec[], state: EndpointSpec['state']): EndpointSpec[] =>
    list.map((endpoint) => ({ ...endpoint, ...(state === undefined ? {} : { state }) }));
  switch (situation) {
    case 'local and remote':
      return [...local, ...remote];
    case 'remote only':
      return remote;
    case 'local only':
      return local;
    case 'none':
      return [];
    case 'terminating only':
      return as([...local, ...remote], 'terminating');
    case 'local terminating, remote ready':
      return [...as(local, 'terminating'), ...remote];
    case 'not ready':
      return as([...local, ...remote], 'not ready');
  }
}

export interface Probe {
  /** Where to ask from. */
  readonly namespace: string;
  readonly packet: Packet;
  readonly verdict: Verdict;
}

/**
 * Every question that is worth asking about these service ports, with the oracle's answer. `podInterface` is the one
 * by which pods' packets enter the node, if they share one; "" if each pod has its own.
 */
export function probes(state: OracleState, family: IPFamily, addresses: Addresses, podInterface = ''): Probe[] {
  const { ports } = state;
  const [primary = '', second = ''] = addresses.nodeIPs[family];
  const pod = addresses.pods[0]!;
  const asking = [
    {
      namespace: pod.namespace,
      origin: 'pod' as const,
      sourceIP: pod.ip[family],
      inputInterface: podInterface || pod.interfaceName,
    },
    { namespace: 'node', origin: 'node' as const, sourceIP: primary, inputInterface: '' },
    ...addresses.clientIPs[family]
      .slice(0, 2)
      .map((sourceIP) => ({ namespace: 'client', origin: 'outside' as const, sourceIP, inputInterface: 'eth0' })),
  ];
  const questions: Probe[] = [];
  for (const port of ports) {
    const destinations = [
      [port.clusterIP, port.port],
      ...[...port.externalIPs, ...port.loadBalancerVIPs].map((ip) => [ip, port.port] as const),
      ...(port.nodePort === 0 ? [] : [primary, second].map((ip) => [ip, port.nodePort] as const)),
    ] as const;
    for (const [destinationIP, destinationPort] of destinations) {
      for (const { namespace, ...source } of asking) {
        const packet = { family, protocol: port.protocol, destinationIP, destinationPort, ...source } as Packet;
        questions.push({ namespace, packet, verdict: route(packet, state) });
      }
    }
    if (port.nodePort !== 0 && family === 'IPv4') {
      const packet: Packet = {
        family,
        protocol: port.protocol,
        origin: 'node',
        sourceIP: '127.0.0.1',
        inputInterface: '',
        destinationIP: '127.0.0.1',
        destinationPort: port.nodePort,
      };
      questions.push({ namespace: 'node', packet, verdict: route(packet, state) });
    }
  }
  return questions;
}

/**
 * Can the world carry the reply? A source outside that is not masqueraded gets a remote endpoint's reply directly,
 * past the node that would have to translate it back: so it is in any cluster, and no fault of the data plane.
 */
export function roundTrips({ packet, verdict }: Probe): boolean {
  if (verdict.action !== 'endpoints' || packet.origin !== 'outside') return true;
  return verdict.endpoints.every((endpoint) => endpoint.isLocal || verdict.masquerade(endpoint));
}
