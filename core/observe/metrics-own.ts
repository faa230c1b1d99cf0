/**
 * The metrics of metric-names.ts as objects that count, and which of them are shown: those of the backend in use. What
 * is not shown keeps what it counted, so that a counter that comes back has not fallen.
 */
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Histogram from 'prom-client/lib/histogram.js';
import type Registry from 'prom-client/lib/registry.js';
import type { IPFamily } from '../backend.ts';
import { type MetricRow, OUR_METRICS, REFERENCE_METRICS } from './metric-names.ts';
import type { BackendInUse } from './metrics-facts.ts';

const ROWS: Readonly<Record<MetricId, MetricRow>> = { ...REFERENCE_METRICS, ...OUR_METRICS };

export type MetricId = keyof typeof REFERENCE_METRICS | keyof typeof OUR_METRICS;

export interface OwnMetrics {
  counter(id: MetricId): Counter;
  gauge(id: MetricId): Gauge;
  histogram(id: MetricId): Histogram;
  /** Call `fill` at each scrape, on the empty metric. If it throws, the metric stays empty. */
  pull(id: MetricId, fill: () => void): void;
  /** Show what belongs to this backend, and what its families have from 0 on. */
  use(backend: BackendInUse): void;
  /** How many are shown. */
  shown(stability: MetricRow['stability']): number;
}

export const FAMILY_LABELS = { IPv4: { ip_family: 'IPv4' }, IPv6: { ip_family: 'IPv6' } } as const;

type Metric = Counter | Gauge | Histogram;

interface Own {
  readonly row: MetricRow;
  readonly metric: Metric;
  /** Histograms that have begun; setting one to zero again would forget what it counted. */
  readonly begun: Set<IPFamily>;
}

export function createOwnMetrics(registry: Registry, onFault: (metric: string, error: unknown) => void): OwnMetrics {
  const own = new Map<string, Own>(
    Object.entries(ROWS).map(([id, row]) => [id, { row, metric: make(row), begun: new Set() }]),
  );
  let backend: BackendInUse = { name: '', families: [], usesConntrack: false };

  const get = (id: MetricId): Own => own.get(id)!;

  /** One without labels would otherwise say 0. */
  function empty({ row, metric }: Own): void {
    metric.reset();
    if (row.labels.length === 0) metric.remove();
  }

  function show({ row, metric }: Own): void {
    const there = registry.getSingleMetric(row.name) !== undefined;
    const wanted = shows(row, backend);
    if (wanted && !there) registry.registerMetric(metric);
    if (wanted || !there) return;
    registry.removeSingleMetric(row.name);
    // The size of what is gone must not come back with the backend.
    if (metric instanceof Gauge) metric.reset();
  }

  /** A rate over the first increase is lost if the series begins with it, and a dashboard finds no instance before. */
  function begin({ row, metric, begun }: Own): void {
    if (row.labels.length !== 1 || row.labels[0] !== 'ip_family' || !shows(row, backend)) return;
    for (const family of backend.families) {
      if (metric instanceof Counter) metric.inc(FAMILY_LABELS[family], 0);
      if (metric instanceof Histogram && !begun.has(family)) metric.zero(FAMILY_LABELS[family]);
      begun.add(family);
    }
  }

  for (const each of own.values()) show(each);

  return {
    counter: (id) => get(id).metric as Counter,
    gauge: (id) => get(id).metric as Gauge,
    histogram: (id) => get(id).metric as Histogram,

    pull(id, fill) {
      const each = get(id);
      const collect = (): void => {
        empty(each);
        try {
          fill();
        } catch (error) {
          empty(each);
          onFault(each.row.name, error);
        }
      };
      Object.assign(each.metric, { collect });
      empty(each);
    },

    use(next) {
      backend = next;
      for (const each of own.values()) {
        show(each);
        begin(each);
      }
    },

    shown: (stability) =>
      [...own.values()].filter(({ row }) => row.stability === stability && shows(row, backend)).length,
  };
}

function make({ name, type, help, labels, buckets, stability }: MetricRow): Metric {
  const base = { name, help: `[${stability}] ${help}`, labelNames: [...labels], registers: [] };
  if (type === 'counter') return new Counter(base);
  if (type === 'gauge') return new Gauge(base);
  return new Histogram({ ...base, buckets: [...buckets] });
}

function shows({ shows: rule }: MetricRow, { name, usesConntrack }: BackendInUse): boolean {
  switch (rule) {
    case 'always':
      return true;
    case 'partial':
      return name !== '' && name !== 'ipvs';
    case 'conntrack':
      return usesConntrack;
    default:
      return rule.includes(name);
  }
}
