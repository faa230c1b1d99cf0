/** Which way in this process may take is found by trying; without rights there is another one. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeNftables, type FakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { cleanup } from '../../../plugins/userspace/backend.ts';
import { TABLE } from '../../../plugins/userspace/layout.ts';
import { parseOptions } from '../../../plugins/userspace/options.ts';
import { probe } from '../../../plugins/userspace/probe.ts';
import { full, NODE6 } from '../nftables/samples.ts';
import { fakeHost } from '../nftables/stage.ts';
import { failure } from '../shared/failure.ts';
import { refusal, refusingKernel } from '../shared/refusing-kernel.ts';
import { stage } from './stage.ts';

const test = suite('userspace probe');

test('with rights it redirects, both families, and nothing of the trial is left', async () => {
  const kernel = createFakeNftables();
  const found = await probe(fakeHost(kernel).host, parseOptions({}));
  assert.equal(found, { families: ['IPv4', 'IPv6'], way: 'redirect', owned: true });
  assert.is(kernel.state.tables.size, 0);
});

test('without rights it serves directly, and says why', async () => {
  const { host, log } = fakeHost(refusingKernel(() => 'EPERM'));
  assert.equal(await probe(host, parseOptions({})), { families: ['IPv4', 'IPv6'], way: 'direct', owned: false });
  const [line] = log.at('info');
  assert.match(line!.message, /cannot be redirected here/);
  assert.match(String(line!.values.reason), /EPERM/);
});

test('where redirecting was asked for and cannot be, that is an error with the remedy', async () => {
  const { host } = fakeHost(refusingKernel((text) => (text.includes('dnat') ? 'ENOENT' : undefined)));
  const error = await failure(probe(host, parseOptions({ way: 'redirect' })));
  assert.is(error.code, 'KP_BACKEND_UNSUPPORTED');
  assert.match(error.message, /CONFIG_NFT_NAT.*way=direct/);
  assert.not.match(error.message, /CONFIG_NFT_FIB/);
});

test('one family that cannot be redirected is left out, and told', async () => {
  const { host, log } = fakeHost(
    refusingKernel((text, family) => (family === 'ip6' && text.includes('fib') ? 'ENOENT' : undefined)),
  );
  assert.equal((await probe(host, parseOptions({}))).families, ['IPv4']);
  assert.match(String(log.at('warn')[0]!.values.reason), /IPv6 needs CONFIG_NFT_FIB_IPV6/);
});

test('a kernel that cannot be asked about flows is named, for it could bring in no UDP client', async () => {
  const { host } = fakeHost(refusingKernel(() => undefined));
  const deaf = {
    ...host,
    sockets: {
      ...host.sockets,
      originalUDPDestination() {
        throw new Error('no nf_conntrack_netlink');
      },
    },
  };
  const error = await failure(probe(deaf, parseOptions({ way: 'redirect' })));
  assert.match(error.message, /CONFIG_NF_CT_NETLINK \(no nf_conntrack_netlink\).*way=direct/);
});

test('what was chosen is not tried: way=direct touches no table', async () => {
  let tried = 0;
  const { host } = fakeHost(
    refusingKernel(() => {
      tried++;
      return undefined;
    }),
  );
  assert.is((await probe(host, parseOptions({ way: 'direct' }))).way, 'direct');
  assert.is(tried, 0);
});

test('without IPv6 on the host there is IPv4 only, either way', async () => {
  for (const way of ['auto', 'direct']) {
    const { host } = fakeHost(createFakeNftables(), { 'net/ipv6/conf/all/disable_ipv6': '1' });
    assert.equal((await probe(host, parseOptions({ way }))).families, ['IPv4']);
  }
});

test('cleanup removes both tables, of another process too, and nobody else’s', async () => {
  const one = stage();
  await one.sync(full([]));
  await one.sync(full([], NODE6, 'IPv6'));
  await one.kernel.commit({ family: 'ip', table: 'foreign', operations: [{ do: 'add table', owned: false }] });
  one.kernel.close();
  const kernel = createFakeNftables(one.kernel.state);
  assert.ok(kernel.table('ip', TABLE) && kernel.table('ip6', TABLE));
  await cleanup(fakeHost(kernel).host);
  assert.equal([kernel.table('ip', TABLE), kernel.table('ip6', TABLE)], [undefined, undefined]);
  assert.ok(kernel.table('ip', 'foreign'));
  await cleanup(fakeHost(kernel).host);
});

test('cleanup without rights has nothing to remove; what could not be removed for another reason is told', async () => {
  const failing = (errno: string): FakeNftables => ({
    ...createFakeNftables(),
    tables: () => Promise.reject(refusal(errno)),
  });
  await cleanup(fakeHost(failing('EPERM')).host);
  const error = await failure(cleanup(fakeHost(failing('EIO')).host));
  assert.is(error.code, 'KP_CLEANUP');
  assert.match(error.message, /EIO.*EIO/);
});

test.run();
