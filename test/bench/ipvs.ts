/**
 * `npm run bench -- ipvs`: what the ipvs backend costs at 1,000 and 10,000 Services × 10 endpoints, beside the same table
 * restored by ipvsadm(8) in the same run. In the virtual machine of test/vm, whose kernel has IPVS and whose processor is
 * emulated: 5 to 10 times slower than hardware, so that ratios count and times do not.
 *
 *   npm run bench -- ipvs [--max-services 10000] [--endpoints 10] [--runs 3] [--changes 200] [--profile load]
 *
 * A table for readers goes to standard error, the same figures as a line of JSON for each size to standard output.
 * Every run has a network namespace of its own: deleted real servers stay in the kernel for two minutes, and new ones
 * are searched for among them. --profile load|adopt: one run at the largest size, and what took its processor's time.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { INSIDE } from '../vm/inside.ts';
import { type Figures, medianFigures } from './cost.ts';
import { figureText, printJSON, printLine, type Row } from './figure-table.ts';
import { inNewNamespace, profiled, restored, runPart } from './ipvs-parts.ts';

const { values } = parseArgs({
  options: {
    'max-services': { type: 'string', default: '10000' },
    endpoints: { type: 'string', default: '10' },
    runs: { type: 'string', default: '3' },
    changes: { type: 'string', default: '200' },
    profile: { type: 'string', default: '' },
  },
});

function steps(name: string, label: string): readonly Row[] {
  return [
    { label, unit: 'ms', figure: `${name}_ms` },
    { label: '  99 of 100', unit: 'ms', figure: `${name}_p99_ms` },
    { label: '  of it sync()', unit: 'ms', figure: `${name}_sync_ms` },
    ...kernelRows(name, '    '),
    { label: '  written', unit: 'operations', figure: `${name}_operations` },
  ];
}

function kernelRows(name: string, indent: string): readonly Row[] {
  return [
    { label: `${indent}kernel: IPVS`, unit: 'ms', figure: `${name}_kernel_ipvs_ms` },
    { label: `${indent}kernel: nf_tables`, unit: 'ms', figure: `${name}_kernel_nftables_ms` },
    { label: `${indent}kernel: addresses`, unit: 'ms', figure: `${name}_kernel_addresses_ms` },
  ];
}

const ROWS: readonly Row[] = [
  { label: 'load from nothing, all in all', unit: 'ms', figure: 'load_ms' },
  { label: '  of it sync()', unit: 'ms', figure: 'load_sync_ms' },
  { label: '    plan and encode', unit: 'ms', figure: 'load_plan_encode_ms' },
  ...kernelRows('load', '    '),
  { label: '  written', unit: 'operations', figure: 'load_operations' },
  { label: '  to ipvsadm -R, servers alone', unit: 'times', figure: 'load_to_ipvsadm' },
  { label: '  its part of IPVS to ipvsadm -R', unit: 'times', figure: 'load_ipvs_to_ipvsadm' },
  ...steps('change', 'one endpoint changed'),
  { label: '  to ipvsadm, the same steps', unit: 'times', figure: 'change_to_ipvsadm' },
  { label: '  to ipvsadm -R of all', unit: 'times', figure: 'change_to_ipvsadm_restore' },
  ...steps('new', 'new Service'),
  ...steps('delete', 'Service deleted'),
  { label: 'restart, everything right', unit: 'ms', figure: 'adopt_ms' },
  { label: '  of it sync()', unit: 'ms', figure: 'adopt_sync_ms' },
  { label: '    parse, plan and compare', unit: 'ms', figure: 'adopt_plan_encode_ms' },
  ...kernelRows('adopt', '    '),
  { label: '  written (must be 0)', unit: 'operations', figure: 'adopt_operations' },
  { label: 'self-check, the first', unit: 'ms', figure: 'first_check_ms' },
  { label: '  the second', unit: 'ms', figure: 'check_ms' },
  { label: 'cleanup', unit: 'ms', figure: 'cleanup_ms' },
  { label: 'kernel memory', unit: 'MiB', figure: 'kernel_memory_mib' },
  { label: 'private memory, idle', unit: 'MiB', figure: 'idle_memory_mib' },
  { label: 'private memory, loaded', unit: 'MiB', figure: 'memory_mib' },
  { label: 'ipvsadm -R of the same virtual servers', unit: 'ms', figure: 'ipvsadm_restore_ms' },
  { label: '  lines', unit: 'lines', figure: 'ipvsadm_lines' },
  { label: 'ipvsadm -e and -a, of one endpoint', unit: 'ms', figure: 'ipvsadm_change_ms' },
];

function show(columns: ReadonlyMap<number, Figures>): void {
  const sizes = [...columns.keys()];
  console.error(`\nipvs, Services × ${values.endpoints} endpoints, medians of ${values.runs} runs, emulated processor`);
  printLine('', [...sizes.map((n) => n.toLocaleString('en')), ...(sizes.length > 1 ? ['ratio'] : [])]);
  for (const { label, unit, figure } of ROWS) {
    const figures = [...columns.values()].map((column) => column[figure]);
    const ratio = (figures.at(-1) ?? Number.NaN) / (figures[0] ?? Number.NaN);
    const texts = [
      ...figures.map((value) => figureText(value)),
      ...(sizes.length > 1 ? [Number.isFinite(ratio) ? ratio.toFixed(1) : ''] : []),
    ];
    printLine(`${label} (${unit})`, texts);
  }
}

function measureOnce(services: number): Figures {
  const endpoints = Number(values.endpoints);
  const { figures, saved } = inNewNamespace((namespace) => {
    const loaded = runPart(namespace, `load:${services}:${endpoints}:${values.changes}`);
    const adopted = runPart(namespace, `adopt:${services}:${endpoints}`, { saving: true });
    return { figures: { ...loaded.figures, ...adopted.figures }, saved: adopted.saved };
  });
  const theirs = inNewNamespace((namespace) => restored(namespace, saved));
  const of = (name: string): number => figures[name] ?? Number.NaN;
  return {
    ...figures,
    ...theirs,
    load_to_ipvsadm: of('load_ms') / theirs.ipvsadm_restore_ms,
    load_ipvs_to_ipvsadm: of('load_kernel_ipvs_ms') / theirs.ipvsadm_restore_ms,
    change_to_ipvsadm: of('change_ms') / theirs.ipvsadm_change_ms,
    change_to_ipvsadm_restore: of('change_ms') / theirs.ipvsadm_restore_ms,
  };
}

function measureAll(): void {
  const largest = Number(values['max-services']);
  if (values.profile !== '') {
    console.error(profiled(values.profile, largest, Number(values.endpoints), Number(values.changes)));
    return;
  }
  const sizes = [...new Set([Math.min(1_000, largest), largest])];
  const columns = new Map<number, Figures>();
  for (const services of sizes) {
    columns.set(services, medianFigures(Array.from({ length: Number(values.runs) }, () => measureOnce(services))));
    printJSON({ bench: 'ipvs', services }, columns.get(services)!);
  }
  show(columns);
}

/** The machine has one output: figures are the lines of JSON. */
async function inMachine(): Promise<void> {
  const runner = fileURLToPath(new URL('../vm/run.ts', import.meta.url));
  const line = ['node', 'test/bench/ipvs.ts', ...process.argv.slice(2).map((word) => `'${word.replaceAll("'", '')}'`)];
  const child = spawn(process.execPath, [...process.execArgv, runner, '--command', line.join(' ')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  createInterface({ input: child.stdout }).on('line', (text) => {
    if (text.startsWith('{')) console.log(text);
    else console.error(text);
  });
  const [status] = (await once(child, 'close')) as [number | null];
  process.exitCode = status ?? 1;
}

if (process.env[INSIDE] === undefined) await inMachine();
else measureAll();
