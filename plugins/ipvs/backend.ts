/**
 * The I/O of the backend: a plan in, kernel state out, in this order, so that nothing is let through that has no server
 * and nothing stands that nobody wrote down:
 *
 *   table, early ──▶ virtual and real servers ──▶ addresses that go ──▶ table, late ──▶ addresses that come
 *
 * At the start and after a failure everything is listed and compared first (reconcile.ts). Real servers that go are waited
 * for (book.ts) by a timer that lists only virtual servers that have such.
 */
import type {
  Backend,
  Change,
  Host,
  Initializing,
  IPFamily,
  IPVSStep,
  NftOperation,
  NodeView,
  SelfChecking,
  SyncReport,
  UsesConntrack,
  VirtualServerState,
} from '../../core/backend.ts';
import { tellComplaints } from '../shared/complaints.ts';
import { frontendsOf } from '../shared/frontends.ts';
import { createKeepers, type Sent, type TableKeeper } from '../shared/table/keeper.ts';
import { dataText, keyText } from '../shared/table/layout.ts';
import type { Mirror } from '../shared/table/mirror.ts';
import { editOperations, rewriteChain } from '../shared/table/reconcile.ts';
import { createServerBook, type ServerBook } from './book.ts';
import { firstFault } from './check.ts';
import { cleanup, upstreamWasHere } from './cleanup.ts';
import type { ElementEdits } from './edits.ts';
import { type ServerSpec, serverName } from './frontends.ts';
import { setIPVSParameters } from './kernel-parameters.ts';
import { INTERFACE, type Layout, type SetName } from './layout.ts';
import type { IPVSOptions } from './options.ts';
import { createPlanner, type Plan, type Planner } from './plan.ts';
import { foreignNames, type Heritage, mendSteps, ourAddresses, recordOf, staleSteps } from './reconcile.ts';
import { createSchedulers } from './schedulers.ts';

export interface BackendSettings {
  readonly families: readonly IPFamily[];
  readonly owned: boolean;
  readonly options: IPVSOptions;
}

/** How often a real server that waits is looked at, at most. */
const SWEEP_MS = 5_000;
/** Looking takes this part of the time at most. */
const SWEEP_SHARE = 0.01;

interface FamilyState {
  readonly family: IPFamily;
  readonly planner: Planner;
  readonly keeper: TableKeeper<SetName>;
  readonly book: ServerBook;
  /** Why virtual servers and addresses may not be what the planner says. */
  doubt: string | undefined;
  prepared: boolean;
  /** As the kernel parameters were last set for. */
  node: NodeView | undefined;
  /** Virtual servers of somebody else at excluded addresses, by name. */
  foreign: ReadonlySet<string>;
  /** What is done to this family, one after the other. */
  queue: Promise<unknown>;
  cancelSweep: (() => void) | undefined;
  /** Name of the virtual server that the last check ended with. */
  checkedUpTo: string;
}

/** What a sync does after the table, early. */
interface Finish extends Pick<Plan, 'bind' | 'unbind'> {
  readonly steps: readonly IPVSStep[];
  readonly late: ElementEdits | undefined;
}

