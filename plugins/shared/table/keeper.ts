/**
 * Keeps one table of each family equal to its model: the I/O that backends with a table share.
 *
 *   commit    the steps of a change: one transaction or three; nothing is listed
 *   restore   table of ours ──▶ listed, compared, mended         another layout ──▶ replaced at once
 *             none ──▶ built out of sight in portions, then hooked in
 *   check     somebody else's doing?
 *
 * A failure leaves a table distrusted until it was restored.
 */
import type { Host, NftOperation, NftTableInfo, SelfChecking } from '../../../core/backend.ts';
import type { TableModel } from './layout.ts';
import { type Mirror, readMirror } from './mirror.ts';
import { addHooks, elementOperations, frame, repairSteps, type Steps, whyReplace } from './reconcile.ts';

export interface Sent {
  operations: number;
  bytes: number;
}

export interface RestoreOptions<S extends string> {
  /** About how many elements each set will have. */
  readonly expected: ReadonlyMap<S, number>;
  /**
   * Called once before the model is asked for anything, with what is there; undefined: nothing that could be mended.
   * From here on the model says what must be there.
   */
  readonly adopt: (mirror: Mirror<S> | undefined) => void | Promise<void>;
}

export interface TableKeeper<S extends string> {
  /** Why the kernel's table may not be what the model says; undefined if it is for certain. Cheap. */
  doubt(): Promise<string | undefined>;
  /** The model has changed by these steps. */
  commit(steps: Steps, sent: Sent): Promise<void>;
  /** Makes the table equal to the model, whatever stands there. */
  restore(options: RestoreOptions<S>, sent: Sent): Promise<void>;
  check: () => ReturnType<SelfChecking['check']>;
  /** The next `doubt` has this reason, until the table was restored. */
  distrust(reason: string): void;
}

/** Elements in one transaction while a table is built: about 10 ms of encoding and 30 ms of the kernel's time. */
const PORTION = 20_000;

/** What the tables of one backend share: who else commits is told by one number for all of nf_tables. */
export interface Keepers {
  keep<S extends string>(model: TableModel<S>): TableKeeper<S>;
}

/** `owned`: only this process may change the tables, and they outlive it. */
export function createKeepers(host: Pick<Host, 'netlink' | 'log'>, owned: boolean): Keepers {
  /** Of each table, the generation of nf_tables up to which nobody else can have changed it; unused while owned. */
  const intact = new Map<object, number>();
  return { keep: (model) => createKeeper(host, owned, model, intact) };
}

