/** Tables in nft's words. That they are nft's is seen in test/netns/nftables-list.test.ts, against the tool itself. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { printTable } from '../../../core/netlink/nftables/text.ts';
import type { NftHook, NftSet, NftStatement, NftTable } from '../../../core/nftables.ts';
import { shapes } from '../../netns/nftables-shapes.ts';

const test = suite('text of nftables');

const tableOf = (parts: Partial<NftTable>): NftTable => ({ family: 'ip', name: 't', sets: [], chains: [], ...parts });

/** The chain's lines without their indentation. */
function printedRule(...statements: readonly NftStatement[]): string | undefined {
  return printTable(tableOf({ chains: [{ name: 'c', rules: [{ statements }] }] }))
    .split('\n')[2]
    ?.trim();
}

function printedElements(set: NftSet, elements: NftTable['sets'][number]['elements']): string {
  return /elements = \{ (.*) \}/s.exec(printTable(tableOf({ sets: [{ ...set, elements }] })))?.[1] ?? '';
}

test('a table has its sets, then its chains, indented with tabs', () => {
  const table = tableOf({
    comment: 'ours',
    sets: [
      {
        name: 'services',
        key: ['ipv4_addr', 'inet_proto', 'inet_service'],
        data: ['mark'],
        size: 10,
        comment: 'of endpoints',
        elements: [
          { key: ['10.0.0.1', 'tcp', 80], data: [3] },
          { key: ['10.0.0.2', 'udp', 53], data: [2147483652], comment: 'kube-system/dns' },
        ],
      },
      { name: 'affinity', key: ['ipv4_addr'], dynamic: true, size: 5, elements: [] },
    ],
    chains: [
      {
        name: 'pre',
        hook: { type: 'nat', hook: 'prerouting', priority: -100 },
        rules: [{ statements: [{ counter: true }, { verdict: 'goto', chain: 'lb' }], comment: 'all of it' }],
      },
      { name: 'lb', rules: [] },
    ],
  });
  assert.is(
    printTable(table),
    `table ip t {
	comment "ours"
	map services {
		type ipv4_addr . inet_proto . inet_service : mark
		size 10
		comment "of endpoints"
		elements = { 10.0.0.1 . tcp . 80 : 0x00000003,
			     10.0.0.2 . udp . 53 comment "kube-system/dns" : 0x80000004 }
	}

	set affinity {
		type ipv4_addr
		size 5
		flags dynamic,timeout
	}

	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		counter packets 0 bytes 0 goto lb comment "all of it"
	}

	chain lb {
	}
}
`,
  );
});

test('a hook near a named priority is printed relative to the name, where that name means something', () => {
  const printed = (type: NftHook['type'], hook: NftHook['hook'], priority: number) =>
    /priority (.*); policy/.exec(
      printTable(tableOf({ chains: [{ name: 'c', hook: { type, hook, priority }, rules: [] }] })),
    )?.[1];
  assert.is(printed('nat', 'prerouting', -100), 'dstnat');
  assert.is(printed('nat', 'output', -100), '-100');
  assert.is(printed('nat', 'postrouting', 100), 'srcnat');
  assert.is(printed('nat', 'input', 100), '100');
  assert.is(printed('filter', 'prerouting', -110), 'dstnat - 10');
  assert.is(printed('filter', 'prerouting', -111), '-111');
  assert.is(printed('filter', 'forward', 0), 'filter');
  assert.is(printed('filter', 'forward', 10), 'filter + 10');
  assert.is(printed('filter', 'forward', 50), 'security');
  assert.is(printed('filter', 'output', -150), 'mangle');
  assert.is(printed('filter', 'output', -300), 'raw');
});

test('ranges are printed as prefixes where they are one', () => {
  const ranges: NftSet = { name: 's', key: ['inet_service', 'ipv4_addr'], interval: true };
  const printed = (from: string, to: string) =>
    printedElements(ranges, [{ key: [80, from], keyEnd: [81, to] }]).replace('80-81 . ', '');
  assert.is(printed('10.0.0.0', '10.255.255.255'), '10.0.0.0/8');
  assert.is(printed('0.0.0.0', '255.255.255.255'), '0.0.0.0/0');
  assert.is(printed('10.0.0.1', '10.0.0.1'), '10.0.0.1');
  assert.is(printed('10.0.0.1', '10.0.0.2'), '10.0.0.1-10.0.0.2');
  assert.is(printed('10.0.0.0', '10.0.0.2'), '10.0.0.0-10.0.0.2');
  const six: NftSet = { name: 's', key: ['ipv6_addr'], interval: true };
  assert.is(printedElements(six, [{ key: ['fd00::'], keyEnd: ['fd00::ffff'] }]), 'fd00::/112');
});

