/**
 * `kube-proxy plugins` and `kube-proxy cleanup` with plugins in files. In private namespaces, since built-in backends
 * are tried and cleaned up here.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListedBackend } from '../../../core/cli/plugins.ts';
import { isolateTests } from '../../netns/isolated.ts';
import { skip } from '../../skip.ts';
import {
  at,
  begin,
  calls,
  config,
  folder,
  manifests,
  run,
  savedRules,
  source,
  told,
  write,
} from '../plugin/telling.ts';
import { MAIN } from './program.ts';

await isolateTests(['iptables', 'nftables']);

async function listed(...argv: readonly string[]): Promise<readonly ListedBackend[]> {
  const { status, stdout, stderr } = await run('plugins', '--output=json', ...argv);
  assert.is(status, 0, stderr);
  return JSON.parse(stdout);
}
const named = (all: readonly ListedBackend[], name: string): ListedBackend | undefined =>
  all.find((one) => one.name === name);

const list = suite('kube-proxy plugins');
list.before.each(begin);

list('built-in backends are listed with their version, what they support here, and what they can do', async () => {
  const { version } = JSON.parse(readFileSync(join(MAIN, '..', '..', 'package.json'), 'utf8'));
  const all = await listed();
  assert.equal(
    all.map(({ name }) => name),
    ['iptables', 'nftables', 'ipvs', 'userspace', 'exec', 'dry-run'],
  );
  for (const one of all) assert.equal([one.version, one.file], [version, '']);
  const [iptables, dryRun, exec] = [named(all, 'iptables'), named(all, 'dry-run'), named(all, 'exec')];
  assert.ok(iptables?.families.includes('IPv4'), iptables?.reason);
  assert.equal(iptables?.abilities, ['checks itself', 'uses conntrack', 'sets kernel parameters', 'renders']);
  assert.equal(dryRun?.families, ['IPv4', 'IPv6']);
  assert.equal(dryRun?.abilities, ['renders', 'leaves the host alone']);
  assert.is(exec?.code, 'KP_BACKEND_OPTION');
  assert.match(exec?.reason ?? '', /command=/);
});

list('one whose name is a getter that throws is a line of the list, and the others are theirs', async () => {
  const head =
    "let asked = 0;\nconst once = () => { if (asked++ > 1) throw new Error('asked too often'); return 'odd'; };";
  for (const times of [0, 1, 2, 3, 4]) {
    const text = `${head.replace('> 1', `> ${times}`)}
export default { get name() { return once(); }, apiVersion: 1, summary: 's', async create() {} };\n`;
    const path = write(`odd-${times}.mjs`, text);
    const all = await listed('--backend', path);
    assert.equal([all.length, all.at(-1)?.families.length], [7, 0], `${times}`);
    assert.ok(all.at(-1)?.reason !== '');
  }
});

list('each is one line of text, and nothing of the host is changed', async () => {
  const before = savedRules();
  const { status, stdout, stderr } = await run('plugins');
  assert.equal([status, stderr], [0, '']);
  assert.match(stdout, /^iptables {3}\d+\.\d+\.\d+ {2}built in {2}IPv4.*; .*uses conntrack.*\n/);
  assert.match(stdout, /\nipvs {7}\S+ {2}built in {2}\S/);
  assert.match(stdout, /\nuserspace {2}\S+ {2}built in {2}IPv4.*; .*hides sources, .*serves TCP and UDP only\n/);
  assert.match(stdout, /\nexec {7}\S+ {2}built in {2}needs options that fit: .*\n/);
  assert.match(stdout, /\ndry-run {4}\S+ {2}built in {2}IPv4, IPv6; renders, leaves the host alone\n$/);
  assert.is(savedRules(), before);
});

list('those of a folder are tried with it, and without it nobody looks there', async () => {
  write('p/acme.mjs', source('acme', { plugin: "version: '1.2.0', render: () => ''," }));
  write(
    'p/beta/index.mjs',
    source('beta', { families: "'IPv6'", create: "host.log.warn('no IPv4', { reason: 'r' });" }),
  );
  assert.is(named(await listed(), 'acme'), undefined);
  const all = await listed('--plugin-dir=p');
  assert.equal(named(all, 'acme'), {
    name: 'acme',
    version: '1.2.0',
    file: at('p', 'acme.mjs'),
    summary: 'tells its calls',
    families: ['IPv4', 'IPv6'],
    abilities: ['renders'],
    remarks: [],
    reason: '',
    code: '',
  });
  assert.equal(named(all, 'beta')?.families, ['IPv6']);
  assert.equal(told(), ['acme create {}', 'acme close', 'beta create {}', 'beta close']);
  const { stdout } = await run('plugins', '--plugin-dir', at('p'));
  assert.ok(stdout.includes(`${at('p', 'beta', 'index.mjs')}  IPv6 only: no IPv4 reason=r\n`), stdout);
});

list('one that is given by its path is listed, with its options', async () => {
  const path = write('my.mjs', source('acme', {}));
  const all = await listed('--backend=./my.mjs', '--backend-option=a=b');
  assert.equal([named(all, 'acme')?.file, named(all, 'acme')?.reason], [path, '']);
  assert.equal(told(), ['acme create {"a":"b"}', 'acme close']);
});

list('the configuration file names folder and options as well', async () => {
  write('p/acme.mjs', source('acme', {}));
  const kind = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
  write('config.conf', `${kind}backend: acme\npluginDir: ${at('p')}\nbackendOptions: {to: [1, {a: true}]}\n`);
  await listed(`--config=${config}`);
  assert.equal(told(), ['acme create {"to":[1,{"a":true}]}', 'acme close']);
});

list('what is wrong with a plugin is its line, and the others are listed all the same', async () => {
  const unsupported = "throw Object.assign(new Error('no such kernel'), { code: 'KP_BACKEND_UNSUPPORTED' });";
  write('p/acme.mjs', source('acme', {}));
  write('p/broken.mjs', '\nconst x = ;\n');
  write('p/exits.cjs', 'process.exit(7);');
  write('p/iptables.mjs', source('iptables', {}));
  write('p/lacking.mjs', source('lacking', { create: unsupported }));
  write('p/nothing.mjs', source('nothing', { create: 'return 5;' }));
  write('p/staying.mjs', source('staying', { head: 'setInterval(() => {}, 1000);' }));
  write('p/throwing.mjs', source('throwing', { head: "setTimeout(() => { throw new Error('at large'); }, 0);" }));
  write('p/two.js', '');
  write('p/two.ts', '');
  chmodSync(write('p/writable.mjs', source('writable', {})), 0o666);
  const all = await listed('--plugin-dir=p', '--backend=./none.js');
  const codes = all.filter(({ file }) => file !== '').map(({ name, code }) => `${name} ${code}`);
  assert.equal(codes, [
    'acme ',
    'broken KP_PLUGIN_LOAD',
    'exits KP_PLUGIN_LOAD',
    'iptables KP_PLUGIN_NAME',
    'lacking KP_BACKEND_UNSUPPORTED',
    'nothing KP_BACKEND_SHAPE',
    'staying ',
    'throwing ',
    'two KP_PLUGIN_AMBIGUOUS',
    'writable KP_PLUGIN_WRITABLE',
    'none KP_PLUGIN_NOT_FOUND',
  ]);
  const { stdout } = await run('plugins', '--plugin-dir=p');
  const lines = stdout.trimEnd().split('\n');
  assert.is(lines.length, 6 + 10, stdout);
  assert.match(stdout, /\niptables +- +\S+\/iptables\.mjs +faulty \(KP_PLUGIN_NAME\): calls itself "iptables", which/);
  assert.match(stdout, /\nbroken +- +\S+\/broken\.mjs +faulty \(KP_PLUGIN_LOAD\): cannot be loaded: .*\(line 2\)/);
  assert.match(stdout, /\nlacking +- +\S+ +not on this node: .*no such kernel\n/);
});

list('a folder that cannot be read is a fault of the line', async () => {
  const { status, stdout, stderr } = await run('plugins', '--plugin-dir=none');
  assert.equal([status, stdout], [2, '']);
  assert.match(stderr, /^kube-proxy: \S+\/none: is where plugins are to be looked for, and cannot be read .*\n$/);
});

list('--output is for this command', async () => {
  const { status, stderr } = await run('render', `--manifests=${manifests}`, '--output=json');
  assert.is(status, 2);
  assert.match(stderr, /^kube-proxy: --output: is for kube-proxy plugins .*only\n$/);
});

const ANOTHER_USER = ['--reuid', '65534', '--clear-groups', '--'];
const readable = spawnSync('setpriv', [
  ...ANOTHER_USER,
  'sh',
  '-c',
  `test -x "$0" && test -r "$1"`,
  process.execPath,
  MAIN,
]);
const OTHERS = 'another user is told what could not be tried';
if (readable.status !== 0) skip(OTHERS, 'there is no other user here who may read the program');
else {
  list(OTHERS, () => {
    const argv = [...ANOTHER_USER, process.execPath, MAIN, 'plugins'];
    const stdout = execFileSync('setpriv', argv, { encoding: 'utf8' });
    assert.match(stdout, /^iptables .* built in {2}not as this user, who is not root: .*\n/);
    assert.match(stdout, /\ndry-run .* IPv4, IPv6; renders/);
  });
}

const cleanup = suite('kube-proxy cleanup with a plugin');
cleanup.before.each(begin);

cleanup('the plugin that is named cleans up, too, with its options', async () => {
  write('p/acme.mjs', source('acme', {}));
  const { status, stdout, stderr } = await run('cleanup', '--plugin-dir=p', '--backend=acme', '--backend-option=a=b');
  assert.is(status, 0, stderr);
  assert.match(stdout, /^iptables: cleaned up$/m);
  assert.match(stdout, /\nexec: not tried; if it ran here: kube-proxy cleanup --backend exec, .*\n/);
  assert.match(stdout, /\nacme: cleaned up\n$/);
  assert.equal(told(), ['acme create {"a":"b"}', 'acme cleanup {"a":"b"}', 'acme close']);
});

cleanup('without its name nobody looks for it', async () => {
  write('p/acme.mjs', source('acme', {}));
  const { status, stdout } = await run('cleanup', '--plugin-dir=p');
  assert.equal([status, told()], [0, []]);
  assert.not.match(stdout, /acme/);
});

const kind = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

cleanup('what the configuration file names cleans up, too, with its options', async () => {
  write('p/acme.mjs', source('acme', {}));
  write('config.conf', `${kind}backend: acme\npluginDir: ${at('p')}\nbackendOptions: {to: [1, {a: true}]}\n`);
  const { status, stdout, stderr } = await run('cleanup', '--config', config);
  assert.equal([status, stderr], [0, '']);
  assert.match(stdout, /^iptables: cleaned up$/m);
  assert.match(stdout, /\nacme: cleaned up\n$/);
  const options = '{"to":[1,{"a":true}]}';
  assert.equal(told(), [`acme create ${options}`, `acme cleanup ${options}`, 'acme close']);
});

cleanup('so does the program of exec that it names', async () => {
  const answers =
    `read line; echo '{"type":"ready"}'; read line; echo "$line" >${calls}; ` +
    `echo '{"type":"done","id":1}'; read line\n`;
  chmodSync(write('program', `#!/bin/sh\n${answers}`), 0o755);
  write('config.conf', `${kind}backend: exec\nbackendOptions: {command: ${at('program')}}\n`);
  const { status, stdout, stderr } = await run('cleanup', '--config', config);
  assert.is(status, 0, stderr);
  assert.match(stdout, /\nexec: cleaned up\n/);
  assert.equal(told(), ['{"type":"cleanup","id":1}']);
});

cleanup('a file that is gone, is faulty, or names what cannot be loaded keeps nobody from cleaning up', async () => {
  write('broken.mjs', 'const = 1;');
  for (const [text, says] of [
    [undefined, /^kube-proxy: --config: \S+\/config\.conf: does not exist.*; what it names is not cleaned up\n$/],
    [
      `${kind}backend: nine\nsyncPeriod: 1\n`,
      /^kube-proxy: \S+config\.conf:\d+: .*nine.*; what it names is not cl.*\n$/,
    ],
    [
      `${kind}backend: ${at('broken.mjs')}\n`,
      /^kube-proxy: \S+broken\.mjs: cannot be loaded: .*; it is not cleaned up\n$/,
    ],
  ] as const) {
    begin();
    write('broken.mjs', 'const = 1;');
    if (text !== undefined) write('config.conf', text);
    const { status, stdout, stderr } = await run('cleanup', '--config', config);
    assert.is(status, 1);
    assert.match(stderr, says);
    assert.match(stdout, /^iptables: cleaned up\nnftables: cleaned up\n/m);
  }
});

cleanup('one that fails is told, and the others are cleaned up all the same', async () => {
  const path = write('acme.mjs', source('acme', { backend: "async cleanup() { throw new Error('stuck'); }," }));
  const { status, stdout, stderr } = await run('cleanup', '--backend', path);
  assert.is(status, 1);
  assert.match(stdout, /^iptables: cleaned up$/m);
  assert.match(stderr, /kube-proxy: cleanup of acme: .*stuck \(acme\.mjs:\d+\)\n$/);
});

cleanup('one that cannot be loaded is told before anything is removed', async () => {
  const path = write('acme.mjs', 'const = 1;');
  const { status, stdout, stderr } = await run('cleanup', '--backend', path);
  assert.equal([status, stdout], [2, '']);
  assert.match(stderr, /^kube-proxy: \S+acme\.mjs: cannot be loaded: /);
});

const kit = suite('kube-proxy plugin test');
kit.before.each(begin);

kit('a plugin is found by its name in a folder', async () => {
  write(
    'p/acme.mjs',
    source('acme', { create: "throw Object.assign(new Error('not here'), { code: 'KP_BACKEND_UNSUPPORTED' });" }),
  );
  const { stdout, stderr } = await run('plugin', 'test', 'acme', '--plugin-dir=p', '--packets=no');
  assert.not.match(stderr, /there is no backend/);
  assert.match(stdout + stderr, /acme/);
});

kit.after(() => rmSync(folder, { recursive: true }));
list.run();
cleanup.run();
kit.run();
