/**
 * The real `Host`: everything of this machine that a plugin may touch, and the only way to it.
 *
 *   plugin ──▶ Host ─┬ exec     programs               core/node/exec.ts
 *                    ├ sysctl   /proc/sys              core/node/sysctl.ts
 *                    ├ netlink  the kernel, directly   core/netlink/
 *                    ├ metrics  shown to whoever scrapes
 *                    ├ clock, signal, log
 *                    └ requestFullSync ──▶ the sync loop
 */
import type { Host, Logger, PluginMetrics } from '../backend.ts';
import { createNetlink } from '../netlink/netlink.ts';
import { systemClock } from './clock.ts';
import { exec } from './exec.ts';
import { createSysctl } from './sysctl.ts';

export interface HostOptions {
  readonly log: Logger;
  /** Aborted when the process shuts down. */
  readonly signal: AbortSignal;
  readonly requestFullSync: (reason: string) => void;
  /** Default: nobody scrapes, and what is registered is never read. */
  readonly metrics?: PluginMetrics;
}

const UNSEEN: PluginMetrics = { register: () => () => {} };

export interface OpenHost extends Host {
  /** Closes the kernel interfaces that were opened; what they owned stays, without an owner. */
  close(): void;
}

export function createHost({ log, signal, requestFullSync, metrics = UNSEEN }: HostOptions): OpenHost {
  const netlink = createNetlink();
  return {
    log,
    exec,
    sysctl: createSysctl(),
    netlink,
    clock: systemClock,
    signal,
    requestFullSync,
    metrics,
    close: () => netlink.close(),
  };
}
