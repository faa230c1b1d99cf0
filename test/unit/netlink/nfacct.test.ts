import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { createNetlink } from '../../../core/netlink/netlink.ts';
import { openPacketCounters } from '../../../core/netlink/nfacct.ts';
import { fault } from './fault.ts';
import { createCounterKernel } from './nfacct-kernel.ts';

const test = suite('packet counters');

function openOn(kernelFault = 0) {
  const kernel = createCounterKernel(kernelFault);
  const transport = createFakeTransport(kernel.answer);
  return { kernel, transport, counters: openPacketCounters(() => transport) };
}

test('one is made at zero, and one that exists keeps its value', () => {
  const { counters, kernel } = openOn();
  counters.ensure('a');
  assert.equal(counters.read('a'), { packets: 0, bytes: 0 });
  kernel.counters.set('a', { packets: 3n, bytes: 180n });
  counters.ensure('a');
  assert.equal(counters.read('a'), { packets: 3, bytes: 180 });
});

test('what is sent is the name, to the subsystem of counters', () => {
  const { counters, transport } = openOn();
  counters.ensure('abc');
  assert.is(
    Buffer.from(transport.sent.at(-1)!).toString('hex'),
    '1c0000000007050601000000' + // length, type 7/0, flags REQUEST|ACK|EXCL|CREATE, sequence
      '0000000000000000' + // port id, nfgenmsg
      '0800010061626300', // name
  );
});

test('counts beyond 32 bits are read whole', () => {
  const { counters, kernel } = openOn();
  kernel.counters.set('a', { packets: 2n ** 40n + 1n, bytes: 2n ** 52n });
  assert.equal(counters.read('a'), { packets: 2 ** 40 + 1, bytes: 2 ** 52 });
});

test('one that does not exist reads as undefined, and deleting it succeeds', () => {
  const { counters, kernel } = openOn();
  assert.is(counters.read('a'), undefined);
  counters.delete('a');
  counters.ensure('a');
  counters.ensure('b');
  counters.delete('a');
  assert.equal([...kernel.counters.keys()], ['b']);
});

test('one that a rule refers to is not deleted, and the error says so', () => {
  const { counters, kernel } = openOn();
  kernel.counters.set('a', { packets: 0n, bytes: 0n, used: true });
  const error = fault(() => counters.delete('a'));
  assert.is(error.message, 'nfacct delete a: EBUSY (a rule refers to it): remove what refers to it first');
});

test('a kernel without counters is told from one that does not allow us', () => {
  const lacking = fault(() => openOn(22).counters.ensure('a'));
  assert.is(lacking.code, 'KP_NETLINK_UNSUPPORTED');
  assert.match(lacking.message, /CONFIG_NETFILTER_NETLINK_ACCT$/);
  const denied = fault(() => openOn(1).counters.ensure('a'));
  assert.match(denied.message, /^nfacct create a: EPERM .*CAP_NET_ADMIN/);
});

test('no name that the kernel would cut, or take for all counters, is ever sent', () => {
  const { counters, transport } = openOn();
  for (const name of ['', 'x'.repeat(32), 'ü'.repeat(16), 'a\0b']) {
    for (const act of [() => counters.ensure(name), () => counters.read(name), () => counters.delete(name)]) {
      assert.is(fault(act).code, 'KP_NETLINK_INVALID', JSON.stringify(name));
    }
  }
  assert.is(transport.sent.length, 0);
  counters.ensure('x'.repeat(31));
});

test('an answer without counts is malformed, not zero', () => {
  const counters = openPacketCounters(() =>
    createFakeTransport((request) => {
      const kernel = createCounterKernel();
      kernel.counters.set('a', { packets: 1n, bytes: 1n });
      return kernel.answer(request).slice(1); // The ack alone.
    }),
  );
  assert.is(fault(() => counters.read('a')).code, 'KP_NETLINK_MALFORMED');
});

test('the host opens them when first asked, once, and again after being closed', () => {
  let opened = 0;
  const host = createNetlink(undefined, undefined, undefined, () => {
    opened++;
    return openOn().counters;
  });
  assert.is(opened, 0);
  assert.is(host.nfacct(), host.nfacct());
  assert.is(opened, 1);
  const first = host.nfacct();
  host.close();
  assert.is(fault(() => first.read('a')).code, 'KP_NETLINK_INVALID');
  assert.is(host.nfacct().read('a'), undefined);
  assert.is(opened, 2);
});

test.run();
