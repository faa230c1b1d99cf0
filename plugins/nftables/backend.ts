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
  SelfChecking,
  ServicePort,
  SyncReport,
  UsesConntrack,
} from '../../core/backend.ts';
import { setKernelParameters } from '../shared/kernel-parameters.ts';
import { beginRemoval } from '../shared/removal.ts';
import { createKeepers, type Sent, type TableKeeper } from '../shared/table/keeper.ts';
import { deleteTable, removeTable } from '../shared/table/remove.ts';
import { type SetName, TABLE, UPSTREAM_TABLE } from './layout.ts';
import { createPlanner, type Planner } from './plan.ts';
import { planSteps } from './plan-steps.ts';
import { seedOf } from './seed.ts';

export interface BackendSettings {
  readonly families: readonly IPFamily[];
  readonly owned: boolean;
  readonly comments: boolean;
}

interface FamilyState {
  readonly planner: Planner;
  readonly keeper: TableKeeper<SetName>;
  /** An upstream kube-proxy's table was looked for. */
  alone: boolean;
}

export function createBackend(
  host: Host,
  { families, owned, comments }: BackendSettings,
): Backend & SelfChecking & UsesConntrack & Initializing {
  const keepers = createKeepers(host, owned);
  const states = new Map<IPFamily, FamilyState>();
  for (const family of families) {
    const planner = createPlanner({ family, comments });
    states.set(family, { planner, keeper: keepers.keep(planner), alone: false });
  }
  function stateOf(family: IPFamily): FamilyState {
    const state = states.get(family);
    if (state === undefined) throw new Error(`the nftables backend does not serve ${family} on this host`);
    return state;
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
    const { planner, keeper } = state;
    const sent: Sent = { operations: 0, bytes: 0 };
    if (change.full && (await keeper.doubt()) !== undefined) {
      const expected = expectedSizes(change.upsert);
      await keeper.restore({ expected, adopt: (mirror) => planner.adopt(change, mirror && seedOf(mirror)) }, sent);
    } else await keeper.commit(planSteps(planner.apply(change), planner.layout), sent);
    await standAlone(state);
    setKernelParameters(host, change.family, change.node);
    return { ...sent, totals: planner.totals() };
  }

  return {
    usesConntrack: true,
    families,
    sync,
    check: (family) => stateOf(family).keeper.check(),
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

async function deleteUpstream(host: Host, family: 'ip' | 'ip6'): Promise<void> {
  const nftables = host.netlink.nftables();
  const tables = await nftables.tables(family);
  if (!tables.some(({ name }) => name === UPSTREAM_TABLE)) return;
  await deleteTable(nftables, family, UPSTREAM_TABLE);
  host.log.info('Removed the table of an upstream kube-proxy', { table: `${family} ${UPSTREAM_TABLE}` });
}

/** Deletes our tables and those of an upstream kube-proxy in nftables mode. */
export async function cleanup(host: Host): Promise<void> {
  const removal = beginRemoval();
  for (const family of ['ip', 'ip6'] as const) {
    await removal.attempt(async () => {
      await deleteUpstream(host, family);
      await removeTable(host, family, TABLE);
    });
  }
  removal.finish();
}
