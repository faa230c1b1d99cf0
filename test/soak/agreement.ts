/**
 * The end of a soak, when nothing changes any more: do the server, the proxy and the kernel agree?
 *
 *   server objects ──model──▶ service ports ═══ what a fresh proxy reads and would serve (dry-run, all of it)
 *         │                       │
 *         │                    oracle ═══ packets through the kernel (a sample)
 *         │
 *         └─ numbers ═══ metrics of the proxy that lived through it all
 *
 *   the kernel's rules ═══ the same after a restart of the proxy, whose first, full sync writes nothing
 */
import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import type { ServicePort } from '../../core/backend.ts';
import { createServed } from '../cluster/served.ts';
import { nodeAddresses } from '../netns/node-addresses.ts';
import { NODE_NAME } from '../netns/world-topology.ts';
import type { Random } from '../unit/model/random.ts';
import type { Retired } from './churn.ts';
import { MAIN } from './daemon.ts';
import { askPackets } from './packets.ts';
import { FAMILIES, NAMESPACES, namespaceOf } from './places.ts';
import { BEACON_NAMESPACE, differencesOf } from './settle.ts';
import type { Stage } from './stage.ts';
import { type Truth, truthOf } from './truth.ts';

export interface Agreement {
  /** What was compared, one line each. */
  readonly compared: readonly string[];
  /** What differs; empty when all agree. */
  readonly differences: readonly string[];
}

export interface AgreementOptions {
  readonly stage: Stage;
  readonly truth: Truth;
  readonly retired: readonly Retired[];
  readonly random: Random;
  /** Packets of each family. */
  readonly sample: number;
  readonly signal: AbortSignal;
}

const SOAK_NAMESPACES = [...Array.from({ length: NAMESPACES }, (_, index) => namespaceOf(index)), BEACON_NAMESPACE];
const READY_MS = 30_000;
/** What differs is shown up to this. */
const SHOWN = 10;

export const currentTruth = async ({ server, world }: Stage): Promise<Truth> =>
  truthOf(server.objects, await nodeAddresses(world));

export async function compareAll(options: AgreementOptions): Promise<Agreement> {
  const compared: string[] = [];
  const differences: string[] = [];
  for (const compare of [compareNumbers, compareFreshProxy, comparePackets, compareRestart]) {
    options.signal.throwIfAborted();
    const part = await compare(options);
    compared.push(...part.compared);
    differences.push(...part.differences.slice(0, SHOWN));
    if (part.differences.length > SHOWN) differences.push(`… and ${part.differences.length - SHOWN} more of this kind`);
  }
  return { compared, differences };
}

async function compareNumbers({ stage, truth }: AgreementOptions): Promise<Agreement> {
  const metrics = await stage.daemon.metrics();
  if (metrics === undefined) return { compared: [], differences: ['numbers: the metrics of the proxy cannot be read'] };
  const { services, endpointslices } = truth.counts;
  return {
    compared: [
      `numbers: ${services} Services, ${endpointslices} EndpointSlices, as the proxy that went through it counts`,
    ],
    differences: differencesOf(metrics, truth).map((line) => `numbers: ${line}`),
  };
}

