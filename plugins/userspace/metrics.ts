/** What no kernel backend can tell: connections, bytes, failures and dial latency of each service port. */
import type { Host, MetricValue, PluginMetric } from '../../core/backend.ts';
import { DIAL_BUCKETS, FAILURES, type ServiceStatistics } from './forward/messages.ts';

type Read = (service: ServiceStatistics) => number;

const COUNTERS: readonly (readonly [name: string, type: 'counter' | 'gauge', help: string, read: Read])[] = [
  [
    'connections_total',
    'counter',
    'Connections and UDP sessions taken, those that failed included.',
    (s) => s.connections,
  ],
  ['open_connections', 'gauge', 'Connections and UDP sessions that are open.', (s) => s.open],
  ['received_bytes_total', 'counter', 'Bytes that came from clients.', (s) => s.bytesIn],
  ['sent_bytes_total', 'counter', 'Bytes that went to clients.', (s) => s.bytesOut],
  ['dial_seconds_sum', 'counter', 'Time that successful dials to endpoints took.', (s) => s.dialSeconds],
  ['dial_seconds_count', 'counter', 'Successful dials to endpoints.', (s) => s.dials],
];

/** `read`: by key of service port. Returns what takes the metrics back. */
export function registerMetrics(
  { metrics, clock }: Pick<Host, 'metrics' | 'clock'>,
  read: () => Promise<ReadonlyMap<string, ServiceStatistics>>,
): () => void {
  let last: { readonly at: number; readonly answer: Promise<readonly Row[]> } | undefined;
  /** One question serves all metrics of a scrape. */
  const rows = (): Promise<readonly Row[]> => {
    const now = clock.now();
    if (last === undefined || now - last.at > FRESH_MS) {
      const answer = read().then(rowsOf);
      last = { at: now, answer };
      answer.catch(() => {
        last = undefined;
      });
    }
    return last.answer;
  };
  const values = async (of: (row: Row) => readonly MetricValue[]): Promise<readonly MetricValue[]> =>
    (await rows()).flatMap(of);
  const all: readonly PluginMetric[] = [
    ...COUNTERS.map(
      ([name, type, help, value]): PluginMetric => ({
        name: `userspace_${name}`,
        type,
        help,
        labels: LABELS,
        read: () => values(({ labels, service }) => [{ labels, value: value(service) }]),
      }),
    ),
    {
      name: 'userspace_failures_total',
      type: 'counter',
      help: 'Connections and UDP sessions that were not served to their end.',
      labels: [...LABELS, 'reason'],
      read: () =>
        values(({ labels, service: { failures } }) =>
          FAILURES.map((reason) => ({ labels: { ...labels, reason }, value: failures[reason] })),
        ),
    },
    {
      name: 'userspace_dial_seconds_bucket',
      type: 'counter',
      help: 'Successful dials to endpoints that took at most so long.',
      labels: [...LABELS, 'le'],
      read: () => values(buckets),
    },
  ];
  const takeBack = all.map((metric) => metrics.register(metric));
  return () => {
    for (const one of takeBack) one();
  };
}

const FRESH_MS = 500;
const LABELS = ['ip_family', 'service_port'];

interface Row {
  readonly labels: Readonly<Record<string, string>>;
  readonly service: ServiceStatistics;
}

function rowsOf(services: ReadonlyMap<string, ServiceStatistics>): readonly Row[] {
  return [...services].map(([key, service]) => {
    const blank = key.indexOf(' ');
    return { labels: { ip_family: key.slice(0, blank), service_port: key.slice(blank + 1) }, service };
  });
}

function buckets({ labels, service: { dialBuckets } }: Row): readonly MetricValue[] {
  let below = 0;
  return [...DIAL_BUCKETS.map(String), '+Inf'].map((le, index) => {
    below += dialBuckets[index] ?? 0;
    return { labels: { ...labels, le }, value: below };
  });
}
