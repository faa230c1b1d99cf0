/**
 * The I/O of the backend: a plan in, kernel state out.
 *
 *   partial  edits of the plan ──▶ one iptables-restore --noflush (no listing of any kind)
 *   full     kernel-state.ts ──▶ difference to the plan ──▶ one iptables-restore, or none
 *   sets     created before the rules that name them, destroyed after; counters likewise, by cleanup only
 */
import type {
  Backend,
  Change,
  Host,
  Initializing,
  Inspectable,
  IPFamily,
  SelfChecking,
  SyncReport,
  UsesConntrack,
} from '../../core/backend.ts';
import { setKernelParameters } from '../shared/kernel-parameters.ts';
import { removeOtherVariant } from './cleanup.ts';
import { readKernel } from './kernel-state.ts';
import type { IptablesOptions } from './options.ts';
import { makeCounters, showCounters } from './packet-counters.ts';
import { createPlanner, type Plan, type Planner } from './plan.ts';
import type { Support } from './probe.ts';
import { firstDifference, repair, type Strictness } from './repair.ts';
import { countOperations, restoreInput, rulesWritten, type TableInput } from './restore-text.ts';
import { isStillNeeded, staleSets } from './stale-sets.ts';
import { type IptablesTool, kernelInterface } from './tool.ts';

const MAX_CLIENTS = 1_048_576;
/** Kernel memory that the buckets of all affinity sets may take, in bytes. */
const BUCKET_MEMORY = 32 * 1024 * 1024;
const BUCKET_BYTES = 16;

/** Room for thousands of clients per endpoint while there are few affinity endpoints; less when there are many. */
function bucketsFor(setCount: number): number {
  const affordable = BUCKET_MEMORY / BUCKET_BYTES / Math.max(1, setCount);
  return Math.min(4096, Math.max(64, 2 ** Math.floor(Math.log2(affordable))));
}

interface FamilyState {
  readonly family: IPFamily;
  readonly tool: IptablesTool;
  readonly planner: Planner;
  /** Sets that nothing refers to any more but that the kernel, or the cleanup of another backend, has not let go. */
  readonly doomedSets: Set<string>;
  /** The rules that must be there before loopback addresses are routed were written, or found in place. */
  guarded: boolean;
  /** A look found a difference, and the full sync that follows has not been yet. */
  doubted: boolean;
  strictness: Strictness;
  /** Which kernel interface the tool speaks; asked once. */
  speaks?: 'nft' | 'legacy';
  /** The generation of nf_tables at which everything was found in place. */
  intactAt?: number | undefined;
  /** The tables that could not be read whole the last time, to tell of it once. */
  partly: string;
  /** Rules in the other variant of iptables were looked for. */
  alone: boolean;
}

