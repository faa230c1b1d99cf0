import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { type Message, parseMessages } from '../../../core/netlink/message.ts';
import { openRoute } from '../../../core/netlink/route.ts';
import { isUsable, parseLink, parseLinkAddress } from '../../../core/netlink/route-messages.ts';
import type { MessageWriter } from '../../../core/netlink/writer.ts';
import { seeded } from '../model/random.ts';
import { fault } from './fault.ts';
import { createRouteKernel } from './route-kernel.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const IFA_FLAGS = 8;

const v6 = (...head: readonly number[]): Uint8Array => Uint8Array.of(...head, ...Array(16 - head.length).fill(0));

const route = suite('links and addresses of rtnetlink');

route('links have index, name and flags, and other attributes are skipped', () => {
  const kernel = createRouteKernel();
  kernel.links = [
    { index: 1, name: 'lo', flags: 0x10049 },
    { index: 0x01020304, name: 'eth0', attributes: (w) => w.nest(18, () => w.text(1, 'dummy')) },
  ];
  assert.equal(openRoute(kernel.transport).links(), [
    { index: 1, name: 'lo', flags: 0x10049 },
    { index: 0x01020304, name: 'eth0', flags: 0 },
  ]);
});

route('the questions are the header of each kind, of no family', () => {
  const kernel = createRouteKernel();
  const opened = openRoute(kernel.transport);
  opened.addresses();
  opened.links();
  const [addresses, links] = kernel.requests.map((bytes) => parseMessages(bytes)[0]!);
  assert.is(addresses!.type, 22);
  assert.is(addresses!.flags, 0x301);
  assert.equal([...addresses!.payload], Array(8).fill(0));
  assert.is(links!.type, 18);
  // ifinfomsg, then IFLA_EXT_MASK = RTEXT_FILTER_SKIP_STATS.
  assert.equal([...links!.payload], [...Array(16).fill(0), 8, 0, 29, 0, 8, 0, 0, 0]);
});

route('of an address with a peer, ours is taken', () => {
  const kernel = createRouteKernel();
  kernel.addresses = [
    {
      family: AF_INET,
      index: 7,
      prefixLength: 32,
      scope: 253,
      lowFlags: 0x80,
      attributes(w) {
        w.binary(IFA_ADDRESS, Uint8Array.of(10, 0, 0, 9));
        w.binary(IFA_LOCAL, Uint8Array.of(10, 0, 0, 1));
        w.text(IFA_LABEL, 'tun0');
      },
    },
    {
      family: AF_INET6,
      index: 7,
      attributes(w) {
        w.binary(IFA_LOCAL, v6(0xfd, 0, 1));
        w.binary(IFA_ADDRESS, v6(0xfd, 0, 9));
      },
    },
    { family: AF_INET6, index: 8, prefixLength: 64, attributes: (w) => w.binary(IFA_ADDRESS, v6(0xfe, 0x80)) },
  ];
  assert.equal(openRoute(kernel.transport).addresses(), [
    { linkIndex: 7, family: 'IPv4', ip: '10.0.0.1', prefixLength: 32, scope: 253, flags: 0x80 },
    { linkIndex: 7, family: 'IPv6', ip: 'fd00:100::', prefixLength: 0, scope: 0, flags: 0 },
    { linkIndex: 8, family: 'IPv6', ip: 'fe80::', prefixLength: 64, scope: 0, flags: 0 },
  ]);
});

route('flags of 32 bits replace those of 8', () => {
  const kernel = createRouteKernel();
  kernel.addresses = [
    {
      family: AF_INET6,
      index: 1,
      lowFlags: 0x40,
      attributes(w) {
        w.binary(IFA_ADDRESS, v6(0xfd));
        w.u32(IFA_FLAGS, 0x200);
      },
    },
  ];
  assert.is(openRoute(kernel.transport).addresses()[0]!.flags, 0x200);
});

route('other families, and addresses without an address, are left out', () => {
  const kernel = createRouteKernel();
  kernel.addresses = [
    { family: 45, index: 1, attributes: (w) => w.u8(IFA_LOCAL, 8) },
    { family: AF_INET, index: 1, attributes: (w) => w.text(IFA_LABEL, 'eth0') },
  ];
  assert.equal(openRoute(kernel.transport).addresses(), []);
});

