import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../../core/backend.ts';
import { createMetrics, type Metrics, type SyncedFacts } from '../../../core/observe/metrics.ts';
import { type Family, parseExposition, valueOf } from './exposition.ts';

const NOW = 1_763_881_853_500;
const SOURCE = { resource: '', synced: true, secondsSinceContact: 1, objects: 1, lists: 1, watches: 1, failures: 0 };

const BOTH: readonly IPFamily[] = ['IPv4', 'IPv6'];
const open: Metrics[] = [];

function metricsOf(backend: string, families = BOTH, usesConntrack = true): Metrics {
  const metrics = createMetrics({ version: '0.1.0', now: () => NOW });
  open.push(metrics);
  metrics.useBackend({ name: backend, families, usesConntrack });
  return metrics;
}

async function shown(metrics: Metrics): Promise<ReadonlyMap<string, Family>> {
  return parseExposition(await metrics.text());
}

function synced(more: Partial<SyncedFacts> = {}): SyncedFacts {
  return {
    family: 'IPv4',
    full: false,
    durationMs: 3,
    servicePorts: 7,
    report: { operations: 4, bytes: 100 },
    triggerTimes: [],
    withoutLocal: { internal: 0, external: 0 },
    ...more,
  };
}

const EXP = '0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 16.384';
const SECONDS = '0.005 0.025 0.1 0.25 0.5 1 2 4 8 15 30 60';
const BYTES = '64 256 512 1024 4096 16384 65536 262144 1048576 4194304 16777216';
const NPL =
  '0.25 0.5 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 ' +
  '39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 65 70 75 80 85 90 95 100 105 110 115 120 150 180 ' +
  '210 240 270 300';

const COMMON = 'all';
/** Written from what kube-proxy 1.36 shows, not from the code: name, type, labels, buckets, modes. */
const REFERENCE: readonly (readonly [name: string, type: string, labels: string, buckets: string, modes: string])[] = [
  ['kubeproxy_sync_proxy_rules_duration_seconds', 'histogram', 'ip_family', EXP, COMMON],
  ['kubeproxy_sync_full_proxy_rules_duration_seconds', 'histogram', 'ip_family', EXP, 'iptables nftables'],
  ['kubeproxy_sync_partial_proxy_rules_duration_seconds', 'histogram', 'ip_family', EXP, 'iptables nftables'],
  ['kubeproxy_sync_proxy_rules_last_timestamp_seconds', 'gauge', 'ip_family', '', COMMON],
  ['kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds', 'gauge', 'ip_family', '', COMMON],
  ['kubeproxy_network_programming_duration_seconds', 'histogram', 'ip_family', NPL, COMMON],
  ['kubeproxy_sync_proxy_rules_endpoint_changes_pending', 'gauge', '', '', COMMON],
  ['kubeproxy_sync_proxy_rules_endpoint_changes_total', 'counter', '', '', COMMON],
  ['kubeproxy_sync_proxy_rules_service_changes_pending', 'gauge', '', '', COMMON],
  ['kubeproxy_sync_proxy_rules_service_changes_total', 'counter', '', '', COMMON],
  ['kubeproxy_sync_proxy_rules_no_local_endpoints_total', 'gauge', 'ip_family traffic_policy', '', COMMON],
  ['kubeproxy_proxy_healthz_total', 'counter', 'code', '', COMMON],
  ['kubeproxy_proxy_livez_total', 'counter', 'code', '', COMMON],
  ['kubeproxy_sync_proxy_rules_iptables_total', 'gauge', 'ip_family table', '', 'iptables'],
  ['kubeproxy_sync_proxy_rules_iptables_last', 'gauge', 'ip_family table', '', 'iptables'],
  ['kubeproxy_sync_proxy_rules_iptables_restore_failures_total', 'counter', 'ip_family', '', 'iptables ipvs'],
  ['kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total', 'counter', 'ip_family', '', 'iptables'],
  ['kubeproxy_sync_proxy_rules_nftables_sync_failures_total', 'counter', 'ip_family', '', 'nftables'],
  ['kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total', 'counter', 'ip_family', '', 'nftables'],
  ['kubeproxy_conntrack_reconciler_sync_duration_seconds', 'histogram', 'ip_family', EXP, 'iptables ipvs nftables'],
  ['kubeproxy_conntrack_reconciler_deleted_entries_total', 'counter', 'ip_family', '', 'iptables ipvs nftables'],
  ['rest_client_requests_total', 'counter', 'code host method', '', COMMON],
  ['rest_client_request_duration_seconds', 'histogram', 'host verb', SECONDS, COMMON],
  ['rest_client_request_size_bytes', 'histogram', 'host verb', BYTES, COMMON],
  ['rest_client_response_size_bytes', 'histogram', 'host verb', BYTES, COMMON],
  ['rest_client_rate_limiter_duration_seconds', 'histogram', 'host verb', SECONDS, COMMON],
  ['rest_client_request_retries_total', 'counter', 'code host verb', '', COMMON],
  [
    'kubernetes_build_info',
    'gauge',
    'build_date compiler git_commit git_tree_state git_version go_version major minor platform',
    '',
    COMMON,
  ],
  ['kubernetes_feature_enabled', 'gauge', 'name stage', '', COMMON],
  ['registered_metrics_total', 'counter', 'deprecated_version stability_level', '', COMMON],
  ['process_cpu_seconds_total', 'counter', '', '', COMMON],
  ['process_resident_memory_bytes', 'gauge', '', '', COMMON],
  ['process_virtual_memory_bytes', 'gauge', '', '', COMMON],
  ['process_virtual_memory_max_bytes', 'gauge', '', '', COMMON],
  ['process_open_fds', 'gauge', '', '', COMMON],
  ['process_max_fds', 'gauge', '', '', COMMON],
  ['process_start_time_seconds', 'gauge', '', '', COMMON],
];

