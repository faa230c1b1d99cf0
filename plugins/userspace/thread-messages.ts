/** What the backend and its threads say to each other; see forward/messages.ts for what is in it. */
import type { EngineEvent, EngineLimits, EngineStatistics, EngineUpdate } from './forward/messages.ts';

/** With what a thread begins. */
export interface ThreadData {
  readonly limits: EngineLimits;
  /** Which client has which endpoint, common to all threads; undefined: each has its own. */
  readonly affinity: SharedArrayBuffer | undefined;
  /** How much is open, common to all threads, and which of them this is: see forward/occupancy.ts. */
  readonly occupancy: SharedArrayBuffer;
  readonly thread: number;
}

export type ToThread =
  /** Answered by 'applied' once connections can come; what listeners came to is told before. */
  | { readonly type: 'update'; readonly id: number; readonly update: EngineUpdate }
  | { readonly type: 'statistics'; readonly id: number }
  /** Answered by 'applied' once every connection is reset. */
  | { readonly type: 'close'; readonly id: number };

export type FromThread =
  | { readonly type: 'applied'; readonly id: number }
  | { readonly type: 'statistics'; readonly id: number; readonly statistics: EngineStatistics }
  | { readonly type: 'event'; readonly event: EngineEvent };
