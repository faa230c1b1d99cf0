/**
 * What the demo asks of the world, and from where; for each question, the packet that it begins with and what the
 * oracle says of that packet. Only the questions are written down here: what is there to ask about comes from the
 * manifests, and what must happen from the model. Pure.
 */
import type { IPFamily, Packet, ServicePort } from '../core/backend.ts';
import { type OracleState, route } from '../core/model/oracle.ts';
import type { Probe } from '../test/conformance/matrix.ts';
import { hostPort } from '../test/netns/agent-protocol.ts';
import type { Addresses } from '../test/netns/world-topology.ts';

export type States = Readonly<Record<IPFamily, OracleState>>;
type SourceName = 'pod' | 'node' | 'client' | 'stranger';
type Target = 'clusterIP' | 'nodePort' | 'localhost' | 'loadBalancerVIP';

export interface Question {
  /** Who asks, for the table: "pod-a 10.244.1.11". */
  readonly from: string;
  readonly probe: Probe;
  /** The service port keeps a client at one endpoint. */
  readonly sticky: boolean;
}

/** All questions to one destination. */
export interface Topic {
  readonly service: string;
  /** "TCP 10.96.0.10:80". */
  readonly destination: string;
  /** What an operator should know of it, from the model: "cluster IP, 3 endpoints". */
  readonly note: string;
  readonly family: IPFamily;
  readonly questions: readonly Question[];
}

/** One line of the plan: a Service of the example manifests, which of its destinations, who asks. */
export interface Ask {
  readonly service: string;
  readonly target: Target;
  readonly from: readonly SourceName[];
}

export const TOUR: readonly Ask[] = [
  { service: 'web', target: 'clusterIP', from: ['pod', 'node', 'client'] },
  { service: 'dns', target: 'clusterIP', from: ['pod', 'client'] },
  { service: 'node-port', target: 'nodePort', from: ['client', 'pod'] },
  { service: 'node-port', target: 'localhost', from: ['node'] },
  { service: 'load-balancer', target: 'loadBalancerVIP', from: ['client', 'stranger', 'pod', 'node'] },
  { service: 'load-balancer', target: 'nodePort', from: ['client'] },
  { service: 'sticky', target: 'clusterIP', from: ['pod', 'client', 'stranger'] },
  { service: 'empty', target: 'clusterIP', from: ['pod', 'client'] },
];

/** In the order of the plan, IPv4 before IPv6. Throws if the manifests do not have what the plan asks for. */
export function topics(asks: readonly Ask[], states: States, addresses: Addresses): readonly Topic[] {
  return asks.flatMap(({ service, target, from }) => {
    const found = (['IPv4', 'IPv6'] as const).flatMap((family) =>
      states[family].ports
        .filter((port) => port.name === service)
        .flatMap((port) => {
          const destination = destinationOf(port, target, family, addresses);
          if (destination === undefined) return [];
          const askers = from.map((name) => sourceOf(name, family, addresses, target));
          return [topic(port, target, destination, askers, family, states[family])];
        }),
    );
    if (found.length === 0) {
      throw new Error(`release/examples: no Service ${service} with a ${target}, which the demo asks for; restore it`);
    }
    return found;
  });
}

interface Destination {
  readonly ip: string;
  readonly port: number;
}

interface Source {
  readonly label: string;
  readonly namespace: string;
  readonly from: Pick<Packet, 'origin' | 'sourceIP' | 'inputInterface'>;
}

function topic(
  port: ServicePort,
  target: Target,
  { ip, port: number }: Destination,
  askers: readonly Source[],
  family: IPFamily,
  state: OracleState,
): Topic {
  const { protocol } = port;
  return {
    service: port.name,
    destination: `${protocol} ${hostPort(ip, number)}`,
    note: noteOn(port, target),
    family,
    questions: askers.map(({ label, namespace, from }) => {
      const packet: Packet = { family, protocol, destinationIP: ip, destinationPort: number, ...from };
      const probe = { namespace, packet, verdict: route(packet, state) };
      return { from: `${label} ${from.sourceIP}`, probe, sticky: port.affinitySeconds > 0 };
    }),
  };
}

function destinationOf(
  port: ServicePort,
  target: Target,
  family: IPFamily,
  { nodeIPs }: Addresses,
): Destination | undefined {
  switch (target) {
    case 'clusterIP':
      return { ip: port.clusterIP, port: port.port };
    case 'loadBalancerVIP': {
      const ip = port.loadBalancerVIPs[0];
      return ip === undefined ? undefined : { ip, port: port.port };
    }
    case 'nodePort':
      return port.nodePort === 0 ? undefined : { ip: nodeIPs[family][0]!, port: port.nodePort };
    case 'localhost':
      return port.nodePort === 0 || family === 'IPv6' ? undefined : { ip: '127.0.0.1', port: port.nodePort };
  }
}

function sourceOf(name: SourceName, family: IPFamily, addresses: Addresses, target: Target): Source {
  switch (name) {
    case 'pod': {
      const pod = addresses.pods[0]!;
      const from = { origin: 'pod', sourceIP: pod.ip[family], inputInterface: pod.interfaceName } as const;
      return { label: pod.name, namespace: pod.namespace, from };
    }
    case 'node': {
      const sourceIP = target === 'localhost' ? '127.0.0.1' : addresses.nodeIPs[family][0]!;
      return { label: 'node', namespace: 'node', from: { origin: 'node', sourceIP, inputInterface: '' } };
    }
    case 'client':
    case 'stranger': {
      const sourceIP = addresses.clientIPs[family][name === 'client' ? 0 : 1]!;
      return { label: name, namespace: 'client', from: { origin: 'outside', sourceIP, inputInterface: 'eth0' } };
    }
  }
}

function noteOn(port: ServicePort, target: Target): string {
  const external = target !== 'clusterIP';
  const kind = {
    clusterIP: 'cluster IP',
    nodePort: 'node port',
    localhost: 'node port on localhost',
    loadBalancerVIP: 'VIP',
  }[target];
  const facts = [kind];
  if ((external ? port.externalPolicy : port.internalPolicy) === 'Local') facts.push('policy Local');
  if (port.affinitySeconds > 0) facts.push(`session affinity ${port.affinitySeconds} s`);
  if (!port.hasEndpoints) facts.push('no endpoints');
  if (target === 'loadBalancerVIP' && port.sourceRanges.length > 0) {
    facts.push(`for ${port.sourceRanges.join(', ')}`);
  }
  return facts.join(', ');
}
