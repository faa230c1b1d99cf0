import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findPlugin, listPlugins } from '../../../core/plugin/find.ts';

const test = suite('finding a plugin');
let folder = '';
const at = (name: string): string => join(folder, name);
function write(...files: readonly (string | readonly [string, string])[]): void {
  for (const file of files) {
    const [name, text] = typeof file === 'string' ? [file, ''] : file;
    mkdirSync(dirname(at(name)), { recursive: true });
    writeFileSync(at(name), text);
  }
}
const fault = (name: string, dir = folder): readonly [code: unknown, message: string] => {
  try {
    return ['found', findPlugin(name, dir, ['iptables'])];
  } catch (error) {
    return [(error as { code?: string }).code, (error as Error).message.replaceAll(`${folder}/`, '')];
  }
};

test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'find-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));

for (const file of ['acme.js', 'acme.mjs', 'acme.cjs', 'acme.ts', 'acme/index.js', 'acme/index.mjs', 'acme/index.ts']) {
  test(`the name acme finds ${file}`, () => {
    write(file, 'other.js', 'acme.txt', 'acme.d.ts');
    assert.is(findPlugin('acme', folder), at(file));
  });
}

for (const [title, manifest, file] of [
  ['main', { main: 'lib/acme.js' }, 'acme/lib/acme.js'],
  ['exports', { main: 'x.js', exports: './lib/acme.mjs' }, 'acme/lib/acme.mjs'],
  [
    'conditional exports',
    { exports: { '.': { types: './x.d.ts', import: './a.mjs', require: './a.cjs' } } },
    'acme/a.mjs',
  ],
  ['nested conditions', { exports: { node: { default: './a.cjs' } } }, 'acme/a.cjs'],
  ['neither', { name: 'acme' }, 'acme/index.js'],
] as const) {
  test(`a folder with a package.json stands for its main file: ${title}`, () => {
    write(['acme/package.json', JSON.stringify(manifest)], 'acme/index.js', 'acme/index.ts.txt');
    assert.is(findPlugin('acme', folder), at(file));
    assert.is(findPlugin(at('acme'), ''), at(file), 'by its path, too');
  });
}

test('several files that could be it are named', () => {
  write('acme.js', 'acme.ts', 'acme/index.mjs');
  const [code, message] = fault('acme');
  assert.is(code, 'KP_PLUGIN_AMBIGUOUS');
  assert.is(
    message,
    'backend acme: could be any of acme.js, acme.ts, acme/index.mjs; keep one, or give its path (KP_PLUGIN_AMBIGUOUS)',
  );
  write('two/index.js', 'two/index.cjs');
  assert.is(fault(at('two'))[0], 'KP_PLUGIN_AMBIGUOUS');
});

test('none is said with where it was looked for, and with names like it', () => {
  write('acme.js', 'other/index.ts', 'Not_A_Name.js', 'notes.txt', 'empty/readme.md');
  const [code, message] = fault('acne');
  assert.is(code, 'KP_PLUGIN_NOT_FOUND');
  const where = `backend acne: ${folder} has no file acne.js (.mjs, .cjs, .ts), nor a folder acne with one`;
  assert.is(message, `${where}; did you mean acme? (KP_PLUGIN_NOT_FOUND)`);
  assert.match(fault('wholly-different')[1], /; there are acme, other \(KP_PLUGIN_NOT_FOUND\)$/);
  assert.match(fault('iptable')[1], /; did you mean iptables\? \(KP_PLUGIN_NOT_FOUND\)$/);
});

test('a folder that is empty, or not there, is said', () => {
  assert.match(fault('acme')[1], /; that folder has no plugin \(KP_PLUGIN_NOT_FOUND\)$/);
  const [code, message] = fault('acme', at('none'));
  assert.is(code, 'KP_PLUGIN_NOT_FOUND');
  assert.match(
    message,
    /^none: is where plugins are to be looked for, and cannot be read \(ENOENT.*folder that exists \(KP_PLUGIN_NOT_FOUND\)$/,
  );
});

test('a path is taken as it is, whether or not there is anything', () => {
  assert.is(findPlugin('/no/where/acme.js', '/p'), '/no/where/acme.js');
});

test('a folder without a plugin, and one with a broken package.json, say so', () => {
  write('empty/readme.md', ['broken/package.json', '{']);
  assert.match(fault(at('empty'))[1], /^.*empty: is a folder without a plugin: no package\.json that names its main/);
  assert.is(fault(at('empty'))[0], 'KP_PLUGIN_NOT_FOUND');
  const [code, message] = fault('broken');
  assert.is(code, 'KP_PLUGIN_LOAD');
  assert.match(message, /^broken\/package\.json: cannot be read \(.*\); mend it, or leave it out \(KP_PLUGIN_LOAD\)$/);
});

test('the folder is listed in order of names, with what is at fault, without what cannot be a plugin', () => {
  write(
    'zeta.js',
    'acme/index.js',
    'two.js',
    'two.ts',
    'acme.test.js',
    'types.d.ts',
    'node_modules/x/index.js',
    '.x.js',
  );
  const listed = listPlugins(folder).map(({ name, path }) => [
    name,
    typeof path === 'string' ? path.slice(folder.length + 1) : path.code,
  ]);
  assert.equal(listed, [
    ['acme', 'acme/index.js'],
    ['two', 'KP_PLUGIN_AMBIGUOUS'],
    ['zeta', 'zeta.js'],
  ]);
});

test.run();
