/**
 * What the log says while the API server does not do what it should: one line when it begins, one when it is over, and
 * in between one after half a minute, a minute, two, … up to ten. Four resources fail at once when a server goes away;
 * that is one outage, not four.
 */
import type { Clock, Logger } from '../../backend.ts';
import type { Fault, FaultKind } from './fault.ts';

export interface OutageLog {
  /** An attempt for a resource ("endpointslices.discovery.k8s.io") came to nothing. */
  failed(resource: string, fault: Fault): void;
  /** A list or watch of the resource was accepted. */
  worked(resource: string): void;
}

interface Outage {
  readonly since: number;
  /** Lines about it; none while an earlier one on the same matter was just now. */
  lines: number;
  pauseMs: number;
}

const FIRST_PAUSE_MS = 30_000;
const LONGEST_PAUSE_MS = 600_000;

/** Faults of the way to the server or of our identity: the same for every resource. */
const SHARED: Readonly<Partial<Record<FaultKind, string>>> = {
  unreachable: 'The API server cannot be reached; what it said last stays in force',
  tls: 'The API server cannot be trusted or does not trust us; what it said last stays in force',
  unauthorized: 'The API server does not accept the credentials, which are now read again',
};

const OWN: Readonly<Partial<Record<FaultKind, string>>> = {
  forbidden:
    'The API server does not let this program read a resource; grant it, as ClusterRole system:node-proxier does',
  missing: 'The API server does not have a resource that a proxy needs',
};
const OTHER = 'The API server does not serve a resource as it should; what it said last stays in force';

export function createOutageLog(options: { log: Logger; clock: Clock; server: () => string }): OutageLog {
  const { log, clock, server } = options;
  const outages = new Map<string, Outage>();
  /** When something was said of each matter, past outages included: a flapping server is not worth a line a second. */
  const lastLines = new Map<string, number>();

  function begins(key: string, resource: string, fault: Fault): void {
    const now = clock.now();
    const outage = outages.get(key) ?? { since: now, lines: 0, pauseMs: FIRST_PAUSE_MS };
    outages.set(key, outage);
    if (now - (lastLines.get(key) ?? Number.NEGATIVE_INFINITY) < outage.pauseMs) return;
    lastLines.set(key, now);
    if (outage.lines++ > 0) outage.pauseMs = Math.min(outage.pauseMs * 2, LONGEST_PAUSE_MS);
    const forSeconds = Math.round((now - outage.since) / 1000);
    log.warn(SHARED[fault.kind] ?? OWN[fault.kind] ?? OTHER, {
      server: server(),
      ...(key === resource ? { resource } : {}),
      ...(fault.kind === 'forbidden' ? { verbs: 'list, watch' } : {}),
      error: fault.message,
      ...(forSeconds > 0 ? { forSeconds } : {}),
    });
  }

  function ends(key: string, resource?: string): void {
    const outage = outages.get(key);
    outages.delete(key);
    if (!outage || outage.lines === 0) return;
    lastLines.set(key, clock.now());
    const forSeconds = Math.round((clock.now() - outage.since) / 1000);
    if (resource === undefined) log.info('The API server answers again', { server: server(), forSeconds });
    else log.info('The API server serves a resource again', { server: server(), resource, forSeconds });
  }

  return {
    failed(resource, fault) {
      // Any answer ends "cannot be reached", even one that is no help.
      if (fault.status !== 0) for (const kind of ['unreachable', 'tls']) ends(kind);
      begins(SHARED[fault.kind] ? fault.kind : resource, resource, fault);
    },
    worked(resource) {
      for (const kind of Object.keys(SHARED)) ends(kind);
      ends(resource, resource);
    },
  };
}
