import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { MetricValue, PluginMetric, PluginMetrics } from '../../../core/backend.ts';
import { createMetrics } from '../../../core/observe/metrics.ts';
import { createPluginMetrics } from '../../../core/observe/metrics-plugin.ts';
import { type FakeClock, fakeClock, settle } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';
import { type Family, parseExposition, valueOf } from './exposition.ts';

interface Stage {
  readonly plugin: PluginMetrics;
  readonly log: FakeLog;
  readonly clock: FakeClock;
  text(): Promise<string>;
  shown(): Promise<ReadonlyMap<string, Family>>;
}

function stage(): Stage {
  const metrics = createMetrics({ version: '0', now: () => 0 });
  const log = fakeLog();
  const clock = fakeClock();
  const plugin = createPluginMetrics({ registry: metrics.registry, log, clock });
  return { plugin, log, clock, text: metrics.text, shown: async () => parseExposition(await metrics.text()) };
}

function gauge(name: string, read: () => readonly MetricValue[] | Promise<readonly MetricValue[]>): PluginMetric {
  return { name, type: 'gauge', help: 'Something', read };
}

const plugins = suite('metrics of plugins');

plugins('are read at each scrape and bear the common prefix, once', async () => {
  const { plugin, shown, clock } = stage();
  let value = 1;
  plugin.register(gauge('iptables_things', () => [{ value }]));
  plugin.register({ ...gauge('kubeproxy_others', () => [{ value: 5 }]), type: 'counter' });
  assert.is(valueOf(await shown(), 'kubeproxy_iptables_things'), 1);
  value = 2;
  const families = await shown();
  assert.is(valueOf(families, 'kubeproxy_iptables_things'), 2);
  assert.is(families.get('kubeproxy_others')!.type, 'counter');
  // A counter says what it reads, not the sum of what it read.
  assert.is(valueOf(families, 'kubeproxy_others'), 5);
  assert.is(clock.pending(), 0);
});

plugins('may have labels and may take their time', async () => {
  const { plugin, shown } = stage();
  const values = [
    { labels: { server: 'a"\\\n', ip_family: 'IPv4' }, value: 1 },
    { labels: { server: 'b', ip_family: 'IPv4' }, value: 2 },
  ];
  plugin.register({ ...gauge('servers', async () => values), labels: ['server', 'ip_family'] });
  assert.equal(
    (await shown()).get('kubeproxy_servers')!.samples.map(({ labels, value }) => ({ labels, value })),
    values,
  );
});

plugins('that cannot be read are left out, said once, and harm no other', async () => {
  const { plugin, shown, log } = stage();
  let broken = true;
  const read = (): readonly MetricValue[] => {
    if (broken) throw new Error('no table');
    return [{ value: 3 }];
  };
  plugin.register(gauge('fragile', read));
  plugin.register(gauge('sound', () => [{ value: 4 }]));
  for (let scrape = 0; scrape < 3; scrape++) {
    const families = await shown();
    assert.is(families.get('kubeproxy_fragile')!.samples.length, 0);
    assert.is(valueOf(families, 'kubeproxy_sound'), 4);
  }
  assert.is(log.at('warn').length, 1);
  assert.is(log.at('warn')[0]!.values.metric, 'kubeproxy_fragile');
  broken = false;
  assert.is(valueOf(await shown(), 'kubeproxy_fragile'), 3);
  broken = true;
  await shown();
  assert.is(log.at('warn').length, 2);
});

plugins('that answer nonsense are left out', async () => {
  const nonsense: readonly unknown[] = [
    undefined,
    [{ value: Number.NaN }],
    [{ value: '3' }],
    [{ value: 1, labels: {} }],
    [{ labels: { a: 'x' }, value: 2 }, { value: 1 }],
  ];
  for (const answer of nonsense) {
    const { plugin, shown, log } = stage();
    plugin.register({ ...gauge('odd', () => answer as readonly MetricValue[]), labels: ['a'] });
    assert.is((await shown()).get('kubeproxy_odd')!.samples.length, 0, JSON.stringify(answer));
    assert.is(log.at('warn').length, 1);
  }
});

