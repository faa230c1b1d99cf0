import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, PacketCounters, SelfChecking } from '../../../core/backend.ts';
import { createBackend } from '../../../plugins/iptables/backend.ts';
import { parseOptions } from '../../../plugins/iptables/options.ts';
import { createTool } from '../../../plugins/iptables/tool.ts';
import { type FakeHost, fakeHost, type Program } from './fake-host.ts';
import { endpoint, full, node, partial, servicePort } from './samples.ts';

const test = suite('iptables backend');
const NOWHERE = node({ nodePortAddresses: { match: 'list', addresses: [] } });
const LOOPBACK = node({ nodePortAddresses: { match: 'list', addresses: ['127.0.0.1'] } });

test('with the nft variant, an unchanged generation of nf_tables spares every look at the rules', async () => {
  const events: string[] = [];
  let generation = 7;
  let vandalised = false;
  const program: Program = (line, stdin) => {
    if (line.endsWith('--version')) return { stdout: 'iptables v1.8.9 (nf_tables)' };
    if (line.startsWith('iptables-restore')) events.push(stdin);
    return line.startsWith('iptables-save') ? { stdout: vandalised ? '' : savedAfter(events) } : {};
  };
  const base = fakeHost(program);
  const host = { ...base, netlink: { ...base.netlink, nftablesGeneration: () => generation } };
  const tools = new Map([['IPv4', createTool(host, 'IPv4', 'default')] as const]);
  const support = { tools, affinity: 'ipset', hairpin: 'bpf', counters: false } as const;
  const backend = createBackend(host, parseOptions({}), support, async () => {});
  await backend.sync(full([servicePort()], NOWHERE));
  const looks = async (intact: boolean): Promise<number> => {
    const before = base.runs.length;
    assert.is((await backend.check('IPv4')).intact, intact);
    return base.runs.slice(before).filter((line) => line.startsWith('iptables-save')).length;
  };
  assert.is(await looks(true), 1);
  assert.is(await looks(true), 0);
  generation++;
  vandalised = true;
  assert.is(await looks(false), 1);
  // What was found missing is looked at again, although nobody commits meanwhile.
  assert.is(await looks(false), 1);
  vandalised = false;
  assert.is(await looks(true), 1);
});

interface Stage {
  readonly host: FakeHost;
  readonly backend: Backend & SelfChecking;
  /** What happened, in order: restore input and sysctl writes. */
  readonly events: string[];
}

/** A kernel that says `saved` when it is asked for everything, and swallows what it is given. */
function stage(saved: string | (() => string) = '', list: Program = () => ({})): Stage {
  const events: string[] = [];
  const program: Program = (line, stdin) => {
    if (line.startsWith('iptables-save')) return { stdout: typeof saved === 'string' ? saved : saved() };
    if (line.startsWith('iptables-restore')) events.push(stdin);
    return / -S /.test(line) ? list(line, stdin) : {};
  };
  const sysctl = { read: () => '0', ensure: (name: string, value: string) => void events.push(`${name}=${value}`) };
  const host = fakeHost(program, { sysctl });
  const tools = new Map([['IPv4', createTool(host, 'IPv4', 'default')] as const]);
  const support = { tools, affinity: 'ipset', hairpin: 'bpf', counters: false } as const;
  return { host, events, backend: createBackend(host, parseOptions({}), support, async () => {}) };
}

test('loopback addresses are routed only once the rule that guards them is in place, in a partial sync too', async () => {
  const { backend, events } = stage();
  await backend.sync(full([], NOWHERE));
  assert.is(events.length, 1);
  assert.not.match(events[0]!, /KUBE-FIREWALL/);
  await backend.sync(partial([], [], LOOPBACK));
  assert.is(events.length, 3);
  assert.match(events[1]!, /-I KUBE-FIREWALL ! -s 127\.0\.0\.0\/8 -d 127\.0\.0\.0\/8 .* -j DROP/);
  assert.is(events[2], 'net/ipv4/conf/all/route_localnet=1');
  // From then on a partial sync is one again: without a look at the kernel.
  await backend.sync(partial([servicePort()], [], LOOPBACK));
  assert.match(events[3]!, /KUBE-SVC-/);
  assert.not.match(events[3]!, /KUBE-FIREWALL|PREROUTING/);
});

