/**
 * A plugin with a Host of its own, so that one backend can take over from another without sharing sockets with it. From
 * here on the plugin is contained:
 *
 *   plugin.create ──▶ contain-backend.ts   every call in the plugin's context, watched; what it gets is frozen
 *        │      └───▶ contain-host.ts      what it starts is known to be the plugin's
 *        └──────────▶ plugin-faults.ts     what escapes degrades health and leads to a full sync
 */
import type { Backend, BackendPlugin, Clock, Logger, PluginMetrics, ServiceEvents } from '../backend.ts';
import { createHost } from '../node/host.ts';
import type { Log } from '../observe/log.ts';
import { BACKEND_MEMBERS, PLUGIN_MEMBERS } from '../plugin/contract-members.ts';
import { type Misspelt, misspelt } from '../plugin/members.ts';
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
  /** The plugin's file; undefined for one that is built in. */
  readonly file?: string | undefined;
  /** Files of the plugin that look different now from what was read, and runs. */
  readonly changed?: readonly string[];
}

export interface OpenBackend extends ChosenBackend {
  readonly backend: Backend;
  readonly context: PluginContext;
  /** Calls under way, each with its age, for the log. */
  pending(): readonly string[];
  /** To be called before it is closed if the same backend begins at once with other options: its Host's signal says so. */
  beginsAnew(): void;
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
  /** Default: nobody is told. */
  readonly events?: ServiceEvents;
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
  const { plugin, file } = chosen;
  const { name } = plugin;
  const ending = new AbortController();
  let released = false;
  const requestFullSync = (reason: string): void => {
    if (!released) options.requestFullSync(reason);
  };
  const faults = createPluginFaults({ name, clock, log, requestFullSync, onFault: (kind) => onFault(name, kind) });
  const context: PluginContext = { name, escaped: faults.escaped };
  const calls = createPluginCalls({ context, clock, log, onStall: () => onFault(name, 'stall') });
  const host = createHost({
    log: log.child(name),
    signal: AbortSignal.any([options.signal, ending.signal]),
    requestFullSync,
    metrics: options.metrics,
    events: options.events,
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
    if (closed.kind !== 'done') log.error('The backend did not close cleanly', { error: closed.fault });
    release();
  };
  /** `made` is whatever create() resolved to; if it is no backend, it may yet have something to close. */
  async function open(made: unknown): Promise<OpenBackend> {
    try {
      const backend = containBackend({ name, file, made, calls, faults, clock, requestFullSync });
      warnOfMembers(log, name, 'What create() made', misspelt(made, BACKEND_MEMBERS));
      return {
        ...chosen,
        backend,
        context,
        pending: calls.pending,
        release,
        beginsAnew: () => ending.abort(),
        discard: () => discard(backend),
      };
    } catch (error) {
      await discard({ ...NO_BACKEND, close: () => calls.call('close', () => closeIfItCan(made)) });
      throw error;
    }
  }
  warnOfPlugin(log, chosen);
  try {
    const creating = calls.call('create', () => plugin.create(contained.host, copied(chosen.options)));
    const made = await inTime(creating, clock);
    if (made === LATE) {
      void creating.then(open).then(
        (late) => late.discard(),
        () => {},
      );
      throw createFault(name, CREATE_LIMIT_MS);
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

/** A create() that has not settled within this time. */
export function createFault(name: string, limitMs: number): Error {
  const remedy = 'give every wait in it a limit';
  return new Error(`backend ${name}: create() has not settled after ${limitMs / 1000} s; ${remedy}`);
}

/** Plugins whose members were told of: one that is opened again and again is told of once. */
const told = new WeakSet<BackendPlugin>();

/** What is odd about it and keeps nobody from using it. */
export function warnOfPlugin(log: Logger, { plugin, changed = [] }: Pick<ChosenBackend, 'plugin' | 'changed'>): void {
  const { name } = plugin;
  for (const file of changed) {
    log.warn('The plugin has changed since it was read; restart kube-proxy to load it', { backend: name, file });
  }
  if (told.has(plugin)) return;
  told.add(plugin);
  warnOfMembers(log, name, 'The plugin', misspelt(plugin, PLUGIN_MEMBERS));
}

function warnOfMembers(log: Logger, backend: string, owner: string, all: readonly Misspelt[]): void {
  for (const { found, meant } of all) {
    log.warn(`${owner} has a member that the contract does not know`, { backend, member: found, didYouMean: meant });
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
