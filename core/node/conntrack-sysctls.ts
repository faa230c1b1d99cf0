/**
 * How many connections the kernel may track, and for how long: set once at start, before anything is programmed.
 *
 *   net/netfilter/nf_conntrack_max                          maxPerCore × CPUs, at most 1,048,576, at least min
 *   /sys/module/nf_conntrack/parameters/hashsize            a quarter of that, if there are fewer
 *   net/netfilter/nf_conntrack_{tcp,udp}_timeout_…          where configured
 *   net/netfilter/nf_conntrack_tcp_be_liberal               1 where configured
 *
 * Everything is read first and written only if it must change, so that a container with a read-only /proc/sys starts
 * where one privileged run, or the node's administrator, has set the values before.
 */
import type { Logger, Sysctl } from '../backend.ts';

export interface ConntrackSettings {
  /** 0 = leave the maximum and the hash table alone. */
  readonly maxPerCore: number;
  readonly min: number;
  /** All of these: 0 = leave what the kernel has. */
  readonly tcpEstablishedTimeoutSeconds: number;
  readonly tcpCloseWaitTimeoutSeconds: number;
  readonly udpTimeoutSeconds: number;
  readonly udpStreamTimeoutSeconds: number;
  /** False = leave what the kernel has. */
  readonly tcpBeLiberal: boolean;
}

export interface ConntrackHost {
  readonly sysctl: Sysctl;
  /** CPUs of the machine, however few of them this process may use: connections do not come from it. */
  readonly cpus: number;
  /** Whole files, for the parameter of the module that is no sysctl. They throw as node:fs does. */
  readonly readFile: (path: string) => string;
  readonly writeFile: (path: string, text: string) => void;
  readonly log: Logger;
  /** Make the kernel load conntrack. Without it that happens when the first rule which needs it is written. */
  readonly loadConntrack?: () => void;
}

export interface ConntrackOutcome {
  /** What was written, for one line of log: "nf_conntrack_max 65536 → 262144". Empty: all was right already. */
  readonly changes: readonly string[];
  /** Why the hash table is smaller than it should be, with the remedy; "" if it is not. No reason not to start. */
  readonly shortfall: string;
}

const FOLDER = 'net/netfilter/';
const MAX = 'nf_conntrack_max';
const BUCKETS = 'nf_conntrack_buckets';
const HASHSIZE = '/sys/module/nf_conntrack/parameters/hashsize';
const LARGEST_SCALED = 1_048_576;
/** What the kernel's own default was for long: chains of four on average when the table is full. */
const ENTRIES_PER_BUCKET = 4;

/** The wanted nf_conntrack_max; 0 = leave it alone. */
export function conntrackMaximum({ maxPerCore, min }: ConntrackSettings, cpus: number): number {
  if (maxPerCore <= 0) return 0;
  // Upstream also cuts `min` to the limit that is meant for machines of many CPUs. Who writes down a minimum means it.
  return Math.max(Math.min(maxPerCore * cpus, LARGEST_SCALED), min);
}

/**
 * @throws KP_SYSCTL naming every value that is wanted and cannot be set, with the remedy: start-up ends then, as
 * upstream's does, or the node would run with limits that nobody chose. A hash table that cannot grow is no such fault.
 */
export function applyConntrackSettings(settings: ConntrackSettings, host: ConntrackHost): ConntrackOutcome {
  const maximum = conntrackMaximum(settings, host.cpus);
  const wanted = wantedSeconds(settings);
  if (maximum === 0 && wanted.length === 0 && !settings.tcpBeLiberal) return { changes: [], shortfall: '' };
  ensureLoaded(host);

  const changes: string[] = [];
  const faults: string[] = [];
  const set = (name: string, value: number, switchOff: string): void => {
    try {
      const before = host.sysctl.read(FOLDER + name);
      host.sysctl.ensure(FOLDER + name, String(value));
      if (Number(before) !== value) changes.push(`${name} ${before} → ${value}`);
    } catch (error) {
      faults.push(`${messageOf(error)}, or do without: ${switchOff}`);
    }
  };

  if (maximum > 0 && mustRaise(maximum, host))
    set(MAX, maximum, 'conntrack.maxPerCore: 0 (--conntrack-max-per-core=0)');
  for (const { name, seconds, field } of wanted) set(name, seconds, `conntrack.${field}: 0s`);
  if (settings.tcpBeLiberal) set('nf_conntrack_tcp_be_liberal', 1, 'conntrack.tcpBeLiberal: false');
  if (faults.length > 0) throw Object.assign(new Error(faults.join('; ')), { code: 'KP_SYSCTL' });

  const shortfall = maximum > 0 ? growHashTable(Math.floor(maximum / ENTRIES_PER_BUCKET), host, changes) : '';
  return { changes, shortfall };
}

