import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createAffinityNumbers } from '../../../plugins/nftables/affinity-numbers.ts';
import { HANDLE_BITS, MAX_AFFINITY_HANDLES, MAX_AFFINITY_IDS } from '../../../plugins/nftables/layout.ts';

const test = suite('nftables affinity numbers');
const slots = (...ips: string[]) => ips.map((ip) => ({ ip, port: 80 }));
const ID = 2 ** HANDLE_BITS;
const all = (count: number) => Array.from({ length: count }, (_, index) => ({ ip: `e${index}`, port: 80 }));

test('ids count from 1, shifted to make room for handles, which count from 1', () => {
  const numbers = createAffinityNumbers();
  const first = numbers.assign(undefined, slots('a', 'b'), true)!;
  assert.is(first.id, ID);
  assert.equal(
    [...first.handles],
    [
      ['a 80', ID + 1],
      ['b 80', ID + 2],
    ],
  );
  assert.is(numbers.assign(undefined, slots('a'), true)!.id, 2 * ID);
});

test('an endpoint in both lists has one handle', () => {
  const { handles } = createAffinityNumbers().assign(undefined, slots('a', 'b', 'a'), true)!;
  assert.is(handles.size, 2);
});

test('what stays keeps its numbers, and nothing changed is the same object', () => {
  const numbers = createAffinityNumbers();
  const before = numbers.assign(undefined, slots('a', 'b'), true)!;
  assert.is(numbers.assign(before, slots('b', 'a'), true), before);
  const after = numbers.assign(before, slots('b', 'c'), true)!;
  assert.equal([...after.handles].sort(), [
    ['b 80', ID + 2],
    ['c 80', ID + 3],
  ]);
});

test('the handle of an endpoint that left is not given to the one that comes with it', () => {
  const numbers = createAffinityNumbers();
  const before = numbers.assign(undefined, slots('a'), true)!;
  const after = numbers.assign(before, slots('b'), true)!;
  assert.is.not(after.handles.get('b 80'), before.handles.get('a 80'));
});

test('a handle is used again only after all others were', () => {
  const numbers = createAffinityNumbers();
  let now = numbers.assign(undefined, slots('a'), true)!;
  const first = now.handles.get('a 80');
  // The highest one goes, and another comes, in two changes.
  now = numbers.assign(now, [], true)!;
  now = numbers.assign(now, slots('b'), true)!;
  assert.is.not(now.handles.get('b 80'), first);
});

test('a freed id comes back only after all others', () => {
  const numbers = createAffinityNumbers();
  const first = numbers.assign(undefined, slots('a'), true)!;
  numbers.release(first);
  assert.is(numbers.assign(undefined, slots('a'), true)!.id, 2 * ID);
});

test('after the highest id counting begins anew, past those that are taken', () => {
  const numbers = createAffinityNumbers();
  const first = numbers.assign(undefined, slots('a'), true)!;
  numbers.startAfter((MAX_AFFINITY_IDS - 1) * ID);
  assert.is(numbers.assign(undefined, [], true)!.id, MAX_AFFINITY_IDS * ID);
  assert.is(first.id, ID);
  assert.is(numbers.assign(undefined, [], true)!.id, 2 * ID);
  assert.ok(MAX_AFFINITY_IDS * ID + MAX_AFFINITY_HANDLES <= 0xffff_ffff, 'all of it fits 32 bits');
});

test('with every id taken there is no affinity, until one is free', () => {
  const numbers = createAffinityNumbers();
  const first = numbers.assign(undefined, [], true)!;
  for (let count = 1; count < MAX_AFFINITY_IDS; count++) numbers.assign(undefined, [], true);
  assert.is(numbers.assign(undefined, slots('a'), true), undefined);
  numbers.release(first);
  assert.is(numbers.assign(undefined, slots('a'), true)!.id, first.id);
});

test('endpoints beyond the last handle have none, until others leave', () => {
  const numbers = createAffinityNumbers();
  const most = all(MAX_AFFINITY_HANDLES + 2);
  const before = numbers.assign(undefined, most, true)!;
  assert.is(before.handles.size, MAX_AFFINITY_HANDLES);
  assert.is(new Set(before.handles.values()).size, MAX_AFFINITY_HANDLES);
  assert.ok([...before.handles.values()].every((handle) => handle > ID && handle < 2 * ID));
  // Numbers of those that just left are still remembered by clients: they are free from the next change on.
  const between = numbers.assign(before, most.slice(1), true)!;
  const after = numbers.assign(between, most.slice(1), true)!;
  assert.is(after.handles.size, MAX_AFFINITY_HANDLES);
  assert.ok(after.handles.has(`e${MAX_AFFINITY_HANDLES} 80`));
});

test('what was found in the kernel counts only if nobody has that id yet', () => {
  const numbers = createAffinityNumbers();
  const found = { id: 5 * ID, handles: new Map([['a 80', 5 * ID + 7]]), last: 7 };
  const one = numbers.assign(found, slots('a'), false)!;
  const other = numbers.assign(found, slots('a'), false)!;
  assert.is(one.id, 5 * ID);
  assert.is(one.handles.get('a 80'), 5 * ID + 7);
  assert.is.not(other.id, one.id);
  assert.is(other.handles.get('a 80'), other.id + 1);
});

test.run();
