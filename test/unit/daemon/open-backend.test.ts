import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, BackendPlugin, Host, PluginMetric } from '../../../core/backend.ts';
import { openBackend, warnOfPlugin } from '../../../core/daemon/open-backend.ts';
import { culprit, inPlugin, tellCulprit } from '../../../core/daemon/plugin-context.ts';
import { createLog } from '../../../core/observe/log.ts';
import { fakeClock, settle } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('opening a backend');

function scene(
  create: BackendPlugin['create'],
  pluginOptions: Readonly<Record<string, unknown>> = {},
  onRequest = () => {},
) {
  const clock = fakeClock();
  const lines: string[] = [];
  const [metrics, asked, counted]: [PluginMetric[], string[], string[]] = [[], [], []];
  const warned: (readonly [service: string, reason: string, note: string])[] = [];
  const stop = new AbortController();
  const write = (line: string): void => void lines.push(line);
  const log = createLog({ verbosity: 0, format: 'text', component: 't', pid: 1, write, now: () => 0 });
  const opening = openBackend({
    chosen: { plugin: { name: 'odd', apiVersion: 1, summary: '', create }, options: pluginOptions },
    log,
    signal: stop.signal,
    metrics: {
      register(metric) {
        metrics.push(metric);
        return () => void metrics.splice(metrics.indexOf(metric), 1);
      },
    },
    requestFullSync(reason) {
      asked.push(reason);
      onRequest();
    },
    events: {
      warn({ namespace, name }, reason, note) {
        warned.push([`${namespace}/${name}`, reason, note]);
        onRequest();
      },
    },
    clock,
    onFault: (plugin, kind) => counted.push(`${plugin} ${kind}`),
  });
  const fault: Promise<Error & { code?: string }> = opening.then(
    () => new Error('it was opened'),
    (error) => error,
  );
  return { opening, fault, clock, lines, metrics, asked, warned, counted, stop };
}

function backend(more: Partial<Backend> = {}): Backend {
  return {
    families: ['IPv4'],
    sync: async () => ({ operations: 0, bytes: 0 }),
    cleanup: async () => {},
    close: async () => {},
    ...more,
  };
}

/** An opened one, and the Host that its plugin got. */
async function opened(onRequest?: () => void) {
  let host: Host | undefined;
  const create = async (given: Host) => {
    host = given;
    return backend();
  };
  const made = scene(create, {}, onRequest);
  const open = await made.opening;
  assert.ok(host);
  return { ...made, open, host };
}

test('a Host that was released refuses what would change the node', async () => {
  const { open, host } = await opened();
  const read = host.sysctl.read('kernel/ostype');
  await open.discard();
  const { sysctl, netlink } = host;
  const idle = { onLine() {}, onErrorLine() {}, onExit() {} };
  const calls: readonly (() => unknown)[] = [
    () => host.exec('true', []),
    () => host.spawn('true', [], idle),
    () => sysctl.ensure('kernel/ostype', 'none'),
    () => netlink.ipset(),
    () => netlink.nftablesGeneration(),
    () => netlink.nftables(),
    () => netlink.nfacct(),
    () => netlink.ipvs(),
    () => netlink.dummyLink('kp-none'),
  ];
  for (const call of calls) {
    const error: Error & { code?: string } = await Promise.resolve()
      .then(call)
      .then(
        () => new Error('it was done'),
        (thrown) => thrown,
      );
    assert.is(error.code, 'KP_CLOSED', String(call));
    assert.match(error.message, /^backend odd: cannot .*: the backend is closed, and its Host with it$/);
  }
  assert.is(sysctl.read('kernel/ostype'), read);
});

test('a plugin that throws while it is created is named, whatever it throws', async () => {
  const coded = Object.assign(new Error('option x is wrong'), { code: 'KP_BACKEND_OPTION' });
  for (const [thrown, message, code] of [
    [new Error('no such kernel'), 'backend odd: create failed: no such kernel', undefined],
    [null, 'backend odd: create failed: null', undefined],
    [coded, 'backend odd: create failed: option x is wrong', 'KP_BACKEND_OPTION'],
    [new Error('the odd backend needs more'), 'the odd backend needs more', undefined],
  ] as const) {
    for (const create of [
      () => {
        throw thrown;
      },
      () => Promise.reject(thrown),
    ]) {
      const error = await scene(create).fault;
      assert.equal([error.message, error.code], [message, code]);
    }
  }
});

test('one that does not settle is told of, given up after two minutes, and closed if it comes after all', async () => {
  const { promise, resolve } = Promise.withResolvers<Backend>();
  let closed = false;
  const { fault, clock, lines } = scene(() => promise);
  await clock.advance(10_500);
  assert.match(lines.join(''), /Still waiting for the backend backend="odd" call="create" seconds=1\d/);
  await clock.advance(110_000);
  assert.match(
    (await fault).message,
    /^backend odd: create\(\) has not settled after 120 s; give every wait in it a limit$/,
  );
  const close = async (): Promise<void> => {
    closed = true;
  };
  resolve(backend({ close }));
  await settle();
  assert.ok(closed);
});

test('what is no backend is closed if it can be', async () => {
  let closed = false;
  const made = {
    async close() {
      closed = true;
    },
  };
  const error = await scene(async () => made as unknown as Backend).fault;
  assert.is(error.code, 'KP_BACKEND_SHAPE');
  assert.ok(closed);
});

