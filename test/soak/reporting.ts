/** What is told of a soak while it runs and when it is over, and what is remembered of the proxy meanwhile. */
import { valueOf } from '../unit/observe/exposition.ts';
import type { Agreement } from './agreement.ts';
import type { Churn } from './churn.ts';
import type { Faults } from './faults.ts';
import type { Growth } from './growth.ts';
import { type Incident, RESOURCES } from './plan.ts';
import { lagOf, progressLine, type Reading } from './progress.ts';
import { type Silence, silenceOf } from './silence.ts';
import type { Stage } from './stage.ts';

export interface ReportingOptions {
  readonly stage: Stage;
  readonly churn: Churn;
  readonly faults: Faults;
  readonly growth: Growth;
  readonly begin: number;
  readonly everySeconds: number;
  readonly print: (line: string) => void;
  readonly now: () => number;
}

/** Prints a line now and then. Returns how to stop, which takes a last reading and tells the longest silence. */
export function startReporting(options: ReportingOptions): () => Promise<Silence> {
  const { stage, churn, faults, growth, begin, print, now } = options;
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
    if (metrics !== undefined && holds !== undefined && ageMs !== undefined) {
      const listeners = valueOf(metrics, 'kubeproxy_service_health_ports', { state: 'open' }) ?? 0;
      growth.read(holds, listeners, ageMs);
    }
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
  }, options.everySeconds * 1000);
  return async () => {
    clearInterval(timer);
    await reading;
    await read();
    return longest;
  };
}

export interface Summary {
  readonly stage: Stage;
  readonly incidents: readonly Incident[];
  readonly agreement: Agreement;
  readonly growth: Growth;
  readonly silence: Silence;
  readonly print: (line: string) => void;
}

export function summarize({ stage, incidents, agreement, growth, silence, print }: Summary): void {
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
    const memory = `${settled.privateMiB.toFixed(1)} MiB and ${settled.fds} open files besides health checks a minute after its last start`;
    print(`the proxy held ${memory}, ${last.privateMiB.toFixed(1)} MiB and ${last.fds} in the end`);
  }
  for (const line of agreement.compared) print(line);
}
