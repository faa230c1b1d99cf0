/** The exec backend against a program that the test plays. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, Change, HealthReporting, SyncReport } from '../../../core/backend.ts';
import plugin from '../../../plugins/exec/index.ts';
import { full, many, NODE, NODE6, partial, servicePort } from '../nftables/samples.ts';
import { settle } from '../sync/fake-clock.ts';
import { type FakeProgram, type Stage, stage } from './fake-program.ts';

const test = suite('exec backend');
const COMMAND = { command: '/opt/proxy' };
const READY = { type: 'ready' };
const a = servicePort({ name: 'a' });
const b = servicePort({ name: 'b' });
const six = full([], NODE6, 'IPv6');

type ExecBackend = Backend & HealthReporting;

/** Up to its answer to the hello. */
async function create(
  on: Stage,
  options: Readonly<Record<string, unknown>> = COMMAND,
  ready: Readonly<Record<string, unknown>> | string = READY,
): Promise<ExecBackend> {
  const creating = held(plugin.create(on.host, options));
  await settle();
  if (on.programs.length > 0) await on.program().say(ready);
  return (await creating) as ExecBackend;
}

async function up(options = {}, ready = {}): Promise<{ on: Stage; backend: ExecBackend }> {
  const on = stage();
  return { on, backend: await create(on, { ...COMMAND, ...options }, { ...READY, ...ready }) };
}

/** A sync, with what the program answers to it. */
async function synced(on: Stage, backend: Backend, change: Change, answer = {}): Promise<SyncReport> {
  const syncing = held(backend.sync(change));
  await settle();
  await on.program().say({ type: 'done', id: lastId(on.program()), ...answer });
  return syncing;
}

/** Whose rejection is looked at later. */
function held<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

const lastId = (program: FakeProgram): number => program.told.at(-1)!.id!;
const keysTold = (program: FakeProgram): readonly string[] =>
  program.told.at(-1)!.change!.upsert.map(({ key }) => key.replace(/^default\/(.*):http\/TCP$/, '$1'));
const reason = (backend: HealthReporting): string => {
  const health = backend.health();
  return health.healthy ? '' : health.reason;
};

async function rejects(promise: Promise<unknown>, pattern: RegExp, code?: string): Promise<void> {
  const error = await promise.then(
    () => assert.unreachable('it succeeded'),
    (thrown: unknown) => thrown,
  );
  assert.match((error as Error).message, pattern);
  assert.is((error as { code?: string }).code, code);
}

test('the program is started with its arguments and greeted', async () => {
  const { on, backend } = await up({ args: ['-v'], families: 'IPv4', options: { port: 1 } }, { families: ['IPv4'] });
  assert.equal([on.program().command, on.program().args], ['/opt/proxy', ['-v']]);
  assert.equal(on.program().told, [{ type: 'hello', apiVersion: 1, families: ['IPv4'], options: { port: 1 } }]);
  assert.equal(backend.families, ['IPv4']);
  assert.equal(backend.health(), { healthy: true });
});

test('by default every sync carries everything, sorted', async () => {
  const { on, backend } = await up();
  await synced(on, backend, full([b, a]));
  assert.equal(keysTold(on.program()), ['a', 'b']);
  const c = servicePort({ name: 'c' });
  await synced(on, backend, partial([c], [a.key]));
  assert.equal(keysTold(on.program()), ['b', 'c']);
  assert.equal([on.program().told.at(-1)!.change!.full, on.program().told.at(-1)!.change!.remove], [true, []]);
  await synced(on, backend, full([a]));
  assert.equal(keysTold(on.program()), ['a']);
});

test('a program that wants changes is told them as they are, after everything once for each family', async () => {
  const { on, backend } = await up({}, { changes: true });
  await synced(on, backend, full([a]));
  await synced(on, backend, partial([b], [a.key]));
  assert.equal(keysTold(on.program()), ['b']);
  assert.equal([on.program().told.at(-1)!.change!.full, on.program().told.at(-1)!.change!.remove], [false, [a.key]]);
  await synced(on, backend, six);
  assert.is(on.program().told.at(-1)!.change!.full, true);
});

test('a change costs a program that wants changes the same among 10 service ports as among 10,000', async () => {
  const bytes: number[] = [];
  for (const count of [10, 10_000]) {
    const { on, backend } = await up({}, { changes: true });
    await synced(on, backend, full(many(count)));
    const before = on.program().bytes();
    await synced(on, backend, partial([servicePort({ name: 's3' })]));
    bytes.push(on.program().bytes() - before);
  }
  assert.is(bytes[0], bytes[1]);
});

