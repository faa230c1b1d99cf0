/** What is read back from the kernel, as keys, elements, and the order that a restart goes on with. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Nftables } from '../../../core/backend.ts';
import { createFakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { layoutOf, type SetName } from '../../../plugins/nftables/layout.ts';
import { seedOf } from '../../../plugins/nftables/seed.ts';
import { dataText, elementOfKey, keyText } from '../../../plugins/shared/table/layout.ts';
import { readMirror } from '../../../plugins/shared/table/mirror.ts';

const test = suite('nftables mirror');
const { sets } = layoutOf('IPv6');

test('a key read back as text is the key again, ranges and numbers alike', () => {
  for (const [set, element] of [
    ['services', { key: ['fd00::1', 'tcp', 80] }],
    ['endpoints', { key: ['fd00::1', 'tcp', 80, 4294967295] }],
    ['nodeports', { key: ['sctp', 65535] }],
    ['source-ranges', { key: ['fd00::1', 'udp', 1, '::'], keyEnd: ['fd00::1', 'udp', 1, 'ffff::'] }],
    ['nodeport-ips', { key: ['::'], keyEnd: ['::1'] }],
    ['affinity-handles', { key: [16384, 'fd00::1', 8080] }],
    ['dispatch', { key: [0] }],
  ] as const) {
    assert.equal(elementOfKey(sets[set], keyText(element)), element);
  }
});

test('data of any kind compares as text, the comment too', () => {
  assert.is(dataText({ key: [], data: ['10.0.0.1', 80] }), '10.0.0.1 80');
  assert.is(dataText({ key: [], data: { verdict: 'goto', chain: 'lb-2' } }), 'goto lb-2');
  const named = { key: [], data: [2], comment: 'default/web' };
  assert.is.not(dataText(named), dataText({ key: [], data: [2] }));
  assert.is(dataText({ key: [] }), '');
});

test('a listing that repeats elements, since the kernel was rearranging the set, is taken again', async () => {
  const kernel = createFakeNftables();
  const layout = { ...layoutOf('IPv4'), name: 'x' };
  const all = ['10.96.0.1', '10.96.0.2'].map((ip) => ({ key: [ip] }));
  await kernel.commit({
    family: 'ip',
    table: 'x',
    operations: [
      { do: 'add table', owned: false },
      ...Object.values(layout.sets).map((set) => ({ do: 'add set', set }) as const),
      { do: 'add elements', set: layout.sets['cluster-ips'], elements: all },
    ],
  });
  let faults = 2;
  const moody: Nftables = {
    ...kernel,
    async elements(family, table, set, each) {
      if (set.name !== 'cluster-ips' || faults-- <= 0) return kernel.elements(family, table, set, each);
      each(all[0]!);
      each(all[0]!);
    },
  };
  const found = await readMirror(moody, layout, new Map());
  assert.equal([...(found.get('cluster-ips') ?? []).keys()], ['10.96.0.1', '10.96.0.2']);
  assert.is(faults, -1);
});

function mirror(rows: Readonly<Partial<Record<SetName, Readonly<Record<string, string>>>>>) {
  return new Map(Object.entries(rows).map(([set, list]) => [set as SetName, new Map(Object.entries(list))]));
}

test('a seed has endpoints in index order up to the first hole', () => {
  const seed = seedOf(
    mirror({
      endpoints: { 'a tcp 80 1': 'y 2', 'a tcp 80 0': 'x 1', 'a tcp 80 3': 'z 3', 'b tcp 80 0': 'v 9' },
      'nodeport-endpoints': { 'tcp 30080 0': 'n 1' },
    }),
  );
  const slots = [
    { ip: 'x', port: 1 },
    { ip: 'y', port: 2 },
  ];
  assert.equal(seed.endpoints('a tcp 80'), slots);
  assert.equal(seed.endpoints('tcp 30080'), [{ ip: 'n', port: 1 }]);
  assert.equal(seed.endpoints('c tcp 80'), []);
  assert.equal(seed.localEndpoints('a tcp 80'), []);
});

test('a seed has the numbers of session affinity by frontend, and the highest id', () => {
  const seed = seedOf(
    mirror({
      'affinity-services': { 'a tcp 80': '16384' },
      'affinity-nodeports': { 'tcp 30080': '32768' },
      'affinity-timeouts': { '16384': '60', '32768': '60', '65536': '60' },
      'affinity-handles': { '16384 x 1': '16385', '16384 y 2': '16389', '32768 x 1': '32769' },
    }),
  );
  const { id, handles } = seed.affinity('a tcp 80')!;
  assert.is(id, 16384);
  assert.equal(
    [...handles],
    [
      ['x 1', 16385],
      ['y 2', 16389],
    ],
  );
  assert.is(seed.affinity('tcp 30080')?.id, 32768);
  assert.is(seed.affinity('b tcp 80'), undefined);
  assert.is(seed.highestAffinityId, 65536);
  assert.is(seedOf(new Map()).highestAffinityId, 0);
});

test.run();
