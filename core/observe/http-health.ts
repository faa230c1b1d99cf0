/** What the health server (:10256) answers: kubelet's probes, load balancers, and people with curl. */
import type { IPFamily } from '../backend.ts';
import { type Health, healthz, livez, readyz, type Verdict } from './health.ts';
import { type HttpReply, NO_SNIFF, type Routes, routeTable } from './http-reply.ts';

export interface HealthRoutesOptions {
  readonly health: () => Health;
  /** Families whose first sync has not succeeded yet; `started` false while it is not known which there are. */
  readonly readiness: () => { readonly started: boolean; readonly waiting: readonly IPFamily[] };
  /** For the counters; `ok` says whether the answer was 200. */
  readonly onAnswer: (check: 'healthz' | 'livez' | 'readyz', code: 200 | 503) => void;
}

export function healthRoutes(options: HealthRoutesOptions): Routes {
  const answer = (check: 'healthz' | 'livez' | 'readyz', judge: () => Verdict) => ({
    // Of every method: so does the reference, and some load balancers probe with others than GET.
    handle(): HttpReply {
      const { code, body } = judge();
      options.onAnswer(check, code);
      return { status: code, type: 'application/json', headers: NO_SNIFF, body };
    },
  });
  return routeTable({
    '/healthz': answer('healthz', () => healthz(options.health())),
    '/livez': answer('livez', () => livez(options.health())),
    '/readyz': answer('readyz', () => readyz(options.readiness())),
  });
}
