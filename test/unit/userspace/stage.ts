/** The userspace backend on a kernel in memory, with threads that do nothing but remember what they were told. */
import type {
  Change,
  Host,
  MetricValue,
  PluginMetric,
  SyncReport,
  Thread,
  ThreadOptions,
} from '../../../core/backend.ts';
import { createFakeNftables, createFakeState, type FakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { type BackendSettings, createBackend } from '../../../plugins/userspace/backend.ts';
import type {
  EngineEvent,
  EngineStatistics,
  ForwardedService,
  Frontend,
  FrontendAddress,
  ListenSpec,
  ListenUpdate,
} from '../../../plugins/userspace/forward/messages.ts';
import { openOccupancy } from '../../../plugins/userspace/forward/occupancy.ts';
import { parseOptions } from '../../../plugins/userspace/options.ts';
import { createStatistics } from '../../../plugins/userspace/statistics.ts';
import type { FromThread, ThreadData, ToThread } from '../../../plugins/userspace/thread-messages.ts';
import { fakeHost } from '../nftables/stage.ts';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import type { FakeLog } from '../sync/fake-log.ts';

export interface FakeThread {
  readonly data: ThreadData;
  /** What an engine would know now. */
  readonly inside: readonly string[];
  readonly services: ReadonlyMap<string, ForwardedService>;
  readonly frontends: ReadonlyMap<string, Frontend>;
  readonly listens: ReadonlyMap<string, ListenSpec>;
  /** Updates so far, each in a few words. */
  readonly told: readonly string[];
  readonly isAlive: boolean;
  /** As many connections are open in it. */
  occupy(connections: number): void;
  /** By itself. */
  crash(): void;
  say(event: EngineEvent): void;
}

export interface Threads {
  readonly all: readonly FakeThread[];
  readonly alive: readonly FakeThread[];
  readonly start: Host['thread'];
  /** Why a listener cannot be; undefined: it can. */
  refuse: (spec: ListenSpec) => string | undefined;
  /** Thrown at the next start. */
  failure: Error | undefined;
  statistics: EngineStatistics;
}

export const NO_STATISTICS: EngineStatistics = {
  openConnections: 0,
  sessions: 0,
  strays: 0,
  outOfDescriptors: 0,
  overLimit: 0,
  services: new Map(),
  ended: new Map(),
};

export function frontendKey({ protocol, family, ip, port }: FrontendAddress): string {
  return `${protocol} ${family} ${ip} ${port}`;
}

export function fakeThreads(): Threads {
  const all: FakeThread[] = [];
  const threads: Threads = {
    all,
    get alive() {
      return all.filter(({ isAlive }) => isAlive);
    },
    start(_, options) {
      const { failure } = threads;
      threads.failure = undefined;
      if (failure !== undefined) throw failure;
      const { thread, fake } = fakeThread(threads, options);
      all.push(fake);
      return thread;
    },
    refuse: () => undefined,
    failure: undefined,
    statistics: NO_STATISTICS,
  };
  return threads;
}

function fakeThread(
  threads: Threads,
  { data, onMessage, onExit }: ThreadOptions,
): { thread: Thread; fake: FakeThread } {
  const services = new Map<string, ForwardedService>();
  const frontends = new Map<string, Frontend>();
  const listens = new Map<string, ListenSpec>();
  const told: string[] = [];
  let inside: readonly string[] = [];
  let isAlive = true;
  const say = (message: FromThread): void => {
    const copy = structuredClone(message);
    queueMicrotask(() => isAlive && onMessage(copy));
  };
  const end = (reason: string): void => {
    if (!isAlive) return;
    isAlive = false;
    onExit(reason);
  };
  const obey = ({ update, id }: Extract<ToThread, { readonly type: 'update' }>): void => {
    const { upsert = [], remove = [], frontends: { set = [], delete: gone = [] } = {}, listen } = update;
    if (update.inside !== undefined) inside = update.inside;
    for (const service of upsert) services.set(service.key, service);
    for (const key of remove) services.delete(key);
    for (const one of gone) frontends.delete(frontendKey(one));
    for (const one of set) frontends.set(frontendKey(one), one);
    told.push(
      [
        ...upsert.map(({ key }) => `+${key}`),
        ...remove.map((key) => `-${key}`),
        ...set.map((one) => `+${frontendKey(one)}`),
        ...gone.map((one) => `-${frontendKey(one)}`),
        ...(listen?.close ?? []).map((id) => `close ${id}`),
        ...(listen?.open ?? []).map(({ id }) => `open ${id}`),
      ].join(', '),
    );
    if (listen !== undefined) listenAt(listen);
    say({ type: 'applied', id });
  };
  const listenAt = ({ open = [], close = [] }: ListenUpdate): void => {
    for (const id of close) listens.delete(id);
    const others = open.filter((spec) => JSON.stringify(listens.get(spec.id)) !== JSON.stringify(spec));
    for (const { id } of others) listens.delete(id);
    for (const spec of open) {
      const { id, port } = spec;
      if (listens.has(id)) {
        say({ type: 'event', event: { event: 'listening', id, port } });
        continue;
      }
      const code = threads.refuse(spec);
      if (code === undefined) listens.set(id, spec);
      const event: EngineEvent =
        code === undefined
          ? { event: 'listening', id, port }
          : { event: 'listen failed', id, code, message: `${spec.ip} port ${port}: ${code}` };
      say({ type: 'event', event });
    }
  };
  const thread: Thread = {
    post(message) {
      if (!isAlive) return;
      const order = structuredClone(message) as ToThread;
      if (order.type === 'update') obey(order);
      else if (order.type === 'close') {
        told.push('close');
        say({ type: 'applied', id: order.id });
      } else say({ type: 'statistics', id: order.id, statistics: threads.statistics });
    },
    async end() {
      end('was ended');
    },
  };
  const { occupancy, thread: index } = data as ThreadData;
  const { connections } = openOccupancy(occupancy, index);
  const fake: FakeThread = {
    data: structuredClone(data) as ThreadData,
    get inside() {
      return inside;
    },
    get isAlive() {
      return isAlive;
    },
    services,
    frontends,
    listens,
    told,
    occupy(count) {
      while (connections.own() < count) connections.add(1);
      while (connections.own() > count) connections.add(-1);
    },
    crash: () => end('ended by an error: test'),
    say: (event) => say({ type: 'event', event }),
  };
  return { thread, fake };
}

export interface Stage {
  readonly backend: ReturnType<typeof createBackend>;
  readonly kernel: FakeNftables;
  readonly threads: Threads;
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly host: Host;
  /** Why full syncs were asked for. */
  readonly requests: string[];
  /** "default/web InvalidProxyProtocol", … */
  readonly warnings: readonly string[];
  readonly metrics: ReadonlyMap<string, PluginMetric>;
  sync(change: Change): Promise<SyncReport>;
  /** As when the process is told to end; `backend.close()` alone is what another backend's taking over does. */
  end(): Promise<void>;
  read(metric: string): Promise<readonly MetricValue[]>;
}

const FIRST_PORT = 40_001;

export function stage(settings: Partial<BackendSettings> = {}, state = createFakeState()): Stage {
  const kernel = createFakeNftables(state);
  const made = fakeHost(kernel);
  const threads = fakeThreads();
  const clock = fakeClock();
  const warnings: string[] = [];
  const requests: string[] = [];
  const metrics = new Map<string, PluginMetric>();
  const ending = new AbortController();
  const host: Host = {
    ...made.host,
    signal: ending.signal,
    thread: threads.start,
    clock,
    requestFullSync: (reason) => void requests.push(reason),
    events: { warn: ({ namespace, name }, reason) => void warnings.push(`${namespace}/${name} ${reason}`) },
    metrics: {
      register(metric) {
        metrics.set(metric.name, metric);
        return () => void metrics.delete(metric.name);
      },
    },
  };
  let nextPort = FIRST_PORT;
  const backend = createBackend(host, {
    families: ['IPv4', 'IPv6'],
    way: 'redirect',
    owned: true,
    options: parseOptions({ threads: 2 }),
    module: new URL('file:///worker.js'),
    affinity: undefined,
    statistics: createStatistics(),
    freePort: async () => nextPort++,
    ...settings,
  });
  return {
    backend,
    kernel,
    threads,
    clock,
    log: made.log,
    host,
    requests,
    warnings,
    metrics,
    sync: (change) => backend.sync(change),
    end() {
      ending.abort();
      return backend.close();
    },
    read: async (name) => (await metrics.get(name)?.read()) ?? [],
  };
}