/** Something for every metric to show. */
function exercise(metrics: Metrics): void {
  const totals = { nat_rules: 120, filter_rules: 30, nat_rules_last: 12, filter_rules_last: 3 };
  metrics.setSources({
    changes: () => ({ services: { pending: 1, total: 10 }, endpoints: { pending: 2, total: 20 } }),
    features: () => [{ name: 'PreferSameTrafficDistribution', stage: '', enabled: true }],
  });
  for (const family of BOTH) {
    metrics.queued(family);
    for (const full of [true, false]) {
      metrics.synced(synced({ family, full, report: { operations: 1, bytes: 1, totals }, triggerTimes: [NOW - 700] }));
      metrics.syncFailed({ family, full, durationMs: 5 });
    }
    metrics.cleanupFailed(family);
    metrics.conntrackPass({ family, durationSeconds: 0.01, deleted: 3 });
  }
  metrics.restRequest({
    verb: 'GET',
    host: '10.0.0.1:6443',
    code: '200',
    durationSeconds: 0.02,
    requestBytes: 0,
    rateLimitedSeconds: 0,
    responseBytes: 900,
    retryAfter: '429',
  });
}

const names = suite('metrics as the reference has them');

for (const mode of ['iptables', 'ipvs', 'nftables']) {
  names(
    `names, types, labels and buckets are those of kube-proxy 1.36 in mode ${mode}, no more and no fewer`,
    async () => {
      const metrics = metricsOf(mode);
      exercise(metrics);
      const families = await shown(metrics);
      for (const [name, type, labels, buckets, modes] of REFERENCE) {
        const family = families.get(name);
        const belongs = modes === COMMON || modes.split(' ').includes(mode);
        assert.is(family !== undefined, belongs, `${name} in mode ${mode}`);
        if (!family) continue;
        assert.is(family.type, type, name);
        assert.ok(family.samples.length > 0, `${name} has no samples`);
        for (const sample of family.samples) {
          const own = Object.keys(sample.labels).filter((label) => label !== 'le');
          assert.is(own.sort().join(' '), labels, name);
        }
        const first = family.samples.find((sample) => sample.name === `${name}_bucket`)?.labels;
        const same = (key: string, other: Readonly<Record<string, string>>): boolean => first?.[key] === other[key];
        const bounds = family.samples
          .filter(({ labels: other }) => other.le !== undefined && same('ip_family', other) && same('verb', other))
          .map(({ labels: other }) => other.le);
        assert.is(bounds.join(' '), buckets === '' ? '' : `${buckets} +Inf`, name);
      }
      const known = new Set(REFERENCE.map(([name]) => name));
      const others = [...families.keys()].filter((name) => !known.has(name));
      // What is not the reference's is recognisable as ours.
      for (const name of others) assert.match(name, /^(nodejs_|kubeproxy_(backend|service|source|config|sync)_)/);
    },
  );
}

