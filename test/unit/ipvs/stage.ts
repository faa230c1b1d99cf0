/**
 * The ipvs backend on kernels in memory: IPVS, nf_tables, interfaces, time. Two stages with one state are two processes
 * of one host, or one process before and after its restart.
 */
import type { Backend, Change, Host, IPFamily, IPVSRefusal, SelfChecking, SyncReport } from '../../../core/backend.ts';
import {
  createFakeIPVS,
  createFakeIPVSState,
  type FakeIPVS,
  type FakeIPVSOptions,
} from '../../../core/netlink/ipvs-fake.ts';
import { createFakeLinks, type FakeLinks } from '../../../core/netlink/link-fake.ts';
import { createFakeNftables, createFakeState, type FakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { createBackend } from '../../../plugins/ipvs/backend.ts';
import { parseOptions } from '../../../plugins/ipvs/options.ts';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';

export interface StageState {
  readonly ipvs: ReturnType<typeof createFakeIPVSState>;
  readonly tables: ReturnType<typeof createFakeState>;
  readonly links: FakeLinks;
}

export interface StageOptions extends FakeIPVSOptions {
  readonly options?: Readonly<Record<string, unknown>>;
  readonly owned?: boolean;
  readonly families?: readonly IPFamily[];
  /** Names of the IP sets that there are. */
  readonly ipsets?: readonly string[];
  /** Kernel parameters; "0" unless told otherwise, undefined: there is none. */
  readonly parameters?: Readonly<Record<string, string | undefined>>;
  /** Called before everything that is asked of the kernel, with its name; what it throws is what the kernel answers. */
  readonly onCall?: (what: string) => void;
}

export interface Stage {
  readonly state: StageState;
  readonly ipvs: FakeIPVS;
  readonly nftables: FakeNftables;
  readonly links: FakeLinks;
  readonly backend: Backend & SelfChecking;
  readonly host: Host;
  readonly log: FakeLog;
  readonly clock: FakeClock;
  /** What was done to the kernel, in order: "commit …", "ipvs …", "bind …", "name=value". */
  readonly done: string[];
  /** "namespace/name reason: note". */
  readonly warnings: string[];
  readonly requests: string[];
  sync(change: Change): Promise<SyncReport>;
  /** `ipvsadm -Sn` of one family. */
  servers(family?: IPFamily): string;
  addresses(family?: IPFamily): readonly string[];
  /** Keys and data of a set, as text. */
  elements(set: string, family?: 'ip' | 'ip6'): readonly string[];
}

export function newState(): StageState {
  return { ipvs: createFakeIPVSState(), tables: createFakeState(), links: createFakeLinks() };
}

export function stage(settings: StageOptions = {}, state: StageState = newState()): Stage {
  const { options = {}, owned = true, families = ['IPv4', 'IPv6'], ipsets = [], ...rest } = settings;
  const { parameters = {}, onCall = () => {}, ...fakes } = rest;
  const log = fakeLog();
  const clock = fakeClock();
  const done: string[] = [];
  const warnings: string[] = [];
  const requests: string[] = [];
  const ipvs = createFakeIPVS(state.ipvs, { ...fakes, families });
  const nftables = createFakeNftables(state.tables);
  const none = (what: string) => (): never => {
    throw new Error(`the ipvs backend uses no ${what}`);
  };
  const host: Host = {
    log,
    exec: none('programs'),
    spawn: none('programs'),
    thread: none('threads'),
    sockets: { originalDestination: none('sockets'), originalUDPDestination: none('sockets') },
    sysctl: {
      read: (name) => (Object.hasOwn(parameters, name) ? parameters[name] : '0'),
      ensure: (name, value) => void done.push(`${name}=${value}`),
    },
    netlink: {
      ipset: () => ({
        names() {
          onCall('list IP sets');
          return ipsets;
        },
        createHashIP: none('IP sets'),
        destroy: none('IP sets'),
        flush: none('IP sets'),
        members: none('IP sets'),
      }),
      nftablesGeneration: () => nftables.generation(),
      nftables: () => ({
        ...nftables,
        async tables(family) {
          onCall('list tables');
          return nftables.tables(family);
        },
        async elements(...of) {
          onCall('list elements');
          return nftables.elements(...of);
        },
        async commit(transaction) {
          onCall('commit');
          const result = await nftables.commit(transaction);
          if (result.operations > 0) done.push(`commit ${transaction.family}`);
          return result;
        },
      }),
      nfacct: none('counters'),
      ipvs: () => ({
        ...ipvs,
        async virtualServers(family) {
          onCall('list servers');
          return ipvs.virtualServers(family);
        },
        async realServers(of) {
          onCall('list real servers');
          return ipvs.realServers(of);
        },
        // One by one, so that a crash may come between two of them.
        async apply(steps) {
          const outcome = { operations: 0, bytes: 0, refused: [] as IPVSRefusal[] };
          for (const step of steps) {
            onCall(`ipvs ${step.do}`);
            const { operations, bytes, refused } = await ipvs.apply([step]);
            outcome.operations += operations;
            outcome.bytes += bytes;
            outcome.refused.push(...refused);
            done.push(`ipvs ${step.do}`);
          }
          return outcome;
        },
      }),
      dummyLink(name) {
        const link = state.links.dummyLink(name);
        return {
          ...link,
          ensure() {
            onCall('create link');
            link.ensure();
          },
          async change({ add = [], remove = [] }) {
            const outcome = { operations: 0, bytes: 0 };
            const changes = [
              ...[...remove].map((ip) => ({ verb: 'unbind', ip, change: { remove: [ip] } })),
              ...[...add].map((ip) => ({ verb: 'bind', ip, change: { add: [ip] } })),
            ];
            for (const { verb, ip, change } of changes) {
              onCall(`${verb} ${ip}`);
              const { operations, bytes } = await link.change(change);
              outcome.operations += operations;
              outcome.bytes += bytes;
              done.push(`${verb} ${ip}`);
            }
            return outcome;
          },
        };
      },
    },
    clock,
    signal: new AbortController().signal,
    requestFullSync: (reason) => void requests.push(reason),
    metrics: { register: () => () => {} },
    events: {
      warn: ({ namespace, name }, reason, note) => void warnings.push(`${namespace}/${name} ${reason}: ${note}`),
    },
  };
  const backend = createBackend(host, { families, owned, options: parseOptions(options) });
  return {
    state,
    ipvs,
    nftables,
    links: state.links,
    backend,
    host,
    log,
    clock,
    done,
    warnings,
    requests,
    sync: (change) => backend.sync(change),
    servers: (family = 'IPv4') => ipvs.dump(family),
    addresses: (family = 'IPv4') =>
      [...(state.links.addresses('kube-ipvs0') ?? [])].filter((ip) => ip.includes(':') === (family === 'IPv6')).sort(),
    elements(set, family = 'ip') {
      const found = nftables.table(family, 'kube-ipvs')?.sets.find(({ name }) => name === set);
      const text = (values: unknown): string => (Array.isArray(values) ? ` → ${values.join(' ')}` : '');
      return [...(found?.elements ?? [])].map(({ key, data }) => `${key.join(' ')}${text(data)}`).sort();
    },
  };
}
