/**
 * `kube-proxy`: keeps this node's data plane equal to the objects until it is told to stop.
 *
 *   startNodeProxy ──▶ Ready …… SIGTERM or SIGINT ──▶ stop, status 0
 *      ▲       ▲
 *      │       └── addresses of the interfaces, when they change
 *      └────────── the configuration file, when it is edited
 *
 * Stopping lets a sync in flight end and removes no rule: traffic goes on while another kube-proxy takes over.
 */
import { hostname } from 'node:os';
import type { Backend, Initializing } from '../backend.ts';
import { canonicalHostname, loadConfigText, type Settings } from '../config/settings.ts';
import { watchConfig } from '../config/watch-config.ts';
import { createLiveConfiguration } from '../daemon/live-configuration.ts';
import { type NodeProxy, startNodeProxy } from '../daemon/node-proxy.ts';
import { openBackend } from '../daemon/open-backend.ts';
import { containFaults, endAfterFailure, type StopSignal, stopSignal } from '../daemon/process.ts';
import { tuneConntrack } from '../daemon/tune-node.ts';
import { nodeView } from '../model/node-view.ts';
import { watchAddresses } from '../node/addresses.ts';
import { systemClock as clock } from '../node/clock.ts';
import { endProcess } from '../node/end-process.ts';
import { createSysctl } from '../node/sysctl.ts';
import { configurationRefused } from '../observe/event-reasons.ts';
import type { Log } from '../observe/log.ts';
import { createMetrics } from '../observe/metrics.ts';
import { createPluginMetrics } from '../observe/metrics-plugin.ts';
import { backendNames, chooseBackend } from './backends.ts';
import { createLeftovers } from './cleanup.ts';
import type { Run } from './main.ts';
import { VERSION } from './version.ts';

const LAST_LINES_MS = 1_000;

/** Ends the process once it was told to stop. `choose` finds the backend; replaced by tests. */
export async function daemon(run: Run, choose = chooseBackend): Promise<number> {
  const shutdown = stopSignal(run.log);
  const contained = containFaults(run.log);
  try {
    if (run.settings.initOnly) return await initialize(run, choose, shutdown);
    await serve(run, choose, shutdown);
    await printed();
  } catch (error) {
    endAfterFailure(run.log);
    throw error;
  } finally {
    contained.release();
    shutdown.release();
  }
  // All is done: what a plugin left running, a timer, a thread that waits for a pipe, is waited for no longer.
  endProcess(Number(process.exitCode ?? 0));
}

/** Who reads the log slowly gets the rest of it, but not for ever. */
async function printed(): Promise<void> {
  const until = clock.now() + LAST_LINES_MS;
  while (process.stdout.writableLength + process.stderr.writableLength > 0 && clock.now() < until) {
    await new Promise<void>((resolve) => clock.after(10, resolve));
  }
}

/** What takes more privilege than serving does; a second container may then do with CAP_NET_ADMIN alone. */
async function initialize({ settings, log }: Run, choose: typeof chooseBackend, { signal }: StopSignal) {
  tuneConntrack(settings, createSysctl(), log);
  const opened = await openBackend({
    chosen: await choose(settings),
    log,
    signal,
    metrics: { register: () => () => {} },
    requestFullSync: () => {},
    clock,
  });
  const addresses = watch(log, () => {});
  try {
    const backend: Backend & Partial<Initializing> = opened.backend;
    const node = { ...settings.node, nodeName: nodeName(settings) };
    for (const family of backend.families) {
      // Typed as one that answers at once; a plugin in plain JavaScript may have made it async.
      await backend.initialize?.(family, nodeView(family, undefined, node, addresses.current()));
    }
  } finally {
    addresses.stop();
    await opened.discard();
  }
  log.info('Initialized; kube-proxy can run without the privilege to set kernel parameters', {
    backend: settings.backend,
  });
  return 0;
}

