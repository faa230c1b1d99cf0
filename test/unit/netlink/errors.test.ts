import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attributed, errnoMeaning, errnoMeaningByName, NetlinkError } from '../../../core/netlink/errors.ts';
import { ipsetErrorMeaning } from '../../../core/netlink/ipset-protocol.ts';

const errors = suite('netlink errors');

errors('say which operation on which object failed, how, and what to do', () => {
  const error = new NetlinkError({
    code: 'KP_NETLINK_REFUSED',
    operation: 'ipset create',
    object: 'KUBE-SEP-X',
    errno: 'EPERM',
    text: 'operation not permitted',
    remedy: 'needs CAP_NET_ADMIN',
  });
  assert.is(error.message, 'ipset create KUBE-SEP-X: EPERM (operation not permitted): needs CAP_NET_ADMIN');
  assert.ok(error instanceof Error);
});

errors('leave out what there is none of', () => {
  const error = new NetlinkError({ code: 'KP_NETLINK_TIMEOUT', text: 'no answer' });
  assert.is(error.message, 'netlink: no answer');
  assert.is(error.errno + error.object + error.operation + error.remedy, '');
  assert.is(
    new NetlinkError({ code: 'KP_NETLINK_REFUSED', errno: 'errno 4000', text: '' }).message,
    'netlink: errno 4000',
  );
});

errors('of a codec get the operation and object that it could not know, and keep their own detail', () => {
  const inner = new NetlinkError({ code: 'KP_NETLINK_TOO_LONG', object: 'message of 9 bytes', text: 'too long' });
  const outer = attributed(inner, 'ipset create', 'KUBE-A');
  assert.instance(outer, NetlinkError);
  assert.is((outer as NetlinkError).message, 'ipset create KUBE-A: message of 9 bytes: too long');
  assert.is((outer as NetlinkError).code, 'KP_NETLINK_TOO_LONG');
  assert.is(attributed(outer, 'other', 'other'), outer);
  const foreign = new TypeError('x');
  assert.is(attributed(foreign, 'ipset create', 'KUBE-A'), foreign);
});

errors('name the numbers of the kernel as netlink does', () => {
  assert.equal(errnoMeaning(2), { name: 'ENOENT', text: 'no such file or directory', remedy: '' });
  assert.is(errnoMeaning(11).name, 'EAGAIN');
  assert.is(errnoMeaning(95).name, 'EOPNOTSUPP');
  assert.is(errnoMeaning(105).name, 'ENOBUFS');
  assert.is(errnoMeaning(524).name, 'ENOTSUPP');
  assert.is(errnoMeaning(3999).name, 'errno 3999');
  assert.match(errnoMeaning(1).remedy, 'CAP_NET_ADMIN');
  assert.match(errnoMeaningByName('EMSGSIZE').remedy, 'wmem_max');
  assert.equal(errnoMeaningByName('EWHAT'), { name: 'EWHAT', text: '', remedy: '' });
});

errors('name the private numbers of ipset', () => {
  // linux/netfilter/ipset/ip_set.h: IPSET_ERR_PRIVATE 4096, each one more than the last; IPSET_ERR_TYPE_SPECIFIC 4352.
  assert.is(ipsetErrorMeaning(4097)?.name, 'IPSET_ERR_PROTOCOL');
  assert.is(ipsetErrorMeaning(4098)?.name, 'IPSET_ERR_FIND_TYPE');
  assert.is(ipsetErrorMeaning(4100)?.name, 'IPSET_ERR_BUSY');
  assert.is(ipsetErrorMeaning(4114)?.name, 'IPSET_ERR_SKBINFO');
  assert.is(ipsetErrorMeaning(4352)?.name, 'IPSET_ERR_HASH_FULL');
  assert.is(ipsetErrorMeaning(4200)?.name, 'ipset error 4200');
  assert.is(ipsetErrorMeaning(17), undefined);
});

errors.run();
