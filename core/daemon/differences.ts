/** Which parts of a running daemon an edited configuration concerns. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { Settings } from '../config/settings.ts';

export interface Differences {
  /** Where objects come from. */
  readonly source: boolean;
  /** The backend, or an option of it. */
  readonly backend: boolean;
  /** How often the backend is called. */
  readonly pace: boolean;
  /** What backends are told about this node. */
  readonly node: boolean;
  /** Addresses of the health and metrics servers. */
  readonly listeners: boolean;
  /** Kernel parameters of conntrack. */
  readonly conntrack: boolean;
  readonly oomScore: boolean;
  readonly log: boolean;
}

export function differences(before: Settings, after: Settings): Differences {
  const differs = (...keys: readonly (keyof Settings)[]): boolean =>
    keys.some((key) => !isDeepStrictEqual(before[key], after[key]));
  return {
    // A source serves one Node, and what it waits for at the start depends on the mode.
    source:
      differs('source') ||
      before.node.nodeName !== after.node.nodeName ||
      (before.node.detectLocalMode === 'NodeCIDR') !== (after.node.detectLocalMode === 'NodeCIDR'),
    backend: differs('backend', 'pluginDir', 'backendOptions', 'masqueradeBit', 'ipvs'),
    pace: differs('minSyncPeriodMs', 'syncPeriodMs'),
    node: differs('node'),
    listeners: differs('healthz', 'metrics'),
    conntrack: differs('conntrack'),
    oomScore: differs('oomScoreAdj'),
    log: differs('verbosity', 'logFormat'),
  };
}
