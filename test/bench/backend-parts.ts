/**
 * The parts of the benchmarks of nftables and ipvs that run the backend, each in a process of its own: load and change,
 * restart.
 *
 *   delivered ─▶ resolver ─▶ backend.sync ─▶ plan, encode ─▶ send ─▶ kernel ─▶ receive ─▶ settled
 *   └──────────────────────────────────────── …_ms ──────────────────────────────────────────┘
 *                            └────────────────── …_sync_ms ────────────────────┘
 *                                                           └─ …_kernel_ms ──┘
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, BackendPlugin, SelfChecking } from '../../core/backend.ts';
import type { EndpointSlice, Service } from '../../core/model/objects.ts';
import { type Figures, KERNEL_SETTLES_MS, kernelMemory, measure, median, privateMemory } from './cost.ts';
import { endpointSlice, type Load, service } from './load.ts';
import { type Synced, settings, startSynced } from './synced.ts';
import { createTimedHost, type KernelTimes } from './timed-host.ts';

/** New Services, deleted again. */
const NEW_SERVICES = 200;

interface Times {
  readonly ms: number;
  readonly syncMs: number;
  readonly kernelMs: number;
  /** Of the kernel's time, by interface. */
  readonly kernel: KernelTimes;
}

export interface Ours extends Synced {
  /** Ends the sync loop and lets go of the table, which stays. */
  close(): Promise<void>;
  /** Do something and wait until it is in the kernel. */
  time(work: () => void): Promise<Times>;
  /** Milliseconds of a self-check that finds everything in place. */
  check(): Promise<number>;
}

export async function startOurs(plugin: BackendPlugin): Promise<Ours> {
  const timed = createTimedHost();
  const backend: Backend & Partial<SelfChecking> = await plugin.create(timed.host, {});
  let syncMs = 0;
  const measured: Backend = {
    ...backend,
    async sync(change) {
      const began = performance.now();
      try {
        return await backend.sync(change);
      } finally {
        syncMs = performance.now() - began;
      }
    },
  };
  const synced = await startSynced(measured, plugin.name, { ...settings, serviceCIDRs: ['10.96.0.0/12'] });
  return {
    ...synced,
    async close() {
      await synced.sync.stop();
      timed.close();
    },
    async time(work) {
      timed.kernelTimes();
      const began = performance.now();
      work();
      await synced.sync.settled();
      const ms = performance.now() - began;
      const kernel = timed.kernelTimes();
      return { ms, syncMs, kernel, kernelMs: Object.values(kernel).reduce((sum, part) => sum + part, 0) };
    },
    async check() {
      const began = performance.now();
      const found = await backend.check?.('IPv4');
      if (found?.intact === false) throw new Error(`the self-check: ${found.reason}`);
      return performance.now() - began;
    },
  };
}

/** Deliver all objects at once, made before, as a source would have parsed them. */
export async function loadAll({ services, endpoints }: Load, ours: Ours): Promise<Figures> {
  const objects: (readonly [Service, EndpointSlice])[] = [];
  for (let i = 0; i < services; i++) objects.push([service(i), endpointSlice(i, endpoints)]);
  let times: Times = { ms: 0, syncMs: 0, kernelMs: 0, kernel: {} };
  const cost = await measure(async () => {
    times = await ours.time(() => {
      for (const [one, slice] of objects) {
        ours.objects.upsertService(one);
        ours.objects.upsertEndpointSlice(slice);
      }
      ours.objects.synced();
    });
  });
  const { operations, bytes } = ours.report();
  return {
    ms: times.ms,
    sync_ms: times.syncMs,
    kernel_ms: times.kernelMs,
    ...kernelParts(times.kernel),
    plan_encode_ms: times.syncMs - times.kernelMs,
    cpu_ms: cost.ownCPU,
    operations,
    bytes,
  };
}

/** From nothing, then small changes. Leaves the table as the load made it, for `adopt`. */
export async function loadAndChange(plugin: BackendPlugin, load: Load, changes: number): Promise<Figures> {
  const idle = privateMemory();
  const ours = await startOurs(plugin);
  await sleep(KERNEL_SETTLES_MS);
  const kernelBefore = kernelMemory();
  const loaded = await loadAll(load, ours);
  await sleep(KERNEL_SETTLES_MS);
  const kernel = kernelMemory() - kernelBefore;
  const memory = privateMemory();
  // The first one reads what others might have changed during the load.
  const firstCheck = await ours.check();
  const check = await ours.check();

  const { objects } = ours;
  // Spread over the table; a prime that divides none of the sizes.
  const changed = (i: number): number => (i * 7919) % load.services;
  const change = await repeat(ours, 'change', changes, (i) =>
    objects.upsertEndpointSlice(endpointSlice(changed(i), load.endpoints, i + 1)),
  );
  const added = await repeat(ours, 'new', NEW_SERVICES, (i) => {
    objects.upsertService(service(load.services + i));
    objects.upsertEndpointSlice(endpointSlice(load.services + i, load.endpoints));
  });
  const deleted = await repeat(ours, 'delete', NEW_SERVICES, (i) => {
    const { namespace, name } = service(load.services + i);
    objects.deleteService(namespace, name);
    objects.deleteEndpointSlice(namespace, endpointSlice(load.services + i, 1).name);
  });
  await ours.time(() => {
    for (let i = 0; i < changes; i++) objects.upsertEndpointSlice(endpointSlice(changed(i), load.endpoints));
  });
  await ours.close();
  return {
    ...prefixed('load', loaded),
    ...change,
    ...added,
    ...deleted,
    first_check_ms: firstCheck,
    check_ms: check,
    kernel_memory_mib: kernel,
    idle_memory_mib: idle,
    memory_mib: memory,
    memory_bytes_per_endpoint: (memory * 2 ** 20) / (load.services * load.endpoints),
  };
}

async function repeat(ours: Ours, name: string, times: number, work: (i: number) => void): Promise<Figures> {
  const all: Awaited<ReturnType<Ours['time']>>[] = [];
  const { ownCPU } = await measure(async () => {
    for (let i = 0; i < times; i++) all.push(await ours.time(() => work(i)));
  });
  const slow = all.map(({ ms }) => ms).sort((a, b) => a - b)[Math.floor(times * 0.99)] ?? Number.NaN;
  return prefixed(name, {
    ms: median(all.map(({ ms }) => ms)),
    p99_ms: slow,
    sync_ms: median(all.map(({ syncMs }) => syncMs)),
    kernel_ms: median(all.map(({ kernelMs }) => kernelMs)),
    ...kernelParts(
      Object.fromEntries(
        Object.keys(all[0]?.kernel ?? {}).map((name) => [name, median(all.map(({ kernel }) => kernel[name] ?? 0))]),
      ),
    ),
    cpu_ms: ownCPU / times,
    operations: ours.report().operations,
    bytes: ours.report().bytes,
  });
}

function kernelParts(times: KernelTimes): Figures {
  return Object.fromEntries(Object.entries(times).map(([name, ms]) => [`kernel_${name}_ms`, ms]));
}

function prefixed(prefix: string, figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [`${prefix}_${name}`, value]));
}

/** What a restart does: a new process finds what the last one left, right in everything. Cleans up. */
export async function adopt(plugin: BackendPlugin, load: Load): Promise<Figures> {
  const ours = await startOurs(plugin);
  const figures = prefixed('adopt', await loadAll(load, ours));
  await ours.close();
  const cleaner = createTimedHost();
  const backend = await plugin.create(cleaner.host, {});
  const { milliseconds } = await measure(() => backend.cleanup());
  await backend.close();
  return { ...figures, cleanup_ms: milliseconds };
}
