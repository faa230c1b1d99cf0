import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { PluginMetric } from '../../../core/backend.ts';
import { countDial, openCounters, statisticsOf } from '../../../plugins/userspace/forward/counters.ts';
import type { ServiceStatistics } from '../../../plugins/userspace/forward/messages.ts';
import { registerMetrics } from '../../../plugins/userspace/metrics.ts';
import { fakeClock } from '../sync/fake-clock.ts';

const test = suite('userspace metrics');
const KEY = 'IPv6 default/web:http/TCP';
const LABELS = { ip_family: 'IPv6', service_port: 'default/web:http/TCP' };

type Services = ReadonlyMap<string, ServiceStatistics>;

function counted(rest: Partial<ServiceStatistics>, dials: readonly number[] = []): Services {
  const counters = openCounters();
  for (const milliseconds of dials) countDial(counters, milliseconds);
  return new Map([[KEY, { ...statisticsOf(counters), ...rest }]]);
}

function register(read: () => Services) {
  const metrics = new Map<string, PluginMetric>();
  const clock = fakeClock();
  let asked = 0;
  const takeBack = registerMetrics(
    {
      metrics: {
        register(one) {
          metrics.set(one.name, one);
          return () => void metrics.delete(one.name);
        },
      },
      clock,
    },
    async () => {
      asked++;
      return read();
    },
  );
  return { metrics, clock, takeBack, asked: () => asked, values: async (name: string) => metrics.get(name)!.read() };
}

test('each service port is told by its family and name', async () => {
  const other = ['IPv4 default/dns/UDP', [...counted({ connections: 3 }).values()][0]!] as const;
  const { values } = register(() => new Map([...counted({ connections: 5, open: 1, bytesIn: 7 }), other]));
  assert.equal(await values('userspace_connections_total'), [
    { labels: LABELS, value: 5 },
    { labels: { ip_family: 'IPv4', service_port: 'default/dns/UDP' }, value: 3 },
  ]);
  const [open] = await values('userspace_open_connections');
  const [received] = await values('userspace_received_bytes_total');
  assert.equal([open!.value, received!.value], [1, 7]);
});

test('failures are told by their reason, those that never were too', async () => {
  const [service] = counted({}).values();
  const { values } = register(() => counted({ failures: { ...service!.failures, dial: 4 } }));
  const rows = await values('userspace_failures_total');
  assert.equal(
    rows.filter(({ value }) => value > 0),
    [{ labels: { ...LABELS, reason: 'dial' }, value: 4 }],
  );
  assert.is(rows.length, Object.keys(service!.failures).length);
});

test('buckets of dial latency are cumulative, and the last one is the count', async () => {
  const { values } = register(() => counted({}, [0.2, 2, 0.2, 9_000]));
  const rows = new Map((await values('userspace_dial_seconds_bucket')).map(({ labels, value }) => [labels!.le, value]));
  assert.equal([rows.get('0.0005'), rows.get('0.001'), rows.get('0.0025'), rows.get('2.5')], [2, 2, 3, 3]);
  assert.is(rows.get('+Inf'), 4);
  const [count] = await values('userspace_dial_seconds_count');
  assert.is(count!.value, 4);
});

test('one scrape asks the threads once, and the next one again', async () => {
  const { metrics, clock, asked } = register(() => counted({}));
  for (const metric of metrics.values()) await metric.read();
  assert.is(asked(), 1);
  await clock.advance(5_000);
  for (const metric of metrics.values()) await metric.read();
  assert.is(asked(), 2);
});

test('a question that failed is asked again', async () => {
  let fails = true;
  const { values } = register(() => {
    if (fails) throw new Error('no answer');
    return counted({ open: 1 });
  });
  const [first] = await Promise.allSettled([values('userspace_open_connections')]);
  assert.is(first!.status, 'rejected');
  fails = false;
  assert.equal(await values('userspace_open_connections'), [{ labels: LABELS, value: 1 }]);
});

test('taken back, none is left', () => {
  const { metrics, takeBack } = register(() => new Map());
  assert.ok(metrics.size > 5);
  takeBack();
  assert.is(metrics.size, 0);
});

test.run();
