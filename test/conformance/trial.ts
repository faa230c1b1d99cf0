/**
 * What a behaviour is tried with: instances of the backend, each with a Host of its own that is watched, deadlines on
 * every call, states to program, and a look at what the kernel holds.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  Backend,
  BackendPlugin,
  Change,
  HealthReporting,
  Initializing,
  Inspectable,
  IPFamily,
  Logger,
  SelfChecking,
  SyncReport,
} from '../../core/backend.ts';
import { freezeChange } from '../../core/daemon/freeze-change.ts';
import type { InterfaceAddress } from '../../core/model/node-settings.ts';
import { broken, doubtful, sayThrown, untried } from './behaviour.ts';
import { type Evidence, LISTENER } from './evidence.ts';
import { ownSockets } from './listeners.ts';
import type { ProcessWatch } from './process-watch.ts';
import { PROGRAM_NOTE } from './program-words.ts';
import { full, type State, type States, statesOf } from './sample-cluster.ts';
import { type MakeHost, type Watched, watchHost } from './watched-host.ts';

export interface Limits {
  /** Milliseconds that a call may take: less than the daemon gives it, so that a report comes in time. */
  readonly callMs: number;
  /** As the core gives it. */
  readonly closeMs: number;
  /** Milliseconds that a backend may need until it works again after a failure. */
  readonly recoverMs: number;
  /** How many are many. */
  readonly manyServices: number;
}

/** Seconds that the daemon gives a call. */
const DAEMON_SECONDS = { create: 120, others: 300 } as const;

export const LIMITS: Limits = { callMs: 60_000, closeMs: 5_000, recoverMs: 20_000, manyServices: 1_000 };

export interface Subject {
  readonly plugin: BackendPlugin;
  readonly options: Readonly<Record<string, unknown>>;
  readonly makeHost: MakeHost;
  readonly evidence: Evidence;
  readonly process: ProcessWatch;
  /** What the node's interfaces have. */
  readonly addresses: readonly InterfaceAddress[];
  readonly limits: Limits;
  /** The program that it is, where the backend is exec: what is found out is for its author. */
  readonly program?: string;
  /** Gets what the plugin logs. */
  readonly show?: Logger;
}

export type AnyBackend = Backend & Partial<SelfChecking & HealthReporting & Initializing & Inspectable>;

/** A backend that was created. What it is asked has deadlines, and what it is handed over is frozen, as by the daemon. */
export interface Instance {
  readonly backend: AnyBackend;
  readonly families: readonly IPFamily[];
  readonly watched: Watched;
  sync(change: Change): Promise<SyncReport>;
  cleanup(): Promise<void>;
  /** Within its deadline, and with its Host afterwards. */
  close(): Promise<void>;
  /**
   * As when the process is killed: the kernel closes its sockets, its programs lose their input. Listeners in this very
   * process cannot be taken from it, so that who has some is closed.
   */
  crash(): Promise<void>;
  /** Its text in the backend's own words, as lines in byte order; undefined if it has none. */
  dump(): Promise<string | undefined>;
}

export interface Trial {
  readonly subject: Subject;
  readonly evidence: Evidence;
  /** Rejects as create() does. `options`: instead of those that were given. */
  open(options?: Readonly<Record<string, unknown>>): Promise<Instance>;
  /** A call with a deadline. */
  within<T>(what: string, call: () => Promise<T>, limitMs?: number): Promise<T>;
  /** Of the first family, or of this one. */
  states(family: IPFamily): States;
  /** What several behaviours find out, found out once. */
  readonly facts: Facts;
  /** Closes and cleans up whatever the behaviour left, whatever comes of it. */
  tidy(): Promise<void>;
}

/** Filled in as behaviours are tried; undefined = not known. */
export interface Facts {
  families?: readonly IPFamily[];
  /** Operations that a full sync of what is there already reports. */
  again?: number;
  /** They are none. */
  quiet?: boolean;
  /** dump() of two instances in one state is the same, and that of another state is not. */
  dumps?: boolean;
  /** What it programs can be seen by `Evidence`. */
  visible?: boolean;
  /** … and is more than files: connections may pass through it. */
  inTheWay?: boolean;
  /** Its data plane are listeners in this process. */
  listens?: boolean;
  /** Its close() has been found not to end. */
  hangs?: boolean;
}

