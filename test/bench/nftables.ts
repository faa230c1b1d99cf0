/**
 * `npm run bench -- nftables`: what the nftables backend costs at 1,000, 10,000 and 100,000 Services × 10 endpoints,
 * and what its rules cost a connection's first packet, beside the reference's layout loaded by `nft -f -`.
 *
 *   npm run bench -- nftables [--max-services 100000] [--endpoints 10] [--runs 5] [--changes 500] [--rounds 41]
 *                             [--layouts map,chains] [--reference-limit 120] [--only sizes|first-packet]
 *
 * A table for readers goes to standard error, the same figures as a line of JSON for each row to standard output.
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { enterIsolation } from '../../build/isolate.ts';
import { type Figures, medianFigures } from './cost.ts';
import { figureText, printJSON, printLine, type Row } from './figure-table.ts';
import { burstPart, measureFirstPacket, type Variant } from './first-packet.ts';
import type { Load } from './load.ts';
import type { ReferenceLayout } from './nftables-reference.ts';
import { reference } from './nftables-reference-load.ts';

const { values } = parseArgs({
  options: {
    'max-services': { type: 'string', default: '100000' },
    endpoints: { type: 'string', default: '10' },
    // From 100,000 Services on, 3 at most.
    runs: { type: 'string', default: '5' },
    changes: { type: 'string', default: '500' },
    rounds: { type: 'string', default: '41' },
    layouts: { type: 'string', default: 'map,chains' },
    // Seconds; what takes longer is given up.
    'reference-limit': { type: 'string', default: '120' },
    only: { type: 'string', default: '' },
    // Set by the benchmark itself: which part to run, "name:detail:services".
    part: { type: 'string', default: '' },
  },
});
const largest = Number(values['max-services']);
const endpoints = Number(values.endpoints);
const limitMs = Number(values['reference-limit']) * 1000;
const layouts = values.layouts.split(',').filter(Boolean) as readonly ReferenceLayout[];
/** At the largest size the reference's layout cannot be had in reasonable time. */
const MOST_REFERENCE_SERVICES = 10_000;
const FIRST_PACKET_SERVICES = 10_000;

interface AimedRow extends Row {
  /** Most that we want at so many Services; undefined: no target. */
  readonly target?: (services: number) => number | undefined;
}

const always = (most: number) => () => most;
const OURS: readonly AimedRow[] = [
  {
    label: 'load from nothing, all in all',
    unit: 'ms',
    figure: 'load_ms',
    target: (services) => ({ 10000: 500, 100000: 5000 })[services],
  },
  { label: '  of it sync()', unit: 'ms', figure: 'load_sync_ms' },
  { label: '    plan and encode', unit: 'ms', figure: 'load_plan_encode_ms' },
  { label: '    kernel', unit: 'ms', figure: 'load_kernel_ms' },
  { label: '  CPU', unit: 'ms', figure: 'load_cpu_ms' },
  { label: '  sent', unit: 'bytes', figure: 'load_bytes' },
  { label: 'restart, rules already right', unit: 'ms', figure: 'adopt_ms' },
  { label: '  of it sync()', unit: 'ms', figure: 'adopt_sync_ms' },
  { label: '    parse, plan and compare', unit: 'ms', figure: 'adopt_plan_encode_ms' },
  { label: '    kernel', unit: 'ms', figure: 'adopt_kernel_ms' },
  { label: '  written', unit: 'operations', figure: 'adopt_operations', target: always(0) },
  ...(['change', 'new', 'delete'] as const).flatMap((name, at): AimedRow[] => [
    {
      label: ['one endpoint changed', 'new Service', 'Service deleted'][at]!,
      unit: 'ms',
      figure: `${name}_ms`,
      target: always(2),
    },
    { label: '  99 of 100', unit: 'ms', figure: `${name}_p99_ms` },
    { label: '  of it sync()', unit: 'ms', figure: `${name}_sync_ms` },
    { label: '    kernel', unit: 'ms', figure: `${name}_kernel_ms`, target: always(0.1) },
    { label: '  CPU', unit: 'ms', figure: `${name}_cpu_ms` },
  ]),
  { label: 'cleanup', unit: 'ms', figure: 'cleanup_ms' },
  { label: 'kernel memory', unit: 'MiB', figure: 'kernel_memory_mib' },
  { label: 'private memory, idle', unit: 'MiB', figure: 'idle_memory_mib' },
  { label: 'private memory, loaded', unit: 'MiB', figure: 'memory_mib' },
  {
    label: '  for each endpoint, all in all',
    unit: 'bytes',
    figure: 'memory_bytes_per_endpoint',
    target: (services) => (services >= 100_000 ? 1200 : undefined),
  },
];
const REFERENCE: readonly Row[] = [
  { label: 'load', unit: 'ms', figure: 'load_ms' },
  { label: '  CPU', unit: 'ms', figure: 'load_cpu_ms' },
  { label: 'one endpoint changed', unit: 'ms', figure: 'change_ms' },
  { label: '  CPU', unit: 'ms', figure: 'change_cpu_ms' },
  { label: 'kernel memory', unit: 'MiB', figure: 'kernel_memory_mib' },
];

