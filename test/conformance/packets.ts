/**
 * Whether connections meet what the oracle says: this very program, run with the backend in a world of namespaces, and
 * packets sent from pods, the node and clients.
 *
 *   world ──▶ program --backend=FILE, Services by partial changes ──▶ the matrix, asked ──▶ packet-groups.ts
 *                                                                 └─▶ packet-scenes.ts, one after the other
 */
import { spawnSync } from 'node:child_process';
import type { IPFamily, Protocol } from '../../core/backend.ts';
import type { NodeSettings } from '../../core/model/node-settings.ts';
import type { Outcome } from '../netns/agent-protocol.ts';
import { sctpProblem } from '../netns/agent-sctp.ts';
import { nodeAddresses } from '../netns/node-addresses.ts';
import { createWorld, type World } from '../netns/world.ts';
import { CLUSTER_CIDR } from '../netns/world-topology.ts';
import { askAll, drawObjects, patience } from './ask.ts';
import { type Result, type Sentence, sayThrown, type Verdict, verdictOf } from './behaviour.ts';
import { judgeParts } from './judge.ts';
import { probes, roundTrips } from './matrix.ts';
import { DEFAULT_SETTINGS, modelState, settingsFlags } from './model-state.ts';
import { ENDPOINT_PORT, type KubernetesObject } from './objects.ts';
import { type Asked, GROUPS, type Question, questionsOf, servedDestinations, verdictOn } from './packet-groups.ts';
import { SCENE_IP, SCENE_NODE_PORT, SCENE_PORT, SCENES, type Scene, type Stage } from './packet-scenes.ts';
import { type Proxy, startProxy } from './proxy.ts';

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
/** With ipvs the daemon has no node ports on localhost, whatever is configured. */
const LOCALHOST_OFF = '--backend=ipvs';
const ON_LOCALHOST = 'node-port-on-localhost';
const RESTART = 'restart';
/** A sample of the matrix, the same each time; enough for every group. */
const [SERVICES, SEED] = [60, 20250];
const CLIENTS = 12;
/** So many questions of each place are asked with patience; where none is answered, the others are not. */
const [SAMPLE, HASTE_MS] = [4, 400];

export const PACKET_BEHAVIOURS: readonly Sentence[] = [...GROUPS, ...SCENES].map(
  ({ id, sentence, contract, remedy }) => ({ id, sentence, contract, remedy }),
);

export interface PacketOptions {
  /** The command that this program is. */
  readonly program: readonly string[];
  /** The command by which it becomes an agent. */
  readonly agent: readonly string[];
  /** Those that choose the backend. */
  readonly flags: readonly string[];
  /** As the plugin says of itself. */
  readonly hidesSources: boolean;
  readonly endsWithProcess: boolean;
  readonly protocols: readonly Protocol[];
  readonly trying: (id: string) => void;
  readonly tried: (result: Result) => void;
}

/** Never rejects: what cannot be tried is told. */
export async function tryPackets(options: PacketOptions): Promise<void> {
  const left = new Map(PACKET_BEHAVIOURS.map((sentence) => [sentence.id, sentence]));
  const told = (id: string, verdict: Verdict): void => {
    const sentence = left.get(id);
    if (!sentence) return;
    left.delete(id);
    options.tried({ ...sentence, part: 'packets', verdict });
  };
  const giveUp = (why: string): void => {
    for (const id of [...left.keys()]) told(id, { kind: 'not tried', why });
  };
  const missing = missingProgram();
  if (missing !== undefined) return giveUp(missing);

  options.trying('packets');
  let world: World | undefined;
  let proxy: Proxy | undefined;
  try {
    world = await createWorld({ clientAddressCount: CLIENTS }, options.agent);
    const protocols = options.protocols.filter((protocol) => protocol !== 'SCTP' || sctpProblem() === '');
    await world.servePods({ port: ENDPOINT_PORT, protocols });
    const settings = settingsFor(options.flags);
    const flags = [...settingsFlags(settings), ...options.flags];
    const draw = (seed: number) =>
      FAMILIES.map((family) => drawObjects(world!, family, seed, { services: SERVICES, protocols }));
    // What is asked for comes by partial changes.
    try {
      proxy = await startProxy({ world, flags, objects: draw(SEED + 1).flat(), program: options.program });
    } catch (error) {
      return failAll(told, left, 'the program to become ready with it', tailOf(error));
    }
    const final = draw(SEED);
    await proxy.apply(final.flat());
    const asked = await askMatrix(world, proxy, { settings, objects: final, hidesSources: options.hidesSources });
    for (const group of GROUPS) told(group.id, verdictOn(group, asked, whyNone(group.id, proxy, settings, options)));
    const target = targetOf(asked, world);
    for (const scene of SCENES) {
      options.trying(scene.id);
      const why = whyNotPlayed(scene, options);
      told(scene.id, why ? { kind: 'not tried', why } : await play(scene, target && { world, proxy, target }));
    }
  } catch (error) {
    giveUp(`the world could not be used any further: ${sayThrown(error)}`);
  } finally {
    await proxy?.close().catch(() => {});
    await world?.close().catch(() => {});
  }
}

function whyNotPlayed({ id, protocol = 'TCP' }: Scene, options: PacketOptions): string | undefined {
  if (id === RESTART && options.endsWithProcess) return 'connections pass through its process';
  return options.protocols.includes(protocol) ? undefined : `it does not serve ${protocol}`;
}

