/** install.sh, on trees of its own (--root): what it refuses, always before anything changes. */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  emptyTree,
  FIRST,
  HERE,
  install,
  installed,
  PROGRAM,
  refused,
  SCRATCH,
  SECOND,
  treeOf,
  UNIT,
  unchanged,
  usedTree,
} from './install-tree.ts';
import { makeRelease, pathsBelow, snapshot } from './release-folder.ts';

const test = suite('install.sh refuses');

const NAMES = [
  `kube-proxy-linux-${HERE}`,
  'kube-proxy.8',
  'LICENSE',
  'THIRD-PARTY-NOTICES',
  'kube-proxy.service',
  'kube-proxy-config.yaml',
];

for (const name of NAMES) {
  test(`a ${name} that is not what SHA256SUMS says is refused before anything changes`, () => {
    const bad = makeRelease(join(SCRATCH, `bad-${name}`), '1.0.0');
    writeFileSync(join(bad, name), `${readFileSync(join(bad, name), 'utf8')}\n`);
    const root = usedTree();
    const check = unchanged(root);
    const said = new RegExp(`${name} has the SHA-256 [0-9a-f]{64}.*nothing was changed`);
    refused(install(['--from', bad, '--root', root]), said);
    check();
  });

  test(`a release without the digest of ${name}, or with half of one, is refused before anything changes`, () => {
    const folder = makeRelease(join(SCRATCH, `unlisted-${name}`), '1.0.0');
    const root = usedTree();
    const check = unchanged(root);
    const sums = readFileSync(join(folder, 'SHA256SUMS'), 'utf8');
    for (const line of ['', `0  ${name}\n`]) {
      writeFileSync(join(folder, 'SHA256SUMS'), sums.replace(new RegExp(`^.*  ${name}\n`, 'm'), line));
      refused(install(['--from', folder, '--root', root]), new RegExp(`SHA256SUMS has no digest of ${name};`));
      check();
    }
  });
}

test('a release without SHA256SUMS, or without a file, is refused before anything changes', () => {
  const folder = makeRelease(join(SCRATCH, 'incomplete'), '1.0.0');
  const root = usedTree();
  const check = unchanged(root);
  for (const name of ['kube-proxy.8', 'SHA256SUMS']) {
    rmSync(join(folder, name));
    const outcome = install(['--from', folder, '--root', root]);
    assert.is(outcome.status, 1);
    // cp says why, too.
    assert.match(outcome.stderr, new RegExp(`${name} could not be read; nothing was changed`));
    check();
  }
});

test('--sums is believed instead of the SHA256SUMS beside the files', () => {
  const root = emptyTree();
  const check = unchanged(root);
  refused(install(['--from', SECOND, '--root', root, '--sums', join(FIRST, 'SHA256SUMS')]), /has the SHA-256/);
  check();
  installed(root, FIRST, '--sums', join(FIRST, 'SHA256SUMS'));
});

test('a folder in the place of a file is refused before anything changes', () => {
  for (const path of [PROGRAM, UNIT]) {
    const root = emptyTree();
    mkdirSync(join(root, path), { recursive: true });
    const check = unchanged(root);
    refused(install(['--from', FIRST, '--root', root]), new RegExp(`${path} is a folder`));
    check();
  }
});

for (const [at, missing] of [
  ['usr', 'usr/local'],
  ['usr', 'usr/local/bin'],
  ['usr', 'usr/local/share/doc'],
  ['etc', 'etc/kube-proxy'],
  ['etc/systemd', 'etc/systemd/system'],
  ['var', 'var/lib'],
]) {
  test(`a tree whose /${missing} leads out of it is refused, and what is there is not touched`, () => {
    for (const target of ['absolute', 'relative', 'dangling'] as const) {
      const [root, host] = [emptyTree(), emptyTree()];
      mkdirSync(join(root, at!), { recursive: true });
      if (missing!.split('/').length > 2) mkdirSync(join(root, missing!, '..'), { recursive: true });
      if (target === 'dangling') rmSync(host, { recursive: true });
      const up = '../'.repeat(missing!.split('/').length);
      symlinkSync(target === 'relative' ? `${up}${host.split('/').at(-1)}` : host, join(root, missing!));
      const before = treeOf(root);
      const said = new RegExp(`${missing} leads to .*nothing was changed`);
      refused(install(['--from', FIRST, '--root', root]), said);
      assert.equal(treeOf(root), before, target);
      if (target !== 'dangling') assert.equal(pathsBelow(host), [], target);
    }
  });
}

test('where a folder has been replaced by a link out of the tree, uninstalling is refused, too', () => {
  const [root, host] = [emptyTree(), emptyTree()];
  installed(root, FIRST);
  installed(host, FIRST);
  rmSync(join(root, 'usr/local'), { recursive: true });
  symlinkSync(join(host, 'usr/local'), join(root, 'usr/local'));
  const [here, there] = [unchanged(root), unchanged(host)];
  refused(install(['--uninstall', '--root', root]), /usr\/local\/.* leads to .*nothing was changed/);
  here();
  there();
});

test('what is wrong on its command line is one line and status 2', () => {
  const root = emptyTree();
  for (const args of [
    [],
    ['--from'],
    ['--frm', FIRST],
    ['--from', join(SCRATCH, 'nowhere')],
    ['--from', FIRST, '--prefix', 'usr'],
    ['--from', FIRST, '--prefix', '/usr local'],
    ['--from', FIRST, '--arch', 'mips'],
    ['--from', FIRST, '--root', join(SCRATCH, 'nowhere')],
    ['--from', FIRST, '--cleanup'],
    ['--uninstall', '--cleanup', '--root', root],
  ]) {
    const outcome = install(args);
    assert.is(outcome.status, 2, `${args}: ${outcome.stdout}${outcome.stderr}`);
    assert.is(outcome.stderr.trim().split('\n').length, 1);
  }
  assert.equal(snapshot(root), {});
});

test.run();
