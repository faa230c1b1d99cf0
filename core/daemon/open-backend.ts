/** A plugin with a Host of its own, so that one backend can take over from another without sharing sockets with it. */
import type { Backend, BackendPlugin, Clock, PluginMetrics } from '../backend.ts';
import { createHost } from '../node/host.ts';
import type { Log } from '../observe/log.ts';
import { createDriver } from '../sync/driver.ts';

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
  /** Close the backend, which may not take long, and release it. Never rejects. */
  discard(): Promise<void>;
}

export interface OpenBackendOptions {
  readonly chosen: ChosenBackend;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly metrics: PluginMetrics;
  readonly requestFullSync: (reason: string) => void;
  readonly clock: Clock;
}

/** As long as a sync may take. Nothing else of an edit is dealt with before, nor is any later one. */
const CREATE_LIMIT_MS = 300_000;

/** Rejects as the plugin's create() does; nothing is left open then. */
export async function openBackend(options: OpenBackendOptions): Promise<OpenBackend> {
  const { chosen, log, clock } = options;
  const { plugin, options: pluginOptions } = chosen;
  let released = false;
  /** Metrics that the plugin registered and has not taken back. */
  const registered = new Set<() => void>();
  const host = createHost({
    log: log.child(plugin.name),
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
  const opened = (backend: Backend): OpenBackend => ({
    ...chosen,
    backend,
    release,
    async discard() {
      const closed = await createDriver({ backend, name: plugin.name, clock, syncDeadlineMs: 0 }).close();
      if (closed.kind !== 'done') log.error('The backend did not close cleanly', { error: closed.error });
      release();
    },
  });
  try {
    const creating = plugin.create(host, pluginOptions);
    const backend = await inTime(creating, clock);
    if (backend === undefined) {
      void creating.then((late) => opened(late).discard()).catch(() => {});
      throw new Error(`backend ${plugin.name}: was not created within ${CREATE_LIMIT_MS / 1000} s; choose another`);
    }
    if (backend.families.length > 0) return opened(backend);
    await opened(backend).discard();
    throw Object.assign(new Error(`backend ${plugin.name}: serves no IP family on this host; choose another`), {
      code: 'KP_NO_FAMILY',
    });
  } catch (error) {
    release();
    throw error;
  }
}

/** Undefined after the limit. */
async function inTime(creating: Promise<Backend>, clock: Clock): Promise<Backend | undefined> {
  let cancel = (): void => {};
  const late = new Promise<undefined>((resolve) => {
    cancel = clock.after(CREATE_LIMIT_MS, () => resolve(undefined));
  });
  try {
    return await Promise.race([creating, late]);
  } finally {
    cancel();
  }
}
