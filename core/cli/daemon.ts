/**
 * `kube-proxy`: keeps this node's data plane equal to the objects until it is told to stop.
 *
 *   Host ──▶ plugin.create ──▶ startSync(source, backend) ──▶ Ready …… SIGTERM or SIGINT ──▶ stop, status 0
 *                                        ▲
 *   addresses of the interfaces ─────────┘ when they change
 *
 * Stopping lets a sync in flight end and removes no rule: traffic goes on while another kube-proxy takes over.
 */
import { hostname } from 'node:os';
import type { IPFamily, Sysctl } from '../backend.ts';
import { canonicalHostname } from '../config/settings.ts';
import { watchAddresses } from '../node/addresses.ts';
import { systemClock } from '../node/clock.ts';
import { createConntrackReconciler } from '../node/conntrack.ts';
import { createHost } from '../node/host.ts';
import { releaseMemory } from '../node/release-memory.ts';
import type { Log } from '../observe/log.ts';
import { manifestSource } from '../source/manifests/source.ts';
import { type Sync, startSync } from '../sync/start.ts';
import { chooseBackend } from './backends.ts';
import { cleanUpOthers } from './cleanup.ts';
import type { Run } from './main.ts';
import { VERSION } from './version.ts';

const TCP_BE_LIBERAL = 'net/netfilter/nf_conntrack_tcp_be_liberal';
/** How long stopping may take before the process ends regardless. */
const STOP_LIMIT_MS = 5000;
/** A sync that wrote this many bytes left much garbage. */
const LARGE_SYNC_BYTES = 1024 * 1024;
/** No pause between two self-checks is longer than this, whatever --iptables-sync-period is. */
const LONGEST_CHECK_INTERVAL_MS = 5000;

/** `choose` finds the backend; replaced by tests. */
export async function daemon({ settings, log }: Run, choose = chooseBackend): Promise<number> {
  const node = { ...settings.node, nodeName: settings.node.nodeName || canonicalHostname(hostname()) };
  const { plugin, options } = await choose(settings);
  const shutdown = stopSignal(log);

  let sync: Sync | undefined;
  const host = createHost({
    log: log.child(plugin.name),
    signal: shutdown.signal,
    requestFullSync: (reason) => sync?.requestFullSync(reason),
  });
  const addresses = watchAddresses({
    onChange: () => sync?.nodeChanged(),
    onFault: (error) => log.error("The addresses of the host's interfaces cannot be read; the last stay", { error }),
    onFallback: (error) =>
      log.warn('Without netlink, changes of addresses take longer, and interfaces without carrier count as absent', {
        error,
      }),
  });
  const source = manifestSource({ path: settings.manifests, log: log.child('manifests'), clock: systemClock });
  containFaults(log);
  try {
    // A manifest that cannot be read must be known before the host is touched.
    await source.prepare?.();
    log.info('Starting', {
      version: VERSION,
      backend: plugin.name,
      node: node.nodeName,
      manifests: settings.manifests,
    });
    const settingsNow = { ...node, tcpBeLiberal: beLiberal(host.sysctl, node.tcpBeLiberal) };
    const backend = await plugin.create(host, options);
    const ready = readiness(log, plugin.name, () => void cleanUpOthers(plugin.name, log));
    try {
      sync = await startSync({
        source,
        backend,
        backendName: plugin.name,
        settings: settingsNow,
        addresses: addresses.current,
        clock: systemClock,
        log: log.child('sync'),
        minSyncIntervalMs: settings.minSyncPeriodMs,
        checkIntervalMs: Math.min(settings.syncPeriodMs, LONGEST_CHECK_INTERVAL_MS),
        longestRetryMs: settings.syncPeriodMs,
        conntrack: createConntrackReconciler({ log: log.child('conntrack') }),
        onSync(event) {
          ready.synced(event);
          if (event.report.bytes >= LARGE_SYNC_BYTES) releaseMemory();
        },
      });
    } catch (error) {
      await backend.close();
      throw error;
    }
    ready.expect(sync.families);
    const signal = await shutdown.received;
    log.info('Stopping; the rules stay in place', { signal });
    await sync.stop();
    log.info('Stopped');
    return 0;
  } finally {
    addresses.stop();
    host.close();
    await source.stop();
    shutdown.release();
  }
}

/** Whether conntrack is to be liberal: asked for (backends then see to it), or set by the host's administrator. */
function beLiberal(sysctl: Sysctl, wanted: boolean): boolean {
  return wanted || !['0', undefined].includes(sysctl.read(TCP_BE_LIBERAL));
}

interface StopSignal {
  readonly signal: AbortSignal;
  /** Resolves with the name of the first signal. */
  readonly received: Promise<string>;
  release(): void;
}

/** The second signal ends the process at once: who asks twice does not want to wait. */
function stopSignal(log: Log): StopSignal {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<string>();
  const listener = (name: string): void => {
    if (controller.signal.aborted) {
      log.warn('Told twice to stop; ending at once', { signal: name });
      process.exit(1);
    }
    endWithin(STOP_LIMIT_MS, log);
    resolve(name);
    controller.abort();
  };
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, listener);
  return {
    signal: controller.signal,
    received: promise,
    release() {
      for (const name of ['SIGTERM', 'SIGINT'] as const) process.off(name, listener);
    },
  };
}

/** Unreferenced: only a process that something else keeps alive is ended by it. */
function endWithin(milliseconds: number, log: Log): void {
  const timer = setTimeout(() => {
    log.warn('Something did not stop in time; ending without it', { seconds: milliseconds / 1000 });
    process.exit(0);
  }, milliseconds);
  timer.unref();
}

/**
 * What escapes from a plugin's own timers and promises is logged; the other parts of the process go on. For good:
 * it may escape while the process ends, too.
 */
function containFaults(log: Log): void {
  const rejected = (reason: unknown): void =>
    log.error('A promise was rejected and nobody handled it; this is a bug', { error: reason });
  const thrown = (error: unknown): void =>
    log.error('An exception was thrown and nobody caught it; this is a bug', { error });
  process.on('unhandledRejection', rejected);
  process.on('uncaughtException', thrown);
}

interface Readiness {
  synced(event: { readonly family: IPFamily; readonly servicePorts: number }): void;
  /** The families whose first sync there is to wait for. */
  expect(families: readonly IPFamily[]): void;
}

/** Says Ready once, after the first successful sync of every family. */
function readiness(log: Log, backend: string, onReady: () => void): Readiness {
  const counts = new Map<IPFamily, number>();
  let expected: readonly IPFamily[] | undefined;
  let said = false;
  const look = (): void => {
    if (said || !expected?.every((family) => counts.has(family))) return;
    said = true;
    releaseMemory();
    log.info('Ready', {
      backend,
      families: expected.join(','),
      servicePorts: Object.fromEntries(expected.map((family) => [family, counts.get(family)])),
    });
    onReady();
  };
  return {
    synced({ family, servicePorts }) {
      counts.set(family, servicePorts);
      look();
    },
    expect(families) {
      expected = families;
      look();
    },
  };
}