names('a third party’s backend shows what any backend has, and none of the built-in ones’', async () => {
  const families = await shown(metricsOf('vendor-x', BOTH, false));
  assert.ok(families.has('kubeproxy_sync_full_proxy_rules_duration_seconds'));
  for (const name of families.keys()) assert.not.match(name, /iptables|nftables|conntrack/);
});

names('the stability of a metric begins its help text', async () => {
  const families = await shown(metricsOf('iptables'));
  assert.match(families.get('kubeproxy_sync_proxy_rules_duration_seconds')!.help, /^\[ALPHA\] /);
  assert.match(families.get('kubernetes_build_info')!.help, /^\[BETA\] /);
});

names('every series that the kube-proxy dashboard and its alerts select exists', async () => {
  const metrics = metricsOf('nftables');
  exercise(metrics);
  metrics.restRequest({
    verb: 'POST',
    host: 'a:1',
    code: '201',
    durationSeconds: 0.02,
    requestBytes: 9,
    rateLimitedSeconds: 0,
  });
  const families = await shown(metrics);
  const samples = [...families.values()].flatMap((family) => family.samples);
  const selects = (name: string, labels: Readonly<Record<string, RegExp>> = {}): boolean =>
    samples.some(
      (sample) =>
        sample.name === name && Object.entries(labels).every(([key, value]) => value.test(sample.labels[key] ?? '')),
    );
  assert.ok(selects('kubeproxy_sync_proxy_rules_duration_seconds_count'));
  assert.ok(selects('kubeproxy_sync_proxy_rules_duration_seconds_bucket', { le: /^\+Inf$/ }));
  assert.ok(selects('kubeproxy_network_programming_duration_seconds_count'));
  assert.ok(selects('kubeproxy_network_programming_duration_seconds_bucket', { le: /^300$/ }));
  assert.ok(selects('rest_client_requests_total', { code: /^2..$/ }));
  assert.ok(selects('rest_client_request_duration_seconds_bucket', { verb: /^POST$/ }));
  assert.ok(selects('rest_client_request_duration_seconds_bucket', { verb: /^GET$/ }));
  assert.ok(selects('process_resident_memory_bytes'));
  assert.ok(selects('process_cpu_seconds_total'));
  assert.ok(selects('kubernetes_build_info', { git_version: /^v1\.36\b/, major: /^1$/, minor: /^36$/ }));
});

names('there is no series that would have to lie', async () => {
  const families = await shown(metricsOf('iptables'));
  for (const name of families.keys()) assert.not.match(name, /^go_/);
});

names('what exists is counted by stability', async () => {
  const metrics = metricsOf('iptables');
  const before = valueOf(await shown(metrics), 'registered_metrics_total', { stability_level: 'ALPHA' })!;
  metrics.useBackend({ name: 'vendor-x', families: BOTH, usesConntrack: false });
  const after = await shown(metrics);
  // Four of the tables and failures of iptables, two of conntrack.
  assert.is(valueOf(after, 'registered_metrics_total', { stability_level: 'ALPHA' }), before - 6);
  assert.is(valueOf(after, 'registered_metrics_total', { stability_level: 'BETA' }), 2);
});

