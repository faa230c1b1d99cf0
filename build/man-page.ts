/**
 * The manual page kube-proxy(8), in the macros of man(7), from the very tables that --help is printed from; what no table
 * says is prose in release/man/. What man(1) shows is never typed twice.
 *
 *   NAME SYNOPSIS │ DESCRIPTION │ COMMANDS OPTIONS BACKENDS EXAMPLES │ FILES … SEE ALSO
 *     from tables │  prose      │        from tables               │  prose
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { BUILT_IN } from '../core/cli/backends.ts';
import { COMMAND_LIST, TOPICS, type Topic } from '../core/cli/help.ts';
import { VERSION } from '../core/cli/version.ts';
import { FLAG_GROUPS, type Flag } from '../core/config/flag.ts';
import { FLAG_LIST } from '../core/config/flags.ts';

export interface ManFacts {
  readonly version: string;
  /** "kube-proxy cleanup", and what it does. */
  readonly commands: readonly (readonly [name: string, what: string])[];
  /** One for each command; several may share one. */
  readonly topics: readonly Topic[];
  readonly groups: Readonly<Record<string, string>>;
  readonly flags: readonly (readonly [name: string, flag: Flag<unknown>])[];
  readonly backends: readonly { readonly name: string; readonly summary: string }[];
  /** Sections of roff, to go before and after those made from tables. */
  readonly before: string;
  readonly after: string;
}

/** Pure, given the facts. */
export function manPage(facts: ManFacts = presentFacts()): string {
  const lines = [
    // Without a date: the same sources give the same bytes.
    `.TH KUBE\\-PROXY 8 "" "kube\\-proxy ${roff(facts.version)}" "System Administration"`,
    // A flag that is broken at a hyphen cannot be searched for.
    '.nh',
    '.SH NAME',
    'kube\\-proxy \\- the Kubernetes node proxy',
    '.SH SYNOPSIS',
    '.nf',
    ...facts.topics.map(({ usage }) => usageLine(usage)),
    '.fi',
    ...facts.before.trimEnd().split('\n'),
    '.SH COMMANDS',
    ...facts.commands.flatMap(([name, what]) => item(bold(name), sentence(what))),
    // The first is the program itself, which is what all of this page is about.
    ...facts.topics.slice(1).flatMap((topic) => about(topic, facts.groups)),
    '.SH OPTIONS',
    'A boolean flag may stand alone and takes a value only after "=", every other flag also from the next word.',
    ...Object.entries(facts.groups).flatMap(([group, title]) => [
      `.SS "${roff(title)}"`,
      ...facts.flags.filter(([, flag]) => flag.group === group).flatMap(([name, flag]) => option(name, flag)),
    ]),
    '.SH BACKENDS',
    ...facts.backends.flatMap(({ name, summary }) => item(bold(name), sentence(summary))),
    '.SH EXAMPLES',
    ...facts.topics.flatMap(({ examples }) => examples).flatMap(([command, what]) => example(command, what)),
    ...facts.after.trimEnd().split('\n'),
  ];
  return `${lines.join('\n')}\n`;
}

/** Those of the program as it stands in this folder. */
export function presentFacts(): ManFacts {
  const prose = (name: string): string =>
    readFileSync(join(resolve(import.meta.dirname, '..'), 'release', 'man', name), 'utf8');
  return {
    version: VERSION,
    commands: COMMAND_LIST,
    topics: [...new Set(Object.values(TOPICS))],
    groups: FLAG_GROUPS,
    flags: FLAG_LIST,
    backends: BUILT_IN,
    before: prose('before.man'),
    after: prose('after.man'),
  };
}

function about({ usage, about: text, groups }: Topic, titles: Readonly<Record<string, string>>): readonly string[] {
  const name = usage.replace(/ (?:--|\[|[A-Z]).*$/, '');
  const flags = groups.map((group) => `"${roff(titles[group] ?? group)}"`).join(', ');
  const takes = groups.length === 0 ? 'It takes no flags.' : `It takes the flags under ${flags}.`;
  return [`.SS "${roff(name)}"`, ...words(text), takes];
}

function option(name: string, flag: Flag<unknown>): readonly string[] {
  const names = [flag.short ?? (name.length === 1 ? name : undefined)].flatMap((short) => (short ? [`-${short}`] : []));
  names.push(`--${name}`, ...(flag.alias ? [`--${flag.alias}`] : []));
  const placeholder = flag.kind.placeholder === '' ? '' : ` ${italic(flag.kind.placeholder)}`;
  const head = names.map(bold).join(', ') + placeholder;
  const notes = [
    flag.default === '' || flag.default === 'false' ? '' : `Default: ${flag.default}.`,
    flag.noEffect ? `Of no effect: ${flag.noEffect}.` : '',
    flag.deprecated ? `Instead: ${flag.deprecated}.` : '',
  ].filter((note) => note !== '');
  const fields = flag.fields?.length ? [`In a configuration file: ${flag.fields.map(italic).join(', ')}.`] : [];
  return [...item(head, flag.help), ...notes.flatMap(words), ...fields];
}

function item(head: string, text: string): readonly string[] {
  return ['.TP', head, ...words(text)];
}

function example(command: string, what: string): readonly string[] {
  return ['.PP', sentence(roff(what)).replace(/\.$/, ':'), '.PP', '.RS 4', '.nf', bold(command), '.fi', '.RE'];
}

/** What is typed is bold, what stands for something else italic. */
function usageLine(usage: string): string {
  return usage
    .split(' ')
    .map((word) => (/^\[?[A-Z]+\]?$/.test(word) ? italic(word) : bold(word)))
    .join(' ');
}

/** Text on a line of its own, so that a full stop ends a sentence for troff, too. */
function words(text: string): readonly string[] {
  return text.split(/(?<=\.) (?=[A-Z])/).map((part) => guard(roff(part)));
}

function sentence(text: string): string {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

const bold = (text: string): string => `\\fB${roff(text)}\\fR`;
const italic = (text: string): string => `\\fI${roff(text)}\\fR`;

/** A line that begins with a dot or an apostrophe would be a request. */
function guard(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

/** Letters as they are shown: "-" is a hyphen to troff, which may be set as another character and break lines. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('"', '\\(dq')
    .replaceAll('…', '...')
    .replace(
      /[^\x20-\x7e]/gu,
      (letter) => `\\[u${letter.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}