export function createBackend(
  host: Host,
  { families, owned, options }: BackendSettings,
): Backend & SelfChecking & UsesConntrack & Initializing {
  const ipvs = host.netlink.ipvs();
  const link = host.netlink.dummyLink(INTERFACE);
  const keepers = createKeepers(host, owned);
  const schedulers = createSchedulers(ipvs, options.scheduler);
  const states = new Map<IPFamily, FamilyState>();
  let closed = false;

  for (const family of families) {
    const balance = { scheduler: options.scheduler, lack: (name: string) => schedulers.lack(name) };
    const planner = createPlanner({ family, comments: options.comments, balance });
    states.set(family, {
      family,
      planner,
      keeper: keepers.keep(planner),
      book: createServerBook(options.graceSeconds * 1000),
      doubt: 'they were not looked at yet',
      prepared: false,
      node: undefined,
      foreign: new Set(),
      queue: Promise.resolve(),
      cancelSweep: undefined,
      checkedUpTo: '',
    });
  }

  const takeBackMetric = host.metrics.register({
    name: 'ipvs_draining_real_servers',
    type: 'gauge',
    help: 'Real servers of endpoints that went away, which wait for their connections to end.',
    labels: ['ip_family'],
    read: () =>
      [...states.values()].map(({ family, book }) => ({ labels: { ip_family: family }, value: book.waiting() })),
  });

  function stateOf(family: IPFamily): FamilyState {
    const state = states.get(family);
    if (state === undefined) throw new Error(`the ipvs backend does not serve ${family} on this host`);
    return state;
  }

  function exclusively<T>(state: FamilyState, work: () => Promise<T>): Promise<T> {
    const result = state.queue.then(work);
    state.queue = result.catch(() => {});
    return result;
  }

  async function prepare(state: FamilyState, { node, full: isFull }: Change): Promise<void> {
    // Reading them takes as long as changing an endpoint.
    if (isFull || node !== state.node) setIPVSParameters(host, state.family, node, options.strictARP);
    state.node = node;
    if (state.prepared) return;
    const { tcpTimeoutSeconds: tcpSeconds, tcpFinTimeoutSeconds: tcpFinSeconds } = options;
    const timeouts = { tcpSeconds, tcpFinSeconds, udpSeconds: options.udpTimeoutSeconds };
    if (Object.values(timeouts).some((seconds) => seconds > 0)) await ipvs.setTimeouts(timeouts);
    state.prepared = true;
  }

  async function apply(steps: Iterable<IPVSStep>, sent: Sent): Promise<void> {
    const { operations, bytes, refused } = await ipvs.apply(steps);
    sent.operations += operations;
    sent.bytes += bytes;
    const [first] = refused;
    if (first === undefined) return;
    const more = refused.length === 1 ? '' : ` (and ${refused.length - 1} more)`;
    throw Object.assign(new Error(`${first.error.message}${more}`), { code: 'KP_IPVS_REFUSED', cause: first.error });
  }

  async function setAddresses(wanted: Parameters<typeof link.change>[0], sent: Sent): Promise<void> {
    if ([...(wanted.add ?? []), ...(wanted.remove ?? [])].length === 0) return;
    const done = await link.change(wanted);
    sent.operations += done.operations;
    sent.bytes += done.bytes;
  }

  /** Somebody may have made a virtual server at an excluded address since the last full sync. */
  async function learnForeign(state: FamilyState, { upsert }: Change): Promise<void> {
    const { planner } = state;
    const foreign = new Set(state.foreign);
    for (const port of upsert) {
      for (const [name, { kind, ip, port: number }] of frontendsOf(port)) {
        if (kind === 'nodePort' || !options.excluded(ip) || planner.isWanted(name)) continue;
        const standing = await ipvs.virtualServer({ protocol: port.protocol, ip, port: number });
        if (standing === undefined) foreign.delete(name);
        else {
          foreign.add(name);
          warnOfForeign(name);
        }
      }
    }
    state.foreign = foreign;
    planner.leaveAlone(foreign);
  }

  function warnOfForeign(server: string): void {
    host.log.warn('A virtual server of somebody else stands where a Service wants one; it is excluded and stays', {
      server,
    });
  }

  async function applyPlan(state: FamilyState, plan: Plan, sent: Sent): Promise<void> {
    const now = host.clock.now();
    await commitEarly(state, plan, sent);
    const steps = plan.servers.flatMap(({ before, after }) => state.book.change(before, after, now));
    await finish(state, { ...plan, steps }, sent);
  }

  /** If it fails nothing may follow: there would be servers that nobody wrote down. */
  async function commitEarly({ keeper, planner }: FamilyState, plan: Plan, sent: Sent): Promise<void> {
    await commitEdits(keeper, planner.layout, plan.early, sent, plan.changedChains.flatMap(rewriteChain));
  }

  /**
   * What comes after the table, early. Whatever cannot be taken away must stay on record: then the table is not brought
   * to its end, and mended by the next sync. What can be put in place is.
   */
  async function finish(state: FamilyState, { steps, bind, unbind, late }: Finish, sent: Sent): Promise<void> {
    const { keeper, planner } = state;
    const faults: unknown[] = [];
    try {
      if (steps.length > 0) await apply(steps, sent);
      await setAddresses({ remove: unbind }, sent);
      if (late !== undefined) await commitEdits(keeper, planner.layout, late, sent);
    } catch (error) {
      faults.push(error);
    }
    try {
      await setAddresses({ add: bind }, sent);
    } catch (error) {
      faults.push(error);
    }
    if (faults.length > 0) throw faults[0];
  }

  async function restore(state: FamilyState, change: Change, sent: Sent): Promise<void> {
    const { planner, keeper, family } = state;
    if (link.addresses(family) === undefined) {
      link.ensure();
      sent.operations++;
    }
    const found = await ipvs.virtualServers(family);
    const heritageOf = (record: Mirror<SetName> | undefined): Heritage => ({
      record,
      addresses: new Set(link.addresses(family) ?? []),
      upstream: record === undefined && upstreamWasHere(host),
      localAddresses: change.node.addresses,
      isExcluded: options.excluded,
    });
    if ((await keeper.doubt()) === undefined) {
      // The table is what the planner says: it is the record.
      const heritage = heritageOf(recorded(planner));
      state.foreign = foreignNames(found, heritage);
      if (!planner.leaveAlone(state.foreign)) {
        const plan = planner.apply(change);
        tellComplaints(host, plan.complaints);
        await commitEarly(state, plan, sent);
        const stale = staleSteps(found, wantedServers(planner), heritage);
        const steps = [...stale, ...(await mendServers(state, found))];
        await finish(state, { steps, late: plan.late, ...mendAddresses(planner, heritage) }, sent);
        return;
      }
      keeper.distrust('virtual servers of somebody else came or went');
    }
    let heritage: Heritage | undefined;
    const adopt = async (mirror: Mirror<SetName> | undefined): Promise<void> => {
      const record = recordOf(mirror);
      heritage = heritageOf(record);
      state.foreign = foreignNames(found, heritage);
      planner.leaveAlone(state.foreign);
      const complaints = planner.adopt(change, (frontend) => {
        const mark = record?.get('marks')?.get(frontend) ?? record?.get('nodeport-marks')?.get(frontend);
        return mark === undefined ? undefined : Number(mark);
      });
      tellComplaints(host, complaints);
      // As long as the table still says whose they are.
      const steps = staleSteps(found, wantedServers(planner), heritage);
      await finish(state, { steps, bind: [], unbind: mendAddresses(planner, heritage).unbind, late: undefined }, sent);
    };
    await keeper.restore({ expected: new Map([['services', change.upsert.length]]), adopt }, sent);
    const steps = await mendServers(state, found);
    await finish(state, { steps, bind: mendAddresses(planner, heritage!).bind, unbind: [], late: undefined }, sent);
  }

  function mendServers(state: FamilyState, found: readonly VirtualServerState[]): Promise<readonly IPVSStep[]> {
    const { planner, book } = state;
    for (const name of state.foreign) if (planner.isWanted(name)) warnOfForeign(name);
    return mendSteps(ipvs, found, wantedServers(planner), { book, now: host.clock.now() });
  }

  async function syncNow(state: FamilyState, change: Change): Promise<SyncReport> {
    const { planner } = state;
    const sent: Sent = { operations: 0, bytes: 0 };
    const { doubt } = state;
    state.doubt = 'the last sync failed';
    await schedulers.learn(change);
    await prepare(state, change);
    try {
      if (change.full) await restore(state, change, sent);
      else {
        await learnForeign(state, change);
        const plan = planner.apply(change);
        tellComplaints(host, plan.complaints);
        await applyPlan(state, plan, sent);
      }
    } catch (error) {
      // The planner has gone ahead of the table.
      state.keeper.distrust(state.doubt);
      throw error;
    } finally {
      scheduleSweep(state, SWEEP_MS);
    }
    // A partial change does not make good what was doubtful before.
    state.doubt = change.full ? undefined : doubt;
    return { ...sent, totals: planner.totals() };
  }

  function scheduleSweep(state: FamilyState, pause: number): void {
    if (closed || state.cancelSweep !== undefined || state.book.draining().length === 0) return;
    state.cancelSweep = host.clock.after(pause, () => {
      state.cancelSweep = undefined;
      const began = host.clock.now();
      exclusively(state, () => sweep(state)).then(
        () => scheduleSweep(state, Math.max(SWEEP_MS, (host.clock.now() - began) / SWEEP_SHARE)),
        (error: unknown) => {
          state.doubt = 'real servers that wait could not be looked at';
          host.log.warn('Real servers that wait for the end of their connections could not be looked at', { error });
          host.requestFullSync(state.doubt);
        },
      );
    });
  }

  async function sweep({ book }: FamilyState): Promise<void> {
    const steps: IPVSStep[] = [];
    for (const server of book.draining()) {
      if (closed) return;
      steps.push(...book.sweep(server, await ipvs.realServers(server), host.clock.now()));
    }
    if (steps.length > 0) await apply(steps, { operations: 0, bytes: 0 });
  }

  async function checkNow(state: FamilyState): ReturnType<SelfChecking['check']> {
    const { doubt, keeper } = state;
    const table = doubt === undefined ? await keeper.check() : { intact: false as const, reason: doubt };
    if (!table.intact) return table;
    const { reason, upTo } = await firstFault({ ipvs, link, ...state }, state.checkedUpTo);
    state.checkedUpTo = upTo;
    if (reason === undefined) return { intact: true };
    state.doubt = reason;
    return { intact: false, reason };
  }

  return {
    usesConntrack: true,
    families,
    async sync(change) {
      const state = stateOf(change.family);
      return exclusively(state, () => syncNow(state, change));
    },
    async check(family) {
      const state = stateOf(family);
      return exclusively(state, () => checkNow(state));
    },
    initialize: (family, node) => setIPVSParameters(host, family, node, options.strictARP),
    async cleanup() {
      for (const state of states.values()) state.doubt = 'it was cleaned up';
      await cleanup(host, options);
    },
    async close() {
      closed = true;
      takeBackMetric();
      for (const state of states.values()) state.cancelSweep?.();
    },
  };
}