const values = suite('what metrics say');

values('a sync that took effect is measured, and when it was', async () => {
  const metrics = metricsOf('iptables');
  metrics.synced(synced({ full: true, durationMs: 3 }));
  metrics.synced(synced({ durationMs: 1 }));
  const families = await shown(metrics);
  const v4 = { ip_family: 'IPv4' };
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_duration_seconds_count', v4), 2);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_duration_seconds_sum', v4), 0.004);
  assert.is(valueOf(families, 'kubeproxy_sync_full_proxy_rules_duration_seconds_sum', v4), 0.003);
  assert.is(valueOf(families, 'kubeproxy_sync_partial_proxy_rules_duration_seconds_sum', v4), 0.001);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_duration_seconds_bucket', { ...v4, le: '0.001' }), 1);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_last_timestamp_seconds', v4), NOW / 1000);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_last_timestamp_seconds', { ip_family: 'IPv6' }), undefined);
  assert.is(valueOf(families, 'kubeproxy_service_ports', v4), 7);
  assert.is(valueOf(families, 'kubeproxy_sync_operations_total', v4), 8);
  assert.is(valueOf(families, 'kubeproxy_sync_written_bytes_total', v4), 200);
  assert.is(valueOf(families, 'kubeproxy_sync_failures_total', v4), 0);
});

values('network programming latency is observed for each change, and never negative', async () => {
  const metrics = metricsOf('iptables');
  metrics.synced(synced({ triggerTimes: [NOW - 250, NOW - 61_000, NOW + 5_000] }));
  const families = await shown(metrics);
  const name = 'kubeproxy_network_programming_duration_seconds';
  const v4 = { ip_family: 'IPv4' };
  assert.is(valueOf(families, `${name}_count`, v4), 3);
  assert.is(valueOf(families, `${name}_sum`, v4), 61.25);
  assert.is(valueOf(families, `${name}_bucket`, { ...v4, le: '0.25' }), 2);
  assert.is(valueOf(families, `${name}_bucket`, { ...v4, le: '60' }), 2);
  assert.is(valueOf(families, `${name}_bucket`, { ...v4, le: '65' }), 3);
});

values('service ports without local endpoints are shown by policy and family', async () => {
  const metrics = metricsOf('iptables');
  metrics.synced(synced({ withoutLocal: { internal: 2, external: 3 } }));
  metrics.synced(synced({ family: 'IPv6', withoutLocal: { internal: 1, external: 0 } }));
  const families = await shown(metrics);
  const of = (traffic_policy: string, ip_family: string): number | undefined =>
    valueOf(families, 'kubeproxy_sync_proxy_rules_no_local_endpoints_total', { traffic_policy, ip_family });
  assert.equal([of('internal', 'IPv4'), of('external', 'IPv4'), of('internal', 'IPv6')], [2, 3, 1]);
  assert.is(of('external', 'IPv6'), 0);
});

values('a failed sync is measured, and counted in the words of its backend', async () => {
  const failures = async (backend: string, full: boolean): Promise<Record<string, number | undefined>> => {
    const metrics = metricsOf(backend);
    metrics.syncFailed({ family: 'IPv6', full, durationMs: 2 });
    const families = await shown(metrics);
    const v6 = { ip_family: 'IPv6' };
    assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_duration_seconds_count', v6), 1);
    assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_last_timestamp_seconds', v6), undefined);
    assert.is(valueOf(families, 'kubeproxy_sync_failures_total', v6), 1);
    const of = (name: string): number | undefined => valueOf(families, `kubeproxy_sync_proxy_rules_${name}_total`, v6);
    return {
      restore: of('iptables_restore_failures'),
      partial: of('iptables_partial_restore_failures'),
      nftables: of('nftables_sync_failures'),
    };
  };
  assert.equal(await failures('iptables', true), { restore: 1, partial: 0, nftables: undefined });
  assert.equal(await failures('iptables', false), { restore: 1, partial: 1, nftables: undefined });
  assert.equal(await failures('ipvs', false), { restore: 1, partial: undefined, nftables: undefined });
  assert.equal(await failures('nftables', false), { restore: undefined, partial: undefined, nftables: 1 });
  assert.equal(await failures('vendor-x', true), { restore: undefined, partial: undefined, nftables: undefined });
});

