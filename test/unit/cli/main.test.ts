import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BUILT_IN, loadBackend } from '../../../core/cli/backends.ts';
import { main } from '../../../core/cli/main.ts';
import { faultLines } from '../../../core/cli/report-fault.ts';
import { FLAG_LIST } from '../../../core/config/flags.ts';

async function run(argv: readonly string[], nodeVersion = '24.1.0') {
  let stdout = '';
  let stderr = '';
  const status = await main(argv, {
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
    nodeVersion,
  });
  return { status, stdout, stderr };
}

const help = suite('help');

help('it shows every flag but those of render, within 100 columns', async () => {
  const { status, stdout, stderr } = await run(['--help']);
  assert.is(status, 0);
  assert.is(stderr, '');
  for (const [name, flag] of FLAG_LIST) {
    const listed = new RegExp(`^  (-.+, )?--${name}( |,|$)`, 'm').test(stdout);
    assert.is(listed, flag.only !== 'render', name);
  }
  for (const line of stdout.split('\n')) assert.ok(line.length <= 100, line);
});

help('it shows commands, backends, defaults and three examples', async () => {
  const { stdout } = await run(['help']);
  for (const word of ['kube-proxy render', 'kube-proxy cleanup', 'dry-run', '(default 30s)', '--proxy-mode']) {
    assert.ok(stdout.includes(word), word);
  }
  assert.is(stdout.split('\nExamples\n')[1]!.trim().split('\n').length, 6);
});

help('each command has its own', async () => {
  const { stdout } = await run(['help', 'render']);
  assert.match(stdout, /^Usage: kube-proxy render/);
  assert.match(stdout, /--node-addresses/);
  assert.is((await run(['render', '-h'])).stdout, stdout);
  assert.match((await run(['cleanup', '--help'])).stdout, /^Usage: kube-proxy cleanup/);
});

help('who asks for it gets it even if the rest of the line is wrong', async () => {
  assert.is((await run(['--nope', '--help'])).status, 0);
});

help('what it says of a backend is what the plugin says', async () => {
  for (const entry of BUILT_IN) {
    const plugin = await loadBackend(entry);
    assert.equal([plugin.name, plugin.summary], [entry.name, entry.summary]);
  }
});

const status = suite('exit status');

status('version prints one line and needs no source', async () => {
  for (const argv of [['version'], ['--version']]) {
    const { status, stdout } = await run(argv);
    assert.is(status, 0);
    assert.match(stdout, /^kube-proxy \d+\.\d+\.\d+ \(Node\.js .*\)\n$/);
  }
});

status('a wrong command line is 2, with one line for each fault and nothing else', async () => {
  const { status, stdout, stderr } = await run(['--cluster-cidr', '10.0.0.0/33', '--backend=nope', '--bogus']);
  assert.is(status, 2);
  assert.is(stdout, '');
  const lines = stderr.trimEnd().split('\n');
  assert.is(lines.length, 4, stderr);
  for (const line of lines) assert.match(line, /^kube-proxy: --/);
  assert.ok(
    stderr.includes('kube-proxy: --cluster-cidr: "10.0.0.0/33" is not a CIDR; give for example 10.244.0.0/16\n'),
  );
});

status('without a source it is 2', async () => {
  const { status, stderr } = await run([]);
  assert.is(status, 2);
  assert.is(stderr, 'kube-proxy: --manifests: a source of Services is needed; give a file or a folder of manifests\n');
});

status('an unknown command is 2', async () => {
  assert.is((await run(['frobnicate', '--manifests=x'])).status, 2);
});

status('an option that the backend refuses is 2', async () => {
  const argv = ['render', '--manifests', import.meta.dirname, '--backend', 'dry-run', '--backend-option', 'format=xml'];
  const { status, stderr } = await run(argv);
  assert.is(status, 2);
  assert.match(stderr, /^kube-proxy: dry-run backend options: format: "xml" is neither text nor json\n$/);
});

status('manifests that cannot be read are 2, in one line without a stack trace', async () => {
  const { status, stderr } = await run(['render', '--manifests', '/nonexistent/web.yaml']);
  assert.is(status, 2);
  assert.match(stderr, /^kube-proxy: [^\n]*\/nonexistent\/web\.yaml[^\n]*\n$/);
});

status('a stack trace is there for who asks', async () => {
  assert.match((await run(['render', '--manifests', '/nonexistent/web.yaml', '-v4'])).stderr, /\n {4}at /);
});

status('an old Node.js is told in one line which is needed', async () => {
  const { status, stderr } = await run(['--help'], '22.19.0');
  assert.is(status, 2);
  assert.match(stderr, /^kube-proxy: needs Node\.js 24 or newer, this is 22\.19\.0; install .*\n$/);
});

status('text from the command line cannot forge lines or reach the terminal', async () => {
  const { stderr } = await run(['--manifests=m', '--backend=a\nkube-proxy: \x1b[31m']);
  assert.is(stderr.trimEnd().split('\n').length, 1);
  assert.not.ok(stderr.includes('\x1b'));
});

status('a fault of several lines is several lines that each say who speaks', () => {
  assert.is(
    faultLines(new Error('a.yaml: bad\nb.yaml: bad'), '', 0),
    'kube-proxy: a.yaml: bad\nkube-proxy: b.yaml: bad\n',
  );
  assert.is(faultLines(new Error('busy'), 'cleanup of x', 0), 'kube-proxy: cleanup of x: busy\n');
});

help.run();
status.run();