function wantedSeconds(settings: ConntrackSettings): { name: string; seconds: number; field: string }[] {
  const all = [
    ['nf_conntrack_tcp_timeout_established', settings.tcpEstablishedTimeoutSeconds, 'tcpEstablishedTimeout'],
    ['nf_conntrack_tcp_timeout_close_wait', settings.tcpCloseWaitTimeoutSeconds, 'tcpCloseWaitTimeout'],
    ['nf_conntrack_udp_timeout', settings.udpTimeoutSeconds, 'udpTimeout'],
    ['nf_conntrack_udp_timeout_stream', settings.udpStreamTimeoutSeconds, 'udpStreamTimeout'],
  ] as const;
  // The kernel takes whole seconds, and 0 would end every flow at once.
  return all.flatMap(([name, seconds, field]) =>
    seconds > 0 ? [{ name, seconds: Math.max(1, Math.floor(seconds)), field }] : [],
  );
}

/** In a network namespace that has never used conntrack, its parameters are there; without the module, none is. */
function ensureLoaded({ sysctl, loadConntrack, log }: ConntrackHost): void {
  if (sysctl.read(FOLDER + MAX) !== undefined) return;
  try {
    loadConntrack?.();
  } catch (error) {
    log.verbose(2, 'Conntrack could not be loaded by asking for it', { error: messageOf(error) });
  }
  if (sysctl.read(FOLDER + MAX) !== undefined) return;
  const what = 'conntrack is not loaded, so that its limits and timeouts cannot be set';
  const remedy = 'run "modprobe nf_conntrack" on the host, or leave them alone: conntrack.maxPerCore: 0, timeouts 0s';
  throw Object.assign(new Error(`sysctl ${FOLDER}${MAX} does not exist: ${what}; ${remedy}`), { code: 'KP_SYSCTL' });
}

/**
 * Never lowered, unlike upstream, which writes whatever differs. Below the number of flows that are tracked now, every
 * new connection of the host would be dropped until enough of them have ended; memory is taken by flows and not by
 * the limit; and who raised it further than we would had a reason. 0 means no limit.
 */
function mustRaise(maximum: number, { sysctl, log }: ConntrackHost): boolean {
  const current = Number(sysctl.read(FOLDER + MAX));
  if (current !== 0 && current < maximum) return true;
  if (current !== maximum) log.verbose(2, 'nf_conntrack_max stays higher than configured', { current, maximum });
  return false;
}

/**
 * A table of too few buckets works, only slower, so that nothing here ends the start. What refuses: a container's /sys
 * is often mounted read-only, and outside of the first network namespace the kernel takes neither way (EOPNOTSUPP).
 */
function growHashTable(wanted: number, host: ConntrackHost, changes: string[]): string {
  const current = bucketsNow(host);
  if (current >= wanted) return '';
  const refusals: string[] = [];
  const ways: readonly (readonly [name: string, write: () => void])[] = [
    [HASHSIZE, () => host.writeFile(HASHSIZE, String(wanted))],
    [`sysctl ${FOLDER}${BUCKETS}`, () => host.sysctl.ensure(FOLDER + BUCKETS, String(wanted))],
  ];
  for (const [name, write] of ways) {
    try {
      write();
      changes.push(`hash table ${current} → ${wanted} buckets`);
      return '';
    } catch (error) {
      refusals.push(`${name}: ${codeOf(error)}`);
    }
  }
  const what = `conntrack's hash table has ${current} buckets instead of ${wanted}, which makes lookups slower`;
  const remedy = `mount /sys writable, or run on the host: echo ${wanted} > ${HASHSIZE}`;
  const shortfall = `${what} (${refusals.join(', ')}); ${remedy}`;
  host.log.warn('The hash table of conntrack cannot be enlarged', {
    current,
    wanted,
    refusals: refusals.join(', '),
    remedy,
  });
  return shortfall;
}

/** NaN if it cannot be told. */
function bucketsNow({ sysctl, readFile }: ConntrackHost): number {
  try {
    return Number.parseInt(readFile(HASHSIZE), 10);
  } catch {
    return Number.parseInt(sysctl.read(FOLDER + BUCKETS) ?? '', 10);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : messageOf(error);
}
