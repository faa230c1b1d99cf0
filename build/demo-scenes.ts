/**
 * The demo's story, scene by scene. Whatever is printed as a result was seen in the world just before; whatever is
 * expected comes from the model and the oracle, read from the very manifests that the program reads.
 *
 *   world ─▶ program ─▶ every kind of Service asked ─▶ counters ─▶ live edit ─▶ program stopped ─▶ cleanup
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { ServicePort } from '../core/backend.ts';
import { route } from '../core/model/oracle.ts';
import type { Request } from '../test/netns/agent-protocol.ts';
import { nodeAddresses } from '../test/netns/node-addresses.ts';
import { createWorld, type World } from '../test/netns/world.ts';
import { CLUSTER_CIDR, NODE_NAME } from '../test/netns/world-topology.ts';
import { copyExamples, expectedStates, MANIFESTS, replaceEndpoint } from './demo-manifests.ts';
import { type Program, program } from './demo-program.ts';
import { type Ask, type Question, type States, TOUR, type Topic, topics } from './demo-questions.ts';
import { BACKEND_VIEWS, footprint } from './demo-rules.ts';
import { CONNECTIONS, createStage, type Stage } from './demo-stage.ts';
import type { Paint } from './demo-table.ts';

export interface Scenes {
  readonly world: World;
  readonly stage: Stage;
  readonly program: Program;
}

export interface ScenesOptions {
  readonly backend: string;
  readonly print: (line: string) => void;
  readonly paint: Paint;
  /** Gets the rest of the program's log, line by line. */
  readonly onLog: (line: string) => void;
}

/** Services on TCP; the endpoints of dns are asked on its own port. */
const WEB_PORT = 8080;
const DNS_PORT = 5353;
const FOLLOW_LIMIT_MS = 5_000;
/** The default of --iptables-min-sync-period. */
const MIN_SYNC_PERIOD_MS = 1000;

/** Plays everything; the world is still there afterwards, for whoever wants to keep it. */
export async function playScenes(options: ScenesOptions): Promise<Scenes> {
  const { backend, print, paint } = options;
  const began = performance.now();
  copyExamples();
  const world = await createWorld({ podCount: 3, remotePodCount: 1, clientAddressCount: 2 });
  await world.servePods({ port: WEB_PORT, protocols: ['TCP'] });
  await world.servePods({ port: DNS_PORT, protocols: ['UDP'] });
  const stage = createStage(world, print, paint);
  stage.heading(`A node with three pods, a pod of another node, clients outside (${secondsSince(began)})`);
  stage.quote(drawing(world));

  const flags = ['--backend', backend, '--manifests', MANIFESTS, '--hostname-override', NODE_NAME];
  flags.push('--cluster-cidr', Object.values(CLUSTER_CIDR).join(','));
  const running = program(world, flags, (line) => {
    // Faults are for every reader; the rest of the log is for whoever keeps the world.
    if (/^[EF]\d{4} /.test(line)) stage.expect(false, `kube-proxy logged: ${line}`);
    else if (/^W\d{4} /.test(line)) stage.say(`  ${line}`);
    else options.onLog(line);
  });
  const before = await footprint(world);
  const states = await startScene(stage, running, flags, world);
  await askScene(stage, states, world);
  await countersScene(stage, states, world, backend);
  const edited = await editScene(stage, flags, states, world);
  await stopScene(stage, running, edited, world);
  await cleanupScene(stage, running, edited, world, before);
  return { world, stage, program: running };
}

async function startScene(stage: Stage, running: Program, flags: readonly string[], world: World): Promise<States> {
  const addresses = (await nodeAddresses(world)).map(({ ip }) => ip);
  const states = await expectedStates(flags, addresses);
  const began = performance.now();
  const ready = await running.start();
  stage.heading(`kube-proxy on the node, fed from a copy of release/examples (${secondsSince(began)})`);
  stage.command(`kube-proxy ${flags.join(' ')}`);
  stage.say(`    ${ready}`);
  return states;
}

