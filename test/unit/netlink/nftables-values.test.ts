/** Values, elements and rules of nf_tables to bytes and back, without a kernel. */
import ipaddr from 'ipaddr.js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAttributes } from '../../../core/netlink/attributes.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { readIPv4, readIPv6, writeIPv4, writeIPv6 } from '../../../core/netlink/nftables/addresses.ts';
import { createElementListReader, type ListedElement } from '../../../core/netlink/nftables/element-lists.ts';
import { createElementEncoder } from '../../../core/netlink/nftables/elements.ts';
import { ruleFingerprint } from '../../../core/netlink/nftables/fingerprint.ts';
import { prefixMatch } from '../../../core/netlink/nftables/prefix-match.ts';
import { setFingerprint } from '../../../core/netlink/nftables/sets.ts';
import { commentUserdata, userdataComment } from '../../../core/netlink/nftables/userdata.ts';
import type { NftElement, NftRule, NftSet } from '../../../core/nftables.ts';
import { seeded } from '../model/random.ts';
import { fault } from './fault.ts';

const test = suite('nf_tables values');

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('IPv4 text becomes its four bytes and back', () => {
  for (const text of ['0.0.0.0', '10.96.0.1', '255.255.255.255', '1.20.200.9']) {
    const bytes = new Uint8Array(6).fill(7);
    writeIPv4(text, bytes, 1);
    assert.equal([...bytes], [7, ...text.split('.').map(Number), 7]);
    assert.is(readIPv4(bytes, 1), text);
  }
});

test('IPv6 text becomes the bytes that ipaddr.js makes of it, and back its canonical text', () => {
  const texts = [
    '::',
    '::1',
    '1::',
    'fd00:10:96::a',
    '2001:db8:0:1:1:1:1:1',
    '1:2:3:4:5:6:7:8',
    '1:0:0:2:0:0:0:3',
    '1:2:3:4:5:6:7::',
    '::2:3:4:5:6:7:8',
    'fe80::1:0:0:1',
    '::ffff:10.0.0.1',
    'ABCD::EF',
  ];
  for (const text of texts) {
    const bytes = new Uint8Array(18).fill(7);
    writeIPv6(text, bytes, 1);
    const parsed = ipaddr.IPv6.parse(text);
    assert.equal([...bytes], [7, ...parsed.toByteArray(), 7], text);
    assert.is(readIPv6(bytes, 1), parsed.toRFC5952String(), text);
  }
});

test('what is no address is refused, not guessed', () => {
  const into = new Uint8Array(16);
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '1.2.3.',
    '.1.2.3',
    '1.2.3.4 ',
    'a.b.c.d',
    '1.2.3.0004',
    '::1',
  ]) {
    assert.is(fault(() => writeIPv4(text, into, 0)).code, 'KP_NETLINK_INVALID', text);
  }
  for (const text of [
    '',
    ':',
    ':::',
    '1:2',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    '1:',
    ':1',
    '::1.2.3',
    '10.0.0.1',
    '1:2:3:4:5:6:7:1.2.3.4',
  ]) {
    assert.is(fault(() => writeIPv6(text, into, 0)).code, 'KP_NETLINK_INVALID', text);
  }
});

const ENDPOINTS: NftSet = {
  name: 'endpoints',
  key: ['ipv4_addr', 'inet_proto', 'inet_service', 'mark'],
  data: ['ipv4_addr', 'inet_service'],
};

function encoded(set: NftSet, element: NftElement, deleting = false): Uint8Array {
  const into = new Uint8Array(2048).fill(0xee);
  return into.slice(0, createElementEncoder(set, deleting)(element, into, 0));
}

test('an endpoint is an element of 44 bytes: address, protocol, port, index; address, port', () => {
  const element = encoded(ENDPOINTS, { key: ['10.96.0.1', 'tcp', 80, 2], data: ['10.244.1.7', 8080] });
  assert.is(
    hex(element),
    '2c000180' +
      '18000180' +
      '14000100' +
      '0a600001' +
      '06000000' +
      '00500000' +
      '02000000' +
      '10000280' +
      '0c000100' +
      '0af40107' +
      '1f900000',
  );
  const key = encoded(ENDPOINTS, { key: ['10.96.0.1', 'tcp', 80, 2], data: ['10.244.1.7', 8080] }, true);
  assert.is(hex(key), '1c000180' + '18000180' + '14000100' + '0a600001' + '06000000' + '00500000' + '02000000');
});

