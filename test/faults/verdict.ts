/** What every scene is judged by at its end, whatever it was about, and how a failure is told. */
import type { FakeLog } from '../unit/sync/fake-log.ts';
import { busiest, RESOURCES, SHORTEST_PAUSE_REQUESTS_IN_10S } from './bounds.ts';
import type { Scene } from './scene.ts';

/** One line for each promise that was broken. `timers` of the source and its connection are still waiting. */
export function problemsOf(
  { recorder, churn, log, requests }: Scene,
  timers: number,
  requestsIn10s = SHORTEST_PAUSE_REQUESTS_IN_10S,
): readonly string[] {
  const problems: string[] = [];
  const check = (holds: boolean, problem: string): void => {
    if (!holds) problems.push(problem);
  };
  check(recorder.syncs() === 1, `synced() was called ${recorder.syncs()} times`);
  check(recorder.late.length === 0, `told after stop(): ${recorder.late.join(', ')}`);
  check(recorder.idle.length === 0, `told for nothing: ${recorder.idle.slice(0, 5).join(', ')}`);
  check(timers === 0, `${timers} timers are left`);
  for (const [key, times] of recorder.deletions) {
    const gone = churn.departures.get(key) ?? 0;
    check(times <= gone, `${key} was deleted ${times} times, but went away ${gone} times`);
  }
  for (const resource of RESOURCES) {
    const times = requests(resource).map(({ at }) => at);
    const most = busiest(times, 10_000);
    check(most <= requestsIn10s, `${resource}: ${most} requests within ten seconds, at most ${requestsIn10s} are due`);
  }
  for (const { message, values } of log.lines) check(!/this is a bug/.test(message), `${message}: ${values.error}`);
  return problems;
}

/** With the seed to repeat it, and the end of the log. */
export function report(seed: number, failure: unknown, problems: readonly string[], log: FakeLog): Error {
  const told = log.lines
    .filter(({ level }) => !/^v[3-9]/.test(level))
    .slice(-15)
    .map(({ level, message, values }) => `  ${level} ${message} ${JSON.stringify(values)}`);
  const error = new Error([`seed ${seed}`, ...reasonOf(failure), ...problems, 'the log ended:', ...told].join('\n'));
  // The lines that matter are in the message.
  error.stack = '';
  return error;
}

/** What failed, and in which line of the test. */
function reasonOf(failure: unknown): readonly string[] {
  if (failure === undefined) return [];
  if (!(failure instanceof Error)) return [String(failure)];
  const details = 'details' in failure && typeof failure.details === 'string' ? [failure.details] : [];
  const lines = (failure.stack ?? '').split('\n').filter((line) => /test\/faults\/[^:]+test\.ts/.test(line));
  return [failure.message, ...details, ...lines.map((line) => line.trim())];
}
