/**
 * Every flag, once: this table parses the command line and prints --help, so the two cannot disagree. Names, defaults
 * and meanings are those of the reference wherever it has the flag.
 */
import { bool, cidrList, duration, int, ip, ipList, type Kind, keyValue, list, oneOf, text } from './kinds.ts';

export interface Flag<T> {
  readonly kind: Kind<T>;
  /** As on the command line; parsed like any other value. */
  readonly default: string;
  readonly help: string;
  readonly group: FlagGroup;
  readonly short?: string;
  /** Another name of this flag. */
  readonly alias?: string;
  /** Means something to this command only; every other refuses it. */
  readonly only?: 'render';
}

export type FlagGroup = keyof typeof FLAG_GROUPS;

/** In the order in which --help prints them. */
export const FLAG_GROUPS = {
  source: 'Where Services come from',
  backend: 'Which data plane',
  node: 'This node',
  traffic: 'What is matched and masqueraded',
  sync: 'When it syncs',
  log: 'Log',
  render: 'Only for kube-proxy render',
  command: 'Instead of running',
} as const;

const flag = <T>(
  group: FlagGroup,
  kind: Kind<T>,
  byDefault: string,
  help: string,
  rest: Partial<Flag<T>> = {},
): Flag<T> => ({ kind, default: byDefault, help, group, ...rest });

export const FLAGS = {
  manifests: flag('source', text('PATH'), '', 'A file or a folder of YAML or JSON manifests; edits take effect live.'),

  backend: flag('backend', text('NAME'), 'iptables', 'The data plane to program; see Backends.', {
    alias: 'proxy-mode',
  }),
  'backend-option': flag('backend', keyValue, '', 'An option of the backend itself, by its README; repeatable.'),

  'hostname-override': flag('node', text('NAME'), '', "The name of this node's Node object instead of the hostname."),
  'bind-address': flag('node', ip, '0.0.0.0', "Replaces the node's primary IP, unless it is 0.0.0.0 or ::."),
  'detect-local-mode': flag(
    'node',
    oneOf('MODE', ['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix']),
    'ClusterCIDR',
    "How connections from this node's pods are told: by source in --cluster-cidr, by source in the Node's " +
      'podCIDRs (NodeCIDR), by --pod-bridge-interface (BridgeInterface) or by --pod-interface-name-prefix ' +
      '(InterfaceNamePrefix).',
  ),
  'cluster-cidr': flag(
    'node',
    list('CIDR,…', 'last counts'),
    '',
    'The range of pod IPs: one CIDR, or one of each IP family.',
  ),
  'pod-bridge-interface': flag('node', text('NAME'), '', 'The bridge that the pods of this node are behind.'),
  'pod-interface-name-prefix': flag('node', text('PREFIX'), '', "How the names of the pods' interfaces begin."),

  'service-cidr': flag('traffic', cidrList, '', 'The ranges ClusterIPs are allocated from; used by nftables.'),
  'nodeport-addresses': flag(
    'traffic',
    list('CIDR,…'),
    '',
    'Node ports answer on the node addresses in these CIDRs; "primary" means the node IPs. Default: on all.',
  ),
  'iptables-localhost-nodeports': flag('traffic', bool, 'true', 'Node ports answer on 127.0.0.0/8 too (IPv4 only).'),
  'masquerade-all': flag('traffic', bool, 'false', 'Masquerade everything sent to a ClusterIP, whoever sends it.'),
  'iptables-masquerade-bit': flag('traffic', int('BIT', 0, 31), '14', 'The bit of the packet mark to use, 0 to 31.'),
  'conntrack-tcp-be-liberal': flag(
    'traffic',
    bool,
    'false',
    'Set the sysctl nf_conntrack_tcp_be_liberal, and do not drop packets that conntrack calls INVALID.',
  ),

  'iptables-sync-period': flag(
    'sync',
    duration,
    '30s',
    'The longest pause before a failed sync is tried again, and between two looks for foreign changes (which are ' +
      'never more than 5s apart). Applies to every backend except ipvs.',
  ),
  'iptables-min-sync-period': flag(
    'sync',
    duration,
    '1s',
    'The pause between two syncs at the least. Applies to every backend except ipvs.',
  ),

  v: flag('log', int('LEVEL', 0), '0', 'How much is logged: 0 what changes, 2 every sync too, 4 stack traces too.', {
    short: 'v',
  }),
  'logging-format': flag('log', oneOf('FORMAT', ['text', 'json']), 'text', 'How lines of the log look: text or json.'),

  family: flag('render', oneOf('FAMILY', ['both', 'IPv4', 'IPv6']), 'both', 'IPv4, IPv6 or both.', { only: 'render' }),
  'node-addresses': flag(
    'render',
    ipList,
    '',
    "The addresses on the node's interfaces; loopback is added. Default: those of its Node object.",
    { only: 'render' },
  ),

  cleanup: flag('command', bool, 'false', 'As the command cleanup.'),
  version: flag('command', bool, 'false', 'As the command version.'),
  help: flag('command', bool, 'false', 'This text.', { short: 'h' }),
} as const;

export type FlagName = keyof typeof FLAGS;
/** The typed value of every flag. */
export type FlagValues = {
  readonly [Name in FlagName]: (typeof FLAGS)[Name] extends Flag<infer T> ? T : never;
};

/** The table with the types of values forgotten, for code that treats all flags alike. */
export const FLAG_LIST = Object.entries(FLAGS) as readonly (readonly [FlagName, Flag<unknown>])[];
