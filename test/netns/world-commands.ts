/** Programs run inside a network namespace, by nsenter(1): it becomes the program, so a PID is the program's own. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface ExecOutput {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface WorldExecOptions {
  readonly stdin?: string;
  /** Resolve whatever the exit status is. Default: reject, with what it said on stderr, unless it is 0. */
  readonly anyStatus?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

/** The words to put before a command so that it runs in that namespace. */
export function execPrefix(namespace: string): readonly string[] {
  return ['nsenter', `--net=/run/netns/${namespace}`, '--'];
}

export async function exec(
  command: string,
  args: readonly string[],
  { stdin = '', anyStatus = false, env = process.env }: WorldExecOptions = {},
): Promise<ExecOutput> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  child.stdin.on('error', () => undefined); // it ended without reading; its status tells
  child.stdin.end(stdin);
  const [code] = (await once(child, 'close')) as [number | null];
  const status = code ?? -1;
  if (status !== 0 && !anyStatus) {
    const input = stdin === '' ? '' : `\nwith this on stdin:\n${stdin}`;
    throw new Error(`${command} ${args.join(' ')} ended with status ${status}: ${stderr.trim()}${input}`);
  }
  return { status, stdout, stderr };
}

export function spawnIn(
  namespace: string,
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const [first, ...rest] = [...execPrefix(namespace), command, ...args];
  return spawn(first!, rest, options);
}

/** SIGTERM, then after the grace SIGKILL; resolves when it has ended. */
export async function endProcess(child: ChildProcess, graceMs = 2000): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await ended;
  clearTimeout(timer);
}
