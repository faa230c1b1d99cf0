/**
 * What nf_tables takes and refuses, transaction by transaction: the fake must do as told here, and so must the kernel
 * (test/netns/nftables-fake.test.ts), or the fake would be a story of ours.
 */
import type { NftElement, NftHook, NftOperation, NftRule, NftSet, NftVerdict } from '../../../core/nftables.ts';

export interface TransactionCase {
  readonly title: string;
  /** In this order; only the last may be refused. */
  readonly transactions: readonly (readonly NftOperation[])[];
  /** Absent: taken. Otherwise the errno and the object that the error names. */
  readonly refused?: readonly [errno: string, object: string];
}

const TABLE: NftOperation = { do: 'add table', owned: false };
const OWNED: NftOperation = { do: 'add table', owned: true };

const chain = (name: string, hook?: NftHook): NftOperation => ({
  do: 'add chain',
  chain: { name, ...(hook && { hook }) },
});
const input = (name: string, priority = 0) => chain(name, { type: 'filter', hook: 'input', priority });
const rule = (name: string, ...statements: NftRule['statements']): NftOperation => ({
  do: 'add rule',
  chain: name,
  rule: { statements },
});
const jump = (to: string): NftVerdict => ({ verdict: 'jump', chain: to });
const set = (added: NftSet): NftOperation => ({ do: 'add set', set: added });
const add = (to: NftSet, ...elements: readonly NftElement[]): NftOperation => ({
  do: 'add elements',
  set: to,
  elements,
});
const remove = (from: NftSet, ...elements: readonly NftElement[]): NftOperation => ({
  do: 'delete elements',
  set: from,
  elements,
});
const deleteChain = (name: string): NftOperation => ({ do: 'delete chain', chain: name });
const marks = (from: number, data?: number): NftElement => ({
  key: [from],
  ...(data !== undefined && { data: [data] }),
});
const range = (from: string, to: string): NftElement => ({ key: [from], keyEnd: [to] });
const pair = (mark: number, from: string, to: string): NftElement => ({ key: [mark, from], keyEnd: [mark, to] });

const VERDICTS: NftSet = { name: 'v', key: ['mark'], data: 'verdict' };
const TWO: NftSet = { name: 'two', key: ['mark'], size: 2 };
const MAP: NftSet = { name: 'm', key: ['mark'], data: ['mark'] };
const RANGES: NftSet = { name: 'r', key: ['ipv4_addr'], interval: true };
const PAIRS: NftSet = { name: 'p', key: ['mark', 'ipv4_addr'], interval: true };

const led = (to: string): NftElement => ({ key: [1], data: jump(to) });
const vmap: NftRule['statements'][number] = { vmap: { map: 'v', key: ['meta priority'] } };
/** A chain with a hook that leads `depth` chains down. */
const stair = (depth: number): NftOperation[] => {
  const names = Array.from({ length: depth }, (_, index) => `c${index}`);
  return [
    TABLE,
    input('h'),
    ...names.map((name) => chain(name)),
    rule('h', jump('c0')),
    ...names.slice(1).map((name, index) => rule(`c${index}`, jump(name))),
  ];
};
const MASQUERADE = { masquerade: 'fully-random' } as const;
const PREROUTING: NftHook = { type: 'nat', hook: 'prerouting', priority: -100 };

