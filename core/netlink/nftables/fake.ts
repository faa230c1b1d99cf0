/**
 * An nf_tables in memory, for tests of whatever uses `Nftables` (a plugin's author may, too). It refuses what the kernel
 * refuses, with the same errors, all or nothing; and it encodes every transaction, so that a value which the real one
 * could not send fails here as well.
 *
 *   const kernel = createFakeNftables();
 *   await backend.sync(change);                          // through a Host whose netlink.nftables() is `kernel`
 *   assert.equal(kernel.dump('ip'), …);                  // as `nft list ruleset`, elements sorted
 *   kernel.failNext({ code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' }, 'after');   // the outcome unknown: it took effect
 *
 * Two of them with one state are two processes in one network namespace. Not here: packets (but see `packet`), counters,
 * and the kernel's view of a transaction that is wrong half-way and right at its end.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type {
  Nftables,
  NftElement,
  NftFamily,
  NftOperation,
  NftTable,
  NftTableInfo,
  NftTransaction,
} from '../../nftables.ts';
import { NetlinkError, type NetlinkFault } from '../errors.ts';
import { createBatchEncoder } from './batch.ts';
import { applyStep, type FakeScene, objectOf, refusal, tableKey } from './fake-commit.ts';
import { graphFault } from './fake-graph.ts';
import {
  createFakeState,
  elementKey,
  type FakeNftablesState,
  type FakeSet,
  type FakeTable,
  type Journal,
} from './fake-state.ts';
import { ruleFingerprint } from './fingerprint.ts';
import { setFingerprint } from './sets.ts';
import { printTable } from './text.ts';

export { createFakeState, type FakeNftablesState } from './fake-state.ts';

export interface FakeNftables extends Nftables {
  /** To be shared with another fake. */
  readonly state: FakeNftablesState;
  /** Netlink port id: the `owner` of its tables. */
  readonly port: number;
  /** A number that every commit changes, whoever commits. */
  generation(): number;
  /** Every commit that took effect, in order. */
  readonly commits: readonly FakeCommit[];
  /** The tables as `nft list ruleset` prints them, those of one family or one table; elements sorted by their text. */
  dump(family?: NftFamily, table?: string): string;
  /** The same as data; expired elements are gone. Undefined: no such table. */
  table(family: NftFamily, table: string): NftTable | undefined;
  /** The next commit fails with this error, before anything happens or after all of it did. May be called ahead. */
  failNext(fault: NetlinkFault, when?: 'before' | 'after'): void;
  /** What a rule's `update` does when a packet comes: adds or replaces an element of a dynamic set, unless it is full. */
  packet(family: NftFamily, table: string, set: string, element: NftElement & { timeoutSeconds: number }): void;
  /** Lets time pass: elements expire. */
  advance(seconds: number): void;
  /** As when the process ends: its tables stay and have no owner. */
  close(): void;
}

export interface FakeCommit {
  readonly family: NftFamily;
  readonly table: string;
  readonly operations: readonly NftOperation[];
}

export interface FakeNftablesOptions {
  /** False: a kernel before 6.9. */
  readonly ownership?: boolean;
}

