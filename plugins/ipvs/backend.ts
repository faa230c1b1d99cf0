/**
 * The I/O of the backend: a plan in, kernel state out, in this order, so that nothing is let through that has no server
 * and nothing stands that nobody wrote down:
 *
 *   table, early ──▶ virtual and real servers ──▶ table, late ──▶ addresses of kube-ipvs0
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
  NodeView,
  SelfChecking,
  SyncReport,
  UsesConntrack,
  VirtualServer,
} from '../../core/backend.ts';
import { createKeepers, type Sent, type TableKeeper } from '../shared/table/keeper.ts';
import type { Mirror } from '../shared/table/mirror.ts';
import { elementOperations, rewriteChain, type Steps } from '../shared/table/reconcile.ts';
import { createServerBook, isSame, type ServerBook } from './book.ts';
import { cleanup, upstreamWasHere } from './cleanup.ts';
import type { ElementEdits } from './edits.ts';
import { type ServerSpec, serverName } from './frontends.ts';
import { setIPVSParameters } from './kernel-parameters.ts';
import { INTERFACE, type Layout, type SetName } from './layout.ts';
import type { IPVSOptions } from './options.ts';
import { createPlanner, type Plan, type Planner, type ServiceComplaint } from './plan.ts';
import { type Heritage, mendSteps, ourAddresses, staleSteps } from './reconcile.ts';
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
/** Virtual servers whose real servers each check looks at, in turn. */
const CHECKED_AT_ONCE = 50;

interface FamilyState {
  readonly family: IPFamily;
  readonly planner: Planner;
  readonly keeper: TableKeeper<SetName>;
  readonly book: ServerBook;
  /** Why virtual servers and addresses may not be what the planner says. */
  doubt: string | undefined;
  prepared: boolean;
  /** What is done to this family, one after the other. */
  queue: Promise<unknown>;
  cancelSweep: (() => void) | undefined;
  /** Name of the virtual server that the last check ended with. */
  checkedUpTo: string;
}

