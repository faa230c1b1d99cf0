/**
 * Packages of another suite of Debian than the host's, for tests that want another version of a program. Taken with
 * apt-get, with configuration and lists of its own so that the host's stay as they are, and unpacked into a folder:
 * nothing is installed. Pinned packages are checked against their digest, the rest by Debian's signature.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { administratorPath } from './packages.ts';

export interface SuitePackages {
  /** "trixie" */
  readonly suite: string;
  readonly pins: readonly PinnedPackage[];
  /** Further ones, in whatever version the suite has. */
  readonly unpinned?: readonly string[];
  /** The same, each with all that it depends on. */
  readonly complete?: readonly string[];
}

export interface PinnedPackage {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}

const MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const ARCHITECTURE = 'amd64';
/** Milliseconds for one step of fetching; a kernel and what it depends on are 64 MB. */
const STEP_MS = 180_000;

/** Unpacks them into `scratch`/root, `scratch` being a folder of the caller's. Needs root and the network; throws. */
export function fetchFromSuite(scratch: string, { suite, pins, unpinned = [], complete = [] }: SuitePackages): void {
  if (process.getuid?.() !== 0) throw new Error('only root fetches it');
  if (process.arch !== 'x64') throw new Error(`it is pinned for ${ARCHITECTURE} only`);
  if (!existsSync(KEYRING)) throw new Error(`no ${KEYRING} to check it with: this is not Debian`);
  for (const path of ['lists/partial', 'cache/archives/partial', 'parts', 'debs', 'root']) {
    mkdirSync(join(scratch, path), { recursive: true });
  }
  const debs = join(scratch, 'debs');
  writeFileSync(join(scratch, 'status'), '');
  writeFileSync(
    join(scratch, 'sources.list'),
    `deb [arch=${ARCHITECTURE} signed-by=${KEYRING}] ${MIRROR} ${suite} main\n`,
  );
  const apt = (...args: readonly string[]) => must('apt-get', [...aptOptions(scratch), ...args], debs);
  apt('update');
  const packages = [...pins.map((pin) => `${pin.name}=${pin.version}`), ...unpinned];
  if (packages.length > 0) apt('download', ...packages);
  // Of an empty status: nothing counts as installed, so that everything is fetched.
  if (complete.length > 0) apt('install', '--download-only', '--yes', '--no-install-recommends', ...complete);
  for (const { name, sha256 } of pins) {
    const [file = ''] = globSync(`${name}_*.deb`, { cwd: debs });
    const found = createHash('sha256')
      .update(readFileSync(join(debs, file)))
      .digest('hex');
    if (found !== sha256) throw new Error(`${file} has the SHA-256 ${found} where ${sha256} is pinned`);
  }
  for (const folder of [debs, join(scratch, 'cache/archives')]) {
    for (const file of globSync('*.deb', { cwd: folder })) must('dpkg', ['-x', file, join(scratch, 'root')], folder);
  }
}

function aptOptions(scratch: string): readonly string[] {
  const options = {
    'Dir::State': scratch,
    'Dir::State::status': join(scratch, 'status'),
    'Dir::Cache': join(scratch, 'cache'),
    'Dir::Etc::sourcelist': join(scratch, 'sources.list'),
    'Dir::Etc::sourceparts': join(scratch, 'parts'),
    'Acquire::Languages': 'none',
    'Acquire::http::Timeout': '15',
    'Acquire::Retries': '1',
    // Its own user could not write into our folder.
    'APT::Sandbox::User': 'root',
    'APT::Update::Error-Mode': 'any',
  };
  return ['-qq', ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])];
}

export function must(program: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = run(program, args, cwd);
  if (status === 0) return stdout;
  const why = error?.message ?? (stderr.trim().split('\n').at(-1) || `status ${status}`);
  throw new Error(`${program} ${args.at(-1)}: ${why}`);
}

export function run(program: string, args: readonly string[], cwd?: string): SpawnSyncReturns<string> {
  const env = { ...process.env, PATH: administratorPath(), LC_ALL: 'C' };
  return spawnSync(program, args, { cwd, env, encoding: 'utf8', timeout: STEP_MS });
}
