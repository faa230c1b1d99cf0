/**
 * One soak: a cluster that never rests and everything that can go wrong, for minutes; then quiet, and the question
 * whether server, proxy and kernel agree.
 *
 *   populate ──▶ churn and incidents, step by step ──▶ faults off ──▶ settle ──▶ compare
 *                     └── a line of progress now and then
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { seeded } from '../unit/model/random.ts';
import { type Agreement, compareAll, currentTruth } from './agreement.ts';
import { type Churn, createChurn } from './churn.ts';
import type { BackendName } from './configuration.ts';
import { createFaults, type Faults } from './faults.ts';
import { createGrowth, type Growth } from './growth.ts';
import { type Incident, planIncidents, RESOURCES } from './plan.ts';
import { lagOf, progressLine, type Reading, timeText } from './progress.ts';
import { settle } from './settle.ts';
import { type Silence, silenceOf, silenceProblems } from './silence.ts';
import { openStage, type Stage } from './stage.ts';
import type { Truth } from './truth.ts';

export interface SoakOptions {
  readonly minutes: number;
  readonly backend: BackendName;
  readonly services: number;
  readonly seed: number;
  readonly changesPerSecond: number;
  readonly reportEverySeconds: number;
  /** Packets of each family that the oracle and the kernel are asked about in the end. Default 400. */
  readonly sample?: number;
  /** Default: drawn from the seed. */
  readonly incidents?: readonly Incident[];
  /** Keep the log of the proxy, with the faults noted in it, even if all agree. */
  readonly keepLog?: boolean;
}

export interface SoakRun {
  readonly print: (line: string) => void;
  /** Aborted: give up, and clean up. */
  readonly signal: AbortSignal;
  /** Called when all is compared, with the stage still standing; `compare` does it again. */
  readonly atEnd?: (stage: Stage, compare: (truth: Truth) => Promise<Agreement>) => Promise<void>;
}

const READY_MS = 60_000;
const SAMPLE = 400;
/** The churn catches up with what it missed in portions, so that the server gets a turn. */
const STEPS_AT_ONCE = 10;
const LOG_TAIL = 15;
/** The client's limits: --kube-api-qps and --kube-api-burst by default. */
const REQUESTS_PER_SECOND = 5;
const REQUESTS_AT_ONCE = 10;

/** Returns what differs in the end; throws if it does not come that far. */
export async function soak(options: SoakOptions, run: SoakRun): Promise<readonly string[]> {
  const now = (): number => performance.now();
  const stage = await openStage(options.backend, now);
  let keepLog = options.keepLog === true;
  try {
    const problems = await play(stage, options, run, now);
    keepLog ||= problems.length > 0;
    return problems;
  } catch (error) {
    if (!run.signal.aborted) {
      keepLog = true;
      tellTheEnd(stage, run.print);
    }
    throw error;
  } finally {
    if (keepLog) run.print(`the log of the proxy, with the faults noted in it, is kept: ${stage.logFile}`);
    await stage.close(keepLog);
  }
}

async function play(stage: Stage, options: SoakOptions, run: SoakRun, now: () => number): Promise<readonly string[]> {
  const { server, world, daemon, kernel } = stage;
  const { print, signal } = run;
  // Each purpose has its own numbers, so that what one draws does not shift another.
  const draw = { random: seeded(options.seed), addresses: world, now: () => new Date() };
  const churn = createChurn(server.objects, options.services, draw);
  const faults = createFaults(stage);
  const growth = createGrowth();
  const steps = Math.max(1, Math.round(options.minutes * 60 * options.changesPerSecond));
  const incidents = options.incidents ?? planIncidents(steps, options.changesPerSecond, seeded(options.seed + 1));

  churn.populate();
  daemon.start();
  await daemon.says('the proxy is ready', ({ msg }) => msg === 'Ready', 0, READY_MS);
  const begin = now();
  const stopReporting = report({ stage, churn, faults, growth, begin, options, print, now });
  let silence: Silence;
  try {
    await runSteps({
      steps,
      incidents,
      churn,
      faults,
      perSecond: options.changesPerSecond,
      signal,
      now,
      note: daemon.note,
    });
    await faults.off();
    print(`${timeText(now() - begin).padStart(6)}  the churn stops, all faults are off`);
    const truth = () => currentTruth(stage);
    const took = await settle({ objects: server.objects, world, daemon, kernel, truth, now, signal });
    print(`${timeText(now() - begin).padStart(6)}  settled after ${(took / 1000).toFixed(1)} s`);
  } finally {
    silence = await stopReporting();
  }
  const requests = server.requests().length;
  const most = REQUESTS_PER_SECOND * ((now() - begin) / 1000 + 10) + REQUESTS_AT_ONCE * daemon.starts();
  const random = seeded(options.seed + 2);
  const sample = options.sample ?? SAMPLE;
  const compare = (truth: Truth) => compareAll({ stage, truth, retired: churn.retired(), random, sample });
  const agreement = await compare(await currentTruth(stage));
  const problems = [
    ...agreement.differences,
    ...growth.problems(),
    ...silenceProblems(silence),
    ...(requests > most ? [`${requests} requests to the server, of which ${Math.round(most)} are allowed`] : []),
  ];
  summarize({ stage, incidents, agreement, growth, silence, print });
  await run.atEnd?.(stage, compare);
  return problems;
}