export function createFakeNftables(
  state: FakeNftablesState = createFakeState(),
  { ownership = true }: FakeNftablesOptions = {},
): FakeNftables {
  const port = state.nextPort++;
  const encoder = createBatchEncoder();
  const commits: FakeCommit[] = [];
  const faults: { readonly fault: NetlinkFault; readonly when: 'before' | 'after' }[] = [];
  let queue: Promise<unknown> = Promise.resolve();
  let closed = false;

  function commitNow({ family, table, operations }: NftTransaction): { operations: number; bytes: number } {
    if (closed) {
      throw new NetlinkError({
        code: 'KP_NETLINK_INVALID',
        operation: 'nftables commit',
        text: 'the socket is closed',
      });
    }
    // Read once: they may be generators.
    const steps = Array.from(operations, (step) =>
      'elements' in step ? { ...step, elements: [...step.elements] } : step,
    );
    const encoded = encoder.encode({ family, table, operations: steps }, 1, true);
    const fault = faults.shift();
    if (fault?.when === 'before') throw new NetlinkError({ operation: 'nftables commit', ...fault.fault });
    if (encoded.operations === 0) return { operations: 0, bytes: 0 };
    const scene = { state, family, name: table, port, ownership };
    apply(scene, steps);
    state.generation++;
    commits.push({ family, table, operations: steps });
    if (fault !== undefined) throw new NetlinkError({ operation: 'nftables commit', ...fault.fault });
    return { operations: encoded.operations, bytes: encoded.bytes.length };
  }

  function found(family: NftFamily, table: string): FakeTable | undefined {
    return state.tables.get(tableKey(family, table));
  }

  function foundSet(family: NftFamily, table: string, set: string): FakeSet {
    const found = state.tables.get(tableKey(family, table))?.sets.get(set);
    if (found !== undefined) return found;
    throw new NetlinkError({
      code: 'KP_NETLINK_REFUSED',
      operation: 'nftables list elements',
      object: set,
      errno: 'ENOENT',
      text: 'it does not exist',
    });
  }

  return {
    state,
    port,
    commits,
    generation: () => state.generation,
    commit(transaction) {
      const result = queue.then(() => commitNow(transaction));
      queue = result.catch(() => {});
      return result;
    },
    supportsOwnership: async () => ownership,
    tables: async (family) => [...state.tables.values()].filter((table) => table.family === family).map(infoOf),
    async read(family, name) {
      const table = found(family, name);
      if (table === undefined) return undefined;
      const chains = [...table.chains.values()].map((chain) => ({
        name: chain.name,
        ...(chain.hook && { hook: chain.hook }),
        rules: chain.rules.map((rule) => ruleFingerprint(family, rule)),
      }));
      const sets = [...table.sets.values()].map(({ set }) => ({ name: set.name, fingerprint: setFingerprint(set) }));
      return { ...infoOf(table), chains, sets };
    },
    async elements(family, table, set, each) {
      const { elements } = foundSet(family, table, set.name);
      await turn();
      for (const { expiresAt, ...element } of elements.values()) {
        each(expiresAt === undefined ? element : { ...element, expiresSeconds: expiresAt - state.now });
      }
    },
    fingerprint: ruleFingerprint,
    setFingerprint: (_family, set) => setFingerprint(set),
    dump(family, name) {
      return [...state.tables.values()]
        .filter((table) => (family ?? table.family) === table.family && (name ?? table.name) === table.name)
        .map((table) => printTable(contentOf(table)))
        .join('\n');
    },
    table(family, name) {
      const table = found(family, name);
      return table && contentOf(table);
    },
    failNext(fault, when = 'before') {
      faults.push({ fault, when });
    },
    packet(family, table, name, { timeoutSeconds, ...element }) {
      const { set, elements } = foundSet(family, table, name);
      const key = elementKey(element);
      if (!set.dynamic) {
        const text = 'rules add elements to `dynamic` sets only';
        throw new NetlinkError({ code: 'KP_NETLINK_INVALID', operation: 'nftables packet', object: name, text });
      }
      if (!elements.has(key) && elements.size >= (set.size ?? 0)) return;
      elements.set(key, { ...element, expiresAt: state.now + timeoutSeconds });
    },
    advance(seconds) {
      state.now += seconds;
      for (const { sets } of state.tables.values()) for (const set of sets.values()) expire(set, state.now);
    },
    close() {
      closed = true;
      for (const table of state.tables.values()) if (table.owner === port) table.owner = 0;
    },
  };
}

/** All steps or, with the error, none. */
function apply(scene: Omit<FakeScene, 'journal'>, steps: readonly NftOperation[]): void {
  // Following the jumps after each step finds out which one to blame, but takes long: only when something is wrong.
  if (!attempt(scene, steps, false)) attempt(scene, steps, true);
}

/** False if nothing was done because the jumps are wrong at the end. */
function attempt(scene: Omit<FakeScene, 'journal'>, steps: readonly NftOperation[], blame: boolean): boolean {
  const journal: Journal = [];
  const undo = () => {
    while (journal.length > 0) journal.pop()?.();
  };
  const fault = () => {
    const table = scene.state.tables.get(tableKey(scene.family, scene.name));
    return table && graphFault(table);
  };
  try {
    for (const step of steps) {
      applyStep({ ...scene, journal }, step);
      const errno = blame ? fault() : undefined;
      if (errno !== undefined) throw refusal(errno, step, objectOf(step, scene.name));
    }
  } catch (error) {
    undo();
    throw error;
  }
  const good = blame || !steps.some(addsWays) || fault() === undefined;
  if (!good) undo();
  return good;
}

/** Only these can make jumps wrong. */
function addsWays(step: NftOperation): boolean {
  return step.do === 'add rule' || (step.do === 'add elements' && step.set.data === 'verdict');
}

function infoOf({ family, name, comment, owner, persists }: FakeTable): NftTableInfo {
  return { family, name, comment, owner, owned: persists };
}

function contentOf({ family, name, comment, sets, chains }: FakeTable): NftTable {
  return {
    family,
    name,
    ...(comment !== '' && { comment }),
    sets: [...sets.values()].map(({ set, elements }) => ({ ...set, elements: sorted(elements) })),
    chains: [...chains.values()].map(({ users: _, ...chain }) => chain),
  };
}

function sorted(elements: FakeSet['elements']): NftElement[] {
  const byKey = [...elements].sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
  return byKey.map(([, { expiresAt: _, ...element }]) => element);
}

function expire({ elements }: FakeSet, now: number): void {
  for (const [key, { expiresAt }] of elements) if (expiresAt !== undefined && expiresAt <= now) elements.delete(key);
}
