import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import plugin from '../../../plugins/exec/index.ts';
import { cleanupLine, helloLine, readAnswer, syncLine } from '../../../plugins/exec/protocol.ts';
import { full, many, NODE6, partial, servicePort } from '../nftables/samples.ts';

const test = suite('protocol of the exec backend');
const printers = { nftables: () => '' };

test('the hello and cleanup lines are these', () => {
  assert.is(
    helloLine(['IPv4'], { port: 1 }),
    '{"type":"hello","apiVersion":1,"families":["IPv4"],"options":{"port":1}}\n',
  );
  assert.is(cleanupLine(7), '{"type":"cleanup","id":7}\n');
});

test('a sync line is the change, and begins the way that programs without a JSON parser go by', () => {
  const changes = [full([servicePort()]), full([]), partial(many(2), ['a/b:c/TCP'])];
  for (const change of changes) {
    const line = [...syncLine(12, change)].join('');
    assert.ok(line.startsWith(`{"type":"sync","id":12,"change":{"family":"IPv4","full":${change.full},"node":{`), line);
    assert.is(line.indexOf('\n'), line.length - 1);
    assert.equal(JSON.parse(line), { type: 'sync', id: 12, change: JSON.parse(JSON.stringify(change)) });
  }
});

test('a large state is made in pieces, not as one text', () => {
  const change = full(many(2000));
  const pieces = [...syncLine(1, change)];
  assert.ok(pieces.length > 10, `${pieces.length} pieces`);
  for (const piece of pieces) assert.ok(piece.length < 100_000, `${piece.length} characters`);
  assert.equal(JSON.parse(pieces.join('')).change, JSON.parse(JSON.stringify(change)));
});

test('answers are read, with what may be left out', () => {
  assert.equal(readAnswer('{"type":"ready"}'), { type: 'ready', families: undefined, changes: false });
  assert.equal(readAnswer(' {"type":"ready","apiVersion":1,"families":["IPv6","IPv6"],"changes":true}\r'), {
    type: 'ready',
    families: ['IPv6'],
    changes: true,
  });
  const bare = { type: 'done', id: 3, operations: undefined, bytes: undefined, totals: undefined };
  assert.equal(readAnswer('{"type":"done","id":3,"later":"field"}'), bare);
  const counts = { operations: 0, bytes: 17, totals: { servers: 2 } };
  assert.equal(readAnswer(JSON.stringify({ type: 'done', id: 3, ...counts })), { ...bare, ...counts });
  assert.equal(readAnswer('{"type":"error","id":3,"message":"no"}'), { type: 'error', id: 3, message: 'no' });
  const said = '{"type":"error","id":null,"message":"no"}';
  assert.equal(readAnswer(said), { type: 'error', id: undefined, message: 'no' }, 'null is as good as nothing');
  assert.equal(readAnswer('{"type":"log","message":"m"}'), { type: 'log', level: 'info', message: 'm' });
  assert.equal(readAnswer('{"type":"log","level":"warn","message":"m"}'), { type: 'log', level: 'warn', message: 'm' });
  assert.equal(readAnswer('{"type":"resync","reason":"r"}'), { type: 'resync', reason: 'r' });
  assert.equal(readAnswer('{"type":"health","healthy":true}'), { type: 'health', healthy: true, reason: '' });
  assert.equal(readAnswer('{"type":"health","healthy":false,"reason":"r"}'), {
    type: 'health',
    healthy: false,
    reason: 'r',
  });
});

const REFUSED: readonly (readonly [line: string, why: string])[] = [
  ['hello?', 'is no JSON'],
  ['{"type":"done","id":1', 'is no JSON'],
  ['7', 'is no JSON object'],
  ['null', 'is no JSON object'],
  ['[{"type":"done"}]', 'is no JSON object'],
  ['{}', 'has type missing; it must be one of ready, done, error, log, resync, health'],
  ['{"type":"Done","id":1}', 'has type "Done"; it must be one of ready, done, error, log, resync, health'],
  ['{"type":"toString"}', 'has type "toString"; it must be one of ready, done, error, log, resync, health'],
  ['{"type":"ready","apiVersion":2}', 'has apiVersion 2; it must be 1'],
  ['{"type":"ready","families":[null]}', 'has families [null]; it must be a list of IPv4 and IPv6'],
  ['{"type":"ready","families":[]}', 'has families []; it must be a list of IPv4 and IPv6'],
  ['{"type":"ready","families":"IPv4"}', 'has families "IPv4"; it must be a list of IPv4 and IPv6'],
  ['{"type":"ready","changes":"yes"}', 'has changes "yes"; it must be true or false'],
  ['{"type":"done"}', 'has id missing; it must be that of a request'],
  ['{"type":"done","id":"1"}', 'has id "1"; it must be that of a request'],
  ['{"type":"done","id":1,"bytes":-1}', 'has bytes -1; it must be a number from 0 on'],
  ['{"type":"done","id":1,"operations":"2"}', 'has operations "2"; it must be a number from 0 on'],
  ['{"type":"done","id":1,"totals":[]}', 'has totals []; it must be an object of numbers'],
  ['{"type":"done","id":1,"totals":{"a":"b"}}', 'has "b" as a total of "a"; it must be a number'],
  ['{"type":"error","id":1}', 'has message missing; it must be a text'],
  ['{"type":"log","level":"debug","message":"m"}', 'has level "debug"; it must be error, warn or info'],
  ['{"type":"resync","reason":""}', 'has reason ""; it must be a text'],
  ['{"type":"health","healthy":1}', 'has healthy 1; it must be true or false'],
  ['{"type":"health","healthy":false}', 'has reason missing; it must be a text'],
];
test('a line that is no answer is refused with what is wrong', () => {
  for (const [line, why] of REFUSED) assert.equal(readAnswer(line), { type: 'refused', why }, line);
});

test('render prints what a program is told first, sorted, for the families that it gets', () => {
  const changes = [full(many(2).reverse()), full([], NODE6, 'IPv6')];
  const text = plugin.render!(changes, { options: '{"port":1}' }, printers);
  const [hello, first, second, ...rest] = text.trimEnd().split('\n');
  assert.is(`${hello}\n`, helloLine(['IPv4', 'IPv6'], { port: 1 }));
  assert.equal(JSON.parse(first!), { type: 'sync', id: 1, change: JSON.parse(JSON.stringify(full(many(2)))) });
  assert.equal(JSON.parse(second!), { type: 'sync', id: 2, change: JSON.parse(JSON.stringify(changes[1])) });
  assert.equal(rest, []);
  assert.is(plugin.render!(changes, { options: { port: 1 } }, printers), text);

  const one = plugin.render!(changes, { families: 'IPv6' }, printers).trimEnd().split('\n');
  assert.equal(
    one.map((line) => JSON.parse(line)).map(({ type, id, change }) => [type, id, change?.family]),
    [
      ['hello', undefined, undefined],
      ['sync', 1, 'IPv6'],
    ],
  );
  assert.throws(() => plugin.render!(changes, { nonsense: 1 }, printers), /nonsense: unknown option/);
});

test.run();