test('the report is what the program says, or else what it was told', async () => {
  const { on, backend } = await up();
  const said = { operations: 3, bytes: 12, totals: { servers: 4 } };
  assert.equal(await synced(on, backend, full([a, b]), said), said);
  const before = on.program().bytes();
  const report = await synced(on, backend, partial([a], ['x']));
  assert.equal(report, { operations: 2, bytes: on.program().bytes() - before });
});

test('an error is the reason why a sync failed, and the program goes on', async () => {
  const { on, backend } = await up({}, { changes: true });
  await synced(on, backend, full([a]));
  const syncing = held(backend.sync(partial([b])));
  await settle();
  await on.program().say({ type: 'error', id: lastId(on.program()), message: 'disk full' });
  await rejects(syncing, /^\/opt\/proxy says: disk full$/);
  assert.is(reason(backend), '/opt/proxy has not acknowledged the state of IPv4');
  assert.is(on.programs.length, 1);
  await synced(on, backend, partial([servicePort({ name: 'c' })]));
  assert.equal(keysTold(on.program()), ['a', 'b', 'c'], 'whoever failed is told everything');
  assert.equal(backend.health(), { healthy: true });
});

test('syncs of two families are open at once, and each answer finds its own', async () => {
  const { on, backend } = await up();
  const [first, second] = [held(backend.sync(full([a]))), held(backend.sync(six))];
  await settle();
  const [hello, ...told] = on.program().told;
  void hello;
  assert.equal(
    told.map(({ id, change }) => [id, change!.family]),
    [
      [1, 'IPv4'],
      [2, 'IPv6'],
    ],
  );
  await on.program().say({ type: 'done', id: 2, operations: 22 });
  assert.is((await second).operations, 22);
  assert.is(reason(backend), '/opt/proxy has not acknowledged the state of IPv4');
  await on.program().say({ type: 'done', id: 1, operations: 11 });
  assert.is((await first).operations, 11);
});

test('large states of two families are told one after the other, each whole', async () => {
  const { on, backend } = await up();
  const syncs = [held(backend.sync(full(many(2000)))), held(backend.sync(full(many(1000), NODE6, 'IPv6')))];
  await settle();
  const [, first, second] = on.program().told;
  assert.equal([first!.change!.upsert.length, second!.change!.upsert.length], [2000, 1000]);
  for (const { id } of [first!, second!]) await on.program().say({ type: 'done', id });
  await Promise.all(syncs);
});

test('the node is the newest', async () => {
  const { on, backend } = await up();
  await synced(on, backend, full([]));
  await synced(on, backend, partial([], [], { ...NODE, zone: 'z' }));
  assert.is(on.program().told.at(-1)!.change!.node.zone, 'z');
});

test('a program that ends is started again, and is told everything', async () => {
  const { on, backend } = await up({}, { changes: true });
  await synced(on, backend, full([a]));
  await on.program().sayError('out of cheese');
  await on.program().exit('ended with status 7');
  const why = '/opt/proxy ended with status 7; the last line on its standard error: out of cheese';
  assert.is(reason(backend), why);
  assert.equal(on.log.at('error').at(-1)!.values, { reason: why, startedAgainAfterSeconds: 1 });
  await rejects(backend.sync(partial([b])), /status 7; .*out of cheese; it will be told everything/);

  await on.clock.advance(999);
  assert.is(on.programs.length, 1);
  await on.clock.advance(1);
  assert.is(on.programs.length, 2);
  assert.equal(on.resyncs, []);
  assert.is(reason(backend), why, 'it is not ready yet');
  await on.program().say({ ...READY, changes: true });
  assert.equal(on.resyncs, ['the program was started again']);
  assert.is(reason(backend), '/opt/proxy has not acknowledged the state of IPv4');
  await synced(on, backend, partial([]));
  assert.equal(keysTold(on.program()), ['a', 'b'], 'everything, whatever the core says');
  assert.equal(backend.health(), { healthy: true });
});

test('what is open when the program ends fails with its reason', async () => {
  const { on, backend } = await up();
  const syncs = [held(backend.sync(full([a]))), held(backend.sync(six))];
  await settle();
  await on.program().exit('was ended by SIGSEGV');
  for (const each of syncs) await rejects(each, /^\/opt\/proxy was ended by SIGSEGV$/);
});