test("sets of upstream's IPVS mode go once its interface has gone, by which the ipvs backend cleans up", async () => {
  const { host } = stage();
  const left = new Set(['KUBE-CLUSTER-IP', 'KUBE-6-CLUSTER-IP', 'KUBE-SEP-OLD', 'FOREIGN']);
  let bound: readonly string[] | undefined = [];
  const ipset = { ...host.netlink.ipset(), names: () => [...left], destroy: (name: string) => void left.delete(name) };
  const link = { ...host.netlink.dummyLink('kube-ipvs0'), addresses: () => bound };
  const netlink = { ...host.netlink, ipset: () => ipset, dummyLink: () => link };
  const tools = new Map([['IPv4', createTool(host, 'IPv4', 'default')] as const]);
  const support = { tools, affinity: 'ipset', hairpin: 'bpf', counters: false } as const;
  const backend = createBackend({ ...host, netlink }, parseOptions({}), support, async () => {});
  await backend.sync(full([servicePort()], NOWHERE));
  assert.equal([...left], ['KUBE-CLUSTER-IP', 'KUBE-6-CLUSTER-IP', 'FOREIGN']);
  bound = undefined;
  await backend.sync(partial([servicePort()], [], NOWHERE));
  assert.equal([...left], ['KUBE-6-CLUSTER-IP', 'FOREIGN'], 'those of the other family are for its own sync');
});

/** The kernel's answer to `iptables -S CHAIN`, from what the backend was made to write. */
function kernelOf(inputs: readonly string[]): Program {
  return (line) => {
    const [, table = '', chain = ''] = / -t (\S+) -S (\S+)$/.exec(line) ?? [];
    const section =
      inputs
        .join('')
        .split('*')
        .find((part) => part.startsWith(`${table}\n`)) ?? '';
    const lines = section.split('\n').map((rule) => rule.replace(/^-I /, '-A '));
    if (!lines.some((rule) => rule.startsWith(`:${chain} `) || rule.startsWith(`-A ${chain} `))) return { status: 1 };
    return { stdout: lines.filter((rule) => rule.startsWith(`-A ${chain} `)).join('\n') };
  };
}

/** What iptables-save prints after these inputs of a first sync: insertions end up in reverse order, on top. */
function savedAfter(inputs: readonly string[]): string {
  const lines = inputs.join('').split('\n');
  const starts = lines.flatMap((line, index) => (line.startsWith('*') ? [index] : []));
  const sections = starts.map((start, index) => lines.slice(start, starts[index + 1]));
  const inserted = (line: string) => line.startsWith('-I ');
  return sections
    .flatMap((section) => [
      ...section.filter((line) => /^[*:]/.test(line)),
      ...section
        .filter(inserted)
        .reverse()
        .map((line) => line.replace('-I ', '-A ')),
      ...section.filter((line) => !/^[*:]/.test(line) && !inserted(line)),
    ])
    .join('\n');
}

test('a node without Services and without an address for node ports is intact', async () => {
  for (const [view, ports] of [
    [NOWHERE, []],
    [NOWHERE, [servicePort()]],
    [LOOPBACK, []],
  ] as const) {
    const events: string[] = [];
    const { backend, events: written } = stage(() => savedAfter(events));
    await backend.sync(full(ports, view));
    events.push(...written.filter((event) => event.startsWith('*')));
    assert.equal(await backend.check('IPv4'), { intact: true });
  }
});

