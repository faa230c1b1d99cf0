/**
 * A Host that notes what a plugin does with it, and can be made to fail: a backend must say so when its work was not
 * done, and only who makes it fail can find out.
 */
import type {
  Child,
  Clock,
  DummyLink,
  ExecResult,
  Host,
  IPSets,
  IPVS,
  Logger,
  LogValues,
  Nftables,
  PacketCounters,
  PluginMetric,
} from '../../core/backend.ts';
import { checkedWarning } from '../../core/observe/service-events.ts';

export interface OpenHost extends Host {
  /** Closes what the kernel interfaces opened. */
  close(): void;
}

/** As the core makes one for a backend. */
export type MakeHost = (options: {
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly requestFullSync: (reason: string) => void;
  readonly metrics: Host['metrics'];
  readonly events: Host['events'];
}) => OpenHost;

export interface LogEntry {
  readonly level: 'error' | 'warn' | 'info' | 'verbose';
  readonly message: string;
  readonly values: LogValues;
}

/**
 * `everything`: programs end with status 1, kernel interfaces refuse. `not started`: programs cannot even be started.
 * `writes`: only programs that are given input, commits to nf_tables, changes to IPVS and to the addresses of an
 * interface, and lines to programs that stay.
 */
export type Fault = 'none' | 'everything' | 'not started' | 'writes';

export interface Watched {
  readonly host: OpenHost;
  readonly log: readonly LogEntry[];
  /** Times that each kind of work was asked for, failed ones included. */
  readonly calls: Readonly<Record<'exec' | 'execWithInput' | 'write' | 'commit' | 'netlink', number>>;
  /** Programs that run. */
  readonly children: ReadonlySet<Child>;
  /** Registered and not taken back. */
  readonly metrics: ReadonlySet<PluginMetric>;
  /** Metrics that were ever registered. */
  readonly everMetrics: readonly PluginMetric[];
  /** Callbacks of `Host.clock` that wait. */
  readonly waiting: number;
  fail(fault: Fault): void;
  /** Times that a fault took effect since `fail`. */
  readonly faults: number;
}

