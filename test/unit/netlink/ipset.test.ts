import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { type OpenIPSets, openIPSets } from '../../../core/netlink/ipset.ts';
import { createNetlink } from '../../../core/netlink/netlink.ts';
import { fault } from './fault.ts';
import { createIPSetKernel, type FakeIPSetKernel, type FakeKernelOptions } from './ipset-kernel.ts';

function openOn(options?: FakeKernelOptions): {
  readonly sets: OpenIPSets;
  readonly kernel: FakeIPSetKernel;
  readonly transport: FakeTransport;
} {
  const kernel = createIPSetKernel(options);
  const transport = createFakeTransport(kernel.answer);
  return { sets: openIPSets(() => transport), kernel, transport };
}

const KUBE_A = { name: 'KUBE-A', family: 'IPv4', timeoutSeconds: 100, maxElements: 1000 } as const;
const lastSent = (transport: FakeTransport) => Buffer.from(transport.sent.at(-1)!).toString('hex');

const open = suite('opening IP sets');

open('speaks protocol 7 with a kernel that has it, and 6 with one that has no other', () => {
  for (const [protocol, spoken] of [
    [[7, 6], 7],
    [[6], 6],
    [[9, 6], 7],
    [[9, 7], 7],
  ] as const) {
    const { sets, transport } = openOn({ protocol });
    sets.names();
    assert.is(transport.sent.at(-1)![24], spoken, JSON.stringify(protocol));
  }
});

open('fails when the kernel and we have no protocol version in common', () => {
  for (const protocol of [[5], [9], [9, 8]] as const) {
    const error = fault(() => openOn({ protocol }));
    assert.is(error.code, 'KP_NETLINK_UNSUPPORTED');
    assert.match(error.message, `protocol ${protocol.at(-1)} to ${protocol[0]}, we 6 to 7`);
  }
});

open('names the kernel options that are missing', () => {
  const noSets = fault(() => openOn({ errors: { 1: 22 } }));
  assert.is(noSets.code, 'KP_NETLINK_UNSUPPORTED');
  assert.match(noSets.message, /CONFIG_IP_SET$/);
  for (const errno of [4098, 17]) {
    const noHash = fault(() => openOn({ errors: { 13: errno } }));
    assert.is(noHash.code, 'KP_NETLINK_UNSUPPORTED');
    assert.match(noHash.message, 'CONFIG_IP_SET_HASH_IP');
  }
});

open('says which capability is missing, and closes its socket', () => {
  const transport = createFakeTransport(createIPSetKernel({ errors: { 1: 1 } }).answer);
  const error = fault(() => openIPSets(() => transport));
  assert.match(error.message, /^ipset open: EPERM \(operation not permitted\): needs CAP_NET_ADMIN/);
  assert.is(transport.closed, true);
});

open('goes on with a new socket after a kernel that said nothing', () => {
  const kernel = createIPSetKernel();
  let silent = false;
  let opened = 0;
  const sets = openIPSets(() => {
    opened++;
    return createFakeTransport((request) => (silent ? [] : kernel.answer(request)));
  });
  silent = true;
  assert.is(fault(() => sets.names()).code, 'KP_NETLINK_TIMEOUT');
  silent = false;
  assert.equal(sets.names(), []);
  assert.is(opened, 2);
});

const create = suite('creating an IP set');

create('sends type, family, default timeout and size', () => {
  const { sets, transport } = openOn();
  sets.createHashIP(KUBE_A);
  assert.is(
    lastSent(transport),
    '5800000002060506030000000000000002000000' + // type, flags REQUEST|ACK|EXCL|CREATE, sequence, nfgenmsg
      '0500010007000000' + // protocol 7
      '0b0002004b5542452d410000' + // name
      '0c000300686173683a697000' + // hash:ip
      '0500040000000000' + // revision 0
      '0500050002000000' + // IPv4
      '14000780080006400000006408001340000003e8', // { timeout 100, maxelem 1000 }
  );
  sets.createHashIP({ ...KUBE_A, name: 'KUBE-6', family: 'IPv6' });
  assert.match(lastSent(transport), '050005000a000000');
});

create('succeeds when the set exists, also with another default timeout or size', () => {
  const { sets, kernel } = openOn();
  sets.createHashIP(KUBE_A);
  sets.createHashIP(KUBE_A);
  sets.createHashIP({ ...KUBE_A, timeoutSeconds: 7, maxElements: 9 });
  assert.is(kernel.sets.get('KUBE-A')?.timeout, 100);
});

create('fails when a set of another type, of another family or without timeouts has the name', () => {
  const { sets, kernel } = openOn();
  const existing = { type: 'hash:ip', family: 2, timeout: 10, members: [] };
  for (const [other, words] of [
    [{ type: 'hash:ip,port' }, 'of type hash:ip,port, not hash:ip'],
    [{ family: 10 }, 'not of family IPv4'],
    [{ timeout: undefined }, 'without timeouts'],
  ] as const) {
    kernel.sets.set('KUBE-A', { ...existing, ...other });
    const error = fault(() => sets.createHashIP(KUBE_A));
    assert.is(error.code, 'KP_NETLINK_CONFLICT');
    assert.match(error.message, `ipset create KUBE-A: EEXIST (a set of this name exists, ${words}): destroy it`);
  }
});

