/** kube-proxy as a process of its own, for tests of what only a whole daemon shows. */
import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';

export const MAIN = resolve(import.meta.dirname, '../../../core/main.ts');
/** Servers of no use to a test, on ports that another daemon of this machine may have. */
export const NO_SERVERS = ['--healthz-bind-address=0', '--metrics-bind-address=0'];
const LIMIT_MS = 20_000;

/** A Service with these endpoints. */
export const manifest = (...endpoints: readonly string[]): string =>
  JSON.stringify({
    kind: 'List',
    apiVersion: 'v1',
    items: [
      {
        kind: 'Service',
        apiVersion: 'v1',
        metadata: { name: 'web', namespace: 'default' },
        spec: { clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10'], ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
      },
      {
        kind: 'EndpointSlice',
        apiVersion: 'discovery.k8s.io/v1',
        metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
        addressType: 'IPv4',
        ports: [{ name: '', port: 8080 }],
        endpoints: endpoints.map((address) => ({ addresses: [address] })),
      },
    ],
  });

export interface Daemon {
  readonly child: ChildProcess;
  log(): string;
  stdout(): string;
  /** Resolves when the output so far matches. */
  says(pattern: RegExp): Promise<void>;
  readonly exit: Promise<number | null>;
}

const running = new Set<ChildProcess>();

/** After each test: what it left running goes. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

export function start(...flags: readonly string[]): Daemon {
  return startProgram(MAIN, ...NO_SERVERS, ...flags);
}

export function startProgram(...args: readonly string[]): Daemon {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let [stdout, stderr] = ['', ''];
  const listeners = new Set<() => void>();
  const notify = (): void => {
    for (const listener of listeners) listener();
  };
  child.stdout!.on('data', (chunk) => {
    stdout += chunk;
    notify();
  });
  child.stderr!.on('data', (chunk) => {
    stderr += chunk;
    notify();
  });
  const exit = new Promise<number | null>((done) => {
    child.once('close', (code) => {
      running.delete(child);
      done(code);
      notify();
    });
  });
  return {
    child,
    log: () => stderr,
    stdout: () => stdout,
    exit,
    says: (pattern) =>
      new Promise((done, fail) => {
        const timer = setTimeout(() => fail(new Error(`no ${pattern} in:\n${stderr}${stdout}`)), LIMIT_MS);
        const look = (): void => {
          const said = pattern.test(stderr) || pattern.test(stdout);
          if (!said && running.has(child)) return;
          clearTimeout(timer);
          listeners.delete(look);
          if (said) done();
          else fail(new Error(`ended without ${pattern}:\n${stderr}${stdout}`));
        };
        listeners.add(look);
        look();
      }),
  };
}
