/** What a change alters in the sets of a table: the difference of two descriptions, collected and counted. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEdits, type Description, difference } from '../../../plugins/shared/table/edits.ts';
import { inPortions } from '../../../plugins/shared/table/portions.ts';

const test = suite('edits of a table');
type Name = 'services' | 'nodeports';

function described(...keys: readonly (readonly [set: Name, key: number, data: number])[]): Description<Name> {
  return (emit) => {
    for (const [set, key, data] of keys) emit(set, { key: [key], data: [data] });
  };
}

const BEFORE = described(['services', 1, 10], ['services', 2, 20], ['services', 3, 30]);
const AFTER = described(['services', 3, 30], ['services', 2, 21], ['nodeports', 1, 10]);

test('an element whose data changed goes and comes, and each side knows the other', () => {
  const { gone, fresh } = difference(BEFORE, AFTER);
  assert.equal(gone, [
    { set: 'services', element: { key: [1], data: [10] } },
    { set: 'services', element: { key: [2], data: [20] }, other: { key: [2], data: [21] } },
  ]);
  assert.equal(fresh, [
    { set: 'services', element: { key: [2], data: [21] }, other: { key: [2], data: [20] } },
    { set: 'nodeports', element: { key: [1], data: [10] } },
  ]);
});

test('against nothing everything is different', () => {
  assert.is(difference(undefined, AFTER).fresh.length, 3);
  assert.is(difference(AFTER, undefined).gone.length, 3);
  assert.equal(difference(undefined, undefined), { gone: [], fresh: [] });
});

test('edits are counted whether or not they are kept', () => {
  for (const isKept of [true, false]) {
    const sizes = { services: 3, nodeports: 0 };
    const count = (set: Name, by: 1 | -1): void => {
      sizes[set] += by;
    };
    const edits = createEdits<Name>({ count, isKept });
    edits.difference(BEFORE, AFTER);
    edits.add('nodeports', { key: [2] });
    edits.delete('services', { key: [3] });
    assert.equal(sizes, { services: 1, nodeports: 2 });
    const keys = (elements: typeof edits.adds): unknown[] =>
      [...elements].map(([set, list]) => [set, ...list.flatMap(({ key }) => key)]);
    assert.equal(keys(edits.deletes), isKept ? [['services', 1, 2, 3]] : []);
    assert.equal(
      keys(edits.adds),
      isKept
        ? [
            ['services', 2],
            ['nodeports', 1, 2],
          ]
        : [],
    );
  }
});

test('a portion ends with the part that fills it, and the last one is what is left', () => {
  const sizes = (portion: number, ...parts: readonly Description<Name>[]): number[] =>
    [...inPortions(portion, parts)].map((found) => [...found.values()].reduce((sum, list) => sum + list.length, 0));
  const none = described();
  assert.equal(sizes(3, BEFORE, described(['nodeports', 1, 1]), AFTER, none), [3, 4, 0]);
  assert.equal(sizes(Number.POSITIVE_INFINITY, BEFORE, AFTER), [6]);
  assert.equal(sizes(2), [0]);
});

test.run();
