/** JSON cut at every place, and in every way that it can be wrong. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { jsonDocuments, jsonList, MalformedJSON } from '../../../core/source/api/json-stream.ts';

const test = suite('json-stream');

/** Everything that could be taken for structure inside a string. */
const NASTY = [
  { a: 'br{ace}s [and] "quotes"', b: '\\', c: '\\\\"', d: 'tab\t nl\n', e: '' },
  { a: { b: [{}, [], [[]], { c: null }] }, 'k"e}y\\': [1, -2.5e3, true, false] },
  { text: 'ümläut – 日本語 – 🎉 – \u2028', escaped: '\u0000\u001f' },
  { items: [{ items: ['items'] }], metadata: { items: 'items' } },
  {},
];

function readDocuments(pieces: readonly Uint8Array[]): unknown[] {
  const found: unknown[] = [];
  const stream = jsonDocuments((document) => found.push(document));
  for (const piece of pieces) stream.push(piece);
  stream.end();
  return found;
}

function readList(pieces: readonly Uint8Array[]) {
  const items: unknown[] = [];
  const stream = jsonList((item) => items.push(item));
  for (const piece of pieces) stream.push(piece);
  stream.end();
  return { items, frame: stream.frame() };
}

/** Cut into pieces of the given sizes, over and over. */
function cut(text: string, sizes: readonly number[]): Uint8Array[] {
  const bytes = Buffer.from(text);
  const pieces: Uint8Array[] = [];
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const size = sizes[n % sizes.length] ?? 1;
    // Copied, as a reused receive buffer would be: nothing may be kept of it.
    pieces.push(Uint8Array.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return pieces;
}

const SIZES: readonly (readonly number[])[] = [[1], [2], [3], [7], [1, 64], [4096], [5, 1, 1, 2], [1e9]];

test('documents come out whole wherever the bytes are cut', () => {
  for (const separator of ['', '\n', ' \r\n\t']) {
    const text = NASTY.map((document) => JSON.stringify(document)).join(separator);
    for (const sizes of SIZES) assert.equal(readDocuments(cut(text, sizes)), NASTY, `${sizes} ${separator.length}`);
  }
});

test('documents that are written over several lines are the same', () => {
  assert.equal(
    readDocuments([Buffer.from(NASTY.map((document) => JSON.stringify(document, null, 2)).join('\n'))]),
    NASTY,
  );
});

test('documents and lists come out whole wherever one cut is made', () => {
  const stream = Buffer.from(NASTY.map((document) => JSON.stringify(document)).join('\n'));
  const list = Buffer.from(JSON.stringify({ kind: 'items', items: NASTY, metadata: { continue: '"items":[' } }));
  for (let at = 0; at <= stream.length; at++) {
    assert.equal(readDocuments([stream.subarray(0, at), stream.subarray(at)]), NASTY, `${at}`);
  }
  for (let at = 0; at <= list.length; at++) {
    assert.equal(readList([list.subarray(0, at), list.subarray(at)]).items, NASTY, `${at}`);
  }
});

test('a document is handed on with its last byte, not with the next document', () => {
  let count = 0;
  const stream = jsonDocuments(() => count++);
  stream.push(Buffer.from('{"a":1'));
  assert.is(count, 0);
  stream.push(Buffer.from('}'));
  assert.is(count, 1);
});

test('a document that ends early is no end of the stream, at whatever byte', () => {
  const text = JSON.stringify(NASTY[1]);
  for (let length = 1; length < Buffer.byteLength(text); length++) {
    const stream = jsonDocuments(() => assert.unreachable('no document is complete'));
    stream.push(Buffer.from(text).subarray(0, length));
    assert.throws(
      () => stream.end(),
      (error: unknown) => error instanceof MalformedJSON,
      `${length} bytes`,
    );
  }
});

test('what is not an object is refused', () => {
  for (const text of [
    '[]',
    '"text"',
    '12',
    'null',
    '<html>',
    '\u{feff}{}',
    '}',
    '{"a":1},{}',
    '{"a":}',
    '{]',
    '{"a":1,}',
  ]) {
    assert.throws(
      () => readDocuments([Buffer.from(text)]),
      (error: unknown) => error instanceof MalformedJSON,
      text,
    );
  }
});

test('an object above the limit is refused before it is complete', () => {
  const stream = jsonDocuments(() => {}, 100);
  stream.push(Buffer.from(`{"a":"${'x'.repeat(80)}`));
  assert.throws(() => stream.push(Buffer.from('x'.repeat(20))), /larger than 100 bytes/);
});

test('the items of a list come out one by one wherever the bytes are cut', () => {
  const metadata = { resourceVersion: '12', continue: 'a"b\\{}[]' };
  for (const [head, tail] of [
    [{ kind: 'ServiceList', metadata }, {}],
    [{}, { kind: 'ServiceList', metadata }],
    [{ a: ['items', { items: [1] }] }, { metadata, z: 'items' }],
  ] as const) {
    for (const items of [NASTY, NASTY.slice(0, 1), []]) {
      for (const indent of [0, 2]) {
        const text = JSON.stringify({ ...head, items, ...tail }, null, indent);
        for (const sizes of SIZES) {
          const read = readList(cut(text, sizes));
          assert.equal(read.items, items);
          assert.equal(read.frame, { ...head, items: [], ...tail });
        }
      }
    }
  }
});

test('a list that ends early is no list, at whatever byte', () => {
  const bytes = Buffer.from(JSON.stringify({ metadata: { resourceVersion: '1' }, items: NASTY, kind: 'List' }));
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(
      () => readList([bytes.subarray(0, length)]),
      (error: unknown) => error instanceof MalformedJSON,
      `${length}`,
    );
  }
  assert.is(readList([bytes]).items.length, NASTY.length);
});

