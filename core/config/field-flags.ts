/**
 * The flags that stand for fields of the configuration, with the names and defaults of the reference. Where --config
 * names a file they are ignored, except those that say WINS.
 */
import { field } from './flag.ts';
import { bool, boolMap, duration, float, int, int32, keyValue, list, oneOf, text, vmodule } from './kinds.ts';
import { NO_EFFECT } from './no-effect.ts';

const WINS = { besideFile: 'wins' } as const;

export const FIELD_FLAGS = {
  'feature-gates': field(
    'config',
    'featureGates',
    boolMap,
    '',
    'Feature gates by name, for example AllowServiceExternalIPs=false; those that mean nothing here are ignored.',
  ),

  kubeconfig: field(
    'api',
    'clientConnection.kubeconfig',
    text('FILE'),
    '',
    "How to reach the API server. Default: by the pod's service account, unless --master names a server.",
  ),
  'kube-api-qps': field(
    'api',
    'clientConnection.qps',
    float,
    '5',
    'Requests per second to the API server in the long run.',
  ),
  'kube-api-burst': field(
    'api',
    'clientConnection.burst',
    int32('COUNT'),
    '10',
    'Requests that may go out at once before --kube-api-qps limits them.',
  ),
  'backend-option': field(
    'backend',
    'backendOptions',
    keyValue,
    '',
    'An option of the backend itself, by its README; repeatable.',
    WINS,
  ),
  'plugin-dir': field(
    'backend',
    'pluginDir',
    text('DIR'),
    '',
    'Where a backend that is not built in is looked for by its name: DIR/NAME.js (or .mjs, .cjs, .ts), or the folder ' +
      'DIR/NAME with an index of one of these kinds.',
    WINS,
  ),
  'ipvs-scheduler': field(
    'ipvs',
    'ipvs.scheduler',
    text('NAME'),
    '',
    'The scheduler of IPVS, whichever the kernel has. Default: rr.',
  ),
  'ipvs-exclude-cidrs': field(
    'ipvs',
    'ipvs.excludeCIDRs',
    list('CIDR,…'),
    '',
    'Virtual servers in these ranges are not ours to remove.',
  ),
  'ipvs-strict-arp': field(
    'ipvs',
    'ipvs.strictARP',
    bool,
    'false',
    'Answer ARP only for addresses of the interface asked, as MetalLB needs.',
  ),

  'hostname-override': field(
    'node',
    'hostnameOverride',
    text('NAME'),
    '',
    "The name of this node's Node object instead of the hostname.",
    WINS,
  ),
  'bind-address': field(
    'node',
    'bindAddress',
    text('IP'),
    '0.0.0.0',
    "Replaces the node's primary IP, unless it is 0.0.0.0 or ::.",
  ),
  'detect-local-mode': field(
    'node',
    'detectLocalMode',
    text('MODE'),
    'ClusterCIDR',
    "How connections from this node's pods are told: by source in --cluster-cidr, by source in the Node's " +
      'podCIDRs (NodeCIDR), by --pod-bridge-interface (BridgeInterface) or by --pod-interface-name-prefix ' +
      '(InterfaceNamePrefix).',
  ),
  'cluster-cidr': field(
    'node',
    'clusterCIDR',
    text('CIDR,…'),
    '',
    'The range of pod IPs: one CIDR, or one of each IP family.',
  ),
  'pod-bridge-interface': field(
    'node',
    'detectLocal.bridgeInterface',
    text('NAME'),
    '',
    'The bridge that the pods of this node are behind.',
  ),
  'pod-interface-name-prefix': field(
    'node',
    'detectLocal.interfaceNamePrefix',
    text('PREFIX'),
    '',
    "How the names of the pods' interfaces begin.",
  ),

  'nodeport-addresses': field(
    'traffic',
    'nodePortAddresses',
    list('CIDR,…'),
    '',
    'Node ports answer on the node addresses in these CIDRs; "primary" means the node IPs. Default: on all.',
  ),
  'iptables-localhost-nodeports': field(
    'traffic',
    'iptables.localhostNodePorts',
    bool,
    'true',
    'Node ports answer on 127.0.0.0/8 too (IPv4 only; never with the backend ipvs, whose kernel part forbids it).',
  ),
  'masquerade-all': field(
    'traffic',
    ['iptables.masqueradeAll', 'nftables.masqueradeAll'],
    bool,
    'false',
    'Masquerade everything sent to a ClusterIP, whoever sends it.',
  ),
  'iptables-masquerade-bit': field(
    'traffic',
    'iptables.masqueradeBit',
    int32('BIT'),
    '14',
    'The bit of the packet mark to use, 0 to 31.',
  ),

  'iptables-sync-period': field(
    'sync',
    ['iptables.syncPeriod', 'nftables.syncPeriod'],
    duration,
    '30s',
    'The longest pause before a failed sync is tried again, and between two looks for foreign changes (which are ' +
      'never more than 5s apart). Applies to every backend except ipvs.',
  ),
  'iptables-min-sync-period': field(
    'sync',
    ['iptables.minSyncPeriod', 'nftables.minSyncPeriod'],
    duration,
    '1s',
    'The pause between two syncs at the least. Applies to every backend except ipvs.',
  ),
  'ipvs-sync-period': field(
    'ipvs',
    'ipvs.syncPeriod',
    duration,
    '30s',
    'As --iptables-sync-period, for the ipvs backend.',
  ),
  'ipvs-min-sync-period': field(
    'ipvs',
    'ipvs.minSyncPeriod',
    duration,
    '0s',
    'As --iptables-min-sync-period, for the ipvs backend.',
  ),

  'conntrack-max-per-core': field(
    'kernel',
    'conntrack.maxPerCore',
    int32('COUNT'),
    '32768',
    'Connections tracked at most, for each CPU; 0 leaves the limit as it is.',
  ),
  'conntrack-min': field(
    'kernel',
    'conntrack.min',
    int32('COUNT'),
    '131072',
    'The least that the limit is set to, however few CPUs there are.',
  ),
  'conntrack-tcp-timeout-established': field(
    'kernel',
    'conntrack.tcpEstablishedTimeout',
    duration,
    '24h',
    'How long an idle TCP connection stays tracked; 0 leaves it as it is.',
  ),
  'conntrack-tcp-timeout-close-wait': field(
    'kernel',
    'conntrack.tcpCloseWaitTimeout',
    duration,
    '1h',
    'The same for one in CLOSE_WAIT.',
  ),
  'conntrack-tcp-be-liberal': field(
    'kernel',
    'conntrack.tcpBeLiberal',
    bool,
    'false',
    'Set the sysctl nf_conntrack_tcp_be_liberal, and do not drop packets that conntrack calls INVALID.',
  ),
  'conntrack-udp-timeout': field(
    'kernel',
    'conntrack.udpTimeout',
    duration,
    '0s',
    'How long a UDP flow without an answer stays tracked; 0 leaves it as it is.',
  ),
  'conntrack-udp-timeout-stream': field(
    'kernel',
    'conntrack.udpStreamTimeout',
    duration,
    '0s',
    'The same for one that was answered.',
  ),
  'ipvs-tcp-timeout': field(
    'ipvs',
    'ipvs.tcpTimeout',
    duration,
    '0s',
    'How long IPVS keeps an idle TCP connection; 0 leaves it as it is.',
  ),
  'ipvs-tcpfin-timeout': field('ipvs', 'ipvs.tcpFinTimeout', duration, '0s', 'The same after a FIN.'),
  'ipvs-udp-timeout': field('ipvs', 'ipvs.udpTimeout', duration, '0s', 'The same for UDP.'),
  'oom-score-adj': field(
    'kernel',
    'oomScoreAdj',
    int32('SCORE'),
    '-999',
    "This process's oom_score_adj, -1000 to 1000.",
  ),

  'healthz-bind-address': field(
    'serve',
    'healthzBindAddress',
    text('IP:PORT'),
    '0.0.0.0:10256',
    'Where /healthz, /livez and /readyz are served; an empty text, or 0, means nowhere.',
  ),
  'metrics-bind-address': field(
    'serve',
    'metricsBindAddress',
    text('IP:PORT'),
    '127.0.0.1:10249',
    'Where /metrics, /configz and /proxyMode are served; an empty text, or 0, means nowhere.',
  ),
  'healthz-port': field('serve', 'healthzBindAddress', int32('PORT'), '10256', 'Deprecated; 0 means nowhere.', {
    deprecated: 'use --healthz-bind-address, for example 0.0.0.0:10256, or 0 for no such server',
  }),
  'metrics-port': field('serve', 'metricsBindAddress', int32('PORT'), '10249', 'Deprecated; 0 means nowhere.', {
    deprecated: 'use --metrics-bind-address, for example 127.0.0.1:10249, or 0 for no such server',
  }),
  'bind-address-hard-fail': field(
    'serve',
    'bindAddressHardFail',
    bool,
    'false',
    'End when one of these addresses cannot be served on, instead of trying again.',
  ),
  profiling: field('serve', 'enableProfiling', bool, 'false', 'Serve profiles beside the metrics.'),

  v: field(
    'log',
    'logging.verbosity',
    int('LEVEL', 0),
    '0',
    'How much is logged: 0 what changes, 2 every sync too, 4 stack traces too.',
    { short: 'v', ...WINS },
  ),
  'logging-format': field(
    'log',
    'logging.format',
    oneOf('FORMAT', ['text', 'json']),
    'text',
    'How lines of the log look: text or json.',
    WINS,
  ),

  'config-sync-period': field(
    'accepted',
    'configSyncPeriod',
    duration,
    '15m',
    'Nothing has to be looked at again unless a change is reported.',
    { noEffect: NO_EFFECT.resync },
  ),
  'kube-api-content-type': field(
    'accepted',
    'clientConnection.contentType',
    text('TYPE'),
    'application/vnd.kubernetes.protobuf',
    'How requests to the API server are encoded: always as JSON.',
    { noEffect: NO_EFFECT.json },
  ),
  'show-hidden-metrics-for-version': field(
    'accepted',
    'showHiddenMetricsForVersion',
    text('VERSION'),
    '',
    'No metric is hidden.',
    { noEffect: NO_EFFECT.metrics },
  ),
  vmodule: field('accepted', 'logging.vmodule', vmodule, '', 'Verbosity by source file; use -v.', {
    noEffect: NO_EFFECT.vmodule,
    ...WINS,
  }),
  'log-flush-frequency': field('accepted', 'logging.flushFrequency', duration, '5s', 'Lines are written at once.', {
    noEffect: NO_EFFECT.unbuffered,
    ...WINS,
  }),
  'log-text-split-stream': field(
    'accepted',
    'logging.options.text.splitStream',
    bool,
    'false',
    'All lines go to standard error.',
    { noEffect: NO_EFFECT.oneStream, ...WINS },
  ),
  'log-text-info-buffer-size': field(
    'accepted',
    'logging.options.text.infoBufferSize',
    text('SIZE'),
    '0',
    'Lines are written at once.',
    { noEffect: NO_EFFECT.unbuffered, ...WINS },
  ),
  'log-json-split-stream': field(
    'accepted',
    'logging.options.json.splitStream',
    bool,
    'false',
    'All lines go to standard error.',
    { noEffect: NO_EFFECT.oneStream, ...WINS },
  ),
  'log-json-info-buffer-size': field(
    'accepted',
    'logging.options.json.infoBufferSize',
    text('SIZE'),
    '0',
    'Lines are written at once.',
    { noEffect: NO_EFFECT.unbuffered, ...WINS },
  ),
} as const;