test('members that are misspelt are told of, with what they are taken for', async () => {
  const more = { healthz: () => ({ healthy: true }), closed: false, checks: 3 } as object;
  const { opening, lines } = scene(async () => backend(more));
  await opening;
  assert.equal(
    lines.map((line) => line.replace(/^.*?\] /, '')),
    [
      'What create() made has a member that the contract does not know backend="odd" member="healthz" didYouMean="health"\n',
    ],
  );
});

test('of a plugin they are told once, however often it is opened; of files that changed each time', () => {
  const log = fakeLog();
  const plugin: BackendPlugin = Object.assign(
    { name: 'odd', apiVersion: 1, summary: '', create: async () => backend() } as const,
    { leaveHostAlone: true, rendr: () => '', helper: 1 },
  );
  warnOfPlugin(log, { plugin, changed: ['/p/a.js'] });
  warnOfPlugin(log, { plugin, changed: ['/p/a.js'] });
  const [changed, mean] = ['The plugin has changed since it was read; restart kube-proxy to load it', 'The plugin has'];
  assert.equal(
    log.at('warn').map(({ message, values }) => [message, ...Object.values(values)]),
    [
      [changed, 'odd', '/p/a.js'],
      [`${mean} a member that the contract does not know`, 'odd', 'leaveHostAlone', 'leavesHostAlone'],
      [`${mean} a member that the contract does not know`, 'odd', 'rendr', 'render'],
      [changed, 'odd', '/p/a.js'],
    ],
  );
});

test('the options that it gets are its own', async () => {
  const options = { nested: { list: [1] } };
  await scene(async (_, given) => {
    (given.nested as { list: number[] }).list.push(2);
    return backend();
  }, options).opening;
  assert.equal(options, { nested: { list: [1] } });
});

test('faults of its timers are its own, but nothing of the core runs in its context', async () => {
  const { host, open, clock, lines, counted, asked } = await opened();
  const seen: unknown[] = [];
  host.clock.after(10, () => seen.push(culprit()));
  host.clock.after(20, () => {
    throw new Error('late');
  });
  await clock.advance(30);
  assert.equal(seen, [open.context]);
  assert.equal(counted, ['odd exception']);
  assert.match(lines.join(''), /An exception escaped from the backend; .*backend="odd" error="late"/);
  assert.equal(asked, ['a fault escaped from backend odd']);
});

test('what the core does because the plugin asked is not taken for the plugin', async () => {
  const seen: unknown[] = [];
  const { host, open, clock } = await opened(() => seen.push(culprit()));
  inPlugin(open.context, () => {
    host.requestFullSync('one');
    host.requestFullSync('two');
    tellCulprit('exception', new Error('boom'));
  });
  await clock.advance(10_000);
  assert.equal(seen, [undefined, undefined, undefined, undefined]);
});

test('it hears of the end in its own context', async () => {
  const { host, open, stop } = await opened();
  const seen: unknown[] = [];
  host.signal.addEventListener('abort', () => seen.push(culprit()));
  assert.not(host.signal.aborted);
  stop.abort();
  assert.equal([seen, host.signal.aborted], [[open.context], true]);
});

test('it may ask for full syncs as often as it likes and gets one in a second', async () => {
  const { host, asked, clock } = await opened();
  for (let i = 0; i < 10; i++) host.requestFullSync(`reason ${i}`);
  assert.equal(asked, ['reason 0']);
  await clock.advance(999);
  assert.is(asked.length, 1);
  await clock.advance(1);
  assert.equal(asked, ['reason 0', 'reason 9']);
  await clock.advance(10_000);
  host.requestFullSync('later');
  assert.equal(asked.slice(2), ['later']);
});

test('its metrics are read in its context, and what they throw is harmless', async () => {
  const { host, open, metrics } = await opened();
  const seen: unknown[] = [];
  const read = () => [{ value: seen.push(culprit()) }];
  host.metrics.register({ name: 'a', type: 'gauge', help: 'x', read });
  host.metrics.register({
    name: 'b',
    type: 'gauge',
    help: 'x',
    read() {
      throw null;
    },
  });
  assert.equal(await metrics[0]?.read(), [{ value: 1 }]);
  assert.equal(seen, [open.context]);
  const error = await Promise.resolve(metrics[1]?.read()).catch((thrown) => thrown);
  assert.is(error.message, 'backend odd: reading metric b failed: null');
});

test('what it says of a Service is told, outside of its context', async () => {
  const seen: unknown[] = [];
  const { host, open, warned } = await opened(() => seen.push(culprit()));
  const service = { namespace: 'shop', name: 'web' };
  inPlugin(open.context, () => host.events.warn(service, 'Odd', 'it is odd'));
  assert.equal([warned, seen], [[['shop/web', 'Odd', 'it is odd']], [undefined]]);
});

test('one that was released is heard no more: no full syncs, no metrics, no events', async () => {
  const { host, open, asked, metrics, warned, clock } = await opened();
  host.metrics.register({ name: 'a', type: 'gauge', help: 'x', read: () => [] });
  host.requestFullSync('first');
  host.requestFullSync('waits');
  open.release();
  assert.equal(metrics, []);
  host.requestFullSync('too late');
  host.metrics.register({ name: 'b', type: 'gauge', help: 'x', read: () => [] });
  host.events.warn({ namespace: 'shop', name: 'web' }, 'Odd', 'too late');
  open.context.escaped('exception', new Error('too late'));
  await clock.advance(100_000);
  assert.equal([asked, metrics, warned], [['first'], [], []]);
});

test('what escapes from nobody is told to nobody', () => {
  assert.not(tellCulprit('exception', new Error('ours')));
});

test.run();
