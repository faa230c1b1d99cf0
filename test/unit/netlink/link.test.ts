/** A dummy interface before a kernel whose answers are scripted. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { openDummyLink } from '../../../core/netlink/link.ts';
import { createFakeLinks } from '../../../core/netlink/link-fake.ts';
import { type Message, parseMessages } from '../../../core/netlink/message.ts';
import { createNetlink } from '../../../core/netlink/netlink.ts';
import { fault, rejection } from './fault.ts';
import { errorMessage, messageBytes } from './generic-kernel.ts';

const [NOOP, DONE] = [1, 3];
const [NEWLINK, DELLINK, GETLINK, NEWADDR, DELADDR, GETADDR] = [16, 17, 18, 20, 21, 22];
const [EPERM, EEXIST, EACCES, ENODEV, EOPNOTSUPP, EADDRNOTAVAIL] = [1, 17, 13, 19, 95, 99];
const INDEX = 7;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** RTM_NEWLINK: struct ifinfomsg with index 7, IFNAME "kube-ipvs0", LINKINFO { KIND }. */
function linkOf(kind: string): Uint8Array {
  const kinds: Readonly<Record<string, string>> = {
    dummy: '10001200' + '0a00010064756d6d79000000',
    bridge: '10001200' + '0b0001006272696467650000',
    '': '',
  };
  return Buffer.from(`00000100${'07000000'}8200000000000000${'0f0003006b7562652d697076733000'}00${kinds[kind]}`, 'hex');
}

interface Scene {
  /** Kind of the link that is there; undefined: none. */
  kind: string | undefined;
  readonly addresses: Uint8Array[];
  /** Error of a message; 0 = none. */
  errno(message: Message): number;
  readonly heard: Message[];
  readonly transports: FakeTransport[];
}

function scene(kind: string | undefined, errno: (message: Message) => number = () => 0) {
  const kernel: Scene = { kind, addresses: [], errno, heard: [], transports: [] };
  function respond(message: Message): Uint8Array[] {
    const { type, sequence, flags } = message;
    if (type === NOOP) return [errorMessage(sequence, 0)];
    kernel.heard.push({ ...message, payload: message.payload.slice() });
    const error = kernel.errno(message);
    if (error !== 0) return [errorMessage(sequence, error)];
    if (type === GETLINK) {
      if (kernel.kind === undefined) return [errorMessage(sequence, ENODEV)];
      return [messageBytes(NEWLINK, 0, sequence, linkOf(kernel.kind)), errorMessage(sequence, 0)];
    }
    if (type === GETADDR) {
      const objects = kernel.addresses.map((address) => messageBytes(NEWADDR, 2, sequence, address));
      return [...objects, messageBytes(DONE, 2, sequence, new Uint8Array(4))];
    }
    return (flags & 4) === 0 ? [] : [errorMessage(sequence, 0)];
  }
  const link = openDummyLink('kube-ipvs0', () => {
    const transport = createFakeTransport((datagram) => parseMessages(datagram).flatMap(respond));
    kernel.transports.push(transport);
    return transport;
  });
  const types = () => kernel.heard.map(({ type }) => type);
  return { kernel, link, types };
}

/** struct ifaddrmsg and IFA_LOCAL (IPv4) or IFA_ADDRESS (IPv6). */
function addressOf(family: number, prefix: number, scope: number, index: number, address: string): Uint8Array {
  const header = Uint8Array.of(family, prefix, 0, scope, index, 0, 0, 0);
  const bytes = Buffer.from(address, 'hex');
  return Buffer.concat([header, Uint8Array.of(bytes.length + 4, 0, family === 2 ? 2 : 1, 0), bytes]);
}

const test = suite('a dummy interface');

test('is created once, by kind and name, and stays down', () => {
  const { link, kernel } = scene(undefined);
  link.ensure();
  const [, creation] = kernel.heard;
  assert.is(creation?.type, NEWLINK);
  assert.is(creation?.flags, 0x605); // REQUEST|ACK|EXCL|CREATE
  assert.is(
    hex(creation!.payload),
    '00000000000000000000000000000000' + // struct ifinfomsg: no flags, no change of flags
      '0f0003006b7562652d69707673300000' + // IFNAME "kube-ipvs0"
      '100012800a00010064756d6d79000000', // LINKINFO, nested { KIND "dummy" }
  );
  kernel.kind = 'dummy';
  link.ensure();
  assert.is(kernel.heard.filter(({ type }) => type === NEWLINK).length, 1);
});