test('whatever chain or jump of ours is changed or gone is noticed and named', async () => {
  for (const [vandalism, named] of [
    [(text: string) => text.replace(/^-A KUBE-FIREWALL .*$/m, ''), /KUBE-FIREWALL/],
    [
      (text: string) => text.replace(/^-A KUBE-SVC-\S+ .*DNAT.*$/m, ''),
      /chain KUBE-SVC-\S+ of the nat table was changed/,
    ],
    [
      (text: string) => text.replace(/^:KUBE-FORWARD .*$\n/m, '').replace(/^-A KUBE-FORWARD .*\n/gm, ''),
      /KUBE-FORWARD .*is gone/,
    ],
    [(text: string) => `${text}\n*filter\n-A KUBE-FORWARD -j DROP\nCOMMIT\n`, /KUBE-FORWARD .*changed/],
    [(text: string) => text.replace(/^-A PREROUTING .*$/m, ''), /PREROUTING .*KUBE-SERVICES/],
  ] as const) {
    const events: string[] = [];
    const { backend, events: written } = stage(() => (events.length === 0 ? '' : vandalism(savedAfter(events))));
    await backend.sync(full([servicePort()], LOOPBACK));
    events.push(...written.filter((event) => event.startsWith('*')));
    const state = await backend.check('IPv4');
    assert.match(state.intact ? 'intact' : state.reason, named);
  }
});

test('an iptables that prints rules in other words causes one full sync, not one after every look', async () => {
  let written: readonly string[] = [];
  let vandalise = (text: string): string => text;
  const otherWords = (text: string) => text.replaceAll('-p tcp', '-p 6').replaceAll(' -m comment', ' --match comment');
  const { backend, events, host } = stage(() => vandalise(otherWords(savedAfter(written.slice(0, 1)))));
  const changes = full([servicePort()], NOWHERE);
  await backend.sync(changes);
  written = events;
  assert.is((await backend.check('IPv4')).intact, false);
  await backend.sync(changes);
  assert.is((await backend.check('IPv4')).intact, true);
  assert.is(host.warnings.length, 1);
  // Where rules lead is still compared.
  vandalise = (text) => text.replace(/--to-destination \S+/, '--to-destination 192.0.2.1:1');
  assert.is((await backend.check('IPv4')).intact, false);
  vandalise = (text) => text.replace(/^-A PREROUTING .*$/m, '');
  assert.is((await backend.check('IPv4')).intact, false);
});

test('where a table cannot be read, jumps that are there are not put in again', async () => {
  const unreadable = "# Table `nat' is incompatible, use 'nft' tool.\n";
  const events: string[] = [];
  const {
    backend,
    events: written,
    host,
  } = stage(unreadable, (line, stdin) => {
    const answer = kernelOf(events)(line, stdin);
    // Built-in chains always exist.
    return answer?.status === 1 && / -S [A-Z]+$/.test(line) ? {} : answer;
  });
  await backend.sync(full([servicePort()], NOWHERE));
  assert.match(written[0]!, /-I PREROUTING .*-j KUBE-SERVICES/);
  events.push(...written);
  await backend.sync(full([servicePort()], NOWHERE));
  const [nat = ''] = /\*nat[^*]*/.exec(written[1]!) ?? [];
  assert.match(nat, /-A KUBE-SVC-/);
  assert.not.match(nat, /PREROUTING|POSTROUTING/);
  assert.equal(host.warnings.length, 1, 'told once');
});

test('a chain of the host that hides a rule from iptables stops the sync with the remedy', async () => {
  const { backend, events } = stage("# Table `nat' is incompatible, use 'nft' tool.\n", () => ({ status: 1 }));
  try {
    await backend.sync(full([servicePort()]));
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /chain PREROUTING of the nat table cannot be read.*nft list ruleset/);
  }
  assert.equal(events, []);
});

