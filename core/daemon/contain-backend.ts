/**
 * A plugin's backend, as the core uses it: every call made in the plugin's context and watched, nothing handed over that
 * it could spoil, and what it forgot or mistook found at once instead of at the first packet.
 *
 * What cannot be contained inside one process: a crash in native code, a loop without end, memory without bounds,
 * changed built-ins (`Array.prototype`). A data plane that may do these belongs into a program of its own; the exec
 * backend runs one.
 */
import type { Abilities, Backend, Clock, IPFamily } from '../backend.ts';
import { describeError } from '../sync/describe-error.ts';
import { freezeChange } from './freeze-change.ts';
import { named } from './harmless-error.ts';
import type { PluginCalls } from './plugin-calls.ts';
import type { PluginFaults } from './plugin-faults.ts';

export type AnyBackend = Backend & Abilities;

export interface ContainBackendOptions {
  /** The plugin's name; begins the errors. */
  readonly name: string;
  /** What `create` resolved to, whatever that is. */
  readonly made: unknown;
  readonly calls: PluginCalls;
  readonly faults: PluginFaults;
  readonly clock: Clock;
  readonly requestFullSync: (reason: string) => void;
}

/** Throws (KP_BACKEND_SHAPE) if it is no backend; nothing but `close`, where there is one, can be called then. */
export function containBackend(options: ContainBackendOptions): AnyBackend {
  const { name, calls, faults, clock } = options;
  const { backend, families } = checkBackend(name, options.made);
  faults.serves(families);
  /** Since when the call for a family has not settled, though whoever made it may have given up. */
  const syncing = new Map<IPFamily, number>();
  const checking = new Map<IPFamily, number>();
  /** Families for which a sync was wanted meanwhile. */
  const wanted = new Set<IPFamily>();

  const contained: AnyBackend = {
    families,

    async sync(change) {
      const { family } = change;
      const beganAt = clock.now();
      const since = syncing.get(family);
      if (since !== undefined) {
        wanted.add(family);
        throw notYet(beganAt - since);
      }
      syncing.set(family, beganAt);
      try {
        const report = await calls.call(`${family}: sync`, () => backend.sync(freezeChange(change)));
        if (change.full) faults.restored(family, beganAt);
        return report;
      } finally {
        syncing.delete(family);
        if (wanted.delete(family)) options.requestFullSync(`the overdue sync of ${family} has ended`);
      }
    },

    cleanup: () => calls.call('cleanup', () => backend.cleanup()),
    close: () => calls.call('close', () => backend.close()),

    health() {
      const health = faults.health();
      if (!health.healthy || typeof backend.health !== 'function') return health;
      return calls.now('health', () => backend.health!());
    },
  };

  if (typeof backend.check === 'function') {
    contained.check = async (family) => {
      const since = checking.get(family);
      if (since !== undefined) throw notYet(clock.now() - since);
      checking.set(family, clock.now());
      try {
        return await calls.call(`${family}: check`, () => backend.check!(family));
      } finally {
        checking.delete(family);
      }
    };
  }
  if (typeof backend.initialize === 'function') {
    contained.initialize = (family, node) => {
      try {
        return calls.now(`${family}: initialize`, () => backend.initialize!(family, node));
      } catch (error) {
        throw named(name, `${family}: initialize`, error);
      }
    };
  }
  if (typeof backend.dump === 'function') contained.dump = () => calls.call('dump', () => backend.dump!());
  if (typeof backend.explain === 'function')
    contained.explain = (packet) => calls.call('explain', () => backend.explain!(packet));
  return backend.usesConntrack === true ? Object.assign(contained, { usesConntrack: true as const }) : contained;
}

function notYet(elapsedMs: number): Error {
  return new Error(`the last one has not ended yet, after ${Math.round(elapsedMs / 1000)} s`);
}

interface Checked {
  readonly backend: AnyBackend;
  /** A copy: what the plugin does to its own list later changes nothing. */
  readonly families: readonly IPFamily[];
}

function checkBackend(name: string, made: unknown): Checked {
  const faults: string[] = [];
  let families: readonly IPFamily[] = [];
  if (typeof made !== 'object' || made === null)
    throw shapeFault(name, `it is ${made === null ? 'null' : typeof made}`);
  try {
    const parts: Readonly<Partial<Record<keyof AnyBackend, unknown>>> = made;
    for (const method of ['sync', 'cleanup', 'close'] as const) {
      if (typeof parts[method] !== 'function') faults.push(`${method} is no function`);
    }
    for (const method of ['check', 'health', 'initialize', 'dump', 'explain'] as const) {
      if (parts[method] !== undefined && typeof parts[method] !== 'function') faults.push(`${method} is no function`);
    }
    const listed = parts.families;
    const right = Array.isArray(listed) && listed.every(isFamily) && new Set(listed).size === listed.length;
    if (right) families = Object.freeze([...listed]);
    else faults.push('families is no list of "IPv4" and "IPv6", each at most once');
  } catch (thrown) {
    faults.push(`reading it throws: ${describeError(thrown)}`);
  }
  if (faults.length > 0) throw shapeFault(name, faults.join('; '));
  return { backend: made as AnyBackend, families };
}

function isFamily(value: unknown): value is IPFamily {
  return value === 'IPv4' || value === 'IPv6';
}

function shapeFault(name: string, what: string): Error {
  const remedy = 'correct the plugin; core/backend.ts says what a backend is';
  return Object.assign(new Error(`backend ${name}: create() made no backend: ${what}; ${remedy}`), {
    code: 'KP_BACKEND_SHAPE',
  });
}