route('addresses of one link can be left out, unparsed', () => {
  const kernel = createRouteKernel();
  const on = (index: number, last: number) => ({
    family: AF_INET,
    index,
    attributes: (w: MessageWriter) => w.binary(IFA_LOCAL, Uint8Array.of(10, 0, 0, last)),
  });
  const odd = { ...on(2, 9), attributes: (w: MessageWriter) => w.binary(IFA_LOCAL, Uint8Array.of(1)) };
  kernel.addresses = [on(1, 1), odd, on(3, 3)];
  const opened = openRoute(kernel.transport);
  assert.equal(
    opened.addresses(2).map(({ ip }) => ip),
    ['10.0.0.1', '10.0.0.3'],
  );
  assert.is(fault(() => opened.addresses()).code, 'KP_NETLINK_MALFORMED');
});

route('a link is found by its name in one question', () => {
  const kernel = createRouteKernel();
  kernel.links = [
    { index: 1, name: 'lo' },
    { index: 7, name: 'kube-ipvs0' },
  ];
  const opened = openRoute(kernel.transport);
  assert.is(opened.linkIndex('kube-ipvs0'), 7);
  kernel.links = [{ index: 1, name: 'lo' }];
  assert.is(opened.linkIndex('kube-ipvs0'), undefined);
  assert.is(kernel.requests.length, 2);
  const [{ type, flags, payload }] = parseMessages(kernel.requests[0]!) as [Message];
  assert.equal([type, flags], [18, 0x5]);
  assert.is(
    Buffer.from(payload).toString('hex'),
    `${'00'.repeat(16)}0f0003006b7562652d6970767330000008001d0008000000`, // IFNAME, EXT_MASK
  );
  kernel.errno = 1;
  assert.match(fault(() => opened.linkIndex('kube-ipvs0')).message, /^link find kube-ipvs0: EPERM/);
});

route('an address is usable unless it is being tested or failed the test; optimistic ones are', () => {
  const TENTATIVE = 0x40;
  const OPTIMISTIC = 0x04;
  const DADFAILED = 0x08;
  const PERMANENT = 0x80;
  assert.ok(isUsable({ flags: PERMANENT }));
  assert.not.ok(isUsable({ flags: PERMANENT | TENTATIVE }));
  assert.ok(isUsable({ flags: TENTATIVE | OPTIMISTIC }));
  assert.not.ok(isUsable({ flags: PERMANENT | TENTATIVE | DADFAILED }));
  assert.not.ok(isUsable({ flags: DADFAILED | OPTIMISTIC }));
});

route('an interrupted listing is repeated, and nothing of it stays', () => {
  const kernel = createRouteKernel();
  kernel.links = [{ index: 1, name: 'lo' }];
  kernel.interruptions = 3;
  assert.is(openRoute(kernel.transport).links().length, 1);
  assert.is(kernel.requests.length, 4);
});

