/**
 * The program under test as an operator runs it, core/main.ts in a process of its own, fed by an API server. By default
 * it runs on this very host with the dry-run backend, which changes nothing there and says what it would serve.
 *
 * Each has a loopback address of its own for its two HTTP servers: neither another test nor a proxy of this host is in
 * the way.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Answer } from '../unit/observe/ask.ts';
import { ask } from '../unit/observe/ask.ts';
import { type Family, parseExposition } from '../unit/observe/exposition.ts';
import { createServed, type Served } from './served.ts';

const MAIN = fileURLToPath(new URL('../../core/main.ts', import.meta.url));
const WAIT_MS = 20_000;

interface Where {
  readonly host: string;
  readonly port: number;
}

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface DaemonOptions {
  /** "" leaves the flag away. */
  readonly kubeconfig: string;
  readonly nodeName: string;
  /** Further flags. Default: those of the dry-run backend. */
  readonly flags?: readonly string[];
}

/** How it is run, whatever its command line. */
export interface ProgramOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Starts it elsewhere. */
  readonly spawn?: (command: string, args: readonly string[], options: SpawnOptions) => ChildProcess;
}

export type Condition = () => boolean | Promise<boolean>;

export interface Daemon {
  /** Everything logged so far. */
  readonly lines: readonly LogLine[];
  /** With the dry-run backend. */
  readonly served: Served;
  health(path: string): Promise<Answer>;
  metricsServer(path: string): Promise<Answer>;
  metrics(): Promise<ReadonlyMap<string, Family>>;
  /** Poll until it holds; rejects after 20 s with the end of the log, or when the program has ended. */
  until(what: string, holds: Condition): Promise<void>;
  /** A line that fits, since the line number `from`. */
  says(what: string, fits: (line: LogLine) => boolean, from?: number): Promise<LogLine>;
  ready(): Promise<void>;
  running(): boolean;
  /** Returns the exit status, or the signal's name. */
  stop(signal?: NodeJS.Signals): Promise<number | string>;
}

export const DRY_RUN = ['--backend=dry-run', '--backend-option=format=json'];

const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Returns when the process is started. */
export async function startDaemon(options: DaemonOptions & ProgramOptions): Promise<Daemon> {
  const { kubeconfig, nodeName, flags = DRY_RUN } = options;
  const host = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  const [healthz, metrics] = [
    { host, port: await freePort(host) },
    { host, port: await freePort(host) },
  ];
  const args = [
    ...(kubeconfig === '' ? [] : [`--kubeconfig=${kubeconfig}`]),
    `--hostname-override=${nodeName}`,
    `--healthz-bind-address=${healthz.host}:${healthz.port}`,
    `--metrics-bind-address=${metrics.host}:${metrics.port}`,
    '--iptables-min-sync-period=10ms',
    '--logging-format=json',
    ...flags,
  ];
  return startProgram(args, { healthz, metrics }, options);
}

export interface Servers {
  readonly healthz: Where;
  readonly metrics: Where;
}

/** With exactly these arguments; `servers` is where it will listen then. */
export function startProgram(args: readonly string[], servers: Servers, options: ProgramOptions = {}): Daemon {
  const start = options.spawn ?? spawn;
  const child = start(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
  children.add(child);
  child.once('exit', () => children.delete(child));

  const lines: LogLine[] = [];
  const served = createServed();
  createInterface({ input: child.stderr! }).on('line', (line) => lines.push(parseLine(line)));
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => served.feed(chunk));
  const running = (): boolean => child.exitCode === null && child.signalCode === null;

  async function until(what: string, holds: Condition): Promise<void> {
    const deadline = performance.now() + WAIT_MS;
    for (;;) {
      if (await answer(holds)) return;
      const problem = !running() ? 'the program has ended' : performance.now() > deadline ? 'it did not come' : '';
      if (problem !== '') throw new Error(`${what}: ${problem}; its log ends:\n${tail(lines)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async function says(what: string, fits: (line: LogLine) => boolean, from = 0): Promise<LogLine> {
    const find = (): LogLine | undefined => lines.slice(from).find(fits);
    await until(what, () => find() !== undefined);
    return find()!;
  }

  return {
    lines,
    served,
    health: (path) => ask(servers.healthz, path),
    metricsServer: (path) => ask(servers.metrics, path),
    metrics: async () => parseExposition((await ask(servers.metrics, '/metrics')).body),
    until,
    says,
    ready: async () => void (await says('Ready', isReady)),
    running,
    async stop(signal = 'SIGTERM') {
      if (running()) {
        const ended = once(child, 'exit');
        child.kill(signal);
        await ended;
      }
      return child.exitCode ?? child.signalCode ?? -1;
    },
  };
}

/** False, too, while a server of its own does not listen yet. */
async function answer(holds: Condition): Promise<boolean> {
  try {
    return await holds();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED') return false;
    throw error;
  }
}

/** In either shape of the log. */
function isReady({ level, msg }: LogLine): boolean {
  return msg === 'Ready' || (level === 'raw' && / Ready backend=/.test(msg));
}

function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    // Node.js itself warns in plain text.
    return { level: 'raw', msg: line };
  }
}

function tail(lines: readonly LogLine[]): string {
  return lines
    .slice(-15)
    .map((line) => JSON.stringify(line))
    .join('\n');
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
