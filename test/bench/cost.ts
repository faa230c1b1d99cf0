/** What a piece of work cost: time, CPU of this process and of the programs it ran, private memory. */
import { readFileSync } from 'node:fs';
import { releaseMemory } from '../../core/node/release-memory.ts';

const TICKS_PER_SECOND = 100; // USER_HZ, fixed by the kernel's ABI on the platforms we serve

export interface Cost {
  readonly milliseconds: number;
  /** CPU milliseconds of this process. */
  readonly ownCPU: number;
  /** CPU milliseconds of programs that it ran and that have ended. */
  readonly childCPU: number;
}

function childTicks(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return Number(fields[13]) + Number(fields[14]);
}

export async function measure(work: () => Promise<unknown>): Promise<Cost> {
  const cpu = process.cpuUsage();
  const ticks = childTicks();
  const began = performance.now();
  await work();
  const milliseconds = performance.now() - began;
  const own = process.cpuUsage(cpu);
  return {
    milliseconds,
    ownCPU: (own.user + own.system) / 1000,
    childCPU: ((childTicks() - ticks) * 1000) / TICKS_PER_SECOND,
  };
}

/** The median of each figure of several runs. */
export async function medianCost(runs: number, work: (run: number) => Promise<unknown>): Promise<Cost> {
  const costs: Cost[] = [];
  for (let run = 0; run < runs; run++) costs.push(await measure(() => work(run)));
  return {
    milliseconds: median(costs.map((cost) => cost.milliseconds)),
    ownCPU: median(costs.map((cost) => cost.ownCPU)),
    childCPU: median(costs.map((cost) => cost.childCPU)),
  };
}

/** Private memory of this process in MiB, after giving back what is not used, as the daemon does. */
export function privateMemory(): number {
  releaseMemory();
  const text = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const kilobytes = [...text.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, match) => sum + Number(match[1]), 0);
  return kilobytes / 1024;
}

/** Plain numbers by name, so that medians over several runs are easy; units end the names. */
export type Figures = Readonly<Record<string, number>>;

/** Until the kernel has freed what it frees later: old elements, sent buffers. */
export const KERNEL_SETTLES_MS = 500;

/**
 * Memory in MiB that the kernel holds of the kinds that rule sets are made of: unreclaimable slab (small objects, and
 * large ones straight from the page allocator), per-CPU and vmalloc (hash tables). Of the whole machine: take
 * differences, and medians of several.
 */
export function kernelMemory(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const kilobytes = [...text.matchAll(/^(?:SUnreclaim|Percpu|VmallocUsed):\s+(\d+) kB/gm)];
  return kilobytes.reduce((sum, match) => sum + Number(match[1]), 0) / 1024;
}

/** The median of each figure of several runs, which have the same ones. */
export function medianFigures(runs: readonly Figures[]): Figures {
  const names = Object.keys(runs[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, median(runs.map((figures) => figures[name] ?? Number.NaN))]));
}

/** The upper of the two middle ones, if there are two; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