function show(title: string, rows: readonly AimedRow[], columns: ReadonlyMap<number, Figures>): void {
  const notReached = `> ${limitMs / 1000} s`;
  console.error(`\n${title}`);
  const sizes = [...columns.keys()].map((n) => n.toLocaleString('en'));
  printLine('', sizes, '   target');
  for (const { label, unit, figure, target } of rows) {
    const texts = [...columns.values()].map((figures) => figureText(figures[figure], notReached));
    const wanted = [...columns.keys()].map((services) => target?.(services)).filter((most) => most !== undefined);
    const goal = wanted.length === 0 ? '' : `   ≤ ${[...new Set(wanted)].join(', ')}`;
    printLine(`${label} (${unit})`, texts, goal);
  }
}

function record(what: string, services: number, figures: Figures): void {
  printJSON({ bench: what, services, endpoints }, figures);
}

function commandOf(namespace: string, part: string): readonly [string, ...string[]] {
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1), '--part', part];
  return ['ip', 'netns', 'exec', namespace, ...program];
}

function runPart(namespace: string, part: string): Figures {
  const [command, ...args] = commandOf(namespace, part);
  const child = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (child.status !== 0) throw new Error(`part ${part} of the benchmark ended with status ${child.status}`);
  const figures = JSON.parse(child.stdout) as Record<string, number | null>;
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, value ?? Number.NaN]));
}

let namespaces = 0;
function newNamespace(): string {
  const name = `bench-${++namespaces}`;
  const run = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`ip netns add: ${run.stderr}`);
  spawnSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  return name;
}

function inNewNamespace<T>(work: (namespace: string) => T): T {
  const name = newNamespace();
  try {
    return work(name);
  } finally {
    spawnSync('ip', ['netns', 'delete', name]);
  }
}

function measureSizes(): void {
  const sizes = [1_000, 10_000, 100_000].filter((services) => services <= largest);
  if (sizes.length === 0) sizes.push(largest);
  const columns = new Map<number, Figures>();
  for (const services of sizes) {
    const runs = Math.min(Number(values.runs), services >= 100_000 ? 3 : Number.POSITIVE_INFINITY);
    const all = Array.from({ length: runs }, () =>
      inNewNamespace((namespace) => ({
        ...runPart(namespace, `load::${services}`),
        ...runPart(namespace, `adopt::${services}`),
      })),
    );
    columns.set(services, medianFigures(all));
    record('nftables', services, columns.get(services)!);
  }
  show(`nftables, Services × ${endpoints} endpoints`, OURS, columns);
  for (const layout of layouts) {
    const theirs = new Map<number, Figures>();
    for (const services of sizes.filter((size) => size <= MOST_REFERENCE_SERVICES)) {
      theirs.set(
        services,
        inNewNamespace((namespace) => runPart(namespace, `reference:${layout}:${services}`)),
      );
      record(`nftables reference ${layout}`, services, theirs.get(services)!);
    }
    show(`reference's layout (${layout}) through nft -f -, 1,000 Services a transaction`, REFERENCE, theirs);
  }
}

async function measureFirstPackets(): Promise<void> {
  const services = Math.min(FIRST_PACKET_SERVICES, largest);
  const variants: readonly Variant[] = [
    'no conntrack',
    'conntrack',
    'one dnat rule',
    'ours',
    ...layouts.map((layout): Variant => `reference ${layout}`),
  ];
  const rounds = Number(values.rounds);
  console.error(
    `\na connection's first packet, ${services} Services, median of ${rounds} rounds of 20,000 connections`,
  );
  const results = await measureFirstPacket(variants, rounds, (variant) =>
    commandOf(newNamespace(), `burst:${variant}:${services}`),
  );
  const plain = results.find(({ variant }) => variant === 'conntrack')?.cpu ?? Number.NaN;
  for (const { variant, cpu, wall, quartiles } of results) {
    if (Number.isNaN(cpu)) {
      console.error(`  ${variant.padEnd(20)}not loaded in ${limitMs / 1000} s`);
      continue;
    }
    const figures = `${cpu.toFixed(0).padStart(6)} ns CPU (half within ${quartiles.map((n) => n.toFixed(0)).join('–')})`;
    console.error(
      `  ${variant.padEnd(20)}${figures}, ${wall.toFixed(0)} ns wall, ${(cpu - plain).toFixed(0).padStart(6)} over conntrack`,
    );
    record(`first packet, ${variant}`, services, { cpu_ns: cpu, wall_ns: wall, over_conntrack_ns: cpu - plain });
  }
}

async function measureAll(): Promise<void> {
  if (values.only !== 'first-packet') measureSizes();
  if (values.only !== 'sizes') await measureFirstPackets();
}

async function runOnePart([name, detail = '', services]: readonly string[]): Promise<void> {
  const load: Load = { services: Number(services), endpoints };
  if (name === 'burst') return burstPart(load, detail as Variant, limitMs);
  console.log(JSON.stringify(await figuresOf(name, detail, load)));
}

async function figuresOf(name: string | undefined, detail: string, load: Load): Promise<Figures> {
  if (name === 'reference') return reference(load, detail as ReferenceLayout, limitMs);
  // Loaded where it is needed: the reference's parts are not to carry our backend.
  const { adopt, loadAndChange } = await import('./backend-parts.ts');
  const { default: plugin } = await import('../../plugins/nftables/index.ts');
  return name === 'adopt' ? adopt(plugin, load) : loadAndChange(plugin, load, Number(values.changes));
}

await enterIsolation({ packages: ['nftables'] });
// The sync loop's timers do not keep a process alive by themselves.
const alive = setInterval(() => {}, 1 << 30);
if (values.part === '') await measureAll();
else await runOnePart(values.part.split(':'));
clearInterval(alive);
