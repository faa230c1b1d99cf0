/** The questions of the matrix, asked as packets in a world. */
import type { IPFamily, Protocol } from '../../core/backend.ts';
import type { Outcome } from '../netns/agent-protocol.ts';
import type { World } from '../netns/world.ts';
import type { Addresses } from '../netns/world-topology.ts';
import { matrixObjects, type Probe } from './matrix.ts';
import type { KubernetesObject } from './objects.ts';

/** Both families use the same names: they are two draws, not one dual-stack cluster. */
export function drawObjects(
  addresses: Addresses,
  family: IPFamily,
  seed: number,
  of: { readonly services: number; readonly protocols: readonly Protocol[] },
): KubernetesObject[] {
  return matrixObjects({ family, addresses, seed, ...of }).map((object) => {
    const metadata = { ...(object.metadata as Record<string, unknown>), namespace: family.toLowerCase() };
    return { ...object, metadata };
  });
}

/** At a time, from one place: what comes back costs work, silence costs none. */
const [EXPECTING, SILENT] = [32, 256];

/** Must anything come back? SCTP is asked by raw sockets, which are not told of ICMP errors. */
function expectsSomething({ packet, verdict }: Probe): boolean {
  return verdict.action === 'endpoints' || (verdict.action === 'reject' && packet.protocol !== 'SCTP');
}

/** Patient where something must come, so that a busy machine fails no test; silence is known sooner. */
export function patience(question: Probe): number {
  return expectsSomething(question) ? 3000 : 400;
}

/** Each question from where it is asked, in parallel; outcomes in the order of the questions. */
export async function askAll(
  world: World,
  questions: readonly Probe[],
  timeout: (question: Probe, index: number) => number = patience,
): Promise<(Outcome | undefined)[]> {
  const outcomes: (Outcome | undefined)[] = new Array(questions.length).fill(undefined);
  const batches = Map.groupBy(questions.keys(), (index) => {
    const question = questions[index]!;
    return `${question.namespace} ${expectsSomething(question)}`;
  });
  await Promise.all(
    [...batches.values()].map(async (indexes) => {
      const requests = indexes.map((index) => {
        const { packet } = questions[index]!;
        const { protocol, sourceIP, destinationIP, destinationPort } = packet;
        return { protocol, sourceIP, destinationIP, destinationPort, timeoutMs: timeout(questions[index]!, index) };
      });
      const first = questions[indexes[0]!]!;
      const concurrency = expectsSomething(first) ? EXPECTING : SILENT;
      const answers = await world.requests(first.namespace, requests, concurrency);
      for (const [at, index] of indexes.entries()) outcomes[index] = answers[at];
    }),
  );
  return outcomes;
}

/** Who answered, or how the request ended. */
export function answerer(outcome: Outcome): string {
  return outcome.outcome === 'answered' ? outcome.server : outcome.outcome;
}
