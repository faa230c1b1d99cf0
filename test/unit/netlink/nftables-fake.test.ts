/** The in-memory nf_tables that plugins are tested with. That the kernel does the same: test/netns/nftables-fake.test.ts. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeNftables, createFakeState, type FakeNftables } from '../../../core/netlink/nftables/fake.ts';
import type { NftElement, NftOperation, NftSet, NftStatement } from '../../../core/nftables.ts';
import { operationsFor, shapes } from '../../netns/nftables-shapes.ts';
import { rejection } from './fault.ts';
import { CASES } from './nftables-cases.ts';

const test = suite('fake nf_tables');

const MAP: NftSet = { name: 'm', key: ['ipv4_addr'], data: ['mark'] };
const AFFINITY: NftSet = { name: 'affinity', key: ['ipv4_addr'], data: ['mark'], dynamic: true, size: 2 };
const START: readonly NftOperation[] = [
  { do: 'add table', owned: true, comment: 'ours' },
  { do: 'add chain', chain: { name: 'c' } },
  { do: 'add set', set: MAP },
  { do: 'add set', set: AFFINITY },
];

const commit = (fake: FakeNftables, ...operations: readonly NftOperation[]) =>
  fake.commit({ family: 'ip', table: 't', operations });
const add = (...elements: readonly NftElement[]): NftOperation => ({ do: 'add elements', set: MAP, elements });

async function started(): Promise<FakeNftables> {
  const fake = createFakeNftables();
  await commit(fake, ...START);
  return fake;
}

for (const { title, transactions, refused } of CASES) {
  test(`${title} is ${refused ? `refused with ${refused[0]}, and nothing of the transaction stays` : 'taken'}`, async () => {
    const fake = createFakeNftables();
    const whole = (operations: readonly NftOperation[]) => fake.commit({ family: 'ip', table: 'kp', operations });
    for (const operations of refused ? transactions.slice(0, -1) : transactions) await whole(operations);
    if (refused === undefined) return;
    const before = fake.dump();
    const tables = await fake.tables('ip');
    const last = transactions.at(-1) ?? [];
    const { code, errno, object } = await rejection(whole(last));
    assert.equal([code, errno, object], ['KP_NETLINK_REFUSED', ...refused]);
    assert.is(fake.dump(), before);
    assert.equal(await fake.tables('ip'), tables);
    // Use counts are as before, too: what could be deleted still can.
    assert.is((await rejection(whole(last))).errno, refused[0]);
  });
}

test('a refused transaction leaves every object and use count as it was', async () => {
  const fake = createFakeNftables();
  const table = shapes('ip');
  const operations = operationsFor(table, false);
  await fake.commit({ family: 'ip', table: table.name, operations });
  const before = fake.dump();
  const more = {
    do: 'add rule',
    chain: 'anywhere',
    rule: { statements: [{ verdict: 'jump', chain: 'lb-1' }] },
  } as const;
  const added = fake.commit({
    family: 'ip',
    table: table.name,
    operations: [more, { do: 'flush chain', chain: 'no such' }],
  });
  assert.is((await rejection(added)).errno, 'ENOENT');
  const all: NftOperation[] = [
    ...table.chains.map(({ name }): NftOperation => ({ do: 'flush chain', chain: name })),
    ...table.sets.slice(0, 3).map(({ elements, ...set }): NftOperation => ({ do: 'delete elements', set, elements })),
    ...table.sets.map(({ elements: _, ...set }): NftOperation => ({ do: 'delete set', set })),
    ...table.chains.map(({ name }): NftOperation => ({ do: 'delete chain', chain: name })),
  ];
  const refused = fake.commit({
    family: 'ip',
    table: table.name,
    operations: [...all, { do: 'delete chain', chain: 'no such' }],
  });
  assert.is((await rejection(refused)).errno, 'ENOENT');
  assert.is(fake.dump(), before);
  await fake.commit({ family: 'ip', table: table.name, operations: all });
  assert.is(fake.dump(), 'table ip shapes {\n\tcomment "ns/name:port/TCP ünïcode"\n}\n');
});

test('dump prints tables with sorted elements, and those of one family or name alone', async () => {
  const fake = await started();
  await commit(fake, add({ key: ['10.0.0.2'], data: [2] }, { key: ['10.0.0.1'], data: [1], comment: 'first' }));
  await fake.commit({ family: 'ip6', table: 't', operations: [{ do: 'add table', owned: false }] });
  const four = `table ip t {
	comment "ours"
	map m {
		type ipv4_addr : mark
		elements = { 10.0.0.1 comment "first" : 0x00000001,
			     10.0.0.2 : 0x00000002 }
	}

	map affinity {
		type ipv4_addr : mark
		size 2
		flags dynamic,timeout
	}

	chain c {
	}
}
`;
  const six = 'table ip6 t {\n}\n';
  assert.is(fake.dump(), `${four}\n${six}`);
  assert.is(fake.dump('ip'), four);
  assert.is(fake.dump('ip6', 't'), six);
  assert.is(fake.dump('ip', 'other'), '');
});

test('a value of another type, or one too few, is a fault of the caller and changes nothing', async () => {
  const fake = await started();
  const before = fake.dump();
  const wrong: readonly NftElement[] = [
    { key: [80], data: [1] },
    { key: ['10.0.0.1', 'tcp'], data: [1] },
    { key: ['10.0.0.1'], data: ['tcp'] },
    { key: ['10.0.0.1'] },
    { key: ['10.0.0.1'], data: { verdict: 'drop' } },
    { key: ['10.0.0.1'], keyEnd: ['10.0.0.2'], data: [1] },
    { key: ['10.0.0.1'], data: [1], comment: 'x'.repeat(121) },
  ];
  for (const element of wrong) {
    assert.is((await rejection(commit(fake, add(element)))).code, 'KP_NETLINK_INVALID', JSON.stringify(element));
  }
  const asSet: NftOperation = {
    do: 'add elements',
    set: { name: 'm', key: ['ipv4_addr'] },
    elements: [{ key: ['10.0.0.1'] }],
  };
  assert.is((await rejection(commit(fake, asSet))).code, 'KP_NETLINK_INVALID');
  assert.is(fake.dump(), before);
});

test('a rule that does not fit its set is a fault of the caller', async () => {
  const fake = await started();
  const wrong: readonly NftStatement[] = [
    { in: 'm', key: ['ip saddr'] },
    { priority: { map: 'm', key: ['th dport'] } },
    { priority: { map: 'm', key: ['ip saddr', 'th dport'] } },
    { mark: { map: 'm', key: ['th dport'] } },
    { mark: { map: 'affinity', key: ['meta mark'] } },
    { vmap: { map: 'm', key: ['ip saddr'] } },
    { dnat: { map: 'm', key: ['ip saddr'] } },
    { update: 'm', key: ['ip saddr'], data: ['meta priority'], timeoutSeconds: 1 },
    { update: 'affinity', key: ['ip saddr'], timeoutSeconds: 1 },
    { update: 'affinity', key: ['th dport'], data: ['meta priority'], timeoutSeconds: 1 },
    { match: 'ip6 saddr', is: 'fd00::1' },
  ];
  for (const statement of wrong) {
    const refused = commit(fake, { do: 'add rule', chain: 'c', rule: { statements: [statement] } });
    assert.is((await rejection(refused)).code, 'KP_NETLINK_INVALID', JSON.stringify(statement));
  }
});

test('failNext fails one commit before anything happened, or after all of it did', async () => {
  const fake = await started();
  fake.failNext({ code: 'KP_NETLINK_REFUSED', errno: 'ENOMEM', text: 'out of memory' });
  fake.failNext({ code: 'KP_NETLINK_OVERRUN', text: 'answers were lost' }, 'after');
  const generation = fake.generation();
  assert.is((await rejection(commit(fake, add({ key: ['10.0.0.1'], data: [1] })))).errno, 'ENOMEM');
  assert.is(fake.generation(), generation);
  assert.not.match(fake.dump(), '10.0.0.1');
  const { code, operation } = await rejection(commit(fake, add({ key: ['10.0.0.1'], data: [1] })));
  assert.equal([code, operation], ['KP_NETLINK_OVERRUN', 'nftables commit']);
  assert.match(fake.dump(), '10.0.0.1');
  assert.is(fake.generation(), generation + 1);
  await commit(fake, add({ key: ['10.0.0.2'], data: [1] }));
});

test('an owned table can be changed by its owner alone, and taken over when that has ended', async () => {
  const state = createFakeState();
  const [one, other] = [createFakeNftables(state), createFakeNftables(state)];
  await commit(one, ...START);
  assert.is((await rejection(commit(other, { do: 'delete table' }))).errno, 'EPERM');
  assert.is((await rejection(commit(other, { do: 'add table', owned: true }))).errno, 'EPERM');
  assert.equal(await other.tables('ip'), [{ family: 'ip', name: 't', owned: true, owner: one.port, comment: 'ours' }]);
  one.close();
  assert.equal(await other.tables('ip'), [{ family: 'ip', name: 't', owned: true, owner: 0, comment: 'ours' }]);
  const missing = { do: 'delete chain', chain: 'no such' } as const;
  assert.is((await rejection(commit(other, { do: 'add table', owned: true }, missing))).errno, 'ENOENT');
  assert.is((await other.tables('ip'))[0]?.owner, 0);
  await commit(other, { do: 'add table', owned: true }, { do: 'delete chain', chain: 'c' });
  assert.is((await other.tables('ip'))[0]?.owner, other.port);
  assert.is((await rejection(commit(one, { do: 'delete table' }))).code, 'KP_NETLINK_INVALID');
});

test('a kernel without ownership says so and refuses owned tables', async () => {
  const fake = createFakeNftables(createFakeState(), { ownership: false });
  assert.is(await fake.supportsOwnership(), false);
  assert.is((await rejection(commit(fake, ...START))).errno, 'EOPNOTSUPP');
  await commit(fake, { do: 'add table', owned: false });
});

test('packets add to a dynamic map until it is full, replace data, and what they added expires', async () => {
  const fake = await started();
  const packet = (ip: string, mark: number, timeoutSeconds: number) =>
    fake.packet('ip', 't', 'affinity', { key: [ip], data: [mark], timeoutSeconds });
  packet('10.0.0.1', 1, 10);
  packet('10.0.0.2', 2, 60);
  packet('10.0.0.3', 3, 60);
  packet('10.0.0.2', 5, 90);
  fake.advance(10);
  const seen: unknown[] = [];
  await fake.elements('ip', 't', AFFINITY, (element) => seen.push(element));
  assert.equal(seen, [{ key: ['10.0.0.2'], data: [5], expiresSeconds: 80 }]);
  const gone: NftOperation = { do: 'delete elements', set: AFFINITY, elements: [{ key: ['10.0.0.2'] }] };
  await commit(fake, gone);
  assert.is((await rejection(commit(fake, gone))).errno, 'ENOENT');
  assert.throws(() => fake.packet('ip', 't', 'm', { key: ['10.0.0.1'], data: [1], timeoutSeconds: 1 }), /dynamic/);
});

test('read shows rules and sets as fingerprints compare', async () => {
  const fake = await started();
  const rule = { statements: [{ counter: true }, { verdict: 'drop' }], comment: 'no' } as const;
  await commit(fake, { do: 'add rule', chain: 'c', rule });
  const content = await fake.read('ip', 't');
  assert.equal(content?.chains, [{ name: 'c', rules: [fake.fingerprint('ip', rule)] }]);
  assert.equal(content?.sets[0], { name: 'm', fingerprint: fake.setFingerprint('ip', MAP) });
  assert.is.not(fake.fingerprint('ip', { ...rule, comment: 'yes' }), fake.fingerprint('ip', rule));
  assert.is(await fake.read('ip', 'other'), undefined);
});

test('commits are applied in the order of the calls, read generators once, and are recorded if they took effect', async () => {
  const fake = createFakeNftables();
  function* elements() {
    yield { key: ['10.0.0.1'], data: [1] } as const;
    yield { key: ['10.0.0.2'], data: [2] } as const;
  }
  const all = await Promise.allSettled([
    commit(fake, ...START),
    commit(fake, { do: 'delete chain', chain: 'x' }),
    commit(fake, { do: 'add elements', set: MAP, elements: elements() }),
    commit(fake),
  ]);
  assert.equal(
    all.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
  const done = all.map((result) => (result.status === 'fulfilled' ? result.value.operations : -1));
  assert.equal(done, [4, -1, 2, 0]);
  assert.is(fake.commits.length, 2);
  assert.is([...(fake.table('ip', 't')?.sets[0]?.elements ?? [])].length, 2);
});

test.run();