function wantedServers(planner: Planner): ReadonlyMap<string, ServerSpec> {
  const wanted = new Map<string, ServerSpec>();
  for (const spec of planner.servers()) wanted.set(serverName(spec.server), spec);
  return wanted;
}

/** What the table says, where the planner knows it. */
function recorded(planner: Planner): Mirror<SetName> {
  const record = new Map<SetName, Map<string, string>>();
  for (const portion of planner.elements(Number.POSITIVE_INFINITY)) {
    for (const set of ['services', 'nodeports', 'nodeport-ips', 'addresses'] as const) {
      record.set(set, new Map((portion.get(set) ?? []).map((element) => [keyText(element), dataText(element)])));
    }
  }
  return record;
}

/** Addresses that kube-ipvs0 lacks, and those of ours that nobody wants. */
function mendAddresses(planner: Planner, heritage: Heritage): Pick<Finish, 'bind' | 'unbind'> {
  const wanted = planner.addresses();
  return {
    bind: [...wanted].filter((ip) => !heritage.addresses.has(ip)),
    unbind: ourAddresses(heritage).filter((ip) => !wanted.has(ip)),
  };
}

/** Nothing is sent for no edits. */
async function commitEdits(
  keeper: TableKeeper<SetName>,
  layout: Layout,
  edits: ElementEdits,
  sent: Sent,
  first: readonly NftOperation[] = [],
): Promise<void> {
  const change = [...first, ...editOperations(edits, layout)];
  if (change.length > 0) await keeper.commit({ before: [], change, after: [] }, sent);
}
