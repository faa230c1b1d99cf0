/**
 * The program under test, core/main.ts on the node of the world, as often as it is started: its log, its metrics, what
 * it holds of the machine, and whatever it did that it never may.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { World } from '../netns/world.ts';
import { NODE_NAME } from '../netns/world-topology.ts';
import { ask } from '../unit/observe/ask.ts';
import { type Family, parseExposition } from '../unit/observe/exposition.ts';

export const MAIN = fileURLToPath(new URL('../../core/main.ts', import.meta.url));

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export type Metrics = ReadonlyMap<string, Family>;

export interface Daemon {
  /** Does nothing while it runs. */
  start(): void;
  /** Does nothing while it does not run. */
  stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  running(): boolean;
  /** How long the process has been running; undefined while none is. */
  ageMs(): number | undefined;
  /** Processes started. */
  starts(): number;
  /** Undefined while it cannot be asked. */
  metrics(): Promise<Metrics | undefined>;
  /** Whether it says that load balancers may use this node; undefined while it cannot be asked. */
  nodeEligible(): Promise<boolean | undefined>;
  /** Undefined while it does not run. */
  holds(): Holds | undefined;
  /** Lines so far; those before `keepFrom` may be gone. */
  logged(): number;
  /** Poll for a line since this number; rejects after the time or when the program has ended. */
  says(what: string, fits: (line: LogLine) => boolean, from: number, withinMs: number): Promise<LogLine>;
  linesSince(from: number): readonly LogLine[];
  /** How often it said what, warnings and errors only. */
  complaints(): ReadonlyMap<string, number>;
  syncs(): number;
  /** Put a line of one's own between those of the log file. */
  note(text: string): void;
  /** What must never happen: an end that nobody asked for, a bug that it found in itself. */
  faults(): readonly string[];
}

export interface Holds {
  /** Private memory: what its end would give back to the machine. */
  readonly privateMiB: number;
  readonly fds: number;
}

export interface Where {
  readonly host: string;
  readonly port: number;
}

export interface DaemonOptions {
  readonly world: World;
  readonly configFile: string;
  readonly metricsAt: Where;
  readonly healthzAt: Where;
  readonly logFile: string;
  readonly now: () => number;
}

/** Lines that are kept to be looked through. */
const KEPT = 5000;
const POLL_MS = 50;
const FETCH_MS = 2000;

export function createDaemon({ world, configFile, metricsAt, healthzAt, logFile, now }: DaemonOptions): Daemon {
  const lines: LogLine[] = [];
  const complaints = new Map<string, number>();
  const faults: string[] = [];
  const file = createWriteStream(logFile, { flags: 'a' });
  let dropped = 0;
  let child: ChildProcess | undefined;
  let startedAt = 0;
  let starts = 0;
  let syncs = 0;
  let stopping = false;

  const isRunning = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null;

  function take(text: string): void {
    file.write(`${text}\n`);
    const line = parseLine(text);
    lines.push(line);
    if (lines.length > KEPT * 2) {
      dropped += lines.length - KEPT;
      lines.splice(0, lines.length - KEPT);
    }
    if (line.msg.startsWith('Synced')) syncs++;
    if (line.level === 'info') return;
    complaints.set(line.msg, (complaints.get(line.msg) ?? 0) + 1);
    if (line.level === 'raw' || /this is a bug|please report/.test(line.msg)) faults.push(`the proxy said: ${text}`);
  }

  function linesSince(from: number): readonly LogLine[] {
    return lines.slice(Math.max(0, from - dropped));
  }

  return {
    start() {
      if (isRunning()) return;
      stopping = false;
      starts++;
      startedAt = now();
      const started = world.spawn(NODE_NAME, process.execPath, [MAIN, '--config', configFile], {
        stdio: ['ignore', 'ignore', 'pipe'],
        // Ctrl-C is for the soak, which then ends it.
        detached: true,
      });
      child = started;
      createInterface({ input: started.stderr! }).on('line', take);
      started.once('exit', (status, signal) => {
        if (!stopping) faults.push(`the proxy ended by itself with ${signal ?? `status ${status}`}`);
      });
    },
    async stop(signal) {
      if (!isRunning()) return;
      stopping = true;
      const ended = once(child!, 'exit');
      child!.kill(signal);
      const [status] = (await ended) as [number | null];
      if (signal === 'SIGTERM' && status !== 0) faults.push(`the proxy ended with status ${status} after SIGTERM`);
    },
    running: isRunning,
    ageMs: () => (isRunning() ? now() - startedAt : undefined),
    starts: () => starts,
    async metrics() {
      const body = isRunning() ? await fetchBody(metricsAt, '/metrics') : undefined;
      return body === undefined ? undefined : parseExposition(body);
    },
    async nodeEligible() {
      const body = isRunning() ? await fetchBody(healthzAt, '/healthz') : undefined;
      return body === undefined ? undefined : (JSON.parse(body) as { nodeEligible?: boolean }).nodeEligible;
    },
    holds() {
      if (!isRunning()) return undefined;
      try {
        return holdings(child!.pid!);
      } catch {
        return undefined;
      }
    },
    logged: () => dropped + lines.length,
    linesSince,
    async says(what, fits, from, withinMs) {
      for (const deadline = now() + withinMs; ; ) {
        const found = linesSince(from).find(fits);
        if (found !== undefined) return found;
        if (!isRunning()) throw new Error(`${what}: the proxy has ended`);
        if (now() > deadline) throw new Error(`${what}: not within ${withinMs / 1000} s`);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    },
    complaints: () => complaints,
    syncs: () => syncs,
    note: (text) => void file.write(`# ${text}\n`),
    faults: () => faults,
  };
}

/** Undefined when nothing came. */
async function fetchBody(where: Where, path: string): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), FETCH_MS);
  });
  try {
    return (await Promise.race([ask(where, path), late]))?.body;
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

function parseLine(text: string): LogLine {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    // The runtime itself warns in plain text.
    return { level: 'raw', msg: text };
  }
}

function holdings(pid: number): Holds {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = [...rollup.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce(
    (sum, match) => sum + Number(match[1]),
    0,
  );
  return { privateMiB: kilobytes / 1024, fds: readdirSync(`/proc/${pid}/fd`).length };
}