function createKeeper<S extends string>(
  { netlink, log }: Pick<Host, 'netlink' | 'log'>,
  owned: boolean,
  model: TableModel<S>,
  intact: Map<object, number>,
): TableKeeper<S> {
  const nftables = netlink.nftables();
  const { layout } = model;
  const { table: family, name: table } = layout;
  const self = {};
  /** Why what the kernel holds is not what the model says, as far as we know. */
  let distrusted: string | undefined = 'it was not looked at yet';
  /** Mending was refused: make the table anew the next time. */
  let mustReplace = false;
  /** Our netlink port as the table's owner shows it; 0 = not owned by us. */
  let port = 0;

  async function send(operations: Iterable<NftOperation>, sent: Sent): Promise<void> {
    // A table of our own needs no watching of what others commit.
    const before = owned ? undefined : netlink.nftablesGeneration();
    const done = await nftables.commit({ family, table, operations });
    sent.operations += done.operations;
    sent.bytes += done.bytes;
    if (before === undefined) return;
    const after = netlink.nftablesGeneration();
    // Only our own commit lies between the two, of whichever family.
    if (after !== (before + 1) >>> 0) return;
    for (const [each, at] of intact) if (at === before) intact.set(each, after);
  }

  async function sendSteps({ before, change, after }: Steps, sent: Sent): Promise<void> {
    if (before.length > 0) await send(before, sent);
    if (change.length > 0) await send(change, sent);
    if (after.length > 0) await send(after, sent);
  }

  async function info(): Promise<NftTableInfo | undefined> {
    return (await nftables.tables(family)).find(({ name }) => name === table);
  }

  async function build(sent: Sent): Promise<void> {
    await send(frame(model, owned), sent);
    for (const portion of model.elements(PORTION)) {
      await send(elementOperations('add elements', portion, layout), sent);
    }
    await send(addHooks(model), sent);
  }

  /** At once, however large: there is no moment without rules. */
  async function replace(sent: Sent): Promise<void> {
    function* everything(): Generator<NftOperation> {
      yield { do: 'delete table' };
      yield* frame(model, owned);
      for (const portion of model.elements(PORTION)) yield* elementOperations('add elements', portion, layout);
      yield* addHooks(model);
    }
    await send(everything(), sent);
  }

  async function makeEqual({ adopt, expected }: RestoreOptions<S>, sent: Sent): Promise<void> {
    const existing = await info();
    if (existing === undefined) {
      await adopt(undefined);
      await build(sent);
      return;
    }
    // Without the owner's rights even a table that is right must not be left to somebody else.
    if (owned && existing.owned) {
      await nftables.commit({ family, table, operations: [{ do: 'add table', owned }] });
    } else if (existing.dormant) {
      await send([{ do: 'add table', owned }], sent);
    }
    const content = await nftables.read(family, table);
    if (content === undefined) throw new Error(`table ${family} ${table} was deleted while it was being read`);
    const why = mustReplace ? 'it could not be mended' : whyReplace(content, layout, nftables, owned);
    if (why !== undefined) {
      log.info('Replacing a table that cannot be mended', { table: `${family} ${table}`, why });
      await adopt(undefined);
      // One with an owner that is not to have one, too: only its owner may delete it.
      if (existing.owned && !owned) {
        await nftables.commit({ family, table, operations: [{ do: 'add table', owned: true }] });
      }
      await replace(sent);
      mustReplace = false;
      return;
    }
    const mirror = await readMirror(nftables, layout, expected);
    await adopt(mirror);
    const steps = await repairSteps(content, mirror, model, nftables, 'refill');
    try {
      await sendSteps(steps, sent);
    } catch (error) {
      mustReplace = isContradiction(error);
      throw error;
    }
  }

  async function unchanged(): Promise<string | undefined> {
    if (owned) {
      const found = await info();
      if (found === undefined) return 'the table is gone';
      if (found.owner !== port) return 'the table has another owner';
      return undefined;
    }
    return intact.get(self) === netlink.nftablesGeneration() ? undefined : 'somebody has changed nf_tables';
  }

  async function firstDifference(): Promise<string | undefined> {
    // What is committed from here on counts as not looked at.
    const before = netlink.nftablesGeneration();
    const found = await info();
    if (found?.dormant) return 'the table is dormant';
    const content = found && (await nftables.read(family, table));
    if (content === undefined) return 'the table is gone';
    const why = whyReplace(content, layout, nftables, owned);
    if (why !== undefined) return why;
    // A set too large to be listed every now and then is trusted.
    const mirror = await readMirror(nftables, layout, model.sizes());
    const { before: first, change, after } = await repairSteps(content, mirror, model, nftables, 'trust');
    const [operation] = [...first, ...change, ...after];
    if (operation !== undefined) return `to be done: ${operation.do} ${nameOf(operation)}`.trimEnd();
    intact.set(self, before);
    return undefined;
  }

  return {
    doubt: async () => distrusted ?? (await unchanged()),
    async commit(steps, sent) {
      const trusted = distrusted === undefined;
      distrusted = 'the last sync failed';
      await sendSteps(steps, sent);
      if (trusted) distrusted = undefined;
    },
    async restore(options, sent) {
      distrusted = 'the last sync failed';
      await makeEqual(options, sent);
      if (owned) port = (await info())?.owner ?? 0;
      distrusted = undefined;
    },
    async check() {
      if (distrusted !== undefined) return { intact: false, reason: distrusted };
      const doubt = await unchanged();
      if (doubt === undefined) return { intact: true };
      const reason = owned ? doubt : await firstDifference();
      if (reason === undefined) return { intact: true };
      distrusted = reason;
      return { intact: false, reason };
    },
    distrust(reason) {
      distrusted = reason;
    },
  };
}

/** The kernel found our steps not to fit what is there: not a lack of rights or memory, nor an unknown outcome. */
function isContradiction(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error) || !('errno' in error)) return false;
  return error.code === 'KP_NETLINK_REFUSED' && error.errno !== 'EPERM' && error.errno !== 'ENOMEM';
}

function nameOf(operation: NftOperation): string {
  if ('set' in operation) return operation.set.name;
  if (!('chain' in operation)) return '';
  return typeof operation.chain === 'string' ? operation.chain : operation.chain.name;
}