test('one byte that is changed to a bracket, a quote or a comma never makes a list of other objects', () => {
  const objects = [
    { name: 'a', ports: [1, 2] },
    { name: 'b', ports: [] },
  ];
  const text = JSON.stringify({ kind: 'List', items: objects, metadata: { resourceVersion: '1' } });
  for (let at = 0; at < text.length; at++) {
    for (const byte of '{}[]",:\\ ') {
      const changed = text.slice(0, at) + byte + text.slice(at + 1);
      let whole: { items?: unknown } | undefined;
      try {
        whole = JSON.parse(changed) as { items?: unknown };
      } catch {
        assert.throws(
          () => readList(cut(changed, [5])),
          (error: unknown) => error instanceof MalformedJSON,
          changed,
        );
        continue;
      }
      if (Array.isArray(whole.items)) assert.equal(readList(cut(changed, [5])).items, whole.items, changed);
      else
        assert.throws(
          () => readList(cut(changed, [5])),
          (error: unknown) => error instanceof MalformedJSON,
          changed,
        );
    }
  }
});

test('what is not a list is refused', () => {
  for (const text of [
    '{}',
    '{"items":{}}',
    '{"items":"[]"}',
    '{"items":[1]}',
    '{"items":[{},]}',
    '{"items":[,{}]}',
    '{"items":[{} {}]}',
    '{"items":[{}]}{}',
    '{"kind":"Status","message":"items"}',
    '[]',
    '<html>',
    '',
  ]) {
    assert.throws(
      () => readList([Buffer.from(text)]),
      (error: unknown) => error instanceof MalformedJSON,
      text,
    );
  }
});

test('null instead of the items is an empty list', () => {
  assert.equal(readList([Buffer.from('{"items":null}')]).items, []);
});

test('what the callback throws is not taken for a fault of the JSON', () => {
  const stream = jsonDocuments(() => {
    throw new RangeError('mine');
  });
  assert.throws(
    () => stream.push(Buffer.from('{}')),
    (error: unknown) => error instanceof RangeError,
  );
});

test.run();
