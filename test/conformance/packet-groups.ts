/**
 * The questions of the matrix, by the behaviours that they are about. Pure.
 *
 *   where    clusterIPs, node ports, external IPs, VIPs: those of TCP with policy Cluster that have an endpoint to answer
 *   how      policies, ranges, refusals, source addresses: TCP again, where a destination is served at all
 *   besides  UDP and SCTP where TCP is right, IPv6 where IPv4 is right
 *
 * So what a backend does not do at all fails once for each place, and not in everything that could be asked there.
 */
import type { ServicePort, TrafficPolicy } from '../../core/backend.ts';
import type { Sentence, Verdict } from './behaviour.ts';
import type { Judgement } from './judge.ts';
import type { Probe } from './matrix.ts';

export type Destination = 'clusterIP' | 'external IP' | 'VIP' | 'node port';

export interface Question {
  readonly probe: Probe;
  /** The service port that has the destination. */
  readonly port: ServicePort;
  readonly destination: Destination;
  /** The same for the question that asks the same in the other family. */
  readonly kin: string;
}

export interface Asked extends Question {
  readonly judgement: Judgement;
}

interface Group extends Sentence {
  /** Those that it is about, out of all. */
  pick(all: readonly Asked[]): readonly Asked[];
  /** Which part of the answer it is about. Default: who answered. */
  readonly about?: keyof Judgement;
}

const ANSWERS =
  'ServicePort: which endpoints answer, by destination and policy (the table above it), and Change.upsert whole';

type Fits = (question: Question) => boolean;

const REMEDY = 'follow the first of the questions that failed through your data plane, by hand';

const where = (id: string, sentence: string, fits: Fits, contract = ANSWERS, remedy = REMEDY): Group => ({
  id,
  sentence,
  contract,
  remedy,
  pick: (all) => all.filter((one) => isTCP(one) && isAnswered(one) && policyOf(one) === 'Cluster' && fits(one)),
});

const how = (id: string, sentence: string, fits: Fits, contract = ANSWERS, remedy = REMEDY): Group => ({
  id,
  sentence,
  contract,
  remedy,
  pick(all) {
    const served = servedDestinations(all);
    return all.filter((one) => isTCP(one) && !isLocalhost(one) && served.has(one.destination) && fits(one));
  },
});

/** Of connections that were answered as they should be. */
const aboutSource = (id: string, sentence: string, fits: Fits): Group => ({
  id,
  sentence,
  contract:
    'ServicePort: "Masquerade (the endpoint sees an address of this node instead of the source)", and its table',
  remedy: 'masquerade by destination and source, neither everything nor nothing',
  pick: (all) =>
    all.filter((one) => isTCP(one) && !isLocalhost(one) && one.judgement.answer === undefined && fits(one)),
  about: 'source',
});

const isLocalhost = ({ probe }: Question): boolean => probe.packet.destinationIP === '127.0.0.1';
/** By source ranges, of which there is a behaviour of its own. */
const isGuarded = ({ destination, port }: Question): boolean => destination === 'VIP' && port.sourceRanges.length > 0;
/** Policy Local has behaviours of its own. */
const policyOf = ({ destination, port }: Question): TrafficPolicy =>
  destination === 'clusterIP' ? port.internalPolicy : port.externalPolicy;
const isTCP = ({ port }: Question): boolean => port.protocol === 'TCP';
const isAnswered = ({ probe }: Question): boolean => probe.verdict.action === 'endpoints';
const masquerades = ({ probe: { verdict } }: Question): boolean | undefined => {
  if (verdict.action !== 'endpoints') return undefined;
  const all = new Set(verdict.endpoints.map((endpoint) => verdict.masquerade(endpoint)));
  return all.size === 1 ? [...all][0] : undefined;
};