export function createBackend(
  host: Host,
  options: IptablesOptions,
  support: Support,
  cleanup: () => Promise<void>,
): Backend & SelfChecking & Inspectable & Initializing & UsesConntrack {
  const { affinity, hairpin, counters } = support;
  const states = new Map<IPFamily, FamilyState>();
  for (const [family, tool] of support.tools) {
    const planner = createPlanner({ family, masqueradeBit: options.masqueradeBit, affinity, hairpin, counters });
    const empty = { doomedSets: new Set<string>(), guarded: false, partly: '', alone: false, doubted: false };
    states.set(family, { family, tool, planner, ...empty, strictness: 'text' });
  }

  function stateOf(family: IPFamily): FamilyState {
    const state = states.get(family);
    if (state === undefined) throw new Error(`the iptables backend does not serve ${family} on this host`);
    return state;
  }

  function makeSets({ family, planner, doomedSets }: FamilyState, sets: ReadonlyMap<string, number>): void {
    const buckets = bucketsFor(planner.sets().size);
    for (const [name, timeoutSeconds] of sets) {
      host.netlink.ipset().createHashIP({ name, family, timeoutSeconds, maxElements: MAX_CLIENTS, buckets });
      // An endpoint that left and came back starts without the clients it once had.
      if (doomedSets.delete(name)) host.netlink.ipset().flush(name);
    }
  }

  function destroySets({ family, doomedSets }: FamilyState): void {
    for (const name of doomedSets) {
      try {
        if (isStillNeeded(host, family, name)) continue;
        host.netlink.ipset().destroy(name);
        doomedSets.delete(name);
      } catch (error) {
        // nf_tables frees rules after the commit, in the background; until then the set is busy. Next sync again.
        host.log.verbose(2, 'A set is still in use', { set: name, error: String(error) });
      }
    }
  }

  async function syncFull(state: FamilyState, plan: Plan): Promise<string> {
    const { saved, partly } = await readKernel(state.tool, 'entrances');
    if (partly.length > 0 && state.partly !== partly.join()) {
      host.log.warn('Tables that hold rules made by nft cannot be read; leftovers of earlier runs stay in them', {
        command: state.tool.command,
        tables: partly.join(','),
      });
    }
    state.partly = partly.join();
    makeSets(state, state.planner.sets());
    if (counters) makeCounters(host);
    const input = restoreInput(repair(saved, state.planner.desired, plan.localnet));
    if (input !== '') await state.tool.restore(input);
    state.guarded = plan.localnet;
    if (state.doubted) await settleStrictness(state);
    state.doubted = false;
    const wanted = affinity === 'ipset' ? state.planner.sets() : undefined;
    for (const name of staleSets(host, state.family, wanted)) state.doomedSets.add(name);
    return input;
  }

  async function syncPartial(state: FamilyState, plan: Plan): Promise<string> {
    makeSets(state, plan.createSets);
    const tables: Record<string, TableInput> = {};
    for (const [table, edits] of Object.entries(plan.edits)) tables[table] = { edits };
    const input = restoreInput(tables);
    if (input !== '') await state.tool.restore(input);
    for (const name of plan.destroySets) state.doomedSets.add(name);
    return input;
  }

  /** Only once ours are in place, so that no connection falls between; never a reason to fail. */
  async function standAlone(state: FamilyState): Promise<void> {
    if (state.alone) return;
    state.alone = true;
    try {
      await removeOtherVariant(host, state.tool);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      host.log.warn('Rules in the other variant of iptables may be left', { command: state.tool.command, reason });
    }
  }

  async function sync(change: Change): Promise<SyncReport> {
    const state = stateOf(change.family);
    const plan = state.planner.apply(change);
    // Jumps are not chains, so that a partial sync does not write them; and the guard must precede what it guards.
    const whole = change.full || (plan.localnet && !state.guarded);
    const input = whole ? await syncFull(state, plan) : await syncPartial(state, plan);
    await standAlone(state);
    destroySets(state);
    setKernelParameters(host, change.family, change.node);
    const written = rulesWritten(input);
    return {
      operations: countOperations(input),
      bytes: Buffer.byteLength(input),
      totals: {
        nat_rules: state.planner.ruleCount('nat'),
        filter_rules: state.planner.ruleCount('filter'),
        nat_rules_last: written.nat,
        filter_rules_last: written.filter,
      },
    };
  }

  async function check(family: IPFamily): ReturnType<SelfChecking['check']> {
    const state = stateOf(family);
    const generation = await generationOf(state);
    if (generation !== undefined && generation === state.intactAt) return { intact: true };
    const kernel = await readKernel(state.tool, 'entrances');
    const reason = firstDifference(kernel, state.planner.desired, state.guarded, state.strictness);
    state.intactAt = reason === undefined ? generation : undefined;
    state.doubted = reason !== undefined;
    return reason === undefined ? { intact: true } : { intact: false, reason };
  }

  /**
   * What still differs right after it was written is no foreign change but another way of putting it (of a version of
   * iptables that we do not know): compare less closely from now on, or every look would lead to a full sync.
   */
  async function settleStrictness(state: FamilyState): Promise<void> {
    const kernel = await readKernel(state.tool, 'entrances');
    for (const strictness of ['text', 'targets', 'existence'] as const) {
      const difference = firstDifference(kernel, state.planner.desired, state.guarded, strictness);
      if (difference !== undefined) continue;
      if (strictness !== state.strictness) {
        const command = state.tool.command;
        host.log.warn('iptables prints rules in other words than expected; foreign changes are noticed less exactly', {
          command,
          compared: strictness,
        });
      }
      state.strictness = strictness;
      return;
    }
  }

  /** While it is the same as at the last look, nobody has changed anything. The legacy interface has no such number. */
  async function generationOf(state: FamilyState): Promise<number | undefined> {
    try {
      state.speaks ??= (await kernelInterface(host, state.tool)) ?? 'legacy';
      return state.speaks === 'nft' ? host.netlink.nftablesGeneration() : undefined;
    } catch (error) {
      host.log.verbose(2, 'The generation of nf_tables cannot be read; looking at the rules', { error: String(error) });
      return undefined;
    }
  }

  const hideCounters = counters ? showCounters(host) : undefined;
  return {
    families: [...states.keys()],
    usesConntrack: true,
    sync,
    cleanup,
    check,
    initialize: (family, node) => setKernelParameters(host, family, node),
    async close() {
      hideCounters?.();
    },
    async dump() {
      const parts: string[] = [];
      for (const { tool, planner } of states.values()) {
        const tables = Object.fromEntries(
          (['mangle', 'nat', 'filter'] as const).map((table) => [table, { edits: new Map(planner.desired(table)) }]),
        );
        parts.push(`# ${tool.command}\n${restoreInput(tables)}`);
      }
      return parts.join('\n');
    },
  };
}