values('the rules of iptables are shown by table, those that exist and those just written', async () => {
  const metrics = metricsOf('iptables');
  const totals = { nat_rules: 120, filter_rules: 30, nat_rules_last: 12, filter_rules_last: 0 };
  metrics.synced(synced({ report: { operations: 1, bytes: 1, totals } }));
  const families = await shown(metrics);
  const of = (name: string, table: string): number | undefined =>
    valueOf(families, `kubeproxy_sync_proxy_rules_iptables_${name}`, { table, ip_family: 'IPv4' });
  assert.equal([of('total', 'nat'), of('total', 'filter'), of('last', 'nat'), of('last', 'filter')], [120, 30, 12, 0]);
});

values('sizes of a backend’s own are shown under its names, as far as these are names and not too many', async () => {
  const metrics = metricsOf('vendor-x');
  const many = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`kind_${at}`, at]));
  metrics.synced(synced({ report: { operations: 0, bytes: 0, totals: { 'Not a name': 1, ...many } } }));
  const samples = (await shown(metrics)).get('kubeproxy_backend_objects')!.samples;
  assert.is(samples.length, 50);
  assert.ok(samples.every(({ labels }) => /^kind_\d+$/.test(labels.kind!)));
});

values('series of the families exist from the start, at 0', async () => {
  const families = await shown(metricsOf('iptables', ['IPv6']));
  const counts = [
    'kubeproxy_sync_proxy_rules_duration_seconds_count',
    'kubeproxy_network_programming_duration_seconds_count',
    'kubeproxy_sync_proxy_rules_iptables_restore_failures_total',
    'kubeproxy_conntrack_reconciler_deleted_entries_total',
  ];
  for (const name of counts) {
    assert.is(valueOf(families, name, { ip_family: 'IPv6' }), 0, name);
    assert.is(valueOf(families, name, { ip_family: 'IPv4' }), undefined, name);
  }
});

