/** The way to a file on a real disk: each folder and link that could be changed to lead elsewhere. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wayTo } from '../../../core/plugin/places.ts';

const test = suite('the way to a file');
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'places-')));
const at = (...names: readonly string[]): string => join(folder, ...names);
/** Without the folders above the test's own. */
const shown = (path: string): readonly string[] =>
  wayTo(path)
    .places.filter((place) => place.path.startsWith(`${folder}/`))
    .map((place) => `${place.kind} ${place.path.slice(folder.length + 1)}`);
const fault = (path: string): string => {
  try {
    wayTo(path);
  } catch (error) {
    assert.is((error as { code?: string }).code, 'KP_PLUGIN_NOT_FOUND');
    return (error as Error).message;
  }
  throw new Error(`${path} was found`);
};

test.before(() => {
  mkdirSync(at('a', 'b'), { recursive: true });
  writeFileSync(at('a', 'b', 'acme.js'), '');
});
test.after(() => rmSync(folder, { recursive: true }));

test('it begins at / and names every folder once', () => {
  const { places, realPath, kind } = wayTo(`${at('a')}//./b/../b/acme.js`);
  assert.equal([realPath, kind], [at('a', 'b', 'acme.js'), 'file']);
  assert.is(places[0]?.path, '/');
  assert.equal(shown(at('a', 'b', '..', 'b', 'acme.js')), ['folder a', 'folder a/b', 'file a/b/acme.js']);
  assert.is(wayTo(at('a')).kind, 'folder');
});

test('it goes through links, of files and of folders, as a mounted ConfigMap has them', () => {
  mkdirSync(at('..2024'));
  writeFileSync(at('..2024', 'acme.js'), '');
  symlinkSync('..2024', at('..data'));
  symlinkSync('..data/acme.js', at('acme.js'));
  symlinkSync(at('a', 'b'), at('absolute'));
  assert.equal(shown(at('acme.js')), ['link acme.js', 'link ..data', 'folder ..2024', 'file ..2024/acme.js']);
  assert.is(wayTo(at('acme.js')).realPath, at('..2024', 'acme.js'));
  assert.equal(shown(at('absolute', 'acme.js')), ['link absolute', 'folder a', 'folder a/b', 'file a/b/acme.js']);
});

test('owner and bits are those of the disk', () => {
  chmodSync(at('a', 'b', 'acme.js'), 0o664);
  const file = wayTo(at('a', 'b', 'acme.js')).places.at(-1);
  assert.equal([file?.mode, file?.uid, file?.readOnly], [0o664, process.geteuid?.(), false]);
});

test('what is not there is said with the first that is missing', () => {
  assert.is(
    fault(at('none.js')),
    `${at('none.js')}: does not exist; give the path of a plugin's file (KP_PLUGIN_NOT_FOUND)`,
  );
  assert.is(
    fault(at('no', 'x.js')),
    `${at('no', 'x.js')}: ${at('no')} does not exist; give the path of a plugin's file (KP_PLUGIN_NOT_FOUND)`,
  );
  assert.match(fault(at('a', 'b', 'acme.js', 'x')), /acme\.js is no folder; give the path/);
});

test('links in a circle, and what is neither file nor folder, are refused', () => {
  symlinkSync('two', at('one'));
  symlinkSync('one', at('two'));
  assert.match(fault(at('one')), /one: its links lead nowhere/);
  execFileSync('mkfifo', [at('pipe.js')]);
  assert.match(fault(at('pipe.js')), /pipe\.js is no file/);
});

test.run();
