/**
 * Host.metrics: what a backend adds to /metrics, read when someone scrapes. A plugin's fault costs its own metric and
 * nothing else: one that throws, takes too long or answers nonsense is left out of that scrape.
 */
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import type Registry from 'prom-client/lib/registry.js';
import type { Clock, Logger, MetricValue, PluginMetric, PluginMetrics } from '../backend.ts';

export interface PluginMetricsOptions {
  /** Metrics.registry. */
  readonly registry: Registry;
  readonly log: Logger;
  readonly clock: Clock;
}

const PREFIX = 'kubeproxy_';
const NAME = /^[a-z][a-z0-9_]*$/;
/** A scrape is given up by the scraper after ten seconds. */
const READ_MS = 2_000;

type Metric = Counter | Gauge;

/** `register` throws (KP_METRIC) for a name, label or type that cannot be, and for a name of the core's own. */
export function createPluginMetrics({ registry, log, clock }: PluginMetricsOptions): PluginMetrics {
  /** By name; of several the last is shown. A backend that could not take over gives its place back. */
  const registered = new Map<string, Metric[]>();

  function show(name: string, metrics: readonly Metric[]): void {
    registry.removeSingleMetric(name);
    const last = metrics.at(-1);
    if (last) registry.registerMetric(last);
    else registered.delete(name);
  }

  return {
    register(asked) {
      const name = checkedName(asked);
      const others = registered.get(name);
      if (!others && registry.getSingleMetric(name)) throw fault(name, "is the core's own: choose another name");
      const metric = make(name, asked, log, clock);
      const metrics = others ?? [];
      metrics.push(metric);
      registered.set(name, metrics);
      show(name, metrics);
      return () => {
        const at = metrics.indexOf(metric);
        if (at < 0) return;
        metrics.splice(at, 1);
        show(name, metrics);
      };
    },
  };
}

function make(name: string, asked: PluginMetric, log: Logger, clock: Clock): Metric {
  const labelNames = [...(asked.labels ?? [])];
  let failing = false;
  const made: Metric =
    asked.type === 'counter'
      ? new Counter({ name, help: asked.help, labelNames, registers: [], collect })
      : new Gauge({ name, help: asked.help, labelNames, registers: [], collect });

  function empty(): void {
    made.reset();
    if (labelNames.length === 0) made.remove();
  }

  async function collect(): Promise<void> {
    empty();
    try {
      for (const each of listOf(await inTime(asked, clock))) put(each);
      failing = false;
    } catch (error) {
      empty();
      if (!failing) log.warn('A metric of the backend could not be read and is left out', { metric: name, error });
      failing = true;
    }
  }

  function put({ labels = {}, value }: MetricValue): void {
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new TypeError(`${String(value)} is no value`);
    const texts: Record<string, string> = {};
    for (const label of labelNames) {
      if (labels[label] === undefined) throw new TypeError(`a value lacks the label ${label}`);
      texts[label] = String(labels[label]);
    }
    if (made instanceof Counter) made.inc(texts, value);
    else made.set(texts, value);
  }

  return made;
}

async function inTime(asked: PluginMetric, clock: Clock): Promise<readonly MetricValue[]> {
  let cancel = (): void => {};
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(READ_MS, () => reject(new Error(`no answer within ${READ_MS / 1000} s`)));
  });
  try {
    return await Promise.race([asked.read(), late]);
  } finally {
    cancel();
  }
}

function listOf(read: unknown): readonly MetricValue[] {
  const wanted = 'read() must return a list of { value, labels? }';
  const kindOf = (value: unknown): string => (value === null ? 'null' : typeof value);
  if (!Array.isArray(read)) throw new TypeError(`${wanted}, and returned ${kindOf(read)}`);
  for (const each of read) {
    if (typeof each !== 'object' || each === null) throw new TypeError(`${wanted}, and one of it is ${kindOf(each)}`);
  }
  return read;
}

function checkedName({ name, type, help, labels = [] }: PluginMetric): string {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw fault(String(name), 'is no name: use lower-case letters, digits and "_", beginning with a letter');
  }
  if (type !== 'counter' && type !== 'gauge') throw fault(name, `is of type "${String(type)}": use counter or gauge`);
  if (typeof help !== 'string' || help === '') throw fault(name, 'has no help text: say in a sentence what it counts');
  for (const label of labels) {
    if (!NAME.test(label) || label.startsWith('__'))
      throw fault(name, `has the label "${label}": use names like its own`);
  }
  return name.startsWith(PREFIX) ? name : PREFIX + name;
}

function fault(metric: string, what: string): Error {
  return Object.assign(new Error(`metric ${metric} ${what}`), { code: 'KP_METRIC' });
}
