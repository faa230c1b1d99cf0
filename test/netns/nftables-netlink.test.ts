/** Our netlink and the `nft` tool side by side on a real kernel: what we make it must list, and we must know it again. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openNftables } from '../../core/netlink/nftables/kernel.ts';
import { openNftablesGeneration } from '../../core/netlink/nftables-generation.ts';
import type { NftElement, NftFamily, NftField, NftOperation, NftRule, NftSet } from '../../core/nftables.ts';
import { skip } from '../skip.ts';
import { rejection } from '../unit/netlink/fault.ts';
import { isolateTests } from './isolated.ts';

await isolateTests(['nftables']);
const tables = openNftables();
const persists = await tables.supportsOwnership();
const test = suite('nf_tables over netlink');
test.after(() => tables.close());
test.before.each(async () => {
  for (const family of ['ip', 'ip6'] as const) {
    for (const { name } of await tables.tables(family)) await commit(family, { do: 'delete table' }, name);
  }
});

const nft = (...args: readonly string[]): string => execFileSync('nft', args, { encoding: 'utf8', stdio: 'pipe' });
const commit = (family: NftFamily, operations: NftOperation | readonly NftOperation[], table = 'kp') =>
  tables.commit({ family, table, operations: [operations].flat() });

async function elementsOf(family: NftFamily, set: NftSet): Promise<(NftElement & { expiresSeconds?: number })[]> {
  const elements: (NftElement & { expiresSeconds?: number })[] = [];
  await tables.elements(family, 'kp', set, (element) => elements.push(element));
  return elements.sort((a, b) => (JSON.stringify(a.key) < JSON.stringify(b.key) ? -1 : 1));
}

/** All shapes of sets, rules and elements, of one family. */
function everything(family: NftFamily) {
  const v4 = family === 'ip';
  const address = v4 ? 'ipv4_addr' : 'ipv6_addr';
  const a = (n: number): string => (v4 ? `10.0.0.${n}` : `fd00::${n === 0 ? '' : n.toString(16)}`);
  const saddr: NftField = v4 ? 'ip saddr' : 'ip6 saddr';
  const daddr: NftField = v4 ? 'ip daddr' : 'ip6 daddr';
  const original: NftField = v4 ? 'ct original ip daddr' : 'ct original ip6 daddr';
  const service = [daddr, 'meta l4proto', 'th dport'] as const;
  const originalService = [original, 'meta l4proto', 'ct original proto-dst'] as const;
  const frontend = [address, 'inet_proto', 'inet_service'] as const;
  const endpoint = [address, 'inet_service'] as const;
  const sets: readonly (readonly [NftSet, readonly NftElement[]])[] = [
    [
      { name: 'endpoints', key: [...frontend, 'mark'], data: endpoint, size: 1000, comment: 'endpoints, by index' },
      [
        { key: [a(1), 'tcp', 80, 0], data: [a(9), 8080], comment: 'default/wéb' },
        { key: [a(1), 'udp', 65535, 4294967295], data: [a(8), 1] },
        { key: [a(1), 'sctp', 1, 256], data: [a(7), 2] },
      ],
    ],
    [{ name: 'services', key: frontend, data: ['mark'] }, [{ key: [a(1), 'tcp', 80], data: [258] }]],
    [
      { name: 'lb', key: ['mark'], data: 'verdict', comment: 'by count' },
      [
        { key: [1], data: { verdict: 'goto', chain: 'lb-1' } },
        { key: [2], data: { verdict: 'jump', chain: 'lb-1' }, comment: 'two' },
        { key: [3], data: { verdict: 'drop' } },
        { key: [4], data: { verdict: 'accept' } },
        { key: [5], data: { verdict: 'return' } },
      ],
    ],
    [{ name: 'numbers', key: ['mark'], data: ['mark'] }, [{ key: [1], data: [2] }]],
    [{ name: 'ports', key: ['inet_service'], size: 10 }, [{ key: [80] }, { key: [443] }]],
    [{ name: 'protocols', key: ['inet_proto'] }, [{ key: ['tcp'] }]],
    [{ name: 'hairpin', key: [address, address] }, [{ key: [a(1), a(1)] }]],
    [
      { name: 'ranges', key: [address], interval: true },
      v4
        ? [
            { key: ['0.0.0.0'], keyEnd: ['0.0.0.255'] },
            { key: ['10.0.0.0'], keyEnd: ['10.0.0.255'] },
            { key: ['10.0.1.0'], keyEnd: ['10.0.1.0'], comment: 'adjacent' },
            { key: ['255.255.255.255'], keyEnd: ['255.255.255.255'] },
          ]
        : [
            { key: ['::'], keyEnd: ['::ff'] },
            { key: ['fd00::'], keyEnd: ['fd00::ffff'] },
            { key: ['fd00::1:0'], keyEnd: ['fd00::1:0'], comment: 'adjacent' },
            { key: ['ff00::'], keyEnd: ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'] },
          ],
    ],
    [
      { name: 'nodes', key: [address], data: 'verdict', interval: true },
      [{ key: [a(0)], keyEnd: [a(255)], data: { verdict: 'goto', chain: 'lb-1' } }],
    ],
    [
      { name: 'sources', key: [...frontend, address], interval: true, comment: 'loadBalancerSourceRanges' },
      [{ key: [a(1), 'tcp', 80, a(0)], keyEnd: [a(1), 'tcp', 80, a(255)] }],
    ],
    [
      { name: 'dispatch', key: frontend, data: 'verdict', interval: true },
      [{ key: [a(1), 'tcp', 80], keyEnd: [a(3), 'tcp', 90], data: { verdict: 'drop' } }],
    ],
    [{ name: 'affinity', key: [address, ...frontend], data: endpoint, dynamic: true, size: 1000 }, []],
    [{ name: 'seen', key: [address], dynamic: true, size: 100 }, []],
  ];
  const wide = v4 ? '10.0.0.0/8' : 'fd00::/16';
  const odd = v4 ? '10.16.0.0/12' : 'fd00::/10';
  const all = v4 ? '0.0.0.0/0' : '::/0';
  const jump = { verdict: 'jump', chain: 'lb-1' } as const;
  const anywhere: readonly NftRule[] = [
    { statements: [{ priority: { map: 'services', key: service } }] },
    { statements: [{ priority: 70000 }], comment: 'a number' },
    { statements: [{ vmap: { map: 'lb', key: ['meta priority'] } }] },
    { statements: [{ vmap: { map: 'lb', key: [{ field: 'meta priority', and: 0xffff }] } }] },
    { statements: [{ match: 'meta priority', is: 7 }, { verdict: 'accept' }] },
    { statements: [{ match: 'meta priority', is: 7, not: true }, { verdict: 'return' }] },
    { statements: [{ vmap: { map: 'nodes', key: [daddr] } }] },
    { statements: [{ vmap: { map: 'dispatch', key: service } }] },
    { statements: [{ in: 'hairpin', key: [saddr, daddr] }, { verdict: 'drop' }] },
    { statements: [{ in: 'hairpin', key: [saddr, original] }, { verdict: 'drop' }] },
    { statements: [{ in: 'ranges', key: [saddr], not: true }, { counter: true }, jump] },
    { statements: [{ in: 'sources', key: [...service, saddr], not: true }, { verdict: 'drop' }] },
    {
      statements: [
        { in: 'sources', key: [...originalService, saddr] },
        { verdict: 'goto', chain: 'lb-1' },
      ],
    },
    { statements: [{ in: 'ports', key: ['th dport'] }, { in: 'protocols', key: ['meta l4proto'] }, jump] },
    { statements: [{ match: saddr, within: wide }, { match: daddr, within: wide, not: true }, jump] },
    { statements: [{ match: saddr, within: odd }, { match: daddr, within: odd, not: true }, jump] },
    { statements: [{ match: saddr, within: all }, jump] },
    { statements: [{ match: saddr, within: a(1) }, { match: daddr, is: a(2), not: true }, jump] },
    { statements: [{ match: original, within: wide }, jump] },
    { statements: [{ match: original, within: odd, not: true }, jump] },
    { statements: [{ match: original, is: a(2) }, { match: 'ct original proto-dst', is: 80 }, jump] },
    { statements: [{ match: 'meta iifname', is: 'veth*' }, jump] },
    { statements: [{ match: 'meta iifname', is: 'eth0', not: true }, jump] },
    { statements: [{ match: 'meta iifname', is: 'cali', not: false }, jump] },
    { statements: [{ match: 'meta l4proto', is: 'tcp' }, { match: 'th dport', is: 80 }, jump] },
    { statements: [{ match: 'meta l4proto', is: 'sctp', not: true }, { match: 'th sport', is: 80, not: true }, jump] },
    { statements: [{ ctState: ['new'] }, jump] },
    { statements: [{ ctState: ['established', 'related'], not: true }, jump] },
    { statements: [{ ctState: ['invalid'], not: true }, { ctState: ['invalid', 'new'] }, jump] },
    { statements: [{ ctStatus: 'dnat' }, jump] },
    { statements: [{ update: 'seen', key: [saddr], timeoutSeconds: 10800 }] },
    {
      statements: [
        { update: 'affinity', key: [saddr, ...originalService], data: [daddr, 'th dport'], timeoutSeconds: 7 },
      ],
    },
  ];
  const byHook: Readonly<Record<string, readonly NftRule[]>> = {
    prerouting: [
      ...anywhere,
      { statements: [{ fib: 'daddr' }, { priority: { map: 'numbers', key: ['meta priority'] } }] },
      { statements: [{ fib: 'saddr', not: true }, jump] },
      { statements: [{ dnat: { map: 'endpoints', key: [...service, { random: 3 }] } }] },
      { statements: [{ dnat: { map: 'affinity', key: [saddr, ...service] } }], comment: 'sticky' },
    ],
    postrouting: [
      { statements: [{ ctStatus: 'dnat' }, { masquerade: 'fully-random' }] },
      {
        statements: [
          { match: 'meta oifname', is: 'eth*', not: true },
          { fib: 'saddr' },
          { masquerade: 'fully-random' },
        ],
      },
    ],
    forward: [
      { statements: [{ match: 'meta l4proto', is: 'tcp' }, { reject: 'tcp reset' }], comment: 'x'.repeat(120) },
      { statements: [{ reject: 'port unreachable' }] },
    ],
  };
  const chains = [
    { name: 'lb-1', rules: [] },
    { name: 'pre', hook: { type: 'nat', hook: 'prerouting', priority: -100 }, rules: byHook.prerouting! },
    { name: 'post', hook: { type: 'nat', hook: 'postrouting', priority: 100 }, rules: byHook.postrouting! },
    { name: 'fwd-filter', hook: { type: 'filter', hook: 'forward', priority: -5 }, rules: byHook.forward! },
  ] as const;
  const operations: NftOperation[] = [
    { do: 'add table', owned: false, comment: 'all of it' },
    ...sets.map(([set]): NftOperation => ({ do: 'add set', set })),
    ...chains.map(({ rules: _, ...chain }): NftOperation => ({ do: 'add chain', chain })),
    ...sets.map(([set, elements]): NftOperation => ({ do: 'add elements', set, elements })),
    ...chains.flatMap(({ name, rules }) => rules.map((rule): NftOperation => ({ do: 'add rule', chain: name, rule }))),
  ];
  return { sets, chains, operations };
}

for (const family of ['ip', 'ip6'] as const) {
  test(`every shape of set, rule and element (${family}) is taken, and known again by its fingerprint`, async () => {
    const { sets, chains, operations } = everything(family);
    await commit(family, operations);
    const content = await tables.read(family, 'kp');
    assert.is(content?.comment, 'all of it');
    assert.equal(
      content?.chains,
      chains.map(({ rules, ...chain }) => ({ ...chain, rules: rules.map((rule) => tables.fingerprint(family, rule)) })),
    );
    assert.equal(
      content?.sets,
      sets.map(([set]) => ({ name: set.name, fingerprint: tables.setFingerprint(family, set) })),
    );
  });

  test(`every element (${family}) is read as it was written`, async () => {
    const { sets, operations } = everything(family);
    await commit(family, operations);
    for (const [set, elements] of sets) {
      const sorted = [...elements].sort((a, b) => (JSON.stringify(a.key) < JSON.stringify(b.key) ? -1 : 1));
      assert.equal(await elementsOf(family, set), sorted, set.name);
    }
  });

  test(`nft lists all shapes (${family}) as text and JSON, and prints them as they were meant`, async () => {
    await commit(family, everything(family).operations);
    const text = nft('list', 'ruleset');
    JSON.parse(nft('-j', 'list', 'ruleset'));
    const [ip, one, wide, odd] =
      family === 'ip' ? ['ip', '10.0.0.1', '10.0.0.0/8', '10.16.0.0/12'] : ['ip6', 'fd00::1', 'fd00::/16', 'fd00::/10'];
    const lines = [
      `meta priority set ${ip} daddr . meta l4proto . th dport map @services`,
      `dnat ${ip} to ${ip} daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints`,
      `${one} . tcp . 80 : 0x00000102`,
      'meta priority vmap @lb',
      '0x00000001 : goto lb-1',
      '0x00000002 comment "two" : jump lb-1',
      `${ip} saddr ${wide} ${ip} daddr != ${wide} jump lb-1`,
      'iifname "veth*" jump lb-1',
      'iifname != "eth0" jump lb-1',
      'ct status dnat masquerade fully-random',
      'fib daddr type local',
      'ct state new jump lb-1',
      'timeout 3h',
      'comment "endpoints, by index"',
      'comment "adjacent"',
    ];
    for (const line of lines) assert.ok(text.includes(line), `${line}\n${text}`);
    assert.ok(text.includes(odd!), text);
    assert.not.match(text, /unknown|0x02010000/);
  });
}

test('ranges can be removed and added beside and between others', async () => {
  const set: NftSet = { name: 'ranges', key: ['ipv4_addr'], interval: true };
  const range = (first: string, last: string): NftElement => ({ key: [first], keyEnd: [last] });
  const ranges = [
    range('10.0.0.0', '10.0.0.9'),
    range('10.0.0.10', '10.0.0.19'),
    range('10.0.0.20', '255.255.255.255'),
  ];
  await commit('ip', [
    { do: 'add table', owned: false },
    { do: 'add set', set },
    { do: 'add elements', set, elements: [...ranges].reverse() },
  ]);
  assert.equal(await elementsOf('ip', set), ranges);
  await commit('ip', { do: 'delete elements', set, elements: [ranges[1]!] });
  assert.equal(await elementsOf('ip', set), [ranges[0], ranges[2]]);
  await commit('ip', { do: 'add elements', set, elements: [ranges[1]!] });
  assert.equal(await elementsOf('ip', set), ranges);
  assert.is(
    (await rejection(commit('ip', { do: 'add elements', set, elements: [range('10.0.0.5', '10.0.0.12')] }))).errno,
    'EEXIST',
  );
  await commit('ip', { do: 'delete elements', set, elements: ranges });
  assert.equal(await elementsOf('ip', set), []);
});

const SERVICES: NftSet = {
  name: 'services',
  key: ['ipv4_addr', 'inet_proto', 'inet_service'],
  data: ['mark'],
  size: 3,
};
const web = { key: ['10.96.0.1', 'tcp', 80], data: [1] };

test('what the kernel refuses is named, and nothing of the transaction is applied', async () => {
  const lb: NftSet = { name: 'lb', key: ['mark'], data: 'verdict' };
  await commit('ip', [
    { do: 'add table', owned: false },
    { do: 'add set', set: SERVICES },
    { do: 'add set', set: lb },
    { do: 'add chain', chain: { name: 'c' } },
    { do: 'add chain', chain: { name: 'pre', hook: { type: 'nat', hook: 'prerouting', priority: -100 } } },
    { do: 'add rule', chain: 'pre', rule: { statements: [{ verdict: 'jump', chain: 'c' }] } },
    { do: 'add rule', chain: 'c', rule: { statements: [{ vmap: { map: 'lb', key: ['meta priority'] } }] } },
    { do: 'add elements', set: SERVICES, elements: [web] },
  ]);
  const add = (...elements: readonly NftElement[]): NftOperation => ({ do: 'add elements', set: SERVICES, elements });
  await commit('ip', add(web));
  const other = (n: number): NftElement => ({ key: ['10.96.0.2', 'tcp', n], data: [1] });
  const cases: readonly (readonly [NftOperation, RegExp])[] = [
    [add(other(1), { ...web, data: [2] }), /^nftables add element map services, 10\.96\.0\.1 \. tcp \. 80: EEXIST/],
    [
      { do: 'delete elements', set: SERVICES, elements: [other(1)] },
      /^nftables delete element map services, .*: ENOENT/,
    ],
    [add(...[1, 2, 3].map(other)), /^nftables add element map services, .*: ENFILE \(the set is full/],
    [{ do: 'delete chain', chain: 'c' }, /^nftables delete chain c: EBUSY/],
    [{ do: 'delete chain', chain: 'x' }, /^nftables delete chain x: ENOENT/],
    [
      { do: 'add rule', chain: 'c', rule: { statements: [{ in: 'x', key: ['ip saddr'] }] } },
      /^nftables add rule to chain c: ENOENT/,
    ],
    [
      { do: 'add elements', set: lb, elements: [{ key: [1], data: { verdict: 'goto', chain: 'c' } }] },
      /^nftables (add element map lb, 1|commit ip kp): (EMLINK|ELOOP)/,
    ],
    [
      { do: 'add elements', set: { ...SERVICES, name: 'x' }, elements: [web] },
      /^nftables add element map x, .*: ENOENT/,
    ],
  ];
  for (const [operation, message] of cases) {
    const error = await rejection(commit('ip', [{ do: 'add chain', chain: { name: 'new' } }, operation]));
    assert.is(error.code, 'KP_NETLINK_REFUSED');
    assert.match(error.message, message);
  }
  assert.equal(await elementsOf('ip', SERVICES), [web]);
  assert.equal(
    (await tables.read('ip', 'kp'))?.chains.map(({ name }) => name),
    ['c', 'pre'],
  );
});

test('sets, chains and tables are emptied and removed in one transaction', async () => {
  const { sets, chains, operations } = everything('ip');
  await commit('ip', operations);
  await commit('ip', [
    ...chains.map(({ name }): NftOperation => ({ do: 'flush chain', chain: name })),
    ...sets.map(([set]): NftOperation => ({ do: 'flush set', set })),
    ...sets.map(([set]): NftOperation => ({ do: 'delete set', set })),
    ...chains.map(({ name }): NftOperation => ({ do: 'delete chain', chain: name })),
  ]);
  const left = await tables.read('ip', 'kp');
  assert.equal([left?.chains, left?.sets], [[], []]);
  await commit('ip', { do: 'delete table' });
  assert.is(await tables.read('ip', 'kp'), undefined);
  assert.equal(await tables.tables('ip'), []);
  assert.is((await rejection(tables.elements('ip', 'kp', SERVICES, () => {}))).errno, 'ENOENT');
});

test('a foreign change to a rule or set changes what is read', async () => {
  await commit('ip', everything('ip').operations);
  const before = await tables.read('ip', 'kp');
  assert.equal(await tables.read('ip', 'kp'), before);
  nft('insert', 'rule', 'ip', 'kp', 'pre', 'limit', 'rate', '10/second', 'log', 'drop');
  const after = await tables.read('ip', 'kp');
  assert.is(after?.chains[1]?.rules.length, before!.chains[1]!.rules.length + 1);
  assert.equal(after?.chains[1]?.rules.slice(1), before?.chains[1]?.rules);
});

test('a table that somebody switched off, or a chain that drops, is seen and mended by adding it again', async () => {
  const hook = { type: 'filter', hook: 'forward', priority: 0 } as const;
  const mend: readonly NftOperation[] = [
    { do: 'add table', owned: false },
    { do: 'add chain', chain: { name: 'fwd-filter', hook } },
  ];
  await commit('ip', mend);
  nft('add', 'chain', 'ip', 'kp', 'fwd-filter', '{ policy drop; }');
  nft('add', 'table', 'ip', 'kp', '{ flags dormant; }');
  const content = async () => {
    const { dormant, chains } = (await tables.read('ip', 'kp'))!;
    return [dormant, chains];
  };
  assert.equal(await content(), [true, [{ name: 'fwd-filter', hook, policy: 'drop', rules: [] }]]);
  await commit('ip', mend);
  assert.equal(await content(), [undefined, [{ name: 'fwd-filter', hook, rules: [] }]]);
});

test('the first commit leaves the generation of nf_tables to real changes', async () => {
  const generation = openNftablesGeneration();
  const before = generation.read();
  const other = openNftables();
  const error = await rejection(other.commit({ family: 'ip', table: 'nowhere', operations: [{ do: 'delete table' }] }));
  assert.is(error.errno, 'ENOENT');
  assert.is(generation.read(), before);
  other.close();
  generation.close();
});

test('200,000 elements go in, are listed and are counted by the tool, while timers keep running', async () => {
  const set: NftSet = { ...SERVICES, size: 200_000 };
  const count = 200_000;
  function* elements(): Generator<NftElement> {
    for (let n = 0; n < count; n++) yield { key: [`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, 'tcp', 80], data: [n] };
  }
  await commit('ip', [
    { do: 'add table', owned: false },
    { do: 'add set', set },
  ]);
  const { operations, bytes } = await commit('ip', { do: 'add elements', set, elements: elements() });
  assert.is(operations, count);
  assert.ok(bytes > count * 36 && bytes < count * 37, String(bytes));
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const seen = new Uint8Array(count);
  let wrong = 0;
  await tables.elements('ip', 'kp', set, ({ key, data }) => {
    const n = (data as readonly number[])[0]!;
    if (key[0] !== `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`) wrong++;
    seen[n] = (seen[n] ?? 0) + 1;
  });
  clearInterval(timer);
  assert.is(wrong, 0);
  assert.ok(seen.every((times) => times === 1));
  assert.ok(turns > 3, `${turns} turns`);
  await commit('ip', { do: 'delete elements', set, elements: elements() });
  assert.equal(await elementsOf('ip', set), []);
});

test('elements that expire say when', async () => {
  const set: NftSet = { name: 'seen', key: ['ipv4_addr'], dynamic: true, size: 100 };
  await commit('ip', [
    { do: 'add table', owned: false },
    { do: 'add set', set },
  ]);
  nft('add', 'element', 'ip', 'kp', 'seen', '{ 10.0.0.1 timeout 100s }');
  const [element] = await elementsOf('ip', set);
  assert.equal(element?.key, ['10.0.0.1']);
  assert.ok(element!.expiresSeconds! > 50 && element!.expiresSeconds! <= 100, String(element?.expiresSeconds));
});

test('listings are consistent while another process commits', async () => {
  await commit('ip', everything('ip').operations);
  const before = await tables.read('ip', 'kp');
  const [set, elements] = everything('ip').sets[0]!;
  const other = spawn('sh', ['-c', 'while :; do nft add table ip other; nft delete table ip other; done']);
  try {
    for (let times = 0; times < 30; times++) {
      assert.equal((await tables.read('ip', 'kp'))?.chains, before?.chains);
      assert.is((await elementsOf('ip', set)).length, elements.length);
    }
  } finally {
    other.kill();
    await once(other, 'close');
  }
});

if (persists) {
  test('an owned table withstands flushing and other processes, outlives its owner, and is taken over', async () => {
    const first = openNftables();
    const add: NftOperation = { do: 'add table', owned: true, comment: 'ours' };
    const chain: NftOperation = { do: 'add chain', chain: { name: 'c' } };
    await first.commit({ family: 'ip', table: 'kp', operations: [add, chain] });
    const [info] = await tables.tables('ip');
    assert.ok(info?.owned && info.owner > 0 && info.comment === 'ours', JSON.stringify(info));
    nft('flush', 'ruleset');
    assert.is.not(spawnSync('nft', ['delete', 'table', 'ip', 'kp']).status, 0);
    const stranger = await rejection(commit('ip', { do: 'add chain', chain: { name: 'd' } }));
    assert.is(stranger.errno, 'EPERM');
    assert.match(stranger.message, 'another process owns the table');
    first.close();
    const orphan = await tables.read('ip', 'kp');
    assert.equal([orphan?.owned, orphan?.owner, orphan?.chains.length], [true, 0, 1]);
    await commit('ip', [add, { do: 'add chain', chain: { name: 'd' } }]);
    await commit('ip', add);
    const ours = await tables.read('ip', 'kp');
    assert.equal([ours?.owned, ours?.chains.length], [true, 2]);
  });

  test('a table that never had an owner cannot be owned, unless it is deleted before', async () => {
    nft('add', 'table', 'ip', 'kp');
    const error = await rejection(commit('ip', { do: 'add table', owned: true }));
    assert.match(error.message, /^nftables add table ip kp: EOPNOTSUPP .*delete the table in the same transaction/);
    await commit('ip', [{ do: 'delete table' }, { do: 'add table', owned: true }]);
    assert.is((await tables.read('ip', 'kp'))?.owned, true);
  });
} else {
  skip('ownership of tables', 'this kernel does not know owned tables that persist (6.9)');
}

test('without CAP_NET_ADMIN the refusal says what is missing', () => {
  const script = `
    import { openNftables } from ${JSON.stringify(new URL('../../core/netlink/nftables/kernel.ts', import.meta.url).href)};
    await openNftables().commit({ family: 'ip', table: 'x', operations: [{ do: 'add table', owned: false }] })
      .catch((error) => console.log(error.message));`;
  const drop = ['--bounding-set=-net_admin', '--inh-caps=-net_admin'];
  const result = spawnSync('setpriv', [...drop, process.execPath, '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.match(result.stdout, /^nftables \w+.*: EPERM \(operation not permitted\): needs CAP_NET_ADMIN/, result.stderr);
});

test.run();
