/** What a host can do is found by trying, and nothing of the trials is left. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { parseOptions } from '../../../plugins/nftables/options.ts';
import { probe } from '../../../plugins/nftables/probe.ts';
import { failure } from '../shared/failure.ts';
import { refusingKernel } from '../shared/refusing-kernel.ts';
import { fakeHost } from './stage.ts';

const test = suite('nftables probe');
const OPTIONS = parseOptions({});

test('a kernel that takes everything serves both families, owns its tables, and keeps nothing of the trial', async () => {
  const kernel = createFakeNftables();
  const found = await probe(fakeHost(kernel).host, OPTIONS);
  assert.equal(found, { families: ['IPv4', 'IPv6'], owned: true, comments: true });
  assert.is(kernel.state.tables.size, 0);
});

test('options switch ownership and comments off', async () => {
  const found = await probe(fakeHost(createFakeNftables()).host, parseOptions({ ownership: 'off', comments: 'off' }));
  assert.equal([found.owned, found.comments], [false, false]);
});

test('where tables cannot be owned it is done without, unless ownership was asked for', async () => {
  const old = () => createFakeNftables(undefined, { ownership: false });
  assert.is((await probe(fakeHost(old()).host, OPTIONS)).owned, false);
  const error = await failure(probe(fakeHost(old()).host, parseOptions({ ownership: 'on' })));
  assert.is(error.code, 'KP_BACKEND_OPTION');
  assert.match(error.message, /ownership=on/);
});

test('without IPv6 on the host there is IPv4 only', async () => {
  for (const value of ['1', undefined]) {
    const parameters = { 'net/ipv6/conf/all/disable_ipv6': value } as Record<string, string>;
    const { host } = fakeHost(createFakeNftables(), parameters);
    assert.equal((await probe(host, OPTIONS)).families, ['IPv4']);
  }
});

test('a family that lacks a feature is left out with a warning that names the option of the kernel', async () => {
  const { host, log } = fakeHost(
    refusingKernel((text, family) => (family === 'ip6' && text.includes('"fib"') ? 'ENOENT' : undefined)),
  );
  assert.equal((await probe(host, OPTIONS)).families, ['IPv4']);
  const [warning] = log.at('warn');
  assert.match(String(warning?.values.reason), /IPv6 needs CONFIG_NFT_FIB_IPV6 \(/);
  assert.not.match(String(warning?.values.reason), /CONFIG_NFT_CT|CONFIG_NFT_MASQ/);
});

test('with nothing to serve the error names what is missing and the remedy', async () => {
  const { host } = fakeHost(refusingKernel((text) => (text.includes('"masquerade"') ? 'ENOENT' : undefined)));
  const error = await failure(probe(host, OPTIONS));
  assert.match(error.message, /CONFIG_NFT_MASQ/);
  assert.match(error.message, /--backend/);
  assert.match(error.code ?? '', /^KP_BACKEND_/);
});

test('without the right to do it that is what the error says, not that features are missing', async () => {
  const { host } = fakeHost(refusingKernel(() => 'EPERM'));
  const error = await failure(probe(host, OPTIONS));
  assert.is(error.code, 'KP_BACKEND_FAILED');
  assert.match(error.message, /EPERM/);
  assert.not.match(error.message, /CONFIG_/);
});

test.run();
