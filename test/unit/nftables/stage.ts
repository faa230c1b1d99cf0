/**
 * The nftables backend on a kernel in memory. Two stages with one state are two processes of one host, or one process
 * before and after its restart.
 */
import type { Backend, Change, Host, IPFamily, SelfChecking, SyncReport } from '../../../core/backend.ts';
import {
  createFakeNftables,
  createFakeState,
  type FakeNftables,
  type FakeNftablesState,
} from '../../../core/netlink/nftables/fake.ts';
import { type BackendSettings, createBackend } from '../../../plugins/nftables/backend.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';

export interface Stage {
  readonly kernel: FakeNftables;
  readonly backend: Backend & SelfChecking;
  readonly host: Host;
  readonly log: FakeLog;
  /** "net/ipv4/…=1" of every parameter that was to be ensured, and "commit TABLE" of every commit, in order. */
  readonly events: readonly string[];
  /** A sync that must succeed. */
  sync(change: Change): Promise<SyncReport>;
}

export interface FakeHost {
  readonly host: Host;
  readonly log: FakeLog;
  readonly events: string[];
}

/** A host with this kernel; parameters are "0" unless told otherwise. */
export function fakeHost(kernel: FakeNftables, parameters: Readonly<Record<string, string>> = {}): FakeHost {
  const log = fakeLog();
  const events: string[] = [];
  const watched: FakeNftables = {
    ...kernel,
    async commit(transaction) {
      const done = await kernel.commit(transaction);
      if (done.operations > 0) events.push(`commit ${transaction.family} ${transaction.table}`);
      return done;
    },
  };
  const host: Host = {
    log,
    async exec() {
      throw new Error('the nftables backend runs no programs');
    },
    async spawn() {
      throw new Error('the nftables backend runs no programs');
    },
    thread() {
      throw new Error('the nftables backend starts no thread');
    },
    sockets: { originalDestination: () => undefined, originalUDPDestination: () => undefined },
    sysctl: {
      read: (name) => (name in parameters ? parameters[name] : '0'),
      ensure: (name, value) => void events.push(`${name}=${value}`),
    },
    netlink: {
      ipset() {
        throw new Error('the nftables backend uses no IP sets');
      },
      nftablesGeneration: () => kernel.generation(),
      nftables: () => watched,
      nfacct() {
        throw new Error('the nftables backend counts in its own table');
      },
      ipvs() {
        throw new Error('the nftables backend does not speak IPVS');
      },
      dummyLink() {
        throw new Error('the nftables backend makes no interface');
      },
    },
    clock: { now: () => 0, after: () => () => {} },
    signal: new AbortController().signal,
    requestFullSync() {},
    metrics: { register: () => () => {} },
    events: { warn() {} },
  };
  return { host, log, events };
}

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

export function stage(settings: Partial<BackendSettings> = {}, state: FakeNftablesState = createFakeState()): Stage {
  const kernel = createFakeNftables(state);
  const made = fakeHost(kernel);
  const backend = createBackend(made.host, { families: FAMILIES, owned: true, comments: true, ...settings });
  return { kernel, backend, ...made, sync: (change) => backend.sync(change) };
}
