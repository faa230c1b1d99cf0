/**
 * The packed executable in the places where a node may put it: a root that cannot be written, folders that run nothing,
 * a machine that has the C library and nothing else. Everything in private namespaces, mounts included.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isolateTests } from '../netns/isolated.ts';
import { manifests, startPacked } from './daemon.ts';
import { EXECUTABLE, run } from './executable.ts';

await isolateTests(['nftables']);
const test = suite('packed places');

/** A shell in mounts of its own, which prepares a place; the words after it are run there. */
const inMounts = (script: string): readonly string[] => [
  'unshare',
  '--mount',
  'sh',
  '-ec',
  `${script}; exec "$@"`,
  'sh',
];

async function serves(before: readonly string[], program?: string): Promise<void> {
  const state = manifests('10.244.1.5');
  const daemon = startPacked(['--manifests', state.file, '--backend', 'nftables'], before, program);
  try {
    await daemon.says(/Ready/);
    assert.match(ruleset(), '10.244.1.5', daemon.log());
    state.write('10.244.1.5', '10.244.1.6');
    await daemon.says(/sync="(?!full)/);
    assert.is(await daemon.stop(), 0, daemon.log());
    assert.match(ruleset(), '10.244.1.6', 'rules outlive the process');
  } finally {
    await daemon.stop('SIGKILL');
    state.remove();
    assert.is(run([EXECUTABLE, 'cleanup']).status, 0);
    assert.not.match(ruleset(), /kube|10\.96/i);
  }
}

const ruleset = (): string => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });

test('it serves where the root cannot be written', () =>
  serves(inMounts('mount --rbind / / && mount -o remount,bind,ro / && ! touch /x 2>/dev/null')));

const NOEXEC = 'mount -t tmpfs -o noexec tmpfs';

test('it serves where /tmp and /run run no programs', () =>
  serves(
    inMounts(`cp -r /tmp/packed-* /mnt/ 2>/dev/null || true; mount -o remount,bind,noexec /run || ${NOEXEC} /run`),
  ));

test('where no folder can run programs it says which there are and what to do', () => {
  const folders = ['/run', '/var/tmp', '/var/lib', '/dev/shm'];
  const script = ['mkdir -p /dev/shm', ...folders.map((folder) => `${NOEXEC} ${folder}`), `${NOEXEC} /tmp`].join(
    ' && ',
  );
  const program = '/mnt/kube-proxy';
  const before = inMounts(`mount -t tmpfs tmpfs /mnt && cp ${EXECUTABLE} ${program} && ${script} && cd /tmp`);
  const { status, stderr } = run([...before, program, 'cleanup']);
  assert.is(status, 1, stderr);
  assert.match(stderr, 'can be loaded from no folder (/run, ');
  assert.match(stderr, 'give one that is writable and not mounted noexec');
});

test('a machine with only the C and C++ libraries of a base system runs it', async () => {
  const root = mkdtempSync('/run/base-');
  const libraries = execFileSync('ldd', [EXECUTABLE], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
  const packages = new Set<string>();
  for (const [, library = ''] of libraries) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(library, join(root, library));
    // The package system knows a file by the path that it had before /lib became a link to /usr/lib.
    const names = [library, realpathSync(library), realpathSync(library).replace(/^\/usr/, '')];
    const owner = names.map((name) => run(['dpkg', '-S', name])).find(({ status }) => status === 0);
    packages.add(/^([^:]+):/.exec(owner?.stdout ?? '')?.[1] ?? library);
  }
  // apt itself needs all three.
  assert.equal([...packages].sort(), ['libc6', 'libgcc-s1', 'libstdc++6']);
  for (const folder of ['proc', 'run', 'tmp', 'sys', 'dev']) mkdirSync(join(root, folder));
  copyFileSync(EXECUTABLE, join(root, 'kube-proxy'));
  const script = [
    `mount -t proc proc ${root}/proc`,
    `mount --bind /tmp ${root}/tmp`,
    `mount -t tmpfs tmpfs ${root}/run`,
    `mount --rbind /dev ${root}/dev`,
  ].join(' && ');
  await serves([...inMounts(script), 'chroot', root], '/kube-proxy');
});

test('the signal that opens a debugger in other programs of Node.js opens none', async () => {
  const state = manifests('10.244.1.5', '10.244.1.6');
  const daemon = startPacked(['--manifests', state.file, '--backend', 'dry-run']);
  try {
    await daemon.says(/Ready/);
    daemon.child.kill('SIGUSR1');
    state.write('10.244.1.5');
    await daemon.says(/-10\.244\.1\.6/);
    assert.is(run(['ss', '-Hltn']).stdout, '');
    assert.is(await daemon.stop(), 0, daemon.log());
    assert.not.match(daemon.log(), /[Dd]ebugger/);
  } finally {
    await daemon.stop('SIGKILL');
    state.remove();
  }
});

test.run();
