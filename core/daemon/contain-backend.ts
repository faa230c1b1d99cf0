/**
 * A plugin's backend, as the core uses it: every call made in the plugin's context and watched, nothing handed over that
 * it could spoil, and what it forgot or mistook found at once instead of at the first packet.
 *
 * What cannot be contained inside one process: a crash in native code, a loop without end, memory without bounds,
 * changed built-ins (`Array.prototype`). A data plane that may do these belongs into a program of its own; the exec
 * backend runs one.
 */
import type { Abilities, Backend, Clock, IPFamily, UsesConntrack } from '../backend.ts';
import { BACKEND_MEMBERS } from '../plugin/contract-members.ts';
import { withCode } from '../plugin/fault.ts';
import { foundInstead, misspelt } from '../plugin/members.ts';
import { describeError, describeValue } from '../sync/describe-error.ts';
import { freezeChange, frozenFault } from './freeze-change.ts';
import { harmlessError, named } from './harmless-error.ts';
import type { PluginCalls } from './plugin-calls.ts';
import type { PluginFaults } from './plugin-faults.ts';

export type AnyBackend = Backend & Abilities;

export interface ContainBackendOptions {
  /** The plugin's name; begins the errors. */
  readonly name: string;
  /** The plugin's file, where it is known. */
  readonly file?: string | undefined;
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
  const { backend, families } = checkBackend(options);
  faults.serves(families);
  /** Since when the call for a family has not settled, though whoever made it may have given up. */
  const syncing = new Map<IPFamily, number>();
  const checking = new Map<IPFamily, number>();
  /** Families for which a sync was wanted meanwhile. */
  const wanted = new Set<IPFamily>();

  /** What it rejects with is harmless, and says where it was thrown. */
  async function call<T>(what: string, invoke: () => T | PromiseLike<T>): Promise<T> {
    try {
      return await calls.call(what, invoke);
    } catch (thrown) {
      throw harmlessError(thrown);
    }
  }

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
        const report = await call(`${family}: sync`, () => backend.sync(freezeChange(change)));
        if (change.full) faults.restored(family, beganAt);
        return report;
      } catch (error) {
        throw frozenFault(harmlessError(error));
      } finally {
        syncing.delete(family);
        if (wanted.delete(family)) options.requestFullSync(`the overdue sync of ${family} has ended`);
      }
    },

    cleanup: () => call('cleanup', () => backend.cleanup()),
    close: () => call('close', () => backend.close()),

    health() {
      const health = faults.health();
      if (!health.healthy || typeof backend.health !== 'function') return health;
      try {
        return calls.now('health', () => backend.health!());
      } catch (thrown) {
        throw harmlessError(thrown);
      }
    },
  };

  if (typeof backend.check === 'function') {
    contained.check = async (family) => {
      const since = checking.get(family);
      if (since !== undefined) throw notYet(clock.now() - since);
      checking.set(family, clock.now());
      try {
        return await call(`${family}: check`, () => backend.check!(family));
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
  if (typeof backend.dump === 'function') contained.dump = () => call('dump', () => backend.dump!());
  if (typeof backend.explain === 'function')
    contained.explain = (packet) => call('explain', () => backend.explain!(packet));
  if (backend.usesConntrack !== true) return contained;
  const usesConntrack: UsesConntrack = { usesConntrack: true };
  if (typeof backend.answersAt === 'function') {
    usesConntrack.answersAt = (family) => {
      try {
        return calls.now(`${family}: answersAt`, () => backend.answersAt!(family));
      } catch (thrown) {
        throw harmlessError(thrown);
      }
    };
  }
  return Object.assign(contained, usesConntrack);
}

function notYet(elapsedMs: number): Error {
  return new Error(`the last one has not ended yet, after ${Math.round(elapsedMs / 1000)} s`);
}

interface Checked {
  readonly backend: AnyBackend;
  /** A copy: what the plugin does to its own list later changes nothing. */
  readonly families: readonly IPFamily[];
}

function checkBackend({ name, file, made }: ContainBackendOptions): Checked {
  const faults: string[] = [];
  let families: readonly IPFamily[] = [];
  const shapeFault = (what: string): Error => faultOf(name, file, what);
  if (typeof made !== 'object' || made === null) {
    const what =
      made === undefined ? 'it returned undefined (is a return missing?)' : `it returned ${describeValue(made)}`;
    throw shapeFault(what);
  }
  const others = misspelt(made, BACKEND_MEMBERS);
  try {
    const parts: Readonly<Partial<Record<keyof AnyBackend, unknown>>> = made;
    for (const method of ['sync', 'cleanup', 'close'] as const) {
      if (typeof parts[method] !== 'function') faults.push(`${method} is no function${foundInstead(method, others)}`);
    }
    for (const method of ['check', 'health', 'initialize', 'dump', 'explain', 'answersAt'] as const) {
      if (parts[method] !== undefined && typeof parts[method] !== 'function') faults.push(`${method} is no function`);
    }
    const listed = parts.families;
    const right = Array.isArray(listed) && listed.every(isFamily) && new Set(listed).size === listed.length;
    if (right) families = Object.freeze([...listed]);
    else faults.push(`families is no list of "IPv4" and "IPv6", each at most once${foundInstead('families', others)}`);
  } catch (thrown) {
    faults.push(`reading it throws: ${describeError(thrown)}`);
  }
  if (faults.length > 0) throw shapeFault(faults.join('; '));
  return { backend: made as AnyBackend, families };
}

function isFamily(value: unknown): value is IPFamily {
  return value === 'IPv4' || value === 'IPv6';
}

function faultOf(name: string, file: string | undefined, what: string): Error {
  const code = 'KP_BACKEND_SHAPE';
  const remedy = 'correct the plugin; kube-proxy.d.ts says what a backend is';
  const begin = file === undefined ? '' : `${file}: `;
  const message = `${begin}backend ${name}: create() made no backend: ${what}; ${remedy}`;
  return Object.assign(new Error(withCode(message, code)), { code });
}
