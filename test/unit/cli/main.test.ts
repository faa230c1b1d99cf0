import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

help('it shows every flag but those of other commands, within 100 columns', async () => {
  const { status, stdout, stderr } = await run(['--help']);
  assert.is(status, 0);
  assert.is(stderr, '');
  for (const [name, flag] of FLAG_LIST) {
    const listed = new RegExp(`^  (-.+, )?--${name}( |,|$)`, 'm').test(stdout);
    assert.is(listed, flag.only === undefined || flag.only === 'run', name);
  }
  for (const line of stdout.split('\n')) assert.ok(line.length <= 100, line);
});

help('it shows commands, backends, defaults and four examples', async () => {
  const { stdout } = await run(['help']);
  for (const word of ['kube-proxy render', 'kube-proxy cleanup', 'dry-run', '(default 30s)', '--proxy-mode']) {
    assert.ok(stdout.includes(word), word);
  }
  assert.is(stdout.split('\nExamples\n')[1]!.trim().split('\n').length, 8);
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

status('version says what it is and what it runs on, and needs no source', async () => {
  for (const argv of [['version'], ['--version']]) {
    const { status, stdout } = await run(argv);
    assert.is(status, 0);
    assert.match(
      stdout,
      /^kube-proxy \d+\.\d+\.\d+ \(run from sources, linux\/\w+\)\nNode\.js \d+\.\d+\.\d+\nplugin API \d+\n$/,
    );
  }
});

status('a wrong command line is 2, with one line for each fault and nothing else', async () => {
  const { status, stdout, stderr } = await run(['--cluster-cidr', '10.0.0.0/33', '--backend=nope', '--bogus']);
  assert.is(status, 2);
  assert.is(stdout, '');
  const lines = stderr.trimEnd().split('\n');
  assert.is(lines.length, 3, stderr);
  for (const line of lines) assert.match(line, /^kube-proxy: --/);
  assert.ok(
    stderr.includes('kube-proxy: --cluster-cidr: "10.0.0.0/33" is not a CIDR; give for example 10.244.0.0/16\n'),
  );
});

status('render without a source is 2', async () => {
  const { status, stderr } = await run(['render']);
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

const KIND = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

async function withConfig(text: string, argv: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'main-'));
  try {
    writeFileSync(join(folder, 'config.conf'), text);
    const done = await run(argv.map((word) => word.replace('FOLDER', folder)));
    const strip = (shown: string): string => shown.replaceAll(`${folder}/`, '');
    const written = existsSync(join(folder, 'out')) ? readFileSync(join(folder, 'out'), 'utf8') : '';
    return { ...done, stdout: strip(done.stdout), stderr: strip(done.stderr), written };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

status('the faults of a configuration file are 2, one line each, beside those of the flags', async () => {
  const text = `${KIND}mode: nonsense\noomScoreAdj: "x"\n`;
  const { status, stdout, stderr } = await withConfig(text, ['--config=FOLDER/config.conf', '--nope']);
  assert.equal([status, stdout], [2, '']);
  const lines = stderr.trimEnd().split('\n');
  assert.is(lines.length, 3, stderr);
  assert.is(lines[0], 'kube-proxy: --nope: unknown flag; see kube-proxy --help');
  assert.match(lines[1]!, /^kube-proxy: config\.conf:4: oomScoreAdj: "x" is not a whole number/);
  assert.match(lines[2]!, /^kube-proxy: config\.conf:3: mode: there is no mode "nonsense"/);
});

status('a configuration file that cannot be read is 2 and one line', async () => {
  for (const [name, reason] of [
    ['none', 'does not exist; give the file of a KubeProxyConfiguration'],
    ['', 'is a folder; give the file in it that holds the KubeProxyConfiguration'],
  ]) {
    const { status, stderr } = await withConfig('', [`--config=FOLDER/${name}`]);
    assert.is(status, 2);
    assert.match(stderr, new RegExp(`^kube-proxy: --config: [^\\n]*: ${reason}\\n$`));
  }
});

status('cleaning up does not look at the configuration file', async () => {
  // The unknown flag keeps it from cleaning up this host.
  const { status, stderr } = await run(['--cleanup', '--config=/nonexistent/config.conf', '--nope']);
  assert.equal([status, stderr], [2, 'kube-proxy: --nope: unknown flag; see kube-proxy --help\n']);
});

status('writing the configuration is 0 and a line that says where', async () => {
  const argv = ['--config=FOLDER/config.conf', '--write-config-to=FOLDER/out', '--cluster-cidr=10.0.0.0/8'];
  const { status, stdout, stderr, written } = await withConfig(`${KIND}clusterCIDR: 10.244.0.0/16\n`, argv);
  assert.equal([status, stdout], [0, 'kube-proxy: wrote the configuration to out\n']);
  assert.match(written, /\nclusterCIDR: 10\.244\.0\.0\/16\n/);
  assert.is(stderr.trimEnd().split('\n').length, 1, 'the warning of a flag that is ignored');
  assert.match(stderr, /--cluster-cidr \(clusterCIDR\)/);
});

status('a configuration that cannot be written is 1 and one line', async () => {
  const { status, stderr } = await run(['--write-config-to=/nonexistent/out']);
  assert.is(status, 1);
  assert.match(stderr, /^kube-proxy: \/nonexistent\/out: cannot be written [^\n]*\n$/);
});

status('render goes by the configuration file', async () => {
  const manifests = `--manifests=${join(import.meta.dirname, '..', '..', '..', 'release')}`;
  const argv = ['render', manifests, '--config=FOLDER/config.conf', '--backend-option=format=xml'];
  const { status, stderr } = await withConfig(`${KIND}mode: dry-run\n`, argv);
  assert.is(status, 2);
  assert.match(stderr, /^kube-proxy: dry-run backend options: format/);
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
