/** Each command of the packed executable does what it does when the sources run, wherever it stands. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { helpText } from '../../core/cli/help.ts';
import { COMMANDS } from '../../core/config/command-line.ts';
import manifest from '../../package.json' with { type: 'json' };
import { argvOf, goldenCases, renderCase } from '../golden/cases.ts';
import { skip } from '../skip.ts';
import { EXECUTABLE, packed, ROOT, run, UNPRIVILEGED } from './executable.ts';

const test = suite('packed commands');
const MANIFESTS = join(ROOT, 'release', 'examples', 'services.yaml');

test('version says its own, the commit, that of Node.js and that of the plugin API', () => {
  const { status, stdout, stderr } = packed(['version']);
  assert.is(stderr, '');
  assert.is(status, 0);
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  assert.match(stdout, new RegExp(`^kube-proxy ${manifest.version} \\(commit ${commit}(-modified)?, linux/`));
  assert.match(stdout, `\nNode.js ${process.versions.node}\nplugin API 1\n`);
});

test('help says the same as from sources, for each command', () => {
  for (const command of ['run', ...COMMANDS] as const) {
    const words = command === 'run' ? ['--help'] : [...command.split(' '), '--help'];
    const { status, stdout, stderr } = packed(words);
    assert.is(stderr, '');
    assert.is(status, 0);
    assert.is(stdout, helpText(command), command);
  }
});

test('faults of the command line end it with status 2 and change nothing', () => {
  const { status, stdout, stderr } = packed(['--no-such-flag', '--cluster-cidr=x']);
  assert.is(status, 2);
  assert.is(stdout, '');
  assert.match(stderr, /^kube-proxy: --no-such-flag: unknown flag.*\nkube-proxy: --cluster-cidr: "x" is not a CIDR/);
});

for (const backend of ['iptables', 'nftables', 'dry-run']) {
  test(`render prints for ${backend} what the sources print, as nobody and with an empty environment`, async () => {
    const folder = mkdtempSync('/tmp/packed-');
    try {
      // Where nobody may come.
      chmodSync(folder, 0o755);
      const program = join(folder, 'kube-proxy');
      copyFileSync(EXECUTABLE, program);
      for (const golden of goldenCases().slice(0, 4)) {
        const objects = join(folder, 'objects.yaml');
        copyFileSync(join(golden.folder, 'objects.yaml'), objects);
        const given = join(golden.folder, 'objects.yaml');
        const words = argvOf(golden, backend).map((word) => (word === given ? objects : word));
        const as = process.getuid?.() === 0 ? UNPRIVILEGED : (['env', '-i'] as const);
        const { status, stdout, stderr } = run([...as, program, ...words], { cwd: '/' });
        assert.is(stderr, '');
        assert.is(status, 0);
        assert.fixture(stdout, await renderCase(golden, backend), golden.name);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test('a folder that is gone, a HOME that is not there and closed standard input are nothing to it', () => {
  const folder = mkdtempSync('/tmp/packed-');
  const script = `rmdir ${folder}; HOME=/nonexistent exec ${EXECUTABLE} render --backend dry-run --manifests ${MANIFESTS} <&-`;
  const { status, stdout, stderr } = run(['sh', '-c', script], { cwd: folder });
  assert.is(stderr, '');
  assert.is(status, 0);
  assert.match(stdout, 'default/web');
});

test('words that Node.js itself would take are its own', () => {
  const { status, stderr } = packed(['--inspect', '--eval=1']);
  assert.is(status, 2);
  assert.match(stderr, 'kube-proxy: --inspect: unknown flag');
});

test('output for which there is no room is told and makes it fail', () => {
  for (const words of [`render --manifests ${MANIFESTS}`, '--help', 'version']) {
    const { status, stderr } = run(['sh', '-c', `${EXECUTABLE} ${words} >/dev/full`]);
    assert.is(status, 1, words);
    assert.match(stderr, 'kube-proxy: the output is not complete: ENOSPC');
  }
});

test('who stops reading ends nothing badly', () => {
  const { status, stderr } = run(['sh', '-c', `${EXECUTABLE} render --manifests ${MANIFESTS} | head -1`]);
  assert.is(status, 0);
  assert.is(stderr, '');
});

if (process.getuid?.() !== 0) skip('render as nobody', 'only root can become nobody; run as its own user');
test.run();
