/** install.sh, on trees of its own (--root): what it installs, where, and that it needs nothing for it. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ensurePackages } from '../../build/packages.ts';
import { skip } from '../skip.ts';
import {
  BARE,
  BASE_PATH,
  emptyTree,
  FIRST,
  HERE,
  INSTALLED,
  install,
  installed,
  PROGRAM,
  pathWith,
  RECORDS,
  refused,
  SCRATCH,
  SECOND,
  UNIT,
  unchanged,
  uninstalled,
  usedTree,
  which,
} from './install-tree.ts';
import { ROOT } from './program.ts';
import { INSTALLER, snapshot, writeSums } from './release-folder.ts';

const test = suite('install.sh');

test('it installs the program of this machine, its page and licences, the unit and the examples, for all to read and root to write', () => {
  const root = emptyTree();
  installed(root, FIRST);
  const found = snapshot(root);
  assert.equal(Object.keys(found), [...INSTALLED, ...RECORDS].sort());
  const wanted = snapshot(FIRST);
  assert.is(found[PROGRAM], wanted[`kube-proxy-linux-${HERE}`]);
  for (const path of INSTALLED) assert.is(statSync(join(root, path)).mode & 0o7777, path === PROGRAM ? 0o755 : 0o644);
});

test('for another system it says how the service is enabled there, and not how it is started here', () => {
  const root = emptyTree();
  const { stdout } = installed(root, FIRST);
  assert.match(stdout, `systemctl --root=${root} enable kube-proxy;`);
  assert.not.match(stdout, '--now');
});

const noSystemctl = which('systemctl') === '' ? 'there is no systemctl' : '';
if (noSystemctl) skip('what it says for another system enables the service there', noSystemctl);
else {
  test('what it says for another system enables the service there', () => {
    const root = emptyTree();
    const [, ...args] = /systemctl ([^;]*);/.exec(installed(root, FIRST).stdout)?.[0].slice(0, -1).split(' ') ?? [];
    const { status, stderr } = spawnSync('systemctl', args, { encoding: 'utf8' });
    assert.is(status, 0, stderr);
    const wanted = join(root, 'etc/systemd/system/multi-user.target.wants/kube-proxy.service');
    assert.is(readlinkSync(wanted), `/${UNIT}`);
  });
}

test('a second run changes nothing and says so', () => {
  const root = usedTree();
  installed(root, FIRST);
  const check = unchanged(root);
  const { stdout } = installed(root, FIRST);
  assert.match(stdout, /all is in place already .*nothing was changed/);
  check();
});

test('the executable is the one for what uname calls the machine; for others there is none', () => {
  for (const [machine, arch] of [
    ['x86_64', 'x64'],
    ['aarch64', 'arm64'],
  ]) {
    const root = emptyTree();
    const outcome = install(['--from', FIRST, '--root', root], pathWith('uname', `echo ${machine}`));
    assert.is(outcome.status, 0, outcome.stderr);
    assert.is(snapshot(root)[PROGRAM], snapshot(FIRST)[`kube-proxy-linux-${arch}`]);
  }
  const root = emptyTree();
  const check = unchanged(root);
  refused(install(['--from', FIRST, '--root', root], pathWith('uname', 'echo riscv64')), /riscv64/);
  check();
  const other = HERE === 'x64' ? 'arm64' : 'x64';
  installed(root, FIRST, '--arch', other);
  assert.is(snapshot(root)[PROGRAM], snapshot(FIRST)[`kube-proxy-linux-${other}`]);
});

test('with another prefix the unit starts the program where it is', () => {
  const root = emptyTree();
  installed(root, FIRST, '--prefix', '/opt/node-proxy');
  assert.ok(existsSync(join(root, 'opt/node-proxy/bin/kube-proxy')));
  const unit = readFileSync(join(root, UNIT), 'utf8');
  assert.match(unit, /^ExecStart=\/opt\/node-proxy\/bin\/kube-proxy /m);
  assert.not.match(unit, /\/usr\/local/);
});

test('without a service only the program, its page and its licences are installed', () => {
  const root = emptyTree();
  const { stdout } = installed(root, FIRST, '--no-service');
  assert.equal(Object.keys(snapshot(root)), [...BARE, ...RECORDS].sort());
  assert.not.match(stdout, 'systemctl');
});

test('an upgrade replaces the program and leaves a configuration of the administrator alone', () => {
  const root = emptyTree();
  installed(root, FIRST);
  writeFileSync(join(root, 'etc/kube-proxy/config.yaml'), 'mine\n');
  writeFileSync(join(SECOND, 'kube-proxy-config.yaml'), '# a newer example\n');
  writeSums(SECOND);
  installed(root, SECOND);
  assert.is(snapshot(root)[PROGRAM], snapshot(SECOND)[`kube-proxy-linux-${HERE}`]);
  assert.is(readFileSync(join(root, 'etc/kube-proxy/config.yaml'), 'utf8'), 'mine\n');
  const { stdout } = uninstalled(root);
  assert.match(stdout, /left, because they were changed: \/etc\/kube-proxy\/config\.yaml/);
  assert.equal(Object.keys(snapshot(root)), ['etc/kube-proxy/config.yaml']);
});

test('a link within the tree is followed, however the tree is named', () => {
  const root = emptyTree();
  mkdirSync(join(root, 'opt/local'), { recursive: true });
  mkdirSync(join(root, 'usr'));
  symlinkSync('../opt/local', join(root, 'usr/local'));
  const other = `${root}-by-another-name`;
  symlinkSync(root, other);
  installed(other, FIRST);
  assert.is(snapshot(root)['opt/local/bin/kube-proxy'], snapshot(FIRST)[`kube-proxy-linux-${HERE}`]);
  uninstalled(other);
  assert.equal(Object.keys(snapshot(root)), ['usr/local']);
  assert.ok(existsSync(join(root, 'opt/local')));
  rmSync(other);
});

test('a script cut short does nothing', () => {
  const lines = readFileSync(INSTALLER, 'utf8').split('\n');
  const root = emptyTree();
  const env = { ...process.env, TMPDIR: SCRATCH };
  const args = ['-s', '--', '--from', FIRST, '--root', root, '--no-service'];
  const runFirst = (count: number) => {
    const input = lines.slice(0, count).join('\n');
    return spawnSync('/bin/sh', args, { input, encoding: 'utf8', env });
  };
  const end = lines.findLastIndex((line) => line.startsWith('main '));
  for (let count = 0; count <= end; count += count < end - 20 ? 20 : 1) {
    const { stdout } = runFirst(count);
    assert.is(stdout, '', `${count} lines`);
    assert.equal(snapshot(root), {}, `${count} lines`);
  }
  assert.is(runFirst(end + 1).status, 0, 'whole, from a pipe, it installs');
  assert.ok(existsSync(join(root, PROGRAM)));
});

test('Debian’s base without curl and wget is enough for a local folder', () => {
  const root = emptyTree();
  const outcome = install(['--from', FIRST, '--root', root], BASE_PATH);
  assert.is(outcome.status, 0, outcome.stderr);
  assert.is(install(['--uninstall', '--root', root], BASE_PATH).status, 0);
  assert.equal(snapshot(root), {});
});

test('--version tells what is installed and what of it was changed; --help tells the rest', () => {
  const root = emptyTree();
  assert.match(install(['--version', '--root', root]).stdout, /nothing is installed/);
  installed(root, FIRST);
  writeFileSync(join(root, UNIT), 'mine\n');
  const { stdout } = install(['--version', '--root', root]);
  assert.match(stdout, /^[0-9a-f]{64} {2}\/usr\/local\/bin\/kube-proxy$/m);
  assert.match(stdout, /^changed since it was installed: \/etc\/systemd\/system\/kube-proxy\.service$/m);
  const help = install(['--help']);
  assert.is(help.status, 0);
  for (const flag of readFileSync(INSTALLER, 'utf8').matchAll(/^ {6}(--[a-z-]+)/gm)) {
    assert.ok(help.stdout.includes(flag[1]!), flag[1]);
  }
});

test('it leaves no files of its own behind', () => {
  assert.equal(
    Object.keys(snapshot(SCRATCH)).filter((name) => name.startsWith('kube-proxy-install.')),
    [],
  );
});

const noShellcheck = failure(() => ensurePackages(['shellcheck']));
if (noShellcheck) skip('shellcheck finds nothing', noShellcheck);
else {
  test('shellcheck finds nothing', () => {
    for (const script of [INSTALLER, join(ROOT, 'release/docker/collect.sh')]) {
      const { status, stdout } = spawnSync('shellcheck', ['--shell=sh', script], { encoding: 'utf8' });
      assert.is(status, 0, stdout);
    }
  });
}

test.run();

/** The message of what it throws; "" if it does not. */
function failure(action: () => void): string {
  try {
    action();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}
