/**
 * `npm run bench -- executable`: the packed executable with a small manifest, beside the same from sources: from the
 * start of the process to the first rule in the kernel, and memory once it idles.
 *
 *   npm run bench -- executable [--services 100] [--runs 5] [--backends nftables,iptables,dry-run]
 *
 * Memory is what /proc/PID/smaps_rollup says. "Private" is what is written to by this process alone (Private_Dirty);
 * "resident" has the pages of the executable itself, too, which the kernel drops when it needs room.
 * Everything runs in private namespaces. A table for readers goes to standard error, figures to standard output.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { enterIsolation } from '../../build/isolate.ts';
import { type Figures, median, medianFigures } from './cost.ts';
import { builtExecutable, ROOT } from './executable-file.ts';

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '100' },
    runs: { type: 'string', default: '5' },
    backends: { type: 'string', default: 'nftables,iptables,dry-run' },
    'max-services': { type: 'string' },
  },
});

const EXECUTABLE = builtExecutable();
/** After this nothing is under way. */
const SETTLED_MS = 6_000;

await enterIsolation();
await main();

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-executable-'));
  try {
    const manifests = join(folder, 'state.json');
    writeFileSync(
      manifests,
      JSON.stringify({ kind: 'List', apiVersion: 'v1', items: objects(Number(values.services)) }),
    );
    console.error(`${values.services} Services × 3 endpoints from a manifest, medians of ${values.runs} runs\n`);
    for (const backend of values.backends.split(',')) {
      const packed = await medians([EXECUTABLE], backend, manifests);
      const sources = await medians([process.execPath, join(ROOT, 'core', 'main.ts')], backend, manifests);
      console.error(backend);
      console.error(`  executable    ${line(packed)}`);
      console.error(`  from sources  ${line(sources)}\n`);
      console.log(JSON.stringify({ backend, services: Number(values.services), packed, sources }));
    }
    const version = await medianOf(() => timeOf([EXECUTABLE, 'version']));
    console.error(`kube-proxy version ${version.toFixed(0)} ms`);
    console.log(JSON.stringify({ version_ms: version }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function line({ first_rule_ms, ready_ms, private_mib, resident_mib }: Figures): string {
  return (
    `first rule after ${first_rule_ms!.toFixed(0)} ms, Ready after ${ready_ms!.toFixed(0)} ms, ` +
    `private memory ${private_mib!.toFixed(0)} MiB, resident ${resident_mib!.toFixed(0)} MiB`
  );
}

async function medians(program: readonly string[], backend: string, manifests: string): Promise<Figures> {
  const runs: Figures[] = [];
  for (let run = 0; run < Number(values.runs); run++) runs.push(await oneStart(program, backend, manifests));
  return medianFigures(runs);
}

async function medianOf(measure: () => Promise<number>): Promise<number> {
  const all: number[] = [];
  for (let run = 0; run < Number(values.runs); run++) all.push(await measure());
  return median(all);
}

async function timeOf([command = '', ...args]: readonly string[]): Promise<number> {
  const began = performance.now();
  await once(spawn(command, args, { stdio: 'ignore' }), 'exit');
  return performance.now() - began;
}

async function oneStart(program: readonly string[], backend: string, manifests: string): Promise<Figures> {
  const [command = '', ...args] = program;
  const flags = ['--manifests', manifests, '--backend', backend, '--logging-format=json'];
  const began = performance.now();
  const daemon = spawn(command, [...args, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    let firstRule = Number.NaN;
    await new Promise<void>((done, fail) => {
      daemon.once('exit', (status) => fail(new Error(`the daemon ended with ${status}`)));
      createInterface({ input: daemon.stderr! }).on('line', (text) => {
        const message = /"msg":"([^"]*)"/.exec(text)?.[1];
        if (message === 'Synced' && text.includes('"family":"IPv4"') && Number.isNaN(firstRule)) {
          firstRule = performance.now() - began;
        }
        if (message === 'Ready') done();
      });
    });
    const ready = performance.now() - began;
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    const memory = readFileSync(`/proc/${daemon.pid}/smaps_rollup`, 'utf8');
    const mib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(memory)?.[1]) / 1024;
    return { first_rule_ms: firstRule, ready_ms: ready, private_mib: mib('Private_Dirty'), resident_mib: mib('Rss') };
  } finally {
    if (daemon.exitCode === null) {
      const ended = once(daemon, 'exit');
      daemon.kill('SIGTERM');
      await ended;
    }
    // What it left would spare the next run its work.
    await once(spawn(command, [...args, 'cleanup'], { stdio: 'ignore' }), 'exit');
  }
}

function objects(services: number): readonly unknown[] {
  return Array.from({ length: services }, (_, index) => {
    const name = `service-${index}`;
    const ip = `10.96.${index >> 8}.${index & 255}`;
    return [
      {
        kind: 'Service',
        apiVersion: 'v1',
        metadata: { name, namespace: 'bench' },
        spec: { clusterIP: ip, clusterIPs: [ip], ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
      },
      {
        kind: 'EndpointSlice',
        apiVersion: 'discovery.k8s.io/v1',
        metadata: { name: `${name}-1`, namespace: 'bench', labels: { 'kubernetes.io/service-name': name } },
        addressType: 'IPv4',
        ports: [{ name: '', port: 8080 }],
        endpoints: [1, 2, 3].map((last) => ({ addresses: [`10.244.${index & 255}.${last}`] })),
      },
    ];
  }).flat();
}
