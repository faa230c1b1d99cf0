/**
 * Runs this program again where nothing that a backend does can reach the host: whoever checks a backend does it on his
 * own machine, or on a node that serves.
 *
 *   kube-proxy plugin test ──▶ [setpriv --pdeathsig KILL] unshare … sh PREPARE ──▶ kube-proxy plugin test = PID 1
 *   (waits; ends it when it goes silent) ◀── descriptor 3: the behaviour being tried, and a beat every second ──┘
 *
 * Private inside: the network (with a link that has the node's addresses), processes, /run and what listens there,
 * kernel parameters outside of net/ (read-only), and all writes to /etc and /var, which are gone afterwards. Other
 * files are the real ones. Needs unshare(1), mount(8) and sh, which every Debian base has; nothing is installed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync, realpathSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter } from 'node:path';

/** Holds the network namespace that was left: its mere presence proves nothing, a different one does. */
const MARK = 'KUBE_PROXY_ISOLATED_FROM';
/** Set where descriptor 3 leads to somebody who listens. */
const BEATS = 'KUBE_PROXY_TEST_BEATS';
const BEAT_DESCRIPTOR = 3;
const BEAT_MS = 1000;
const SILENCE_MS = 60_000;

/** As if the node had them; a data plane that binds to them finds them there. */
export const NODE_ADDRESSES = { IPv4: '192.168.50.10', IPv6: 'fd00:50::10' } as const;

/** Holds what is written to /etc and /var. */
export const PRIVATE_LAYERS = '/run/.private';

/** $0: a file that must stay visible, $1…: the program. */
const PREPARE = `
mount -t tmpfs -o mode=755 tmpfs /run || exit 125
for folder in /etc /var; do
  mkdir -p "${PRIVATE_LAYERS}$folder/upper" "${PRIVATE_LAYERS}$folder/work" || exit 125
  layers="lowerdir=$folder,upperdir=${PRIVATE_LAYERS}$folder/upper,workdir=${PRIVATE_LAYERS}$folder/work"
  mount -t overlay -o "$layers" overlay "$folder" 2>/dev/null ||
    { mount --rbind "$folder" "$folder" && mount -o remount,bind,ro "$folder"; } || exit 125
  [ -e "$0" ] && [ -e "$1" ] || umount -l "$folder"
done
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
  mount --bind /proc/sys/net /proc/sys/net && mount -o remount,bind,rw /proc/sys/net
[ ! -d /sys/fs/bpf ] || mount -t bpf bpf /sys/fs/bpf 2>/dev/null
if command -v ip >/dev/null; then
  ip link set lo up
  { ip link add eth0 type dummy || ip link add eth0 type veth peer name peer0 && ip link set peer0 up; } &&
    ip link set eth0 up && ip address add ${NODE_ADDRESSES.IPv4}/24 dev eth0 && ip address add ${NODE_ADDRESSES.IPv6}/64 dev eth0 nodad
fi 2>/dev/null
exec "$@"
`;

/** Is this process (or an ancestor that started it) inside of a network namespace of its own? */
export function insidePrivateNetwork(): boolean {
  const left = process.env[MARK];
  return left !== undefined && left !== readlinkSync('/proc/self/ns/net');
}

export interface PrivateRun {
  /** The program and its arguments, as this process was started. */
  readonly program: readonly string[];
  /** The plugin's file, which must be seen inside; "" = none. */
  readonly file: string;
  /** Further files and folders that are read inside; "" = none. */
  readonly also?: readonly string[];
  /** It kept silent for too long while it tried this, and was ended. */
  readonly onSilence: (trying: string, seconds: number) => void;
  /** How long is too long. Default: a minute, since no behaviour keeps the event loop for so long on any machine. */
  readonly silenceMs?: number;
}

/** Why no private network can be had on this host, or how. */
export type PrivateNetwork =
  | { readonly kind: 'none'; readonly reason: string }
  | { readonly kind: 'available'; readonly run: (options: PrivateRun) => Promise<number> };

