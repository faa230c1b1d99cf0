/**
 * Would plugins written for one text of the contract (release/sdk/kube-proxy.d.ts) still fit another? The compiler
 * answers: what a plugin provides by the text before must be what the text now asks for.
 *
 *   BackendPlugin before ──assignable?──▶ BackendPlugin now
 *     create(host: Host, …)      Host now ──▶ Host before           what the core provides
 *       exec(…, options)             ExecOptions before ──▶ now     what plugins hand to it
 *
 * TypeScript compares parameters of methods both ways, which would let a removed member pass; methods are therefore
 * rewritten as members that are functions, of which each parameter is compared in its one right direction.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TSC = join(import.meta.dirname, '..', 'node_modules', '.bin', 'tsc');

/** What plugins implement; everything else of the contract is reached through these. */
export const PROVIDED = [
  'BackendPlugin',
  'Backend',
  'SelfChecking',
  'HealthReporting',
  'UsesConntrack',
  'Initializing',
  'Inspectable',
  'Explainable',
  'ThreadMain',
] as const;

export interface ApiPair {
  readonly name: string;
  readonly before: string;
  readonly now: string;
}

export interface ApiBreaks {
  readonly name: string;
  /** Empty: plugins written for `before` fit. Else what does not, in the compiler's words. */
  readonly faults: readonly string[];
}

/** All pairs in one run of the compiler. */
export function apiBreaks(pairs: readonly ApiPair[]): readonly ApiBreaks[] {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-api-'));
  try {
    for (const [at, { before, now }] of pairs.entries()) {
      const pair = join(folder, String(at));
      mkdirSync(pair);
      writeFileSync(join(pair, 'before.d.ts'), withoutMethods(before));
      writeFileSync(join(pair, 'now.d.ts'), withoutMethods(now));
      writeFileSync(join(pair, 'check.ts'), checkText(before, now));
    }
    const options = { strict: true, noEmit: true, exactOptionalPropertyTypes: true, target: 'es2024', types: [] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*/*.ts'] }));
    const run = spawnSync(TSC, ['--pretty', 'false', '--project', folder], { encoding: 'utf8', cwd: folder });
    if (run.error) throw run.error;
    const said = faultsByFolder(run.stdout);
    if (run.status !== 0 && said.size === 0) throw new Error(`tsc ended with status ${run.status}: ${run.stdout}`);
    return pairs.map(({ name }, at) => ({ name, faults: said.get(String(at)) ?? [] }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Names of the types that a text of the contract exports. */
export function typeNames(text: string): readonly string[] {
  return [...text.matchAll(/^export (?:interface|type) (\w+)/gm)].map(([, name]) => name!);
}

/** `f(a: A): B;` as `f: (a: A) => B;`, and no comments. */
function withoutMethods(text: string): string {
  const bare = text.replaceAll(/\/\*.*?\*\/|\/\/[^\n]*/gs, '');
  const method = /^( +\w+\??)\(/gm;
  let result = '';
  let copied = 0;
  for (let found = method.exec(bare); found; found = method.exec(bare)) {
    const open = method.lastIndex - 1;
    const close = closing(bare, open);
    if (bare[close + 1] !== ':') throw new Error(`cannot read the method "${found[0].trim()}…)" of the contract`);
    result += `${bare.slice(copied, open)}: ${withoutMethods(bare.slice(open, close + 1))} =>`;
    copied = close + 2;
    method.lastIndex = copied;
  }
  return result + bare.slice(copied);
}

/** Where the parenthesis that opens at `open` closes. */
function closing(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === '(') depth++;
    else if (text[at] === ')' && --depth === 0) return at;
  }
  throw new Error('a parenthesis of the contract does not close');
}

function checkText(before: string, now: string): string {
  const [had, has] = [typeNames(before), typeNames(now)];
  const gone = had.filter((name) => !has.includes(name));
  const lines = PROVIDED.filter((name) => had.includes(name) && has.includes(name)).map(
    (name) => `export const ${name} = (it: Before.${name}): Now.${name} => it;`,
  );
  return [
    "import type * as Before from './before.d.ts';",
    "import type * as Now from './now.d.ts';",
    ...lines,
    // One line each, which the compiler complains about by name.
    ...gone.map((name) => `export type Gone${name} = Now.${name};`),
    '',
  ].join('\n');
}

/** "0/check.ts(12,3): error TS2322: …" and the indented lines below it, by folder. */
function faultsByFolder(output: string): ReadonlyMap<string, string[]> {
  const faults = new Map<string, string[]>();
  let current: string[] | undefined;
  // The path of a temporary folder tells nobody anything: "Host now" does.
  const short = output.replaceAll(/import\("[^"]*\/(before|now)"\)\.(\w+)/g, '$2 $1');
  for (const line of short.split('\n')) {
    const [, folder, message] = /^(\d+)\/[\w.]+\(\d+,\d+\): (.*)$/.exec(line) ?? [];
    if (folder !== undefined) {
      current = faults.get(folder) ?? [];
      faults.set(folder, current);
    }
    if (line.trim() !== '') current?.push(message ?? line);
  }
  return faults;
}