async function compareFreshProxy({ stage, truth }: AgreementOptions): Promise<Agreement> {
  const served = createServed();
  const flags = [
    '--backend=dry-run',
    '--backend-option=format=json',
    '--healthz-bind-address=0',
    '--metrics-bind-address=0',
  ];
  const { kubeconfig } = stage.access;
  const child = stage.world.spawn(
    NODE_NAME,
    process.execPath,
    [MAIN, `--kubeconfig=${kubeconfig}`, `--hostname-override=${NODE_NAME}`, ...flags],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => served.feed(chunk));
  const ended = once(child, 'exit');
  for (const deadline = performance.now() + READY_MS; served.commits() < FAMILIES.length; ) {
    if (child.exitCode !== null || performance.now() > deadline) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.kill('SIGTERM');
  await ended;
  if (served.commits() < FAMILIES.length)
    return { compared: [], differences: ['store: a fresh proxy did not get ready'] };

  const differences = FAMILIES.flatMap((family) => {
    const wanted = new Map(truth.families[family].ports.map((port) => [port.key, plain(port)]));
    const found = new Map(SOAK_NAMESPACES.flatMap((namespace) => [...served.ports(family, namespace)]));
    const keys = new Set([...wanted.keys(), ...found.keys()]);
    return [...keys]
      .filter((key) => !isDeepStrictEqual(wanted.get(key), found.get(key)))
      .map(
        (key) =>
          `store: ${family} ${key}: ${JSON.stringify(found.get(key))}, but the model says ${JSON.stringify(wanted.get(key))}`,
      );
  });
  const numbers = FAMILIES.map((family) => `${truth.families[family].ports.length} of ${family}`).join(', ');
  return {
    compared: [`store: ${numbers}: service ports as a fresh proxy reads them and as the model has them`],
    differences,
  };
}

/** As it looks after it was printed and read. */
function plain(port: ServicePort): ServicePort {
  return JSON.parse(JSON.stringify(port)) as ServicePort;
}

async function comparePackets({ stage, truth, retired, random, sample }: AgreementOptions): Promise<Agreement> {
  const { world } = stage;
  const reports = await Promise.all(
    FAMILIES.map(async (family) => {
      const report = await askPackets({ world, family, truth: truth.families[family], retired, random, sample });
      return { family, ...report };
    }),
  );
  const compared = reports.map(({ family, asked, verdicts, wrong }) => {
    const each = Object.entries(verdicts).map(([verdict, count]) => `${verdict} ${count}`);
    return `packets: ${asked} of ${family} asked (${each.sort().join(', ')}), ${wrong.length} wrong`;
  });
  const differences = reports.flatMap(({ family, asked, wrong }) => [
    ...wrong.map((line) => `packets: ${line}`),
    ...(asked < sample / 4 ? [`packets: only ${asked} questions of ${family} could be asked`] : []),
  ]);
  return { compared, differences };
}

/** Services by name, wherever a rule or an element names one. */
const NAMED = /\bsoak-[a-z0-9]+\/[a-z0-9-]+/g;

async function compareRestart({ stage, truth }: AgreementOptions): Promise<Agreement> {
  const { daemon, kernel } = stage;
  const differences: string[] = [];
  const before = await kernel.list();
  const named = new Set(before.flatMap((line) => line.match(NAMED) ?? []));
  for (const name of named)
    if (!truth.served.has(name)) differences.push(`kernel: rules of ${name}, which is not served`);
  for (const name of truth.served) if (!named.has(name)) differences.push(`kernel: no rule of ${name}`);
  const others = await kernel.leftovers();
  if (others !== '') differences.push(`kernel: ${others} are left`);

  const first = await restart(stage);
  const after = await kernel.list();
  const [gone, come] = [without(before, after), without(after, before)];
  const spare = kernel.spare(gone);
  for (const line of without(gone, spare)) differences.push(`kernel: a restart took away: ${line}`);
  for (const line of come) differences.push(`kernel: a restart added: ${line}`);
  // Where spare lines went, the next restart has nothing to do.
  const operations = spare.length === 0 ? first : await restart(stage);
  if (operations !== 0) differences.push(`kernel: the full sync of a restart made ${operations} changes`);
  for (const fault of daemon.faults()) differences.push(fault);
  return {
    compared: [
      `kernel: ${before.length} lines of ${named.size} Services, the same after a restart` +
        `${spare.length === 0 ? '' : ` but for ${spare.length} spare ones`}; its full sync made ${operations} changes`,
    ],
    differences,
  };
}

/** Returns how many operations the first sync of each family took. */
async function restart({ daemon }: Stage): Promise<number> {
  await daemon.stop('SIGTERM');
  const from = daemon.logged();
  daemon.start();
  await daemon.says('the proxy is ready after its restart', ({ msg }) => msg === 'Ready', from, READY_MS);
  const synced = FAMILIES.map((family) => {
    const line = daemon.linesSince(from).find((one) => one.msg.startsWith('Synced') && one.family === family);
    if (line?.sync !== 'full') throw new Error(`the first sync of ${family} after a restart was not a full one`);
    return Number(line.operations);
  });
  return synced.reduce((sum, operations) => sum + operations, 0);
}

/** Lines of the first that the second has not, each as often as it is missing. */
function without(lines: readonly string[], others: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const line of others) counts.set(line, (counts.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const left = counts.get(line) ?? 0;
    counts.set(line, left - 1);
    return left <= 0;
  });
}
