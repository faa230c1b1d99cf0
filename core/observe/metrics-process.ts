/**
 * This process under the names that every Prometheus client gives them (process_*), and the runtime (nodejs_*). Read
 * when someone scrapes. prom-client's own collection of these costs 0.2 % of a core for ever, because it measures the
 * event loop every 10 ms; here it is every 100 ms (0.02 %), from the first scrape on, so never where nobody scrapes.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import type Registry from 'prom-client/lib/registry.js';

export interface ProcessMetrics {
  close(): void;
}

const LOOP_RESOLUTION_MS = 100;
/** What Go's client says for "unlimited"; scrapers of both must not see two values. */
const UNLIMITED = 2 ** 64;

/** `proc` is where the kernel shows this process. */
export function registerProcessMetrics(registry: Registry, proc = '/proc/self'): ProcessMetrics {
  const registers = [registry];

  /** A gauge that is read at scrapes, and left out while it cannot be read. */
  function readGauge(name: string, help: string, read: () => number | undefined): void {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = attempt(read);
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  }

  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Seconds of CPU time that this process has used, those of the kernel for it included',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  readGauge('process_resident_memory_bytes', 'Bytes of memory in RAM', () => statusBytes(proc, 'VmRSS'));
  readGauge('process_virtual_memory_bytes', 'Bytes of address space', () => statusBytes(proc, 'VmSize'));
  readGauge('process_virtual_memory_max_bytes', 'Bytes of address space that it may have', () =>
    limit(proc, 'Max address space'),
  );
  readGauge('process_open_fds', 'Open file descriptors', () => openFiles(proc));
  readGauge('process_max_fds', 'File descriptors that it may have', () => limit(proc, 'Max open files'));
  readGauge(
    'process_start_time_seconds',
    'When it was started, in seconds since the epoch',
    () => performance.timeOrigin / 1000,
  );

  readGauge(
    'nodejs_heap_size_total_bytes',
    'Bytes that V8 has taken for its heap',
    () => process.memoryUsage().heapTotal,
  );
  readGauge('nodejs_heap_size_used_bytes', 'Bytes of the heap of V8 in use', () => process.memoryUsage().heapUsed);
  readGauge(
    'nodejs_external_memory_bytes',
    'Bytes outside of the heap of V8 that objects in it hold',
    () => process.memoryUsage().external,
  );
  new Counter({
    name: 'nodejs_eventloop_active_seconds_total',
    help: 'Seconds in which the event loop was not waiting; near 1 per second, everything waits for it',
    registers,
    collect() {
      this.reset();
      this.inc(performance.eventLoopUtilization().active / 1000);
    },
  });

  let delay: ReturnType<typeof monitorEventLoopDelay> | undefined;
  const lag = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
  const mean = lag('nodejs_eventloop_lag_mean_seconds', 'How late timers ran on average since the last scrape');
  const p99 = lag(
    'nodejs_eventloop_lag_p99_seconds',
    'How late all timers but 1 in 100 ran at most since the last scrape',
  );
  const max = lag('nodejs_eventloop_lag_max_seconds', 'How late a timer ran at most since the last scrape');
  // The first of the three to be collected fills all of them, since reading begins a new period.
  Object.assign(mean, {
    collect(): void {
      for (const gauge of [mean, p99, max]) gauge.remove();
      if (delay === undefined) {
        delay = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
        delay.enable();
      } else if (delay.count > 0) {
        // A sample is the whole time from one timer to the next.
        const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - LOOP_RESOLUTION_MS / 1000);
        mean.set(late(delay.mean));
        p99.set(late(delay.percentile(99)));
        max.set(late(delay.max));
        delay.reset();
      }
    },
  });
  for (const gauge of [mean, p99, max]) gauge.remove();

  const version = process.versions.node;
  const [major = '', minor = '', patch = ''] = version.split('.');
  new Gauge({
    name: 'nodejs_version_info',
    help: 'Always 1; the labels say which Node.js this is',
    labelNames: ['version', 'major', 'minor', 'patch'],
    registers,
  }).set({ version: `v${version}`, major, minor, patch }, 1);

  return { close: () => void delay?.disable() };
}

function attempt(read: () => number | undefined): number | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** "VmRSS:     123 kB" of /proc/PID/status. */
function statusBytes(proc: string, field: string): number | undefined {
  const text = readFileSync(`${proc}/status`, 'utf8');
  const [, kilobytes] = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text) ?? [];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** The soft limit: "Max open files            1024                 524288               files". */
function limit(proc: string, name: string): number | undefined {
  const text = readFileSync(`${proc}/limits`, 'utf8');
  const [, soft] = new RegExp(`^${name}\\s+(\\d+|unlimited)\\s`, 'm').exec(text) ?? [];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? UNLIMITED : Number(soft);
}

/** Without the one with which the folder is read. */
function openFiles(proc: string): number {
  return readdirSync(`${proc}/fd`).length - 1;
}