create('refuses names and numbers that the kernel would cut or wrap, before sending anything', () => {
  const { sets, transport } = openOn();
  const before = transport.sent.length;
  for (const wrong of [
    { name: '' },
    { name: 'x'.repeat(32) },
    { name: 'ü'.repeat(16) },
    { name: 'a\0b' },
    { timeoutSeconds: 2147484 },
    { timeoutSeconds: -1 },
    { timeoutSeconds: 1.5 },
    { maxElements: 0 },
    { maxElements: 2 ** 32 },
    { maxElements: Number.NaN },
  ]) {
    assert.is(
      fault(() => sets.createHashIP({ ...KUBE_A, ...wrong })).code,
      'KP_NETLINK_INVALID',
      JSON.stringify(wrong),
    );
  }
  assert.is(transport.sent.length, before);
  sets.createHashIP({ ...KUBE_A, name: 'x'.repeat(31), timeoutSeconds: 2147483, maxElements: 2 ** 32 - 1 });
});

create('explains the private errors of the kernel', () => {
  const { sets } = openOn({ errors: { 2: 4099 } });
  const error = fault(() => sets.createHashIP(KUBE_A));
  assert.match(error.message, /^ipset create KUBE-A: IPSET_ERR_MAX_SETS \(.*\): destroy unused sets$/);
});

const others = suite('other commands on IP sets');

others('destroy a set, and succeed when it is not there', () => {
  const { sets, kernel } = openOn();
  kernel.create('KUBE-A');
  sets.destroy('KUBE-A');
  sets.destroy('KUBE-A');
  assert.is(kernel.sets.size, 0);
});

others('report a set that is in use', () => {
  const { sets } = openOn({ errors: { 3: 4100 } });
  assert.match(fault(() => sets.destroy('KUBE-A')).message, /^ipset destroy KUBE-A: IPSET_ERR_BUSY /);
});

others('never send an empty name, which means all sets', () => {
  const { sets, kernel } = openOn();
  kernel.create('FOREIGN');
  for (const act of [() => sets.destroy(''), () => sets.flush(''), () => sets.members('')]) {
    assert.is(fault(act).code, 'KP_NETLINK_INVALID');
  }
  assert.equal([...kernel.sets.keys()], ['FOREIGN']);
});

others('flush a set, and fail when it is not there', () => {
  const { sets, kernel } = openOn();
  kernel.create('KUBE-A', [{ ip: [10, 0, 0, 1], remaining: 1 }]);
  sets.flush('KUBE-A');
  assert.equal(sets.members('KUBE-A'), []);
  assert.is(fault(() => sets.flush('KUBE-B')).message, 'ipset flush KUBE-B: ENOENT (no such set)');
});

others('list the names of all sets, each once', () => {
  const { sets, kernel } = openOn();
  assert.equal(sets.names(), []);
  kernel.create('KUBE-A');
  kernel.create('KUBE-B');
  assert.equal(sets.names(), ['KUBE-A', 'KUBE-B']);
});

others('list elements with the time they have left, over several messages', () => {
  const { sets, kernel } = openOn({ membersPerMessage: 2 });
  const members = [1, 2, 3, 4, 5].map((n) => ({ ip: [10, 0, 0, n], remaining: n === 3 ? 0 : n }));
  kernel.create('KUBE-A', members);
  assert.equal(sets.members('KUBE-A'), [
    { ip: '10.0.0.1', remainingSeconds: 1 },
    { ip: '10.0.0.2', remainingSeconds: 2 },
    { ip: '10.0.0.3', remainingSeconds: 0 },
    { ip: '10.0.0.4', remainingSeconds: 4 },
    { ip: '10.0.0.5', remainingSeconds: 5 },
  ]);
});

others('list IPv6 elements in canonical text, and elements without timeouts', () => {
  const { sets, kernel } = openOn();
  const ip = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a];
  kernel.sets.set('KUBE-6', { type: 'hash:ip', family: 10, timeout: undefined, members: [{ ip, remaining: 9 }] });
  assert.equal(sets.members('KUBE-6'), [{ ip: '2001:db8::a', remainingSeconds: 0 }]);
});

others('fail to list the elements of a set that is not there, and go on working', () => {
  const { sets, kernel } = openOn();
  assert.is(fault(() => sets.members('KUBE-A')).message, 'ipset list KUBE-A: ENOENT (no such set)');
  kernel.create('KUBE-A');
  assert.equal(sets.members('KUBE-A'), []);
});

const netlink = suite('netlink of the host');

netlink('opens IP sets when they are first asked for, once, and again after being closed', () => {
  let opened = 0;
  const host = createNetlink(() => {
    opened++;
    return openOn().sets;
  });
  assert.is(opened, 0);
  assert.is(host.ipset(), host.ipset());
  assert.is(opened, 1);
  const first = host.ipset();
  host.close();
  assert.is(fault(() => first.names()).code, 'KP_NETLINK_INVALID');
  assert.equal(host.ipset().names(), []);
  assert.is(opened, 2);
});

open.run();
create.run();
others.run();
netlink.run();
