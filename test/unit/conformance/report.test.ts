/** The report says everything, once, and in lines that a person or a program can read. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { broken, doubtful, type Result, untried, type Verdict, verdictOf } from '../../conformance/behaviour.ts';
import { jsonPrinter, type Printer, textPrinter } from '../../conformance/report.ts';

const test = suite('conformance kit: report');

const result = (id: string, verdict: Verdict, part: Result['part'] = 'contract'): Result => ({
  id,
  sentence: `It does ${id}`,
  contract: `Backend.${id}()`,
  remedy: `do ${id}`,
  part,
  verdict,
});
const HEAD = { name: 'mine', version: '1.2.3', summary: 'a backend', place: 'Linux' };

function printed(printer: Printer, results: readonly Result[]): string {
  return printer.head(HEAD) + results.map((each) => printer.result(each)).join('') + printer.tail(results);
}

const ALL: readonly Result[] = [
  result('a', { kind: 'holds' }),
  result('b', { kind: 'holds', note: '3 of 3' }),
  result('c', { kind: 'fails', expected: 'peace', seen: 'war' }),
  result('d', { kind: 'advice', expected: 'calm', seen: 'haste' }),
  result('e', { kind: 'not tried', why: 'no kernel' }),
  result('f', { kind: 'not tried', why: 'no kernel' }),
  result('g', { kind: 'not tried', why: 'no packets' }, 'packets'),
  result('h', { kind: 'not tried', why: 'no packets' }, 'packets'),
  ...['i', 'j', 'k', 'l'].map((id) => result(id, { kind: 'not tried', why: 'no packets' }, 'packets')),
];

test('text: a line for each behaviour, more for those that do not hold, and the numbers', () => {
  const text = `mine 1.2.3: a backend
on Linux

The contract, of which kube-proxy.d.ts says more
  ✓ It does a
  ✓ It does b (3 of 3)
  ✗ It does c
      expected  peace
      seen      war
      contract  Backend.c()
      remedy    do c
  ! It does d
      expected  calm
      seen      haste
      contract  Backend.d()
      remedy    do d
  – It does e: not tried: no kernel
  – It does f: not tried, for the same reason

What connections meet
  – It does g: not tried: no packets
  – 5 more: not tried, for the same reason

✓ holds   ✗ fails   ! advice: looks wrong, and the contract does not demand it   – not tried
2 hold, 1 fail, 8 not tried, 1 with advice
`;
  assert.is(printed(textPrinter(), ALL), text);
});

test('text: many that were not tried for one reason are one line, in both parts', () => {
  for (const part of ['contract', 'packets'] as const) {
    const many = Array.from({ length: 36 }, (_, index) => result(`${index}`, { kind: 'not tried', why: 'no' }, part));
    assert.match(printed(textPrinter(), many), /not tried: no\n {2}– 35 more: not tried, for the same reason\n\n/);
  }
});

test('JSON: one object with everything', () => {
  const { backend, counts, behaviours } = JSON.parse(printed(jsonPrinter(), ALL));
  assert.equal(backend, HEAD);
  assert.equal(counts, { holds: 2, fails: 1, notTried: 8, advice: 1 });
  assert.is(behaviours.length, ALL.length);
  assert.equal(behaviours[2], {
    id: 'c',
    sentence: 'It does c',
    contract: 'Backend.c()',
    remedy: 'do c',
    part: 'contract',
    verdict: 'fails',
    expected: 'peace',
    seen: 'war',
  });
});

test('what a plugin throws, and what it writes, cannot forge lines or speak to the terminal', () => {
  const seen = 'a\n  ✓ It does everything\u001b[2J';
  const text = textPrinter().result(result('x', { kind: 'fails', expected: 'one line', seen }));
  assert.not.match(text, /^ {2}✓/m);
  assert.not.match(text, '\u001b');
});

test('a rejection is a verdict: what was expected, what cannot be tried, or what was thrown', () => {
  assert.equal(verdictOf(broken('x', 'y')), { kind: 'fails', expected: 'x', seen: 'y' });
  assert.equal(verdictOf(doubtful('x', 'y')), { kind: 'advice', expected: 'x', seen: 'y' });
  assert.equal(verdictOf(untried('no IPv6')), { kind: 'not tried', why: 'no IPv6' });
  const thrown = Object.assign(new TypeError('no\nsuch thing'), { code: 'KP_X' });
  assert.equal(verdictOf(thrown), { kind: 'fails', expected: 'no error', seen: 'TypeError: no (code KP_X)' });
  const { seen } = verdictOf(new Error('no place')) as { readonly seen: string };
  assert.match(seen, /^no place \(report\.test\.ts:\d+\)$/);
  assert.equal(verdictOf('a text'), {
    kind: 'fails',
    expected: 'no error',
    seen: 'something thrown that is no Error: "a text"',
  });
});

test.run();