async function serve({ settings, line, log }: Run, choose: typeof chooseBackend, shutdown: StopSignal): Promise<void> {
  const { configFile: file } = settings;
  const metrics = createMetrics({
    version: VERSION,
    now: Date.now,
    onFault: (metric, error) => log.warn('A metric could not be read and is left out', { metric, error }),
  });
  let proxy: NodeProxy | undefined;
  let inForce = settings;
  let readAtMs: number | undefined = file === '' ? undefined : Date.now();

  const live = createLiveConfiguration({
    file,
    initial: settings,
    initialHash: settings.configHash,
    evaluate: (text) => loadConfigText(text, file, line, backendNames()),
    async apply(before, after) {
      // Before it is applied: what the backend before left goes as soon as the new one is ready.
      inForce = after;
      try {
        await proxy?.apply(before, after);
      } catch (error) {
        inForce = before;
        throw error;
      }
    },
    waitsFor: () => proxy?.waitsFor(),
    log,
    onEdit({ refused }) {
      metrics.configLoaded({ ok: refused.length === 0, changed: true });
      if (refused.length > 0)
        proxy?.events().record(configurationRefused(nodeName(settings), file, refused.join('; ')));
    },
  });
  const leftovers = createLeftovers(log, shutdown.signal, () => inForce);
  const addresses = watch(log, () => proxy?.nodeChanged());
  let watched: { stop(): Promise<void> } | undefined;
  try {
    log.info('Starting', {
      version: VERSION,
      backend: settings.backend,
      node: nodeName(settings),
      ...origin(settings),
    });
    proxy = await startNodeProxy({
      version: VERSION,
      settings,
      nodeName,
      choose,
      log,
      signal: shutdown.signal,
      metrics,
      pluginMetrics: createPluginMetrics({ registry: metrics.registry, log: log.child('metrics'), clock }),
      addresses: addresses.current,
      configuration: () => ({ ...live.status(), readAtMs }),
      flags: Object.fromEntries(Object.entries(line.values).map(([name, value]) => [name, flagText(value)])),
      onTakeover: leftovers.tookOver,
      onLateEnd: leftovers.cameBack,
      async onReady() {
        live.proven();
        const isToLook = await leftovers.cleanUp();
        if (isToLook) proxy?.requestFullSync('what another backend left was cleaned up');
      },
      onHopeless: (backend, family, reason) =>
        void live.withdraw(`backend ${backend} cannot program ${family} on this node: ${reason}`),
    });
    if (file !== '') {
      metrics.configLoaded({ ok: true, changed: false });
      watched = watchConfig({
        path: file,
        // What is read at first is recognised by its hash.
        text: '',
        clock,
        log,
        onTrouble: (reason) => live.unreadable(reason),
        onChange(text) {
          readAtMs = Date.now();
          void live.edited(text);
        },
      });
    }
    const signal = await shutdown.received;
    const staying = proxy.endsWithProcess() ? 'connections through this process end' : 'the rules stay in place';
    log.info(`Stopping; ${staying}`, { signal });
    await watched?.stop();
    await proxy.stop();
    log.info('Stopped');
  } finally {
    addresses.stop();
    metrics.close();
  }
}

function watch(log: Log, onChange: () => void): ReturnType<typeof watchAddresses> {
  return watchAddresses({
    onChange,
    onFault: (error) => log.error("The addresses of the host's interfaces cannot be read; the last stay", { error }),
    onFallback: (error) =>
      log.warn('Without netlink, changes of addresses take longer, and interfaces without carrier count as absent', {
        error,
      }),
  });
}

function nodeName(settings: Settings): string {
  return settings.node.nodeName || canonicalHostname(hostname());
}

/** Where configuration and objects come from, for the log. */
function origin({ configFile, source }: Settings): Readonly<Record<string, string>> {
  const config: Record<string, string> = configFile === '' ? {} : { config: configFile };
  if (source.kind === 'manifests') return { ...config, manifests: source.path };
  return { ...config, kubeconfig: source.kubeconfig || '(in-cluster)' };
}

function flagText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
