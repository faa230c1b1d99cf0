/** install.sh --uninstall, on trees of its own (--root): it takes back all that was installed, and nothing else. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
  pathWith,
  SCRATCH,
  SECOND,
  treeOf,
  uninstalled,
  usedTree,
} from './install-tree.ts';
import { pathsBelow, snapshot } from './release-folder.ts';

const test = suite('install.sh --uninstall');

for (const [what, tree] of [
  ['nothing', emptyTree],
  ["another's program, unit and page", usedTree],
] as const) {
  test(`where ${what} was before, uninstalling leaves exactly that, also after upgrades`, () => {
    const root = tree();
    const before = treeOf(root);
    installed(root, FIRST);
    installed(root, SECOND);
    installed(root, FIRST);
    uninstalled(root);
    assert.equal(treeOf(root), before);
    assert.match(uninstalled(root).stdout, /nothing is installed/);
  });
}

test('of all prefixes that it was installed with, it leaves nothing', () => {
  const root = emptyTree();
  for (const prefix of ['/opt/one', '/opt/two']) installed(root, FIRST, '--prefix', prefix);
  uninstalled(root);
  assert.equal(pathsBelow(root), []);
});

test('a folder that was there before stays, empty as it was; one in which somebody put something stays, too', () => {
  const root = emptyTree();
  for (const folder of ['usr/local/share/man/man8', 'etc/kube-proxy'])
    mkdirSync(join(root, folder), { recursive: true });
  const before = pathsBelow(root);
  installed(root, FIRST);
  writeFileSync(join(root, 'usr/local/bin/another'), '');
  uninstalled(root);
  assert.equal(pathsBelow(root), [...before, 'usr/local/bin', 'usr/local/bin/another'].sort());
});

test('what somebody put in place of an installed file is kept, too, and is what comes back', () => {
  const root = usedTree();
  installed(root, FIRST);
  writeFileSync(join(root, PROGRAM), 'the program of in between\n');
  installed(root, SECOND);
  const { stdout } = uninstalled(root);
  assert.is(readFileSync(join(root, PROGRAM), 'utf8'), 'the program of in between\n');
  assert.match(stdout, /more that was replaced is in/);
  const kept = join(root, 'var/lib/kube-proxy-install/replaced', `${PROGRAM}.1`);
  assert.is(readFileSync(kept, 'utf8'), 'the program of before\n');
});

test('a file that was there with the very content is nobody else’s to remove', () => {
  const root = emptyTree();
  mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
  writeFileSync(join(root, PROGRAM), readFileSync(join(FIRST, `kube-proxy-linux-${HERE}`)), { mode: 0o755 });
  installed(root, FIRST);
  uninstalled(root);
  assert.equal(Object.keys(snapshot(root)), [PROGRAM]);
});

test('interrupted at any rename, it leaves whole files; run again it completes; and uninstalling leaves what was before', () => {
  let failures = 0;
  for (let attempt = 0; attempt < 20; attempt++) {
    const at = attempt >> 1;
    const root = usedTree();
    const before = treeOf(root);
    if (attempt % 2 === 0) installed(root, SECOND);
    const countdown = join(SCRATCH, `countdown-${attempt}`);
    writeFileSync(countdown, 'x'.repeat(at));
    // Each call takes one letter; the call without any left fails, as on a full disk.
    const script = `count=$(cat ${countdown}); [ -n "$count" ] || exit 1; printf %s "\${count#?}" >${countdown}; exec /bin/mv "$@"`;
    const outcome = install(['--from', FIRST, '--root', root], pathWith('mv', script));
    if (outcome.status !== 0) failures++;
    const programs = [snapshot(FIRST), snapshot(SECOND)].map((files) => files[`kube-proxy-linux-${HERE}`]);
    assert.ok([before.files[PROGRAM], ...programs].includes(snapshot(root)[PROGRAM]), 'a whole program');
    assert.not.ok(Object.keys(snapshot(root)).some((name) => /\.new-\d+$/.test(name)));
    installed(root, FIRST);
    assert.is(snapshot(root)[PROGRAM], programs[0]);
    uninstalled(root);
    assert.equal(treeOf(root), before, `interrupted at rename ${at}`);
  }
  assert.ok(failures > 12, `${failures} of the interruptions came to pass`);
});

test('an installation that fails leaves no folder that it made', () => {
  const root = emptyTree();
  const { status } = install(['--from', FIRST, '--root', root], pathWith('chmod', 'exit 1'));
  assert.is.not(status, 0);
  assert.equal(pathsBelow(root), []);
  assert.not.ok(existsSync(join(root, 'usr')));
});

test.run();
