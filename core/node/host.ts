/**
 * The real `Host`: everything of this machine that a plugin may touch, and the only way to it.
 *
 *   plugin ──▶ Host ─┬ exec     programs               core/node/exec.ts
 *                    ├ sysctl   /proc/sys              core/node/sysctl.ts
 *                    ├ netlink  the kernel, directly   core/netlink/
 *                    ├ clock, signal, log
 *                    └ requestFullSync ──▶ the sync loop
 */
import type { Host, Logger } from '../backend.ts';
import { createNetlink } from '../netlink/netlink.ts';
import { systemClock } from './clock.ts';
import { exec } from './exec.ts';
import { createSysctl } from './sysctl.ts';

export interface HostOptions {
  readonly log: Logger;
  /** Aborted when the process shuts down. */
  readonly signal: AbortSignal;
  readonly requestFullSync: (reason: string) => void;
}

export function createHost({ log, signal, requestFullSync }: HostOptions): Host {
  return {
    log,
    exec,
    sysctl: createSysctl(),
    netlink: createNetlink(),
    clock: systemClock,
    signal,
    requestFullSync,
  };
}
