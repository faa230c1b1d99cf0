/** The page for authors of programs in any language does what it says, and says what the protocol is. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseOptions } from '../../plugins/exec/options.ts';
import { cleanupLine, helloLine, readAnswer, syncLine } from '../../plugins/exec/protocol.ts';
import { isolateTests } from '../netns/isolated.ts';
import { full } from '../unit/nftables/samples.ts';
import { ROOT, testPage } from './sdk-page-commands.ts';

await isolateTests(['iptables', 'python3']);

const test = suite('the page for programs in any language');
const page = testPage(
  test,
  'exec/README.md',
  [
    ['cat /run/services', [/\] Ready backend="exec"/, /^10\.\S+:\d+\/TCP 10\.\S+:\d+/m, /keep-state\.sh" pid/]],
    ['render', [/^\{"type":"ready"\}\n\{"type":"done","id":1\}\n\{"type":"done","id":2\}$/m]],
    ['--config', [/\] Ready backend="exec"/, /^exec: cleaned up$/m]],
  ],
  (folder) => {
    // Root's own files, which nobody else may write: a checkout need not be that.
    for (const name of ['services.py', 'keep-state.sh'])
      copyFileSync(join(ROOT, 'release/sdk/exec', name), join(folder, name));
    copyFileSync(join(ROOT, 'release/examples/services.yaml'), join(folder, 'services.yaml'));
  },
);

/** First cells of a table's rows whose head begins with this. */
function cells(head: string): readonly string[] {
  const [, table = ''] = page.text.split(`\n| ${head} |`);
  const rows = table.split('\n\n')[0]!.split('\n').slice(2);
  return rows.map((row) => /^\| `?(.*?)`? \|/.exec(row)?.[1] ?? row);
}

test('kube-proxy writes the lines that the page says', () => {
  const [hello, sync, cleanup] = cells('the program reads');
  assert.is(`${hello}\n`, helloLine(['IPv4', 'IPv6'], {}));
  assert.is(`${cleanup}\n`, cleanupLine(2));
  const written = [...syncLine(1, full([]))].join('');
  const [before, between, after] = sync!.split(/\{…\}|…/);
  assert.ok(written.startsWith(before!), before);
  assert.ok(written.includes(between!), between);
  assert.ok(written.endsWith(`${after}\n`), after);
});

test('the lines that a program may write are taken, with all that is in them', () => {
  const lines = cells('the program writes');
  assert.is(lines.length, 6);
  for (const line of lines) assert.equal(readAnswer(line), JSON.parse(line));
});

test('its options and their defaults are those of the backend', () => {
  const rows = cells('option');
  assert.equal([...rows].sort(), Object.keys(parseOptions({})).sort());
  const [, table = ''] = page.text.split('\n| option |');
  const defaultOf = (name: string): string =>
    new RegExp(`^\\| \`${name}\` .*\\| \`?(.*?)\`? \\|$`, 'm').exec(table)![1]!;
  const { args, timeoutSeconds, options, families } = parseOptions({});
  assert.equal(JSON.parse(defaultOf('args')), args);
  assert.equal(JSON.parse(defaultOf('options')), options);
  assert.is(Number(defaultOf('timeoutSeconds')), timeoutSeconds);
  assert.is(defaultOf('families') === 'both', families.length === 2);
});

test.run();
