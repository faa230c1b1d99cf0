/** A running daemon's parts and its live configuration, with plugins whose every call the test holds in its hand. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackendPlugin, Change, IPFamily } from '../../../core/backend.ts';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings } from '../../../core/config/settings.ts';
import {
  createLiveConfiguration,
  type Evaluation,
  type LiveConfiguration,
} from '../../../core/daemon/live-configuration.ts';
import { type NodeProxy, startNodeProxy } from '../../../core/daemon/node-proxy.ts';
import { createLog } from '../../../core/observe/log.ts';
import { createMetrics, type Metrics } from '../../../core/observe/metrics.ts';
import { manifest } from '../cli/program.ts';

const WAIT_MS = 15_000;

/** Waits that the test ends. */
export interface Gate {
  readonly passed: Promise<void>;
  open(): void;
}

export function gate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { passed: promise, open: resolve };
}

export interface FakePlugin {
  readonly plugin: BackendPlugin;
  readonly calls: string[];
  readonly changes: Change[];
}

export interface FakeActs {
  readonly families?: readonly IPFamily[];
  readonly create?: () => void | Promise<void>;
  readonly sync?: (change: Change) => void | Promise<void>;
  readonly close?: () => void | Promise<void>;
}

export function fakePlugin(name: string, acts: FakeActs = {}): FakePlugin {
  const calls: string[] = [];
  const changes: Change[] = [];
  const plugin: BackendPlugin = {
    name,
    apiVersion: 1,
    summary: '',
    async create() {
      calls.push('create');
      await acts.create?.();
      return {
        families: acts.families ?? ['IPv4'],
        async sync(change) {
          calls.push('sync');
          changes.push(change);
          await acts.sync?.(change);
          calls.push('synced');
          return { operations: 1, bytes: 1 };
        },
        async cleanup() {},
        async close() {
          calls.push('close');
          await acts.close?.();
        },
      };
    },
  };
  return { plugin, calls, changes };
}

export interface Scene {
  readonly proxy: NodeProxy;
  readonly live: LiveConfiguration;
  readonly metrics: Metrics;
  readonly told: readonly string[];
  readonly lines: readonly string[];
  /** The configuration file has this text: a backend's name, then further flags. */
  edit(text: string): Promise<void>;
  serve(text: string): void;
  until(what: string, holds: () => boolean): Promise<void>;
  close(): Promise<void>;
}

export interface SceneOptions {
  readonly plugins: readonly FakePlugin[];
  /** As the texts of `edit`. */
  readonly text: string;
  readonly manifests?: string;
  readonly onReady?: (backend: string) => Promise<void> | undefined;
}

export async function openScene({
  plugins,
  text,
  manifests = manifest('10.244.1.2'),
  onReady,
}: SceneOptions): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'adversarial-'));
  const file = join(folder, 'web.json');
  writeFileSync(file, manifests);
  const told: string[] = [];
  const lines: string[] = [];
  const names = plugins.map(({ plugin }) => plugin.name);
  const log = createLog({
    verbosity: 2,
    format: 'text',
    component: 'test',
    pid: 1,
    write: (line) => lines.push(line.trimEnd()),
    now: () => 0,
  });
  const metrics = createMetrics({ version: '0', now: Date.now });

  function evaluate(of: string): Evaluation {
    const flags = of.split(' ').slice(1);
    const common = ['--manifests', file, '--healthz-bind-address=0', '--metrics-bind-address=0'];
    const quick = ['--iptables-min-sync-period=10ms', '--iptables-sync-period=1s'];
    const line = parseCommandLine([...common, ...quick, '--backend', of.split(' ')[0] ?? '', ...flags]);
    return { ...checkSettings(line, names), hash: of };
  }

  // The daemon's own timers keep no process alive.
  const alive = setInterval(() => {}, 1_000);
  const initial = evaluate(text);
  if (!initial.settings) throw new Error(`the text at the start has faults: ${text}`);
  let proxy: NodeProxy | undefined;
  const live = createLiveConfiguration({
    file: 'config.yaml',
    initial: initial.settings,
    initialHash: initial.hash,
    evaluate,
    apply: async (before, after) => proxy?.apply(before, after),
    log,
    onEdit: ({ refused }) => told.push(refused.length === 0 ? 'in force' : `refused: ${refused.join('; ')}`),
  });
  proxy = await startNodeProxy({
    version: '0',
    settings: initial.settings,
    nodeName: (of) => of.node.nodeName || 'worker-1',
    async choose(of) {
      const found = plugins.find(({ plugin }) => plugin.name === of.backend);
      if (!found) throw new Error(`no ${of.backend}`);
      return { plugin: found.plugin, options: of.backendOptions, leavesHostAlone: true };
    },
    log,
    signal: new AbortController().signal,
    metrics,
    pluginMetrics: { register: () => () => {} },
    addresses: () => [],
    configuration: live.status,
    flags: {},
    async onReady(backend) {
      told.push(`ready ${backend}`);
      live.proven();
      await onReady?.(backend);
    },
    onHopeless(backend, family, reason) {
      told.push(`hopeless ${backend} ${family}`);
      void live.withdraw(`${backend}: ${reason}`);
    },
  });
  const running = proxy;
  return {
    proxy: running,
    live,
    metrics,
    told,
    lines,
    edit: (next) => live.edited(next),
    serve: (next) => writeFileSync(file, next),
    async until(what, holds) {
      const deadline = performance.now() + WAIT_MS;
      while (!holds()) {
        if (performance.now() > deadline) {
          throw new Error(
            `${what}: not within ${WAIT_MS / 1000} s; told: ${told.join(', ')}\n${lines.slice(-15).join('\n')}`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    async close() {
      // A test that failed leaves a call hanging.
      await Promise.race([running.stop(), new Promise((resolve) => setTimeout(resolve, 1_000))]);
      clearInterval(alive);
      metrics.close();
      rmSync(folder, { recursive: true });
    },
  };
}
