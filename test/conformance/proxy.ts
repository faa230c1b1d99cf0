/**
 * The program under test, as an operator runs it: core/main.ts in a namespace of the world, fed from a folder of
 * manifests. `apply` returns when what was written is in the kernel, in every family.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { IPFamily } from '../../core/backend.ts';
import { programFromSources } from '../netns/from-sources.ts';
import { SLOW } from '../netns/slow.ts';
import type { World } from '../netns/world.ts';
import { NODE_NAME, SERVICE_CIDR } from '../netns/world-topology.ts';
import type { KubernetesObject } from './objects.ts';
import { service } from './objects.ts';

const WAIT_MS = 30_000 * SLOW;

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface ProxyOptions {
  readonly world: World;
  /** Flags beyond --manifests, --hostname-override and --logging-format. */
  readonly flags: readonly string[];
  /** The first state. */
  readonly objects: readonly KubernetesObject[];
  readonly namespace?: string;
  /** The command that the program is; its flags follow. */
  readonly program?: readonly string[];
}

export interface Proxy {
  /** That it serves. */
  readonly families: readonly IPFamily[];
  readonly running: boolean;
  /** Of the process that was started last. */
  readonly pid: number;
  /** Replace all objects. Resolves when the data plane has them. */
  apply(objects: readonly KubernetesObject[]): Promise<void>;
  /** Replace all objects and wait for nothing; the program need not run. */
  write(objects: readonly KubernetesObject[]): void;
  /** Everything logged so far. */
  readonly lines: readonly LogLine[];
  /** The next (or an earlier, since `from`) line that fits. */
  waitFor(what: string, fits: (line: LogLine) => boolean, from?: number): Promise<LogLine>;
  /** Start again with the same folder; the old process must have ended. */
  start(): Promise<void>;
  /** Returns the exit status, or the signal's name. */
  stop(signal?: NodeJS.Signals): Promise<number | string>;
  /** Stops it and removes its folder; rules stay. */
  close(): Promise<void>;
}

export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const { world, flags, objects, namespace = NODE_NAME, program = programFromSources() } = options;
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-test-'));
  const lines: LogLine[] = [];
  const watchers = new Set<() => void>();
  let child: ChildProcess | undefined;
  let generation = 0;
  let families: readonly IPFamily[] = [];

  /** One file, replaced at once. Its marker Service differs each time, so that every family has something to sync. */
  function write(all: readonly KubernetesObject[]): void {
    generation++;
    const marker = service({
      name: `marker-${generation}`,
      namespace: 'conformance',
      clusterIPs: { IPv4: '10.111.255.254', IPv6: SERVICE_CIDR.IPv6.replace('/112', 'fffe') },
      ports: [{ name: '', protocol: 'TCP', port: 9, nodePort: 0 }],
    });
    const temporary = join(folder, '.next');
    writeFileSync(temporary, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [marker, ...all] }));
    renameSync(temporary, join(folder, 'state.json'));
  }

  async function waitFor(what: string, fits: (line: LogLine) => boolean, from = 0): Promise<LogLine> {
    const deadline = Date.now() + WAIT_MS;
    for (let next = from; ; ) {
      for (; next < lines.length; next++) if (fits(lines[next]!)) return lines[next]!;
      const ended = child === undefined || child.exitCode !== null || child.signalCode !== null;
      if (ended || Date.now() > deadline) {
        const tail = lines
          .slice(-15)
          .map((line) => JSON.stringify(line))
          .join('\n');
        throw new Error(
          `${what}: ${ended ? 'the proxy has ended' : `not seen within ${WAIT_MS / 1000} s`}; its log ends:\n${tail}`,
        );
      }
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          clearTimeout(timer);
          watchers.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, 500);
        watchers.add(wake);
      });
    }
  }

  function record(line: string): void {
    try {
      lines.push(JSON.parse(line) as LogLine);
    } catch {
      lines.push({ level: 'raw', msg: line });
    }
    for (const wake of [...watchers]) wake();
  }

  async function start(): Promise<void> {
    const from = lines.length;
    const command = ['--manifests', folder, '--hostname-override', NODE_NAME, '--logging-format', 'json'];
    const quick = ['--iptables-min-sync-period', '10ms'];
    const started = world.spawn(namespace, program[0]!, [...program.slice(1), ...command, ...quick, ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child = started;
    createInterface({ input: started.stderr! }).on('line', record);
    started.once('exit', () => {
      for (const wake of [...watchers]) wake();
    });
    const ready = await waitFor('Ready', (line) => line.msg === 'Ready', from);
    families = String(ready.families).split(',') as IPFamily[];
  }

  async function stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    const running = child;
    if (running === undefined) return 0;
    if (running.exitCode === null && running.signalCode === null) {
      const ended = once(running, 'exit');
      running.kill(signal);
      await ended;
    }
    return running.exitCode ?? running.signalCode ?? -1;
  }

  write(objects);
  await start();
  return {
    get families() {
      return families;
    },
    get running() {
      return child !== undefined && child.exitCode === null && child.signalCode === null;
    },
    get pid() {
      return child?.pid ?? 0;
    },
    lines,
    write,
    waitFor,
    start,
    stop,
    async apply(all) {
      const from = lines.length;
      write(all);
      for (const family of families) {
        await waitFor(
          `sync of ${family} after a change`,
          (line) => line.msg === 'Synced' && line.family === family && Number(line.upserted) > 0,
          from,
        );
      }
    },
    async close() {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
