/**
 * The oracle and the kernel agree: a seeded draw from all combinations of Service kinds, policies, endpoint situations
 * and affinity, asked for by a pod, the node and clients outside, under each way of telling local traffic and of
 * choosing node port addresses, in both families.
 */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, NodeView, Protocol } from '../../core/backend.ts';
import type { NodeSettings } from '../../core/model/node-settings.ts';
import { askAll, drawObjects } from '../conformance/ask.ts';
import { judge } from '../conformance/judge.ts';
import { ENDPOINT_PORT, type Probe, probes, roundTrips } from '../conformance/matrix.ts';
import { DEFAULT_SETTINGS, modelState, settingsFlags } from '../conformance/model-state.ts';
import { nodeObject } from '../conformance/objects.ts';
import { startProxy } from '../conformance/proxy.ts';
import { sctpProblem } from './agent-sctp.ts';
import type { DataPlane } from './backend-scene.ts';
import { nodeAddresses } from './node-addresses.ts';
import { createWorld, type World } from './world.ts';
import { CLUSTER_CIDR } from './world-topology.ts';

interface Configuration {
  readonly title: string;
  readonly pods: 'routed' | 'bridge';
  readonly settings: Partial<NodeSettings>;
  /** The Node object has these addresses; without them there is no Node object. */
  readonly nodeIPs?: readonly string[];
}

export const CONFIGURATIONS = {
  'cluster CIDR': {
    title: 'local by cluster CIDR, node ports on every address',
    pods: 'routed',
    settings: { clusterCIDRs: [CLUSTER_CIDR.IPv4, CLUSTER_CIDR.IPv6] },
  },
  'interface prefix': {
    title: 'local by interface prefix, node ports on the primary network only, not on localhost',
    pods: 'routed',
    settings: {
      detectLocalMode: 'InterfaceNamePrefix',
      podInterfaceNamePrefix: 'veth',
      nodePortAddresses: ['192.168.50.0/24', 'fd00:50::/64'],
      localhostNodePorts: false,
    },
  },
  'not told': {
    title: 'local not told, everything to clusterIPs masqueraded',
    pods: 'routed',
    settings: { masqueradeAll: true },
  },
  bridge: {
    title: 'local by bridge interface',
    pods: 'bridge',
    settings: { detectLocalMode: 'BridgeInterface', podBridgeInterface: 'br0' },
  },
  'primary address': {
    title: 'local by cluster CIDR, node ports on the primary address of the Node object, not on localhost',
    pods: 'routed',
    settings: {
      clusterCIDRs: [CLUSTER_CIDR.IPv4, CLUSTER_CIDR.IPv6],
      nodePortAddresses: ['primary'],
      localhostNodePorts: false,
    },
    nodeIPs: ['192.168.60.10', 'fd00:60::10'],
  },
} as const satisfies Record<string, Configuration>;
export type ConfigurationName = keyof typeof CONFIGURATIONS;

const SERVICES = 90;
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
/** SCTP by raw sockets: a kernel without SCTP still translates it. */
const PROTOCOLS: readonly Protocol[] = sctpProblem() === '' ? ['TCP', 'UDP', 'SCTP'] : ['TCP', 'UDP'];

export interface MatrixCase {
  readonly plane: DataPlane;
  readonly configuration: ConfigurationName;
  readonly seed: number;
  /** Services of other draws stand there first, so that what is asked for came by partial changes. Default: not. */
  readonly changed?: boolean;
  /** How many are drawn in each family. Default: 90. */
  readonly services?: number;
  /** What this data plane cannot do, whatever the configuration says. */
  readonly settings?: Partial<NodeSettings>;
}

export function matrixTest(test: Test, matrixCase: MatrixCase): void {
  const { plane, configuration, seed, changed = false, services = SERVICES } = matrixCase;
  const { title, pods, settings: special, nodeIPs = [] }: Configuration = CONFIGURATIONS[configuration];
  const settings = { ...DEFAULT_SETTINGS, ...special, ...matrixCase.settings };
  test(`${plane.title}: packets do as the oracle says: ${title}${changed ? ', after changes' : ''}`, async () => {
    const world = await createWorld({ pods });
    try {
      const protocols = PROTOCOLS.filter((protocol) => !plane.lacks?.includes(protocol));
      await world.servePods({ port: ENDPOINT_PORT, protocols });
      const addresses = await nodeAddresses(world);
      const node = nodeIPs.length === 0 ? [] : [nodeObject(nodeIPs)];
      const draw = (family: IPFamily, from: number) => drawObjects(world, family, from, { services, protocols });
      const states = FAMILIES.map((family) => {
        const objects = draw(family, seed);
        return { family, objects, state: modelState(family, [...node, ...objects], settings, addresses) };
      });
      const final = [...node, ...states.flatMap(({ objects }) => objects)];
      const before = (step: number) => [...node, ...FAMILIES.flatMap((family) => draw(family, seed + 1000 * step))];
      const proxy = await startProxy({
        world,
        flags: [...settingsFlags(settings), ...plane.flags],
        objects: changed ? before(1) : final,
      });
      try {
        for (const objects of changed ? [before(2), final] : []) await proxy.apply(objects);
        for (const { family, state } of states) {
          const asked = probes(
            { ...state, hidesSources: plane.hidesSources === true },
            family,
            world,
            pods === 'bridge' ? 'br0' : '',
          );
          const questions = asked.filter(roundTrips);
          const wrong = await faultsOf(world, questions, state.node);
          // Raw sockets cannot tell whose ICMP error they got, and a slow machine is late with answers: once more, alone.
          const doubtful = wrong.filter(({ question }) => question.packet.protocol === 'SCTP');
          const alone: Fault[] = [];
          for (const { question } of doubtful) alone.push(...(await faultsOf(world, [question], state.node)));
          const faults = [...wrong.filter((fault) => !doubtful.includes(fault)), ...alone].map(({ text }) => text);
          const kinds = new Set(questions.map(({ verdict }) => verdict.action));
          console.log(
            `# ${family}: ${questions.length} requests, ${faults.length} wrong; verdicts: ${[...kinds].join(', ')}`,
          );
          assert.is(faults.length, 0, `seed ${seed}, ${family}:\n${faults.slice(0, 12).join('\n')}`);
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

interface Fault {
  readonly question: Probe;
  readonly text: string;
}

async function faultsOf(world: World, questions: readonly Probe[], node: NodeView): Promise<readonly Fault[]> {
  const outcomes = await askAll(world, questions);
  return questions.flatMap((question, index) => {
    const outcome = outcomes[index];
    const text = outcome === undefined ? 'a question was not asked' : judge(question, outcome, node);
    return text === undefined ? [] : [{ question, text }];
  });
}
