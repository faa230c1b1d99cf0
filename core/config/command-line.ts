/**
 * The command line: words in, typed flag values and a command out, with every fault of it collected.
 *
 *   kube-proxy [COMMAND [OPERAND]] [--flag value | --flag=value | --bool | -v 2 | -v2]…
 *
 * Spelling is Go's (pflag): a boolean takes its value only after "=", every other flag also from the next word.
 */
import { parseArgs } from 'node:util';
import type { Flag } from './flag.ts';
import { FLAG_LIST, FLAGS, type FlagName, type FlagValues } from './flags.ts';

/** `run` is the daemon: no command word at all. */
export type Command = 'run' | (typeof COMMANDS)[number];
export const COMMANDS = ['render', 'cleanup', 'plugins', 'plugin new', 'plugin test', 'version', 'help'] as const;
/** Those that take one word more, and what it is. */
export const OPERANDS: Readonly<Partial<Record<Command, string>>> = { 'plugin new': 'NAME', 'plugin test': 'FILE' };

/** One thing that is wrong, and where: "--cluster-cidr", or "" for the command line itself. */
export interface Fault {
  readonly where: string;
  readonly what: string;
}

export interface CommandLine {
  readonly command: Command;
  /** What `help` is asked about: `run` for kube-proxy itself. */
  readonly topic: Command;
  /** Of a command in OPERANDS; "" for all others. */
  readonly operand: string;
  /** Complete: where a flag is absent or faulty, its default. */
  readonly values: FlagValues;
  /** The flags that appear on the command line, by their main name. */
  readonly given: ReadonlySet<FlagName>;
  /** The names under which they appear there: --backend has two. */
  readonly spellings: ReadonlyMap<FlagName, ReadonlySet<string>>;
  readonly faults: readonly Fault[];
}

/** Commands that answer whatever else is on the line. */
export const INFORMS: readonly Command[] = ['help', 'version'];

const byName = new Map<string, readonly [FlagName, Flag<unknown>]>();
for (const entry of FLAG_LIST) {
  byName.set(entry[0], entry);
  if (entry[1].alias) byName.set(entry[1].alias, entry);
}

export function parseCommandLine(argv: readonly string[]): CommandLine {
  const faults: Fault[] = [];
  const words: string[] = [];
  const read = new Map<FlagName, { readonly as: string; readonly text: string; readonly value: unknown }>();

  const spellings = new Map<FlagName, Set<string>>();
  const tokens = tokenize(argv);
  for (const [at, token] of tokens.entries()) {
    if (token.kind === 'positional') {
      // The value of an unknown flag cannot be told from a stray word; the flag has been complained about already.
      const before = tokens[at - 1];
      if (before?.kind === 'option' && !byName.has(before.name) && before.value === undefined) continue;
      words.push(token.value);
    }
    if (token.kind !== 'option') continue;

    const entry = byName.get(token.name);
    const where = token.rawName;
    if (!entry) {
      const near = nearest(token.name, [...byName.keys()]);
      faults.push({ where, what: `unknown flag${near ? `; did you mean --${near}?` : '; see kube-proxy --help'}` });
      continue;
    }
    const [name, { kind }] = entry;
    const text = token.value ?? kind.bare;
    if (text === undefined) {
      faults.push({ where, what: `needs a value: ${where}=${kind.placeholder}` });
      continue;
    }
    const parsed = kind.parse(text);
    for (const what of parsed.faults) faults.push({ where, what });
    if (parsed.faults.length > 0) continue;

    const earlier = read.get(name);
    if (earlier && earlier.as !== token.name && earlier.text !== text) {
      faults.push({ where, what: `"${text}" contradicts --${earlier.as}="${earlier.text}"; they are the same flag` });
    }
    const value = earlier && kind.join ? kind.join(earlier.value, parsed.value) : parsed.value;
    read.set(name, { as: token.name, text, value });
    spellings.set(name, (spellings.get(name) ?? new Set()).add(token.name));
  }

  const values = Object.fromEntries(
    FLAG_LIST.map(([name, flag]) => [name, (read.get(name) ?? flag.kind.parse(flag.default)).value]),
  ) as FlagValues;
  const chosen = commandOf(words, values);
  faults.push(...chosen.faults);
  for (const [name, flag] of FLAG_LIST) {
    const only: readonly Command[] = [flag.only ?? []].flat();
    if (only.length > 0 && !only.includes(chosen.command) && read.has(name) && !INFORMS.includes(chosen.command)) {
      const alone = only.includes('run');
      const what = alone
        ? `cannot be combined with the command ${chosen.command}`
        : `is for kube-proxy ${only.join(' and kube-proxy ')} only`;
      faults.push({ where: `--${name}`, what });
    }
  }
  return { ...chosen, values, given: new Set(read.keys()), spellings, faults };
}