/** `show`: gets what the plugin logs, too. */
export function watchHost(make: MakeHost, signal: AbortSignal, show?: Logger): Watched {
  const log: LogEntry[] = [];
  const calls = { exec: 0, execWithInput: 0, write: 0, commit: 0, netlink: 0 };
  const children = new Set<Child>();
  const metrics = new Set<PluginMetric>();
  const everMetrics: PluginMetric[] = [];
  const waiting = new Set<() => void>();
  let fault: Fault = 'none';
  let faults = 0;

  const failing = (...kinds: readonly Fault[]): boolean => {
    if (!kinds.includes(fault)) return false;
    faults++;
    return true;
  };
  const injected = (what: string): Error =>
    Object.assign(new Error(`${what}: made to fail by the test`), { code: 'KP_TEST_FAULT' });

  const host = make({
    log: watchLog(log, show),
    signal,
    requestFullSync: () => {},
    metrics: {
      register(metric) {
        metrics.add(metric);
        everMetrics.push(metric);
        return () => void metrics.delete(metric);
      },
    },
    events: {
      // Refused as in the daemon; nobody is there to be told.
      warn: (service, reason, note) => void checkedWarning(service, reason, note),
    },
  });

  const exec: Host['exec'] = async (command, args, options) => {
    calls.exec++;
    const hasInput = options?.stdin !== undefined;
    if (hasInput) calls.execWithInput++;
    if (failing('not started')) throw Object.assign(injected(`cannot start ${command}`), { code: 'KP_EXEC' });
    if (failing(...(hasInput ? (['everything', 'writes'] as const) : (['everything'] as const)))) return FAILED;
    return host.exec(command, args, options);
  };

  const spawn: Host['spawn'] = async (command, args, options) => {
    calls.exec++;
    if (failing('not started', 'everything')) {
      throw Object.assign(injected(`cannot start ${command}`), { code: 'KP_EXEC' });
    }
    let watched: Child | undefined;
    let ended = false;
    const child = await host.spawn(command, args, {
      ...options,
      onExit(reason) {
        ended = true;
        if (watched) children.delete(watched);
        options.onExit(reason);
      },
    });
    watched = {
      pid: child.pid,
      async write(text) {
        calls.write++;
        if (failing('everything', 'writes', 'not started')) throw injected(`cannot write to ${command}`);
        return child.write(text);
      },
      end: (graceMs) => child.end(graceMs),
    };
    if (!ended) children.add(watched);
    return watched;
  };

  const thread: Host['thread'] = (module, options) => {
    calls.exec++;
    if (failing('not started', 'everything')) {
      throw Object.assign(injected(`cannot start thread ${module}`), { code: 'KP_THREAD' });
    }
    return host.thread(module, options);
  };

  /** Each method counted, and refused while it is to be. */
  function watchMethods<T extends object>(name: string, real: T, count: (method: string) => void): T {
    return new Proxy(real, {
      get(target, property) {
        const member: unknown = Reflect.get(target, property);
        if (typeof member !== 'function') return member;
        return (...args: readonly unknown[]): unknown => {
          const method = String(property);
          count(method);
          const isWrite = WRITES.includes(method);
          if (
            !PURE.includes(method) &&
            failing('everything', 'not started', ...(isWrite ? (['writes'] as const) : []))
          ) {
            const error = injected(`${name} ${method}`);
            if (ASYNCHRONOUS.includes(method)) return Promise.reject(error);
            throw error;
          }
          return Reflect.apply(member, target, args);
        };
      },
    });
  }
  const counted = (method: string): void => {
    calls.netlink++;
    if (WRITES.includes(method)) calls.commit++;
  };

  return {
    host: {
      ...host,
      exec,
      spawn,
      thread,
      netlink: {
        nftables: (): Nftables => watchMethods('nftables', host.netlink.nftables(), counted),
        ipset: (): IPSets => watchMethods('ipset', host.netlink.ipset(), counted),
        nfacct: (): PacketCounters => watchMethods('nfacct', host.netlink.nfacct(), counted),
        nftablesGeneration: () => host.netlink.nftablesGeneration(),
        ipvs: (): IPVS => watchMethods('ipvs', host.netlink.ipvs(), counted),
        dummyLink: (name): DummyLink => watchMethods('dummy link', host.netlink.dummyLink(name), counted),
      },
      clock: watchClock(host.clock, waiting),
    },
    log,
    calls,
    children,
    metrics,
    everMetrics,
    get waiting() {
      return waiting.size;
    },
    fail(next) {
      fault = next;
      faults = 0;
    },
    get faults() {
      return faults;
    },
  };
}

const FAILED: ExecResult = { status: 1, stdout: '', stderr: 'made to fail by the test', timedOut: false };
const ASYNCHRONOUS: readonly string[] = [
  ...['commit', 'tables', 'read', 'elements', 'supportsOwnership'],
  ...[
    'apply',
    'virtualServers',
    'virtualServer',
    'realServers',
    'connections',
    'probe',
    'timeouts',
    'setTimeouts',
    'info',
  ],
  'change',
];
const PURE: readonly string[] = ['fingerprint', 'setFingerprint'];
const WRITES: readonly string[] = ['commit', 'apply', 'setTimeouts', 'change'];

function watchLog(entries: LogEntry[], show: Logger | undefined): Logger {
  const at =
    (level: Exclude<LogEntry['level'], 'verbose'>) =>
    (message: string, values: LogValues = {}): void => {
      entries.push({ level, message, values });
      show?.[level](message, values);
    };
  return {
    error: at('error'),
    warn: at('warn'),
    info: at('info'),
    verbose(level, message, values = {}) {
      entries.push({ level: 'verbose', message, values });
      show?.verbose(level, message, values);
    },
    enabled: (level) => show?.enabled(level) ?? false,
  };
}

function watchClock(clock: Clock, waiting: Set<() => void>): Clock {
  return {
    now: () => clock.now(),
    after(milliseconds, callback) {
      const cancel = (): void => {
        waiting.delete(cancel);
        stop();
      };
      const stop = clock.after(milliseconds, () => {
        waiting.delete(cancel);
        callback();
      });
      waiting.add(cancel);
      return cancel;
    },
  };
}
