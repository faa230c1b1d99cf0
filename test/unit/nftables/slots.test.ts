import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { arrange, slotKey } from '../../../plugins/nftables/slots.ts';
import { seeded } from '../model/random.ts';

const test = suite('nftables slots');
const slots = (text: string) => [...text].map((ip) => ({ ip, port: 80 }));
const arranged = (before: string, wanted: string): string =>
  arrange(slots(before), slots(wanted))
    .map(({ ip }) => ip)
    .join('');

for (const [title, before, wanted, after] of [
  ['the first list keeps the order it comes in', '', 'bca', 'bca'],
  ['what stays keeps its index, whatever order is asked for', 'abcd', 'dcba', 'abcd'],
  ['what is new takes the place of what went', 'abcd', 'acde', 'aecd'],
  ['the last one moves into a gap', 'abcd', 'acd', 'adc'],
  ['what is new and finds no gap goes to the end', 'ab', 'abcd', 'abcd'],
  ['when the last one goes, nothing moves', 'abcd', 'abc', 'abc'],
  ['several gaps are filled from the end', 'abcdef', 'aef', 'afe'],
  ['everything may go', 'abc', '', ''],
  ['everything may be another', 'abc', 'xy', 'xy'],
] as const) {
  test(`${title}: ${before || 'nothing'} to ${wanted || 'nothing'} gives ${after || 'nothing'}`, () => {
    assert.is(arranged(before, wanted), after);
  });
}

test('one address with two ports is two endpoints', () => {
  const before = [
    { ip: 'a', port: 80 },
    { ip: 'a', port: 81 },
  ];
  assert.equal(arrange(before, [{ ip: 'a', port: 81 }]), [{ ip: 'a', port: 81 }]);
  assert.is.not(slotKey(before[0]!), slotKey(before[1]!));
});

test('a list that has the right order already is not copied', () => {
  const wanted = slots('abc');
  assert.is(arrange(slots('abc'), wanted), wanted);
});

test('after any change exactly the wanted ones are there, and only as many moved as there were gaps', () => {
  const random = seeded(7);
  for (let round = 0; round < 2000; round++) {
    const letters = random.shuffle([...'abcdefghij']);
    const before = letters.slice(0, random.below(9)).join('');
    const wanted = random
      .shuffle([...'abcdefghij'])
      .slice(0, random.below(9))
      .join('');
    const after = arranged(before, wanted);
    assert.is([...after].sort().join(''), [...wanted].sort().join(''), `${before} to ${wanted}`);
    const stayed = [...before].filter((letter) => wanted.includes(letter));
    const moved = stayed.filter((letter) => before.indexOf(letter) !== after.indexOf(letter));
    const gone = before.length - stayed.length;
    assert.ok(moved.length <= gone, `${before} to ${wanted}: ${after}`);
    for (const letter of moved) assert.ok(before.indexOf(letter) >= after.length, 'only from behind the new end');
  }
});

test.run();