function tokenize(argv: readonly string[]) {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = {};
  for (const [name, { kind, short }] of FLAG_LIST) {
    options[name] = { type: kind.bare === undefined ? 'string' : 'boolean', ...(short ? { short } : {}) };
  }
  options[FLAGS.backend.alias ?? 'backend'] = { type: 'string' };
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true, allowPositionals: true });
  // pflag also takes "-v=2", which parseArgs reads as -v with the value "=2".
  return tokens.map((token) =>
    token.kind === 'option' && !token.rawName.startsWith('--') && token.inlineValue && token.value?.startsWith('=')
      ? { ...token, value: token.value.slice(1) }
      : token,
  );
}

function commandOf(
  given: readonly string[],
  values: FlagValues,
): Pick<CommandLine, 'command' | 'topic' | 'operand' | 'faults'> {
  const faults: Fault[] = [];
  const complain = (what: string): void => void faults.push({ where: '', what });
  const words = [...given];

  let command: Command = 'run';
  let topic: Command = 'run';
  let operand = '';
  const first = takeCommand(words);
  if (typeof first === 'object') complain(`unknown command "${first.unknown}"; ${meant(first.unknown)}`);
  else if (first) command = first;
  if (command === 'help') {
    const about = takeCommand(words);
    if (typeof about === 'object') complain(`no help on "${about.unknown}"; ${meant(about.unknown)}`);
    else if (about) topic = about;
  }
  const wanted = OPERANDS[command];
  if (wanted) operand = words.shift() ?? '';
  if (wanted && operand === '' && !values.help)
    complain(`${command} needs one word more: kube-proxy ${command} ${wanted}`);
  for (const extra of words) complain(`unexpected argument "${extra}"`);

  for (const flag of ['cleanup', 'version'] as const) {
    if (!values[flag] || command === flag || command === 'help') continue;
    if (command === 'run') command = flag;
    else faults.push({ where: `--${flag}`, what: `cannot be combined with the command ${command}` });
  }
  if (values.help && command !== 'help') {
    topic = command;
    command = 'help';
  }
  return { command, topic, operand, faults };
}

/** The command at the beginning of the words, which are then those after it. */
function takeCommand(words: string[]): Exclude<Command, 'run'> | { readonly unknown: string } | undefined {
  for (const length of [2, 1]) {
    const found = COMMANDS.find((command) => command === words.slice(0, length).join(' '));
    if (found === undefined) continue;
    words.splice(0, length);
    return found;
  }
  const isHalf = COMMANDS.some((command) => command.startsWith(`${words[0]} `));
  const unknown = words.splice(0, isHalf ? 2 : 1).join(' ');
  return unknown === '' ? undefined : { unknown };
}

function meant(unknown: string): string {
  const longer = COMMANDS.filter((command) => command.startsWith(`${unknown} `));
  if (longer.length > 0) {
    const whole = longer.map((command) => `kube-proxy ${command} ${OPERANDS[command] ?? ''}`.trimEnd());
    return `it needs a word more: ${whole.join(', ')}`;
  }
  const near = nearest(unknown, COMMANDS);
  const isBoolean = unknown === 'true' || unknown === 'false';
  return (
    (near ? `did you mean ${near}?` : `there are ${COMMANDS.join(', ')}`) +
    (isBoolean ? ` (the value of a boolean flag follows "=": --flag=${unknown})` : '')
  );
}

/** The known name that `given` is most likely a misspelling of, if any is near enough. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  const wanted = given.toLowerCase().replaceAll('_', '-');
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(wanted.length / 4)) + 1;
  for (const name of known) {
    if (name.length < 2) continue;
    const distance = editDistance(wanted, name);
    // Better than any count of typing slips: the beginning of a long name, as in --nodeport.
    const effective = wanted.length >= 4 && name.startsWith(wanted) ? 1 : distance;
    if (effective < bestDistance && effective < wanted.length) {
      best = name;
      bestDistance = effective;
    }
  }
  return best;
}

/** Levenshtein's distance: single characters put in, left out or replaced. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
