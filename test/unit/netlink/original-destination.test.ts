import { constants } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createOriginalDestination, type SocketCalls } from '../../../core/netlink/original-destination.ts';
import { fault } from './fault.ts';

const test = suite('original destinations of connections');
const AF_INET = 2;
const AF_INET6 = 10;

/** struct sockaddr_in and sockaddr_in6; `mapped`: IPv4 on a socket of IPv6. */
function ipv4(port: number, ...address: readonly number[]): readonly number[] {
  return [AF_INET, 0, port >> 8, port & 0xff, ...address, 0, 0, 0, 0, 0, 0, 0, 0];
}
function ipv6(port: number, ...address: readonly number[]): readonly number[] {
  return [AF_INET6, 0, port >> 8, port & 0xff, 0, 0, 0, 0, ...address, 0, 0, 0, 0];
}
function mapped(port: number, ...address: readonly number[]): readonly number[] {
  return ipv6(port, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...address);
}
const FD00_96_A = [0xfd, 0, 0, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa];
const LOOPBACK = [...new Array<number>(15).fill(0), 1];

/** A socket that is this, and was asked for that; a number is an error. */
function socket(own: readonly number[] | number, original: readonly number[] | number) {
  const asked: (readonly [fd: number, level: number, option: number])[] = [];
  let errno = 0;
  const answer = (bytes: readonly number[] | number, into: Uint8Array, length: Uint32Array): number => {
    if (typeof bytes === 'number') {
      errno = bytes;
      return -1;
    }
    assert.ok(length[0]! >= bytes.length, 'there is room for it');
    into.set(bytes);
    length[0] = bytes.length;
    return 0;
  };
  const calls: SocketCalls = {
    getsockname: (_, into, length) => answer(own, into, length),
    getsockopt(fd, level, option, into, length) {
      asked.push([fd, level, option]);
      return answer(original, into, length);
    },
    errno: () => errno,
  };
  return { asked, of: createOriginalDestination(calls) };
}

test('IPv4 is asked for at the level of IP', () => {
  const { of, asked } = socket(ipv4(4080, 127, 0, 0, 1), ipv4(80, 10, 96, 0, 10));
  assert.equal(of(7), { ip: '10.96.0.10', port: 80 });
  assert.equal(asked, [[7, 0, 80]]);
});

test('IPv6 is asked for at the level of IPv6, and its text is canonical', () => {
  const { of, asked } = socket(ipv6(4080, ...LOOPBACK), ipv6(443, ...FD00_96_A));
  assert.equal(of(7), { ip: 'fd00:96::a', port: 443 });
  assert.equal(asked, [[7, 41, 80]]);
});

test('IPv4 on a socket of IPv6 is asked for as IPv4', () => {
  const { of, asked } = socket(mapped(4080, 127, 0, 0, 1), ipv4(80, 10, 96, 0, 10));
  assert.equal(of(7), { ip: '10.96.0.10', port: 80 });
  assert.equal(asked, [[7, 0, 80]]);
});

test('a connection to our own address and port was not translated', () => {
  for (const [own, original] of [
    [ipv4(80, 10, 0, 0, 1), ipv4(80, 10, 0, 0, 1)],
    [mapped(80, 10, 0, 0, 1), ipv4(80, 10, 0, 0, 1)],
    [ipv6(80, ...LOOPBACK), ipv6(80, ...LOOPBACK)],
  ] as const) {
    assert.is(socket(own, original).of(7), undefined);
  }
});

test('only the port, or only the address, may have been translated', () => {
  assert.equal(socket(mapped(4080, 10, 0, 0, 1), ipv4(80, 10, 0, 0, 1)).of(7), { ip: '10.0.0.1', port: 80 });
  assert.equal(socket(ipv6(80, ...LOOPBACK), ipv6(80, ...FD00_96_A)).of(7), { ip: 'fd00:96::a', port: 80 });
});

test('what an answer left behind is not in the next one', () => {
  let own = ipv6(4080, ...FD00_96_A);
  let original = ipv6(80, ...LOOPBACK);
  const copy = (bytes: readonly number[], into: Uint8Array): number => {
    into.set(bytes);
    return 0;
  };
  const of = createOriginalDestination({
    getsockname: (_, into) => copy(own, into),
    getsockopt: (_, _level, _option, into) => copy(original, into),
    errno: () => 0,
  });
  of(7);
  own = ipv4(4080, 127, 0, 0, 1);
  original = ipv4(80, 10, 96, 0, 10);
  assert.equal(of(7), { ip: '10.96.0.10', port: 80 });
});

test('where conntrack does not know the connection, or there is no conntrack, there is none', () => {
  const { ENOENT, ENOPROTOOPT } = constants.errno;
  for (const errno of [ENOENT, ENOPROTOOPT]) {
    assert.is(socket(ipv4(80, 10, 0, 0, 1), errno).of(7), undefined);
  }
});

test('a descriptor that is no connection of TCP is refused, with its number', () => {
  const { EBADF, EINVAL } = constants.errno;
  const closed = fault(() => socket(EBADF, 0).of(7));
  assert.match(closed.message, /^original destination of descriptor 7: EBADF/);
  const refused = fault(() => socket(ipv4(80, 10, 0, 0, 1), EINVAL).of(7));
  assert.match(refused.message, /^original destination of descriptor 7: EINVAL/);
  const local = fault(() => socket([1, 0], 0).of(7));
  assert.is(local.message, 'original destination of descriptor 7: this is no socket of TCP');
});

test.run();
