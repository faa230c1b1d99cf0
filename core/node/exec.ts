/**
 * Running programs: no shell, so no argument is ever interpreted; input of any size is piped in while output is
 * collected; English messages (C locale), so that they can be told apart.
 */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import type { ExecOptions, ExecResult } from '../backend.ts';

/** After the polite signal, how long a program that ran out of time may take to end. */
const KILL_AFTER_MS = 1000;

/** As `Host.exec`. */
export function exec(command: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const { stdin, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: programEnvironment(process.env),
    });
    const stdout = collect(child.stdout!);
    const stderr = collect(child.stderr!);

    let timedOut = false;
    const timers: NodeJS.Timeout[] = [];
    if (timeoutMs !== undefined) {
      const expire = (): void => {
        timedOut = true;
        child.kill('SIGTERM');
        timers.push(setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS));
      };
      timers.push(setTimeout(expire, timeoutMs));
    }
    child.once('exit', () => {
      for (const timer of timers) clearTimeout(timer);
      // A descendant of a program that we ended may hold its output open for ever; nobody waits for that.
      if (timedOut) for (const stream of [child.stdout!, child.stderr!]) stream.destroy();
    });
    child.once('error', (error) => {
      for (const timer of timers) clearTimeout(timer);
      reject(startFault(command, error));
    });
    child.once('close', (status) => {
      resolve({ status: status ?? -1, stdout: stdout(), stderr: stderr(), timedOut });
    });

    // A program may end before it has read everything (EPIPE); its exit status says what happened.
    child.stdin?.on('error', () => {});
    child.stdin?.end(stdin);
  });
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => {});
  return () => Buffer.concat(chunks).toString('utf8');
}

/** `error` is why it could not be started; "KP_EXEC". */
export function startFault(command: string, error: Error): Error {
  const reason = startReason(command, error);
  // What has a reason of ours would be told twice.
  const cause = reason === undefined ? { cause: error } : {};
  const message = `cannot start ${command}: ${reason ?? error.message}`;
  return Object.assign(new Error(message, cause), { code: 'KP_EXEC' });
}

function startReason(command: string, error: Error): string | undefined {
  switch ('code' in error ? error.code : '') {
    case 'ENOENT': {
      const [program = '', ...args] = command.split(/\s+/).filter((word) => word !== '');
      if (program === command) return 'it is not installed, or not in PATH; install it';
      const call = `'${program}', [${args.map((word) => `'${word}'`).join(', ')}]`;
      return `there is no program of that name; arguments go into the list: ${call}`;
    }
    case 'EACCES':
      return isFolder(command) ? 'it is a folder; give a program' : 'it may not be executed; check its permissions';
    default:
      return undefined;
  }
}

function isFolder(path: string): boolean {
  return path.includes('/') && (statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false);
}

/** Ours, but with messages in English, and with the folders of system tools, which a bare PATH often lacks. */
export function programEnvironment(own: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const folders = (own.PATH ?? '/usr/local/bin:/usr/bin:/bin').split(':').filter((folder) => folder !== '');
  for (const folder of ['/usr/sbin', '/sbin']) if (!folders.includes(folder)) folders.push(folder);
  return { ...own, LC_ALL: 'C', LANG: 'C', PATH: folders.join(':') };
}