test('the pauses between starts double up to a minute, and begin anew once a run has served', async () => {
  const { on, backend } = await up();
  const pauses: unknown[] = [];
  const note = (): void => void pauses.push(on.log.at('error').at(-1)!.values.startedAgainAfterSeconds);
  await on.program().exit();
  note();
  for (let run = 0; run < 7; run++) {
    await on.clock.advance(Number(pauses.at(-1)) * 1000);
    if (run % 2 === 0) await on.program().say(READY);
    await on.program().exit();
    note();
  }
  assert.equal(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);

  // It is up for long, but never acknowledged anything.
  await on.clock.advance(60_000);
  await on.program().say(READY);
  await on.clock.advance(120_000);
  await on.program().exit();
  note();
  // It acknowledged, but not for long.
  await on.clock.advance(60_000);
  await on.program().say(READY);
  await synced(on, backend, full([a]));
  await on.program().exit();
  note();
  await on.clock.advance(60_000);
  await on.program().say(READY);
  await synced(on, backend, full([a]));
  await on.clock.advance(60_000);
  await on.program().exit();
  note();
  assert.equal(pauses.slice(8), [60, 60, 1]);
});

test('a program that does not answer in time is ended and started again; the sync fails', async () => {
  const { on, backend } = await up({ timeoutSeconds: 5 });
  const [first, second] = [held(backend.sync(full([a]))), held(backend.sync(six))];
  await settle();
  await on.program().say({ type: 'done', id: 2 });
  await second;
  on.program().ignoreEnd();
  await on.clock.advance(4999);
  assert.equal(on.program().ends, []);
  await on.clock.advance(1);
  await rejects(first, /^\/opt\/proxy did not answer within 5 s, and was ended$/);
  assert.equal(on.program().ends, [0]);
  await rejects(backend.sync(six), /\/opt\/proxy is being ended/);
  await on.program().say({ type: 'resync', reason: 'too late' });
  await on.program().say('too late');
  assert.equal([on.resyncs, on.log.at('warn')], [[], []], 'only its log is still of interest');
  await on.program().say({ type: 'log', message: 'I was stuck' });
  assert.is(on.log.lines.at(-1)!.values.line, 'I was stuck');
  await on.clock.advance(600_000);
  assert.is(on.programs.length, 1, 'no second one before the first is gone');
  await on.program().exit('was ended by SIGKILL');
  assert.is(reason(backend), '/opt/proxy did not answer within 5 s, and was ended');
  await on.clock.advance(1000);
  assert.is(on.programs.length, 2);
});

test('a program that does not read is ended too, and the line after it does not wait twice', async () => {
  const { on, backend } = await up({ timeoutSeconds: 5 });
  on.program().input('stuck');
  const syncs = [held(backend.sync(full([a]))), held(backend.sync(six))];
  await on.clock.advance(5000);
  for (const each of syncs) await rejects(each, /did not answer within 5 s|is being ended/);
});

test('the time of a sync does not run while the line before it is being taken', async () => {
  const { on, backend } = await up({ timeoutSeconds: 5 });
  const first = held(backend.sync(full([a])));
  await on.clock.advance(4000);
  await on.program().say({ type: 'done', id: 1 });
  await first;
  const second = held(backend.sync(full([a])));
  await on.clock.advance(4000);
  await on.program().say({ type: 'done', id: 2 });
  await second;
  assert.is(on.clock.pending(), 0, 'no deadline is left over');
});

test('a program that closes its input is ended, unless it ends by itself: then its reason is told', async () => {
  const closing = await up();
  closing.on.program().input('closed');
  const syncing = held(closing.backend.sync(full([a])));
  await closing.on.clock.advance(1000);
  await rejects(syncing, /\/opt\/proxy closed its input without ending, and was ended/);

  const dying = await up();
  dying.on.program().input('closed');
  const last = held(dying.backend.sync(full([a])));
  await settle();
  await dying.on.program().exit('ended with status 9');
  await rejects(last, /ended with status 9/);
  assert.is(dying.on.clock.pending(), 1, 'nothing but the next start');
});

