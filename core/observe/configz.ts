/**
 * What /configz says: the configuration in force in the file's own form under the reference's key, and beside it what
 * became of the file since. Someone who edited the ConfigMap and sees nothing happen finds the reason here.
 */
import { rfc3339Nano } from './health.ts';

export interface ConfigzFacts {
  /** The external form: apiVersion, kind and all fields. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Hash of the configuration in force. */
  readonly runningHash: string;
  /** Hash of the file as last read; "" when there is none. */
  readonly fileHash: string;
  /** When the file was last read, in milliseconds since the epoch; undefined when there is none. */
  readonly readAtMs?: number | undefined;
  /** Why the file as it is now is not in force; undefined when it is. */
  readonly error?: string | undefined;
  /** What a restart would change, because it cannot be applied while running. */
  readonly pendingRestart?: readonly string[] | undefined;
}

export const CONFIGZ_KEY = 'kubeproxy.config.k8s.io';
/** As the annotations: what is ours. */
export const OUR_KEY = 'kube-proxy.io';

export function configz(facts: ConfigzFacts): Readonly<Record<string, unknown>> {
  const { config, runningHash, fileHash, readAtMs, error, pendingRestart = [] } = facts;
  return {
    [CONFIGZ_KEY]: config,
    [OUR_KEY]: {
      runningHash,
      fileHash,
      inForce: error === undefined,
      ...(readAtMs === undefined ? {} : { readAt: rfc3339Nano(readAtMs) }),
      ...(error === undefined ? {} : { error }),
      ...(pendingRestart.length === 0 ? {} : { pendingRestart }),
    },
  };
}
