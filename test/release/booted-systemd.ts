/**
 * A real systemd for a test, booted on nothing but the units it is given, in namespaces below those that the test is in:
 *
 *   test (private mounts, network, PIDs) ──▶ unshare mount, PID, UTS, IPC, cgroup ──▶ systemd, PID 1 of its own
 *        └ same network, same /run: what the service does to the kernel, the test sees
 *
 * Nothing of the host is written to but one cgroup, in which all of it runs and which goes at the end.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { administratorPath } from '../../build/packages.ts';

const SYSTEMD = '/lib/systemd/systemd';
const UNITS = '/run/test-units';
const CGROUPS = '/run/test-cgroups';
const LIMIT_MS = 20_000;

/** What systemd would find on any machine; ours has nothing but the service. */
const TARGETS = ['sysinit', 'basic', 'shutdown', 'multi-user', 'network-online', 'nss-lookup'];

/** In the new namespaces, before systemd: devices and kernel parameters of the host are out of its reach. */
const PREPARE = `set -e
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
mkdir /run/test-dev
mount -t tmpfs -o mode=755 tmpfs /run/test-dev
for name in null zero full random urandom tty; do touch /run/test-dev/$name; mount --bind /dev/$name /run/test-dev/$name; done
mkdir /run/test-dev/pts /run/test-dev/shm
ln -s pts/ptmx /run/test-dev/ptmx
mount --rbind /run/test-dev /dev
exec env -i container=test LC_ALL=C PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system:${UNITS} \\
  ${SYSTEMD} --system --unit=multi-user.target --show-status=no --log-target=null
`;

export interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface BootedSystemd {
  /** Runs a program beside the services, with none of their limits. */
  run(...words: readonly string[]): Ended;
  systemctl(...args: readonly string[]): Ended;
  /** `systemctl show --property`. */
  property(unit: string, name: string): string;
  /** What the services of this unit have written so far. */
  log(unit: string): string;
  /** A process as the test sees it, of a PID as systemd does. */
  process(pid: string): string;
  shutDown(): Promise<void>;
}

/** Why this host cannot have one; "" if it can. */
export function systemdProblem(): string {
  if (!existsSync(SYSTEMD)) return `there is no ${SYSTEMD}; install the package systemd`;
  try {
    openCgroup().remove();
    return '';
  } catch (error) {
    return `no cgroup can be made (${(error as Error).message})`;
  }
}

/** In namespaces of the test's own only (isolateTests). Units are looked for in /etc/systemd/system first. */
export async function bootSystemd(): Promise<BootedSystemd> {
  mkdirSync(join(UNITS, 'service.d'), { recursive: true });
  for (const name of TARGETS) writeFileSync(join(UNITS, `${name}.target`), `[Unit]\nDescription=${name}\n`);
  // There is no journal.
  const output = 'append:/run/test-log.%N';
  writeFileSync(join(UNITS, 'service.d', 'log.conf'), `[Service]\nStandardOutput=${output}\nStandardError=${output}\n`);
  const cgroup = openCgroup();
  const unshare = ['--mount', '--pid', '--uts', '--ipc', '--cgroup', '--fork', '--kill-child', '--mount-proc'];
  const enterAndBoot = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"';
  const words = ['-c', enterAndBoot, 'sh', cgroup.path, 'unshare', ...unshare, 'sh', '-c', PREPARE];
  const child = spawn('sh', words, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH: administratorPath() },
  });
  const ended = new Promise<void>((done) => child.once('close', () => done()));
  const inside = await systemdOf(child);

  const run = (...words: readonly string[]): Ended => {
    const enter = ['--target', inside, '--mount', '--pid', '--cgroup', '--uts', '--ipc', ...words];
    const { status, stdout, stderr } = spawnSync('nsenter', enter, { encoding: 'utf8', timeout: LIMIT_MS });
    return { status: status ?? -1, stdout, stderr };
  };
  const systemctl = (...args: readonly string[]) => run('systemctl', ...args);
  await until(() => systemctl('is-active', 'multi-user.target').status === 0, 'systemd did not boot');
  return {
    run,
    systemctl,
    property: (unit, name) => systemctl('show', '--value', '--property', name, unit).stdout.trim(),
    log(unit) {
      const file = `/run/test-log.${unit}`;
      return existsSync(file) ? readFileSync(file, 'utf8') : '';
    },
    process: (pid) => join('/proc', inside, 'root', 'proc', pid),
    async shutDown() {
      child.kill('SIGKILL');
      await ended;
      await until(() => cgroup.remove(), 'processes of systemd remain');
    },
  };
}

/** Asks for real I/O to have come about; throws `otherwise` after a limit that nothing comes near. */
export async function until(isSo: () => boolean, otherwise: string | (() => string)): Promise<void> {
  for (const endMs = performance.now() + LIMIT_MS; !isSo(); await sleep(20)) {
    if (performance.now() > endMs) throw new Error(typeof otherwise === 'string' ? otherwise : otherwise());
  }
}

/** systemd's PID as the test sees it: the only child of unshare(1), which the shell has become. */
async function systemdOf(child: ChildProcess): Promise<string> {
  const children = `/proc/${child.pid}/task/${child.pid}/children`;
  let found = '';
  await until(() => {
    if (child.exitCode !== null) throw new Error(`systemd did not start: status ${child.exitCode}`);
    found = readFileSync(children, 'utf8').trim();
    return found !== '' && readFileSync(`/proc/${found}/comm`, 'utf8').trim() === 'systemd';
  }, 'systemd did not start');
  return found;
}

/** A cgroup of the host's own hierarchy (mounted here, for ours only), and below it what systemd makes. */
function openCgroup(): { readonly path: string; remove(): boolean } {
  if (!existsSync(CGROUPS)) {
    mkdirSync(CGROUPS);
    const mount = spawnSync('mount', ['-t', 'cgroup2', 'cgroup2', CGROUPS], { encoding: 'utf8' });
    if (mount.status !== 0) {
      rmdirSync(CGROUPS);
      throw new Error((mount.stderr ?? '').trim() || 'mount failed');
    }
  }
  const path = join(CGROUPS, `kube-proxy-test-${process.ppid}-${Math.floor(performance.timeOrigin)}`);
  mkdirSync(path);
  return {
    path,
    remove() {
      try {
        removeBelow(path);
        return true;
      } catch {
        return false; // A process in it is still ending.
      }
    },
  };
}

function removeBelow(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeBelow(join(path, entry.name));
  }
  rmdirSync(path);
}
