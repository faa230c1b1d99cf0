/**
 * The I/O of the backend: a plan in, kernel state out.
 *
 *   partial   the elements that differ ──▶ one transaction; nothing is listed
 *   full      table of ours, nobody else can have changed it ──▶ as partial
 *             table of ours ──▶ listed, compared, mended            another layout ──▶ replaced at once
 *             none ──▶ built out of sight in portions, then hooked in
 */
import type {
  Backend,
  Change,
  Host,
  Initializing,
  IPFamily,
  NftOperation,
  NftTableInfo,
  SelfChecking,
  ServicePort,
  SyncReport,
  UsesConntrack,
} from '../../core/backend.ts';
import { setKernelParameters } from '../shared/kernel-parameters.ts';
import { type SetName, TABLE, UPSTREAM_TABLE } from './layout.ts';
import { type Mirror, readMirror, seedOf } from './mirror.ts';
import { createPlanner, type Planner } from './plan.ts';
import { addHooks, elementOperations, frame, planSteps, repairSteps, type Steps, whyReplace } from './reconcile.ts';

export interface BackendSettings {
  readonly families: readonly IPFamily[];
  readonly owned: boolean;
  readonly comments: boolean;
}

/** Elements in one transaction while a table is built: about 10 ms of encoding and 30 ms of the kernel's time. */
const PORTION = 20_000;

interface FamilyState {
  readonly planner: Planner;
  /** What the kernel holds is what the planner says, as far as we know. */
  trusted: boolean;
  /** Mending was refused: make the table anew the next time. */
  replace: boolean;
  /** Our netlink port as the table's owner shows it; 0 = not owned by us. */
  port: number;
  /** The generation of nf_tables up to which nobody else can have changed this table; unused while it is owned. */
  intactAt: number | undefined;
  /** An upstream kube-proxy's table was looked for. */
  alone: boolean;
}

interface Sent {
  operations: number;
  bytes: number;
}