values('a switch of backends hides what is another’s, keeps what was counted, and forgets sizes', async () => {
  const metrics = metricsOf('iptables');
  const v4 = { ip_family: 'IPv4' };
  metrics.synced(synced({ report: { operations: 1, bytes: 1, totals: { nat_rules: 5 } } }));
  metrics.syncFailed({ family: 'IPv4', full: false, durationMs: 1 });
  metrics.useBackend({ name: 'nftables', families: ['IPv4'], usesConntrack: true });
  metrics.synced(synced());
  const during = await shown(metrics);
  assert.is(valueOf(during, 'kubeproxy_sync_proxy_rules_duration_seconds_count', v4), 3);
  assert.is(valueOf(during, 'kubeproxy_sync_failures_total', v4), 1);
  assert.is(valueOf(during, 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total', v4), 0);
  assert.is(during.get('kubeproxy_backend_objects')!.samples.length, 0);
  assert.equal(during.get('kubeproxy_backend_info')!.samples, [
    { name: 'kubeproxy_backend_info', labels: { backend: 'nftables' }, value: 1 },
  ]);
  assert.not.ok(during.has('kubeproxy_sync_proxy_rules_iptables_restore_failures_total'));

  metrics.useBackend({ name: 'iptables', families: ['IPv4'], usesConntrack: true });
  const after = await shown(metrics);
  assert.is(valueOf(after, 'kubeproxy_sync_proxy_rules_iptables_restore_failures_total', v4), 1);
  assert.is(valueOf(after, 'kubeproxy_sync_proxy_rules_duration_seconds_count', v4), 3);
  assert.is(after.get('kubeproxy_sync_proxy_rules_iptables_total')!.samples.length, 0);
});

values('a family that is no longer programmed shows no state', async () => {
  const metrics = metricsOf('iptables');
  for (const family of BOTH) {
    metrics.queued(family);
    metrics.synced(synced({ family, withoutLocal: { internal: 1, external: 1 } }));
  }
  metrics.useBackend({ name: 'iptables', families: ['IPv6'], usesConntrack: true });
  for (const family of (await shown(metrics)).values()) {
    if (family.type !== 'gauge') continue;
    for (const sample of family.samples) assert.is.not(sample.labels.ip_family, 'IPv4', sample.name);
  }
});

values('requests are shown as client-go shows them', async () => {
  const metrics = metricsOf('iptables');
  const host = '[fd00::1]:6443';
  const request = { verb: 'GET', host, durationSeconds: 0.2, requestBytes: 70, rateLimitedSeconds: 3 };
  metrics.restRequest({ ...request, code: '200' });
  metrics.restRequest({ ...request, code: '<error>' });
  metrics.restRequest({ ...request, code: '200', retryAfter: '429', responseBytes: 5000 });
  const families = await shown(metrics);
  const labels = { verb: 'GET', host };
  assert.is(valueOf(families, 'rest_client_requests_total', { code: '200', method: 'GET', host }), 2);
  assert.is(valueOf(families, 'rest_client_requests_total', { code: '<error>', method: 'GET', host }), 1);
  assert.is(valueOf(families, 'rest_client_request_duration_seconds_count', labels), 3);
  assert.is(valueOf(families, 'rest_client_request_size_bytes_bucket', { ...labels, le: '256' }), 3);
  assert.is(valueOf(families, 'rest_client_rate_limiter_duration_seconds_sum', labels), 9);
  assert.is(valueOf(families, 'rest_client_response_size_bytes_count', labels), 1);
  assert.is(valueOf(families, 'rest_client_request_retries_total', { ...labels, code: '429' }), 1);
});

values('answers of the health server are counted by status, from 0 on', async () => {
  const metrics = metricsOf('iptables');
  metrics.healthz(503);
  metrics.livez(200);
  const families = await shown(metrics);
  const of = (check: string, code: string): number | undefined =>
    valueOf(families, `kubeproxy_proxy_${check}_total`, { code });
  assert.equal([of('healthz', '200'), of('healthz', '503'), of('livez', '200'), of('livez', '503')], [0, 1, 1, 0]);
});

values('what can be asked for is asked for at each scrape, and is absent while nobody tells', async () => {
  const metrics = metricsOf('iptables');
  const first = await shown(metrics);
  assert.is(first.get('kubeproxy_source_age_seconds')!.samples.length, 0);
  assert.is(first.get('kubeproxy_config_hash_info')!.samples.length, 0);
  assert.is(valueOf(first, 'kubeproxy_config_last_reload_successful'), undefined);

  let total = 10;
  metrics.setSources({ changes: () => ({ services: { pending: 1, total }, endpoints: { pending: 0, total: 4 } }) });
  metrics.setSources({
    source: () => [
      { resource: 'services', synced: true, secondsSinceContact: 1.5, objects: 9, lists: 1, watches: 3, failures: 2 },
      {
        resource: 'nodes',
        synced: false,
        secondsSinceContact: undefined,
        objects: 0,
        lists: 1,
        watches: 0,
        failures: 1,
      },
    ],
    features: () => [
      { name: 'A', stage: 'BETA', enabled: true },
      { name: 'B', stage: '', enabled: false },
    ],
    configHash: () => ({ running: 'aa', file: 'bb' }),
    serviceHealth: () => ({ open: 3, failed: 1 }),
  });
  await metrics.text();
  total = 12;
  const families = await shown(metrics);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_service_changes_total'), 12);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_service_changes_pending'), 1);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_endpoint_changes_total'), 4);
  assert.is(valueOf(families, 'kubeproxy_source_age_seconds', { resource: 'services' }), 1.5);
  assert.is(valueOf(families, 'kubeproxy_source_age_seconds', { resource: 'nodes' }), undefined);
  assert.is(valueOf(families, 'kubeproxy_source_synced', { resource: 'nodes' }), 0);
  assert.is(valueOf(families, 'kubeproxy_source_watches_total', { resource: 'services' }), 3);
  assert.is(valueOf(families, 'kubeproxy_source_failures_total', { resource: 'services' }), 2);
  assert.is(valueOf(families, 'kubernetes_feature_enabled', { name: 'A', stage: 'BETA' }), 1);
  assert.is(valueOf(families, 'kubernetes_feature_enabled', { name: 'B', stage: '' }), 0);
  assert.is(valueOf(families, 'kubeproxy_config_hash_info', { running: 'aa', file: 'bb' }), 1);
  assert.is(valueOf(families, 'kubeproxy_service_health_ports', { state: 'failed' }), 1);
});

