import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Registry from 'prom-client/lib/registry.js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ProcessMetrics, registerProcessMetrics } from '../../../core/observe/metrics-process.ts';
import { eventually } from './ask.ts';
import { type Family, parseExposition, valueOf } from './exposition.ts';

const folders: string[] = [];
const open: ProcessMetrics[] = [];

function proc(files: Readonly<Record<string, string>>, descriptors: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'proc-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  mkdirSync(join(folder, 'fd'));
  for (let at = 0; at < descriptors; at++) writeFileSync(join(folder, 'fd', String(at)), '');
  return folder;
}

function metricsOf(folder?: string): () => Promise<ReadonlyMap<string, Family>> {
  const registry = new Registry();
  open.push(registerProcessMetrics(registry, folder));
  return async () => parseExposition(await registry.metrics());
}

const STATUS = 'Name:\tnode\nVmPeak:\t  900 kB\nVmSize:\t  800 kB\nVmRSS:\t  123 kB\nVmRSSx:\t 5 kB\n';
const LIMITS = [
  'Limit                     Soft Limit           Hard Limit           Units     ',
  'Max open files            1024                 524288               files     ',
  'Max address space         unlimited            unlimited            bytes     ',
  '',
].join('\n');

const metrics = suite('metrics of the process');

metrics('are what the kernel says, in bytes', async () => {
  const families = await metricsOf(proc({ status: STATUS, limits: LIMITS }, 5))();
  assert.is(valueOf(families, 'process_resident_memory_bytes'), 123 * 1024);
  assert.is(valueOf(families, 'process_virtual_memory_bytes'), 800 * 1024);
  assert.is(valueOf(families, 'process_virtual_memory_max_bytes'), 2 ** 64);
  assert.is(valueOf(families, 'process_max_fds'), 1024);
  // One of them was there to look.
  assert.is(valueOf(families, 'process_open_fds'), 4);
});

metrics('are left out where they cannot be had', async () => {
  const families = await metricsOf(join(proc({}, 0), 'none'))();
  for (const name of ['process_resident_memory_bytes', 'process_open_fds', 'process_max_fds']) {
    assert.is(families.get(name)!.samples.length, 0, name);
  }
  assert.ok(valueOf(families, 'process_cpu_seconds_total')! > 0);
});

metrics('of this very process are true', async () => {
  const shown = metricsOf();
  const families = await shown();
  const rss = process.memoryUsage.rss();
  assert.ok(Math.abs(valueOf(families, 'process_resident_memory_bytes')! - rss) < rss / 4);
  const { user, system } = process.cpuUsage();
  assert.ok(valueOf(families, 'process_cpu_seconds_total')! <= (user + system) / 1e6);
  const started = Date.now() / 1000 - process.uptime();
  assert.ok(Math.abs(valueOf(families, 'process_start_time_seconds')! - started) < 2);
  assert.is(families.get('nodejs_version_info')!.samples[0]!.labels.version, process.version);
  assert.ok(valueOf(families, 'nodejs_heap_size_used_bytes')! <= valueOf(families, 'nodejs_heap_size_total_bytes')!);
  const later = valueOf(await shown(), 'process_cpu_seconds_total')!;
  const now = process.cpuUsage();
  assert.ok(later >= valueOf(families, 'process_cpu_seconds_total')! && later <= (now.user + now.system) / 1e6);
});

metrics('tell how late the event loop was, from the second scrape on', async () => {
  const shown = metricsOf();
  assert.is((await shown()).get('nodejs_eventloop_lag_max_seconds')!.samples.length, 0);
  let late: number | undefined;
  await eventually('a block of the loop is seen', async () => {
    const until = performance.now() + 300;
    while (performance.now() < until);
    late = valueOf(await shown(), 'nodejs_eventloop_lag_max_seconds');
    return late !== undefined && late > 0.1;
  });
  assert.ok(late! < 60, 'seconds, not nanoseconds');
});

metrics.after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
  for (const each of open) each.close();
});

metrics.run();
