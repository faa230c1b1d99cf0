/** The oracle asked about a seeded sample of packets, and the kernel by sending them. */
import type { IPFamily, Packet, ServicePort } from '../../core/backend.ts';
import { route } from '../../core/model/oracle.ts';
import { judge } from '../conformance/judge.ts';
import { type Probe, probes, roundTrips } from '../conformance/matrix.ts';
import type { Outcome, Request } from '../netns/agent-protocol.ts';
import type { World } from '../netns/world.ts';
import type { Random } from '../unit/model/random.ts';
import type { Retired } from './churn.ts';
import { ENDPOINT_PORTS } from './random-slice.ts';
import type { FamilyTruth } from './truth.ts';

export interface PacketReport {
  readonly asked: number;
  /** By what the oracle says must happen. */
  readonly verdicts: Readonly<Record<string, number>>;
  /** One line for each that went another way. */
  readonly wrong: readonly string[];
}

export interface PacketOptions {
  readonly world: World;
  readonly family: IPFamily;
  readonly truth: FamilyTruth;
  /** Addresses that Services had once. */
  readonly retired: readonly Retired[];
  readonly random: Random;
  /** Packets about Services; those about former ones come on top. */
  readonly sample: number;
}

/** Of packets that are to reach an endpoint; the others are to be refused, dropped, or left alone. */
const TRANSLATED_SHARE = 0.6;
const FORMER_SHARE = 0.15;

export async function askPackets({
  world,
  family,
  truth,
  retired,
  random,
  sample,
}: PacketOptions): Promise<PacketReport> {
  const { node, ports } = truth;
  // Nobody speaks SCTP here, and where a ghost's endpoint is, nobody answers.
  const answerable = probes({ ports, node }, family, world).filter(
    (probe) => probe.packet.protocol !== 'SCTP' && roundTrips(probe) && isAnswered(probe, world, family),
  );
  const former = random.shuffle(retired.filter((one) => one.family === family)).slice(0, sample * FORMER_SHARE);
  const [translated, others] = [true, false].map((translates) =>
    random.shuffle(answerable.filter(({ verdict }) => (verdict.action === 'endpoints') === translates)),
  );
  const questions = [
    ...translated!.slice(0, sample * TRANSLATED_SHARE),
    ...others!.slice(0, sample * (1 - TRANSLATED_SHARE)),
    ...former
      .flatMap((one) => formerProbes(one, world, family, truth))
      .filter((probe) => probe.verdict.action === 'pass'),
  ];
  const outcomes = await askAll(world, questions);
  const verdicts: Record<string, number> = {};
  for (const { verdict } of questions) verdicts[verdict.action] = (verdicts[verdict.action] ?? 0) + 1;
  const wrong = questions.flatMap((question, at) => {
    const outcome = outcomes[at];
    return outcome === undefined ? ['a question was not asked'] : (judge(question, outcome, node) ?? []);
  });
  return { asked: questions.length, verdicts, wrong };
}

function isAnswered({ verdict }: Probe, world: World, family: IPFamily): boolean {
  if (verdict.action !== 'endpoints') return true;
  const there = new Set([...world.pods, ...world.remotePods].map(({ ip }) => ip[family]));
  return verdict.endpoints.every(
    ({ ip, port }) => there.has(ip) && (ENDPOINT_PORTS as readonly number[]).includes(port),
  );
}

/** What Services no longer have: nobody's, unless another has it by now. */
function formerProbes(
  { protocol, clusterIP, port, nodePort }: Retired,
  world: World,
  family: IPFamily,
  { node, ports }: FamilyTruth,
): readonly Probe[] {
  const destinations = [
    [clusterIP, port],
    ...(nodePort === 0 ? [] : [[world.nodeIPs[family][0]!, nodePort] as const]),
  ] as const;
  return destinations.map(([destinationIP, destinationPort]) => {
    const source = { origin: 'outside', sourceIP: world.clientIPs[family][0]!, inputInterface: 'eth0' } as const;
    const packet: Packet = { family, protocol, ...source, destinationIP, destinationPort };
    return { namespace: 'client', packet, verdict: route(packet, { node, ports: ports as readonly ServicePort[] }) };
  });
}

/** Each from where it is asked; outcomes in the order of the questions. */
async function askAll(world: World, questions: readonly Probe[]): Promise<readonly (Outcome | undefined)[]> {
  const outcomes: (Outcome | undefined)[] = new Array(questions.length).fill(undefined);
  const byNamespace = Map.groupBy(questions.keys(), (at) => questions[at]!.namespace);
  await Promise.all(
    [...byNamespace].map(async ([namespace, indexes]) => {
      const answers = await world.requests(
        namespace,
        indexes.map((at) => requestOf(questions[at]!)),
      );
      for (const [at, index] of indexes.entries()) outcomes[index] = answers[at];
    }),
  );
  return outcomes;
}

function requestOf({ packet, verdict }: Probe): Request {
  const { protocol, sourceIP, destinationIP, destinationPort } = packet;
  // Patient where an answer must come, so that a busy machine fails nothing; silence is known sooner.
  const timeoutMs = verdict.action === 'endpoints' ? 3000 : 400;
  return { protocol, sourceIP, destinationIP, destinationPort, timeoutMs };
}
