/**
 * A plugin with a Host of its own, so that one backend can take over from another without sharing sockets with it. From
 * here on the plugin is contained:
 *
 *   plugin.create ──▶ contain-backend.ts   every call in the plugin's context, watched; what it gets is frozen
 *        │      └───▶ contain-host.ts      what it starts is known to be the plugin's
 *        └──────────▶ plugin-faults.ts     what escapes degrades health and leads to a full sync
 */
import type { Backend, BackendPlugin, Clock, PluginMetrics } from '../backend.ts';
import { createHost } from '../node/host.ts';
import type { Log } from '../observe/log.ts';
import { createDriver } from '../sync/driver.ts';
import { containBackend } from './contain-backend.ts';
import { containHost } from './contain-host.ts';
import { named } from './harmless-error.ts';
import { createPluginCalls } from './plugin-calls.ts';
import type { FaultKind, PluginContext } from './plugin-context.ts';
import { createPluginFaults } from './plugin-faults.ts';

export interface ChosenBackend {
  readonly plugin: BackendPlugin;
  readonly options: Readonly<Record<string, unknown>>;
  /** It programs nothing on this host, so that nothing else of the host is to be touched for it either. */
  readonly leavesHostAlone?: boolean;
}

export interface OpenBackend extends ChosenBackend {
  readonly backend: Backend;
  readonly context: PluginContext;
  /** Calls under way, each with its age, for the log. */
  pending(): readonly string[];
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
  /** Told of each fault that escaped, and of each stall. */
  readonly onFault?: (plugin: string, kind: FaultKind) => void;
}

/** At a start nothing is served meanwhile; of an edit nothing else is dealt with before, nor is any later one. */
const CREATE_LIMIT_MS = 120_000;

/** Rejects as the plugin's create() does, naming the plugin; nothing is left open then. */
export async function openBackend(options: OpenBackendOptions): Promise<OpenBackend> {
  const { chosen, log, clock, onFault = () => {} } = options;
  const { plugin } = chosen;
  const { name } = plugin;
  let released = false;
  const requestFullSync = (reason: string): void => {
    if (!released) options.requestFullSync(reason);
  };
  const faults = createPluginFaults({ name, clock, log, requestFullSync, onFault: (kind) => onFault(name, kind) });
  const context: PluginContext = { name, escaped: faults.escaped };
  const calls = createPluginCalls({ context, clock, log, onStall: () => onFault(name, 'stall') });
  const host = createHost({
    log: log.child(name),
    signal: options.signal,
    requestFullSync,
    metrics: options.metrics,
  });
  const contained = containHost({ host, context, calls, clock });
  const release = (): void => {
    if (released) return;
    released = true;
    faults.retire();
    contained.release();
    host.close();
  };
  const discard = async (backend: Backend): Promise<void> => {
    const closed = await createDriver({ backend, name, clock, syncDeadlineMs: 0 }).close();
    if (closed.kind !== 'done') log.error('The backend did not close cleanly', { error: closed.error });
    release();
  };
  /** `made` is whatever create() resolved to; if it is no backend, it may yet have something to close. */
  async function open(made: unknown): Promise<OpenBackend> {
    try {
      const backend = containBackend({ name, made, calls, faults, clock, requestFullSync });
      return { ...chosen, backend, context, pending: calls.pending, release, discard: () => discard(backend) };
    } catch (error) {
      await discard({ ...NO_BACKEND, close: () => calls.call('close', () => closeIfItCan(made)) });
      throw error;
    }
  }
  try {
    const creating = calls.call('create', () => plugin.create(contained.host, copied(chosen.options)));
    const made = await inTime(creating, clock);
    if (made === LATE) {
      void creating.then(open).then(
        (late) => late.discard(),
        () => {},
      );
      throw new Error(`backend ${name}: was not created within ${CREATE_LIMIT_MS / 1000} s; choose another`);
    }
    const opened = await open(made);
    if (opened.backend.families.length > 0) return opened;
    await opened.discard();
    throw Object.assign(new Error(`backend ${name}: serves no IP family on this host; choose another`), {
      code: 'KP_NO_FAMILY',
    });
  } catch (error) {
    release();
    throw named(name, 'create', error);
  }
}

const LATE = Symbol('late');

async function inTime<T>(creating: Promise<T>, clock: Clock): Promise<T | typeof LATE> {
  let cancel = (): void => {};
  const late = new Promise<typeof LATE>((resolve) => {
    cancel = clock.after(CREATE_LIMIT_MS, () => resolve(LATE));
  });
  try {
    return await Promise.race([creating, late]);
  } finally {
    cancel();
  }
}

const NO_BACKEND: Omit<Backend, 'close'> = {
  families: [],
  sync: () => Promise.reject(new Error('not a backend')),
  cleanup: () => Promise.reject(new Error('not a backend')),
};

async function closeIfItCan(made: unknown): Promise<void> {
  if (typeof made !== 'object' || made === null || !('close' in made) || typeof made.close !== 'function') return;
  await made.close();
}

/** The settings keep theirs: an edit is recognised by comparing with them. */
function copied(options: ChosenBackend['options']): ChosenBackend['options'] {
  try {
    return structuredClone(options);
  } catch {
    // A function or the like, which only a test hands over.
    return { ...options };
  }
}
