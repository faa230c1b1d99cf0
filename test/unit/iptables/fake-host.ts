/** A host whose programs and IP sets are functions of the test. Time passes only while somebody waits for it. */
import type { ExecResult, Host, IPSets, PacketCounters, PluginMetric } from '../../../core/backend.ts';

export interface FakeHost extends Host {
  /** Every program run, as typed. */
  readonly runs: readonly string[];
  readonly warnings: readonly string[];
  /** Metrics that are registered. */
  readonly shown: readonly PluginMetric[];
}

export type Program = (line: string, stdin: string) => Partial<ExecResult> | undefined;

/** `program` answers undefined for what is not installed. */
export function fakeHost(program: Program, rest: Partial<Host> = {}): FakeHost {
  const runs: string[] = [];
  const warnings: string[] = [];
  const shown: PluginMetric[] = [];
  let now = 0;
  const sets: IPSets = {
    createHashIP() {},
    destroy() {},
    flush() {},
    names: () => [],
    members: () => [],
  };
  const counters: PacketCounters = { ensure() {}, read: () => undefined, delete() {} };
  return {
    runs,
    warnings,
    shown,
    log: { error() {}, warn: (message) => void warnings.push(message), info() {}, verbose() {}, enabled: () => false },
    async exec(command, args, options = {}) {
      const line = [command, ...args].join(' ');
      runs.push(line);
      const result = program(line, String(options.stdin ?? ''));
      if (result === undefined) throw Object.assign(new Error(`cannot start ${command}`), { code: 'KP_EXEC' });
      return { status: 0, stdout: '', stderr: '', timedOut: false, ...result };
    },
    async spawn() {
      throw new Error('the iptables backend starts no program that stays');
    },
    thread() {
      throw new Error('the iptables backend starts no thread');
    },
    sockets: { originalDestination: () => undefined, originalUDPDestination: () => undefined },
    sysctl: { read: () => '0', ensure() {} },
    netlink: {
      ipset: () => sets,
      nftablesGeneration: () => 1,
      nftables() {
        throw new Error('the iptables backend does not speak nf_tables');
      },
      nfacct: () => counters,
      ipvs() {
        throw new Error('the iptables backend does not speak IPVS');
      },
      dummyLink: () => ({
        ensure() {
          throw new Error('the iptables backend makes no interface');
        },
        delete() {
          throw new Error('the iptables backend deletes no interface');
        },
        addresses: () => undefined,
        change() {
          throw new Error('the iptables backend binds no address');
        },
      }),
    },
    clock: {
      now: () => now,
      after(milliseconds, callback) {
        queueMicrotask(() => {
          now += milliseconds;
          callback();
        });
        return () => {};
      },
    },
    signal: new AbortController().signal,
    requestFullSync() {},
    metrics: {
      register(metric) {
        shown.push(metric);
        return () => void shown.splice(shown.indexOf(metric), 1);
      },
    },
    events: { warn() {} },
    ...rest,
  };
}
