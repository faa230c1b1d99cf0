/**
 * Every metric of the program's own: name, type, labels, buckets, and with which backends it exists. The first part is
 * kube-proxy 1.36's to the letter, so that dashboards, alerts and keep-lists made for it work unchanged; the second is
 * ours.
 *
 *   kubeproxy_*   kubernetes_*   rest_client_*   registered_metrics_total     this file
 *   process_*     nodejs_*                                                    metrics-process.ts
 *   kubeproxy_* of a backend's own                                            metrics-plugin.ts
 *
 * `go_*` has no counterpart: what a goroutine counts does not exist here, and a series that lies is worse than an
 * empty panel. nodejs_eventloop_* and nodejs_heap_* say what one wants to learn from it.
 */

export interface MetricRow {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds; histograms only. */
  readonly buckets: readonly number[];
  /** As Kubernetes means it; its components begin the help text with it. */
  readonly stability: 'ALPHA' | 'BETA';
  readonly shows: Shows;
}

/**
 * With which backends a metric is shown: all of them, those named, `partial` (all but ipvs, of which the reference
 * knows no partial syncs) or `conntrack` (those that use it). With the reference's modes this is what it shows there.
 */
export type Shows = 'always' | 'partial' | 'conntrack' | readonly string[];

const FAMILY = ['ip_family'] as const;
const RESOURCE = ['resource'] as const;

/** 1 ms doubling up to 16.384 s. */
export const SYNC_BUCKETS: readonly number[] = Array.from({ length: 15 }, (_, power) => 0.001 * 2 ** power);

/** Dense up to a minute: the scalability objective for it is stated in seconds. */
export const NETWORK_PROGRAMMING_BUCKETS: readonly number[] = [
  ...[0.25, 0.5],
  ...linear(1, 1, 59),
  ...linear(60, 5, 12),
  ...linear(120, 30, 7),
];

const REQUEST_SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const REQUEST_BYTES = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216];

export const REFERENCE_METRICS = {
  syncDuration: histogram(
    'kubeproxy_sync_proxy_rules_duration_seconds',
    'Seconds from the start of a sync of one IP family to its end, failed ones included',
    FAMILY,
    SYNC_BUCKETS,
  ),
  fullSyncDuration: histogram(
    'kubeproxy_sync_full_proxy_rules_duration_seconds',
    'The same for syncs of everything',
    FAMILY,
    SYNC_BUCKETS,
    'partial',
  ),
  partialSyncDuration: histogram(
    'kubeproxy_sync_partial_proxy_rules_duration_seconds',
    'The same for syncs of what changed',
    FAMILY,
    SYNC_BUCKETS,
    'partial',
  ),
  lastSync: gauge(
    'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
    'When the last successful sync of the family ended, in seconds since the epoch',
    FAMILY,
  ),
  lastQueued: gauge(
    'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds',
    'When a sync of the family was last asked for, in seconds since the epoch',
    FAMILY,
  ),
  networkProgramming: histogram(
    'kubeproxy_network_programming_duration_seconds',
    'Seconds from the change of a Service or Pod, as the control plane stamped it, until it was in the data plane',
    FAMILY,
    NETWORK_PROGRAMMING_BUCKETS,
  ),
  endpointChangesPending: gauge(
    'kubeproxy_sync_proxy_rules_endpoint_changes_pending',
    'Services whose endpoints changed and are not programmed yet',
  ),
  endpointChanges: counter(
    'kubeproxy_sync_proxy_rules_endpoint_changes_total',
    'Changes of EndpointSlices that made a difference',
  ),
  serviceChangesPending: gauge(
    'kubeproxy_sync_proxy_rules_service_changes_pending',
    'Services that changed and are not programmed yet',
  ),
  serviceChanges: counter(
    'kubeproxy_sync_proxy_rules_service_changes_total',
    'Changes of Services that made a difference',
  ),
  noLocalEndpoints: gauge(
    'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
    'Service ports with traffic policy Local that have endpoints, but none on this node',
    ['traffic_policy', 'ip_family'],
  ),
  healthz: counter('kubeproxy_proxy_healthz_total', 'Answers of /healthz of the health server, by status', ['code']),
  livez: counter('kubeproxy_proxy_livez_total', 'Answers of /livez of the health server, by status', ['code']),
  iptablesRules: gauge(
    'kubeproxy_sync_proxy_rules_iptables_total',
    'Rules that this program has in the table',
    ['table', 'ip_family'],
    ['iptables'],
  ),
  iptablesRulesLast: gauge(
    'kubeproxy_sync_proxy_rules_iptables_last',
    'Rules that the last sync wrote to the table',
    ['table', 'ip_family'],
    ['iptables'],
  ),
  iptablesFailures: counter(
    'kubeproxy_sync_proxy_rules_iptables_restore_failures_total',
    'Syncs that iptables-restore refused, or with ipvs the kernel',
    FAMILY,
    ['iptables', 'ipvs'],
  ),
  iptablesPartialFailures: counter(
    'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total',
    'Syncs of what changed that iptables-restore refused; each is repeated in full',
    FAMILY,
    ['iptables'],
  ),
  nftablesSyncFailures: counter(
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total',
    'Transactions that nf_tables refused',
    FAMILY,
    ['nftables'],
  ),
  nftablesCleanupFailures: counter(
    'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total',
    'Failures to remove chains that were no longer in use; 0 where that is part of the sync itself',
    FAMILY,
    ['nftables'],
  ),
  conntrackDuration: histogram(
    'kubeproxy_conntrack_reconciler_sync_duration_seconds',
    'Seconds that a pass over conntrack for stale UDP flows took',
    FAMILY,
    SYNC_BUCKETS,
    'conntrack',
  ),
  conntrackDeleted: counter(
    'kubeproxy_conntrack_reconciler_deleted_entries_total',
    'Stale UDP flows deleted from conntrack',
    FAMILY,
    'conntrack',
  ),
  requests: counter(
    'rest_client_requests_total',
    'Requests to the API server, by status ("<error>" when there was no answer), method and host',
    ['code', 'method', 'host'],
  ),
  requestDuration: histogram(
    'rest_client_request_duration_seconds',
    'Seconds from sending a request to the headers of the answer, by verb and host',
    ['verb', 'host'],
    REQUEST_SECONDS,
  ),
  requestSize: histogram(
    'rest_client_request_size_bytes',
    'Bytes in the body of a request, by verb and host',
    ['verb', 'host'],
    REQUEST_BYTES,
  ),
  responseSize: histogram(
    'rest_client_response_size_bytes',
    'Bytes in the body of an answer that is no watch, by verb and host',
    ['verb', 'host'],
    REQUEST_BYTES,
  ),
  rateLimiter: histogram(
    'rest_client_rate_limiter_duration_seconds',
    'Seconds that our own rate limit held a request back, by verb and host',
    ['verb', 'host'],
    REQUEST_SECONDS,
  ),
  requestRetries: counter(
    'rest_client_request_retries_total',
    'Requests sent again, by the status that led to it, verb and host',
    ['code', 'verb', 'host'],
  ),
  buildInfo: beta(
    gauge('kubernetes_build_info', 'Always 1; the labels say which Kubernetes this behaves like and what was built', [
      'major',
      'minor',
      'git_version',
      'git_commit',
      'git_tree_state',
      'build_date',
      'go_version',
      'compiler',
      'platform',
    ]),
  ),
  features: beta(
    gauge('kubernetes_feature_enabled', 'Feature gates: 1 is on, 0 is off; stage "" is general availability', [
      'name',
      'stage',
    ]),
  ),
  registered: counter('registered_metrics_total', 'Metrics that exist, by stability', [
    'stability_level',
    'deprecated_version',
  ]),
} as const satisfies Record<string, MetricRow>;

