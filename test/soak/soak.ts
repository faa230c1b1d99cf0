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
import type { Daemon } from './daemon.ts';
import { createFaults, type Faults } from './faults.ts';
import { createGrowth } from './growth.ts';
import { CALM_SECONDS, type Incident, planIncidents } from './plan.ts';
import { timeText } from './progress.ts';
import { startReporting, summarize } from './reporting.ts';
import { settle } from './settle.ts';
import { type Silence, silenceProblems } from './silence.ts';
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
  const { server, world, daemon } = stage;
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
  const stopReporting = startReporting({
    ...{ stage, churn, faults, growth, begin, print, now },
    everySeconds: options.reportEverySeconds,
  });
  let silence: Silence;
  try {
    await runSteps({ steps, incidents, churn, faults, perSecond: options.changesPerSecond, daemon, signal, now });
    await faults.off();
    print(`${timeText(now() - begin).padStart(6)}  the churn stops, all faults are off`);
    const truth = () => currentTruth(stage);
    const took = await settle({ objects: server.objects, world, daemon, truth, now, signal });
    print(`${timeText(now() - begin).padStart(6)}  settled after ${(took / 1000).toFixed(1)} s`);
  } finally {
    silence = await stopReporting();
  }
  const requests = server.requests().length;
  const most = REQUESTS_PER_SECOND * ((now() - begin) / 1000 + 10) + REQUESTS_AT_ONCE * daemon.starts();
  const random = seeded(options.seed + 2);
  const sample = options.sample ?? SAMPLE;
  const compare = (truth: Truth) => compareAll({ stage, truth, retired: churn.retired(), random, sample, signal });
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
  readonly daemon: Daemon;
  readonly now: () => number;
}

async function runSteps({ steps, perSecond, incidents, churn, faults, daemon, signal, now }: Steps): Promise<void> {
  const begins = Map.groupBy(incidents, ({ begin }) => begin);
  const ends = Map.groupBy(incidents, ({ end }) => end);
  const calmSteps = Math.min(CALM_SECONDS * perSecond, steps / 2);
  const started = now();
  for (let step = 0; step <= steps; step++) {
    const aheadMs = (step * 1000) / perSecond - (now() - started);
    if (aheadMs > 0) await sleep(aheadMs, undefined, { signal });
    else if (step % STEPS_AT_ONCE === 0) await sleep(0, undefined, { signal });
    const [fault] = daemon.faults();
    if (fault !== undefined) throw new Error(fault);
    for (const incident of begins.get(step) ?? []) {
      daemon.note(`${timeText(now() - started)} begins: ${incident.title} ${JSON.stringify(incident.fault)}`);
      await faults.begin(incident);
    }
    for (const incident of ends.get(step) ?? []) {
      daemon.note(`${timeText(now() - started)} ends: ${incident.title}`);
      await faults.end(incident);
    }
    faults.step(step);
    if (step < steps) churn.step(step < steps - calmSteps);
  }
}

function tellTheEnd({ daemon }: Stage, print: (line: string) => void): void {
  print('the log of the proxy ends:');
  for (const line of daemon.linesSince(daemon.logged() - LOG_TAIL)) print(`  ${JSON.stringify(line)}`);
  for (const fault of daemon.faults()) print(fault);
}
