/** The contract that plugin authors get is the contract, and does not change under them unnoticed. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { apiBreaks, PROVIDED, typeNames } from '../../../build/api-breaks.ts';
import { apiTypes, apiVersion, contractSources, SDK_TYPES, writeTypes } from '../../../build/api-types.ts';
import { BACKEND_API_VERSION } from '../../../core/backend.ts';

const COMMITTED = existsSync(SDK_TYPES) ? readFileSync(SDK_TYPES, 'utf8') : '';
const NOW = apiTypes(contractSources());

/** The contract with one piece of text replaced, which must be there. */
function edited(from: string, to: string): string {
  assert.ok(NOW.includes(from), `the contract has no ${JSON.stringify(from)} any more; adapt this test`);
  return NOW.replace(from, to);
}

const snapshot = suite('the contract as authors get it');

snapshot('release/sdk/kube-proxy.d.ts says what core/backend.ts, core/nftables.ts and core/ipvs.ts say', () => {
  if (COMMITTED === NOW) return;
  const sameVersion = COMMITTED !== '' && apiVersion(COMMITTED) === apiVersion(NOW);
  const faults = sameVersion ? apiBreaks([{ name: '', before: COMMITTED, now: NOW }])[0]!.faults : [];
  assert.unreachable(
    faults.length === 0
      ? 'the contract changed, and plugins written for it still fit: run `npm run sdk`, commit what it wrote, and say in ' +
          'release/sdk/README.md what is new'
      : 'the contract changed, and plugins written for this version no longer fit: raise BACKEND_API_VERSION and run ' +
          `\`npm run sdk\`, or keep what they rely on:\n${faults.join('\n')}`,
  );
});

snapshot('it states the version that the core checks', () => {
  assert.is(apiVersion(COMMITTED), BACKEND_API_VERSION);
});