test('an element that does not fit its set is refused, and the error says what is wrong', () => {
  const cases: readonly (readonly [NftSet, NftElement, RegExp | string])[] = [
    [ENDPOINTS, { key: ['10.96.0.1', 'tcp', 80], data: ['10.0.0.1', 1] }, '3 values where 4 are due'],
    [ENDPOINTS, { key: ['10.96.0.1', 'icmp', 80, 1], data: ['10.0.0.1', 1] }, '"icmp" as inet_proto'],
    [ENDPOINTS, { key: ['10.96.0.1', 'tcp', 65536, 1], data: ['10.0.0.1', 1] }, '65536 as inet_service'],
    [ENDPOINTS, { key: ['10.96.0.1', 'tcp', 80, -1], data: ['10.0.0.1', 1] }, '-1 as mark'],
    [ENDPOINTS, { key: ['10.96.0.1', 'tcp', 80, 1] }, 'without data'],
    [ENDPOINTS, { key: ['10.96.0.1', 'tcp', 80, 1], data: { verdict: 'drop' } }, 'a verdict where values'],
    [
      ENDPOINTS,
      { key: ['10.96.0.1', 'tcp', 80, 1], keyEnd: ['10.96.0.2', 'tcp', 80, 1], data: ['1.1.1.1', 1] },
      'a range',
    ],
    [{ name: 's', key: ['mark'] }, { key: [1], data: [1] }, 'a set without data'],
    [{ name: 's', key: ['mark'] }, { key: [1], comment: 'x'.repeat(121) }, 'a comment of 121 bytes'],
    [{ name: 's', key: ['ipv6_addr', 'ipv6_addr', 'ipv6_addr', 'ipv6_addr', 'mark'] }, { key: [] }, 'at most 64 fit'],
  ];
  for (const [set, element, words] of cases) {
    const error = fault(() => encoded(set, element));
    assert.is(error.code, 'KP_NETLINK_INVALID');
    assert.match(error.message, words);
  }
});

function relisted(set: NftSet, elements: readonly NftElement[]): ListedElement[] {
  const bytes = elements.map((element) => encoded(set, element));
  const list = Buffer.concat(bytes);
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + list.length, 0);
  header.writeUInt16LE(3, 2);
  const reader = createElementListReader(set);
  const listed: ListedElement[] = [];
  reader.read(Uint8Array.from(Buffer.concat([header, list])), (element) => listed.push(element));
  reader.finish((element) => listed.push(element));
  return listed;
}

