/**
 * Every flag, once: this table parses the command line, says which field of the configuration a flag sets, and prints
 * --help, so the three cannot disagree. Names, defaults and meanings are those of the reference wherever it has the
 * flag. Here are those with a meaning of their own; they count whether there is a file or not.
 */
import { FIELD_FLAGS } from './field-flags.ts';
import { type Flag, flag } from './flag.ts';
import { bool, cidrList, ipList, oneOf, text } from './kinds.ts';

export const FLAGS = {
  config: flag(
    'config',
    text('FILE'),
    '',
    'A KubeProxyConfiguration in YAML or JSON; edits take effect live. Flags that stand for one of its fields are ' +
      'then ignored, except those of the log, --hostname-override, --backend, --plugin-dir and --backend-option.',
  ),

  manifests: flag(
    'source',
    text('PATH'),
    '',
    'A file or a folder of YAML or JSON manifests; edits take effect live. Without it Services come from the ' +
      "cluster's API server.",
  ),

  master: flag('api', text('URL'), '', 'The API server; wins over the one that the kubeconfig names.'),

  // Its two names are two fields: --backend also takes a third party's name or file, and wins over --config.
  backend: flag(
    'backend',
    text('NAME'),
    'iptables',
    "The data plane to program: one of Backends, a plugin's file (a path with a / in it, ./my-backend.js), or the name " +
      'of one in --plugin-dir.',
    { alias: 'proxy-mode' },
  ),

  'service-cidr': flag(
    'traffic',
    cidrList,
    '',
    'The ranges ClusterIPs are allocated from; used by nftables, ipvs and userspace.',
  ),

  family: flag('render', oneOf('FAMILY', ['both', 'IPv4', 'IPv6']), 'both', 'IPv4, IPv6 or both.', { only: 'render' }),
  'node-addresses': flag(
    'render',
    ipList,
    '',
    "The addresses on the node's interfaces; loopback is added. Default: those of its Node object.",
    { only: 'render' },
  ),

  output: flag('plugins', oneOf('FORMAT', ['text', 'json']), 'text', 'text or json.', {
    only: ['plugins', 'plugin test'],
  }),

  packets: flag(
    'pluginTest',
    oneOf('WHEN', ['auto', 'no', 'only']),
    'auto',
    'Whether connections are made through a kernel that the backend programs: auto, where that is possible; no; or ' +
      'only that.',
    { only: 'plugin test' },
  ),

  'write-config-to': flag(
    'command',
    text('FILE'),
    '',
    'Write the configuration in force, with every default, to this file, and exit.',
    { only: 'run' },
  ),
  'init-only': flag(
    'command',
    bool,
    'false',
    'Do what needs full privilege (sysctls) and exit; later runs then need only CAP_NET_ADMIN.',
    { only: 'run' },
  ),
  cleanup: flag('command', bool, 'false', 'As the command cleanup.'),
  version: flag('command', bool, 'false', 'As the command version.'),
  help: flag('command', bool, 'false', 'This text.', { short: 'h' }),

  ...FIELD_FLAGS,
} as const;

export type FlagName = keyof typeof FLAGS;
/** The typed value of every flag. */
export type FlagValues = {
  readonly [Name in FlagName]: (typeof FLAGS)[Name] extends Flag<infer T> ? T : never;
};

/** The table with the types of values forgotten, for code that treats all flags alike. */
export const FLAG_LIST = Object.entries(FLAGS) as readonly (readonly [FlagName, Flag<unknown>])[];
