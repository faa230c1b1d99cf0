/** What the reference's nftables layout costs to load and to change, written by `nft -f -` as the reference does it. */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Figures, KERNEL_SETTLES_MS, kernelMemory, measure, median } from './cost.ts';
import type { Load } from './load.ts';
import { type ReferenceLayout, referenceChange, referenceServices, referenceTable } from './nftables-reference.ts';

/** Services in a transaction: more make chain creation, which is quadratic, slower; fewer list the table more often. */
const REFERENCE_CHUNK = 1000;

/** NaN, shown as not finished, for what took longer than `limitMs`. */
export async function reference(load: Load, layout: ReferenceLayout, limitMs: number): Promise<Figures> {
  const kernelBefore = kernelMemory();
  const { finished, ...loaded } = await loadReference(load, layout, limitMs);
  if (!finished) return { load_ms: Number.NaN };
  await sleep(KERNEL_SETTLES_MS);
  const kernel_memory_mib = kernelMemory() - kernelBefore;
  const costs = [];
  for (let i = 0; i < 7; i++) {
    const text = referenceChange(load, layout, (i * 11) % load.services, i + 1);
    costs.push(await measure(async () => nft(text, limitMs)));
  }
  return {
    ...loaded,
    change_ms: median(costs.map(({ milliseconds }) => milliseconds)),
    change_cpu_ms: median(costs.map(({ childCPU }) => childCPU)),
    kernel_memory_mib,
  };
}

export async function loadReference(
  load: Load,
  layout: ReferenceLayout,
  limitMs: number,
): Promise<{ finished: boolean; load_ms: number; load_cpu_ms: number; load_bytes: number }> {
  const texts = [referenceTable()];
  for (let from = 0; from < load.services; from += REFERENCE_CHUNK) {
    texts.push(referenceServices(load, layout, from, Math.min(load.services, from + REFERENCE_CHUNK)));
  }
  const deadline = performance.now() + limitMs;
  let finished = true;
  const { milliseconds, childCPU } = await measure(async () => {
    for (const text of texts) finished &&= nft(text, deadline - performance.now());
  });
  const load_bytes = texts.reduce((sum, text) => sum + text.length, 0);
  return { finished, load_ms: milliseconds, load_cpu_ms: childCPU, load_bytes };
}

/** Whether it finished in time. */
function nft(input: string, limitMs: number): boolean {
  if (limitMs <= 0) return false;
  const run = spawnSync('nft', ['-f', '-'], { input, encoding: 'utf8', timeout: Math.ceil(limitMs) });
  if (run.status !== 0 && run.error === undefined && run.signal === null) {
    throw new Error(`nft refused the reference's layout: ${run.stderr.slice(0, 500)}`);
  }
  return run.status === 0;
}