async function askScene(stage: Stage, states: States, world: World): Promise<void> {
  const asked = topics(TOUR, states, world);
  const count = asked.reduce((sum, { questions }) => sum + questions.length, 0) * CONNECTIONS;
  stage.heading(`${count} connections to every kind of Service`);
  await stage.tour(asked, states);
  stage.say('  A pod that reaches itself is masqueraded: its reply would otherwise never leave it.');
}

async function countersScene(stage: Stage, states: States, world: World, backend: string): Promise<void> {
  const excerpt = BACKEND_VIEWS[backend]?.excerpt;
  if (excerpt === undefined) return;
  const web = servicePort(states, 'web');
  const asked = topics(TOUR, states, world)
    .filter(({ service, family }) => service === 'web' && family === 'IPv4')
    .reduce((sum, { questions }) => sum + questions.length * CONNECTIONS, 0);
  const { excerpts, translated } = await excerpt(world, web);
  const counted = translated === undefined ? '' : ': the first packet of each connection counted';
  stage.heading(`The same in the kernel${counted}`);
  for (const { command, lines } of excerpts) {
    stage.command(command);
    stage.quote(lines);
  }
  if (translated === undefined) return;
  stage.say(`  Translated for ${web.name}: ${translated}; connections to its cluster IP above: ${asked}.`);
  stage.expect(translated === asked, `the counters of ${web.name} say ${translated} connections, ${asked} were made`);
}

/** What to ask again, briefly. */
const WEB: readonly Ask[] = [{ service: 'web', target: 'clusterIP', from: ['pod', 'client'] }];

/** A pod gives way to another in the manifest; from the moment the file is there, the client asks and asks. */
async function editScene(stage: Stage, flags: readonly string[], states: States, world: World): Promise<States> {
  const [gone, , fresh] = world.pods;
  const edit = replaceEndpoint('web-ipv4', gone!.ip.IPv4, fresh!.ip.IPv4);
  stage.heading(`A live edit: ${gone!.name} leaves web, ${fresh!.name} joins`);
  stage.quote([edit.file, `- ${edit.removed}`, `+ ${edit.added}`]);
  // Nobody edits within a second of the start; the pause between two syncs would be all that was measured.
  await sleep(MIN_SYNC_PERIOD_MS);
  const request = webRequest(states);
  const began = performance.now();
  edit.save();
  let first: number | undefined;
  while (first === undefined && performance.now() - began < FOLLOW_LIMIT_MS) {
    const outcomes = await world.requests('client', Array(4).fill(request), 4);
    if (outcomes.some((outcome) => outcome.outcome === 'answered' && outcome.server === fresh!.name)) {
      first = performance.now() - began;
    }
  }
  stage.expect(first !== undefined, `${fresh!.name} got no connection within ${FOLLOW_LIMIT_MS / 1000} s of the edit`);
  if (first !== undefined) {
    stage.say(`  First connection to ${fresh!.name} ${Math.round(first)} ms after the file was written. From then on:`);
  }
  const edited = await expectedStates(flags, addressesOf(states));
  const again = topics(WEB, edited, world).filter(({ family }) => family === 'IPv4');
  await stage.tour(again, edited);
  return edited;
}

async function stopScene(stage: Stage, running: Program, states: States, world: World): Promise<void> {
  const held = await world.hold('client', webRequest(states));
  const status = await running.stop();
  stage.heading(`kube-proxy is stopped (SIGTERM, exit status ${status}); its rules stay and traffic flows`);
  stage.expect(status === 0, `kube-proxy ended with ${status} when it was told to stop; expected exit status 0`);
  const still = await held.ping();
  await held.close();
  stage.say(
    `  A connection that was open before: ${still.outcome}${'server' in still ? ` by ${still.server}` : ''}. New ones:`,
  );
  stage.expect(still.outcome === 'answered', `a connection from before kube-proxy stopped: ${still.outcome}`);
  const again: readonly Ask[] = [...WEB, { service: 'load-balancer', target: 'loadBalancerVIP', from: ['client'] }];
  await stage.tour(topics(again, states, world), states);
}

