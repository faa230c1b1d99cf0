/** The packed daemon, started in the namespaces that the test is in. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { manifest, NO_SERVERS } from '../unit/cli/program.ts';
import { EXECUTABLE } from './executable.ts';

const LIMIT_MS = 30_000;

export interface Running {
  readonly child: ChildProcess;
  log(): string;
  /** Resolves when the log so far matches; rejects with the log when it ends first or takes too long. */
  says(pattern: RegExp): Promise<void>;
  /** The exit status, or the signal's name. */
  stop(signal?: NodeJS.Signals): Promise<number | string>;
}

/** `before`: what starts it, for example chroot. */
export function startPacked(flags: readonly string[], before: readonly string[] = [], program = EXECUTABLE): Running {
  const [command = '', ...args] = [...before, program, ...NO_SERVERS, ...flags];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  const listeners = new Set<() => void>();
  const notify = (): void => {
    for (const listener of listeners) listener();
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      log += chunk;
      notify();
    });
  }
  let ended = false;
  child.once('close', () => {
    ended = true;
    notify();
  });
  return {
    child,
    log: () => log,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const settle = (act: () => void): void => {
          clearTimeout(timer);
          listeners.delete(look);
          act();
        };
        const look = (): void => {
          if (pattern.test(log)) settle(resolve);
          else if (ended) settle(() => reject(new Error(`it ended without saying ${pattern}:\n${log}`)));
        };
        const timer = setTimeout(() => settle(() => reject(new Error(`it did not say ${pattern}:\n${log}`))), LIMIT_MS);
        listeners.add(look);
        look();
      }),
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) {
        const exit = once(child, 'exit');
        child.kill(signal);
        await exit;
      }
      return child.exitCode ?? child.signalCode ?? -1;
    },
  };
}

export interface Manifests {
  readonly file: string;
  /** Replaces the file with a Service 10.96.0.10:80 that has these IPv4 endpoints. */
  write(...endpoints: readonly string[]): void;
  remove(): void;
}

export function manifests(...endpoints: readonly string[]): Manifests {
  const folder = mkdtempSync('/tmp/packed-');
  const file = join(folder, 'state.json');
  const write = (...addresses: readonly string[]): void => {
    writeFileSync(`${file}.next`, manifest(...addresses));
    renameSync(`${file}.next`, file);
  };
  write(...endpoints);
  return { file, write, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