export const GROUPS: readonly Group[] = [
  where(
    'cluster-ip-from-pods',
    'ClusterIPs answer pods',
    (one) => one.destination === 'clusterIP' && one.probe.packet.origin === 'pod',
  ),
  where(
    'cluster-ip-from-node',
    'ClusterIPs answer the node itself',
    (one) => one.destination === 'clusterIP' && one.probe.packet.origin === 'node',
  ),
  where(
    'cluster-ip-from-outside',
    'ClusterIPs answer clients that route to the node',
    (one) => one.destination === 'clusterIP' && one.probe.packet.origin === 'outside',
  ),
  where(
    'node-port-from-outside',
    'Node ports answer clients, on every address of the node',
    (one) => one.destination === 'node port' && one.probe.packet.origin === 'outside',
    'NodeView.nodePortAddresses; ServicePort.nodePort',
  ),
  where(
    'node-port-from-inside',
    'Node ports answer pods and the node itself',
    ({ destination, probe: { packet } }) =>
      destination === 'node port' && packet.origin !== 'outside' && packet.destinationIP !== '127.0.0.1',
    'NodeView.nodePortAddresses; ServicePort.nodePort',
  ),
  where(
    'node-port-on-localhost',
    'Node ports answer on 127.0.0.1',
    ({ destination, probe: { packet } }) => destination === 'node port' && packet.destinationIP === '127.0.0.1',
    'NodePortAddresses: `loopback` says whether all of 127.0.0.0/8 is included',
    'set net/ipv4/conf/all/route_localnet, and masquerade what comes from 127.0.0.1',
  ),
  where('external-ip', 'External IPs answer', (one) => one.destination === 'external IP'),
  where(
    'load-balancer',
    'Addresses of load balancers answer',
    (one) => one.destination === 'VIP' && one.port.sourceRanges.length === 0,
  ),
  how(
    'source-ranges',
    'Source ranges keep others from the addresses of load balancers',
    isGuarded,
    'ServicePort: "`sourceRanges` guards `loadBalancerVIPs` only: other sources are dropped before anything else."',
    'drop what comes to a VIP from outside of its ranges, before anything is translated or refused',
  ),
  how(
    'internal-policy-local',
    'internalTrafficPolicy Local uses endpoints of this node only',
    ({ destination, port }) => destination === 'clusterIP' && port.internalPolicy === 'Local',
    'ServicePort: clusterIP uses `local` where `internalPolicy` is Local',
  ),
  how(
    'external-policy-local',
    'externalTrafficPolicy Local uses endpoints of this node only, but for pods of this node and the node itself',
    (one) => one.destination !== 'clusterIP' && one.port.externalPolicy === 'Local' && !isGuarded(one),
    'ServicePort: external destinations use `local` where `externalPolicy` is Local, except from a pod of this node or the node',
  ),
  how(
    'refused',
    'Destinations without endpoints refuse',
    (one) => one.probe.verdict.action === 'reject' && !isGuarded(one),
    'ServicePort: "The chosen list is empty: REJECT (TCP reset or ICMP unreachable) when `hasEndpoints` is false"',
    'reject, with a TCP reset or ICMP port unreachable: who asks should not have to wait',
  ),
  how(
    'dropped',
    'What only other nodes could answer is dropped',
    (one) => one.probe.verdict.action === 'drop' && !isGuarded(one),
    'ServicePort: "REJECT … when `hasEndpoints` is false, else DROP."',
    'drop where the chosen list is empty and `hasEndpoints` is true',
  ),
  how(
    'terminating',
    'Endpoints that terminate answer while there are no others',
    (one) => isAnswered(one) && !isGuarded(one) && one.port.cluster.some(({ ready }) => !ready),
    'Endpoint.ready: "False for a serving-while-terminating endpoint, listed only when no ready one exists."',
    'use every endpoint that is listed',
  ),
  aboutSource(
    'masqueraded',
    'The source address is masqueraded where the table says so',
    (one) => masquerades(one) === true && one.probe.packet.origin !== 'node',
  ),
  aboutSource(
    'source-kept',
    'The source address is kept where the table says so',
    (one) => masquerades(one) === false && one.probe.packet.origin !== 'node',
  ),
  ...(['UDP', 'SCTP'] as const).map(
    (protocol): Group => ({
      id: protocol.toLowerCase(),
      sentence: `${protocol} is served as TCP is`,
      contract: 'ServicePort.protocol',
      remedy: 'do for every protocol what you do for TCP',
      pick(all) {
        const right = new Map<string, boolean>();
        for (const one of all.filter(isTCP)) {
          right.set(cell(one), (right.get(cell(one)) ?? true) && one.judgement.answer === undefined);
        }
        const served = servedDestinations(all);
        return all.filter(
          (one) => one.port.protocol === protocol && served.has(one.destination) && right.get(cell(one)),
        );
      },
    }),
  ),
  {
    id: 'ipv6',
    sentence: 'IPv6 is served as IPv4 is',
    contract: 'Backend.families; Change.family',
    remedy: 'leave IPv6 out of `families`, or do for it what you do for IPv4',
    pick(all) {
      const ofIPv4 = all.filter(({ probe }) => probe.packet.family === 'IPv4');
      const right = new Set(ofIPv4.filter(({ judgement }) => judgement.answer === undefined).map(({ kin }) => kin));
      const isAlone = ofIPv4.length === 0;
      const served = servedDestinations(all);
      return all.filter(
        ({ destination, probe, kin }) =>
          probe.packet.family === 'IPv6' && (isAlone || (served.has(destination) && right.has(kin))),
      );
    },
  },
];