plugins('a counter that falls below zero is left out', async () => {
  const { plugin, shown } = stage();
  plugin.register({ ...gauge('down', () => [{ value: -1 }]), type: 'counter' });
  assert.is((await shown()).get('kubeproxy_down')!.samples.length, 0);
});

plugins('that do not answer in time hold up no scrape', async () => {
  const { plugin, text, clock, log } = stage();
  plugin.register(gauge('slow', () => new Promise(() => {})));
  plugin.register(gauge('quick', () => [{ value: 1 }]));
  const asked = text();
  await settle();
  await clock.advance(2_000);
  const families = parseExposition(await asked);
  assert.is(families.get('kubeproxy_slow')!.samples.length, 0);
  assert.is(valueOf(families, 'kubeproxy_quick'), 1);
  assert.match(String(log.at('warn')[0]!.values.error), 'within 2 s');
  assert.is(clock.pending(), 0);
});

plugins('that give no list are left out, and it is said what they give', async () => {
  const { plugin, shown, log } = stage();
  for (const [name, read] of [
    ['a', () => ({ value: 1 })],
    ['b', () => undefined],
    ['c', () => [5]],
  ] as const) {
    plugin.register(gauge(name, read as unknown as () => []));
  }
  assert.is((await shown()).get('kubeproxy_a')!.samples.length, 0);
  const must = 'TypeError: read() must return a list of { value, labels? }, and';
  assert.equal(
    log
      .at('warn')
      .map(({ values }) => String(values.error))
      .sort(),
    [`${must} one of it is number`, `${must} returned object`, `${must} returned undefined`],
  );
});

plugins('go when they are taken back', async () => {
  const { plugin, shown } = stage();
  const takeBack = plugin.register(gauge('things', () => [{ value: 1 }]));
  takeBack();
  takeBack();
  assert.not.ok((await shown()).has('kubeproxy_things'));
  plugin.register(gauge('things', () => [{ value: 2 }]));
  assert.is(valueOf(await shown(), 'kubeproxy_things'), 2);
});

plugins('of one name: the last one is read, and the one before it again when that is taken back', async () => {
  const { plugin, shown } = stage();
  const first = plugin.register(gauge('things', () => [{ value: 1 }]));
  const second = plugin.register({ ...gauge('things', () => [{ value: 2 }]), type: 'counter' });
  assert.is(valueOf(await shown(), 'kubeproxy_things'), 2);
  second();
  assert.is(valueOf(await shown(), 'kubeproxy_things'), 1);
  const third = plugin.register(gauge('things', () => [{ value: 3 }]));
  first();
  assert.is(valueOf(await shown(), 'kubeproxy_things'), 3);
  third();
  assert.not.ok((await shown()).has('kubeproxy_things'));
});

plugins('cannot be what the format has no room for, nor take a name of the core', () => {
  const { plugin } = stage();
  const refused = (metric: Partial<Record<keyof PluginMetric, unknown>>): string => {
    try {
      plugin.register({ ...gauge('fine', () => []), ...metric } as PluginMetric);
    } catch (error) {
      assert.is((error as { code?: string }).code, 'KP_METRIC');
      return (error as Error).message;
    }
    return 'accepted';
  };
  assert.match(refused({ name: 'Things' }), 'metric Things is no name');
  assert.match(refused({ name: 'a-b' }), 'lower-case');
  assert.match(refused({ name: undefined }), 'is no name');
  assert.match(refused({ type: 'histogram' }), 'use counter or gauge');
  assert.match(refused({ help: '' }), 'no help text');
  assert.match(refused({ labels: ['le-vel'] }), 'label "le-vel"');
  assert.match(refused({ labels: ['__name__'] }), 'label "__name__"');
  assert.match(refused({ name: 'sync_proxy_rules_duration_seconds' }), "the core's own");
  assert.match(refused({ name: 'kubeproxy_backend_info' }), "the core's own");
  assert.is(refused({}), 'accepted');
});

plugins.run();
