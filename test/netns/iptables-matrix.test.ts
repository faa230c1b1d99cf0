/**
 * The oracle and the kernel agree: a seeded draw from all combinations of Service kinds, policies, endpoint situations
 * and affinity, asked for by a pod, the node and clients outside, under each way of telling local traffic, in both
 * variants of iptables and both families.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, Protocol } from '../../core/backend.ts';
import type { NodeSettings } from '../../core/model/node-settings.ts';
import { judge } from '../conformance/judge.ts';
import { ENDPOINT_PORT, matrixObjects, type Probe, probes, roundTrips } from '../conformance/matrix.ts';
import { DEFAULT_SETTINGS, modelState, settingsFlags } from '../conformance/model-state.ts';
import { startProxy } from '../conformance/proxy.ts';
import type { Outcome } from './agent-protocol.ts';
import { sctpProblem } from './agent-sctp.ts';
import { isolateTests } from './isolated.ts';
import { nodeAddresses } from './node-addresses.ts';
import { createWorld, type World } from './world.ts';
import { CLUSTER_CIDR } from './world-topology.ts';

interface Configuration {
  readonly title: string;
  readonly pods: 'routed' | 'bridge';
  readonly settings: Partial<NodeSettings>;
  readonly options?: readonly string[];
}

const CONFIGURATIONS: readonly Configuration[] = [
  {
    title: 'local by cluster CIDR, node ports on every address',
    pods: 'routed',
    settings: { clusterCIDRs: [CLUSTER_CIDR.IPv4, CLUSTER_CIDR.IPv6] },
  },
  {
    title: 'local by interface prefix, node ports on the primary network only, not on localhost',
    pods: 'routed',
    settings: {
      detectLocalMode: 'InterfaceNamePrefix',
      podInterfaceNamePrefix: 'veth',
      nodePortAddresses: ['192.168.50.0/24', 'fd00:50::/64'],
      localhostNodePorts: false,
    },
    options: ['affinity=recent', 'hairpin=rules'],
  },
  { title: 'local not told, everything to clusterIPs masqueraded', pods: 'routed', settings: { masqueradeAll: true } },
  {
    title: 'local by bridge interface',
    pods: 'bridge',
    settings: { detectLocalMode: 'BridgeInterface', podBridgeInterface: 'br0' },
  },
];
const SERVICES = 90;
/** SCTP by raw sockets: a kernel without SCTP still translates it. */
const PROTOCOLS: readonly Protocol[] = sctpProblem() === '' ? ['TCP', 'UDP', 'SCTP'] : ['TCP', 'UDP'];

await isolateTests();

/** Each question from where it is asked, in parallel; outcomes in the order of the questions. */
async function ask(world: World, questions: readonly Probe[]): Promise<(Outcome | undefined)[]> {
  const outcomes: (Outcome | undefined)[] = new Array(questions.length).fill(undefined);
  const byNamespace = Map.groupBy(questions.keys(), (index) => questions[index]!.namespace);
  await Promise.all(
    [...byNamespace].map(async ([namespace, indexes]) => {
      const requests = indexes.map((index) => {
        const { packet, verdict } = questions[index]!;
        const { protocol, sourceIP, destinationIP, destinationPort } = packet;
        // Patient where an answer must come, so that a busy machine fails no test; silence is known sooner.
        const timeoutMs = verdict.action === 'endpoints' ? 3000 : 400;
        return { protocol, sourceIP, destinationIP, destinationPort, timeoutMs };
      });
      const answers = await world.requests(namespace, requests);
      for (const [at, index] of indexes.entries()) outcomes[index] = answers[at];
    }),
  );
  return outcomes;
}

const test = suite('iptables matrix');
let seed = 20261;
for (const variant of ['nft', 'legacy'] as const) {
  for (const { title, pods, settings: special, options = [] } of CONFIGURATIONS) {
    const settings = { ...DEFAULT_SETTINGS, ...special };
    seed++;
    const caseSeed = seed;
    test(`iptables-${variant}: packets do as the oracle says: ${title}`, async () => {
      const world = await createWorld({ pods });
      try {
        await world.servePods({ port: ENDPOINT_PORT, protocols: PROTOCOLS });
        const addresses = await nodeAddresses(world);
        const states = (['IPv4', 'IPv6'] as const).map((family: IPFamily) => {
          const objects = matrixObjects({
            family,
            addresses: world,
            protocols: PROTOCOLS,
            seed: caseSeed,
            services: SERVICES,
          });
          // Both families use the same names: they are two draws, not one dual-stack cluster.
          const own = objects.map((object) => renamed(object, family.toLowerCase()));
          return { family, objects: own, state: modelState(family, own, settings, addresses) };
        });
        const proxy = await startProxy({
          world,
          flags: [
            ...settingsFlags(settings),
            ...[`variant=${variant}`, ...options].flatMap((option) => ['--backend-option', option]),
          ],
          objects: states.flatMap(({ objects }) => objects),
        });
        try {
          for (const { family, state } of states) {
            const questions = probes(state.ports, state.node, family, world, pods === 'bridge' ? 'br0' : '').filter(
              roundTrips,
            );
            const outcomes = await ask(world, questions);
            const faults = questions.flatMap((question, index) => {
              const outcome = outcomes[index];
              return outcome === undefined
                ? ['a question was not asked']
                : (judge(question, outcome, state.node) ?? []);
            });
            const kinds = new Set(questions.map(({ verdict }) => verdict.action));
            console.log(
              `# ${family}: ${questions.length} requests, ${faults.length} wrong; verdicts: ${[...kinds].join(', ')}`,
            );
            assert.is(faults.length, 0, `seed ${caseSeed}, ${family}:\n${faults.slice(0, 12).join('\n')}`);
            assert.ok(questions.length > 300 && kinds.size >= 3);
          }
        } finally {
          await proxy.close();
        }
      } finally {
        await world.close();
      }
    });
  }
}
test.run();

function renamed<T extends Readonly<Record<string, unknown>>>(object: T, namespace: string): T {
  const metadata = { ...(object.metadata as Record<string, unknown>), namespace };
  return { ...object, metadata };
}