const NO: readonly (readonly [title: string, answer: object | string, pattern: RegExp, code?: string])[] = [
  ['says no', { type: 'error', message: 'no haproxy' }, /says no: no haproxy/, 'KP_BACKEND_UNSUPPORTED'],
  ['says nonsense', 'Welcome!', /answered the hello with a line that is no JSON: Welcome!/],
  ['answers something else', { type: 'done', id: 1 }, /hello with a line that answers no open request/],
  ['asks before it is ready', { type: 'resync', reason: 'x' }, /hello with a line that comes too early/],
  ['has another version', { ...READY, apiVersion: 2 }, /has apiVersion 2; it must be 1/],
];
for (const [title, answer, pattern, code] of NO) {
  test(`a program that ${title} at the hello is ended, and no backend is created`, async () => {
    const on = stage();
    await rejects(create(on, COMMAND, answer as Record<string, unknown>), pattern, code);
    assert.equal([on.program().running(), on.clock.pending(), on.metrics.length], [false, 0, 0]);
  });
}

test('what is told is the first wrong line, whatever comes after it', async () => {
  const on = stage();
  const creating = held(plugin.create(on.host, COMMAND));
  await settle();
  on.program().ignoreEnd();
  await on.program().say('Welcome!');
  await on.program().say({ type: 'error', message: 'no haproxy' });
  await on.program().say(READY);
  await on.clock.advance(60_000);
  assert.equal(on.program().ends, [0]);
  await on.program().exit();
  await rejects(creating, /a line that is no JSON: Welcome!/);
});

test('a program must not serve families that it was not asked for', async () => {
  const on = stage();
  const both = { ...READY, families: ['IPv4', 'IPv6'] };
  await rejects(create(on, { ...COMMAND, families: 'IPv4' }, both), /families that it was not asked for \(IPv6\)/);
});

test('a program that names no families serves those that it was asked for', async () => {
  assert.equal((await create(stage(), { ...COMMAND, families: 'IPv6' })).families, ['IPv6']);
  assert.equal((await create(stage(), COMMAND, { ...READY, families: null })).families, ['IPv4', 'IPv6']);
});

test('a program that does not answer the hello is ended after 15 s', async () => {
  const on = stage();
  const creating = held(plugin.create(on.host, COMMAND));
  await on.clock.advance(14_999);
  assert.is(on.program().running(), true);
  await on.clock.advance(1);
  await rejects(creating, /\/opt\/proxy did not answer the hello within 15 s, and was ended/);
  assert.is(on.program().running(), false);
});

test('a program that ends before it is ready is told with its last words', async () => {
  const on = stage();
  const creating = held(plugin.create(on.host, COMMAND));
  await settle();
  await on.program().sayError('ImportError: no module named x');
  await on.program().sayError('');
  await on.program().exit();
  const words =
    /\/opt\/proxy ended with status 1 before it was ready; the last line on its standard error: ImportError/;
  await rejects(creating, words);
});

test('a program that cannot be started is a wrong option', async () => {
  const on = stage();
  on.installed(false);
  await rejects(
    create(on),
    /exec backend options: command: cannot start \/opt\/proxy: it is gone/,
    'KP_BACKEND_OPTION',
  );
  assert.is(on.clock.pending(), 0);
});

test('the command must be among the options, and all faults of them are told at once', async () => {
  const on = stage();
  await rejects(create(on, {}), /command: missing; name it: --backend-option/, 'KP_BACKEND_OPTION');
  await rejects(create(on, { args: [] }), /command: missing; name it: --backend-option/, 'KP_BACKEND_OPTION');
  await rejects(create(on, { command: 'x', y: 1 }), /command: .*; y: unknown option/, 'KP_BACKEND_OPTION');
});

test('starts that come to nothing are repeated, and none of them leaves anything', async () => {
  const { on, backend } = await up();
  await on.program().exit();
  on.installed(false);
  await on.clock.advance(1000);
  assert.match(reason(backend), /cannot start \/opt\/proxy: it is gone/);
  on.installed(true);
  await on.clock.advance(2000);
  await on.program().say('nonsense');
  assert.match(reason(backend), /answered the hello with a line that is no JSON/);
  await on.clock.advance(4000);
  await on.program().say({ ...READY, families: ['IPv6'] });
  await settle();
  assert.match(reason(backend), /\/opt\/proxy serves IPv4 no more/);
  assert.equal(on.resyncs, []);
  await on.clock.advance(8000);
  await on.program().say(READY);
  assert.equal(backend.health(), { healthy: true });
  assert.equal(
    on.programs.map((each) => each.running()),
    [false, false, false, true],
  );
  assert.is(on.clock.pending(), 0);
});