export function createTrial(subject: Subject, facts: Facts): Trial {
  const { plugin, limits, evidence } = subject;
  const instances: { readonly instance: Instance; closed: boolean }[] = [];
  const cache = new Map<IPFamily, States>();

  async function within<T>(what: string, call: () => Promise<T>, limitMs = limits.callMs): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const seen = 'a promise that does not settle';
        reject(broken(`${what} to settle within ${sayLimit(what, limitMs)}`, seen, 'give every wait in it a limit'));
      }, limitMs);
    });
    try {
      return await Promise.race([(async () => call())(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async function open(options: Readonly<Record<string, unknown>> = subject.options): Promise<Instance> {
    const aborter = new AbortController();
    const before = ownSockets();
    const holdsListeners = (): boolean => evidence.listening().some(({ inode, isOwn }) => isOwn && !before.has(inode));
    const watched = watchHost(subject.makeHost, aborter.signal, subject.show);
    let backend: AnyBackend;
    try {
      backend = await within('create()', () => plugin.create(watched.host, structuredClone(options)));
    } catch (error) {
      watched.host.close();
      throw error;
    }
    const closed = (): void => {
      entry.closed = true;
    };
    const entry = { instance: instanceOf(backend, watched, within, limits, holdsListeners, closed), closed: false };
    instances.push(entry);
    return entry.instance;
  }

  return {
    subject,
    evidence,
    open,
    within,
    states(family) {
      const known = cache.get(family) ?? statesOf(family, subject.addresses);
      cache.set(family, known);
      return known;
    },
    facts,
    async tidy() {
      let cleaned = false;
      for (const { instance, closed } of instances.toReversed()) {
        instance.watched.fail('none');
        if (closed) continue;
        if (!cleaned && typeof instance.backend?.cleanup === 'function') {
          cleaned = await instance.cleanup().then(
            () => true,
            () => false,
          );
        }
        await closeQuietly(instance);
      }
      instances.length = 0;
      if (!cleaned) await cleanAfresh();
      await evidence.wipe();
    },
  };

  /** One that does not end is waited for once. */
  async function closeQuietly(instance: Instance): Promise<void> {
    const begin = performance.now();
    const closing = instance.close().catch(() => {
      if (performance.now() - begin >= limits.closeMs) facts.hangs = true;
    });
    if (!facts.hangs) await closing;
  }

  /** Everything is closed already; what it programmed is there still. */
  async function cleanAfresh(): Promise<void> {
    try {
      const instance = await open();
      await instance.cleanup().catch(() => {});
      await closeQuietly(instance);
    } catch {
      // It could not be created, so that nothing can have been programmed.
    }
    instances.length = 0;
  }
}

function instanceOf(
  backend: AnyBackend,
  watched: Watched,
  within: Trial['within'],
  limits: Limits,
  holdsListeners: () => boolean,
  closed: () => void,
): Instance {
  return {
    backend,
    families: Array.isArray(backend?.families) ? backend.families : [],
    watched,
    sync: (change) =>
      within(`sync() of ${describe(change)}`, async () => {
        try {
          return await backend.sync(freezeChange(change));
        } catch (error) {
          const remedy = wroteToFrozen(error) ? FROZEN_REMEDY : undefined;
          throw broken(`sync() of ${describe(change)} to resolve`, `a rejection: ${sayThrown(error)}`, remedy);
        }
      }),
    cleanup: () => within('cleanup()', () => backend.cleanup()),
    async close() {
      try {
        await within('close()', () => backend.close(), limits.closeMs);
      } finally {
        closed();
        watched.host.close();
      }
    },
    async crash() {
      for (const child of watched.children) await child.end(0);
      if (holdsListeners()) await within('close()', () => backend.close(), limits.closeMs).finally(closed);
      watched.host.close();
    },
    async dump() {
      if (typeof backend.dump !== 'function') return undefined;
      const text = await within('dump()', () => backend.dump!());
      if (typeof text !== 'string') throw broken('dump() to resolve to text', typeof text);
      return text.split('\n').sort().join('\n');
    },
  };
}

/** A limit of the kit's own is told as such: nobody shall look for it in kube-proxy. */
function sayLimit(what: string, limitMs: number): string {
  const seconds = limitMs / 1000;
  if (what.startsWith('close()')) return `${seconds} s`;
  const daemon = what.startsWith('create()') ? DAEMON_SECONDS.create : DAEMON_SECONDS.others;
  return `${seconds} s, the limit of this kit (kube-proxy waits ${daemon} s)`;
}

export const FROZEN_REMEDY = 'the change is frozen: copy before sorting or changing: [...list].sort(), { ...port, … }';

/** In V8's words, for an attempt to change what is frozen. */
export function wroteToFrozen(thrown: unknown): boolean {
  const message = thrown instanceof TypeError ? String(thrown.message) : '';
  return /read only property|object is not extensible|Cannot (delete|redefine) property/.test(message);
}

export function describe({ family, full: whole, upsert, remove }: Change): string {
  const counts = [`${upsert.length} service ports`, ...(remove.length > 0 ? [`${remove.length} to remove`] : [])];
  return `a ${whole ? 'full' : 'partial'} ${family} change (${counts.join(', ')})`;
}

/** For each family of the instance in turn. */
export async function eachFamily(
  trial: Trial,
  instance: Instance,
  act: (states: States) => Promise<void>,
): Promise<void> {
  for (const family of instance.families) await act(trial.states(family));
}

/** An instance that has programmed the state that `pick` chooses, in each family. */
export async function synced(trial: Trial, pick: (states: States) => State): Promise<Instance> {
  const instance = await trial.open();
  await eachFamily(trial, instance, async (states) => void (await instance.sync(full(pick(states)))));
  return instance;
}

/**
 * Is what the instance holds the state that it was brought to? By what it says of itself: its dump() beside that of a
 * new instance; without one, a full sync should find nothing to do. Resolves to a note if neither can tell.
 */
export async function expectState(
  trial: Trial,
  instance: Instance,
  pick: (states: States) => State,
): Promise<{ readonly note: string } | undefined> {
  const { facts } = trial;
  if (!facts.dumps && !facts.quiet) {
    const why = 'only that it resolves: with dump(), or 0 operations for a state that is right, it could be compared';
    return { note: trial.subject.program === undefined ? why : PROGRAM_NOTE };
  }
  if (!facts.dumps) {
    await eachFamily(trial, instance, async (states) => {
      const report = await instance.sync(full(pick(states)));
      if (report.operations === 0) return;
      // It may have kept something that harms nobody, to be swept later.
      const found = `${report.operations} operations in ${states.family}`;
      throw doubtful('a full sync of the same state to find nothing to do', found);
    });
    return undefined;
  }
  const dumped = await instance.dump();
  // Whether these do what they should is for other behaviours to judge.
  await instance.cleanup().catch(() => {});
  await instance.close().catch(() => {});
  const fresh = await synced(trial, pick);
  const expected = await fresh.dump();
  if (dumped === expected) return undefined;
  throw broken(
    'the dump() of a backend that got this state by one full sync',
    difference(linesOf(expected), linesOf(dumped)),
  );
}

function linesOf(text = ''): readonly string[] {
  return text.split('\n').filter((line) => line !== '');
}

export function sameLines(one: readonly string[], other: readonly string[]): boolean {
  return one.join('\n') === other.join('\n');
}

/** The first lines that only one of two sorted lists has. */
export function difference(wanted: readonly string[], had: readonly string[]): string {
  const missing = wanted.filter((line) => !had.includes(line));
  const extra = had.filter((line) => !wanted.includes(line));
  const parts = [
    ...missing.slice(0, 2).map((line) => `without "${line.trim()}"`),
    ...extra.slice(0, 2).map((line) => `with "${line.trim()}"`),
  ];
  return parts.length > 0 ? parts.join(', ') : 'the same lines, some of them more or less often';
}

/** Throws unless the backend's work shows in `Evidence`. */
export function needsSight({ facts }: Trial): void {
  if (facts.visible) return;
  throw untried(
    'its work does not show in what the kit can list (nf_tables, iptables, IP sets, IPVS, interfaces, listeners, and files below /run, /etc and /var)',
  );
}

/** A program that was told to end may listen for a moment longer. */
const LINGER_MS = 2000;

/** What `Evidence` sees; looked at again for a moment while there are listeners that should not be there. */
export async function lookAgain({ evidence }: Trial, expected: readonly string[]): Promise<readonly string[]> {
  for (const end = performance.now() + LINGER_MS; ; await sleep(20)) {
    const lines = await evidence.look();
    const lingers = lines.some((line) => line.startsWith(LISTENER) && !expected.includes(line));
    if (!lingers || performance.now() > end) return lines;
  }
}

/** Looks again for a while: until it is so, or time is over. */
export async function eventually(so: () => boolean, limitMs: number): Promise<boolean> {
  for (const end = performance.now() + limitMs; !so(); await sleep(20)) if (performance.now() > end) return false;
  return true;
}