export function createBackend(
  host: Host,
  { families, owned, comments }: BackendSettings,
): Backend & SelfChecking & UsesConntrack & Initializing {
  const nftables = host.netlink.nftables();
  const states = new Map<IPFamily, FamilyState>();
  for (const family of families) {
    states.set(family, {
      planner: createPlanner({ family, comments }),
      trusted: false,
      replace: false,
      port: 0,
      intactAt: undefined,
      alone: false,
    });
  }
  function stateOf(family: IPFamily): FamilyState {
    const state = states.get(family);
    if (state === undefined) throw new Error(`the nftables backend does not serve ${family} on this host`);
    return state;
  }

  async function commit({ planner }: FamilyState, operations: Iterable<NftOperation>, sent: Sent): Promise<void> {
    // A table of our own needs no watching of what others commit.
    const before = owned ? undefined : host.netlink.nftablesGeneration();
    const done = await nftables.commit({ family: planner.layout.table, table: TABLE, operations });
    sent.operations += done.operations;
    sent.bytes += done.bytes;
    if (before === undefined) return;
    const after = host.netlink.nftablesGeneration();
    // Only our own commit lies between the two, of whichever family.
    if (after !== (before + 1) >>> 0) return;
    for (const each of states.values()) if (each.intactAt === before) each.intactAt = after;
  }

  async function commitSteps(state: FamilyState, { before, change, after }: Steps, sent: Sent): Promise<void> {
    if (before.length > 0) await commit(state, before, sent);
    if (change.length > 0) await commit(state, change, sent);
    if (after.length > 0) await commit(state, after, sent);
  }

  async function tableInfo({ planner }: FamilyState): Promise<NftTableInfo | undefined> {
    return (await nftables.tables(planner.layout.table)).find(({ name }) => name === TABLE);
  }

  async function build(state: FamilyState, sent: Sent): Promise<void> {
    const { planner } = state;
    await commit(state, frame(planner, owned), sent);
    for (const portion of planner.elements(PORTION)) {
      await commit(state, elementOperations('add elements', portion, planner.layout), sent);
    }
    await commit(state, addHooks(planner), sent);
  }

  /** At once, however large: there is no moment without rules. */
  async function replace(state: FamilyState, sent: Sent): Promise<void> {
    const { planner } = state;
    function* everything(): Generator<NftOperation> {
      yield { do: 'delete table' };
      yield* frame(planner, owned);
      for (const portion of planner.elements(PORTION)) {
        yield* elementOperations('add elements', portion, planner.layout);
      }
      yield* addHooks(planner);
    }
    await commit(state, everything(), sent);
  }

  async function syncFull(state: FamilyState, change: Change, sent: Sent): Promise<void> {
    const { planner } = state;
    const { table } = planner.layout;
    if (state.trusted && (await unchanged(state)) === undefined) {
      await commitSteps(state, planSteps(planner.apply(change), planner.layout), sent);
      return;
    }
    state.trusted = false;
    const existing = await tableInfo(state);
    if (existing === undefined) {
      planner.adopt(change, undefined);
      await build(state, sent);
      return;
    }
    // Without the owner's rights even a table that is right must not be left to somebody else.
    if (owned && existing.owned) {
      await nftables.commit({ family: table, table: TABLE, operations: [{ do: 'add table', owned }] });
    } else if (existing.dormant) {
      await commit(state, [{ do: 'add table', owned }], sent);
    }
    const content = await nftables.read(table, TABLE);
    if (content === undefined) throw new Error(`table ${table} ${TABLE} was deleted while it was being read`);
    const why = state.replace ? 'it could not be mended' : whyReplace(content, planner.layout, nftables, owned);
    if (why !== undefined) {
      host.log.info('Replacing a table that cannot be mended', { table: `${table} ${TABLE}`, why });
      planner.adopt(change, undefined);
      // One with an owner that is not to have one, too: only its owner may delete it.
      if (existing.owned && !owned) {
        await nftables.commit({ family: table, table: TABLE, operations: [{ do: 'add table', owned: true }] });
      }
      await replace(state, sent);
      state.replace = false;
      return;
    }
    const mirror = await readMirror(nftables, planner.layout, TABLE, expectedSizes(change.upsert));
    planner.adopt(change, seedOf(mirror));
    const steps = await repairSteps(content, mirror, planner, nftables, 'refill');
    try {
      await commitSteps(state, steps, sent);
    } catch (error) {
      state.replace = isContradiction(error);
      throw error;
    }
  }

  /** Why what we committed may not be there any more; cheap. */
  async function unchanged(state: FamilyState): Promise<string | undefined> {
    if (owned) {
      const info = await tableInfo(state);
      if (info === undefined) return 'the table is gone';
      if (info.owner !== state.port) return 'the table has another owner';
      return undefined;
    }
    return state.intactAt === host.netlink.nftablesGeneration() ? undefined : 'somebody has changed nf_tables';
  }

  async function check(family: IPFamily): ReturnType<SelfChecking['check']> {
    const state = stateOf(family);
    if (!state.trusted) return { intact: false, reason: 'the last sync failed' };
    const doubt = await unchanged(state);
    if (doubt === undefined) return { intact: true };
    const reason = owned ? doubt : await firstDifference(state);
    return reason === undefined ? { intact: true } : { intact: false, reason };
  }

  async function firstDifference(state: FamilyState): Promise<string | undefined> {
    const { layout } = state.planner;
    // What is committed from here on counts as not looked at.
    const before = host.netlink.nftablesGeneration();
    const info = await tableInfo(state);
    if (info?.dormant) return 'the table is dormant';
    const content = info && (await nftables.read(layout.table, TABLE));
    if (content === undefined) return distrust(state, 'the table is gone');
    const why = whyReplace(content, layout, nftables, owned);
    if (why !== undefined) return distrust(state, why);
    // A set too large to be listed every now and then is trusted.
    const mirror: Mirror = await readMirror(nftables, layout, TABLE, state.planner.sizes());
    const { before: first, change, after } = await repairSteps(content, mirror, state.planner, nftables, 'trust');
    const [operation] = [...first, ...change, ...after];
    if (operation === undefined) {
      state.intactAt = before;
      return undefined;
    }
    return distrust(state, `to be done: ${operation.do} ${nameOf(operation)}`.trimEnd());
  }

  function distrust(state: FamilyState, reason: string): string {
    state.trusted = false;
    return reason;
  }

  /** Only once ours is live, so that no connection falls between; never a reason to fail. */
  async function standAlone(state: FamilyState): Promise<void> {
    if (state.alone) return;
    state.alone = true;
    const { table } = state.planner.layout;
    try {
      await deleteUpstream(host, table);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      host.log.warn('The table of an upstream kube-proxy is left', { table: `${table} ${UPSTREAM_TABLE}`, reason });
    }
  }

  async function sync(change: Change): Promise<SyncReport> {
    const state = stateOf(change.family);
    const { planner } = state;
    const sent: Sent = { operations: 0, bytes: 0 };
    const wasTrusted = state.trusted;
    try {
      if (change.full) await syncFull(state, change, sent);
      else {
        state.trusted = false;
        await commitSteps(state, planSteps(planner.apply(change), planner.layout), sent);
      }
      if (!wasTrusted && owned) state.port = (await tableInfo(state))?.owner ?? 0;
      state.trusted = true;
    } catch (error) {
      state.trusted = false;
      throw error;
    }
    await standAlone(state);
    setKernelParameters(host, change.family, change.node);
    return { ...sent, totals: planner.totals() };
  }

  return {
    usesConntrack: true,
    families,
    sync,
    check,
    initialize: (family, node) => setKernelParameters(host, family, node),
    cleanup: () => cleanup(host),
    async close() {},
  };
}