async function askMatrix(
  world: World,
  proxy: Proxy,
  {
    settings,
    objects,
    hidesSources,
  }: {
    readonly settings: NodeSettings;
    readonly objects: readonly (readonly KubernetesObject[])[];
    readonly hidesSources: boolean;
  },
): Promise<readonly Asked[]> {
  const addresses = await nodeAddresses(world);
  const all: Asked[] = [];
  for (const [index, family] of FAMILIES.entries()) {
    if (!proxy.families.includes(family)) continue;
    const { node, ports } = modelState(family, objects[index]!, settings, addresses);
    const questions = questionsOf(probes({ ports, node, hidesSources }, family, world).filter(roundTrips), ports);
    const outcomes = await askPatiently(world, questions);
    for (const [at, question] of questions.entries()) {
      all.push({ ...question, judgement: judgeParts(question.probe, outcomes[at] ?? { outcome: 'timeout' }, node) });
    }
  }
  return all;
}

function settingsFor(flags: readonly string[]): NodeSettings {
  const clusterCIDRs = [CLUSTER_CIDR.IPv4, CLUSTER_CIDR.IPv6];
  return { ...DEFAULT_SETTINGS, clusterCIDRs, localhostNodePorts: !flags.includes(LOCALHOST_OFF) };
}

function whyNone(
  id: string,
  { families }: Proxy,
  { localhostNodePorts }: NodeSettings,
  { hidesSources, protocols }: PacketOptions,
): string {
  if (id === 'source-kept' && hidesSources) return 'this backend hides sources';
  if (id === 'sctp' && !protocols.includes('SCTP')) return 'this backend does not serve it';
  if (id === ON_LOCALHOST && !localhostNodePorts) return 'this backend cannot have them, and is not asked for them';
  if (id === 'sctp' && sctpProblem() !== '') return sctpProblem();
  if (id === 'ipv6' && !families.includes('IPv6')) return 'it serves IPv4 only';
  return 'what it is about does not answer at all';
}

/** Waits long for answers, but not for each of the many that a backend never gives. */
async function askPatiently(world: World, questions: readonly Question[]): Promise<readonly (Outcome | undefined)[]> {
  const place = ({ destination, port, probe: { packet } }: Question): string =>
    `${destination} ${packet.origin} ${packet.destinationIP === '127.0.0.1'} ${port.protocol}`;
  const expecting = questions.filter(({ probe }) => probe.verdict.action === 'endpoints');
  const samples = [...Map.groupBy(expecting, place).values()].flatMap((list) => list.slice(0, SAMPLE));
  const outcomes = await askAll(
    world,
    samples.map(({ probe }) => probe),
  );
  const alive = new Set(samples.filter((_, at) => outcomes[at]?.outcome === 'answered').map(place));
  return askAll(
    world,
    questions.map(({ probe }) => probe),
    (probe, at) => (alive.has(place(questions[at]!)) ? patience(probe) : HASTE_MS),
  );
}

/** Where scenes ask: a clusterIP if the backend serves any, else a node port. */
function targetOf(asked: readonly Asked[], { nodeIPs }: World): Stage['target'] | undefined {
  const served = servedDestinations(asked);
  if (served.has('clusterIP')) return (family) => ({ destinationIP: SCENE_IP[family], destinationPort: SCENE_PORT });
  if (!served.has('node port')) return undefined;
  return (family) => ({ destinationIP: nodeIPs[family][0]!, destinationPort: SCENE_NODE_PORT });
}

async function play(scene: (typeof SCENES)[number], stage: Stage | undefined): Promise<Verdict> {
  if (!stage) return { kind: 'not tried', why: 'neither clusterIPs nor node ports answer' };
  try {
    // Another scene may have broken off with it stopped.
    if (!stage.proxy.running) await stage.proxy.start();
    return { kind: 'holds', ...(await scene.play(stage)) };
  } catch (error) {
    const verdict = verdictOf(error);
    return verdict.kind === 'fails' && !stage.proxy.running ? { ...verdict, seen: tailOf(error) } : verdict;
  }
}

function failAll(
  told: (id: string, verdict: Verdict) => void,
  left: ReadonlyMap<string, Sentence>,
  expected: string,
  seen: string,
): void {
  const [first, ...rest] = [...left.keys()];
  if (first !== undefined) told(first, { kind: 'fails', expected, seen });
  for (const id of rest) told(id, { kind: 'not tried', why: 'the program did not become ready' });
}

/** The last thing that the program said. */
function tailOf(error: unknown): string {
  const lines = (error instanceof Error ? error.message : String(error)).split('\n').filter((line) => line !== '');
  return lines.slice(0, 1).concat(lines.slice(-2)).join(' | ').slice(0, 600);
}

function missingProgram(): string | undefined {
  for (const [program, ...args] of [
    ['ip', '-V'],
    ['nsenter', '--version'],
  ] as const) {
    if (spawnSync(program, args).status !== 0) return `${program} is not installed (iproute2, util-linux)`;
  }
  const probe = spawnSync('sh', ['-c', 'ip netns add plugin-test-probe && ip netns del plugin-test-probe'], {
    encoding: 'utf8',
  });
  if (probe.status === 0) return undefined;
  return `no network namespaces can be made inside of this one: ${(probe.stderr || String(probe.error)).trim().split('\n')[0]}`;
}
