/**
 * One line of a soak's progress, and the figures behind it. What the proxy counts begins anew with each of its
 * processes; so does the difference to the reading before.
 *
 *    1:30  4500 changes  24 faults  2.1 requests/s  3 starts  71.4 MiB  35 fds  412 syncs  lag 50 %: 0.25 s, 99 %: 4 s
 */
import type { Holds, Metrics } from './daemon.ts';
import type { Silence } from './silence.ts';

export interface Reading {
  readonly elapsedMs: number;
  readonly changes: number;
  readonly refused: number;
  readonly faults: number;
  /** Requests that the server got so far. */
  readonly requests: number;
  /** Processes of the proxy so far. */
  readonly starts: number;
  readonly holds: Holds | undefined;
  readonly syncs: number;
  readonly lag: Lag | undefined;
  readonly silence: Silence | undefined;
}

/** How many changes took at most so many seconds to the kernel, by that time as text; "+Inf" has all. */
export type Lag = ReadonlyMap<string, number>;

const WORTH_A_WORD_SECONDS = 20;

export function lagOf(metrics: Metrics): Lag {
  const name = 'kubeproxy_network_programming_duration_seconds';
  const counts = new Map<string, number>();
  for (const sample of metrics.get(name)?.samples ?? []) {
    const { le } = sample.labels;
    if (sample.name === `${name}_bucket` && le !== undefined) counts.set(le, (counts.get(le) ?? 0) + sample.value);
  }
  return counts;
}

/** `before`: the reading at the line before. */
export function progressLine(now: Reading, before: Reading | undefined): string {
  const { holds } = now;
  const seconds = (now.elapsedMs - (before?.elapsedMs ?? 0)) / 1000;
  const requests = (now.requests - (before?.requests ?? 0)) / Math.max(seconds, 0.001);
  const parts = [
    timeText(now.elapsedMs).padStart(6),
    `${now.changes} changes${now.refused > 0 ? ` (${now.refused} refused)` : ''}`,
    `${now.faults} faults`,
    `${requests.toFixed(1)} requests/s`,
    `${now.starts} starts`,
    holds === undefined ? 'not running' : `${holds.privateMiB.toFixed(1)} MiB`,
    ...(holds === undefined ? [] : [`${holds.fds} fds`]),
    `${now.syncs} syncs`,
    lagText(now, before),
    ...silenceText(now.silence),
  ];
  return parts.join('  ');
}

function lagText(now: Reading, before: Reading | undefined): string {
  if (now.lag === undefined) return 'lag unknown';
  const earlier = before?.starts === now.starts ? before.lag : undefined;
  const new_ = new Map([...now.lag].map(([le, count]) => [le, count - (earlier?.get(le) ?? 0)]));
  const [half, most] = [quantile(new_, 0.5), quantile(new_, 0.99)];
  return half === undefined ? 'no lag measured' : `lag 50 %: ${half} s, 99 %: ${most} s`;
}

function silenceText(silence: Silence | undefined): readonly string[] {
  if (silence === undefined || silence.seconds < WORTH_A_WORD_SECONDS) return [];
  return [`nothing of ${silence.resource} for ${Math.round(silence.seconds)} s`];
}

/** The bound that this share of them kept; undefined when there are none. */
export function quantile(lag: Lag, share: number): string | undefined {
  const all = lag.get('+Inf') ?? 0;
  if (all <= 0) return undefined;
  const found = [...lag]
    .filter(([le]) => le !== '+Inf')
    .sort(([a], [b]) => Number(a) - Number(b))
    .find(([, count]) => count >= share * all);
  return found === undefined ? 'over 300' : found[0];
}

export function timeText(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
