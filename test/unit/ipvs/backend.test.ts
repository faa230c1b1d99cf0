/** The backend on kernels in memory: in which order, with what report, for whom. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { SCHEDULER_ANNOTATION, WEIGHT_ANNOTATION } from '../../../plugins/ipvs/balance.ts';
import { cleanup } from '../../../plugins/ipvs/cleanup.ts';
import { endpoints, full, many, NODE, NODE6, partial, remote, servicePort } from '../nftables/samples.ts';
import { failure } from '../shared/failure.ts';
import { newState, type Stage, stage } from './stage.ts';

const test = suite('ipvs backend');
const VIP = '203.0.113.1';
const NODE_IP = '192.168.50.10';
const WEB = servicePort({
  name: 'lb',
  clusterIP: '10.96.0.20',
  affinitySeconds: 600,
  nodePort: 30080,
  loadBalancerVIPs: [VIP],
  externalPolicy: 'Local',
  local: endpoints('10.244.1.11'),
});
const PLAIN = servicePort({ cluster: remote('1.0.0.1') });

/** What was done since, repetitions left out; parameters too. */
function doneSince({ done }: Stage, from = 0): string[] {
  const steps = done.slice(from).filter((what) => !what.includes('='));
  return steps.filter((what, index) => what !== steps[index - 1]);
}

test('first the table, then the servers, then the addresses', async () => {
  const one = stage();
  const { operations, bytes, totals } = await one.sync(full([PLAIN]));
  assert.equal(doneSince(one), ['commit ip', 'ipvs add virtual server', 'ipvs add real server', 'bind 10.96.0.10']);
  assert.equal(one.servers(), '-A -t 10.96.0.10:80 -s rr\n-a -t 10.96.0.10:80 -r 1.0.0.1:8080 -m -w 1\n');
  assert.equal(totals, { virtual_servers: 1, real_servers: 1, addresses: 1 });
  assert.ok(operations > 20 && bytes > 500);
});

test('an endpoint that comes is one request to IPVS, and no transaction', async () => {
  const one = stage();
  await one.sync(full([PLAIN]));
  const from = one.done.length;
  const report = await one.sync(partial([servicePort({ cluster: remote('1.0.0.1', '1.0.0.2') })]));
  assert.equal(doneSince(one, from), ['ipvs add real server']);
  assert.is(report.operations, 1);
});

test('one change is the same operations and bytes among 10 Services as among 3,000, and lists nothing', async () => {
  const reports = [];
  for (const count of [10, 3_000]) {
    let calls: string[] = [];
    const one = stage({ onCall: (what) => void calls.push(what) });
    await one.sync(full(many(count)));
    calls = [];
    reports.push(await one.sync(partial([{ ...many(3)[2]!, cluster: remote('10.244.1.11', '10.244.1.99') }])));
    assert.equal(
      calls.filter((what) => what.startsWith('list')),
      [],
    );
  }
  const [few, lots] = reports;
  assert.equal([few!.operations, few!.bytes], [lots!.operations, lots!.bytes]);
});

test('a Service at an address of the node is on record before its server, and off it after', async () => {
  const one = stage();
  await one.sync(full([PLAIN]));
  const from = one.done.length;
  await one.sync(partial([{ ...PLAIN, nodePort: 30080 }]));
  assert.equal(doneSince(one, from), [
    'commit ip',
    'ipvs add virtual server',
    'ipvs add real server',
    'ipvs add virtual server',
    'ipvs add real server',
  ]);
  const then = one.done.length;
  await one.sync(partial([PLAIN]));
  assert.equal(doneSince(one, then).slice(1), ['ipvs delete virtual server', 'commit ip']);
  assert.equal(one.elements('nodeports'), []);
});

test('an address goes before the record of it, and comes after', async () => {
  const one = stage();
  await one.sync(full([PLAIN, { ...PLAIN, key: 'b', clusterIP: '10.96.0.11' }]));
  const from = one.done.length;
  await one.sync(partial([{ ...PLAIN, key: 'b', clusterIP: '10.96.0.12' }]));
  assert.equal(doneSince(one, from), [
    'commit ip',
    'ipvs delete virtual server',
    'ipvs add virtual server',
    'ipvs add real server',
    'unbind 10.96.0.11',
    'commit ip',
    'bind 10.96.0.12',
  ]);
  assert.equal(one.addresses(), ['10.96.0.10', '10.96.0.12']);
});

test('an unchanged model writes nothing, nor does a restart', async () => {
  const state = newState();
  const one = stage({}, state);
  await one.sync(full([WEB, PLAIN]));
  await one.sync(full([], NODE6, 'IPv6'));
  assert.is((await one.sync(full([WEB, PLAIN]))).operations, 0);
  one.nftables.close();
  const two = stage({}, state);
  assert.is((await two.sync(full([WEB, PLAIN]))).operations, 0);
  // Beside a claim to own the table.
  assert.equal(doneSince(two), ['commit ip']);
});

