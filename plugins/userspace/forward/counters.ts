/** What is counted of one service port, and the copy of it that leaves the thread. */
import { DIAL_BUCKETS, FAILURES, type Failure, type ServiceStatistics } from './messages.ts';

export interface Counters {
  connections: number;
  open: number;
  bytesIn: number;
  bytesOut: number;
  readonly failures: Record<Failure, number>;
  dialSeconds: number;
  dials: number;
  /** Made at the first dial: most service ports of a large cluster see none on a node. */
  dialBuckets: number[] | undefined;
}

export function openCounters(): Counters {
  return {
    connections: 0,
    open: 0,
    bytesIn: 0,
    bytesOut: 0,
    failures: noFailures(),
    dialSeconds: 0,
    dials: 0,
    dialBuckets: undefined,
  };
}

export function countDial(counters: Counters, milliseconds: number): void {
  const seconds = milliseconds / 1000;
  counters.dials++;
  counters.dialSeconds += seconds;
  counters.dialBuckets ??= noDials();
  let bucket = 0;
  while (bucket < DIAL_BUCKETS.length && seconds > DIAL_BUCKETS[bucket]!) bucket++;
  counters.dialBuckets[bucket]!++;
}

export function statisticsOf(counters: Counters): ServiceStatistics {
  return { ...counters, failures: { ...counters.failures }, dialBuckets: [...(counters.dialBuckets ?? noDials())] };
}

function noFailures(): Record<Failure, number> {
  return Object.fromEntries(FAILURES.map((failure) => [failure, 0])) as Record<Failure, number>;
}

function noDials(): number[] {
  return new Array<number>(DIAL_BUCKETS.length + 1).fill(0);
}
