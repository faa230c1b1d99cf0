/**
 * Every statement and set shape that plugins can ask for, as one table per family: what one version of nft cannot list
 * must not be offered.
 */
import type {
  NftElement,
  NftFamily,
  NftField,
  NftLookup,
  NftOperation,
  NftRule,
  NftSet,
  NftStatement,
  NftTable,
  NftType,
  NftValue,
} from '../../core/nftables.ts';

type FullSet = NftTable['sets'][number];

/** The transaction that makes the table. */
export function operationsFor(table: NftTable, owned: boolean): NftOperation[] {
  const { comment, sets, chains } = table;
  return [
    { do: 'add table', owned, ...(comment !== undefined && { comment }) },
    ...chains.map(({ rules: _, ...chain }): NftOperation => ({ do: 'add chain', chain })),
    ...sets.map(({ elements: _, ...set }): NftOperation => ({ do: 'add set', set })),
    ...sets
      .filter((set) => [...set.elements].length > 0)
      .map(({ elements, ...set }): NftOperation => ({ do: 'add elements', set, elements })),
    ...chains.flatMap(({ name, rules }) => rules.map((rule): NftOperation => ({ do: 'add rule', chain: name, rule }))),
  ];
}

/** Addresses of the family, lowest first. */
interface Addresses {
  readonly one: string;
  readonly two: string;
  readonly prefix: string;
  readonly oddPrefix: string;
  readonly prefixRange: readonly [string, string];
  readonly oddRange: readonly [string, string];
  readonly whole: readonly [string, string];
}

