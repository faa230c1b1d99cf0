/**
 * Other versions of `nft` than the installed one, to see whether they can list what we write. Taken with apt-get from
 * Debian's newer suites, with configuration and lists of its own so that the host's stay as they are, and unpacked into
 * a folder that git ignores. They run with their own C library:
 *
 *   node_modules/.cache/nft-versions/1.1.3/   usr/sbin/nft …, unpacked
 *                                  /1.1.3.reason   why there is no such folder
 *
 * What a test is about is pinned; the libraries below it are as the suite has them, vouched for by Debian's signature.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { administratorPath } from './packages.ts';

const CACHE = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules', '.cache', 'nft-versions');
const MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const ARCHITECTURE = 'amd64';
const LIBRARIES = 'libc6 libmnl0 libxtables12 libjansson4 libgmp10 libedit2 libtinfo6 libbsd0 libmd0'.split(' ');
/** Milliseconds for one step of fetching; the lists of a suite are 10 MB. */
const STEP_MS = 60_000;

interface Release {
  readonly version: string;
  readonly suite: string;
  readonly pins: readonly { readonly name: string; readonly version: string; readonly sha256: string }[];
}

const RELEASES: readonly Release[] = [
  {
    version: '1.1.3',
    suite: 'trixie',
    pins: [
      {
        name: 'nftables',
        version: '1.1.3-1',
        sha256: '2ddfa61baaf3a76e2c499db9e521ba6affb226f85af0b6fef739f346ac5f0c39',
      },
      {
        name: 'libnftables1',
        version: '1.1.3-1',
        sha256: 'c7cbee3dce8452ae5c3c4269f6f52e96b896d36a46ea3c490e0e11e8ff359896',
      },
      {
        name: 'libnftnl11',
        version: '1.2.9-1',
        sha256: '1b3eae46bfb9c6ab44e404797fb45278045f926d73974a84097ad47a3e27d983',
      },
    ],
  },
  {
    version: '1.1.7',
    suite: 'forky',
    pins: [
      {
        name: 'nftables',
        version: '1.1.7-3',
        sha256: 'b82c8615684169c8728f521edd00a8af1973b00467564bee0dda3adf6fea0248',
      },
      {
        name: 'libnftables1',
        version: '1.1.7-3',
        sha256: 'a9fe852108aa99288b9305534203869e406aedaebeb833a48a32c48e50affd75',
      },
      {
        name: 'libnftnl11',
        version: '1.3.2-1',
        sha256: '409b62c0d383ae181e3550d0ec9279359856d98a449d8bce9983f69e1995dbc6',
      },
    ],
  },
];

/** One version of nft, or why it is not here. */
export type NftVersion =
  | { readonly version: string; readonly command: readonly string[] }
  | { readonly version: string; readonly missing: string };

/** Fetch what is not here yet; needs root and the network. Never throws: `nftVersions` tells what came of it. */
export function fetchNftVersions(): void {
  for (const release of RELEASES) {
    if (existsSync(folder(release))) continue;
    mkdirSync(CACHE, { recursive: true });
    // Two runs may fetch at once; whoever ends first is the one that counts.
    const scratch = join(CACHE, `${release.version}.${process.pid}`);
    rmSync(reasonFile(release), { force: true });
    try {
      console.error(`fetching nft ${release.version} from Debian`);
      fetchInto(scratch, release);
      if (!existsSync(folder(release))) renameSync(join(scratch, 'root'), folder(release));
    } catch (error) {
      writeFileSync(reasonFile(release), error instanceof Error ? error.message : String(error));
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}

/** The installed one first. Asks no network. */
export function nftVersions(): readonly NftVersion[] {
  const installed = run('nft', ['--version']);
  const [, version = 'unknown'] = /v([\d.]+)/.exec(installed.stdout ?? '') ?? [];
  const others = RELEASES.filter((release) => release.version !== version);
  return [{ version, command: ['nft'] }, ...others.map(unpackedVersion)];
}

function unpackedVersion(release: Release): NftVersion {
  const { version } = release;
  if (existsSync(folder(release))) return { version, command: commandIn(folder(release)) };
  const reason = existsSync(reasonFile(release)) ? readFileSync(reasonFile(release), 'utf8') : 'it was not fetched';
  return { version, missing: reason };
}

function folder({ version }: Release): string {
  return join(CACHE, version);
}

function reasonFile({ version }: Release): string {
  return join(CACHE, `${version}.reason`);
}

/** Through its own dynamic linker, since the host's C library may be too old. */
function commandIn(root: string): readonly string[] {
  const libraries = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'].map((path) => join(root, path));
  const [linker = ''] = globSync('{usr/,}lib*/{x86_64-linux-gnu/,}ld-linux-x86-64.so.2', { cwd: root });
  return [join(root, linker), '--library-path', libraries.join(':'), join(root, 'usr/sbin/nft')];
}

function fetchInto(scratch: string, { version, suite, pins }: Release): void {
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
  const packages = [...pins.map((pin) => `${pin.name}=${pin.version}`), ...LIBRARIES];
  apt('download', ...packages);
  for (const { name, sha256 } of pins) {
    const [file = ''] = globSync(`${name}_*.deb`, { cwd: debs });
    const found = createHash('sha256')
      .update(readFileSync(join(debs, file)))
      .digest('hex');
    if (found !== sha256) throw new Error(`${file} has the SHA-256 ${found} where ${sha256} is pinned`);
  }
  for (const file of globSync('*.deb', { cwd: debs })) must('dpkg', ['-x', file, join(scratch, 'root')], debs);
  const [program = '', ...args] = commandIn(join(scratch, 'root'));
  const said = must(program, [...args, '--version'], debs);
  if (!said.includes(`v${version} `)) throw new Error(`it says that it is ${said.trim()}`);
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

function must(program: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = run(program, args, cwd);
  if (status === 0) return stdout;
  const why = error?.message ?? (stderr.trim().split('\n').at(-1) || `status ${status}`);
  throw new Error(`${program} ${args.at(-1)}: ${why}`);
}

function run(program: string, args: readonly string[], cwd?: string): SpawnSyncReturns<string> {
  const env = { ...process.env, PATH: administratorPath(), LC_ALL: 'C' };
  return spawnSync(program, args, { cwd, env, encoding: 'utf8', timeout: STEP_MS });
}
