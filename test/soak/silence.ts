/**
 * For how long the proxy heard nothing of a resource. The server says something every ten seconds at the least, and no
 * fault keeps it from that for long; but a proxy may believe in a connection that is dead, or wait too long to ask
 * again, and nobody who looks only at the end would see.
 */

import { valueOf } from '../unit/observe/exposition.ts';
import type { Metrics } from './daemon.ts';
import { RESOURCES, type ResourceName } from './plan.ts';

export interface Silence {
  readonly resource: ResourceName;
  readonly seconds: number;
}

/** A list without an answer takes a minute to give up, a pause between attempts half a minute; outages come on top. */
const MOST_SECONDS = 120;

/** The resource that was not heard of for longest. */
export function silenceOf(metrics: Metrics): Silence {
  return RESOURCES.map((resource) => {
    return { resource, seconds: valueOf(metrics, 'kubeproxy_source_age_seconds', { resource }) ?? 0 };
  }).reduce((longest, one) => (one.seconds > longest.seconds ? one : longest));
}

export function silenceProblems({ resource, seconds }: Silence): readonly string[] {
  if (seconds <= MOST_SECONDS) return [];
  return [
    `the proxy heard nothing of ${resource} for ${Math.round(seconds)} s, of which it must notice after ${MOST_SECONDS}`,
  ];
}
