/**
 * Runs the current program again inside private namespaces, so that whatever it does to the network stays in there
 * and ends with it, however it ends:
 *
 *   outer node ──▶ setpriv --pdeathsig KILL unshare … ──▶ inner node = PID 1 of its own PID namespace
 *   (waits, passes SIGTERM on)   (dies with the outer)       (dies with unshare, and with it every process in there;
 *                                                             then the network and mount namespaces go too)
 *
 * Private inside: network (only lo, up), mounts (an empty /run, hence /run/netns and /run/xtables.lock), PIDs
 * (with their own /proc). Root needs no more; anyone else becomes root of a new user namespace, where the host allows it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { administratorPath, ensurePackages } from './packages.ts';

/** Holds the network namespace that was left: its mere presence proves nothing, a different one does. */
const MARK = 'KUBE_PROXY_ISOLATED_FROM';
const PREPARE = 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"';

export interface IsolationOptions {
  /** Debian packages whose programs the program needs inside, where nothing can be downloaded any more. */
  readonly packages?: readonly string[];
}

/** Is this process (or an ancestor that started it) inside the private namespaces? */
export function insideIsolation(): boolean {
  const left = process.env[MARK];
  return left !== undefined && left !== readlinkSync('/proc/self/ns/net');
}

/**
 * Returns only inside the private namespaces. Outside, it runs the same program with the same arguments inside, waits
 * for it and ends this process with its exit status. Call it before doing anything else. Throws outside if this host
 * cannot do it: code KP_ISOLATION (not allowed) or KP_PACKAGES (a program is missing).
 */
export async function enterIsolation(options: IsolationOptions = {}): Promise<void> {
  if (insideIsolation()) {
    actLikeAnOrdinaryProcess();
    return;
  }
  ensurePackages(['util-linux', 'iproute2', ...(options.packages ?? ['iptables'])]);
  const environment = {
    ...process.env,
    PATH: administratorPath(),
    [MARK]: readlinkSync('/proc/self/ns/net'),
  };
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const unshare = ['unshare', ...namespaceFlags(environment), '--', 'sh', '-c', PREPARE, 'sh', ...program];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...unshare], { stdio: 'inherit', env: environment });
  // unshare ignores SIGTERM while it waits. SIGINT is not passed on: a terminal sends it to the whole group by itself.
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => passOn(signal, child.pid));
  process.on('SIGINT', () => undefined);
  await new Promise((_, reject) => {
    child.on('error', reject);
    child.on('exit', (status, signal) =>
      process.exit(status ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
}

/** What unshare(1) must be told on this host; found by trying. */
function namespaceFlags(environment: NodeJS.ProcessEnv): readonly string[] {
  const flags = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const asRootOfAUserNamespace = ['--user', '--map-root-user', ...flags];
  const candidates = process.getuid?.() === 0 ? [flags, asRootOfAUserNamespace] : [asRootOfAUserNamespace];
  let reason = '';
  for (const candidate of candidates) {
    const probe = spawnSync('unshare', [...candidate, '--', 'sh', '-c', PREPARE, 'sh', 'true'], {
      encoding: 'utf8',
      env: environment,
    });
    if (probe.status === 0) return candidate;
    reason = (probe.stderr ?? '').trim().split('\n')[0] || (probe.error?.message ?? `status ${probe.status}`);
  }
  const remedy = 'run as root, or allow unprivileged user namespaces';
  throw Object.assign(new Error(`this host allows no private network namespace (${reason}): ${remedy}`), {
    code: 'KP_ISOLATION',
  });
}

/** Send a signal to the inner program, the only child of unshare; end unshare if it cannot be found. */
function passOn(signal: 'SIGTERM' | 'SIGHUP', unshare: number | undefined): void {
  if (unshare === undefined) return;
  try {
    const inner = Number(readFileSync(`/proc/${unshare}/task/${unshare}/children`, 'utf8').trim());
    if (!Number.isInteger(inner) || inner <= 0) throw new Error('no child');
    process.kill(inner, signal);
  } catch {
    process.kill(unshare, 'SIGKILL');
  }
}

let signalsHandled = false;

/** The kernel drops signals that PID 1 has no handler for; elsewhere they would have ended the program. */
function actLikeAnOrdinaryProcess(): void {
  if (process.pid !== 1 || signalsHandled) return;
  signalsHandled = true;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) process.exit(128 + constants.signals[signal]);
    });
  }
}