test('a step that is refused fails the sync and holds up nobody else, not in the syncs that follow either', async () => {
  const bad = servicePort({ name: 'bad', clusterIP: '10.96.0.66', cluster: remote('224.0.0.1') });
  const one = stage();
  await one.sync(full([PLAIN]));
  for (const change of [partial([bad]), full([PLAIN, bad]), full([PLAIN, bad, WEB])]) {
    const error = await failure(one.sync(change));
    assert.is(error.code, 'KP_IPVS_REFUSED');
    assert.match(error.message, /ipvs add real server .*224\.0\.0\.1.*EINVAL/);
  }
  assert.ok(one.addresses().includes(VIP));
  assert.match(one.servers(), `-a -t ${NODE_IP}:30080 -r 10.244.1.11:8080`);
  assert.is((await one.backend.check('IPv4')).intact, false);
  await one.sync(full([PLAIN, WEB]));
  assert.not.match(one.servers(), '10.96.0.66');
  assert.equal(await one.backend.check('IPv4'), { intact: true });
});

test('both families share the interface, and each has its own addresses on it', async () => {
  const six = servicePort({ clusterIP: 'fd00:10:96::a', cluster: remote('fd00:244:2::1'), nodePort: 30080 });
  const one = stage();
  await Promise.all([one.sync(full([WEB])), one.sync(full([six], NODE6, 'IPv6'))]);
  assert.equal(one.addresses('IPv6'), ['fd00:10:96::a']);
  assert.match(one.servers('IPv6'), '-A -t [fd00:50::10]:30080 -s rr');
  await one.sync(full([]));
  assert.equal([one.addresses(), one.servers()], [[], '']);
  assert.equal(one.addresses('IPv6'), ['fd00:10:96::a']);
  assert.equal(await one.backend.check('IPv6'), { intact: true });
});

test('kernel parameters are set, those for ARP where they are asked for, and timeouts where they are not 0', async () => {
  const plain = stage();
  await plain.sync(full([]));
  for (const parameter of ['conntrack', 'conn_reuse_mode', 'expire_nodest_conn', 'expire_quiescent_template']) {
    assert.ok(plain.done.includes(`net/ipv4/vs/${parameter}=1`), parameter);
  }
  assert.not.ok(plain.done.some((what) => what.includes('arp_') || what.includes('route_localnet')));
  assert.equal(plain.state.ipvs.timeouts, { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 });
  const strict = stage({ options: { strictARP: true, tcpTimeoutSeconds: 60, udpTimeoutSeconds: 30 } });
  await strict.sync(full([], { ...NODE, tcpBeLiberal: true }));
  assert.ok(
    strict.done.includes('net/ipv4/conf/all/arp_ignore=1') && strict.done.includes('net/ipv4/conf/all/arp_announce=2'),
  );
  assert.ok(strict.done.includes('net/netfilter/nf_conntrack_tcp_be_liberal=1'));
  assert.equal(strict.state.ipvs.timeouts, { tcpSeconds: 60, tcpFinSeconds: 120, udpSeconds: 30 });
});

test('a scheduler that this kernel lacks is an event on the Service, which gets the default until it is there', async () => {
  const schedulers = ['rr'];
  const one = stage({ schedulers });
  const port = servicePort({ annotations: { [SCHEDULER_ANNOTATION]: 'sed' } });
  await one.sync(full([port]));
  assert.match(
    one.warnings.join(),
    /^default\/web InvalidIPVSScheduler: .*ipvs-scheduler: "sed": .*CONFIG_IP_VS_SED.*; rr is used instead/,
  );
  assert.match(one.servers(), '-A -t 10.96.0.10:80 -s rr');
  schedulers.push('sed');
  const given = { ...port, nodePort: 30080 };
  await one.sync(partial([given]));
  assert.match(one.servers(), '-A -t 10.96.0.10:80 -s rr', 'nobody tries again for each change');
  await one.sync(full([given]));
  assert.match(one.servers(), `-A -t ${NODE_IP}:30080 -s sed`);
  assert.is(one.warnings.length, 2);
});

test('bad weights are an event, also of a sync that fails', async () => {
  const one = stage();
  one.ipvs.failNext({ code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' });
  await failure(one.sync(full([servicePort({ annotations: { [WEIGHT_ANNOTATION]: 'heavy' } })])));
  assert.is(one.warnings.length, 1);
  assert.match(one.warnings[0]!, /^default\/web InvalidIPVSWeight: .*"heavy"/);
});

test('where the kernel has no weighted scheduler, weights are told to have no effect instead of failing each sync', async () => {
  const one = stage({ schedulers: ['rr'] });
  await one.sync(full([servicePort({ annotations: { [WEIGHT_ANNOTATION]: '5' } })]));
  assert.match(one.servers(), '-s rr');
  assert.match(one.warnings.join(), /InvalidIPVSWeight: weights have no effect with the scheduler rr/);
});

test('without Maglev and source hashing a mark with affinity still has a scheduler of this kernel', async () => {
  const one = stage({ schedulers: ['rr', 'sh'] });
  await one.sync(full([WEB]));
  assert.match(one.servers(), /-A -f 1263534081 -s sh -b sh-fallback\n/);
  const bare = stage({ schedulers: ['rr'] });
  await bare.sync(full([WEB]));
  assert.match(bare.servers(), /-A -f 1263534081 -s rr\n/);
});

test('a family that this host does not have is refused', async () => {
  const one = stage({ families: ['IPv4'] });
  assert.match((await failure(one.sync(full([], NODE6, 'IPv6')))).message, /does not serve IPv6/);
});

test('after a cleanup a full sync makes everything again', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  const before = one.servers();
  await one.backend.cleanup();
  assert.is(one.servers(), '');
  assert.is((await one.backend.check('IPv4')).intact, false);
  await one.sync(full([WEB]));
  assert.is(one.servers(), before);
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  await cleanup(one.host, { excluded: () => false });
});

test.run();