export const OUR_METRICS = {
  backendFaults: counter(
    'kubeproxy_backend_faults_total',
    'What a backend did wrong outside its answers: exception, rejection, refused (process.exit and the like), stall',
    ['backend', 'kind'],
  ),
  backendInfo: gauge('kubeproxy_backend_info', 'Always 1; the label names the backend in use', ['backend']),
  syncFailures: counter('kubeproxy_sync_failures_total', 'Syncs that failed, whatever the backend', FAMILY),
  syncOperations: counter(
    'kubeproxy_sync_operations_total',
    'Rules, elements or servers that syncs wrote or deleted',
    FAMILY,
  ),
  syncBytes: counter('kubeproxy_sync_written_bytes_total', 'Bytes that syncs handed to the kernel or a tool', FAMILY),
  servicePorts: gauge('kubeproxy_service_ports', 'Service ports that are programmed', FAMILY),
  backendObjects: gauge('kubeproxy_backend_objects', 'What the data plane holds, in the terms of the backend', [
    'kind',
    'ip_family',
  ]),
  serviceHealthPorts: gauge(
    'kubeproxy_service_health_ports',
    'healthCheckNodePorts of Services, by whether they could be opened',
    ['state'],
  ),
  sourceAge: gauge(
    'kubeproxy_source_age_seconds',
    'Seconds since the source last heard of this kind of object: how old what is programmed may be',
    RESOURCE,
  ),
  sourceSynced: gauge('kubeproxy_source_synced', '1 once the first complete list of this kind came', RESOURCE),
  sourceObjects: gauge('kubeproxy_source_objects', 'Objects of this kind that are known', RESOURCE),
  sourceLists: counter(
    'kubeproxy_source_lists_total',
    'Complete states of this kind received, the first one included',
    RESOURCE,
  ),
  sourceWatches: counter('kubeproxy_source_watches_total', 'Watches of this kind opened', RESOURCE),
  sourceFailures: counter('kubeproxy_source_failures_total', 'Lists and watches of this kind that failed', RESOURCE),
  configReloadOk: gauge(
    'kubeproxy_config_last_reload_successful',
    '1 if the configuration file as it is now is in force, 0 if it was refused and the one before it is kept',
  ),
  configReloadTime: gauge(
    'kubeproxy_config_last_reload_timestamp_seconds',
    'When the configuration file was last read, in seconds since the epoch',
  ),
  configReloads: counter('kubeproxy_config_reloads_total', 'Changed configuration files read, by result', ['result']),
  configHash: gauge(
    'kubeproxy_config_hash_info',
    'Always 1; the labels are the hashes of the configuration in force and of the file',
    ['running', 'file'],
  ),
} as const satisfies Record<string, MetricRow>;

function counter(name: string, help: string, labels: readonly string[] = [], shows: Shows = 'always'): MetricRow {
  return { name, type: 'counter', help, labels, buckets: [], stability: 'ALPHA', shows };
}

function gauge(name: string, help: string, labels: readonly string[] = [], shows: Shows = 'always'): MetricRow {
  return { name, type: 'gauge', help, labels, buckets: [], stability: 'ALPHA', shows };
}

function histogram(
  name: string,
  help: string,
  labels: readonly string[],
  buckets: readonly number[],
  shows: Shows = 'always',
): MetricRow {
  return { name, type: 'histogram', help, labels, buckets, stability: 'ALPHA', shows };
}

function beta(row: MetricRow): MetricRow {
  return { ...row, stability: 'BETA' };
}

function linear(first: number, step: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => first + step * at);
}
