/** A plugin with a Host of its own, so that one backend can take over from another without sharing sockets with it. */
import type { Backend, BackendPlugin, PluginMetrics } from '../backend.ts';
import { createHost } from '../node/host.ts';
import type { Log } from '../observe/log.ts';

export interface ChosenBackend {
  readonly plugin: BackendPlugin;
  readonly options: Readonly<Record<string, unknown>>;
  /** It programs nothing on this host, so that nothing else of the host is to be touched for it either. */
  readonly leavesHostAlone?: boolean;
}

export interface OpenBackend extends ChosenBackend {
  readonly backend: Backend;
  /** Give back what the Host opened; to be called once the backend is closed. */
  release(): void;
}

export interface OpenBackendOptions {
  readonly chosen: ChosenBackend;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly metrics: PluginMetrics;
  readonly requestFullSync: (reason: string) => void;
}

/** Rejects as the plugin's create() does; nothing is left open then. */
export async function openBackend(options: OpenBackendOptions): Promise<OpenBackend> {
  const { plugin, options: pluginOptions } = options.chosen;
  let released = false;
  /** Metrics that the plugin registered and has not taken back. */
  const registered = new Set<() => void>();
  const host = createHost({
    log: options.log.child(plugin.name),
    signal: options.signal,
    // A backend that was replaced may have timers left; what it asks for is nobody's business any more.
    requestFullSync: (reason) => {
      if (!released) options.requestFullSync(reason);
    },
    metrics: {
      register(metric) {
        const takeBack = options.metrics.register(metric);
        registered.add(takeBack);
        return () => {
          registered.delete(takeBack);
          takeBack();
        };
      },
    },
  });
  const release = (): void => {
    released = true;
    for (const takeBack of registered) takeBack();
    registered.clear();
    host.close();
  };
  try {
    return { ...options.chosen, backend: await plugin.create(host, pluginOptions), release };
  } catch (error) {
    release();
    throw error;
  }
}
