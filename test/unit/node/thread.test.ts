/** Real threads that run modules of this test: what they are told, how they end, and that nothing else does. */
import { chmodSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Thread, ThreadModule } from '../../../core/backend.ts';
import { createThreads } from '../../../core/node/thread.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('threads');
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'thread-')));
test.after(() => rmSync(folder, { recursive: true }));

/** `name`: with another one it is another module. */
function write(text: string, name: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Does what it is told. */
const OBEDIENT = write(
  `export default (host, data) => {
     host.onMessage((order) => {
       if (order === 'throw') setTimeout(() => { throw new TypeError('thrown late'); });
       else if (order === 'reject') Promise.reject(new Error('rejected'));
       else if (order === 'null') setTimeout(() => { throw null; });
       else if (order === 'coded') throw Object.assign(new Error('with a code'), { code: 'E_CODE' });
       else if (order === 'exit') process.exit(4);
       else if (order === 'function') host.post(() => {});
       else if (order === 'warn') process.emitWarning('take care');
       else if (order === 'loop') for (;;);
       else host.post(order);
     });
     host.post(['begun', data]);
   };`,
  'obedient.mjs',
);

interface Running extends Thread {
  readonly log: ReturnType<typeof fakeLog>;
  readonly messages: readonly unknown[];
  /** Resolves with the reason. */
  readonly exit: Promise<string>;
  /** Resolves when there are so many messages. */
  received(count: number): Promise<readonly unknown[]>;
  /** Everything of this Host. */
  close(): void;
}

function run(module: ThreadModule = OBEDIENT, data: unknown = undefined): Running {
  const log = fakeLog();
  const threads = createThreads(log);
  const messages: unknown[] = [];
  const exit = Promise.withResolvers<string>();
  let wake = (): void => {};
  const thread = threads.thread(module, {
    data,
    onMessage(message) {
      messages.push(message);
      wake();
    },
    onExit: exit.resolve,
  });
  const ended = exit.promise.then((reason): never => {
    throw new Error(`it has ended: ${reason}`);
  });
  ended.catch(() => {});
  return {
    ...thread,
    log,
    messages,
    exit: exit.promise,
    async received(count) {
      while (messages.length < count) {
        const next = Promise.withResolvers<void>();
        wake = next.resolve;
        await Promise.race([next.promise, ended]);
      }
      return messages;
    },
    close: threads.close,
  };
}

test('it gets its data, then messages in their order, and answers', async () => {
  const thread = run(OBEDIENT, { list: [1, 2n, new Map([['a', 1]])] });
  for (const order of ['one', { two: 2 }]) thread.post(order);
  assert.equal(await thread.received(3), [['begun', { list: [1, 2n, new Map([['a', 1]])] }], 'one', { two: 2 }]);
  await thread.end();
});

test('what is posted while the module still loads waits for it', async () => {
  const path = write(
    `await new Promise((done) => setTimeout(done, 50));
     export default (host) => setTimeout(() => host.onMessage((message) => host.post(message)), 10);`,
    'slow.mjs',
  );
  const thread = run(path);
  thread.post('early');
  assert.equal(await thread.received(1), ['early']);
  await thread.end();
});

test('another listener replaces the one before', async () => {
  const path = write(
    `export default (host) => {
       host.onMessage(() => host.post('first'));
       host.onMessage(() => host.post('second'));
     };`,
    'listeners.mjs',
  );
  const thread = run(path);
  thread.post('x');
  assert.equal(await thread.received(1), ['second']);
  await thread.end();
});

for (const [title, order, reason] of [
  ['an exception', 'throw', `ended by an error: thrown late (${OBEDIENT}:3)`],
  ['a rejection that nobody handles', 'reject', `ended by an error: rejected (${OBEDIENT}:4)`],
  ['an exception that is no error', 'null', 'ended by an error: null'],
  ['an error with a code, as it is,', 'coded', 'ended by an error: with a code'],
  ['process.exit()', 'exit', 'ended with status 4'],
] as const) {
  test(`${title} ends the thread alone, which is told once`, async () => {
    const thread = run();
    thread.post('before');
    thread.post(order);
    assert.is(await thread.exit, reason);
    assert.equal(thread.messages, [['begun', undefined], 'before']);
    await thread.end();
    thread.post('nobody hears it');
  });
}

test('one that has nothing left to do ends by itself', async () => {
  const thread = run(write('export default async (host) => host.post("done");', 'short.mjs'));
  assert.is(await thread.exit, 'ended with status 0');
  assert.equal(thread.messages, ['done']);
});

test('it can be ended in the middle of a loop', async () => {
  const thread = run();
  thread.post('loop');
  await thread.received(1);
  await Promise.all([thread.end(), thread.end()]);
  assert.is(await thread.exit, 'was ended');
});

test('all that run end with the Host, which then starts no more', async () => {
  const thread = run();
  await thread.received(1);
  thread.close();
  assert.is(await thread.exit, 'was ended');
  const threads = createThreads(fakeLog());
  threads.close();
  assert.throws(
    () => threads.thread(OBEDIENT, { data: 0, onMessage() {}, onExit() {} }),
    (error: { code?: string }) => error.code === 'KP_CLOSED',
  );
});

test('what cannot be copied is refused where it is sent', async () => {
  const thread = run();
  const message = /^thread .*obedient\.mjs: a message cannot be copied \(.*could not be cloned.*\); give plain data$/;
  assert.throws(() => thread.post(() => {}), message);
  assert.throws(() => run(OBEDIENT, { of: () => {} }), /: its data cannot be copied .*; give plain data$/);
  thread.post('function');
  assert.match(await thread.exit, /^ended by an error: thread .*obedient\.mjs: a message cannot be copied/);
});

test('warnings of Node.js in it are for our log', async () => {
  const thread = run();
  thread.post('warn');
  thread.post('after');
  await thread.received(2);
  assert.equal(
    thread.log.lines.map(({ level, values }) => [level, values.warning]),
    [['v1', 'take care']],
  );
  await thread.end();
});

for (const [title, name, text] of [
  ['CommonJS', 'a.cjs', 'module.exports = (host) => host.post("here");'],
  [
    'CommonJS made of an ES module',
    'b.cjs',
    'exports.__esModule = true; exports.default = (host) => host.post("here");',
  ],
  [
    'TypeScript',
    'c.ts',
    `import type { ThreadHost } from './types.ts';\nexport default (host: ThreadHost) => host.post('here');`,
  ],
] as const) {
  test(`its module may be ${title}`, async () => {
    const thread = run(write(text, name));
    assert.is(await thread.exit, 'ended with status 0');
    assert.equal(thread.messages, ['here']);
  });
}

test('its module may be named by a URL, as text too', async () => {
  const path = write('export default (host) => host.post("here");', 'with a space.mjs');
  for (const module of [pathToFileURL(path), pathToFileURL(path).href]) {
    const thread = run(module);
    await thread.exit;
    assert.equal(thread.messages, ['here']);
  }
});

function refusal(module: ThreadModule): readonly [code: unknown, message: string] {
  try {
    run(module);
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    return [code, message.replaceAll(folder, 'DIR')];
  }
  return ['started', ''];
}

test('a module that is not there, or that others may change, is refused at once', () => {
  assert.equal(refusal('worker.js')[0], 'KP_THREAD');
  assert.equal(refusal('https://example.com/worker.js')[0], 'KP_THREAD');
  assert.equal(refusal(join(folder, 'absent.mjs'))[0], 'KP_PLUGIN_NOT_FOUND');
  const open = write('export default () => {};', 'open.mjs');
  chmodSync(open, 0o666);
  const [code, message] = refusal(open);
  assert.is(code, 'KP_PLUGIN_WRITABLE');
  assert.match(message, /^DIR\/open\.mjs: .*chmod/);
  symlinkSync(open, join(folder, 'link.mjs'));
  assert.is(refusal(join(folder, 'link.mjs'))[0], 'KP_PLUGIN_WRITABLE');
});

test('what its module imports may not be changed by others either', async () => {
  const open = write('export const part = 1;', 'part.mjs');
  chmodSync(open, 0o666);
  const thread = run(
    write(`import { part } from './part.mjs';\nexport default (host) => host.post(part);`, 'whole.mjs'),
  );
  assert.match(await thread.exit, /^ended by an error: .*part\.mjs, imported by .*whole\.mjs: .*KP_PLUGIN_WRITABLE/);
  assert.equal(thread.messages, []);
});

test('a module that cannot be run is told with the place in it', async () => {
  assert.match(await run(write('export default (;', 'wrong.mjs')).exit, /wrong\.mjs: .*SyntaxError.*\(line 1\)/);
  assert.match(await run(write('export const main = 1;', 'none.mjs')).exit, /none\.mjs: .*default export/);
  const rejects = write('export default async () => { throw new Error("no port"); };', 'rejects.mjs');
  assert.is(await run(rejects).exit, `ended by an error: no port (${rejects}:1)`);
});

test.run();
