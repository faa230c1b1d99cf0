/** A host whose programs are the test: it reads what they are told, and says what they say. Time is the test's. */
import type { Host, PluginMetric, SpawnOptions } from '../../../core/backend.ts';
import { type FakeClock, fakeClock, settle } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';

export interface Told {
  readonly type: string;
  readonly id?: number;
  readonly change?: {
    readonly family: string;
    readonly full: boolean;
    readonly node: { readonly zone: string };
    readonly upsert: readonly { readonly key: string }[];
    readonly remove: readonly string[];
  };
  readonly [field: string]: unknown;
}

/** One run of a program. */
export interface FakeProgram {
  readonly command: string;
  readonly args: readonly string[];
  readonly told: readonly Told[];
  /** Bytes that it was sent. */
  bytes(): number;
  /** How it was ended: the grace of each call. */
  readonly ends: readonly number[];
  readonly running: () => boolean;
  say(answer: Readonly<Record<string, unknown>> | string): Promise<void>;
  sayError(line: string): Promise<void>;
  /** Says a line without waiting for anything. */
  rave(line: string, onError: boolean): void;
  exit(reason?: string): Promise<void>;
  /** From now on its input takes nothing: writes wait, or fail. */
  input(state: 'stuck' | 'closed'): void;
  /** It does not end when it is told to. */
  ignoreEnd(): void;
}

export interface Stage {
  readonly host: Host;
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly programs: readonly FakeProgram[];
  /** The newest. */
  program(): FakeProgram;
  /** Reasons for which a full sync was asked for. */
  readonly resyncs: readonly string[];
  readonly metrics: readonly PluginMetric[];
  readonly shutDown: () => void;
  /** Programs cannot be started from now on, or can again. */
  installed(yes: boolean): void;
}

export function stage(): Stage {
  const clock = fakeClock();
  const log = fakeLog();
  const programs: FakeProgram[] = [];
  const resyncs: string[] = [];
  const metrics: PluginMetric[] = [];
  const controller = new AbortController();
  let installed = true;
  const never = (): never => {
    throw new Error('the exec backend has no business here');
  };
  const host: Host = {
    log,
    clock,
    exec: never,
    async spawn(command, args, options) {
      if (!installed) throw Object.assign(new Error(`cannot start ${command}: it is gone`), { code: 'KP_EXEC' });
      const { program, child } = fakeProgram(command, args, options);
      programs.push(program);
      return { pid: 100 + programs.length, ...child };
    },
    thread: never,
    sockets: { originalDestination: never, originalUDPDestination: never },
    sysctl: { read: never, ensure: never },
    netlink: { ipset: never, nftablesGeneration: never, nftables: never, nfacct: never, ipvs: never, dummyLink: never },
    signal: controller.signal,
    requestFullSync: (reason) => void resyncs.push(reason),
    metrics: {
      register(metric) {
        metrics.push(metric);
        return () => void metrics.splice(metrics.indexOf(metric), 1);
      },
    },
    events: { warn() {} },
  };
  return {
    host,
    clock,
    log,
    programs,
    resyncs,
    metrics,
    program: () => programs.at(-1)!,
    shutDown: () => controller.abort(),
    installed(yes) {
      installed = yes;
    },
  };
}

function fakeProgram(command: string, args: readonly string[], options: SpawnOptions) {
  const told: Told[] = [];
  const ends: number[] = [];
  let running = true;
  let input: 'open' | 'stuck' | 'closed' = 'open';
  let deaf = false;
  let unread = '';
  let bytes = 0;
  const ended = Promise.withResolvers<void>();
  const failWrites: (() => void)[] = [];
  const exit = async (reason = 'ended with status 1'): Promise<void> => {
    if (!running) return;
    running = false;
    options.onExit(reason);
    for (const fail of failWrites) fail();
    ended.resolve();
    await settle();
  };
  const program: FakeProgram = {
    command,
    args,
    told,
    ends,
    exit,
    bytes: () => bytes,
    running: () => running,
    async say(answer) {
      options.onLine(typeof answer === 'string' ? answer : JSON.stringify(answer));
      await settle();
    },
    rave(line, onError) {
      if (onError) options.onErrorLine(line);
      else options.onLine(line);
    },
    async sayError(line) {
      options.onErrorLine(line);
      await settle();
    },
    input(state) {
      input = state;
    },
    ignoreEnd() {
      deaf = true;
    },
  };
  const child = {
    async write(text: string): Promise<void> {
      const fault = (): Error => new Error(`cannot write to ${command}`);
      if (!running || input === 'closed') throw fault();
      if (input === 'stuck') return new Promise((_, reject) => failWrites.push(() => reject(fault())));
      bytes += Buffer.byteLength(text);
      const lines = (unread + text).split('\n');
      unread = lines.pop()!;
      for (const line of lines) told.push(JSON.parse(line));
    },
    async end(graceMs: number): Promise<void> {
      ends.push(graceMs);
      if (!deaf) await exit('was ended by SIGTERM');
      await ended.promise;
    },
  };
  return { program, child };
}
