/**
 * Other versions of `nft` than the installed one, to see whether they can list what we write. Taken from Debian's newer
 * suites and unpacked into a folder that git ignores. They run with their own C library:
 *
 *   node_modules/.cache/nft-versions/1.1.3/   usr/sbin/nft …, unpacked
 *                                  /1.1.3.reason   why there is no such folder
 *
 * What a test is about is pinned; the libraries below it are as the suite has them, vouched for by Debian's signature.
 */
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchFromSuite, must, run, type SuitePackages } from './debian-suite.ts';

const CACHE = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules', '.cache', 'nft-versions');
const LIBRARIES = 'libc6 libmnl0 libxtables12 libjansson4 libgmp10 libedit2 libtinfo6 libbsd0 libmd0'.split(' ');

interface Release extends SuitePackages {
  readonly version: string;
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

function fetchInto(scratch: string, release: Release): void {
  const { version } = release;
  mkdirSync(scratch, { recursive: true });
  fetchFromSuite(scratch, { ...release, unpinned: LIBRARIES });
  const [program = '', ...args] = commandIn(join(scratch, 'root'));
  const said = must(program, [...args, '--version'], scratch);
  if (!said.includes(`v${version} `)) throw new Error(`it says that it is ${said.trim()}`);
}
