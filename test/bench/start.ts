/**
 * `npm run bench -- start`: the whole daemon against a real HTTPS API server in another process, from its start to
 * Ready, with 10,000 Services × 10 endpoints: time, CPU and private memory, beside the same with one Service.
 *
 *   npm run bench -- start [--max-services 10000] [--endpoints 10] [--runs 3] [--backends dry-run,nftables,iptables]
 *                          [--sources]: not the executable of `npm run build`, but core/main.ts
 *
 * Private memory is what this process alone has written to (Private_Dirty of /proc/PID/smaps_rollup).
 * Everything runs in private namespaces. A table for readers goes to standard error, figures to standard output.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { enterIsolation } from '../../build/isolate.ts';
import { type Figures, medianFigures } from './cost.ts';
import { builtExecutable } from './executable-file.ts';

const { values } = parseArgs({
  options: {
    'max-services': { type: 'string', default: '10000' },
    endpoints: { type: 'string', default: '10' },
    runs: { type: 'string', default: '3' },
    backends: { type: 'string', default: 'dry-run,nftables,iptables' },
    sources: { type: 'boolean', default: false },
  },
});

const [PROGRAM = '', ...MAIN] = values.sources
  ? [process.execPath, fileURLToPath(new URL('../../core/main.ts', import.meta.url))]
  : [builtExecutable()];
const SERVER = fileURLToPath(new URL('../apiserver/main.ts', import.meta.url));
const NODE = 'node-00000';
const TICKS_PER_SECOND = 100;
const LIMIT_MS = 120_000;
/** After Ready: garbage has been given back, and nothing is under way. */
const SETTLED_MS = 4_000;

await enterIsolation();
await main();

async function main(): Promise<void> {
  const services = Number(values['max-services']);
  const endpoints = Number(values.endpoints);
  console.error(
    `From start to Ready with ${services} Services × ${endpoints} endpoints, API server in another process\n`,
  );
  for (const backend of values.backends.split(',')) {
    const one = await medians(backend, 1, endpoints);
    const full = await medians(backend, services, endpoints);
    const above = full.private_mib! - one.private_mib!;
    console.error(`${backend}`);
    console.error(`  one Service      ${line(one)}`);
    console.error(`  with everything  ${line(full)}, ${above.toFixed(0)} MiB above that\n`);
    console.log(JSON.stringify({ backend, services, endpoints, one, full }));
  }
}

function line(figures: Figures): string {
  const { listed_ms, ready_ms, cpu_ms, private_mib } = figures;
  const time = `objects there ${listed_ms!.toFixed(0)} ms after the connection, Ready ${ready_ms!.toFixed(0)} ms after the start`;
  return `${time}, CPU ${cpu_ms!.toFixed(0)} ms, private memory ${private_mib!.toFixed(0)} MiB`;
}

async function medians(backend: string, services: number, endpoints: number): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-start-'));
  const load = ['--services', String(services), '--endpoints', String(endpoints)];
  const server = spawn(process.execPath, [SERVER, '--folder', folder, ...load], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await firstLine(server);
    const runs: Figures[] = [];
    for (let run = 0; run < Number(values.runs); run++) {
      runs.push(await oneStart(backend, join(folder, 'kube-proxy', 'kubeconfig')));
    }
    return medianFigures(runs);
  } finally {
    await end(server);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function oneStart(backend: string, kubeconfig: string): Promise<Figures> {
  const began = performance.now();
  const flags = [
    '--kubeconfig',
    kubeconfig,
    '--backend',
    backend,
    '--hostname-override',
    NODE,
    '--logging-format=json',
  ];
  // dry-run prints every object; nobody is to wait for a pipe.
  const daemon = spawn(PROGRAM, [...MAIN, ...flags, '-v=2'], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const seen = new Map<string, number>();
    const ready = new Promise<void>((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`not Ready within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
      daemon.once('exit', (status) => reject(new Error(`the daemon ended with ${status}`)));
      createInterface({ input: daemon.stderr! }).on('line', (text) => {
        const message = /"msg":"([^"]*)"/.exec(text)?.[1] ?? text;
        if (!seen.has(message)) seen.set(message, performance.now() - began);
        if (message !== 'Ready') return;
        clearTimeout(limit);
        resolve();
      });
    });
    await ready;
    const cpuAtReady = cpuOf(daemon.pid!);
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    return {
      listed_ms:
        (seen.get('The first complete state has come') ?? Number.NaN) -
        (seen.get('Reading from the API server') ?? Number.NaN),
      ready_ms: seen.get('Ready')!,
      cpu_ms: cpuAtReady,
      private_mib: privateOf(daemon.pid!),
    };
  } finally {
    await end(daemon);
    // What it left would spare the next run its work.
    const cleanup = spawn(PROGRAM, [...MAIN, 'cleanup'], { stdio: 'ignore' });
    await once(cleanup, 'exit');
  }
}

function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

function privateOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Private_Dirty:\s+(\d+) kB/m.exec(text)?.[1]) / 1024;
}

function firstLine(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout! }).once('line', () => resolve());
    child.once('exit', (status) => reject(new Error(`the API server ended with ${status}`)));
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