/** As `stage` on a kernel with counters: name → packets. */
function countingStage() {
  const events: string[] = [];
  const packets = new Map<string, number>();
  const host = fakeHost((line, stdin) => {
    if (line.startsWith('iptables-restore')) events.push(stdin);
    return {};
  });
  const counters: PacketCounters = {
    ensure(name) {
      events.push(`counter ${name}`);
      packets.set(name, packets.get(name) ?? 0);
    },
    read: (name) => (packets.has(name) ? { packets: packets.get(name)!, bytes: 0 } : undefined),
    delete() {},
  };
  const counting = { ...host, netlink: { ...host.netlink, nfacct: () => counters } };
  const tools = new Map([['IPv4', createTool(counting, 'IPv4', 'default')] as const]);
  const support = { tools, affinity: 'ipset', hairpin: 'bpf', counters: true } as const;
  const backend = createBackend(counting, parseOptions({}), support, async () => {});
  return { events, packets, backend, shown: host.shown };
}

test('counters are made before the rules that count into them', async () => {
  const { backend, events } = countingStage();
  await backend.sync(full([servicePort({ nodePort: 30080 })], LOOPBACK));
  assert.equal(events.slice(0, 2).sort(), [
    'counter ct_state_invalid_dropped_pkts',
    'counter localhost_nps_accepted_pkts',
  ]);
  assert.match(events[2]!, /--nfacct-name ct_state_invalid_dropped_pkts -j DROP/);
  assert.match(events[2]!, /--nfacct-name localhost_nps_accepted_pkts -j KUBE-EXT-/);
});

test('metrics show what was counted, nothing before there is a counter, and go with the backend', async () => {
  const { backend, packets, shown } = countingStage();
  assert.equal(
    shown.map(({ name, type }) => [name, type]),
    [
      ['iptables_ct_state_invalid_dropped_packets_total', 'counter'],
      ['iptables_localhost_nodeports_accepted_packets_total', 'counter'],
    ],
  );
  const values = () => Promise.all(shown.map((metric) => metric.read()));
  assert.equal(await values(), [[], []]);
  await backend.sync(full([], LOOPBACK));
  packets.set('ct_state_invalid_dropped_pkts', 5);
  packets.set('localhost_nps_accepted_pkts', 7);
  assert.equal(await values(), [[{ value: 5 }], [{ value: 7 }]]);
  await backend.close();
  assert.equal(shown, []);
});

test('a host without counters has no rule that counts, and no metric', async () => {
  const { backend, events, host } = stage();
  await backend.sync(full([servicePort({ nodePort: 30080 })], LOOPBACK));
  assert.not.match(events.join(), /nfacct/);
  assert.equal(host.shown, []);
});

test('a report tells how many rules there are in each table, and how many the last restore wrote', async () => {
  let input = '';
  const { backend, events } = stage(() => input);
  const first = await backend.sync(full([servicePort()], NOWHERE));
  const count = (text: string) => text.split('\n').filter((line) => /^-[AI] /.test(line)).length;
  const [, nat = '', filter = ''] = /\*nat\n([^*]*)\*filter\n([^*]*)/.exec(events[0]!) ?? [];
  assert.ok(count(nat) > 0 && count(filter) > 0);
  assert.is(first.totals?.nat_rules_last, count(nat));
  assert.is(first.totals?.filter_rules_last, count(filter));
  const another = servicePort({ name: 'other', clusterIP: '10.96.0.11', cluster: [endpoint('10.244.1.13')] });
  const second = await backend.sync(partial([another], [], NOWHERE));
  assert.is(second.totals?.nat_rules_last, count(events[1]!));
  assert.is(second.totals?.filter_rules_last, 0);
  assert.ok((second.totals?.nat_rules ?? 0) > (first.totals?.nat_rules ?? 0));
  input = savedAfter(events.slice(0, 1));
  const { nat_rules, filter_rules, ...last } = (await backend.sync(full([servicePort()], NOWHERE))).totals ?? {};
  assert.equal(last, { nat_rules_last: 0, filter_rules_last: 0 });
  assert.ok(nat_rules! > 0 && filter_rules! > 0);
});

test.run();
