import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cidrContains, parseCIDR, parseIP } from '../../../core/model/ip.ts';
import { outermost } from '../../../plugins/shared/source-ranges.ts';
import { seeded } from '../model/random.ts';

const test = suite('nftables source ranges');
const ranges = (...cidrs: string[]) => outermost(cidrs).map(({ first, last }) => `${first}-${last}`);
const LAST6 = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';

for (const [cidr, range] of [
  ['10.1.0.0/16', '10.1.0.0-10.1.255.255'],
  ['192.0.2.7/32', '192.0.2.7-192.0.2.7'],
  ['0.0.0.0/0', '0.0.0.0-255.255.255.255'],
  ['128.0.0.0/1', '128.0.0.0-255.255.255.255'],
  ['::/0', `::-${LAST6}`],
  ['8000::/1', `8000::-${LAST6}`],
  ['::/128', '::-::'],
  ['fd00::/8', `fd00::-fdff:${LAST6.slice(5)}`],
  ['2001:db8:0:1::/64', '2001:db8:0:1::-2001:db8:0:1:ffff:ffff:ffff:ffff'],
  ['2001:db8:0:0:1::/127', '2001:db8:0:0:1::-2001:db8::1:0:0:1'],
  ['0:1:2:3:4:5:6:7/128', '0:1:2:3:4:5:6:7-0:1:2:3:4:5:6:7'],
] as const) {
  test(`${cidr} is ${range}`, () => assert.equal(ranges(cidr), [range]));
}

test('ranges inside of others, and those given twice, are left out', () => {
  assert.equal(ranges('10.0.0.0/8', '10.1.0.0/16', '10.0.0.0/8', '10.1.2.3/32', '11.0.0.0/8'), [
    '10.0.0.0-10.255.255.255',
    '11.0.0.0-11.255.255.255',
  ]);
  assert.equal(ranges('10.0.0.0/8', '0.0.0.0/0'), ['0.0.0.0-255.255.255.255']);
  assert.equal(ranges('::/0', '::/8', '::/128'), [`::-${LAST6}`]);
});

test('neighbours stay two ranges', () => {
  assert.equal(ranges('0.0.0.0/1', '128.0.0.0/1'), ['0.0.0.0-127.255.255.255', '128.0.0.0-255.255.255.255']);
  assert.equal(outermost([]), []);
});

test('of any ranges, what is left covers the same addresses, in canonical text, without overlap', () => {
  const random = seeded(11);
  for (let round = 0; round < 600; round++) {
    const isSix = random.chance(0.5);
    const address = (): string =>
      isSix
        ? Array.from({ length: 8 }, () => (random.chance(0.6) ? '0' : random.below(3).toString(16))).join(':')
        : Array.from({ length: 4 }, () => random.below(3)).join('.');
    const width = isSix ? 128 : 32;
    const cidrs = Array.from({ length: random.below(7) }, () => parseCIDR(`${address()}/${random.below(width + 1)}`)!);
    const same = cidrs.filter(({ family }) => family === (isSix ? 'IPv6' : 'IPv4')).map(({ cidr }) => cidr);
    const left = outermost(same);
    for (const { first, last, cidr } of left) {
      assert.is(parseIP(first)!.ip, first, 'canonical');
      assert.ok(cidrContains(cidr, first) && cidrContains(cidr, last));
      for (const other of left) assert.ok(other.cidr === cidr || !cidrContains(other.cidr, first), 'no overlap');
    }
    for (let probe = 0; probe < 20; probe++) {
      const ip = parseIP(address())!.ip;
      const before = same.some((cidr) => cidrContains(cidr, ip));
      assert.is(
        left.some(({ cidr }) => cidrContains(cidr, ip)),
        before,
        `${ip} in ${same.join()}`,
      );
    }
  }
});

test.run();
