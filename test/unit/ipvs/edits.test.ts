/** What of the table takes effect before the virtual servers change, and what after them; numbers of marks. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NftElement } from '../../../core/backend.ts';
import { createEdits, type ElementEdits } from '../../../plugins/ipvs/edits.ts';
import type { Emit } from '../../../plugins/ipvs/frontends.ts';
import { FROM_EXTERNAL, type SetName } from '../../../plugins/ipvs/layout.ts';
import { createMarks, isOurMark } from '../../../plugins/ipvs/marks.ts';
import { DISCARD, GUARDED, PASS, REFUSE } from '../../../plugins/shared/table/verdicts.ts';

const test = suite('ipvs edits, early and late');
const OWN = '10.96.0.10';
const FOREIGN = '192.168.50.10';

function rows({ deletes, adds }: ElementEdits): string[] {
  const text =
    (sign: string) =>
    ([set, list]: readonly [SetName, readonly NftElement[]]) =>
      list.map(({ key, keyEnd, data }) => {
        const values = Array.isArray(data) ? ` > ${data.join(' ')}` : '';
        return `${sign}${set} ${key.join(' ')}${keyEnd ? `-${keyEnd.at(-1)}` : ''}${values}`;
      });
  return [...[...deletes].flatMap(text('-')), ...[...adds].flatMap(text('+'))].map((row) =>
    row.startsWith('-') ? row.replace(/ > .*/, '') : row,
  );
}

function collect() {
  const counts = new Map<SetName, number>();
  const edits = createEdits({
    isOwn: (ip) => ip === OWN,
    count: (set, by) => void counts.set(set, (counts.get(set) ?? 0) + by),
  });
  const take = () => {
    const { early, late } = edits.take();
    return { early: rows(early), late: rows(late) };
  };
  return { edits, take, counts };
}

function frontend(ip: string, klass: number): (emit: Emit) => void {
  return (emit) => emit('services', { key: [ip, 'tcp', 80], data: [klass] });
}

function ranged(...ranges: readonly (readonly [string, string])[]): (emit: Emit) => void {
  return (emit) => {
    emit('services', { key: [OWN, 'tcp', 80], data: [GUARDED | PASS] });
    for (const [first, last] of ranges)
      emit('source-ranges', { key: [OWN, 'tcp', 80, first], keyEnd: [OWN, 'tcp', 80, last] });
  };
}

test('a frontend at an address of ours comes late and goes early, at a foreign one it is the other way round', () => {
  const { edits, take } = collect();
  edits.difference(undefined, frontend(OWN, PASS));
  edits.difference(undefined, frontend(FOREIGN, PASS));
  assert.equal(take(), { early: [`+services ${FOREIGN} tcp 80 > 0`], late: [`+services ${OWN} tcp 80 > 0`] });
  edits.difference(frontend(OWN, PASS), undefined);
  edits.difference(frontend(FOREIGN, PASS), undefined);
  assert.equal(take(), { early: [`-services ${OWN} tcp 80`], late: [`-services ${FOREIGN} tcp 80`] });
});

test('a class that closes changes early, one that opens late, wherever its address is', () => {
  for (const ip of [OWN, FOREIGN]) {
    for (const [before, after, when] of [
      [PASS, REFUSE, 'early'],
      [PASS, GUARDED | PASS, 'early'],
      [REFUSE, DISCARD, 'early'],
      [GUARDED | REFUSE, GUARDED | PASS, 'early'],
      [REFUSE, PASS, 'late'],
      [GUARDED | PASS, FROM_EXTERNAL | PASS, 'late'],
    ] as const) {
      const { edits, take } = collect();
      edits.difference(frontend(ip, before), frontend(ip, after));
      const change = [`-services ${ip} tcp 80`, `+services ${ip} tcp 80 > ${after}`];
      const nothing: string[] = [];
      assert.equal(take(), when === 'early' ? { early: change, late: nothing } : { early: nothing, late: change });
    }
  }
});

test('source ranges that go alone go late; with others in their place, which may overlap, at once', () => {
  const { edits, take } = collect();
  const [wide, narrow, other] = [
    ['10.0.0.0', '10.255.255.255'],
    ['10.1.0.0', '10.1.255.255'],
    ['192.0.2.0', '192.0.2.255'],
  ] as const;
  edits.difference(ranged(wide, other), ranged(other));
  assert.equal(take(), { early: [], late: [`-source-ranges ${OWN} tcp 80 10.0.0.0-10.255.255.255`] });
  edits.difference(ranged(wide), ranged(narrow));
  assert.equal(take(), {
    early: [
      `-source-ranges ${OWN} tcp 80 10.0.0.0-10.255.255.255`,
      `+source-ranges ${OWN} tcp 80 10.1.0.0-10.1.255.255`,
    ],
    late: [],
  });
});

test('what must outlast the servers comes early and goes late; marks the other way round', () => {
  const { edits, take, counts } = collect();
  const outlasting: readonly SetName[] = ['nodeports', 'hairpin', 'addresses', 'nodeport-ips', 'mark-numbers'];
  const marks: readonly SetName[] = ['marks', 'nodeport-marks'];
  for (const set of [...outlasting, ...marks]) edits.add(set, { key: [1] });
  assert.equal(take(), { early: outlasting.map((set) => `+${set} 1`), late: marks.map((set) => `+${set} 1`) });
  assert.is(counts.get('marks'), 1);
  for (const set of [...outlasting, ...marks]) edits.delete(set, { key: [1] });
  assert.equal(take(), { early: marks.map((set) => `-${set} 1`), late: outlasting.map((set) => `-${set} 1`) });
  assert.is(counts.get('marks'), 0);
});

test('what two descriptions have in common is no edit, and nothing is said twice', () => {
  const { edits, take } = collect();
  edits.difference(frontend(OWN, PASS), frontend(OWN, PASS));
  assert.equal(take(), { early: [], late: [] });
  edits.difference(undefined, frontend(OWN, PASS));
  take();
  assert.equal(take(), { early: [], late: [] });
});

test('marks are given out in turn, one that was known before is given again, a freed one comes last', () => {
  const marks = createMarks(10, 14);
  assert.equal([marks.take(undefined), marks.take(12), marks.take(undefined)], [10, 12, 13]);
  marks.release(13);
  assert.equal([marks.take(undefined), marks.take(undefined), marks.take(undefined)], [14, 11, 13]);
  assert.is(marks.take(undefined), undefined, 'all are taken');
  marks.release(12);
  assert.is(marks.take(99), 12, 'a number that is none of ours is nobody’s');
});

test('a number that was taken over from a table is not given to another as soon as it is free', () => {
  const marks = createMarks(10, 14);
  assert.equal([marks.take(11), marks.take(10), marks.take(10)], [11, 10, 12]);
  marks.release(10);
  assert.is(marks.take(undefined), 13);
});

test('marks of ours are those in the range', () => {
  assert.equal([0x4b500000, 0x4b500001, 0x4b5fffff, 0x4b600000].map(isOurMark), [false, true, true, false]);
});

test.run();