test('lines that are no answers are logged, not too many of them, and make it unhealthy while they come', async () => {
  const { on, backend } = await up();
  await synced(on, backend, full([a]));
  for (let count = 0; count < 9; count++) await on.program().say(`noise ${count} ${'x'.repeat(10_000)}`);
  assert.equal(backend.health(), { healthy: true });
  await on.program().say({ type: 'done', id: 99 });
  assert.is(reason(backend), '/opt/proxy writes lines that are no answers; the log shows some');
  const lines = on.log.at('warn');
  assert.is(lines.length, 5);
  assert.is(lines[0]!.values.why, 'is no JSON');
  assert.ok(String(lines[0]!.values.line).startsWith('noise 0 x') && String(lines[0]!.values.line).length < 600);

  await on.clock.advance(10_000);
  await on.program().say({ type: 'ready' });
  const { why, passedOver } = on.log.at('warn').at(-1)!.values;
  assert.equal([why, passedOver], ['comes when nobody asked', 5]);
  await on.clock.advance(50_001);
  assert.equal(backend.health(), { healthy: true });

  for (let count = 0; count < 10; count++) await on.program().say('noise');
  assert.is(backend.health().healthy, false);
  await on.program().exit();
  await on.clock.advance(1000);
  await on.program().say(READY);
  await synced(on, backend, full([a]));
  assert.equal(backend.health(), { healthy: true }, 'a new run begins anew');
});

test('an answer that comes twice, or to nothing, is a wrong line', async () => {
  const { on, backend } = await up();
  const syncing = held(backend.sync(full([a])));
  await settle();
  void on.program().say({ type: 'done', id: 1, operations: 1 });
  void on.program().say({ type: 'error', id: 1, message: 'after all not' });
  assert.is((await syncing).operations, 1);
  await on.program().say({ type: 'error', message: 'of nobody' });
  assert.equal(
    on.log.at('warn').map(({ values }) => values.why),
    ['answers no open request', 'answers no open request'],
  );
});

test('blank lines are nothing', async () => {
  const { on, backend } = await up();
  await on.program().say('');
  await on.program().say(' \r');
  assert.equal([on.log.at('warn'), backend.health()], [[], { healthy: true }]);
});

test('what the program says and what it writes on its standard error is in the log, not without limit', async () => {
  const { on } = await up();
  await on.program().say({ type: 'log', level: 'warn', message: 'low on cheese' });
  await on.program().sayError('trace');
  assert.equal(on.log.at('warn').at(-1), {
    level: 'warn',
    message: 'The program says',
    values: { line: 'low on cheese', passedOver: undefined },
  });
  assert.is(on.log.at('info').at(-1)!.values.line, 'trace');
  const before = on.log.lines.length;
  for (let count = 0; count < 1000; count++) void on.program().sayError('flood');
  assert.is(on.log.lines.length - before, 198);
  await on.clock.advance(50);
  await on.program().sayError('later');
  assert.equal(on.log.lines.at(-1)!.values, { line: 'later', passedOver: 802 });
});

test('the program can ask for a full sync, and call itself unhealthy', async () => {
  const { on, backend } = await up();
  await on.program().say({ type: 'resync', reason: 'my file is gone' });
  assert.equal(on.resyncs, ['the program asked for it: my file is gone']);
  await on.program().say({ type: 'health', healthy: false, reason: 'haproxy is down' });
  assert.is(reason(backend), '/opt/proxy says: haproxy is down');
  await on.program().say({ type: 'health', healthy: true });
  assert.equal(backend.health(), { healthy: true });

  await on.program().say({ type: 'health', healthy: false, reason: 'haproxy is down' });
  await on.program().exit();
  await on.clock.advance(1000);
  await on.program().say(READY);
  assert.equal(backend.health(), { healthy: true }, 'a new run begins anew');
});

test('cleanup is asked of the program, without any sync before', async () => {
  const { on, backend } = await up();
  const cleaning = held(backend.cleanup());
  await settle();
  assert.equal(on.program().told.at(-1), { type: 'cleanup', id: 1 });
  await on.program().say({ type: 'done', id: 1 });
  await cleaning;

  const failing = held(backend.cleanup());
  await settle();
  await on.program().say({ type: 'error', id: 2, message: 'not mine' });
  await rejects(failing, /\/opt\/proxy says: not mine/);
});

