/** What a host can do is found by trying; what it lacks is named with the kernel's option and the way out. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Host, IPVS } from '../../../core/backend.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import plugin from '../../../plugins/ipvs/index.ts';
import { parseOptions } from '../../../plugins/ipvs/options.ts';
import { features, probe } from '../../../plugins/ipvs/probe.ts';
import { failure } from '../shared/failure.ts';
import { type Refuses, refusing } from '../shared/refusing-kernel.ts';
import { newState, type StageOptions, type StageState, stage } from './stage.ts';

const test = suite('ipvs probe');
const OPTIONS = parseOptions({});
const EPERM = { code: 'KP_NETLINK_REFUSED', errno: 'EPERM', text: 'operation not permitted' } as const;

function hostWith(settings: StageOptions = {}, state: StageState = newState()): Host {
  return stage(settings, state).host;
}

function withNetlink(host: Host, netlink: Partial<Host['netlink']>): Host {
  return { ...host, netlink: { ...host.netlink, ...netlink } };
}

function without(host: Host, refuses: Refuses): Host {
  return withNetlink(host, { nftables: () => refusing(host.netlink.nftables(), refuses) });
}

test('a kernel that has everything serves both families, and keeps nothing of the trial', async () => {
  const state = newState();
  const found = await probe(hostWith({}, state), OPTIONS);
  assert.equal([found.families, found.owned], [['IPv4', 'IPv6'], true]);
  assert.equal([state.ipvs.servers.size, state.tables.tables.size], [0, 0]);
  assert.is(state.links.addresses('kube-ipvs0'), undefined);
  assert.is(state.links.addresses('kube-ipvs-probe'), undefined);
});

test('the plugin makes a backend of what it found, and refuses options that are wrong before it tries anything', async () => {
  const backend = await plugin.create(hostWith({ families: ['IPv4'] }), {});
  assert.equal(backend.families, ['IPv4']);
  await backend.close();
  assert.is(
    (await failure(plugin.create(hostWith({ schedulers: [] }), { graceSeconds: 'long' }))).code,
    'KP_BACKEND_OPTION',
  );
});

test('the default scheduler that is missing is named with its option, and the way out', async () => {
  const error = await failure(probe(hostWith({ schedulers: ['rr'] }), parseOptions({ scheduler: 'mh' })));
  assert.is(error.code, 'KP_BACKEND_UNSUPPORTED');
  assert.match(error.message, /the ipvs backend cannot work here: IPv4 needs .*no scheduler mh.*CONFIG_IP_VS_MH/);
  assert.match(error.message, 'choose another backend (--backend)');
});

test('without IPVS for IPv6 there is IPv4, and a warning that names the option', async () => {
  const one = stage({ families: ['IPv4'] });
  const found = await probe(one.host, OPTIONS);
  assert.equal(found.families, ['IPv4']);
  assert.match(String(one.log.at('warn')[0]?.values.reason), /IPv6 needs .*CONFIG_IP_VS_IPV6/);
});

test('with IPv6 switched off nothing of it is tried', async () => {
  for (const value of ['1', undefined]) {
    const one = stage({ parameters: { 'net/ipv6/conf/all/disable_ipv6': value } });
    assert.equal((await probe(one.host, OPTIONS)).families, ['IPv4']);
    assert.equal(one.log.at('warn'), []);
  }
});

test('an IPVS that does not translate through conntrack is named with its option', async () => {
  const error = await failure(probe(hostWith({ parameters: { 'net/ipv4/vs/conntrack': undefined } }), OPTIONS));
  assert.is(error.code, 'KP_BACKEND_UNSUPPORTED');
  assert.match(error.message, /CONFIG_IP_VS_NFCT .*choose another backend/);
});

for (const [what, code] of [
  ['no IPVS', 'KP_NETLINK_UNSUPPORTED'],
  ['no generic netlink', 'KP_NETLINK_UNAVAILABLE'],
] as const) {
  test(`a kernel with ${what} is told in the words of what found it`, async () => {
    const ipvs = (): IPVS => {
      throw new NetlinkError({ code, operation: 'ipvs open', text: `this kernel has ${what}`, remedy: 'CONFIG_X' });
    };
    const error = await failure(probe(withNetlink(hostWith(), { ipvs }), OPTIONS));
    assert.is(error.code, 'KP_BACKEND_UNSUPPORTED');
    assert.match(error.message, `this kernel has ${what}: CONFIG_X; choose another backend`);
  });
}

test('without dummy interfaces that is named, unless the interface is there', async () => {
  const state = newState();
  state.links.failNext({ code: 'KP_NETLINK_UNSUPPORTED', text: 'no dummy interfaces', remedy: 'CONFIG_DUMMY' });
  const error = await failure(probe(hostWith({}, state), OPTIONS));
  assert.is(error.code, 'KP_BACKEND_UNSUPPORTED');
  assert.match(error.message, 'CONFIG_DUMMY');
  const there = stage();
  there.links.dummyLink('kube-ipvs0').ensure();
  const dummyLink: Host['netlink']['dummyLink'] = (name) => ({
    ...there.links.dummyLink(name),
    ensure() {
      throw new NetlinkError({ code: 'KP_NETLINK_UNSUPPORTED', text: 'no dummy interfaces' });
    },
  });
  assert.is((await probe(withNetlink(there.host, { dummyLink }), OPTIONS)).owned, true);
});

for (const family of ['IPv4', 'IPv6'] as const) {
  for (const { option, statements } of features(family)) {
    test(`${family}: a kernel that lacks ${option} is told so, and of nothing else`, async () => {
      const unknown = JSON.stringify(statements[statements.length - 1]);
      const lacks: Refuses = (text, of) =>
        of === (family === 'IPv4' ? 'ip' : 'ip6') && text.includes(unknown) ? 'ENOENT' : undefined;
      const host = without(hostWith({ families: [family] }), lacks);
      const error = await failure(probe(host, OPTIONS));
      assert.is(error.code, 'KP_BACKEND_UNSUPPORTED');
      assert.match(error.message, `${family} needs ${option} (`);
      assert.is(error.message.split('(netlink: ').length, 2, error.message);
    });
  }
}

test('without the right to try, that is what is said, wherever it shows; so is an answer that did not come', async () => {
  for (const fault of [EPERM, { code: 'KP_NETLINK_TIMEOUT', text: 'no answer' } as const]) {
    const state = newState();
    state.links.failNext(fault);
    const probing: IPVS['probe'] = () => Promise.reject(new NetlinkError(fault));
    const one = stage();
    const hosts = [
      hostWith({}, state),
      withNetlink(one.host, { ipvs: () => ({ ...one.host.netlink.ipvs(), probe: probing }) }),
    ];
    for (const host of hosts) {
      const error = await failure(probe(host, OPTIONS));
      assert.is(error.code, 'KP_BACKEND_FAILED');
      assert.match(error.message, fault.text);
      assert.not.match(error.message, 'cannot work here');
    }
  }
  const forbidden: Refuses = (text) => (text.includes('add table') ? 'EPERM' : undefined);
  const error = await failure(probe(without(hostWith(), forbidden), OPTIONS));
  assert.is(error.code, 'KP_BACKEND_FAILED');
});

test('ownership of the table that was asked for and is not to be had is an option that is wrong', async () => {
  const one = stage();
  const nftables = () => ({ ...one.host.netlink.nftables(), supportsOwnership: async () => false });
  const host = withNetlink(one.host, { nftables });
  assert.is((await failure(probe(host, parseOptions({ ownership: 'on' })))).code, 'KP_BACKEND_OPTION');
  assert.is((await probe(host, OPTIONS)).owned, false);
});

test.run();