export function createBackend(
  host: Host,
  { families, owned, options }: BackendSettings,
): Backend & SelfChecking & UsesConntrack & Initializing {
  const ipvs = host.netlink.ipvs();
  const link = host.netlink.dummyLink(INTERFACE);
  const keepers = createKeepers(host, owned);
  const schedulers = createSchedulers(ipvs);
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

  async function prepare(state: FamilyState, node: NodeView): Promise<void> {
    setIPVSParameters(host, state.family, node, options.strictARP);
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

  async function setAddresses(
    { family }: FamilyState,
    wanted: { readonly bind: Iterable<string>; readonly unbind: Iterable<string> },
    sent: Sent,
  ): Promise<void> {
    const add = [...wanted.bind];
    const remove = [...wanted.unbind];
    if (add.length + remove.length === 0) return;
    try {
      const done = await link.change({ add, remove });
      sent.operations += done.operations;
      sent.bytes += done.bytes;
    } catch (error) {
      throw Object.assign(error as Error, { family });
    }
  }

  /** Everything is done, whatever fails; the first failure is thrown in the end. */
  async function inTurn(works: readonly (() => Promise<void>)[]): Promise<void> {
    const faults: unknown[] = [];
    for (const work of works) {
      try {
        await work();
      } catch (error) {
        faults.push(error);
      }
    }
    if (faults.length > 0) throw faults[0];
  }

  async function applyPlan(state: FamilyState, plan: Plan, sent: Sent): Promise<void> {
    const { book, keeper, planner } = state;
    const now = host.clock.now();
    const steps = plan.servers.flatMap(({ before, after }) => book.change(before, after, now));
    const chains = plan.changedChains.flatMap(rewriteChain);
    // What failed early must not be followed by servers that nobody wrote down.
    await commitEdits(keeper, planner.layout, plan.early, sent, { before: [], change: chains, after: [] });
    await inTurn([
      async () => {
        if (steps.length > 0) await apply(steps, sent);
      },
      async () => {
        // An address goes before the element that says that it is ours.
        await setAddresses(state, plan, sent);
        await commitEdits(keeper, planner.layout, plan.late, sent);
      },
    ]);
  }

  async function restore(state: FamilyState, change: Change, sent: Sent): Promise<readonly ServiceComplaint[]> {
    const { planner, keeper, family } = state;
    const { node } = change;
    if (link.addresses(family) === undefined) {
      link.ensure();
      sent.operations++;
    }
    let complaints: readonly ServiceComplaint[] = [];
    let heritage: Heritage | undefined;
    const adopt = async (record: Mirror<SetName> | undefined): Promise<void> => {
      complaints = planner.adopt(change, (frontend) => {
        const mark = record?.get('marks')?.get(frontend) ?? record?.get('nodeport-marks')?.get(frontend);
        return mark === undefined ? undefined : Number(mark);
      });
      heritage = {
        record,
        addresses: new Set(link.addresses(family) ?? []),
        upstream: record === undefined && upstreamWasHere(host),
        localAddresses: node.addresses,
        isExcluded: options.excluded,
      };
      // As long as the table still says whose they are.
      const stale = staleSteps(await ipvs.virtualServers(family), wantedServers(planner), heritage);
      if (stale.length > 0) await apply(stale, sent);
    };
    if ((await keeper.doubt()) !== undefined) {
      await keeper.restore({ expected: new Map([['services', change.upsert.length]]), adopt }, sent);
    } else {
      // The table is what the planner says: it is the record.
      const record = recordOf(planner);
      const plan = planner.apply(change);
      complaints = plan.complaints;
      await applyPlan(state, plan, sent);
      const addresses = new Set(link.addresses(family) ?? []);
      heritage = { record, addresses, upstream: false, localAddresses: node.addresses, isExcluded: options.excluded };
    }
    await mend(state, heritage!, sent);
    return complaints;
  }

  /** Makes virtual servers and addresses what the planner says. */
  async function mend(state: FamilyState, heritage: Heritage, sent: Sent): Promise<void> {
    const { planner, book, family } = state;
    book.forget();
    const wanted = wantedServers(planner);
    const found = await ipvs.virtualServers(family);
    const { steps, leftAlone } = await mendSteps(ipvs, found, wanted, { book, heritage, now: host.clock.now() });
    for (const name of leftAlone) {
      host.log.warn('A virtual server of somebody else stands where a Service wants one; it is excluded and stays', {
        server: name,
      });
    }
    const current = planner.addresses();
    const bind = [...current].filter((ip) => !heritage.addresses.has(ip));
    const unbind = ourAddresses(heritage).filter((ip) => !current.has(ip));
    await inTurn([
      async () => {
        if (steps.length > 0) await apply(steps, sent);
      },
      () => setAddresses(state, { bind, unbind }, sent),
    ]);
  }

  async function syncNow(state: FamilyState, change: Change): Promise<SyncReport> {
    const { planner } = state;
    const sent: Sent = { operations: 0, bytes: 0 };
    const { doubt } = state;
    state.doubt = 'the last sync failed';
    await schedulers.learn(change);
    await prepare(state, change.node);
    let complaints: readonly ServiceComplaint[];
    if (change.full) complaints = await restore(state, change, sent);
    else {
      const plan = planner.apply(change);
      complaints = plan.complaints;
      await applyPlan(state, plan, sent);
    }
    // A partial change does not make good what was doubtful before.
    state.doubt = change.full ? undefined : doubt;
    for (const { port, reason, note } of complaints) {
      host.events.warn({ namespace: port.namespace, name: port.name }, reason, note);
    }
    scheduleSweep(state, SWEEP_MS);
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
    const reason = await firstFault(state);
    if (reason === undefined) return { intact: true };
    state.doubt = reason;
    return { intact: false, reason };
  }

  async function firstFault(state: FamilyState): Promise<string | undefined> {
    const { planner, book, family } = state;
    const addresses = link.addresses(family);
    if (addresses === undefined) return `the interface ${INTERFACE} is gone`;
    const bound = new Set(addresses);
    for (const ip of planner.addresses()) if (!bound.has(ip)) return `${INTERFACE} has lost ${ip}`;
    const standing = new Map((await ipvs.virtualServers(family)).map((server) => [serverName(server), server]));
    const inTurnNow: ServerSpec[] = [];
    let passed = state.checkedUpTo === '';
    for (const spec of planner.servers()) {
      const name = serverName(spec.server);
      if (book.isLeftAlone(name)) continue;
      const found: VirtualServer | undefined = standing.get(name);
      if (found === undefined) return `virtual server ${name} is gone`;
      if (!isSame(found, spec.server)) return `virtual server ${name} is another`;
      if (passed && inTurnNow.length < CHECKED_AT_ONCE) inTurnNow.push(spec);
      passed ||= name === state.checkedUpTo;
    }
    // Anything may have gone since: then the next turn begins anew.
    state.checkedUpTo = inTurnNow.length === CHECKED_AT_ONCE ? serverName(inTurnNow.at(-1)!.server) : '';
    for (const spec of inTurnNow) {
      const fault = book.fault(spec, await ipvs.realServers(spec.server));
      if (fault !== undefined) return `virtual server ${serverName(spec.server)}: ${fault}`;
    }
    return undefined;
  }

  return {
    usesConntrack: true,
    families,
    sync(change) {
      const state = stateOf(change.family);
      return exclusively(state, () => syncNow(state, change));
    },
    check(family) {
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
function recordOf(planner: Planner): Mirror<SetName> {
  const record = new Map<SetName, Map<string, string>>();
  for (const portion of planner.elements(Number.POSITIVE_INFINITY)) {
    for (const set of ['services', 'nodeports', 'nodeport-ips', 'addresses'] as const) {
      record.set(set, new Map((portion.get(set) ?? []).map(({ key }) => [key.join(' '), ''])));
    }
  }
  return record;
}

/** Nothing is sent for no edits. */
async function commitEdits(
  keeper: TableKeeper<SetName>,
  layout: Layout,
  { deletes, adds }: ElementEdits,
  sent: Sent,
  first: Steps = { before: [], change: [], after: [] },
): Promise<void> {
  const change = [
    ...first.change,
    ...elementOperations('delete elements', deletes, layout),
    ...elementOperations('add elements', adds, layout),
  ];
  if (change.length > 0) await keeper.commit({ before: [], change, after: [] }, sent);
}
