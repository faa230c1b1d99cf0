/** Whose is what stands there: others' servers and addresses, upstream's leftovers, excluded addresses, cleaning up. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { VirtualServer } from '../../../core/backend.ts';
import { createFakeIPVS } from '../../../core/netlink/ipvs-fake.ts';
import { createFakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { cleanup } from '../../../plugins/ipvs/cleanup.ts';
import { FIRST_MARK } from '../../../plugins/ipvs/layout.ts';
import { endpoints, full, NODE, NODE6, partial, remote, servicePort } from '../nftables/samples.ts';
import { newState, type StageState, stage } from './stage.ts';

const test = suite('ipvs beside others');
const VIP = '203.0.113.1';
const NODE_IP = '192.168.50.10';
const SET = 'KUBE-CLUSTER-IP';
const EXCLUDED = { options: { excludeCIDRs: '203.0.113.0/24' } };
const WEB = servicePort({ cluster: remote('1.0.0.1'), nodePort: 30080, externalIPs: [VIP] });
const LOCAL = servicePort({
  name: 'local',
  clusterIP: '10.96.0.20',
  externalIPs: ['203.0.113.9'],
  externalPolicy: 'Local',
  cluster: remote('1.0.0.1'),
  local: endpoints('1.0.0.2'),
});

/** "203.0.113.1:80", "mark 5": somebody's, with one real server. */
async function stand({ ipvs }: StageState, ...names: readonly string[]): Promise<void> {
  const kernel = createFakeIPVS(ipvs);
  for (const name of names) {
    const [ip = '', port] = name.split(':');
    const key = name.startsWith('mark ')
      ? ({ mark: Number(name.slice(5)), family: 'IPv4' } as const)
      : ({ protocol: 'TCP', ip, port: Number(port) } as const);
    const server: VirtualServer = { ...key, scheduler: 'wlc', persistenceSeconds: 0 };
    const { refused } = await kernel.apply([
      { do: 'add virtual server', server },
      { do: 'add real server', server, real: { ip: '9.9.9.9', port: 80, weight: 1 } },
    ]);
    assert.equal(refused, []);
  }
}

function names({ ipvs }: StageState): string[] {
  return [...ipvs.servers.values()]
    .map(({ server }) => ('ip' in server ? `${server.ip}:${server.port}` : `mark ${server.mark}`))
    .sort();
}

async function bind({ links }: StageState, ...add: readonly string[]): Promise<void> {
  const link = links.dummyLink('kube-ipvs0');
  link.ensure();
  await link.change({ add });
}

test('servers of others stay through every sync and a restart: at foreign addresses, at ours node ports aside, of other marks', async () => {
  const state = newState();
  const theirs = ['198.51.100.1:80', `${NODE_IP}:443`, `${NODE_IP}:31000`, `mark ${FIRST_MARK - 1}`, 'mark 7'];
  await stand(state, ...theirs);
  await bind(state, '198.51.100.77');
  const one = stage({}, state);
  await one.sync(full([WEB]));
  await one.sync(partial([], [WEB.key]));
  one.nftables.close();
  const two = stage({}, state);
  await two.sync(full([WEB]));
  await two.sync(full([]));
  assert.equal(names(state), [...theirs].sort());
  await two.backend.cleanup();
  assert.equal(names(state), [...theirs].sort());
});

test('an address that somebody put on the interface after us stays; without a record all of them are ours', async () => {
  const state = newState();
  const one = stage({}, state);
  await one.sync(full([WEB]));
  await bind(state, '198.51.100.77');
  await one.sync(full([]));
  assert.equal(one.addresses(), ['198.51.100.77']);
  one.nftables.close();
  state.tables.tables.clear();
  const two = stage({}, state);
  await two.sync(full([]));
  assert.equal(two.addresses(), []);
});

test('a mark in our range that nobody uses any more is deleted, whatever the table says', async () => {
  const state = newState();
  await stand(state, `mark ${FIRST_MARK + 77}`, `mark ${FIRST_MARK}`);
  const one = stage({}, state);
  await one.sync(full([LOCAL]));
  assert.equal(
    names(state).filter((name) => name.startsWith('mark')),
    [`mark ${FIRST_MARK}`],
  );
  assert.match(one.servers(), `-a -f ${FIRST_MARK} -r 1.0.0.1:8080 -m -w 1`);
});

test('what a Service wants is taken over as it stands, connections included', async () => {
  const state = newState();
  await stand(state, '10.96.0.10:80', `${NODE_IP}:30080`);
  const one = stage({}, state);
  await one.sync(full([WEB]));
  assert.ok(one.done.includes('ipvs set virtual server'));
  assert.not.ok(one.done.includes('ipvs delete virtual server'));
  assert.match(one.servers(), '-a -t 10.96.0.10:80 -r 9.9.9.9:80 -m -w 0');
  await one.clock.advance(5_000);
  assert.not.match(one.servers(), '9.9.9.9');
});