/** Elements of the large sets, nearly. */
function expectedSizes(ports: readonly ServicePort[]): ReadonlyMap<SetName, number> {
  const sizes = { services: 0, endpoints: 0, 'nodeport-endpoints': 0 };
  for (const { cluster, loadBalancerVIPs, externalIPs, nodePort } of ports) {
    const addresses = 1 + loadBalancerVIPs.length + externalIPs.length;
    sizes.services += addresses;
    sizes.endpoints += addresses * cluster.length;
    if (nodePort !== 0) sizes['nodeport-endpoints'] += cluster.length;
  }
  return new Map(Object.entries(sizes) as [SetName, number][]);
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

async function deleteUpstream(host: Host, family: 'ip' | 'ip6'): Promise<void> {
  const nftables = host.netlink.nftables();
  const tables = await nftables.tables(family);
  if (!tables.some(({ name }) => name === UPSTREAM_TABLE)) return;
  await nftables.commit({ family, table: UPSTREAM_TABLE, operations: [{ do: 'delete table' }] });
  host.log.info('Removed the table of an upstream kube-proxy', { table: `${family} ${UPSTREAM_TABLE}` });
}

/** Deletes our tables and those of an upstream kube-proxy in nftables mode. */
export async function cleanup(host: Host): Promise<void> {
  const nftables = host.netlink.nftables();
  const faults: string[] = [];
  for (const family of ['ip', 'ip6'] as const) {
    try {
      await deleteUpstream(host, family);
      const ours = (await nftables.tables(family)).find(({ name }) => name === TABLE);
      if (ours === undefined) continue;
      // Only its owner can delete a table, and one that nobody owns now can be taken over.
      const claim: readonly NftOperation[] = ours.owned ? [{ do: 'add table', owned: true }] : [];
      const transaction = { family, table: TABLE, operations: claim };
      if (claim.length > 0) await nftables.commit(transaction);
      await nftables.commit({ ...transaction, operations: [{ do: 'delete table' }] });
      host.log.info('Removed a table', { table: `${family} ${TABLE}` });
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
    }
  }
  if (faults.length > 0) {
    throw Object.assign(new Error(`not everything could be removed: ${faults.join('; ')}`), { code: 'KP_CLEANUP' });
  }
}
