/** Imports point one way only, as ARCHITECTURE.md says; plugins know nothing of the core but its types. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const test = suite('architecture');

/** What the files of a folder may import from other folders; the first that fits a file counts. */
const ALLOWED: readonly (readonly [folder: string, may: readonly string[]])[] = [
  ['core/backend.ts', ['core/ipvs.ts', 'core/nftables.ts']],
  ['core/ipvs.ts', []],
  ['core/nftables.ts', []],
  ['core/model/', ['core/backend.ts']],
  ['core/netlink/', ['core/backend.ts', 'core/ipvs.ts', 'core/nftables.ts']],
  ['core/observe/', ['core/backend.ts']],
  ['core/config/', ['core/backend.ts', 'core/model/']],
  ['core/plugin/', ['core/backend.ts', 'core/config/', 'core/observe/']],
  [
    'core/node/',
    [
      'core/backend.ts',
      'core/model/',
      'core/netlink/',
      // What a plugin's file may be, and how it is imported: that of a thread, too.
      ...['fault', 'guard', 'importer', 'load-fault', 'places', 'stack-place', 'trust'].map(
        (file) => `core/plugin/${file}.ts`,
      ),
    ],
  ],
  ['core/source/', ['core/backend.ts', 'core/model/']],
  ['core/sync/', ['core/backend.ts', 'core/model/', 'core/source/source.ts']],
  [
    'core/daemon/',
    [
      'core/backend.ts',
      'core/config/',
      'core/model/',
      'core/node/',
      'core/observe/',
      'core/plugin/',
      'core/source/',
      'core/sync/',
    ],
  ],
  // The conformance kit is shipped, apart from the rest of the program.
  ['core/cli/plugin-test', ['core/', 'test/conformance/kit.ts']],
  ['core/', ['core/', 'plugins/', 'package.json']],
];

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typesOnly: boolean;
}

function imports(folder: string): Import[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => {
      const file = join(folder, name);
      const text = readFileSync(join(ROOT, file), 'utf8');
      const found = [...text.matchAll(/^(?:import|export) (type )?[^;]*?from '(\.[^']+)'|import\('(\.[^']+)'\)/gm)];
      return found.map(([, type, from, dynamic]) => ({
        file,
        target: relative(ROOT, normalize(join(ROOT, dirname(file), from ?? dynamic ?? ''))),
        typesOnly: type !== undefined,
      }));
    });
}

test('folders of the core import only what stands below them', () => {
  const all = imports('core');
  assert.ok(all.length > 100, `${all.length} imports found`);
  for (const { file, target } of all) {
    const [folder = '', may = []] = ALLOWED.find(([prefix]) => file.startsWith(prefix)) ?? [];
    const own = folder.endsWith('/') && target.startsWith(folder);
    assert.ok(own || may.some((prefix) => target.startsWith(prefix)), `${file} imports ${target}`);
  }
});

test('a plugin imports its own files, what plugins share, and the types of the contract', () => {
  const all = imports('plugins');
  assert.ok(all.some(({ target }) => target === 'core/backend.ts'));
  for (const { file, target, typesOnly } of all) {
    const own = target.startsWith(`${file.split('/').slice(0, 2).join('/')}/`);
    const shared = target.startsWith('plugins/shared/');
    assert.ok(own || shared || (target === 'core/backend.ts' && typesOnly), `${file} imports ${target}`);
  }
});

test('what is shipped imports neither tests nor the build, but for the conformance kit', () => {
  for (const { file, target } of [...imports('core'), ...imports('plugins')]) {
    if (target === 'test/conformance/kit.ts') continue;
    assert.not.ok(/^(test|build)\//.test(target), `${file} imports ${target}`);
  }
});

test.run();
