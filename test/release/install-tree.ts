/** Trees to install into (--root), releases to install from, and install.sh run on them, all in a folder of the test's. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { INSTALLER, makeRelease, pathsBelow, snapshot } from './release-folder.ts';

export const SCRATCH = mkdtempSync(join(tmpdir(), 'kube-proxy-install-test-'));
process.on('exit', () => rmSync(SCRATCH, { recursive: true, force: true }));

export const FIRST = makeRelease(join(SCRATCH, 'first'), '1.0.0');
export const SECOND = makeRelease(join(SCRATCH, 'second'), '2.0.0');
export const PROGRAM = 'usr/local/bin/kube-proxy';
export const UNIT = 'etc/systemd/system/kube-proxy.service';
const SERVICE = ['etc/kube-proxy/config.yaml', 'etc/kube-proxy/kube-proxy.env', UNIT];
/** Without the service. */
export const BARE = [
  PROGRAM,
  'usr/local/share/doc/kube-proxy/LICENSE',
  'usr/local/share/doc/kube-proxy/THIRD-PARTY-NOTICES',
  'usr/local/share/man/man8/kube-proxy.8',
];
export const INSTALLED = [...SERVICE, ...BARE];
/** Where it notes what it did. */
export const RECORDS = ['var/lib/kube-proxy-install/folders', 'var/lib/kube-proxy-install/installed'];
export const HERE = process.arch === 'arm64' ? 'arm64' : 'x64';

let trees = 0;
export function emptyTree(): string {
  const root = join(SCRATCH, `root-${++trees}`);
  mkdirSync(root);
  return root;
}

/** A tree in which somebody else has installed a program and a unit, and linked the man page. */
export function usedTree(): string {
  const root = emptyTree();
  for (const folder of ['usr/local/bin', 'usr/local/share/man/man8', 'etc/systemd/system', 'var/lib']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  writeFileSync(join(root, PROGRAM), 'the program of before\n', { mode: 0o700 });
  writeFileSync(join(root, UNIT), 'the unit of before\n', { mode: 0o640 });
  symlinkSync('/opt/before.8', join(root, 'usr/local/share/man/man8/kube-proxy.8'));
  return root;
}

/** All that somebody can see of a tree, empty folders too. */
export function treeOf(root: string): {
  readonly files: ReturnType<typeof snapshot>;
  readonly paths: readonly string[];
} {
  return { files: snapshot(root), paths: pathsBelow(root) };
}

/** A PATH of nothing but these programs. */
export function pathOf(programs: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(SCRATCH, 'path-'));
  for (const [name, target] of Object.entries(programs)) symlinkSync(target, join(folder, name));
  return folder;
}

/** A program of the test's own that hides the one of this name. */
export function pathWith(name: string, script: string): string {
  const folder = mkdtempSync(join(SCRATCH, 'path-'));
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return `${folder}:${process.env.PATH}`;
}

/** What Debian's base has and the script uses. */
const BASE = [
  'awk basename cat chmod cp cut dirname find grep head id mkdir mktemp mv printf pwd readlink rm rmdir sed sha256sum sort',
  'touch uname',
]
  .join(' ')
  .split(' ');
export const BASE_PATH = pathOf(Object.fromEntries(BASE.map((name) => [name, which(name)])));

/** "" if there is none. */
export function which(name: string): string {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name], { encoding: 'utf8' }).stdout.trim();
}

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function install(args: readonly string[], path = process.env.PATH ?? ''): Outcome {
  const env = { ...process.env, PATH: path, TMPDIR: SCRATCH };
  const { status, stdout, stderr } = spawnSync('/bin/sh', [INSTALLER, ...args], { encoding: 'utf8', env });
  return { status: status ?? -1, stdout, stderr };
}

/** While a server of this very process answers. */
export function installAsync(
  args: readonly string[],
  path: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const env = { ...process.env, PATH: path, TMPDIR: SCRATCH, ...environment };
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

export function installed(root: string, from: string, ...args: readonly string[]): Outcome {
  const outcome = install(['--from', from, '--root', root, ...args]);
  assert.is(outcome.status, 0, outcome.stderr);
  assert.is(outcome.stderr, '');
  return outcome;
}

export function uninstalled(root: string): Outcome {
  const outcome = install(['--uninstall', '--root', root]);
  assert.is(outcome.status, 0, outcome.stderr);
  return outcome;
}

/** Files are the very ones of before, and no folder came or went. */
export function unchanged(root: string): () => void {
  const look = () => ({ files: snapshot(root, { identity: true }), paths: pathsBelow(root) });
  const before = look();
  return () => assert.equal(look(), before);
}

/** By one line. */
export function refused(outcome: Outcome, pattern: RegExp): void {
  assert.is.not(outcome.status, 0, outcome.stdout);
  assert.is(outcome.stderr.trim().split('\n').length, 1, outcome.stderr);
  assert.match(outcome.stderr, pattern);
}
