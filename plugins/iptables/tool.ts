/** The iptables programs of one family and variant: what they are called, how they are run, what their failures mean. */
import type { ExecResult, Host, IPFamily } from '../../core/backend.ts';
import type { Table } from './names.ts';

/** Seconds to wait for the lock that all legacy iptables programs share. */
const LOCK_SECONDS = '5';
/** The largest load seen (100,000 endpoints, nft variant) takes seconds; beyond this something hangs. */
const TIMEOUT_MS = 240_000;
/** Exit status of iptables for "could not get the lock, or memory": says nothing about rules. */
const STATUS_RESOURCE = 4;

export type Variant = 'default' | 'nft' | 'legacy';

export interface IptablesTool {
  readonly family: IPFamily;
  /** "ip6tables-nft", say. */
  readonly command: string;
  /** Text of iptables-save: all tables that exist. */
  save(): Promise<string>;
  /** Commit the text of plan.ts; each table at once. Throws with the offending rule; KP_IPTABLES_BUSY for a held lock. */
  restore(input: string): Promise<void>;
  /** Rules of one chain; undefined if there is no such chain; 'unknown' if that cannot be told right now. Throws if not allowed. */
  list(table: Table, chain: string): Promise<readonly string[] | undefined | 'unknown'>;
}

export function createTool(host: Host, family: IPFamily, variant: Variant): IptablesTool {
  const command = (family === 'IPv4' ? 'iptables' : 'ip6tables') + (variant === 'default' ? '' : `-${variant}`);

  async function run(program: string, args: readonly string[], stdin?: string): Promise<ExecResult> {
    const result = await host.exec(program, args, { timeoutMs: TIMEOUT_MS, ...(stdin === undefined ? {} : { stdin }) });
    if (result.timedOut) throw failure(program, `did not end within ${TIMEOUT_MS / 1000} s`);
    return result;
  }

  return {
    family,
    command,
    async save() {
      const program = `${command}-save`;
      const result = await run(program, []);
      if (result.status !== 0) throw failure(program, explain(result));
      return asWritten(result.stdout);
    },
    async restore(input) {
      const program = `${command}-restore`;
      const result = await run(program, ['-w', LOCK_SECONDS, '--noflush'], input);
      if (isBusy(result)) throw failure(program, explain(result), 'KP_IPTABLES_BUSY');
      if (result.status !== 0) throw failure(program, explain(result) + offendingLine(result.stderr, input));
    },
    async list(table, chain) {
      const result = await run(command, ['-w', LOCK_SECONDS, '-t', table, '-S', chain]);
      if (isBusy(result)) return 'unknown';
      if (result.status === STATUS_RESOURCE) throw failure(command, explain(result));
      if (result.status !== 0) return undefined;
      return asWritten(result.stdout)
        .split('\n')
        .filter((line) => line.startsWith('-A '));
    },
  };
}

/** In the one place known where iptables prints other words than those it was given: two blanks for one. */
function asWritten(saved: string): string {
  return saved.replaceAll('--nfacct-name  ', '--nfacct-name ');
}

function failure(program: string, what: string, code = 'KP_IPTABLES'): Error {
  return Object.assign(new Error(`${program}: ${what}`), { code });
}

/** Another program was at it: to be tried again, says nothing about what the host can do. */
function isBusy(result: ExecResult): boolean {
  return result.status === STATUS_RESOURCE && /xtables lock|temporarily unavailable/i.test(result.stderr);
}

/** One line of what the program said, with the remedy where it is known. */
function explain(result: ExecResult): string {
  const said = result.stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('Try `') && !line.startsWith('# Warning'))
    .join('; ');
  if (/Permission denied|must be root|Operation not permitted/.test(said)) {
    return `${said} (status ${result.status}); run as root or with CAP_NET_ADMIN and CAP_NET_RAW`;
  }
  return `${said === '' ? 'failed without a message' : said} (status ${result.status})`;
}

/** iptables-restore counts the lines of its input; the number alone would tell an operator nothing. */
function offendingLine(stderr: string, input: string): string {
  const number = /line:? (\d+)/.exec(stderr)?.[1];
  const line = number === undefined ? undefined : input.split('\n')[Number(number) - 1];
  return line === undefined ? '' : `; the line is: ${line}`;
}

/** What came of asking a host for something: it can, it cannot for this reason, or it is too busy to say. */
export type Answer = 'yes' | 'busy' | { readonly reason: string };

/** Does the program exist, and the kernel answer it? */
export async function answers(host: Host, tool: IptablesTool): Promise<Answer> {
  try {
    const result = await host.exec(tool.command, ['-w', LOCK_SECONDS, '-t', 'nat', '-S', 'POSTROUTING']);
    if (result.status === 0) return 'yes';
    return isBusy(result) ? 'busy' : { reason: `${tool.command}: ${explain(result)}` };
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}

/** Is the program there at all? */
export async function exists(host: Host, tool: IptablesTool): Promise<boolean> {
  try {
    return (await host.exec(tool.command, ['--version'])).status === 0;
  } catch {
    return false;
  }
}

/** Which kernel interface the program speaks; undefined for versions from before there were two (legacy). */
export async function kernelInterface(host: Host, tool: IptablesTool): Promise<'nft' | 'legacy' | undefined> {
  const { stdout } = await host.exec(tool.command, ['--version']);
  const named = /\((nf_tables|legacy)\)/.exec(stdout)?.[1];
  return named === 'nf_tables' ? 'nft' : named === undefined ? undefined : 'legacy';
}