values('a source that throws costs its own metrics only', async () => {
  const faults: string[] = [];
  const metrics = createMetrics({ version: '0', now: () => NOW, onFault: (metric) => void faults.push(metric) });
  open.push(metrics);
  metrics.useBackend({ name: 'iptables', families: BOTH, usesConntrack: true });
  metrics.setSources({
    changes: () => {
      throw new Error('no');
    },
    // The first of them is as it should be.
    source: () => [1, -1].map((lists) => ({ ...SOURCE, resource: `r${lists}`, lists })),
  });
  const families = await shown(metrics);
  assert.is(families.get('kubeproxy_sync_proxy_rules_service_changes_total')!.samples.length, 0);
  assert.is(valueOf(families, 'kubeproxy_sync_proxy_rules_duration_seconds_count', { ip_family: 'IPv4' }), 0);
  assert.ok(faults.includes('kubeproxy_sync_proxy_rules_service_changes_total'));
  assert.is(families.get('kubeproxy_source_lists_total')!.samples.length, 0);
  assert.is(families.get('kubeproxy_source_objects')!.samples.length, 2);
});

values('reading the configuration file is shown, and counted when the file changed', async () => {
  const metrics = metricsOf('iptables');
  metrics.configLoaded({ ok: true, changed: false });
  const first = await shown(metrics);
  assert.is(valueOf(first, 'kubeproxy_config_last_reload_successful'), 1);
  assert.is(valueOf(first, 'kubeproxy_config_last_reload_timestamp_seconds'), NOW / 1000);
  metrics.configLoaded({ ok: false, changed: true });
  const families = await shown(metrics);
  assert.is(valueOf(families, 'kubeproxy_config_last_reload_successful'), 0);
  assert.is(valueOf(families, 'kubeproxy_config_reloads_total', { result: 'success' }), 0);
  assert.is(valueOf(families, 'kubeproxy_config_reloads_total', { result: 'failure' }), 1);
});

values('faults of a backend are counted by kind, from 0 on', async () => {
  const metrics = metricsOf('iptables');
  metrics.backendFault({ backend: 'iptables', kind: 'rejection' });
  const families = await shown(metrics);
  const count = (kind: string) => valueOf(families, 'kubeproxy_backend_faults_total', { backend: 'iptables', kind });
  assert.equal(['exception', 'rejection', 'refused', 'stall'].map(count), [0, 1, 0, 0]);
});

values('scrapes at the same time share one answer, later ones get a new one', async () => {
  let asked = 0;
  const metrics = metricsOf('iptables');
  metrics.setSources({ serviceHealth: () => ({ open: ++asked, failed: 0 }) });
  const [a, b] = await Promise.all([metrics.text(), metrics.text()]);
  assert.is(a, b);
  assert.is(asked, 1);
  await metrics.text();
  assert.is(asked, 2);
});

values.after(() => {
  for (const metrics of open) metrics.close();
});

names.run();
values.run();