async function cleanupScene(
  stage: Stage,
  running: Program,
  states: States,
  world: World,
  before: readonly string[],
): Promise<void> {
  const standing = (await footprint(world)).filter((line) => !before.includes(line));
  const { status, stdout, stderr } = await running.cleanup();
  const left = (await footprint(world)).filter((line) => !before.includes(line));
  // kubelet keeps the very same chain; cleanup would take it from under a kubelet that runs.
  const own = left.filter((line) => !line.includes('KUBE-FIREWALL'));
  stage.heading('Nothing is left');
  stage.command('kube-proxy cleanup');
  stage.quote(stdout.trimEnd().split('\n'));
  stage.expect(status === 0, `kube-proxy cleanup ended with status ${status}: ${stderr.trim()}`);
  const shared = left.length - own.length;
  const exception = shared === 0 ? '' : ` (and ${shared} of KUBE-FIREWALL, which kubelet has too)`;
  stage.say(`  Rules, chains and IP sets: ${standing.length} before, ${own.length} now${exception}.`);
  stage.expect(own.length === 0, `cleanup left ${own.join(' | ')}`);
  stage.expect(standing.length > 0, 'no rule was there before the cleanup, so that it proves nothing');

  const nothing: States = { IPv4: { ...states.IPv4, ports: [] }, IPv6: { ...states.IPv6, ports: [] } };
  const asked = topics(WEB, states, world).map((topic) => unserved(topic, nothing));
  const seen = (await stage.ask(asked, nothing)).flat().map(({ reached }) => reached);
  const destinations = asked.map(({ destination }) => destination).join(' and ');
  stage.say(`  Asking ${destinations} again: ${[...new Set(seen)].join('; ')}.`);
}

/** The same questions where nothing is served. */
function unserved(topic: Topic, states: States): Topic {
  const state = states[topic.family];
  const questions = topic.questions.map((question): Question => {
    return { ...question, probe: { ...question.probe, verdict: route(question.probe.packet, state) } };
  });
  return { ...topic, questions };
}

function addressesOf({ IPv4, IPv6 }: States): readonly string[] {
  return [...IPv4.node.addresses, ...IPv6.node.addresses];
}

function webRequest(states: States): Request {
  const { protocol, clusterIP, port } = servicePort(states, 'web');
  return { protocol, destinationIP: clusterIP, destinationPort: port };
}

function servicePort(states: States, name: string): ServicePort {
  const port = states.IPv4.ports.find((candidate) => candidate.name === name);
  if (port === undefined) throw new Error(`release/examples: no Service ${name}, which the demo asks for; restore it`);
  return port;
}

/** From the world's own addresses. */
function drawing({ pods, remotePods, clientIPs, nodeIPs }: World): readonly string[] {
  const outside = [
    `client    ${clientIPs.IPv4[0]}`,
    `stranger  ${clientIPs.IPv4[1]}`,
    ...remotePods.map(({ name, ip }) => `${name}  ${ip.IPv4}`),
  ];
  const inside = pods.map(({ name, ip }) => `${name}  ${ip.IPv4}`);
  const width = Math.max(...outside.map((line) => line.length));
  const node = `node  ${nodeIPs.IPv4[0]}`;
  const beside = `The same in IPv6: client ${clientIPs.IPv6[0]}, node ${nodeIPs.IPv6[0]}, ${pods[0]!.name} ${pods[0]!.ip.IPv6}`;
  const lines = outside.map((line, index) => {
    const middle = index === 1 ? ` --+-- ${node} --+-- ` : ` --+${' '.repeat(node.length + 6)}+-- `;
    return (line.padEnd(width) + middle + (inside[index] ?? '')).trimEnd();
  });
  return [...lines, beside];
}

function secondsSince(began: number): string {
  return `${((performance.now() - began) / 1000).toFixed(1)} s`;
}
