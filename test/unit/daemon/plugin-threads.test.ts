/** Threads of a plugin, as the rest of it: in its context, watched, refused once another backend has taken over. */
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArrivingFlow, Host, ThreadOptions } from '../../../core/backend.ts';
import { containHost } from '../../../core/daemon/contain-host.ts';
import { openBackend } from '../../../core/daemon/open-backend.ts';
import { createPluginCalls } from '../../../core/daemon/plugin-calls.ts';
import { culprit, type PluginContext } from '../../../core/daemon/plugin-context.ts';
import { createHost } from '../../../core/node/host.ts';
import { createLog } from '../../../core/observe/log.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('threads of a plugin');

const FLOW: ArrivingFlow = { family: 'IPv4', clientIP: '10.0.0.1', clientPort: 1, ip: '10.0.0.2', port: 2 };

/** A contained Host whose threads are the test's: what would be told to them. */
function contained() {
  const [base, log] = [fakeClock(), fakeLog()];
  let busyMs = 0;
  const clock = { now: () => base.now() + busyMs, after: base.after };
  const escaped: unknown[] = [];
  const context: PluginContext = { name: 'odd', escaped: (kind, thrown) => escaped.push([kind, thrown, culprit()]) };
  const stalls: string[] = [];
  const calls = createPluginCalls({ context, clock, log, onStall: () => stalls.push('stall'), cpuMs: clock.now });
  const started: ThreadOptions[] = [];
  const startedBy: unknown[] = [];
  const posted: unknown[] = [];
  const real = createHost({ log, signal: new AbortController().signal, requestFullSync() {} });
  const host: Host = {
    ...real,
    thread(_, options) {
      started.push(options);
      startedBy.push(culprit());
      return { post: (message) => void posted.push(message), end: async () => {} };
    },
    sockets: { originalDestination: () => undefined, originalUDPDestination: () => ({ ip: '10.96.0.10', port: 53 }) },
  };
  /** Time passes while nothing else can happen. */
  const block = (ms: number): void => {
    busyMs += ms;
  };
  return {
    ...containHost({ host, context, calls, clock }),
    block,
    context,
    escaped,
    stalls,
    started,
    startedBy,
    posted,
  };
}

test('what a thread says is heard in the context of the plugin', () => {
  const { host, started, startedBy, posted, context } = contained();
  const heard: unknown[] = [];
  const onMessage = (message: unknown) => heard.push([message, culprit()]);
  const thread = host.thread('/worker.js', { data: 1, onMessage, onExit: (reason) => heard.push([reason, culprit()]) });
  thread.post('to it');
  started[0]?.onMessage('from it');
  started[0]?.onExit('ended');
  assert.equal(heard, [
    ['from it', context],
    ['ended', context],
  ]);
  assert.equal([started[0]?.data, posted, startedBy], [1, ['to it'], [undefined]]);
});

test('what its listeners throw is told as escaped from the plugin, and they are called again', () => {
  const { host, started, escaped } = contained();
  const boom = new Error('boom');
  const onMessage = (): void => {
    throw boom;
  };
  host.thread('/worker.js', { data: undefined, onMessage, onExit: onMessage });
  started[0]?.onMessage('a');
  started[0]?.onMessage('b');
  started[0]?.onExit('ended');
  assert.equal(escaped, new Array(3).fill(['exception', boom, undefined]));
});

test('a listener that keeps the process from everything else is counted as a stall', () => {
  const { host, started, stalls, block } = contained();
  host.thread('/worker.js', { data: undefined, onMessage: () => block(2_000), onExit() {} });
  started[0]?.onMessage('a');
  assert.equal(stalls, ['stall']);
});

test('a Host that was released starts none, and asks the kernel for nothing', () => {
  const { host, started, release } = contained();
  assert.equal(host.sockets.originalUDPDestination(FLOW), { ip: '10.96.0.10', port: 53 });
  release();
  const isClosed = ({ code, message }: Error & { code?: string }): boolean =>
    code === 'KP_CLOSED' && message.includes('backend odd');
  assert.throws(() => host.thread('/worker.js', { data: 1, onMessage() {}, onExit() {} }), isClosed);
  assert.throws(() => host.sockets.originalUDPDestination(FLOW), isClosed);
  assert.is(started.length, 0);
});

test('threads end after the close of their backend, which may still talk with them', async () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'plugin-thread-')));
  try {
    const path = join(folder, 'worker.mjs');
    writeFileSync(path, 'export default (host) => host.onMessage((message) => host.post(message));');
    const said: string[] = [];
    const exit = Promise.withResolvers<string>();
    const create = async (host: Host) => {
      const drained = Promise.withResolvers<void>();
      const onMessage = (message: unknown): void => {
        said.push(String(message));
        drained.resolve();
      };
      const thread = host.thread(path, { data: undefined, onMessage, onExit: exit.resolve });
      return {
        families: ['IPv4'] as const,
        sync: async () => ({ operations: 0, bytes: 0 }),
        cleanup: async () => {},
        async close() {
          thread.post('drain');
          await drained.promise;
          said.push('closed');
        },
      };
    };
    const stop = new AbortController();
    const open = await openBackend({
      chosen: { plugin: { name: 'odd', apiVersion: 1, summary: '', create }, options: {} },
      log: createLog({ verbosity: 0, format: 'text', component: 't', pid: 1, write() {}, now: () => 0 }),
      signal: stop.signal,
      metrics: { register: () => () => {} },
      requestFullSync() {},
      clock: fakeClock(),
    });
    stop.abort();
    await open.discard();
    assert.is(await exit.promise, 'was ended');
    assert.equal(said, ['drain', 'closed']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