test('leftovers of an upstream kube-proxy in IPVS mode are ours: its addresses, its servers there, its node ports', async () => {
  const state = newState();
  await bind(state, '10.96.0.10', '10.96.0.99');
  await stand(
    state,
    '10.96.0.99:443',
    '10.96.0.99:53',
    '10.96.0.10:80',
    `${NODE_IP}:31000`,
    `${NODE_IP}:443`,
    '198.51.100.1:31000',
  );
  const one = stage({ ipsets: ['other', SET] }, state);
  await one.sync(full([WEB]));
  assert.equal(one.addresses(), ['10.96.0.10', VIP]);
  const found = names(state);
  assert.not.ok(
    found.some((name) => name.startsWith('10.96.0.99') || name === `${NODE_IP}:31000`),
    found.join(),
  );
  assert.ok(found.includes(`${NODE_IP}:443`) && found.includes('198.51.100.1:31000'), found.join());
});

test('without its IP set nobody knows whose a node port was, so it stays', async () => {
  const state = newState();
  await stand(state, `${NODE_IP}:31000`);
  await stage({ ipsets: ['other'] }, state).sync(full([WEB]));
  assert.ok(names(state).includes(`${NODE_IP}:31000`));
});

test('with a table of ours the IP set of an upstream kube-proxy says nothing', async () => {
  const state = newState();
  const one = stage({}, state);
  await one.sync(full([WEB]));
  one.nftables.close();
  await stand(state, `${NODE_IP}:31000`);
  await stage({ ipsets: [SET] }, state).sync(full([WEB]));
  assert.ok(names(state).includes(`${NODE_IP}:31000`));
});

test('a table that was never finished is no record: addresses of the interface and what stands there are ours', async () => {
  const state = newState();
  await bind(state, '10.96.0.99');
  await stand(state, '10.96.0.99:443');
  const one = stage({}, state);
  await one.sync(full([WEB]));
  one.nftables.close();
  // As when the process ended while it was being filled.
  await bind(state, '10.96.0.98');
  await stand(state, '10.96.0.98:443');
  const kernel = createFakeNftables(state.tables);
  const table = kernel.table('ip', 'kube-ipvs')!;
  const of = (name: string) => table.sets.find((set) => set.name === name)!;
  await kernel.commit({ family: 'ip', table: 'kube-ipvs', operations: [{ do: 'add table', owned: true }] });
  await kernel.commit({
    family: 'ip',
    table: 'kube-ipvs',
    operations: ['dispatch', 'addresses'].map((name) => ({ do: 'flush set', set: of(name) })),
  });
  kernel.close();
  const two = stage({}, state);
  await two.sync(full([WEB]));
  assert.equal(two.addresses(), ['10.96.0.10', VIP]);
  assert.not.ok(names(state).includes('10.96.0.98:443'));
});

test('at excluded addresses a server of somebody else stays as it is even where a Service wants one, also after restarts', async () => {
  const state = newState();
  await stand(state, `${VIP}:80`);
  const before = createFakeIPVS(state.ipvs).dump();
  let one = stage(EXCLUDED, state);
  const theirs = () =>
    one
      .servers()
      .split('\n')
      .filter((line) => line.includes(VIP))
      .join('\n');
  for (const restart of [true, false, true]) {
    await one.sync(full([WEB]));
    await one.sync(full([{ ...WEB, cluster: remote('1.0.0.1', '1.0.0.3') }]));
    await one.sync(partial([WEB]));
    assert.is(`${theirs()}\n`, before);
    assert.match(
      one.log
        .at('warn')
        .map(({ values }) => String(values.server))
        .join(),
      `${VIP} tcp 80`,
    );
    assert.ok(one.elements('services').includes(`${VIP} tcp 80 → 0`), 'its connections pass');
    assert.equal(await one.backend.check('IPv4'), { intact: true });
    if (!restart) continue;
    one.nftables.close();
    one = stage(EXCLUDED, state);
  }
  await one.sync(full([]));
  assert.is(`${theirs()}\n`, before);
  await one.backend.cleanup();
  assert.is(one.servers(), before);
});

test('when that server goes, or the exclusion does, the Service has its own', async () => {
  for (const next of ['server', 'exclusion'] as const) {
    const state = newState();
    await stand(state, `${VIP}:80`);
    const one = stage(EXCLUDED, state);
    await one.sync(full([WEB]));
    if (next === 'server') {
      await one.ipvs.apply([{ do: 'delete virtual server', server: { protocol: 'TCP', ip: VIP, port: 80 } }]);
    } else one.nftables.close();
    const two = next === 'server' ? one : stage({}, state);
    await two.sync(full([WEB]));
    assert.match(two.servers(), `-a -t ${VIP}:80 -r 1.0.0.1:8080 -m -w 1`, next);
    assert.ok(two.elements('services').includes(`${VIP} tcp 80 → 16`), next);
    assert.equal(await two.backend.check('IPv4'), { intact: true });
  }
});