test('numbers of `meta priority` are printed as handles of traffic control', () => {
  assert.is(printedRule({ priority: 0 }), 'meta priority set none');
  assert.is(printedRule({ priority: 3 }), 'meta priority set 0:3');
  assert.is(printedRule({ priority: 0xffffffff }), 'meta priority set root');
  assert.is(printedRule({ match: 'meta priority', is: 0x12340000, not: true }), 'meta priority != 1234:0');
  const key = [{ field: 'meta priority', and: 0xffffc000 }] as const;
  assert.is(printedRule({ vmap: { map: 'm', key } }), 'meta priority & ffff:c000 vmap @m');
});

test('numbers of `meta mark` are printed as eight hexadecimal digits', () => {
  assert.is(printedRule({ mark: 10 }), 'meta mark set 0x0000000a');
  assert.is(printedRule({ mark: 0xffffffff }), 'meta mark set 0xffffffff');
  assert.is(printedRule({ match: 'meta mark', is: 0x4000, not: true }), 'meta mark != 0x00004000');
  const key = ['ip daddr', 'meta l4proto', 'th dport'] as const;
  const lookup: NftStatement = { mark: { map: 'marks', key } };
  assert.is(printedRule(lookup), 'meta mark set ip daddr . meta l4proto . th dport map @marks');
  const tcp: NftStatement = { match: 'meta l4proto', is: 'tcp' };
  assert.is(printedRule(tcp, lookup), 'meta mark set ip daddr . meta l4proto . tcp dport map @marks');
});

test('a test for a protocol is not printed where what follows says it, too', () => {
  const tcp: NftStatement = { match: 'meta l4proto', is: 'tcp' };
  const port: NftStatement = { match: 'th dport', is: 80 };
  assert.is(printedRule(tcp, port), 'tcp dport 80');
  assert.is(printedRule(tcp, { match: 'ip saddr', is: '10.0.0.1' }, port), 'ip saddr 10.0.0.1 tcp dport 80');
  assert.is(printedRule(tcp, { reject: 'tcp reset' }), 'reject with tcp reset');
  assert.is(printedRule(tcp, { counter: true }, port), 'meta l4proto tcp counter packets 0 bytes 0 tcp dport 80');
  assert.is(printedRule({ match: 'meta l4proto', is: 'tcp', not: true }, port), 'meta l4proto != tcp th dport 80');
  assert.is(printedRule(tcp, { verdict: 'drop' }), 'meta l4proto tcp drop');
});

test('states are printed in the order of their bits', () => {
  assert.is(printedRule({ ctState: ['new', 'related', 'established'] }), 'ct state established,related,new');
  assert.is(printedRule({ ctState: ['new', 'invalid'], not: true }), 'ct state ! invalid,new');
});

test('a prefix is printed without the bits behind it and one address without a length', () => {
  assert.is(printedRule({ match: 'ip saddr', within: '10.1.2.3/8' }), 'ip saddr 10.0.0.0/8');
  assert.is(printedRule({ match: 'ip saddr', within: '10.1.2.3/32', not: true }), 'ip saddr != 10.1.2.3');
  assert.is(printedRule({ match: 'ip6 saddr', within: 'fd00::/8' }), 'ip6 saddr fd00::/8');
});

test('timeouts are printed in the largest units', () => {
  const update = (timeoutSeconds: number) => printedRule({ update: 's', key: ['ip saddr'], timeoutSeconds });
  assert.is(update(10800), 'update @s { ip saddr timeout 3h }');
  assert.is(update(90061), 'update @s { ip saddr timeout 1d1h1m1s }');
  assert.is(update(10), 'update @s { ip saddr timeout 10s }');
});

test('the family of a translation is that of the table', () => {
  const dnat: NftStatement = { dnat: { map: 'm', key: ['meta priority'] } };
  const printed = (family: 'ip' | 'ip6') =>
    printTable(tableOf({ family, chains: [{ name: 'c', rules: [{ statements: [dnat] }] }] }));
  assert.match(printed('ip'), 'dnat ip to meta priority map @m');
  assert.match(printed('ip6'), 'dnat ip6 to meta priority map @m');
});

test('every statement and set shape of the contract has words', () => {
  for (const family of ['ip', 'ip6'] as const) {
    const text = printTable(shapes(family));
    assert.not.match(text, /undefined|NaN|\[object|(?<!iifname )""/);
    const rules = shapes(family).chains.reduce((sum, { rules }) => sum + rules.length, 0);
    assert.is(text.match(/^\t\t(?!type |size |flags |comment |elements |\t)\S.*$/gm)?.length, rules);
  }
});

test.run();
