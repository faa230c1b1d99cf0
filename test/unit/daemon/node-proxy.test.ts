/** The parts of a running daemon, with plugins in the test's hand and manifests for a source. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { BackendPlugin, Change, PluginMetric } from '../../../core/backend.ts';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings, type Settings } from '../../../core/config/settings.ts';
import { type NodeProxy, startNodeProxy } from '../../../core/daemon/node-proxy.ts';
import { createLog } from '../../../core/observe/log.ts';
import { createMetrics } from '../../../core/observe/metrics.ts';
import { manifest } from '../cli/program.ts';

const test = suite('the parts of a running daemon');
const folder = mkdtempSync(join(tmpdir(), 'node-proxy-'));
const manifests = join(folder, 'web.json');
writeFileSync(manifests, manifest('10.244.1.2'));
test.after(() => rmSync(folder, { recursive: true }));

function settings(backend: string, ...flags: readonly string[]): Settings {
  return settingsOf(backend, '--manifests', manifests, ...flags);
}

function settingsOf(backend: string, ...flags: readonly string[]): Settings {
  const common = ['--healthz-bind-address=0', '--metrics-bind-address=0'];
  const checked = checkSettings(parseCommandLine([...common, '--backend', backend, ...flags]), [backend]);
  assert.equal(checked.faults, []);
  return checked.settings;
}

interface FakePlugin {
  readonly plugin: BackendPlugin;
  readonly calls: string[];
  readonly changes: Change[];
}

function fakePlugin(name: string, act: { create?: () => void; sync?: () => void } = {}): FakePlugin {
  const calls: string[] = [];
  const changes: Change[] = [];
  const plugin: BackendPlugin = {
    name,
    apiVersion: 1,
    summary: '',
    async create(host) {
      calls.push('create');
      act.create?.();
      host.metrics.register({ name: `${name}_seen`, type: 'gauge', help: 'x', read: () => [{ value: 1 }] });
      return {
        families: ['IPv4'],
        async sync(change) {
          calls.push('sync');
          changes.push(change);
          act.sync?.();
          return { operations: 1, bytes: 1 };
        },
        async cleanup() {},
        async close() {
          calls.push('close');
        },
      };
    },
  };
  return { plugin, calls, changes };
}

async function scene(
  plugins: readonly FakePlugin[],
  initial: Settings,
  aftermath: () => Promise<void> = async () => {},
) {
  const registered: string[] = [];
  const told: string[] = [];
  const waiting = new Set<() => void>();
  const tell = (what: string): void => {
    told.push(what);
    for (const wake of waiting) wake();
  };
  const proxy: NodeProxy = await startNodeProxy({
    version: '0',
    settings: initial,
    nodeName: () => 'worker-1',
    async choose(of) {
      const found = plugins.find(({ plugin }) => plugin.name === of.backend);
      if (!found) throw new Error(`no ${of.backend}`);
      return { plugin: found.plugin, options: of.backendOptions, leavesHostAlone: true };
    },
    log: createLog({ verbosity: 0, format: 'text', component: '', pid: 1, write: () => {}, now: () => 0 }),
    signal: new AbortController().signal,
    metrics: createMetrics({ version: '0', now: Date.now }),
    pluginMetrics: {
      register({ name }: PluginMetric) {
        registered.push(name);
        return () => void registered.splice(registered.indexOf(name), 1);
      },
    },
    addresses: () => [],
    configuration: () => ({ running: '', file: '', refused: [] }),
    flags: {},
    async onReady(backend) {
      tell(`ready ${backend}`);
      await aftermath();
    },
    onHopeless: (backend, family, reason) => tell(`hopeless ${backend} ${family}: ${reason}`),
  });
  const until = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`no ${pattern} in ${told.join(', ')}`)), 15_000);
      const look = (): void => {
        if (!told.some((line) => pattern.test(line))) return;
        clearTimeout(limit);
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  return { proxy, told, until, registered };
}

test('another backend takes over with everything, and what the first one had registered goes', async () => {
  const [one, two] = [fakePlugin('one'), fakePlugin('two')];
  const before = settings('one');
  const { proxy, until, registered } = await scene([one, two], before);
  await until(/ready one/);
  assert.equal(registered, ['one_seen']);
  await proxy.apply(before, settings('two'));
  await until(/ready two/);
  assert.equal(one.calls, ['create', 'sync', 'close']);
  assert.equal(two.calls, ['create', 'sync']);
  assert.equal([two.changes[0]?.full, two.changes[0]?.upsert.length], [true, 1]);
  assert.equal(registered, ['two_seen']);
  await proxy.stop();
  assert.equal(two.calls, ['create', 'sync', 'close']);
});

test('settings are refused whole when their backend or their source cannot be opened', async () => {
  const bad = fakePlugin('bad', {
    create() {
      throw new Error('this kernel has no such thing');
    },
  });
  const [one, two] = [fakePlugin('one'), fakePlugin('two')];
  const before = settings('one');
  const { proxy, until, registered } = await scene([one, two, bad], before);
  await until(/ready one/);
  const refusal = async (after: Settings): Promise<string> =>
    proxy.apply(before, after).then(
      () => 'accepted',
      (error: Error) => error.message,
    );
  assert.match(await refusal(settings('bad', '--masquerade-all')), /no such thing/);
  const elsewhere = settings('two', '--masquerade-all', `--manifests=${join(folder, 'none')}`);
  assert.match(await refusal(elsewhere), /none/);
  assert.equal(two.calls, ['create', 'close']);
  assert.equal(one.calls, ['create', 'sync']);
  assert.equal(registered, ['one_seen']);
  await proxy.apply(before, settings('one', '--masquerade-all'));
  const deadline = performance.now() + 10_000;
  while (one.changes.length < 2 && performance.now() < deadline) await new Promise((done) => setTimeout(done, 20));
  assert.equal(
    one.changes.map(({ node }) => node.masqueradeAll),
    [false, true],
  );
  await proxy.stop();
});

test('a backend that took over and programs nothing is told of, with the reason', async () => {
  const one = fakePlugin('one');
  const mute = fakePlugin('mute', {
    sync() {
      throw new Error('EPERM');
    },
  });
  const before = settings('one');
  const { proxy, until, told } = await scene([one, mute], before);
  await until(/ready one/);
  const after = settings('mute');
  await proxy.apply(before, after);
  await until(/hopeless mute IPv4: .*EPERM/);
  await proxy.apply(after, before);
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(
    told.map((line) => line.split(':')[0]),
    ['ready one', 'hopeless mute IPv4', 'ready one'],
  );
  assert.equal(one.calls, ['create', 'sync', 'close', 'create', 'sync']);
  await proxy.stop();
});

test('no backend takes over while what others left is still being removed', async () => {
  const [one, two] = [fakePlugin('one'), fakePlugin('two')];
  const before = settings('one');
  const removal = Promise.withResolvers<void>();
  const { proxy, until } = await scene([one, two], before, () => removal.promise);
  await until(/ready one/);
  const applied = proxy.apply(before, settings('two'));
  await new Promise((done) => setTimeout(done, 50));
  assert.equal(two.calls, []);
  removal.resolve();
  await applied;
  await until(/ready two/);
  await proxy.stop();
});

test('objects come from elsewhere without a moment of nothing', async () => {
  const one = fakePlugin('one');
  const before = settings('one');
  const { proxy, until } = await scene([one], before);
  await until(/ready one/);
  const elsewhere = join(folder, 'other.json');
  writeFileSync(elsewhere, manifest('10.244.1.2', '10.244.1.3'));
  await proxy.apply(before, settings('one', `--manifests=${elsewhere}`));
  const deadline = performance.now() + 10_000;
  while (one.changes.length < 2 && performance.now() < deadline) await new Promise((done) => setTimeout(done, 20));
  assert.equal(
    one.changes.map(({ full, upsert, remove }) => [full, upsert[0]?.cluster.length, remove]),
    [
      [true, 1, []],
      [false, 2, []],
    ],
  );
  await proxy.stop();
});

test('a source that has nothing yet replaces nothing, and gives way to a later one', async () => {
  const one = fakePlugin('one');
  const before = settings('one');
  const { proxy, until } = await scene([one], before);
  await until(/ready one/);
  const kubeconfig = join(folder, 'kubeconfig');
  const cluster = { name: 'c', cluster: { server: 'https://127.0.0.1:1' } };
  const context = { name: 'x', context: { cluster: 'c', user: 'u' } };
  const user = { name: 'u', user: { token: 't' } };
  const parts = { clusters: [cluster], contexts: [context], users: [user], 'current-context': 'x' };
  writeFileSync(kubeconfig, JSON.stringify({ apiVersion: 'v1', kind: 'Config', ...parts }));
  const nowhere = settingsOf('one', `--kubeconfig=${kubeconfig}`);
  await proxy.apply(before, nowhere);
  writeFileSync(manifests, manifest('10.244.1.2', '10.244.1.4'));
  const changed = async (count: number): Promise<void> => {
    const deadline = performance.now() + 10_000;
    while (one.changes.length < count && performance.now() < deadline)
      await new Promise((done) => setTimeout(done, 20));
  };
  await changed(2);
  const elsewhere = join(folder, 'third.json');
  writeFileSync(elsewhere, manifest('10.244.1.5'));
  await proxy.apply(nowhere, settingsOf('one', `--manifests=${elsewhere}`));
  await changed(3);
  assert.equal(
    one.changes.map(({ upsert }) => upsert[0]?.cluster.map(({ ip }) => ip)),
    [['10.244.1.2'], ['10.244.1.2', '10.244.1.4'], ['10.244.1.5']],
  );
  await proxy.stop();
});

test('stopping waits until what others left is removed', async () => {
  const one = fakePlugin('one');
  const removal = Promise.withResolvers<void>();
  const { proxy, until } = await scene([one], settings('one'), () => removal.promise);
  await until(/ready one/);
  let stopped = false;
  const stopping = proxy.stop().then(() => {
    stopped = true;
  });
  const deadline = performance.now() + 10_000;
  while (!one.calls.includes('close') && performance.now() < deadline)
    await new Promise((done) => setTimeout(done, 20));
  await new Promise((done) => setTimeout(done, 50));
  assert.not(stopped);
  removal.resolve();
  await stopping;
});

test.run();
