/** Edits of a plugin that runs. */
import { mkdtempSync, realpathSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadPlugin } from '../../../core/plugin/load.ts';
import { changedSinceRead } from '../../../core/plugin/stamps.ts';

const test = suite('edits of a plugin that was read');
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'stamps-')));
const at = (name: string): string => join(folder, name);
const PLUGIN = "import './beside.mjs';\nexport default { name: 'a', apiVersion: 1, summary: 's', create() {} };\n";

test.before.each(() => {
  for (const [name, text] of [
    ['a.mjs', PLUGIN],
    ['beside.mjs', ''],
  ] as const) {
    writeFileSync(at(name), text);
    utimesSync(at(name), 1_000, 1_000);
  }
});
test.after(() => rmSync(folder, { recursive: true }));

test('each of its files counts, by its size and its time, and what is as it was does not', async () => {
  assert.equal(changedSinceRead(at('a.mjs')), []);
  await loadPlugin({ path: at('a.mjs'), reserved: [] });
  assert.equal(changedSinceRead(at('a.mjs')), []);
  writeFileSync(at('beside.mjs'), '// more');
  assert.equal(changedSinceRead(at('a.mjs')), [at('beside.mjs')]);
  utimesSync(at('a.mjs'), 1_000, 1_001);
  symlinkSync(at('a.mjs'), at('link.mjs'));
  assert.equal(changedSinceRead(at('link.mjs')), [at('a.mjs'), at('beside.mjs')]);
  // What runs is what was read first, however often it was asked for since.
  await loadPlugin({ path: at('a.mjs'), reserved: [] });
  assert.equal(changedSinceRead(at('a.mjs')), [at('a.mjs'), at('beside.mjs')]);
  rmSync(at('beside.mjs'));
  assert.equal(changedSinceRead(at('a.mjs')), [at('a.mjs'), at('beside.mjs')]);
  assert.equal(changedSinceRead(at('none.mjs')), []);
});

test.run();