export const CASES: readonly TransactionCase[] = [
  // Jumps.
  {
    title: 'a jump to a missing chain',
    transactions: [[TABLE, chain('a'), rule('a', jump('b'))]],
    refused: ['ENOENT', 'to chain a'],
  },
  {
    title: 'an element that leads to a missing chain',
    transactions: [[TABLE, set(VERDICTS), add(VERDICTS, led('b'))]],
    refused: ['ENOENT', 'map v, 1'],
  },
  {
    title: 'a loop that no hook leads to',
    transactions: [[TABLE, chain('a'), chain('b'), rule('a', jump('b')), rule('b', jump('a'))]],
  },
  {
    title: 'a loop below a hook',
    transactions: [
      [TABLE, chain('a'), chain('b'), input('h'), rule('h', jump('a')), rule('a', jump('b')), rule('b', jump('a'))],
    ],
    refused: ['EMLINK', 'to chain b'],
  },
  {
    title: 'a loop that an element closes',
    transactions: [
      [TABLE, chain('a'), input('h'), rule('h', jump('a')), set(VERDICTS), rule('a', vmap)],
      [add(VERDICTS, led('a'))],
    ],
    refused: ['EMLINK', 'map v, 1'],
  },
  {
    title: 'a loop that an element closes where no hook leads to',
    transactions: [[TABLE, chain('a'), set(VERDICTS), rule('a', vmap)], [add(VERDICTS, led('a'))]],
  },
  { title: '15 chains deep', transactions: [stair(15)] },
  { title: '16 chains deep', transactions: [stair(16)], refused: ['EMLINK', 'to chain c14'] },
  {
    title: 'a short way and one 16 chains deep to the same chain',
    transactions: [
      [...stair(15), chain('z'), rule('c14', jump('z'))].toSpliced(2, 0, chain('c14'), rule('h', jump('c14'))),
    ],
    refused: ['EMLINK', 'to chain c14'],
  },
  {
    title: 'a way back from where an element led before',
    transactions: [
      [TABLE, chain('a'), chain('b'), input('h'), rule('h', jump('a')), set(VERDICTS), rule('a', vmap)],
      [add(VERDICTS, led('b'))],
      [remove(VERDICTS, led('b')), rule('b', jump('a'))],
    ],
  },
  {
    title: 'a jump to a chain with a hook',
    transactions: [[TABLE, input('h'), chain('a'), rule('a', jump('h'))]],
    refused: ['EOPNOTSUPP', 'to chain a'],
  },
  {
    title: 'an element that leads to a chain with a hook',
    transactions: [[TABLE, input('h'), set(VERDICTS), add(VERDICTS, led('h'))]],
    refused: ['EOPNOTSUPP', 'map v, 1'],
  },
  // What is missing.
  { title: 'a chain without its table', transactions: [[chain('a')]], refused: ['ENOENT', 'a'] },
  {
    title: 'a rule that names a missing set',
    transactions: [[TABLE, chain('a'), rule('a', { in: 'no', key: ['meta priority'] })]],
    refused: ['ENOENT', 'to chain a'],
  },
  { title: 'deleting a missing table', transactions: [[{ do: 'delete table' }]], refused: ['ENOENT', 'ip kp'] },
  { title: 'deleting a missing chain', transactions: [[TABLE, deleteChain('x')]], refused: ['ENOENT', 'x'] },
  {
    title: 'flushing a missing chain',
    transactions: [[TABLE, { do: 'flush chain', chain: 'x' }]],
    refused: ['ENOENT', 'x'],
  },
  {
    title: 'deleting a missing set',
    transactions: [[TABLE, { do: 'delete set', set: MAP }]],
    refused: ['ENOENT', 'm'],
  },
  { title: 'flushing a missing set', transactions: [[TABLE, { do: 'flush set', set: MAP }]], refused: ['ENOENT', 'm'] },
  {
    title: 'deleting a missing element',
    transactions: [[TABLE, set(MAP), remove(MAP, marks(1, 1))]],
    refused: ['ENOENT', 'map m, 1'],
  },
  // What is in use.
  {
    title: 'deleting a chain that a rule leads to',
    transactions: [[TABLE, chain('a'), chain('b'), rule('a', jump('b'))], [deleteChain('b')]],
    refused: ['EBUSY', 'b'],
  },
  {
    title: 'deleting a chain that an element leads to',
    transactions: [[TABLE, chain('b'), set(VERDICTS), add(VERDICTS, led('b'))], [deleteChain('b')]],
    refused: ['EBUSY', 'b'],
  },
  {
    title: 'deleting a set that a rule looks into',
    transactions: [
      [TABLE, chain('a'), set(TWO), rule('a', { in: 'two', key: ['meta priority'] })],
      [{ do: 'delete set', set: TWO }],
    ],
    refused: ['EBUSY', 'two'],
  },
  {
    title: 'deleting a chain with its rules, then what they led to',
    transactions: [
      [TABLE, chain('a'), chain('b'), rule('a', jump('b'))],
      [deleteChain('a'), deleteChain('b')],
    ],
  },
  {
    title: 'flushing a chain, then deleting what it led to',
    transactions: [
      [TABLE, chain('a'), chain('b'), rule('a', jump('b'))],
      [{ do: 'flush chain', chain: 'a' }, deleteChain('b')],
    ],
  },
  {
    title: 'deleting a verdict map, then where it led',
    transactions: [
      [TABLE, chain('b'), set(VERDICTS), add(VERDICTS, led('b'))],
      [{ do: 'delete set', set: VERDICTS }, deleteChain('b')],
    ],
  },
  {
    title: 'flushing a verdict map, then deleting where it led',
    transactions: [
      [TABLE, chain('b'), set(VERDICTS), add(VERDICTS, led('b'))],
      [{ do: 'flush set', set: VERDICTS }, deleteChain('b')],
    ],
  },
  {
    title: 'deleting an element, then the chain where it led',
    transactions: [
      [TABLE, chain('b'), set(VERDICTS), add(VERDICTS, led('b'))],
      [remove(VERDICTS, led('b')), deleteChain('b')],
    ],
  },
  // Elements.
  {
    title: 'more elements than the size',
    transactions: [[TABLE, set(TWO), add(TWO, marks(1), marks(2), marks(3))]],
    refused: ['ENFILE', 'set two, 3'],
  },
  {
    title: 'the same element again in a full set',
    transactions: [[TABLE, set(TWO), add(TWO, marks(1), marks(2), marks(2))]],
  },
  {
    title: 'another element after a deletion in a full set',
    transactions: [
      [TABLE, set(TWO), add(TWO, marks(1), marks(2))],
      [remove(TWO, marks(1)), add(TWO, marks(3))],
    ],
  },
  {
    title: 'another element before a deletion in a full set',
    transactions: [
      [TABLE, set(TWO), add(TWO, marks(1), marks(2))],
      [add(TWO, marks(3)), remove(TWO, marks(1))],
    ],
    refused: ['ENFILE', 'set two, 3'],
  },
  {
    title: 'a key with other data',
    transactions: [[TABLE, set(MAP), add(MAP, marks(1, 1))], [add(MAP, marks(1, 2))]],
    refused: ['EEXIST', 'map m, 1'],
  },
  {
    title: 'a key with the same data',
    transactions: [[TABLE, set(MAP), add(MAP, marks(1, 1))], [add(MAP, marks(1, 1))]],
  },
  {
    title: 'a key with other data after its deletion',
    transactions: [
      [TABLE, set(MAP), add(MAP, marks(1, 1))],
      [remove(MAP, marks(1)), add(MAP, marks(1, 2))],
    ],
  },
  {
    title: 'deleting an element whose data is another',
    transactions: [[TABLE, set(MAP), add(MAP, marks(1, 1))], [remove(MAP, marks(1, 2))]],
  },
  // Ranges.
  {
    title: 'the same range again',
    transactions: [
      [TABLE, set(RANGES), add(RANGES, range('10.0.0.0', '10.0.0.255'))],
      [add(RANGES, range('10.0.0.0', '10.0.0.255'))],
    ],
  },
  {
    title: 'a range that overlaps another',
    transactions: [
      [TABLE, set(RANGES), add(RANGES, range('10.0.0.0', '10.0.0.255'))],
      [add(RANGES, range('10.0.0.9', '10.0.1.9'))],
    ],
    refused: ['EEXIST', 'set r, 10.0.0.9'],
  },
  {
    title: 'an address within a range',
    transactions: [
      [TABLE, set(RANGES), add(RANGES, range('10.0.0.0', '10.0.0.255'))],
      [add(RANGES, range('10.0.0.9', '10.0.0.9'))],
    ],
    refused: ['EEXIST', 'set r, 10.0.0.9'],
  },
  {
    title: 'a range around an address',
    transactions: [
      [TABLE, set(RANGES), add(RANGES, range('10.0.0.9', '10.0.0.9'))],
      [add(RANGES, range('10.0.0.0', '10.0.0.255'))],
    ],
    refused: ['EEXIST', 'set r, 10.0.0.0'],
  },
  {
    title: 'adjacent ranges',
    transactions: [[TABLE, set(RANGES), add(RANGES, range('10.0.0.0', '10.0.0.255'), range('10.0.1.0', '10.0.1.255'))]],
  },
  {
    title: 'deleting part of a range',
    transactions: [
      [TABLE, set(RANGES), add(RANGES, range('10.0.0.0', '10.0.0.255'))],
      [remove(RANGES, range('10.0.0.0', '10.0.0.9'))],
    ],
    refused: ['ENOENT', 'set r, 10.0.0.0'],
  },
  {
    title: 'a concatenation that overlaps another',
    transactions: [
      [TABLE, set(PAIRS), add(PAIRS, pair(1, '10.0.0.0', '10.0.0.255'))],
      [add(PAIRS, pair(1, '10.0.0.9', '10.0.1.9'))],
    ],
    refused: ['EEXIST', 'set p, 1 . 10.0.0.9'],
  },
  {
    title: 'a concatenation within another',
    transactions: [
      [TABLE, set(PAIRS), add(PAIRS, pair(1, '10.0.0.0', '10.0.0.255'))],
      [add(PAIRS, pair(1, '10.0.0.9', '10.0.0.9'))],
    ],
    refused: ['EEXIST', 'set p, 1 . 10.0.0.9'],
  },
  {
    title: 'a concatenation around another',
    transactions: [
      [TABLE, set(PAIRS), add(PAIRS, pair(1, '10.0.0.9', '10.0.0.9'))],
      [add(PAIRS, pair(1, '10.0.0.0', '10.0.0.255'))],
    ],
  },
  {
    title: 'a concatenation with another first part',
    transactions: [
      [TABLE, set(PAIRS), add(PAIRS, pair(1, '10.0.0.0', '10.0.0.255'))],
      [add(PAIRS, pair(2, '10.0.0.9', '10.0.1.9'))],
    ],
  },
  // What exists already.
  { title: 'a set again', transactions: [[TABLE, set(MAP)], [set(MAP)]] },
  {
    title: 'a set again with another type',
    transactions: [[TABLE, set(MAP)], [set({ ...MAP, data: ['inet_service'] })]],
    refused: ['EEXIST', 'm'],
  },
  {
    title: 'a set again with another size and comment',
    transactions: [[TABLE, set(TWO)], [set({ ...TWO, size: 3, comment: 'x' })]],
  },
  { title: 'a chain again', transactions: [[TABLE, chain('a')], [chain('a')]] },
  {
    title: 'a chain again with a hook',
    transactions: [[TABLE, chain('a')], [input('a')]],
    refused: ['EOPNOTSUPP', 'a'],
  },
  { title: 'a chain with a hook again', transactions: [[TABLE, input('a')], [input('a')]] },
  { title: 'a chain with a hook again without one', transactions: [[TABLE, input('a')], [chain('a')]] },
  {
    title: 'a chain with a hook again with another priority',
    transactions: [[TABLE, input('a')], [input('a', 1)]],
    refused: ['EOPNOTSUPP', 'a'],
  },
  {
    title: 'a chain after its deletion',
    transactions: [
      [TABLE, chain('a')],
      [deleteChain('a'), chain('a')],
    ],
  },
  // Hooks.
  {
    title: 'reject in postrouting',
    transactions: [
      [
        TABLE,
        chain('a', { type: 'filter', hook: 'postrouting', priority: 0 }),
        rule('a', { reject: 'port unreachable' }),
      ],
    ],
    refused: ['EOPNOTSUPP', 'to chain a'],
  },
  {
    title: 'masquerade in prerouting',
    transactions: [[TABLE, chain('a', PREROUTING), rule('a', MASQUERADE)]],
    refused: ['EOPNOTSUPP', 'to chain a'],
  },
  {
    title: 'masquerade below prerouting',
    transactions: [[TABLE, chain('b'), chain('a', PREROUTING), rule('b', MASQUERADE), rule('a', jump('b'))]],
    refused: ['EOPNOTSUPP', 'to chain a'],
  },
  {
    title: 'a nat chain in forward',
    transactions: [[TABLE, chain('a', { type: 'nat', hook: 'forward', priority: 0 })]],
    refused: ['EOPNOTSUPP', 'a'],
  },
  {
    title: 'a nat chain before conntrack',
    transactions: [[TABLE, chain('a', { type: 'nat', hook: 'prerouting', priority: -200 })]],
    refused: ['EOPNOTSUPP', 'a'],
  },
  // Names and tables.
  { title: 'a chain name of 255 bytes', transactions: [[TABLE, chain('x'.repeat(255))]] },
  {
    title: 'a chain name of 256 bytes',
    transactions: [[TABLE, chain('x'.repeat(256))]],
    refused: ['ERANGE', 'x'.repeat(256)],
  },
  {
    title: 'a set name of 256 bytes',
    transactions: [[TABLE, set({ ...MAP, name: 'x'.repeat(256) })]],
    refused: ['ERANGE', 'x'.repeat(256)],
  },
  { title: 'an owned table again', transactions: [[OWNED], [OWNED]] },
  {
    title: 'an owned table again without an owner',
    transactions: [[OWNED], [TABLE]],
    refused: ['EOPNOTSUPP', 'ip kp'],
  },
  {
    title: 'taking over a table that never had an owner',
    transactions: [[TABLE], [OWNED]],
    refused: ['EOPNOTSUPP', 'ip kp'],
  },
  {
    title: 'replacing a table that never had an owner',
    transactions: [
      [TABLE, chain('a')],
      [{ do: 'delete table' }, OWNED, chain('b')],
    ],
  },
];
