import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog, errorText, type LogOptions } from '../../../core/observe/log.ts';

const TIME = new Date(2025, 10, 23, 7, 10, 53, 123).getTime() + 0.456;

function logged(options: Partial<LogOptions>, act: (log: ReturnType<typeof createLog>) => void): string[] {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const now = (): number => TIME;
  act(createLog({ verbosity: 0, format: 'text', component: 'sync', pid: 1234, write, now, ...options }));
  return lines;
}
const one = (options: Partial<LogOptions>, act: (log: ReturnType<typeof createLog>) => void): string => {
  const lines = logged(options, act);
  assert.is(lines.length, 1);
  assert.ok(lines[0]!.endsWith('\n'));
  assert.is(lines[0]!.slice(0, -1).includes('\n'), false);
  return lines[0]!.slice(0, -1);
};

const text = suite('log as text');

text('a line has the shape that Kubernetes components give it', () => {
  const line = one({}, (log) => log.info('Synced', { family: 'IPv4', operations: 12, full: true }));
  assert.is(line, 'I1123 07:10:53.123456    1234 sync] Synced family="IPv4" operations=12 full=true');
});

text('the first letter tells the severity', () => {
  const lines = logged({}, (log) => {
    log.error('a');
    log.warn('b');
    log.info('c');
  });
  assert.is(lines.map((line) => line[0]).join(''), 'EWI');
});

text('verbose lines appear from their level on', () => {
  const act = (log: ReturnType<typeof createLog>): void => {
    log.verbose(2, 'two');
    log.verbose(3, 'three');
  };
  assert.is(logged({ verbosity: 0 }, act).length, 0);
  assert.is(logged({ verbosity: 2 }, act).length, 1);
  assert.is(logged({ verbosity: 3 }, act).length, 2);
  logged({ verbosity: 2 }, (log) => assert.equal([log.enabled(2), log.enabled(3)], [true, false]));
});

text('a child logs under its own name', () => {
  assert.match(
    one({}, (log) => log.child('iptables').info('x')),
    / iptables\] x$/,
  );
});

text('nothing in a message or value begins another line or reaches the terminal', () => {
  const evil = 'a\nE1123 forged] \x1b[31m\r\x9b31m\u2028"';
  const line = one({}, (log) => log.info(evil, { evil, [`k"=\n${'y'}`]: evil, nested: { evil } }));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
  assert.not.match(line, /[\x00-\x1f\x7f-\x9f\u2028]/);
  assert.match(line, /k___y=/);
});

text('values of every type make a line', () => {
  const circular: Record<string, unknown> = { name: 'x' };
  circular.self = circular;
  const shared = { a: 1 };
  const values = {
    big: 12n,
    none: undefined,
    nil: null,
    list: ['a', 1],
    circular,
    twice: [shared, shared],
    f: () => 1,
  };
  const line = one({}, (log) => log.info('m', values));
  assert.match(line, /big="12" nil=null list=\["a",1\] circular=\{"name":"x","self":"\(circular\)"\}/);
  assert.match(line, /twice=\[\{"a":1\},\{"a":1\}\]/);
  assert.not.match(line, /none=/);
});

text('a value that cannot be shown costs its line nothing', () => {
  const hostile = {
    toJSON() {
      throw new Error('no');
    },
  };
  assert.match(
    one({}, (log) => log.info('m', { hostile })),
    /hostile="\(cannot be shown: no\)"/,
  );
});

text('an error shows what it says, and its stack only when the log is verbose', () => {
  const error = new Error('cannot sync', { cause: new Error('EPERM') });
  assert.match(
    one({}, (log) => log.error('m', { error })),
    /error="cannot sync: EPERM"$/,
  );
  assert.match(
    one({ verbosity: 4 }, (log) => log.error('m', { error })),
    /log\.test\.ts/,
  );
});

text('an error of several parts shows them all', () => {
  assert.is(errorText(new AggregateError([new Error('a'), new Error('b')], 'two')), 'two: a: b');
  assert.is(errorText('plain'), 'plain');
  assert.is(errorText({ odd: 1 }), '{"odd":1}');
});

/** As plain JavaScript may call it. */
const say = (call: unknown) => call as (message: unknown, values: unknown) => void;

text('whatever is handed over in the place of a text and values makes one line', () => {
  const trap = Object.defineProperty({}, 'x', { enumerable: true, get: () => assert.unreachable() });
  const evil = Object.defineProperty(new Error('x'), 'message', { get: () => assert.unreachable() });
  for (const [message, values, says] of [
    [{ a: 1 }, undefined, '{"a":1}'],
    [undefined, undefined, 'undefined'],
    [null, null, 'null value=null'],
    [new Error('no'), undefined, 'no'],
    [Symbol('s'), undefined, '"Symbol(s)"'],
    ['m', 'text', 'm value="text"'],
    ['m', new Error('no'), 'm value="no"'],
    ['m', [1], 'm 0=1'],
    ['m', evil, 'm value="(cannot be shown)"'],
    [evil, undefined, '(cannot be shown)'],
  ] as const) {
    const line = one({}, (log) => say(log.info)(message, values));
    assert.is(line.replace(/^.*?\] /, ''), says);
    JSON.parse(one({ format: 'json' }, (log) => say(log.info)(message, values)));
  }
  assert.match(
    one({}, (log) => log.warn('m', trap)),
    /\] m value="\(cannot be shown: /,
  );
});

text('what a cause says is not said twice, however deep', () => {
  const start = new Error('cannot start x: no', { cause: new Error('spawn x') });
  assert.is(
    errorText(new Error('options: cannot start x: no', { cause: start })),
    'options: cannot start x: no: spawn x',
  );
});

const json = suite('log as JSON');

json('a line is one object with the keys that Kubernetes components use', () => {
  const line = one({ format: 'json', verbosity: 2 }, (log) => log.verbose(2, 'Synced', { family: 'IPv4', n: 1 }));
  const { ts, ...rest } = JSON.parse(line);
  assert.is(Math.round(ts), Math.round(TIME));
  assert.equal(rest, { level: 'info', component: 'sync', msg: 'Synced', v: 2, family: 'IPv4', n: 1 });
});

json('a value cannot take the place of what the line itself says', () => {
  const record = JSON.parse(one({ format: 'json' }, (log) => log.warn('real', { msg: 'forged', level: 'info' })));
  assert.is(record.msg, 'real');
  assert.is(record.level, 'warn');
  assert.is(record.msg_, 'forged');
});

json('control characters stay escaped and the text can be had back', () => {
  const evil = 'a\n\x1b\x9b\u2028';
  assert.is(JSON.parse(one({ format: 'json' }, (log) => log.error(evil, {}))).msg, evil);
});

json('errors are text', () => {
  const record = JSON.parse(one({ format: 'json' }, (log) => log.error('m', { error: new Error('why') })));
  assert.is(record.error, 'why');
});

text.run();
json.run();
