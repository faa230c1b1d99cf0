import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseModulesDep, selectModules } from '../../vm/kernel-modules.ts';

const test = suite('modules of the image');
const DEPENDENCIES = `kernel/lib/libcrc32c.ko:
kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko
kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko kernel/lib/libcrc32c.ko
kernel/net/netfilter/ipvs/ip_vs_rr.ko: kernel/net/netfilter/ipvs/ip_vs.ko
kernel/drivers/net/veth.ko:
kernel/drivers/net/vethernet.ko:
kernel/drivers/net/dummy.ko.xz:
`;

test('are read as depmod wrote them', () => {
  const needs = parseModulesDep(DEPENDENCIES);
  assert.is(needs.size, 7);
  assert.equal(needs.get('kernel/drivers/net/veth.ko'), []);
  assert.equal(needs.get('kernel/net/netfilter/ipvs/ip_vs.ko'), [
    'kernel/net/netfilter/nf_conntrack.ko',
    'kernel/lib/libcrc32c.ko',
  ]);
});

test('bring along what they need, and what that needs', () => {
  assert.equal(selectModules(DEPENDENCIES, ['kernel/net/netfilter/ipvs/ip_vs_rr']), [
    'kernel/lib/libcrc32c.ko',
    'kernel/net/netfilter/ipvs/ip_vs.ko',
    'kernel/net/netfilter/ipvs/ip_vs_rr.ko',
    'kernel/net/netfilter/nf_conntrack.ko',
  ]);
});

test('are chosen by folder, or by name and then by no longer one, compressed or not', () => {
  assert.is(selectModules(DEPENDENCIES, ['kernel/net/']).length, 4);
  assert.equal(selectModules(DEPENDENCIES, ['kernel/drivers/net/veth', 'kernel/drivers/net/dummy']), [
    'kernel/drivers/net/dummy.ko.xz',
    'kernel/drivers/net/veth.ko',
  ]);
});

test('are missed by name when the kernel has none such', () => {
  assert.throws(() => selectModules(DEPENDENCIES, ['kernel/net/sctp/']), 'no module kernel/net/sctp/');
});

test.run();