test('that somebody else creates meanwhile is ours as well, if it is of the kind', () => {
  const racing = (kind: string) => {
    const it = scene(undefined, ({ type }) => {
      if (type !== NEWLINK) return 0;
      it.kernel.kind = kind;
      return EEXIST;
    });
    return it;
  };
  racing('dummy').link.ensure();
  assert.is(fault(() => racing('bridge').link.ensure()).code, 'KP_NETLINK_CONFLICT');
});

test('of another kind is never touched', async () => {
  for (const kind of ['bridge', '']) {
    const { link, types } = scene(kind);
    for (const act of [() => link.ensure(), () => link.delete(), () => link.addresses('IPv4')]) {
      const error = fault(act);
      assert.is(error.code, 'KP_NETLINK_CONFLICT');
      assert.match(error.message, kind === '' ? /a physical one, not dummy/ : /of kind bridge, not dummy: rename/);
    }
    assert.is((await rejection(link.change({ add: ['10.0.0.1'] }))).code, 'KP_NETLINK_CONFLICT');
    assert.equal(types(), [GETLINK, GETLINK, GETLINK, GETLINK]);
  }
});

test('is deleted by its index; one that is not there needs no deleting', () => {
  const { link, kernel, types } = scene('dummy');
  link.delete();
  assert.is(hex(kernel.heard[1]!.payload), '00000000070000000000000000000000');
  kernel.kind = undefined;
  link.delete();
  assert.equal(types(), [GETLINK, DELLINK, GETLINK]);
  scene('dummy', ({ type }) => (type === DELLINK ? ENODEV : 0)).link.delete();
});

test('has addresses of its whole length; others’, and link-local ones, are left out', () => {
  const { link, kernel } = scene('dummy');
  kernel.addresses.push(
    addressOf(2, 32, 0, INDEX, '0a600001'),
    addressOf(2, 32, 0, 1, '0a600002'),
    addressOf(2, 24, 0, INDEX, '0a600003'),
    addressOf(10, 128, 0, INDEX, 'fd000010000000000000000000000001'),
    addressOf(10, 128, 253, INDEX, 'fe800000000000000000000000000001'),
    addressOf(10, 64, 0, INDEX, 'fd000010000000000000000000000002'),
  );
  assert.equal(link.addresses('IPv4'), ['10.96.0.1']);
  assert.equal(link.addresses('IPv6'), ['fd00:10::1']);
  kernel.kind = undefined;
  assert.is(link.addresses('IPv4'), undefined);
});

test('gets and loses addresses in one datagram, removed ones first', async () => {
  const { link, kernel } = scene('dummy');
  const change = { add: ['10.96.0.1', 'fd00:10::1'], remove: ['10.96.0.9'] };
  assert.equal(await link.change(change), { operations: 3, bytes: 40 + 40 + 64 + 16 });
  const changes = kernel.heard.slice(1);
  assert.equal(
    changes.map(({ type, flags }) => [type, flags]),
    [
      [DELADDR, 0x1],
      [NEWADDR, 0x601],
      [NEWADDR, 0x601],
    ],
  );
  assert.equal(
    changes.map(({ payload }) => hex(payload)),
    [
      '0220020007000000' + // struct ifaddrmsg: AF_INET, /32, NODAD, scope global, index 7
        '080002000a600009' + // IFA_LOCAL
        '080001000a600009', // IFA_ADDRESS
      `0220020007000000${'080002000a600001'}${'080001000a600001'}`,
      '0a80020007000000' + '14000200fd000010000000000000000000000001' + '14000100fd000010000000000000000000000001',
    ],
  );
  assert.is(kernel.transports[1]!.sent.length, 1);
});

test('an address that is there, or gone, is no error and no operation', async () => {
  const { link } = scene('dummy', ({ type }) => (type === NEWADDR ? EEXIST : type === DELADDR ? EADDRNOTAVAIL : 0));
  const { operations } = await link.change({ add: ['10.96.0.1'], remove: ['10.96.0.9'] });
  assert.is(operations, 0);
});

test('when addresses are refused, all others are tried, and the first error says how many', async () => {
  const { link, types } = scene('dummy', ({ type, payload }) => (type === NEWADDR && payload[0] === 10 ? EACCES : 0));
  const error = await rejection(link.change({ add: ['fd00::1', '10.0.0.1', 'fd00::2'] }));
  assert.is(
    error.message,
    'address add fd00::1 on kube-ipvs0: EACCES (IPv6 is off on it; the first of 2 that failed): ' +
      'set net.ipv6.conf.kube-ipvs0.disable_ipv6 to 0',
  );
  assert.equal(types(), [GETLINK, NEWADDR, NEWADDR, NEWADDR]);
  const denied = scene('dummy', ({ type }) => (type === DELADDR ? EPERM : 0)).link;
  assert.match((await rejection(denied.change({ remove: ['10.0.0.1'] }))).message, /^address delete 10.0.0.1 .*EPERM/);
});