/** What questions of one cell differ in is the Service, not the way of the packet. */
function cell({ destination, probe: { packet, verdict } }: Question): string {
  return `${packet.family} ${destination} ${packet.origin} ${packet.destinationIP === '127.0.0.1'} ${verdict.action}`;
}

/** Where any connection at all was answered as it should be. */
export function servedDestinations(all: readonly Asked[]): ReadonlySet<Destination> {
  const answered = all.filter((one) => isTCP(one) && isAnswered(one) && one.judgement.answer === undefined);
  return new Set(answered.map(({ destination }) => destination));
}

/** `whyNone`: what to say where no question is about it. */
export function verdictOn({ pick, about = 'answer' }: Group, all: readonly Asked[], whyNone: string): Verdict {
  const mine = pick(all);
  if (mine.length === 0) return { kind: 'not tried', why: whyNone };
  const faults = mine.flatMap(({ judgement }) => judgement[about] ?? []);
  if (faults.length === 0) return { kind: 'holds', note: `${mine.length} questions` };
  const which = faults.length === 1 ? '' : ' of them, first';
  return {
    kind: 'fails',
    expected: `what the contract says, for ${mine.length} questions`,
    seen: `something else for ${faults.length}${which}: ${faults[0]}`,
  };
}

/** With the service port that each question is about. */
export function questionsOf(probes: readonly Probe[], ports: readonly ServicePort[]): readonly Question[] {
  const byAddress = new Map<string, Pick<Question, 'port' | 'destination'>>();
  const byNodePort = new Map<string, ServicePort>();
  for (const port of ports) {
    const at = (ip: string): string => `${port.protocol} ${ip} ${port.port}`;
    for (const ip of port.externalIPs) byAddress.set(at(ip), { port, destination: 'external IP' });
    for (const ip of port.loadBalancerVIPs) byAddress.set(at(ip), { port, destination: 'VIP' });
    byAddress.set(at(port.clusterIP), { port, destination: 'clusterIP' });
    if (port.nodePort !== 0) byNodePort.set(`${port.protocol} ${port.nodePort}`, port);
  }
  const asked = new Map<string, number>();
  return probes.flatMap((probe): readonly Question[] => {
    const { protocol, destinationIP, destinationPort } = probe.packet;
    const onNode = byNodePort.get(`${protocol} ${destinationPort}`);
    const found =
      byAddress.get(`${protocol} ${destinationIP} ${destinationPort}`) ??
      (onNode && { port: onNode, destination: 'node port' as const });
    if (!found) return [];
    // The questions about one port come in the same order in both families; those only IPv4 has come last.
    const ordinal = asked.get(found.port.name) ?? 0;
    asked.set(found.port.name, ordinal + 1);
    return [{ probe, ...found, kin: `${found.port.name} ${ordinal}` }];
  });
}