snapshot('it is complete by itself: a strict compiler finds nothing missing in it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-sdk-'));
  try {
    writeFileSync(join(folder, 'kube-proxy.d.ts'), COMMITTED);
    const tsc = join(import.meta.dirname, '../../../node_modules/.bin/tsc');
    const options = ['--noEmit', '--strict', '--target', 'es2024', '--types', '', '--pretty', 'false'];
    const run = spawnSync(tsc, [...options, 'kube-proxy.d.ts'], { cwd: folder, encoding: 'utf8' });
    assert.is(run.status, 0, run.stdout);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

snapshot('something in the contract that is no type ends the generation', () => {
  const { backend, ...rest } = contractSources();
  assert.throws(() => apiTypes({ backend: `${backend}export const EXTRA = 1;\n`, ...rest }), /EXTRA/);
  assert.throws(() => apiTypes({ backend: `import type { X } from './other.ts';\n${backend}`, ...rest }), /other/);
});

const ADDITIONS: readonly (readonly [what: string, now: string])[] = [
  ['nothing', NOW],
  ['a doc comment', edited('/** One line for --help. */', '/** A line. */')],
  [
    'a member that the core provides',
    edited('readonly sysctl: Sysctl;', 'readonly sysctl: Sysctl; readonly newer: 1;'),
  ],
  [
    'an optional member of a plugin',
    edited('readonly version?: string;', 'readonly version?: string; readonly url?: string;'),
  ],
  ['an optional method of a backend', edited('close(): Promise<void>;', 'close(): Promise<void>; drain?(): void;')],
  [
    'an optional argument of a core function',
    edited('names(): readonly string[];', 'names(of?: IPFamily): readonly string[];'),
  ],
  [
    'one argument more for plugins',
    edited('create(host: Host, options: ', 'create(host: Host, extra: 1 | never, options: ').replace(
      'extra: 1 | never, options: Readonly<Record<string, unknown>>',
      'options: Readonly<Record<string, unknown>>, extra: 1',
    ),
  ],
  [
    'a value that the core takes',
    edited("'tcp reset' | 'port unreachable'", "'tcp reset' | 'port unreachable' | 'host unreachable'"),
  ],
  ['a type', `${NOW}export interface Newer {\n  readonly x: 1;\n}\n`],
];

const BREAKS: readonly (readonly [what: string, now: string, names: RegExp])[] = [
  ['a member that the core provided is gone', edited('readonly sysctl: Sysctl;', ''), /sysctl/],
  [
    'a member that threads were given is gone',
    edited('onMessage(listener: (message: unknown) => void): void;', ''),
    /onMessage/,
  ],
  ['a member of a change is gone', edited('readonly affinitySeconds: number;', ''), /affinitySeconds/],
  [
    'a member of a change has another type',
    edited('readonly nodePort: number;', 'readonly nodePort: string;'),
    /nodePort/,
  ],
  [
    'a member of a change may be absent now',
    edited('readonly hasEndpoints: boolean;', 'readonly hasEndpoints?: boolean;'),
    /hasEndpoints/,
  ],
  [
    'a backend must have one member more',
    edited('close(): Promise<void>;', 'close(): Promise<void>; drain(): void;'),
    /drain/,
  ],
  [
    'a plugin must have one member more',
    edited('readonly summary: string;', 'readonly summary: string; readonly url: string;'),
    /url/,
  ],
  [
    'an optional ability must have one member more',
    edited('dump(): Promise<string>;', 'dump(): Promise<string>; also(): void;'),
    /also/,
  ],
  [
    'plugins must hand in one member more',
    edited('readonly stdin?: string | Uint8Array;', 'readonly stdin: string;'),
    /stdin/,
  ],
  [
    'plugins must call with one argument more',
    edited('flush(name: string): void;', 'flush(name: string, all: boolean): void;'),
    /flush/,
  ],
  ['an answer of the core is narrower', edited('names(): readonly string[];', 'names(): undefined;'), /names/],
  ['a value that the core took is gone', edited("'tcp reset' | 'port unreachable'", "'tcp reset'"), /port unreachable/],
  [
    'a value that plugins have never seen comes',
    edited("'TCP' | 'UDP' | 'SCTP'", "'TCP' | 'UDP' | 'SCTP' | 'ICMP'"),
    /ICMP/,
  ],
  ['a type has another name', edited('export interface Explainable', 'export interface Explaining'), /Explainable/],
];

const results = new Map(
  apiBreaks([...ADDITIONS, ...BREAKS].map(([name, now]) => ({ name, before: NOW, now }))).map(({ name, faults }) => [
    name,
    faults,
  ]),
);

const changes = suite('changes of the contract');

for (const [what] of ADDITIONS) {
  changes(`adding ${what} leaves plugins that exist fitting`, () => {
    assert.equal(results.get(what), []);
  });
}

for (const [what, , names] of BREAKS) {
  changes(`it is noticed, and named, when ${what}`, () => {
    assert.match(results.get(what)!.join('\n'), names);
  });
}

changes('every type of the contract is reached from what plugins implement, so that none changes unnoticed', () => {
  const parts = new Map(typeNames(NOW).map((name) => [name, textOf(name)]));
  const reached = new Set<string>(PROVIDED);
  for (const name of reached) {
    for (const [word] of (parts.get(name) ?? '').matchAll(/\w+/g)) if (parts.has(word)) reached.add(word);
  }
  assert.equal(
    [...parts.keys()].filter((name) => !reached.has(name)),
    [],
  );
});

/** A declaration without its comments. */
function textOf(name: string): string {
  const begin = NOW.search(new RegExp(`^export (interface|type) ${name}\\b`, 'm'));
  const end = NOW.slice(begin + 1).search(/^export /m);
  return NOW.slice(begin, end < 0 ? undefined : begin + 1 + end).replaceAll(/\/\*\*.*?\*\//gs, '');
}

changes('`npm run sdk` writes an addition, and a break only under another version', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-sdk-'));
  const file = join(folder, 'kube-proxy.d.ts');
  const broken = edited('readonly sysctl: Sysctl;', '');
  try {
    assert.match(await writeTypes(file, NOW), /^wrote/);
    assert.match(await writeTypes(file, NOW), /as the sources say/);
    const refusal = await writeTypes(file, broken).catch((error: Error) => error.message);
    assert.match(refusal, /raise BACKEND_API_VERSION/);
    assert.match(refusal, /sysctl/);
    assert.is(readFileSync(file, 'utf8'), NOW);
    const next = broken.replace(/ApiVersion = \d+/, 'ApiVersion = 99');
    await writeTypes(file, next);
    assert.is(readFileSync(file, 'utf8'), next);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

snapshot.run();
changes.run();
