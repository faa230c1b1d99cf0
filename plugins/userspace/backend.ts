/**
 * The backend: what the core says goes to the threads that forward (pool.ts), and in by one of two ways: a table that
 * redirects connections (redirect.ts), or listeners for each Service (direct-way.ts).
 */
import type {
  Backend,
  Change,
  HealthReporting,
  Host,
  IPFamily,
  NodeView,
  SelfChecking,
  SyncReport,
  UsesConntrack,
} from '../../core/backend.ts';
import { tellComplaints } from '../shared/complaints.ts';
import { beginRemoval } from '../shared/removal.ts';
import { createKeepers, type Sent } from '../shared/table/keeper.ts';
import { removeTable } from '../shared/table/remove.ts';
import { createDirect, type Direct } from './direct-way.ts';
import type { EngineUpdate, ListenUpdate } from './forward/messages.ts';
import { TABLE } from './layout.ts';
import { registerMetrics } from './metrics.ts';
import type { UserspaceOptions } from './options.ts';
import { complaintsOf, createPlanner, type Planner } from './plan.ts';
import { createPool, type Pool } from './pool.ts';
import type { WayIn } from './probe.ts';
import { createRedirect, type Redirect } from './redirect.ts';
import type { Statistics } from './statistics.ts';
import type { ThreadData } from './thread-messages.ts';

/** Closing may take five seconds in all. */
const DRAIN_MS = 3_000;

interface FamilyState {
  readonly planner: Planner;
  readonly redirect: Redirect | undefined;
  readonly direct: Direct | undefined;
  inside: readonly string[];
  node: NodeView | undefined;
}

export interface BackendSettings extends WayIn {
  readonly options: UserspaceOptions;
  /** The module that threads run. */
  readonly module: URL;
  readonly affinity: ThreadData['affinity'];
  /** Outlives this backend. */
  readonly statistics: Statistics;
  readonly freePort: (ip: string) => Promise<number>;
}

export function createBackend(
  host: Host,
  { families, way, owned, options, module, affinity, statistics, freePort }: BackendSettings,
): Backend & SelfChecking & HealthReporting & Partial<UsesConntrack> {
  const keepers = way === 'redirect' ? createKeepers(host, owned) : undefined;
  const shared = options.threads > 1;
  const states = new Map<IPFamily, FamilyState>();
  let pool: Pool | undefined;
  let takeBackMetrics = (): void => {};

  /** Threads begin with the first sync: until then there is nothing to forward. */
  function openPool(): Pool {
    if (pool !== undefined) return pool;
    const opened = createPool({
      host,
      module,
      count: options.threads,
      data: { limits: options.limits, affinity },
      statistics,
      snapshot,
      onLost: (reason) => host.requestFullSync(reason),
    });
    pool = opened;
    takeBackMetrics = registerMetrics(host, opened.statistics);
    return opened;
  }

  function snapshot(): Omit<EngineUpdate, 'listen'> {
    const parts = [...states.values()].map(({ planner, direct }) =>
      direct === undefined ? planner.snapshot() : { ...direct.snapshot(), set: [] },
    );
    return {
      inside: [...states.values()].flatMap(({ inside }) => inside),
      upsert: parts.flatMap(({ upsert = [] }) => upsert),
      frontends: { set: parts.flatMap(({ set }) => set) },
    };
  }

  for (const family of families) {
    const planner = createPlanner({ family, comments: options.comments, proxyProtocol: options.proxyProtocol });
    const listen = (update: ListenUpdate) => openPool().listen(update);
    const common = { host, family, shared, listen };
    states.set(family, {
      planner,
      redirect:
        keepers &&
        createRedirect({
          ...common,
          planner,
          keepers,
          firstPort: options.firstPort,
          freePort,
          tell: ({ upsert = [], set = [], remove = [], delete: gone = [] }) =>
            openPool().tell({ upsert, remove, frontends: { set, delete: gone } }),
        }),
      direct: keepers ? undefined : createDirect({ ...common, ...options, tell: (update) => openPool().tell(update) }),
      inside: [],
      node: undefined,
    });
  }

  function stateOf(family: IPFamily): FamilyState {
    const state = states.get(family);
    if (state === undefined) throw new Error(`the userspace backend does not serve ${family} on this host`);
    return state;
  }

  async function learnNode(state: FamilyState, node: NodeView): Promise<void> {
    if (state.node === node) return;
    const { localDetector: detector, addresses } = node;
    state.inside = [...addresses, ...(detector.kind === 'cidr' ? [detector.cidr] : [])];
    await openPool().tell({ inside: [...states.values()].flatMap(({ inside }) => inside) });
    state.node = node;
  }

  async function sync(change: Change): Promise<SyncReport> {
    const state = stateOf(change.family);
    const sent: Sent = { operations: 0, bytes: 0 };
    await learnNode(state, change.node);
    if (state.redirect !== undefined) {
      const complaints = await state.redirect.sync(change, sent);
      tellComplaints(host, complaints);
      return { ...sent, totals: state.planner.totals() };
    }
    const { changed = [], operations = 0 } = (await state.direct?.sync(change)) ?? {};
    tellComplaints(host, changed.flatMap(complaintsOf));
    return { operations, bytes: 0, totals: state.direct?.totals() ?? {} };
  }

  const conntrack: UsesConntrack = {
    usesConntrack: true,
    answersAt: (family) => stateOf(family).redirect?.answersAt() ?? [],
  };

  return {
    ...(keepers ? conntrack : {}),
    families,
    sync,
    async check(family) {
      return (await stateOf(family).redirect?.check()) ?? { intact: true };
    },
    health() {
      const reason = pool?.fault();
      return reason === undefined ? { healthy: true } : { healthy: false, reason };
    },
    cleanup: () => cleanup(host),
    async close() {
      takeBackMetrics();
      for (const { direct } of states.values()) direct?.close();
      try {
        // Another backend serves: nothing is to come here any more, and what is short may end by itself.
        if (keepers !== undefined && pool !== undefined && !host.signal.aborted) {
          await cleanup(host);
          await pool.drained(DRAIN_MS);
        }
      } finally {
        await pool?.close();
      }
    },
  };
}

/** What an unprivileged process could not have made it need not remove. */
export async function cleanup(host: Host): Promise<void> {
  const removal = beginRemoval();
  for (const family of ['ip', 'ip6'] as const) {
    await removal.attempt(async () => {
      try {
        await removeTable(host, family, TABLE);
      } catch (error) {
        if (!(error instanceof Error && 'errno' in error && error.errno === 'EPERM')) throw error;
      }
    });
  }
  removal.finish();
}
