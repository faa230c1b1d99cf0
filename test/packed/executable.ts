/** The executable that `npm run build` made, and what a test does with it. test/run.ts builds it before these tests. */
import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../..');
export const DIST = join(ROOT, 'dist');
export const EXECUTABLE = join(DIST, `kube-proxy-linux-${process.arch}`);
if (!existsSync(EXECUTABLE)) throw new Error(`there is no ${EXECUTABLE}; type: npm run build`);

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it, or what starts it, to its end. */
export function run(words: readonly string[], options: SpawnSyncOptions = {}): Ended {
  const [command = '', ...args] = words;
  const { status, stdout, stderr, error } = spawnSync(command, args, { timeout: 60_000, ...options, encoding: 'utf8' });
  return { status, stdout: stdout ?? '', stderr: `${stderr ?? ''}${error ? error.message : ''}` };
}

export function packed(args: readonly string[], options: SpawnSyncOptions = {}): Ended {
  return run([EXECUTABLE, ...args], options);
}

/** As nobody, with nothing in the environment. */
export const UNPRIVILEGED = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--', 'env', '-i'] as const;
