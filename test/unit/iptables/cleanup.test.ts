import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPSets, PacketCounters } from '../../../core/backend.ts';
import { cleanup } from '../../../plugins/iptables/cleanup.ts';
import { fakeHost } from './fake-host.ts';

const test = suite('iptables cleanup');

/** A host with the legacy variant, whose counters are these; `busy` says how often each is still in use. */
function hostWith(counters: Set<string>, { busy = 0, supported = true } = {}) {
  const events: string[] = [];
  const refused = new Map<string, number>();
  const nfacct: PacketCounters = {
    ensure() {},
    read() {
      if (!supported) throw new Error('this kernel has no packet counters');
      return undefined;
    },
    delete(name) {
      const times = refused.get(name) ?? 0;
      if (counters.has(name) && times < busy) {
        refused.set(name, times + 1);
        throw new Error(`nfacct delete ${name}: EBUSY (a rule refers to it)`);
      }
      if (counters.delete(name)) events.push(`delete ${name}`);
    },
  };
  const plain = fakeHost((line, stdin) => {
    if (!line.startsWith('iptables-legacy')) return undefined;
    if (line.startsWith('iptables-legacy-restore')) events.push(`restore ${stdin.includes('-X KUBE-FORWARD')}`);
    return line === 'iptables-legacy-save' ? { stdout: '*filter\n:KUBE-FORWARD - [0:0]\nCOMMIT\n' } : {};
  });
  return { host: { ...plain, netlink: { ...plain.netlink, nfacct: () => nfacct } }, events };
}

test('counters go after the rules, once the kernel has let go of them; those of others stay', async () => {
  const counters = new Set(['ct_state_invalid_dropped_pkts', 'localhost_nps_accepted_pkts', 'foreign']);
  const { host, events } = hostWith(counters, { busy: 3 });
  await cleanup(host);
  assert.equal([...counters], ['foreign']);
  assert.equal(events, ['restore true', 'delete ct_state_invalid_dropped_pkts', 'delete localhost_nps_accepted_pkts']);
});

test('a counter that stays in use is a fault that names it, and keeps no other', async () => {
  const counters = new Set(['ct_state_invalid_dropped_pkts']);
  const { host } = hostWith(counters, { busy: Number.POSITIVE_INFINITY });
  try {
    await cleanup(host);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'KP_CLEANUP');
    assert.match((error as Error).message, /ct_state_invalid_dropped_pkts: EBUSY/);
  }
});

test("IP sets of upstream's IPVS mode go after the rules, exactly those; affinity sets of ours, too", async () => {
  const sets = ['KUBE-CLUSTER-IP', 'KUBE-6-NODE-PORT-LOCAL-SCTP-HAS', 'KUBE-SEP-A', 'KUBE-6-SEP-A'];
  const foreign = [
    'KUBE-CLUSTER-IPS',
    'KUBE-6-NODE-PORT-LOCAL-SCTP-HASH',
    'KUBE-SRC-A',
    'KUBE-CLUSTER',
    'kube-cluster-ip',
  ];
  const { host, events } = hostWith(new Set());
  const left = new Set([...foreign, ...sets]);
  const ipset: IPSets = {
    ...host.netlink.ipset(),
    names: () => [...left],
    destroy(name) {
      if (left.delete(name)) events.push(`destroy ${name}`);
    },
  };
  await cleanup({ ...host, netlink: { ...host.netlink, ipset: () => ipset } });
  assert.equal([...left], foreign);
  assert.equal(events, ['restore true', ...sets.map((name) => `destroy ${name}`)]);
});

test('a kernel without counters has none to clean up', async () => {
  const { host, events } = hostWith(new Set(), { supported: false });
  await cleanup(host);
  assert.equal(events, ['restore true']);
});

test.run();
