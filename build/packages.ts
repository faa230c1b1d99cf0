/**
 * The programs that a real kernel test or the demo needs, from Debian packages. Installing is only ever done as root
 * and is announced in one line; everyone else is told the command.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

/** A package is there when all of these are: programs in PATH, or files. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  conntrack: ['conntrack'],
  elfutils: ['eu-strip'],
  'groff-base': ['groff'],
  haproxy: ['haproxy'],
  iproute2: ['ip'],
  ipset: ['ipset'],
  iptables: ['iptables', 'ip6tables'],
  ipvsadm: ['ipvsadm'],
  nftables: ['nft'],
  'libstdc++6-arm64-cross': ['/usr/aarch64-linux-gnu/lib/libstdc++.so.6'],
  openssl: ['openssl'],
  'qemu-system-x86': ['qemu-system-x86_64'],
  'qemu-user-static': ['qemu-aarch64-static'],
  'util-linux': ['unshare', 'nsenter', 'setpriv', 'mount'],
};

/** PATH with the administrator's folders, which Debian leaves out for ordinary users. */
export function administratorPath(path: string = process.env.PATH ?? ''): string {
  const folders = path.split(delimiter).filter((folder) => folder !== '');
  for (const folder of ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']) {
    if (!folders.includes(folder)) folders.push(folder);
  }
  return folders.join(delimiter);
}

/** The packages of which some program is not installed. */
export function missingPackages(packages: readonly string[]): readonly string[] {
  return packages.filter((name) => (PROGRAMS[name] ?? [name]).some((program) => !isInstalled(program)));
}

/**
 * Make sure that the programs of these Debian packages are there: installs what is missing when run as root where
 * apt-get exists, otherwise throws (code KP_PACKAGES) naming the packages and the command to type.
 */
export function ensurePackages(packages: readonly string[]): void {
  const missing = missingPackages(packages);
  if (missing.length === 0) return;
  const command = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0) throw packageError(`missing packages: ${missing.join(', ')}; as root: ${command}`);
  if (!isInstalled('apt-get')) {
    throw packageError(
      `missing programs of ${missing.join(', ')} (Debian's names) and there is no apt-get to get them`,
    );
  }
  console.error(`installing ${missing.join(', ')} with apt-get`);
  aptGet(['update'], command);
  aptGet(['install', '--yes', '--no-install-recommends', ...missing], command);
  const still = missingPackages(missing);
  if (still.length > 0) throw packageError(`installed ${still.join(', ')}, yet its programs are not in PATH`);
}

function aptGet(args: readonly string[], command: string): void {
  // Two test runs may install at once: wait for dpkg's lock rather than fail.
  const run = spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', ...args], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', PATH: administratorPath() },
  });
  if (run.status === 0) return;
  const reason = (run.stderr ?? '').trim().split('\n').at(-1) || (run.error?.message ?? `status ${run.status}`);
  throw packageError(`apt-get ${args[0]} failed: ${reason}; by hand: apt-get update && ${command}`);
}

function isInstalled(program: string): boolean {
  if (isAbsolute(program)) return existsSync(program);
  return administratorPath()
    .split(delimiter)
    .some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

function packageError(message: string): Error {
  return Object.assign(new Error(message), { code: 'KP_PACKAGES' });
}