test('what is no address is told and not sent', async () => {
  const { link, types } = scene('dummy');
  const error = await rejection(link.change({ add: ['10.0.0.1/32', '10.0.0.2'] }));
  assert.match(error.message, /^address add 10\.0\.0\.1\/32 on kube-ipvs0: not an IPv4 address/);
  assert.equal(types(), [GETLINK, NEWADDR]);
});

test('that was removed under us is told when addresses are to be changed', async () => {
  const error = await rejection(scene(undefined).link.change({ add: ['10.0.0.1'] }));
  assert.match(error.message, /^address change kube-ipvs0: ENODEV \(no such interface\)/);
});

test('is told apart from a kernel that has none, and from one that does not allow it', () => {
  const lacking = fault(() => scene(undefined, ({ type }) => (type === NEWLINK ? EOPNOTSUPP : 0)).link.ensure());
  assert.is(lacking.code, 'KP_NETLINK_UNSUPPORTED');
  assert.match(lacking.message, /CONFIG_DUMMY$/);
  const denied = fault(() => scene(undefined, ({ type }) => (type === NEWLINK ? EPERM : 0)).link.ensure());
  assert.match(denied.message, /^link create kube-ipvs0: EPERM .*CAP_NET_ADMIN/);
});

test('has a name that an interface can have', () => {
  for (const name of ['', 'x'.repeat(16), 'a/b', 'a b', 'a:b', '.', '..', 'a\0']) {
    assert.is(fault(() => openDummyLink(name)).code, 'KP_NETLINK_INVALID', JSON.stringify(name));
  }
});

test('described by a kernel without a link is malformed', () => {
  const link = openDummyLink('x', () => createFakeTransport(() => [errorMessage(1, 0)]));
  assert.is(fault(() => link.ensure()).code, 'KP_NETLINK_MALFORMED');
});

test('is the same for the host each time it is asked for, until it is closed', async () => {
  const opened: string[] = [];
  const host = createNetlink(undefined, undefined, undefined, undefined, undefined, (name) => {
    opened.push(name);
    return scene('dummy').link;
  });
  const first = host.dummyLink('a');
  assert.is(host.dummyLink('a'), first);
  host.dummyLink('b');
  host.close();
  assert.is(fault(() => first.ensure()).code, 'KP_NETLINK_INVALID');
  assert.is((await rejection(first.change({}))).code, 'KP_NETLINK_INVALID');
  assert.not(host.dummyLink('a') === first);
  assert.equal(opened, ['a', 'b', 'a']);
});

test.run();

const fake = suite('a dummy interface in memory');

fake('does what a real one does', async () => {
  const links = createFakeLinks();
  const link = links.dummyLink('kube-ipvs0');
  assert.is(link.addresses('IPv4'), undefined);
  assert.is((await rejection(link.change({ add: ['10.0.0.1'] }))).errno, 'ENODEV');
  link.ensure();
  link.ensure();
  assert.is((await link.change({ add: ['10.0.0.1', 'fd00::1', '10.0.0.1'] })).operations, 2);
  assert.is((await link.change({ add: ['10.0.0.2'], remove: ['10.0.0.1', '10.0.0.3'] })).operations, 2);
  assert.equal(link.addresses('IPv6'), ['fd00::1']);
  assert.equal(links.addresses('kube-ipvs0'), ['fd00::1', '10.0.0.2']);
  link.delete();
  assert.is(links.addresses('kube-ipvs0'), undefined);
});

fake('can be somebody else’s, and can fail', async () => {
  const links = createFakeLinks();
  const link = links.dummyLink('kube-ipvs0');
  links.occupy('kube-ipvs0', 'bridge');
  assert.is(fault(() => link.ensure()).code, 'KP_NETLINK_CONFLICT');
  assert.is(fault(() => link.delete()).code, 'KP_NETLINK_CONFLICT');
  const other = links.dummyLink('other');
  other.ensure();
  links.failNext({ code: 'KP_NETLINK_REFUSED', errno: 'EPERM', text: 'no' });
  assert.is((await rejection(other.change({ add: ['10.0.0.1'] }))).errno, 'EPERM');
  assert.equal(other.addresses('IPv4'), []);
});

fake.run();