const ADDRESSES: Readonly<Record<NftFamily, Addresses>> = {
  ip: {
    one: '10.96.0.1',
    two: '10.96.0.2',
    prefix: '10.0.0.0/8',
    oddPrefix: '10.96.0.0/13',
    prefixRange: ['172.16.0.0', '172.31.255.255'],
    oddRange: ['192.168.0.1', '192.168.0.6'],
    whole: ['0.0.0.0', '255.255.255.255'],
  },
  ip6: {
    one: 'fd00::1',
    two: 'fd00::2',
    prefix: 'fd00::/8',
    oddPrefix: 'fd00:10::/29',
    prefixRange: ['fd01::', 'fd01::ffff:ffff:ffff:ffff'],
    oddRange: ['fd02::1', 'fd02::6'],
    whole: ['::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  },
};

const COMMENT = 'ns/name:port/TCP ünïcode';

export function shapes(family: NftFamily): NftTable {
  const at = ADDRESSES[family];
  const address: NftType = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const saddr: NftField = family === 'ip' ? 'ip saddr' : 'ip6 saddr';
  const daddr: NftField = family === 'ip' ? 'ip daddr' : 'ip6 daddr';
  const original: NftField = family === 'ip' ? 'ct original ip daddr' : 'ct original ip6 daddr';
  const destination = [daddr, 'meta l4proto', 'th dport'] as const;
  const before = [original, 'meta l4proto', 'ct original proto-dst'] as const;
  const frontend: readonly NftType[] = [address, 'inet_proto', 'inet_service'];
  const set = (name: string, key: readonly NftType[], elements: readonly NftElement[], more: Partial<NftSet> = {}) =>
    ({ name, key, elements, ...more }) satisfies FullSet;
  const element = (key: readonly NftValue[], more: Partial<NftElement> = {}): NftElement => ({ key, ...more });

  const sets: FullSet[] = [
    set(
      'services',
      frontend,
      [
        element([at.one, 'tcp', 80], { data: [3] }),
        element([at.one, 'udp', 53], { data: [0x80000004], comment: COMMENT }),
        element([at.two, 'sctp', 65535], { data: [0xffffffff] }),
      ],
      { data: ['mark'], size: 1000, comment: COMMENT },
    ),
    set(
      'endpoints',
      [...frontend, 'mark'],
      [element([at.one, 'tcp', 80, 2], { data: [at.two, 8080], comment: COMMENT })],
      {
        data: [address, 'inet_service'],
      },
    ),
    set('by-mark', ['mark'], [element([2], { data: [at.one, 80] }), element([0], { data: [at.two, 81] })], {
      data: [address, 'inet_service'],
    }),
    set('mark-to-mark', ['mark'], [element([0x12345678], { data: [1] })], { data: ['mark'] }),
    set('affinity', [address, 'mark'], [], { data: ['mark'], dynamic: true, size: 65536, comment: 'sticky' }),
    set('handles', ['mark', address, 'inet_service'], [element([0x4000, at.one, 80], { data: [0x4001] })], {
      data: ['mark'],
    }),
    set('seen', [address], [], { dynamic: true, size: 16 }),
    set(
      'dispatch',
      ['mark'],
      [
        element([1], { data: { verdict: 'goto', chain: 'lb-1' } }),
        element([2], { data: { verdict: 'jump', chain: 'lb-2' }, comment: COMMENT }),
        element([3], { data: { verdict: 'drop' } }),
        element([4], { data: { verdict: 'accept' } }),
        element([5], { data: { verdict: 'return' } }),
      ],
      { data: 'verdict' },
    ),
    set('frontend-verdicts', frontend, [element([at.one, 'tcp', 80], { data: { verdict: 'goto', chain: 'refuse' } })], {
      data: 'verdict',
    }),
    set('hairpin', [address, address], [element([at.one, at.one])]),
    set('masquerade-services', frontend, [element([at.one, 'tcp', 80])]),
    set('ports', ['inet_proto', 'inet_service'], [element(['udp', 30000], { comment: COMMENT })], { size: 10 }),
    set('addresses', [address], [element([at.one]), element([at.two], { comment: COMMENT })]),
    set('protocols', ['inet_proto'], [element(['tcp']), element(['sctp'])]),
    set('single-ports', ['inet_service'], [element([80])]),
    set(
      'cidrs',
      [address],
      [
        element([at.one], { keyEnd: [at.one] }),
        element([at.prefixRange[0]], { keyEnd: [at.prefixRange[1]], comment: COMMENT }),
        element([at.oddRange[0]], { keyEnd: [at.oddRange[1]] }),
      ],
      { interval: true },
    ),
    set('everything', [address], [element([at.whole[0]], { keyEnd: [at.whole[1]] })], { interval: true }),
    set('cidr-marks', [address], [element([at.prefixRange[0]], { keyEnd: [at.prefixRange[1]], data: [7] })], {
      interval: true,
      data: ['mark'],
    }),
    set(
      'source-ranges',
      [...frontend, address],
      [
        element([at.one, 'tcp', 80, at.prefixRange[0]], {
          keyEnd: [at.one, 'tcp', 80, at.prefixRange[1]],
          comment: COMMENT,
        }),
        element([at.one, 'udp', 80, at.oddRange[0]], { keyEnd: [at.one, 'udp', 80, at.oddRange[1]] }),
        element([at.two, 'tcp', 80, at.whole[0]], { keyEnd: [at.two, 'tcp', 80, at.whole[1]] }),
        element([at.two, 'tcp', 443, at.one], { keyEnd: [at.two, 'tcp', 443, at.one] }),
        element([at.two, 'tcp', 1024, at.one], { keyEnd: [at.two, 'tcp', 2047, at.one] }),
      ],
      { interval: true },
    ),
  ];

  const on = (map: string, key: NftLookup['key']): NftLookup => ({ map, key });
  const is = (match: NftField, value: NftValue, not = false): NftStatement => ({
    match,
    is: value,
    ...(not && { not }),
  });
  const rule = (...statements: readonly NftStatement[]): NftRule => ({ statements });
  const drop: NftStatement = { verdict: 'drop' };
  const states = ['invalid', 'new', 'established', 'related'] as const;
  /** What any chain may hold. */
  const anywhere: readonly NftRule[] = [
    rule(is(saddr, at.one), is(daddr, at.two, true), drop),
    rule(
      { match: saddr, within: at.prefix },
      { match: daddr, within: at.oddPrefix, not: true },
      { counter: true },
      drop,
    ),
    rule({ match: daddr, within: at.one }, drop),
    rule({ match: original, within: at.prefix }, drop),
    rule({ match: original, within: at.oddPrefix }, drop),
    rule(is(original, at.one, true), drop),
    rule(is('th sport', 80), is('th dport', 81, true), drop),
    rule(is('meta l4proto', 'tcp'), drop),
    rule(is('meta l4proto', 'udp', true), drop),
    rule(is('meta l4proto', 'tcp'), is('th dport', 80), drop),
    rule(is('meta l4proto', 'tcp'), { counter: true }, is('th dport', 80), is('th sport', 81), drop),
    rule(is('meta l4proto', 'sctp'), is(saddr, at.one), is('th dport', 80), is('th sport', 81), drop),
    rule(
      is('meta l4proto', 'udp'),
      { in: 'hairpin', key: [saddr, daddr] },
      { ctState: ['new'] },
      { fib: 'daddr' },
      is('th dport', 80),
    ),
    rule(is('meta l4proto', 'udp', true), is('th dport', 80)),
    rule(is('meta l4proto', 'tcp'), { in: 'masquerade-services', key: destination }, drop),
    rule(is('meta l4proto', 'udp'), { priority: on('services', destination) }),
    rule(is('meta l4proto', 'tcp'), is('ct original proto-dst', 80), drop),
    rule(is('ct original proto-dst', 80, true), drop),
    rule(is('meta iifname', 'cali*'), is('meta oifname', 'eth0', true), drop),
    rule(is('meta iifname', 'lo', true), is('meta oifname', 'veth*', true), drop),
    rule(is('meta priority', 0), drop),
    rule(is('meta priority', 0x10000, true), drop),
    rule(is('meta priority', 0xffffffff), drop),
    rule(is('meta mark', 0), drop),
    rule(is('meta mark', 0x4000, true), drop),
    rule(is('meta mark', 0xffffffff), drop),
    ...states.map((state) => rule({ ctState: [state] }, drop)),
    rule({ ctState: ['new', 'established', 'related'] }, drop),
    rule({ ctState: ['invalid'], not: true }, drop),
    rule({ ctState: ['new', 'invalid'], not: true }, drop),
    rule({ ctStatus: 'dnat' }, { verdict: 'accept' }),
    rule({ fib: 'daddr' }, { verdict: 'jump', chain: 'lb-1' }),
    rule({ fib: 'saddr', not: true }, { verdict: 'goto', chain: 'lb-2' }),
    rule({ in: 'hairpin', key: [saddr, daddr] }, drop),
    rule({ in: 'hairpin', key: [saddr, daddr], not: true }, drop),
    rule({ in: 'masquerade-services', key: before }, drop),
    rule({ in: 'addresses', key: [daddr] }, drop),
    rule({ in: 'addresses', key: [original], not: true }, drop),
    rule({ in: 'protocols', key: ['meta l4proto'] }, drop),
    rule({ in: 'single-ports', key: ['th dport'] }, drop),
    rule({ in: 'single-ports', key: ['ct original proto-dst'] }, drop),
    rule({ in: 'ports', key: ['meta l4proto', 'th dport'] }, drop),
    rule({ in: 'cidrs', key: [saddr] }, drop),
    rule({ in: 'everything', key: [saddr], not: true }, drop),
    rule({ in: 'source-ranges', key: [...destination, saddr] }, drop),
    rule({ in: 'source-ranges', key: [...before, saddr], not: true }, drop),
    rule({ priority: 0 }),
    rule({ priority: 3 }),
    rule({ priority: 0xffff0000 }),
    rule({ priority: 0xffffffff }),
    rule({ priority: on('services', destination) }),
    rule({ priority: on('services', before) }),
    rule({ priority: on('mark-to-mark', ['meta priority']) }),
    rule({ priority: on('mark-to-mark', [{ field: 'meta priority', and: 0xffffc000 }]) }),
    rule({ priority: on('mark-to-mark', [{ random: 3 }]) }),
    rule({ priority: on('affinity', [saddr, 'meta priority']) }),
    rule({ priority: on('affinity', [saddr, { field: 'meta priority', and: 0xffffc000 }]) }),
    rule({ priority: on('handles', ['meta priority', daddr, 'th dport']) }),
    rule({ priority: on('cidr-marks', [saddr]) }),
    rule({ mark: 0 }),
    rule({ mark: 10 }),
    rule({ mark: 0xffffffff }),
    rule({ mark: on('services', destination) }),
    rule({ mark: on('services', before) }),
    rule(is('meta l4proto', 'tcp'), { mark: on('services', destination) }),
    rule({ mark: on('mark-to-mark', ['meta mark']) }),
    rule({ mark: on('mark-to-mark', [{ random: 3 }]) }),
    rule({ mark: on('affinity', [saddr, 'meta mark']) }),
    rule({ mark: on('cidr-marks', [saddr]) }),
    rule({ vmap: on('dispatch', ['meta mark']) }),
    rule({ update: 'affinity', key: [saddr, 'meta mark'], timeoutSeconds: 10, data: ['meta mark'] }),
    rule({ vmap: on('dispatch', ['meta priority']) }),
    rule({ vmap: on('dispatch', [{ random: 3 }]) }),
    rule({ vmap: on('dispatch', [{ field: 'meta priority', and: 0x3fff }]) }),
    rule({ vmap: on('frontend-verdicts', destination) }),
    rule({ update: 'seen', key: [saddr], timeoutSeconds: 10 }),
    rule({ delete: 'seen', key: [saddr] }, { counter: true }),
    rule({ delete: 'affinity', key: [saddr, { field: 'meta priority', and: 0xffffc000 }], data: ['meta priority'] }),
    rule({ match: 'meta iifname', is: '' }, { counter: true }),
    rule({ update: 'affinity', key: [saddr, 'meta priority'], timeoutSeconds: 10800, data: ['meta priority'] }),
    rule({
      update: 'affinity',
      key: [saddr, { field: 'meta priority', and: 0xffffc000 }],
      timeoutSeconds: 86399,
      data: ['meta priority'],
    }),
    rule({ counter: true }),
    { statements: [{ verdict: 'return' }], comment: COMMENT },
  ];
  /** What the hooks of packets that are for this host, or come from it, hold. */
  const guards: readonly NftRule[] = [
    rule({ in: 'masquerade-services', key: destination }, drop),
    rule({ ctState: ['new'] }, { in: 'addresses', key: [daddr] }, { reject: 'port unreachable' }),
    rule(is('meta l4proto', 'tcp'), { reject: 'tcp reset' }),
    rule({ vmap: on('frontend-verdicts', destination) }),
    rule({ mark: on('services', destination) }, { verdict: 'accept' }),
  ];
  const chains: NftTable['chains'] = [
    { name: 'lb-1', rules: [] },
    { name: 'lb-2', rules: [rule({ verdict: 'return' })] },
    {
      name: 'refuse',
      rules: [
        rule(is('meta l4proto', 'tcp'), { reject: 'tcp reset' }),
        rule(is('meta l4proto', 'tcp'), { counter: true }, { reject: 'tcp reset' }),
        rule(is('meta l4proto', 'tcp'), is(saddr, at.one), { reject: 'tcp reset' }),
        rule({ reject: 'port unreachable' }),
      ],
    },
    { name: 'anywhere', rules: anywhere },
    {
      name: 'nat-prerouting',
      hook: { type: 'nat', hook: 'prerouting', priority: -100 },
      rules: [
        rule({ dnat: on('by-mark', ['meta priority']) }),
        rule({ dnat: on('endpoints', [...destination, { random: 3 }]) }),
        rule({ dnat: on('endpoints', [...destination, 'meta priority']) }),
        rule({ dnat: on('endpoints', [...destination, { field: 'meta priority', and: 0x3fff }]) }),
      ],
    },
    { name: 'nat-output', hook: { type: 'nat', hook: 'output', priority: -100 }, rules: [] },
    { name: 'nat-input', hook: { type: 'nat', hook: 'input', priority: 100 }, rules: [] },
    {
      name: 'nat-postrouting',
      hook: { type: 'nat', hook: 'postrouting', priority: 100 },
      rules: [rule({ ctStatus: 'dnat' }, { in: 'hairpin', key: [saddr, daddr] }, { masquerade: 'fully-random' })],
    },
    { name: 'filter-prerouting', hook: { type: 'filter', hook: 'prerouting', priority: -110 }, rules: [] },
    { name: 'filter-input', hook: { type: 'filter', hook: 'input', priority: 0 }, rules: guards },
    { name: 'filter-forward', hook: { type: 'filter', hook: 'forward', priority: 5 }, rules: [] },
    { name: 'filter-output', hook: { type: 'filter', hook: 'output', priority: -151 }, rules: guards },
    { name: 'filter-postrouting', hook: { type: 'filter', hook: 'postrouting', priority: 300 }, rules: [] },
  ];
  return { family, name: 'shapes', comment: COMMENT, sets, chains };
}
