/** What the rest of the program tells and is asked for, for /metrics. Shapes only; who has more may hand over more. */
import type { IPFamily, SyncReport } from '../backend.ts';

export interface BackendInUse {
  readonly name: string;
  readonly families: readonly IPFamily[];
  readonly usesConntrack: boolean;
}

/** core/daemon's FaultKind. */
export interface BackendFaultFacts {
  readonly backend: string;
  readonly kind: 'exception' | 'rejection' | 'refused' | 'stall';
}

/** A sync that took effect; core/sync's SyncEvent is one. */
export interface SyncedFacts {
  readonly family: IPFamily;
  readonly full: boolean;
  readonly durationMs: number;
  /** Of the family, after it. */
  readonly servicePorts: number;
  readonly report: SyncReport;
  /** When the changes that it programmed were triggered, in milliseconds since the epoch. */
  readonly triggerTimes: readonly number[];
  /** Service ports that have endpoints, but none here for a destination with policy Local. */
  readonly withoutLocal: { readonly internal: number; readonly external: number };
}

export interface FailedSyncFacts {
  readonly family: IPFamily;
  readonly full: boolean;
  readonly durationMs: number;
}

export interface ConntrackPassFacts {
  readonly family: IPFamily;
  readonly durationSeconds: number;
  readonly deleted: number;
}

/** A finished request; the API client's RequestInfo is one. */
export interface RestRequestFacts {
  /** GET, POST, PATCH. */
  readonly verb: string;
  readonly host: string;
  /** The HTTP status, or "<error>" when there was no answer. */
  readonly code: string;
  readonly durationSeconds: number;
  readonly requestBytes: number;
  readonly rateLimitedSeconds: number;
  /** Absent for watches, which have no size. */
  readonly responseBytes?: number;
  /** The status, or "<error>", of the same request before, if it had to be repeated. */
  readonly retryAfter?: string;
}

/** Read when someone scrapes; a throw leaves the metric out. */
export interface MetricSources {
  /** core/sync's Sync.changes. */
  readonly changes?: () => {
    readonly services: { readonly pending: number; readonly total: number };
    readonly endpoints: { readonly pending: number; readonly total: number };
  };
  readonly source?: () => readonly SourceFacts[];
  readonly features?: () => readonly FeatureFacts[];
  /** "" where there is no file. */
  readonly configHash?: () => { readonly running: string; readonly file: string };
  readonly serviceHealth?: () => { readonly open: number; readonly failed: number };
}

/** How one kind of object comes in. Counts are since the start of the process. */
export interface SourceFacts {
  /** "services", "endpointslices", "nodes", "servicecidrs". */
  readonly resource: string;
  readonly synced: boolean;
  /** Undefined when it was never heard of. */
  readonly secondsSinceContact: number | undefined;
  readonly objects: number;
  readonly lists: number;
  readonly watches: number;
  readonly failures: number;
}

export interface FeatureFacts {
  readonly name: string;
  /** "" is general availability. */
  readonly stage: 'ALPHA' | 'BETA' | '' | 'DEPRECATED';
  readonly enabled: boolean;
}