const SETS: readonly (readonly [NftSet, readonly NftElement[]])[] = [
  [ENDPOINTS, [{ key: ['10.96.0.1', 'sctp', 80, 0xffffffff], data: ['10.244.1.7', 65535], comment: 'ns/näme' }]],
  [
    { name: 'e6', key: ['ipv6_addr', 'inet_service'], data: ['ipv6_addr', 'inet_service'] },
    [{ key: ['fd00::1', 53], data: ['fd00:1::', 1] }],
  ],
  [
    { name: 'lb', key: ['mark'], data: 'verdict' },
    [
      { key: [1], data: { verdict: 'goto', chain: 'lb-1' } },
      { key: [2], data: { verdict: 'drop' }, comment: 'x'.repeat(120) },
      { key: [3], data: { verdict: 'jump', chain: 'c'.repeat(255) } },
    ],
  ],
  [{ name: 'ports', key: ['inet_service'] }, [{ key: [80] }, { key: [443] }]],
  [
    { name: 'ranges', key: ['ipv4_addr'], interval: true },
    [
      { key: ['0.0.0.0'], keyEnd: ['0.0.0.255'] },
      { key: ['0.0.1.0'], keyEnd: ['0.0.1.0'], comment: 'one' },
      { key: ['10.0.0.0'], keyEnd: ['10.255.255.255'] },
      { key: ['240.0.0.0'], keyEnd: ['255.255.255.255'] },
    ],
  ],
  [
    { name: 'r6', key: ['ipv6_addr'], data: 'verdict', interval: true },
    [{ key: ['::'], keyEnd: ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'], data: { verdict: 'accept' } }],
  ],
  [
    { name: 'allowed', key: ['ipv4_addr', 'inet_proto', 'inet_service', 'ipv4_addr'], interval: true },
    [{ key: ['1.1.1.1', 'tcp', 80, '10.0.0.0'], keyEnd: ['1.1.1.1', 'tcp', 80, '10.255.255.255'] }],
  ],
];

test('elements of every kind of set are read back as they were written', () => {
  for (const [set, elements] of SETS) assert.equal(relisted(set, elements), elements, set.name);
});

test('ranges come back whole in whatever order their points are listed', () => {
  const [set, elements] = SETS[4]!;
  assert.equal(relisted(set, [...elements].reverse()), elements);
});

test('a range to the end of the address space has a start and no end point', () => {
  const [set] = SETS[4]!;
  const points = (first: string, last: string) =>
    parseAttributes(encoded(set, { key: [first], keyEnd: [last] })).length;
  assert.equal([points('10.0.0.0', '10.0.0.9'), points('10.0.0.0', '255.255.255.255')], [2, 1]);
});

test('an element that is cut short is malformed, wherever it is cut', () => {
  const [set, [element]] = SETS[0]!;
  const whole = encoded(set, element!);
  for (let length = 1; length < whole.length; length++) {
    const { code } = fault(() => createElementListReader(set).readList(whole.slice(0, length), () => {}));
    assert.is(code, 'KP_NETLINK_MALFORMED', String(length));
  }
});

for (const seed of [1, 2, 3]) {
  test(`damaged lists of elements end with a typed error or a result (seed ${seed})`, () => {
    const random = seeded(seed).below;
    const seen = { error: 0, fine: 0 };
    for (let round = 0; round < 4000; round++) {
      const [set, elements] = SETS[random(SETS.length)]!;
      const list = Buffer.concat(elements.map((element) => encoded(set, element)));
      const bytes = new Uint8Array(4 + list.length);
      bytes.set([(4 + list.length) & 255, (4 + list.length) >> 8, 3, 0]);
      bytes.set(list, 4);
      for (let changes = random(4); changes > 0; changes--)
        bytes[random(bytes.length)] = random(2) === 0 ? random(16) : random(256);
      const cut = random(4) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
      const spliced = random(6) === 0 ? Uint8Array.of(...cut, ...bytes.subarray(4 * random(bytes.length >> 2))) : cut;
      const reader = createElementListReader(random(8) === 0 ? SETS[random(SETS.length)]![0] : set);
      let count = 0;
      try {
        reader.read(spliced, () => count++);
        reader.finish(() => count++);
        seen.fine++;
        assert.ok(count <= spliced.length / 8, `${count} elements`);
      } catch (error) {
        if (!(error instanceof NetlinkError)) throw error;
        assert.is(error.code, 'KP_NETLINK_MALFORMED');
        seen.error++;
      }
    }
    assert.ok(seen.error > 500 && seen.fine > 500, JSON.stringify(seen));
  });
}

test('prefixes of whole bytes load only those, others are masked', () => {
  const bits = ({ bytes, value, mask }: ReturnType<typeof prefixMatch>) => [bytes, hex(value), mask && hex(mask)];
  assert.equal(bits(prefixMatch('ipv4_addr', '10.0.0.0/8')), [1, '0a', undefined]);
  assert.equal(bits(prefixMatch('ipv4_addr', '10.16.0.0/12')), [4, '0a100000', 'fff00000']);
  assert.equal(bits(prefixMatch('ipv4_addr', '10.0.0.1')), [4, '0a000001', undefined]);
  assert.equal(bits(prefixMatch('ipv4_addr', '0.0.0.0/0')), [4, '00000000', '00000000']);
  assert.equal(bits(prefixMatch('ipv6_addr', 'fd00:10::/32')), [4, 'fd000010', undefined]);
  assert.is(bits(prefixMatch('ipv6_addr', 'fe80::/10'))[2], `ffc0${'0'.repeat(28)}`);
  for (const wrong of ['10.0.0.0/33', '10.0.0.0/x', '10.0.0/8', '10.0.0.0/-1']) {
    assert.is(fault(() => prefixMatch('ipv4_addr', wrong)).code, 'KP_NETLINK_INVALID', wrong);
  }
});

test('rules that a family or the registers cannot hold are refused', () => {
  const rules: readonly (readonly ['ip' | 'ip6', NftRule, string])[] = [
    ['ip6', { statements: [{ match: 'ip saddr', is: '10.0.0.1' }] }, '"ip saddr" in a table of family ip6'],
    [
      'ip6',
      { statements: [{ in: 's', key: ['ip6 saddr', 'ip6 daddr', 'ip6 saddr', 'ip6 daddr', 'th dport'] }] },
      'registers',
    ],
    ['ip', { statements: [{ match: 'meta iifname', is: 'a-name-of-16-byt' }] }, 'interface name'],
    ['ip', { statements: [{ match: 'meta iifname', is: '*' }] }, 'interface name'],
    ['ip', { statements: [{ match: 'th dport', within: '10.0.0.0/8' }] }, 'no address'],
    ['ip', { statements: [{ verdict: 'jump', chain: '' }] }, 'the name ""'],
  ];
  for (const [family, rule, words] of rules) {
    const error = fault(() => ruleFingerprint(family, rule));
    assert.is(error.code, 'KP_NETLINK_INVALID');
    assert.match(error.message, words);
  }
});

test('fingerprints tell rules and sets apart by all that counts', () => {
  const rules: readonly NftRule[] = [
    { statements: [{ verdict: 'accept' }] },
    { statements: [{ verdict: 'accept' }], comment: 'x' },
    { statements: [{ verdict: 'drop' }] },
    { statements: [{ fib: 'saddr' }] },
    { statements: [{ fib: 'saddr', not: true }] },
    { statements: [{ in: 's', key: ['ip saddr'] }] },
    { statements: [{ in: 's', key: ['ip saddr'], not: true }] },
    { statements: [{ in: 's', key: ['ip daddr'] }] },
    { statements: [{ in: 't', key: ['ip daddr'] }] },
    { statements: [{ vmap: { map: 't', key: ['ip daddr'] } }] },
    { statements: [{ priority: 1 }] },
    { statements: [{ priority: 256 }] },
    { statements: [{ mark: 1 }] },
    { statements: [{ mark: 256 }] },
    { statements: [{ match: 'meta mark', is: 1 }] },
    { statements: [{ match: 'meta priority', is: 1 }] },
    { statements: [{ counter: true }] },
  ];
  assert.is(new Set(rules.map((rule) => ruleFingerprint('ip', rule))).size, rules.length);
  const set: NftSet = { name: 's', key: ['ipv4_addr'] };
  const sets: readonly NftSet[] = [
    set,
    { ...set, interval: true },
    { ...set, data: 'verdict' },
    { ...set, data: ['mark'] },
    { ...set, key: ['mark'] },
    { ...set, size: 10 },
    { ...set, size: 10, dynamic: true },
    { ...set, comment: 'x' },
  ];
  assert.is(new Set(sets.map(setFingerprint)).size, sets.length);
});

test('comments survive their userdata, and strange userdata is no comment', () => {
  assert.is(userdataComment(7, commentUserdata(7, 'für alle')), 'für alle');
  assert.is(userdataComment(0, commentUserdata(7, 'x')), '');
  for (const bytes of [[], [0], [0, 200, 65], [0, 0], [9, 255]]) {
    assert.type(userdataComment(0, Uint8Array.from(bytes)), 'string');
  }
  assert.is(parseAttributes(encoded({ name: 's', key: ['mark'] }, { key: [1], comment: 'abc' }).subarray(4)).length, 2);
});

test.run();