route('listings that are interrupted for ever end with an error, also where the kernel says EINTR itself', () => {
  const kernel = createRouteKernel();
  const opened = openRoute(kernel.transport);
  kernel.interruptions = 1000;
  const error = fault(() => opened.addresses());
  assert.is(error.code, 'KP_NETLINK_REFUSED');
  assert.match(error.message, /^address list: EINTR \(changes overtook 10 listings/);
  assert.is(kernel.requests.length, 10);
  kernel.interruptions = 0;
  kernel.errno = 4;
  assert.is(fault(() => opened.links()).errno, 'EINTR');
  assert.is(kernel.requests.length, 20);
  kernel.errno = 0;
  assert.equal(opened.links(), []);
});

route('another refusal is not repeated', () => {
  const kernel = createRouteKernel();
  kernel.errno = 1;
  assert.match(fault(() => openRoute(kernel.transport).links()).message, /^link list: EPERM/);
  assert.is(kernel.requests.length, 1);
});

route('after a malformed answer and after silence a new socket is opened', () => {
  const kernel = createRouteKernel();
  const transports = [
    createFakeTransport(() => [Uint8Array.of(1, 2, 3)]),
    createFakeTransport(() => []),
    kernel.transport(),
  ];
  const unused = [...transports];
  const opened = openRoute(() => unused.shift()!);
  assert.is(fault(() => opened.links()).code, 'KP_NETLINK_MALFORMED');
  assert.is(fault(() => opened.links()).code, 'KP_NETLINK_TIMEOUT');
  assert.equal(opened.links(), []);
  assert.equal(
    transports.map(({ closed }) => closed),
    [true, true, false],
  );
  opened.close();
  assert.ok(transports[2]!.closed);
});

route('a link without name or index, and addresses of a wrong length, are malformed', () => {
  const kernel = createRouteKernel();
  const opened = openRoute(kernel.transport);
  kernel.links = [{ index: 1 }];
  assert.match(fault(() => opened.links()).message, 'link 1 without a name');
  kernel.links = [{ index: 0, name: 'x' }];
  assert.match(fault(() => opened.links()).message, 'index 0');
  kernel.addresses = [{ family: AF_INET, index: 1, attributes: (w) => w.binary(IFA_LOCAL, new Uint8Array(16)) }];
  assert.match(fault(() => opened.addresses()).message, 'IPv4 address of 16 bytes');
  kernel.addresses = [{ family: AF_INET6, index: 1, attributes: (w) => w.binary(IFA_LOCAL, new Uint8Array(4)) }];
  assert.match(fault(() => opened.addresses()).message, 'IPv6 address of 4 bytes');
  assert.match(fault(() => parseLink(new Uint8Array(15))).message, '15 bytes');
  assert.match(fault(() => parseLinkAddress(new Uint8Array(7))).message, '7 bytes');
});

for (const seed of [1, 2, 3]) {
  route(`damaged answers end with a typed error or a result (seed ${seed})`, () => {
    const random = seeded(seed);
    const seen = { error: 0, fine: 0 };
    const kernel = createRouteKernel();
    kernel.links = [
      { index: 1, name: 'lo', flags: 9 },
      { index: 2, name: 'eth0' },
    ];
    kernel.addresses = [
      { family: AF_INET, index: 1, attributes: (w) => w.binary(IFA_LOCAL, Uint8Array.of(127, 0, 0, 1)) },
      {
        family: AF_INET6,
        index: 2,
        attributes(w) {
          w.binary(IFA_ADDRESS, v6(0xfd));
          w.u32(IFA_FLAGS, 0x80);
        },
      },
    ];
    const damage = (datagram: Uint8Array): Uint8Array => {
      const copy = datagram.slice();
      for (let changes = random.below(4); changes > 0; changes--) {
        copy[random.below(copy.length)] = random.below(random.chance(0.5) ? 32 : 256);
      }
      return random.chance(0.2) ? copy.subarray(0, random.below(copy.length + 1)) : copy;
    };
    for (let round = 0; round < 3000; round++) {
      const inner = kernel.transport();
      const opened = openRoute(() => ({ ...inner, receive: () => damage(inner.receive()) }));
      try {
        if (random.chance(0.5)) opened.links();
        else opened.addresses();
        seen.fine++;
      } catch (error) {
        if (!(error instanceof NetlinkError)) throw error;
        seen.error++;
      }
    }
    assert.ok(seen.error > 100 && seen.fine > 100, JSON.stringify(seen));
  });

  route(`random bytes end with a typed error or a result (seed ${seed})`, () => {
    const random = seeded(seed);
    const seen = { error: 0, fine: 0 };
    for (let round = 0; round < 3000; round++) {
      const bytes = Uint8Array.from({ length: random.below(60) }, () => (random.chance(0.5) ? 0 : random.below(20)));
      for (const parse of [parseLink, parseLinkAddress]) {
        try {
          parse(bytes);
          seen.fine++;
        } catch (error) {
          if (!(error instanceof NetlinkError)) throw error;
          seen.error++;
        }
      }
    }
    assert.ok(seen.error > 100 && seen.fine > 100, JSON.stringify(seen));
  });
}

route.run();
