/**
 * The calls into one plugin that are under way: each made in the plugin's context, named in the log while it keeps
 * others waiting, and watched for keeping the whole process from everything else.
 *
 *   call('IPv4: sync', …) ─┬─ answers ─────────────────────────────────▶ the caller
 *                          ├─ not yet after 10, 20, 40 … s ────────────▶ "still waiting"
 *                          └─ a timer of ours came a second late ──────▶ "kept the process from everything else"
 *
 * Time on the clock alone accuses nobody: a machine that was suspended, or is short of processors, looks the same. What
 * used up the processor time of this thread is counted as a stall; what only took long is told in other words.
 */
import type { Clock, Logger } from '../backend.ts';
import { inPlugin, type PluginContext } from './plugin-context.ts';

export interface PluginCallsOptions {
  readonly context: PluginContext;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onStall: () => void;
  /** Milliseconds of processor time that this thread has used. Default: asks the kernel. */
  readonly cpuMs?: () => number;
}

export interface PluginCalls {
  /** `what` names the call in the log: "IPv4: sync". Settles as the call does, and does not if it does not. */
  call<T>(what: string, invoke: () => T | PromiseLike<T>): Promise<T>;
  /** For calls that answer at once. */
  now<T>(what: string, invoke: () => T): T;
  /** What is under way, and for how many seconds. */
  pending(): readonly string[];
}

const STALL_MS = 1_000;
const TICK_MS = 500;
const FIRST_TELL_MS = 10_000;
/** Whoever calls has given up by then, and says so. */
const LAST_TELL_MS = 300_000;

interface Call {
  readonly what: string;
  readonly since: number;
  tellAt: number;
}

export function createPluginCalls(options: PluginCallsOptions): PluginCalls {
  const { context, clock, log, onStall, cpuMs = threadCpuMs } = options;
  const calls = new Set<Call>();
  let cancelTick: (() => void) | undefined;
  let tickAt = 0;
  let cpuAtTick = 0;

  function arm(): void {
    tickAt = clock.now() + TICK_MS;
    cpuAtTick = cpuMs();
    cancelTick = clock.after(TICK_MS, tick);
  }

  /** Did everything stand still since the timer was set? Seen by the timer, or by an answer that came before it. */
  function look(): void {
    const lateMs = clock.now() - tickAt;
    if (!cancelTick || lateMs < STALL_MS) return;
    stalled([...calls].map(({ what }) => what).join(', '), lateMs, cpuMs() - cpuAtTick, false);
    rearm();
  }

  function rearm(): void {
    cancelTick?.();
    arm();
  }

  function tick(): void {
    look();
    const now = clock.now();
    const watched = [...calls].filter(({ since }) => now - since < LAST_TELL_MS);
    for (const call of watched) {
      if (now < call.tellAt) continue;
      const waitedMs = now - call.since;
      call.tellAt = call.since + 2 * (call.tellAt - call.since);
      const seconds = Math.round(waitedMs / 1000);
      log.warn('Still waiting for the backend', { backend: context.name, call: call.what, seconds });
    }
    cancelTick?.();
    cancelTick = undefined;
    if (watched.length > 0) arm();
  }

  /** `alone`: nothing but the call ran; otherwise it only was under way. */
  function stalled(what: string, wallMs: number, usedMs: number, alone: boolean): void {
    const values = {
      backend: context.name,
      call: what,
      seconds: Math.round(wallMs / 100) / 10,
      processorSeconds: Math.round(usedMs / 100) / 10,
    };
    if (usedMs < STALL_MS) {
      const why = 'it waits without giving way, or the machine was suspended or is overloaded';
      log.warn(`The process stood still during a call of the backend: ${why}`, values);
      return;
    }
    onStall();
    if (alone) log.warn('A call of the backend kept the process from everything else', values);
    else log.warn('The process was kept from everything else while calls of the backend were under way', values);
  }

  function now<T>(what: string, invoke: () => T): T {
    const began = clock.now();
    const cpuAtStart = cpuMs();
    try {
      return inPlugin(context, invoke);
    } finally {
      const wallMs = clock.now() - began;
      if (wallMs >= STALL_MS) {
        stalled(what, wallMs, cpuMs() - cpuAtStart, true);
        // Told already.
        if (cancelTick) rearm();
      }
    }
  }

  return {
    now,

    async call(what, invoke) {
      const since = clock.now();
      const call: Call = { what, since, tellAt: since + FIRST_TELL_MS };
      calls.add(call);
      if (!cancelTick) arm();
      try {
        // Awaited inside the context: an answer may be a thenable of the plugin's own.
        return await now(what, async () => await invoke());
      } finally {
        look();
        calls.delete(call);
        if (calls.size === 0) {
          cancelTick?.();
          cancelTick = undefined;
        }
      }
    },

    pending: () => [...calls].map(({ what, since }) => `${what}, for ${Math.round((clock.now() - since) / 1000)} s`),
  };
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