interface Steps {
  readonly steps: number;
  readonly perSecond: number;
  readonly incidents: readonly Incident[];
  readonly churn: Churn;
  readonly faults: Faults;
  readonly signal: AbortSignal;
  readonly now: () => number;
  readonly note: (text: string) => void;
}

async function runSteps({ steps, perSecond, incidents, churn, faults, signal, now, note }: Steps): Promise<void> {
  const begins = Map.groupBy(incidents, ({ begin }) => begin);
  const ends = Map.groupBy(incidents, ({ end }) => end);
  const started = now();
  for (let step = 0; step <= steps; step++) {
    const aheadMs = (step * 1000) / perSecond - (now() - started);
    if (aheadMs > 0) await sleep(aheadMs, undefined, { signal });
    else if (step % STEPS_AT_ONCE === 0) await sleep(0, undefined, { signal });
    for (const incident of begins.get(step) ?? []) {
      note(`${timeText(now() - started)} begins: ${incident.title} ${JSON.stringify(incident.fault)}`);
      await faults.begin(incident);
    }
    for (const incident of ends.get(step) ?? []) {
      note(`${timeText(now() - started)} ends: ${incident.title}`);
      await faults.end(incident);
    }
    faults.step(step);
    if (step < steps) churn.step();
  }
}

interface Reporting {
  readonly stage: Stage;
  readonly churn: Churn;
  readonly faults: Faults;
  readonly growth: Growth;
  readonly begin: number;
  readonly options: SoakOptions;
  readonly print: (line: string) => void;
  readonly now: () => number;
}

/** Returns how to stop, which takes a last reading and tells the longest silence. */
function report({ stage, churn, faults, growth, begin, options, print, now }: Reporting): () => Promise<Silence> {
  const { daemon, server } = stage;
  let before: Reading | undefined;
  let longest: Silence = { resource: RESOURCES[0]!, seconds: 0 };
  let starts = daemon.starts();
  let reading: Promise<void> = Promise.resolve();

  async function read(): Promise<void> {
    const metrics = await daemon.metrics();
    const { made, refused } = churn.counts();
    const holds = daemon.holds();
    if (daemon.starts() !== starts) growth.restarted();
    starts = daemon.starts();
    const ageMs = daemon.ageMs();
    if (holds !== undefined && ageMs !== undefined) growth.read(holds, ageMs);
    const current: Reading = {
      elapsedMs: now() - begin,
      changes: made,
      refused,
      faults: faults.begun(),
      requests: server.requests().length,
      starts,
      holds,
      syncs: daemon.syncs(),
      lag: metrics && lagOf(metrics),
      silence: metrics && silenceOf(metrics),
    };
    if (current.silence && current.silence.seconds > longest.seconds) longest = current.silence;
    print(progressLine(current, before));
    before = current;
  }

  const timer = setInterval(() => {
    reading = reading.then(read);
  }, options.reportEverySeconds * 1000);
  return async () => {
    clearInterval(timer);
    await reading;
    await read();
    return longest;
  };
}

interface Summary {
  readonly stage: Stage;
  readonly incidents: readonly Incident[];
  readonly agreement: Agreement;
  readonly growth: Growth;
  readonly silence: Silence;
  readonly print: (line: string) => void;
}

function summarize({ stage, incidents, agreement, growth, silence, print }: Summary): void {
  const times = Map.groupBy(incidents, ({ title }) => title);
  print(
    `${incidents.length} faults of ${times.size} kinds: ${[...times]
      .map(([title, all]) => `${title} ${all.length}`)
      .sort()
      .join(', ')}`,
  );
  const complaints = [...stage.daemon.complaints()].sort(([, a], [, b]) => b - a);
  for (const [message, count] of complaints) print(`  the proxy said ${count} times: ${message}`);
  print(`the longest that it heard nothing of a resource: ${silence.seconds.toFixed(1)} s, of ${silence.resource}`);
  const { settled, last } = growth.ends();
  if (settled !== undefined && last !== undefined) {
    const memory = `${settled.privateMiB.toFixed(1)} MiB and ${settled.fds} open files a minute after its last start`;
    print(`the proxy held ${memory}, ${last.privateMiB.toFixed(1)} MiB and ${last.fds} in the end`);
  }
  for (const line of agreement.compared) print(line);
}

function tellTheEnd({ daemon }: Stage, print: (line: string) => void): void {
  print('the log of the proxy ends:');
  for (const line of daemon.linesSince(daemon.logged() - LOG_TAIL)) print(`  ${JSON.stringify(line)}`);
  for (const fault of daemon.faults()) print(fault);
}