test('after a cleanup a program that wants changes is told everything', async () => {
  const { on, backend } = await up({}, { changes: true });
  await synced(on, backend, full([a, b]));
  const cleaning = held(backend.cleanup());
  await settle();
  await on.program().say({ type: 'done', id: 2 });
  await cleaning;
  await synced(on, backend, partial([a]));
  assert.equal([keysTold(on.program()), on.program().told.at(-1)!.change!.full], [['a'], true]);
});

test('cleanup while the program is down starts it at once', async () => {
  const { on, backend } = await up();
  await on.program().exit();
  const cleaning = held(backend.cleanup());
  await settle();
  await on.program().say(READY);
  await on.program().say({ type: 'done', id: 1 });
  await cleaning;
  assert.is(on.programs.length, 2);
  await on.clock.advance(60_000);
  assert.is(on.programs.length, 2, 'the start that was due is not made twice');
});

test('close ends the program gently and leaves nothing', async () => {
  const { on, backend } = await up();
  const syncing = held(backend.sync(full([a])));
  await settle();
  await backend.close();
  assert.equal(on.program().ends, [2000]);
  await rejects(syncing, /was ended by SIGTERM/);
  await on.clock.advance(600_000);
  assert.equal([on.programs.length, on.clock.pending(), on.metrics.length], [1, 0, 0]);
  assert.equal(on.log.at('error'), []);
});

test('close while the program is down, or is being started, starts none', async () => {
  const waiting = await up();
  await waiting.on.program().exit();
  await waiting.backend.close();
  await waiting.on.clock.advance(600_000);
  assert.equal([waiting.on.programs.length, waiting.on.clock.pending()], [1, 0]);

  const starting = await up();
  await starting.on.program().exit();
  await starting.on.clock.advance(1000);
  assert.is(starting.on.programs.length, 2);
  await starting.backend.close();
  await starting.on.clock.advance(600_000);
  assert.equal([starting.on.programs.length, starting.on.clock.pending()], [2, 0]);
  assert.is(starting.on.program().running(), false);
});

test('when the process shuts down the end of the program is no fault', async () => {
  const { on } = await up();
  on.shutDown();
  await on.program().exit('ended with status 0');
  await on.clock.advance(600_000);
  assert.equal([on.programs.length, on.log.at('error')], [1, []]);
});

test('restarts and wrong lines are counted', async () => {
  const { on } = await up();
  await on.program().say('noise');
  await on.program().exit();
  on.installed(false);
  await on.clock.advance(1000);
  on.installed(true);
  await on.clock.advance(2000);
  await on.program().say(READY);
  const values = await Promise.all(on.metrics.map(async (each) => [each.name, (await each.read())[0]!.value]));
  assert.equal(values, [
    ['exec_restarts_total', 2],
    ['exec_refused_lines_total', 1],
  ]);
});

for (const [title, line, onError] of [
  ['blank lines', '', false],
  ['nonsense', 'y', false],
  ['lines of the log', '{"type":"log","message":"again"}', false],
  ['answers that nobody waits for', '{"type":"done","id":99}', false],
  ['lines on its standard error', 'y', true],
] as const) {
  test(`a program that raves, with ${title}, is ended and started again later, and health says so`, async () => {
    const { on, backend } = await up();
    await synced(on, backend, full([a]));
    const program = on.program();
    for (let k = 0; k < 10_000; k++) program.rave(line, onError);
    assert.ok(program.running());
    program.rave(line, onError);
    await settle();
    assert.not.ok(program.running());
    const said = '/opt/proxy wrote more than 10000 lines or 16 MiB within 10 s that answer nothing, and was ended';
    assert.is(reason(backend), said);
    assert.ok(on.log.at('error').some(({ message, values }) => message.endsWith('is down') && values.reason === said));
    assert.is(on.programs.length, 1);
    await on.clock.advance(1000);
    await settle();
    assert.is(on.programs.length, 2);
    await backend.close();
  });
}

test('as much over a longer time is no raving, nor are answers to what was asked', async () => {
  const { on, backend } = await up();
  for (let k = 0; k < 30_000; k++) {
    if (k % 10_000 === 9_999) await on.clock.advance(10_000);
    on.program().rave('y', true);
  }
  assert.ok(on.program().running());
  await backend.close();
});

test.run();
