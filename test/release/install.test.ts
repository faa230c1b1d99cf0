/** install.sh, on trees of its own (--root): what it installs, what it refuses, and that it takes all of it back. */
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ensurePackages } from '../../build/packages.ts';
import { skip } from '../skip.ts';
import { ROOT } from './program.ts';
import { INSTALLER, makeRelease, snapshot, writeSums } from './release-folder.ts';

const test = suite('install.sh');
const scratch = mkdtempSync(join(tmpdir(), 'kube-proxy-install-test-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

const first = makeRelease(join(scratch, 'first'), '1.0.0');
const second = makeRelease(join(scratch, 'second'), '2.0.0');
const PROGRAM = 'usr/local/bin/kube-proxy';
const UNIT = 'etc/systemd/system/kube-proxy.service';
const INSTALLED = [
  'etc/kube-proxy/config.yaml',
  'etc/kube-proxy/kube-proxy.env',
  UNIT,
  PROGRAM,
  'usr/local/share/man/man8/kube-proxy.8',
];
const RECORD = 'var/lib/kube-proxy-install/installed';
const here = process.arch === 'arm64' ? 'arm64' : 'x64';

let trees = 0;
function emptyTree(): string {
  const root = join(scratch, `root-${++trees}`);
  mkdirSync(root);
  return root;
}

/** A tree in which somebody else has installed a program and a unit, and linked the man page. */
function usedTree(): string {
  const root = emptyTree();
  for (const folder of ['usr/local/bin', 'usr/local/share/man/man8', 'etc/systemd/system']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  writeFileSync(join(root, PROGRAM), 'the program of before\n', { mode: 0o700 });
  writeFileSync(join(root, UNIT), 'the unit of before\n', { mode: 0o640 });
  symlinkSync('/opt/before.8', join(root, 'usr/local/share/man/man8/kube-proxy.8'));
  return root;
}

/** A PATH of nothing but these programs. */
function pathOf(programs: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(scratch, 'path-'));
  for (const [name, target] of Object.entries(programs)) symlinkSync(target, join(folder, name));
  return folder;
}

/** A program of the test's own that hides the one of this name. */
function pathWith(name: string, script: string): string {
  const folder = mkdtempSync(join(scratch, 'path-'));
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return `${folder}:${process.env.PATH}`;
}

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function install(args: readonly string[], path = process.env.PATH ?? ''): Outcome {
  const env = { ...process.env, PATH: path, TMPDIR: scratch };
  const { status, stdout, stderr } = spawnSync('/bin/sh', [INSTALLER, ...args], { encoding: 'utf8', env });
  return { status: status ?? -1, stdout, stderr };
}

function installed(root: string, from: string, ...args: readonly string[]): Outcome {
  const outcome = install(['--from', from, '--root', root, ...args]);
  assert.is(outcome.status, 0, outcome.stderr);
  assert.is(outcome.stderr, '');
  return outcome;
}

function uninstalled(root: string): Outcome {
  const outcome = install(['--uninstall', '--root', root]);
  assert.is(outcome.status, 0, outcome.stderr);
  return outcome;
}

function refused(root: string, outcome: Outcome, before: ReturnType<typeof snapshot>): void {
  assert.is.not(outcome.status, 0);
  assert.is(outcome.stderr.trim().split('\n').length, 1, outcome.stderr);
  assert.equal(snapshot(root, { identity: true }), before);
}

test('it installs the program of this machine, its page, the unit and the examples, for all to read and root to write', () => {
  const root = emptyTree();
  const { stdout } = installed(root, first);
  const found = snapshot(root);
  assert.equal(Object.keys(found), [...INSTALLED, RECORD].sort());
  const wanted = snapshot(first);
  assert.is(found[PROGRAM], wanted[`kube-proxy-linux-${here}`]);
  for (const path of INSTALLED) assert.is(statSync(join(root, path)).mode & 0o7777, path === PROGRAM ? 0o755 : 0o644);
  assert.match(stdout, /systemctl enable --now kube-proxy/);
});

test('a second run changes nothing and says so', () => {
  const root = usedTree();
  installed(root, first);
  const before = snapshot(root, { identity: true });
  const { stdout } = installed(root, first);
  assert.match(stdout, /all is in place already .*nothing was changed/);
  assert.equal(snapshot(root, { identity: true }), before);
});

for (const name of [`kube-proxy-linux-${here}`, 'kube-proxy.8', 'kube-proxy.service', 'kube-proxy-config.yaml']) {
  test(`a ${name} that is not what SHA256SUMS says is refused before anything changes`, () => {
    const bad = makeRelease(join(scratch, `bad-${name}`), '1.0.0');
    writeFileSync(join(bad, name), `${readFileSync(join(bad, name), 'utf8')}\n`);
    const root = usedTree();
    const before = snapshot(root, { identity: true });
    const outcome = install(['--from', bad, '--root', root]);
    refused(root, outcome, before);
    assert.match(outcome.stderr, new RegExp(`${name} has the SHA-256 [0-9a-f]{64}.*nothing was changed`));
  });
}

test('a release without digests, without one of them, or without a file is refused before anything changes', () => {
  const folder = makeRelease(join(scratch, 'incomplete'), '1.0.0');
  const root = usedTree();
  const before = snapshot(root, { identity: true });
  const sums = readFileSync(join(folder, 'SHA256SUMS'), 'utf8');
  const attempt = (): void => refused(root, install(['--from', folder, '--root', root]), before);
  for (const name of ['kube-proxy.8', `kube-proxy-linux-${here}`]) {
    writeFileSync(join(folder, 'SHA256SUMS'), sums.replace(new RegExp(`^.*  ${name}\n`, 'm'), ''));
    attempt();
    writeFileSync(join(folder, 'SHA256SUMS'), sums.replace(new RegExp(`^.*  ${name}$`, 'm'), `0  ${name}`));
    attempt();
  }
  writeFileSync(join(folder, 'SHA256SUMS'), sums);
  rmSync(join(folder, 'kube-proxy.8'));
  refusedWith(attemptOutcome(), /kube-proxy\.8/);
  rmSync(join(folder, 'SHA256SUMS'));
  refusedWith(attemptOutcome(), /SHA256SUMS could not be read/);

  function attemptOutcome(): Outcome {
    return install(['--from', folder, '--root', root]);
  }
  /** cp says why, too. */
  function refusedWith(outcome: Outcome, pattern: RegExp): void {
    assert.is(outcome.status, 1);
    assert.match(outcome.stderr, pattern);
    assert.equal(snapshot(root, { identity: true }), before);
  }
});

test('--sums is believed instead of the SHA256SUMS beside the files', () => {
  const root = emptyTree();
  const before = snapshot(root);
  const outcome = install(['--from', second, '--root', root, '--sums', join(first, 'SHA256SUMS')]);
  assert.match(outcome.stderr, /has the SHA-256/);
  assert.equal(snapshot(root), before);
  installed(root, first, '--sums', join(first, 'SHA256SUMS'));
});

test('the executable is the one for what uname calls the machine; for others there is none', () => {
  for (const [machine, arch] of [
    ['x86_64', 'x64'],
    ['aarch64', 'arm64'],
  ]) {
    const root = emptyTree();
    const outcome = install(['--from', first, '--root', root], pathWith('uname', `echo ${machine}`));
    assert.is(outcome.status, 0, outcome.stderr);
    assert.is(snapshot(root)[PROGRAM], snapshot(first)[`kube-proxy-linux-${arch}`]);
  }
  const root = emptyTree();
  const outcome = install(['--from', first, '--root', root], pathWith('uname', 'echo riscv64'));
  refused(root, outcome, {});
  assert.match(outcome.stderr, /riscv64/);
  const other = here === 'x64' ? 'arm64' : 'x64';
  installed(root, first, '--arch', other);
  assert.is(snapshot(root)[PROGRAM], snapshot(first)[`kube-proxy-linux-${other}`]);
});

test('with another prefix the unit starts the program where it is', () => {
  const root = emptyTree();
  installed(root, first, '--prefix', '/opt/node-proxy');
  assert.ok(existsSync(join(root, 'opt/node-proxy/bin/kube-proxy')));
  const unit = readFileSync(join(root, UNIT), 'utf8');
  assert.match(unit, /^ExecStart=\/opt\/node-proxy\/bin\/kube-proxy /m);
  assert.not.match(unit, /\/usr\/local/);
  uninstalled(root);
  assert.equal(snapshot(root), {});
});

test('without a service only the program and its page are installed', () => {
  const root = emptyTree();
  installed(root, first, '--no-service');
  assert.equal(Object.keys(snapshot(root)), [...INSTALLED.slice(3), RECORD].sort());
});

test('files of the service that a release lacks come from beside the script', () => {
  const bare = makeRelease(join(scratch, 'bare'), '1.0.0');
  for (const name of ['kube-proxy.service', 'kube-proxy.env', 'kube-proxy-config.yaml']) rmSync(join(bare, name));
  writeSums(bare);
  const root = emptyTree();
  installed(root, bare);
  assert.is(
    readFileSync(join(root, UNIT), 'utf8'),
    readFileSync(join(ROOT, 'release/systemd/kube-proxy.service'), 'utf8'),
  );
});

test('an upgrade replaces the program and leaves a configuration of the administrator alone', () => {
  const root = emptyTree();
  installed(root, first);
  writeFileSync(join(root, 'etc/kube-proxy/config.yaml'), 'mine\n');
  writeFileSync(join(second, 'kube-proxy-config.yaml'), '# a newer example\n');
  writeSums(second);
  installed(root, second);
  assert.is(snapshot(root)[PROGRAM], snapshot(second)[`kube-proxy-linux-${here}`]);
  assert.is(readFileSync(join(root, 'etc/kube-proxy/config.yaml'), 'utf8'), 'mine\n');
  const { stdout } = uninstalled(root);
  assert.match(stdout, /left, because they were changed: \/etc\/kube-proxy\/config\.yaml/);
  assert.equal(Object.keys(snapshot(root)), ['etc/kube-proxy/config.yaml']);
});

for (const [what, tree] of [
  ['nothing', emptyTree],
  ["another's program, unit and page", usedTree],
] as const) {
  test(`where ${what} was before, uninstalling leaves exactly that, also after upgrades`, () => {
    const root = tree();
    const before = snapshot(root);
    installed(root, first);
    installed(root, second);
    installed(root, first);
    uninstalled(root);
    assert.equal(snapshot(root), before);
    assert.not.ok(existsSync(join(root, 'var/lib/kube-proxy-install')));
    assert.not.ok(existsSync(join(root, 'etc/kube-proxy')));
    assert.match(uninstalled(root).stdout, /nothing is installed/);
  });
}

test('what somebody put in place of an installed file is kept, too, and is what comes back', () => {
  const root = usedTree();
  installed(root, first);
  writeFileSync(join(root, PROGRAM), 'the program of in between\n');
  installed(root, second);
  const { stdout } = uninstalled(root);
  assert.is(readFileSync(join(root, PROGRAM), 'utf8'), 'the program of in between\n');
  assert.match(stdout, /more that was replaced is in/);
  const kept = join(root, 'var/lib/kube-proxy-install/replaced', `${PROGRAM}.1`);
  assert.is(readFileSync(kept, 'utf8'), 'the program of before\n');
});

test('a file that was there with the very content is nobody else’s to remove', () => {
  const root = emptyTree();
  mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
  writeFileSync(join(root, PROGRAM), readFileSync(join(first, `kube-proxy-linux-${here}`)), { mode: 0o755 });
  installed(root, first);
  uninstalled(root);
  assert.equal(Object.keys(snapshot(root)), [PROGRAM]);
});

test('interrupted at any rename, it leaves whole files; run again it completes; and uninstalling leaves what was before', () => {
  let failures = 0;
  for (let attempt = 0; attempt < 16; attempt++) {
    const at = attempt >> 1;
    const root = usedTree();
    const before = snapshot(root);
    if (attempt % 2 === 0) installed(root, second);
    const countdown = join(scratch, `countdown-${attempt}`);
    writeFileSync(countdown, 'x'.repeat(at));
    // Each call takes one letter; the call without any left fails, as on a full disk.
    const script = `count=$(cat ${countdown}); [ -n "$count" ] || exit 1; printf %s "\${count#?}" >${countdown}; exec /bin/mv "$@"`;
    const outcome = install(['--from', first, '--root', root], pathWith('mv', script));
    if (outcome.status !== 0) failures++;
    const programs = [snapshot(first), snapshot(second)].map((files) => files[`kube-proxy-linux-${here}`]);
    assert.ok([before[PROGRAM], ...programs].includes(snapshot(root)[PROGRAM]), 'a whole program');
    assert.not.ok(Object.keys(snapshot(root)).some((name) => /\.new-\d+$/.test(name)));
    installed(root, first);
    assert.is(snapshot(root)[PROGRAM], programs[0]);
    uninstalled(root);
    assert.equal(snapshot(root), before, `interrupted at rename ${at}`);
  }
  assert.ok(failures > 8, `${failures} of the interruptions came to pass`);
});

test('a folder in the place of a file is refused before anything changes', () => {
  const root = emptyTree();
  mkdirSync(join(root, 'usr/local/share/man/man8/kube-proxy.8'), { recursive: true });
  refused(root, install(['--from', first, '--root', root]), {});
});

test('a script cut short does nothing', () => {
  const lines = readFileSync(INSTALLER, 'utf8').split('\n');
  const root = emptyTree();
  const env = { ...process.env, TMPDIR: scratch };
  const args = ['-s', '--', '--from', first, '--root', root, '--no-service'];
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

/** What Debian's base has and the script uses. */
const BASE = [
  'awk basename cat chmod cmp cp cut dirname find grep head id mkdir mktemp mv printf pwd readlink rm rmdir sed sha256sum sort',
  'touch uname',
]
  .join(' ')
  .split(' ');
const programs = Object.fromEntries([...BASE, 'curl', 'wget'].map((name) => [name, which(name)]));
const basePath = pathOf(Object.fromEntries(BASE.map((name) => [name, programs[name]!])));

test('Debian’s base without curl and wget is enough for a local folder', () => {
  const root = emptyTree();
  const outcome = install(['--from', first, '--root', root], basePath);
  assert.is(outcome.status, 0, outcome.stderr);
  assert.is(install(['--uninstall', '--root', root], basePath).status, 0);
  assert.equal(snapshot(root), {});
});

test('for a URL, where neither curl nor wget is installed, it says so', () => {
  const root = emptyTree();
  const outcome = install(['--from', 'https://127.0.0.1:9/release', '--root', root], basePath);
  assert.is(outcome.status, 1);
  assert.match(outcome.stderr, /neither curl nor wget/);
  assert.equal(snapshot(root), {});
});

for (const tool of ['curl', 'wget']) {
  const title = `${tool} alone fetches a release, and a release that is not there changes nothing`;
  if (programs[tool] === '') {
    skip(title, `there is no ${tool}`);
    continue;
  }
  test(title, async () => {
    const requests: string[] = [];
    const server = createServer((request, response) => {
      requests.push(request.url ?? '');
      const file = join(first, (request.url ?? '').replace('/v1/', ''));
      if (existsSync(file)) response.end(readFileSync(file));
      else response.writeHead(404).end('not here\n');
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const path = `${basePath}:${pathOf({ [tool]: programs[tool]! })}`;
    const root = emptyTree();
    const fetchFrom = (url: string) =>
      installAsync(['--from', url, '--root', root, '--sums', join(first, 'SHA256SUMS')], path);
    try {
      const missing = await fetchFrom(`${base}/v0`);
      assert.is(missing.status, 1);
      assert.match(missing.stderr, /could not be read; nothing was changed/);
      assert.equal(snapshot(root), {});
      const outcome = await fetchFrom(`${base}/v1/`);
      assert.is(outcome.status, 0, outcome.stderr);
      assert.is(snapshot(root)[PROGRAM], snapshot(first)[`kube-proxy-linux-${here}`]?.replace(/^\d+/, '755'));
      assert.ok(requests.includes(`/v1/kube-proxy-linux-${here}`));
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
}

test('plain http is refused where nothing but itself says what the files should be', () => {
  const root = emptyTree();
  const outcome = install(['--from', 'http://127.0.0.1:9/v1', '--root', root]);
  assert.is(outcome.status, 2);
  assert.match(outcome.stderr, /--sums/);
});

test('what is wrong on its command line is one line and status 2', () => {
  const root = emptyTree();
  for (const args of [
    [],
    ['--from'],
    ['--frm', first],
    ['--from', join(scratch, 'nowhere')],
    ['--from', first, '--prefix', 'usr'],
    ['--from', first, '--prefix', '/usr local'],
    ['--from', first, '--arch', 'mips'],
    ['--from', first, '--root', join(scratch, 'nowhere')],
    ['--from', first, '--cleanup'],
    ['--uninstall', '--cleanup', '--root', root],
  ]) {
    const outcome = install(args);
    assert.is(outcome.status, 2, `${args}: ${outcome.stdout}${outcome.stderr}`);
    assert.is(outcome.stderr.trim().split('\n').length, 1);
  }
  assert.equal(snapshot(root), {});
});

test('--version tells what is installed and what of it was changed; --help tells the rest', () => {
  const root = emptyTree();
  assert.match(install(['--version', '--root', root]).stdout, /nothing is installed/);
  installed(root, first);
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
    Object.keys(snapshot(scratch)).filter((name) => name.startsWith('kube-proxy-install.')),
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

function which(name: string): string {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name], { encoding: 'utf8' }).stdout.trim();
}

/** While a server of this very process answers. */
function installAsync(args: readonly string[], path: string): Promise<Outcome> {
  const env = { ...process.env, PATH: path, TMPDIR: scratch };
  const child = spawn('/bin/sh', [INSTALLER, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((done) => child.once('close', (status) => done({ status: status ?? -1, stdout, stderr })));
}

/** The message of what it throws; "" if it does not. */
function failure(action: () => void): string {
  try {
    action();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}