test('at excluded addresses servers of our own are made, changed and deleted, also after a restart', async () => {
  const state = newState();
  const one = stage(EXCLUDED, state);
  await one.sync(full([WEB]));
  assert.match(one.servers(), `-a -t ${VIP}:80 -r 1.0.0.1:8080 -m -w 1`);
  one.nftables.close();
  const two = stage(EXCLUDED, state);
  await two.sync(full([{ ...WEB, cluster: remote('1.0.0.3') }]));
  assert.match(two.servers(), `-a -t ${VIP}:80 -r 1.0.0.3:8080 -m -w 1`);
  await two.sync(full([{ ...WEB, externalIPs: [] }]));
  assert.not.match(two.servers(), VIP);
});

test('a server that came meanwhile to an excluded address is looked for before a Service gets one there', async () => {
  const state = newState();
  const one = stage(EXCLUDED, state);
  await one.sync(full([]));
  await stand(state, `${VIP}:80`);
  await one.sync(partial([WEB]));
  await one.sync(partial([{ ...WEB, cluster: remote('1.0.0.3') }]));
  await one.sync(full([WEB]));
  assert.not.match(one.servers(), `-a -t ${VIP}:80 -r 1.0.0`);
  assert.match(one.servers(), `-a -t ${VIP}:80 -r 9.9.9.9:80 -m -w 1`);
});

test('cleanup deletes all that is ours, of both families and without a sync before, and nothing else', async () => {
  const state = newState();
  await stand(state, '198.51.100.1:80', 'mark 7');
  const one = stage({}, state);
  const six = servicePort({ clusterIP: 'fd00:10:96::a', cluster: remote('fd00:244:2::1'), nodePort: 30080 });
  await one.sync(full([WEB, LOCAL]));
  await one.sync(full([six], NODE6, 'IPv6'));
  one.nftables.close();
  const table = { family: 'ip', table: 'other' } as const;
  await createFakeNftables(state.tables).commit({ ...table, operations: [{ do: 'add table', owned: false }] });
  const two = stage({}, state);
  await cleanup(two.host, { excluded: () => false });
  assert.equal(names(state), ['198.51.100.1:80', 'mark 7']);
  assert.is(state.links.addresses('kube-ipvs0'), undefined);
  assert.equal([...state.tables.tables.keys()], ['ip other']);
  await cleanup(two.host, { excluded: () => false });
});

test('cleanup without a table takes what is at addresses of the interface, but for excluded ones', async () => {
  const state = newState();
  await bind(state, '10.96.0.10', VIP);
  await stand(state, '10.96.0.10:80', `${VIP}:80`, '198.51.100.1:80');
  await cleanup(stage({}, state).host, { excluded: (ip) => ip === VIP });
  assert.equal(names(state), ['198.51.100.1:80', `${VIP}:80`]);
});

test('cleanup where IPVS is not loaded does not load it, and removes the rest', async () => {
  const state = newState();
  const one = stage({}, state);
  await one.sync(full([WEB]));
  one.nftables.close();
  state.ipvs.servers.clear();
  const two = stage({ parameters: { 'net/ipv4/vs/conntrack': undefined } }, state);
  let opened = 0;
  const netlink = {
    ...two.host.netlink,
    ipvs: () => {
      opened++;
      return two.host.netlink.ipvs();
    },
  };
  await cleanup({ ...two.host, netlink }, { excluded: () => false });
  assert.is(opened, 0);
  assert.is(state.links.addresses('kube-ipvs0'), undefined);
  assert.is(state.tables.tables.size, 0);
});

test('what cannot be removed fails the cleanup by name, and keeps the record', async () => {
  const state = newState();
  const one = stage({}, state);
  await one.sync(full([WEB]));
  one.ipvs.failNext({ code: 'KP_NETLINK_REFUSED', errno: 'EPERM', text: 'operation not permitted' });
  try {
    await one.backend.cleanup();
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /not everything could be removed: ipvs apply: EPERM/);
  }
  assert.is(state.tables.tables.size, 1);
  await one.backend.cleanup();
  assert.equal([names(state).length, state.tables.tables.size], [0, 0]);
});

test('a name that belongs to another kind of interface fails the sync by name', async () => {
  const one = stage();
  one.links.occupy('kube-ipvs0', 'bridge');
  await one.sync(full([WEB], NODE)).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /kube-ipvs0: an interface of this name exists, of kind bridge/),
  );
});

test.run();