/** Finds out by trying. */
export function privateNetwork(): PrivateNetwork {
  const environment = { ...process.env, PATH: administratorPath() };
  const flags = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const asRootOfAUserNamespace = ['--user', '--map-root-user', ...flags];
  const candidates = process.getuid?.() === 0 ? [flags, asRootOfAUserNamespace] : [asRootOfAUserNamespace];
  let reason = '';
  for (const candidate of candidates) {
    const probe = spawnSync('unshare', [...candidate, '--', 'sh', '-c', PREPARE, '/', '/bin/true'], {
      encoding: 'utf8',
      env: environment,
    });
    if (probe.status === 0) {
      // Without setpriv(1) a killed test leaves its inside to end by itself.
      const leash = spawnSync('setpriv', ['--pdeathsig', 'KILL', '--', 'true'], { env: environment }).status === 0;
      const prefix = [...(leash ? ['setpriv', '--pdeathsig', 'KILL', '--'] : []), 'unshare', ...candidate, '--'];
      return { kind: 'available', run: (options) => runInside(prefix, environment, options) };
    }
    reason ||= (probe.stderr ?? '').trim().split('\n')[0] || (probe.error?.message ?? `status ${probe.status}`);
  }
  return { kind: 'none', reason };
}

/** Resolves with the exit status of what ran inside. */
async function runInside(
  prefix: readonly string[],
  environment: NodeJS.ProcessEnv,
  { program, file, also = [], onSilence, silenceMs = SILENCE_MS }: PrivateRun,
): Promise<number> {
  for (const needed of [program[0]!, file, ...also]) {
    if (needed === '' || !existsSync(needed) || !realpathSync(needed).startsWith('/run/')) continue;
    const what = `${needed} lies below /run, which is another one in a private namespace; move it elsewhere`;
    throw Object.assign(new Error(what), { code: 'KP_USAGE' });
  }
  const [command, ...args] = [...prefix, 'sh', '-c', PREPARE, file || '/', ...program];
  const child = spawn(command!, args, {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: { ...environment, [MARK]: readlinkSync('/proc/self/ns/net'), [BEATS]: '1' },
  });
  const silence = watchSilence(child, onSilence, silenceMs);
  // unshare ignores SIGTERM while it waits; a terminal sends SIGINT to the whole group by itself.
  const stop = (): void => void child.kill('SIGKILL');
  const wait = (): void => {};
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  process.on('SIGINT', wait);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (status, signal) => {
        resolve(silence.ended() ? 1 : (status ?? 128 + (signal === null ? 0 : constants.signals[signal])));
      });
    });
  } finally {
    silence.stop();
    for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.off(signal, stop);
    process.off('SIGINT', wait);
  }
}

/** A plugin that keeps the event loop busy for ever cannot be judged from within. */
function watchSilence(child: ChildProcess, onSilence: PrivateRun['onSilence'], silenceMs: number) {
  let trying = '';
  let heard = performance.now();
  let ended = false;
  child.stdio[3]?.on('data', (chunk: Buffer) => {
    heard = performance.now();
    const named = chunk
      .toString()
      .split('\n')
      .filter((line) => line !== '');
    trying = named.at(-1) ?? trying;
  });
  child.stdio[3]?.on('error', () => {});
  const timer = setInterval(
    () => {
      if (performance.now() - heard < silenceMs || ended) return;
      ended = true;
      onSilence(trying, silenceMs / 1000);
      child.kill('SIGKILL');
    },
    Math.min(BEAT_MS, silenceMs),
  );
  return { ended: () => ended, stop: () => clearInterval(timer) };
}

export interface Beats {
  /** What is being tried from now on. */
  trying(what: string): void;
  stop(): void;
}

/** Inside: tell whoever waits outside that we are alive. */
export function startBeats(): Beats {
  if (process.env[BEATS] !== '1' || !insidePrivateNetwork()) return { trying() {}, stop() {} };
  // What this process starts in turn must not beat in its place.
  delete process.env[BEATS];
  const say = (line: string): void => {
    try {
      writeSync(BEAT_DESCRIPTOR, `${line}\n`);
    } catch {
      // Nobody listens any more.
    }
  };
  const timer = setInterval(() => say(''), BEAT_MS).unref();
  return { trying: say, stop: () => clearInterval(timer) };
}

/** PID 1 gets only signals that it handles, and nobody else would end its children. */
export function actLikeAnOrdinaryProcess(): void {
  if (process.pid !== 1) return;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => process.exit(128 + constants.signals[signal]));
  }
}

/** For the head of the report. */
export function kernelVersion(): string {
  return readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
}

/** PATH with the administrator's folders, which Debian leaves out for ordinary users. */
function administratorPath(path: string = process.env.PATH ?? ''): string {
  const folders = path.split(delimiter).filter((folder) => folder !== '');
  for (const folder of ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']) {
    if (!folders.includes(folder)) folders.push(folder);
  }
  return folders.join(delimiter);
}
