/** The packed daemon, started in the namespaces that the test is in. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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

/** Servers that another daemon of this machine may have. */
const NO_SERVERS = ['--healthz-bind-address=0', '--metrics-bind-address=0'];

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
    const service = {
      kind: 'Service',
      apiVersion: 'v1',
      metadata: { name: 'web', namespace: 'default' },
      spec: { clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10'], ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
    };
    const slice = {
      kind: 'EndpointSlice',
      apiVersion: 'discovery.k8s.io/v1',
      metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      ports: [{ name: '', port: 8080 }],
      endpoints: addresses.map((address) => ({ addresses: [address] })),
    };
    writeFileSync(`${file}.next`, JSON.stringify({ kind: 'List', apiVersion: 'v1', items: [service, slice] }));
    renameSync(`${file}.next`, file);
  };
  write(...endpoints);
  return { file, write, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
