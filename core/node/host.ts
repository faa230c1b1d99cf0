/**
 * The real `Host`: everything of this machine that a plugin may touch, and the only way to it.
 *
 *   plugin ──▶ Host ─┬ exec     programs               core/node/exec.ts
 *                    ├ spawn    programs that stay     core/node/spawn.ts
 *                    ├ sysctl   /proc/sys              core/node/sysctl.ts
 *                    ├ thread   the plugin's modules   core/node/thread.ts
 *                    ├ netlink  the kernel, directly   core/netlink/
 *                    ├ sockets  what it knows of them  core/node/socket-facts.ts
 *                    ├ metrics  shown to whoever scrapes
 *                    ├ events   shown to authors of Services
 *                    ├ clock, signal, log
 *                    └ requestFullSync ──▶ the sync loop
 */
import { resolve } from 'node:path';
import type { Host, Logger, PluginMetrics, ServiceEvents } from '../backend.ts';
import { createNetlink } from '../netlink/netlink.ts';
import { wayTo } from '../plugin/places.ts';
import { distrust } from '../plugin/trust.ts';
import { systemClock } from './clock.ts';
import { exec } from './exec.ts';
import { createSocketFacts } from './socket-facts.ts';
import { createSpawner } from './spawn.ts';
import { createSysctl } from './sysctl.ts';
import { createThreads } from './thread.ts';

export interface HostOptions {
  readonly log: Logger;
  /** Aborted when the process shuts down. */
  readonly signal: AbortSignal;
  readonly requestFullSync: (reason: string) => void;
  /** Default: nobody scrapes, and what is registered is never read. */
  readonly metrics?: PluginMetrics;
  /** Default: nobody is told. */
  readonly events?: ServiceEvents | undefined;
}

const UNSEEN: PluginMetrics = { register: () => () => {} };
const UNHEARD: ServiceEvents = { warn: () => {} };

export interface OpenHost extends Host {
  /**
   * Closes the kernel interfaces that were opened; what they owned stays, without an owner. Programs and
   * threads that still run are ended, without waiting for it.
   */
  close(): void;
}

export function createHost(options: HostOptions): OpenHost {
  const { log, signal, requestFullSync, metrics = UNSEEN, events = UNHEARD } = options;
  const netlink = createNetlink();
  const spawner = createSpawner(signal, whyDistrusted);
  const threads = createThreads(log);
  const sockets = createSocketFacts();
  return {
    log,
    exec,
    spawn: spawner.spawn,
    thread: threads.thread,
    sysctl: createSysctl(),
    netlink,
    sockets,
    clock: systemClock,
    signal,
    requestFullSync,
    metrics,
    events,
    close() {
      spawner.close();
      threads.close();
      netlink.close();
      sockets.close();
    },
  };
}

/** By the rule for plugins' files: what runs as root must not be anybody's to change. */
function whyDistrusted(file: string): string | undefined {
  let places: ReturnType<typeof wayTo>['places'];
  try {
    places = wayTo(resolve(file)).places;
  } catch {
    // There is nothing to run then, and starting it tells that.
    return undefined;
  }
  return distrust(places, process.getuid?.() ?? 0);
}
