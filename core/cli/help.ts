/**
 * What --help prints, made from the tables of flags and backends: 100 columns, flags grouped and aligned.
 */
import type { Command } from '../config/command-line.ts';
import { FLAG_GROUPS, type Flag, type FlagGroup } from '../config/flag.ts';
import { FLAG_LIST, type FlagName } from '../config/flags.ts';
import { BUILT_IN } from './backends.ts';

const COLUMNS = 100;
/** Where the explanation of a flag begins; a longer flag has its explanation on the next line. */
const HELP_COLUMN = 34;

export interface Topic {
  readonly usage: string;
  readonly about: string;
  readonly groups: readonly FlagGroup[];
  readonly examples: readonly (readonly [command: string, what: string])[];
}

const RUN: Topic = {
  usage: 'kube-proxy [FLAGS]',
  about: 'Serves the Services of a Kubernetes cluster on this node: programs one data plane and keeps it so.',
  groups: Object.keys(FLAG_GROUPS).filter(
    (group): group is FlagGroup => !['render', 'plugins', 'pluginTest'].includes(group),
  ),
  examples: [
    ['kube-proxy --config /var/lib/kube-proxy/config.conf', 'serve a cluster, by the ConfigMap that kubeadm makes'],
    [
      'kube-proxy --manifests /etc/kube-proxy/manifests --cluster-cidr 10.244.0.0/16',
      'serve what a folder of manifests says',
    ],
    ['kube-proxy --manifests web.yaml --backend dry-run', 'change nothing, say what would be served'],
    ['kube-proxy render --manifests web.yaml --family IPv4 | less', 'read the rules, on any machine, as any user'],
  ],
};

export const TOPICS: Readonly<Record<Command, Topic>> = {
  run: RUN,
  help: RUN,
  render: {
    usage: 'kube-proxy render --manifests PATH [FLAGS]',
    about:
      'Prints what a first sync would write on an empty host. Reads manifests and nothing of this machine, needs no ' +
      'privilege and changes nothing. The node is --hostname-override, else the only Node of the manifests.',
    groups: ['config', 'source', 'backend', 'node', 'traffic', 'log', 'render'],
    examples: [
      ['kube-proxy render --manifests web.yaml', 'the rules of both IP families'],
      ['kube-proxy render --manifests web.yaml --backend dry-run', 'the same as one line for each service port'],
      ['kube-proxy render --manifests web.yaml --node-addresses 192.168.0.10', 'as on a node with this address'],
    ],
  },
  cleanup: {
    usage: 'kube-proxy cleanup [--config FILE | --backend FILE|NAME]',
    about:
      'Removes everything that any built-in backend ever made on this host, and nothing else. Rules outlive ' +
      'kube-proxy on purpose; this is the way to be rid of them. What exec or a plugin made it removes when --config or ' +
      '--backend names that one, with its options. Status 1 if anything could not be removed.',
    groups: ['config', 'backend', 'log'],
    examples: [
      ['kube-proxy cleanup', 'after the last kube-proxy of this node has ended'],
      ['kube-proxy --cleanup', 'the same, as other kube-proxies spell it'],
      ['kube-proxy cleanup -v 4', 'with stack traces of what failed'],
    ],
  },
  plugins: {
    usage: 'kube-proxy plugins [--plugin-dir DIR] [--backend FILE]',
    about:
      'Lists the built-in backends, those of --plugin-dir and the one that --backend names, each with what it supports ' +
      'on this very node, found by trying, and why not. Changes nothing (iptables itself makes an empty table when it is ' +
      'tried); most backends can be tried as root only.',
    groups: ['plugins', 'backend', 'log'],
    examples: [['kube-proxy plugins', 'what --backend could be on this node']],
  },
  'plugin new': {
    usage: 'kube-proxy plugin new NAME',
    about: 'Writes a backend that works, with its test and the types of the contract, into the new folder NAME.',
    groups: [],
    examples: [
      ['kube-proxy plugin new my-backend && kube-proxy plugin test my-backend/my-backend.js', 'begin and check'],
    ],
  },
  'plugin test': {
    usage: 'kube-proxy plugin test FILE|NAME',
    about:
      'Runs the conformance kit on a backend, built in or in a file, and reports which behaviours of the contract hold, ' +
      'which do not, and what could not be tried here. Status 1 if one does not hold.',
    groups: ['pluginTest', 'plugins', 'backend', 'log'],
    examples: [['kube-proxy plugin test ./my-backend.js', 'before you run it on a node']],
  },
  version: {
    usage: 'kube-proxy version',
    about: 'Prints the version of the program, its commit, Node.js and the plugin API, and exits.',
    groups: [],
    examples: [],
  },
};

export const COMMAND_LIST: readonly (readonly [string, string])[] = [
  ['kube-proxy', 'keep running and serve (this is the daemon)'],
  ['kube-proxy render', 'print the rules for given manifests, offline'],
  ['kube-proxy cleanup', 'remove what kube-proxy made on this host'],
  ['kube-proxy plugins', 'list the backends, and what each supports on this node'],
  ['kube-proxy plugin new NAME', 'write the skeleton of a backend of your own'],
  ['kube-proxy plugin test FILE', 'check a backend against the contract'],
  ['kube-proxy version', 'print the version'],
  ['kube-proxy help [COMMAND]', 'print this, or more on one command'],
];

export function helpText(command: Command): string {
  const topic = TOPICS[command];
  const lines = [`Usage: ${topic.usage}`, '', ...wrap(topic.about, COLUMNS)];
  const isMain = topic === RUN;
  if (isMain) {
    lines.push('', 'Commands', ...COMMAND_LIST.flatMap(([name, what]) => entry(name, what)));
    lines.push('', 'Backends', ...BUILT_IN.flatMap(({ name, summary }) => entry(name, summary)));
  }
  for (const group of topic.groups) {
    const flags = FLAG_LIST.filter(([, flag]) => flag.group === group);
    lines.push('', FLAG_GROUPS[group], ...flags.flatMap(([name, flag]) => flagLines(name, flag)));
  }
  if (topic.examples.length > 0) {
    lines.push('', 'Examples');
    for (const [example, what] of topic.examples) lines.push(`  # ${what}`, `  ${example}`);
  }
  return `${lines.join('\n')}\n`;
}

function flagLines(name: FlagName, flag: Flag<unknown>): readonly string[] {
  const spellings =
    name.length === 1 ? [`-${name}, --${name}`] : [flag.short ? `-${flag.short}, --${name}` : `--${name}`];
  if (flag.alias) spellings.push(`--${flag.alias}`);
  const head = `${spellings.join(', ')}${flag.kind.placeholder ? ` ${flag.kind.placeholder}` : ''}`;
  const byDefault = flag.default === '' || flag.default === 'false' ? '' : ` (default ${flag.default})`;
  return entry(head, flag.help + byDefault);
}

/** Two columns; the second goes on below itself. */
function entry(name: string, what: string): readonly string[] {
  const indent = ' '.repeat(HELP_COLUMN);
  const lines = wrap(what, COLUMNS - HELP_COLUMN).map((line) => indent + line);
  const head = `  ${name}`;
  if (head.length + 2 > HELP_COLUMN) return [head, ...lines];
  return [head.padEnd(HELP_COLUMN) + lines[0]!.trimStart(), ...lines.slice(1)];
}

/** Words in lines of at most `columns`. */
function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
