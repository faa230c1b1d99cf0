/** Which servers, elements and addresses a change touches: what differs, and nothing else. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NftElement, NodeView } from '../../../core/backend.ts';
import { IPVS_DEVICE } from '../../../core/model/node-view.ts';
import { parseScheduler, SCHEDULER_ANNOTATION, WEIGHT_ANNOTATION } from '../../../plugins/ipvs/balance.ts';
import type { ElementEdits } from '../../../plugins/ipvs/edits.ts';
import { type ServerSpec, serverName } from '../../../plugins/ipvs/frontends.ts';
import { FIRST_MARK, INTERFACE } from '../../../plugins/ipvs/layout.ts';
import { createPlanner, type Plan, type Planner } from '../../../plugins/ipvs/plan.ts';
import { view } from '../model/samples.ts';
import { endpoint, endpoints, full, many, NODE, partial, remote, servicePort } from '../nftables/samples.ts';

const test = suite('ipvs plan');
const [NODE_IP, OTHER_IP] = ['192.168.50.10', '192.168.60.10'];
const VIP = '203.0.113.1';

function empty(lacks: readonly string[] = []): Planner {
  const lack = (name: string) => (lacks.includes(name) ? `no scheduler ${name}` : undefined);
  return createPlanner({ family: 'IPv4', comments: false, balance: { scheduler: parseScheduler('rr')!, lack } });
}

function planner(...args: Parameters<typeof full>): Planner {
  const made = empty();
  made.adopt(full(...args), () => undefined);
  return made;
}

function rows({ deletes, adds }: ElementEdits): string[] {
  const text = ({ key, keyEnd, data }: NftElement) =>
    `${key.join(' ')}${keyEnd ? `-${keyEnd.join(' ')}` : ''}${Array.isArray(data) ? ` > ${data.join(' ')}` : ''}`;
  return [
    ...[...deletes].flatMap(([set, list]) => list.map((element) => `-${set} ${element.key.join(' ')}`)),
    ...[...adds].flatMap(([set, list]) => list.map((element) => `+${set} ${text(element)}`)),
  ];
}

function reals(spec: ServerSpec | undefined): string {
  return spec === undefined ? 'none' : spec.reals.map(({ ip, weight }) => `${ip}=${weight}`).join(' ');
}

/** "10.96.0.10 tcp 80: none -> 10.244.1.11=1 10.244.1.12=1", of servers that differ. */
function servers({ servers: changes }: Plan): string[] {
  return changes
    .filter(({ before, after }) => JSON.stringify(before) !== JSON.stringify(after))
    .map(({ before, after }) => `${serverName((after ?? before)!.server)}: ${reals(before)} -> ${reals(after)}`)
    .sort();
}

function elements(plan: Plan): string[] {
  return [...rows(plan.early), ...rows(plan.late)];
}

function standing(made: Planner): string[] {
  return [...made.servers()].map((spec) => `${serverName(spec.server)}: ${reals(spec)}`).sort();
}

const withAddresses = (addresses: readonly string[], rest: Partial<NodeView> = {}) =>
  view({ addresses: ['127.0.0.1', ...addresses], ...rest });

test('a new service port is its servers, its elements and its addresses', () => {
  const made = planner([]);
  const plan = made.apply(
    partial([servicePort({ nodePort: 30080, externalIPs: [VIP, OTHER_IP], cluster: remote('1.0.0.1') })]),
  );
  assert.equal(
    servers(plan),
    [
      '10.96.0.10 tcp 80: none -> 1.0.0.1=1',
      `${NODE_IP} tcp 30080: none -> 1.0.0.1=1`,
      `${OTHER_IP} tcp 30080: none -> 1.0.0.1=1`,
      `${OTHER_IP} tcp 80: none -> 1.0.0.1=1`,
      `${VIP} tcp 80: none -> 1.0.0.1=1`,
    ].sort(),
  );
  assert.equal(
    elements(plan).sort(),
    [
      '+addresses 10.96.0.10',
      `+addresses ${VIP}`,
      '+nodeports tcp 30080 > 16',
      '+services 10.96.0.10 tcp 80 > 48',
      `+services ${OTHER_IP} tcp 80 > 16`,
      `+services ${VIP} tcp 80 > 16`,
    ].sort(),
  );
  assert.equal([...plan.bind].sort(), ['10.96.0.10', VIP], 'not what an interface has already');
});

test('an endpoint in the place of another is one server and no element, but for what may reach itself', () => {
  const made = planner([servicePort({ cluster: remote('1.0.0.1', '1.0.0.2') })]);
  const plan = made.apply(partial([servicePort({ cluster: remote('1.0.0.1', '1.0.0.3') })]));
  assert.equal(servers(plan), ['10.96.0.10 tcp 80: 1.0.0.1=1 1.0.0.2=1 -> 1.0.0.1=1 1.0.0.3=1']);
  assert.equal(elements(plan), []);
  const here = made.apply(partial([servicePort({ cluster: endpoints('1.0.0.3') })]));
  assert.equal(elements(here), ['+hairpin 1.0.0.3 1.0.0.3']);
});

test('an unchanged service port is nothing, given again or as a copy', () => {
  const port = servicePort({
    nodePort: 30080,
    externalPolicy: 'Local',
    local: endpoints('10.244.1.11'),
    externalIPs: [VIP],
  });
  const made = planner([port]);
  for (const change of [partial([port]), partial([{ ...port }]), full([{ ...port, cluster: [...port.cluster] }])]) {
    const plan = made.apply(change);
    assert.equal([servers(plan), elements(plan), plan.bind, plan.unbind, plan.changedChains], [[], [], [], [], []]);
  }
});

test('the same change is the same work among 10 service ports as among 10,000', () => {
  const work = [10, 10_000].map((count) => {
    const made = planner(many(count, { nodePort: 0 }));
    const [changed, gone] = [many(3)[1]!, many(3)[2]!];
    const plan = made.apply(partial([{ ...changed, cluster: remote('1.0.0.9') }], [gone.key]));
    return [plan.servers.length, servers(plan), elements(plan), plan.bind, plan.unbind, plan.changedChains];
  });
  assert.equal(work[0], work[1]);
  assert.is(work[0]![0], 2);
});

test('an address of the node that comes or goes is one server for each node port, and no other', () => {
  const made = planner([servicePort({ nodePort: 30080 }), ...many(3)], withAddresses([NODE_IP]));
  const came = made.apply(partial([], [], withAddresses([NODE_IP, OTHER_IP])));
  assert.equal(servers(came), [`${OTHER_IP} tcp 30080: none -> 10.244.1.11=1 10.244.1.12=1`]);
  assert.equal([rows(came.early), rows(came.late)], [[`+nodeport-ips ${OTHER_IP}`], []]);
  const gone = made.apply(partial([], [], withAddresses([OTHER_IP])));
  assert.equal(servers(gone), [`${NODE_IP} tcp 30080: 10.244.1.11=1 10.244.1.12=1 -> none`]);
  assert.equal([rows(gone.early), rows(gone.late)], [[], [`-nodeport-ips ${NODE_IP}`]]);
});

test('node ports have no servers at loopback and link-local addresses, but at those that were asked for', () => {
  const made = planner([servicePort({ nodePort: 30080 })], withAddresses([NODE_IP]));
  assert.equal(standing(made).filter((row) => row.includes('30080')).length, 1);
  const link = view({ addresses: ['::1', 'fe80::1', 'fd00::1'], nodePortAddresses: { match: 'all', loopback: true } });
  const six = createPlanner({
    family: 'IPv6',
    comments: false,
    balance: { scheduler: parseScheduler('rr')!, lack: () => undefined },
  });
  const port = servicePort({ clusterIP: 'fd00:10::1', nodePort: 30080, cluster: remote('fd00:1::1') });
  const at = () =>
    [...six.servers()].flatMap(({ server }) => ('ip' in server && server.port === 30080 ? [server.ip] : []));
  six.adopt(full([port], link, 'IPv6'), () => undefined);
  assert.equal(at(), ['fd00::1']);
  const asked: NodeView = { ...link, nodePortAddresses: { match: 'list', addresses: ['::1', 'fe80::1'] } };
  six.apply(partial([], [], asked, 'IPv6'));
  assert.equal(at(), ['fe80::1']);
});

test('an external IP that becomes the node’s own leaves the interface, its server stays; and the reverse', () => {
  const made = planner([servicePort({ externalIPs: [VIP] })], withAddresses([NODE_IP]));
  const own = made.apply(partial([], [], withAddresses([NODE_IP, VIP])));
  assert.equal([servers(own), own.bind, own.unbind], [[], [], [VIP]]);
  assert.equal(rows(own.late), [`-addresses ${VIP}`]);
  const back = made.apply(partial([], [], withAddresses([NODE_IP])));
  assert.equal([servers(back), back.bind, back.unbind], [[], [VIP], []]);
  assert.equal(rows(back.early), [`+addresses ${VIP}`]);
});

test('two Services with one external IP: the smaller key has it, the other when that goes; the address stays throughout', () => {
  const one = servicePort({ name: 'a', clusterIP: '10.96.0.1', externalIPs: [VIP], cluster: remote('1.0.0.1') });
  const two = servicePort({ name: 'b', clusterIP: '10.96.0.2', externalIPs: [VIP], cluster: remote('1.0.0.2') });
  const made = planner([two]);
  const at = (plan: Plan) => servers(plan).filter((row) => row.startsWith(VIP));
  const contested = made.apply(partial([one]));
  assert.equal([at(contested), contested.bind], [[`${VIP} tcp 80: 1.0.0.2=1 -> 1.0.0.1=1`], ['10.96.0.1']]);
  assert.equal(
    elements(contested).filter((row) => row.includes(VIP)),
    [],
  );
  const over = made.apply(partial([], [one.key]));
  assert.equal([at(over), over.unbind], [[`${VIP} tcp 80: 1.0.0.1=1 -> 1.0.0.2=1`], ['10.96.0.1']]);
});

test('an external IP takes the address from a node port and gives it back, other addresses keep theirs', () => {
  const ported = servicePort({ name: 'a', clusterIP: '10.96.0.1', nodePort: 30080, cluster: remote('1.0.0.1') });
  const external = servicePort({
    name: 'b',
    clusterIP: '10.96.0.2',
    port: 30080,
    externalIPs: [NODE_IP],
    cluster: remote('1.0.0.2'),
  });
  const made = planner([ported]);
  const at = (plan: Plan) => servers(plan).filter((row) => row.startsWith('192.'));
  const taken = made.apply(partial([external]));
  assert.equal(at(taken), [`${NODE_IP} tcp 30080: 1.0.0.1=1 -> 1.0.0.2=1`]);
  assert.ok(elements(taken).includes(`+services ${NODE_IP} tcp 30080 > 16`));
  const given = made.apply(partial([], [external.key]));
  assert.equal(at(given), [`${NODE_IP} tcp 30080: 1.0.0.2=1 -> 1.0.0.1=1`]);
  assert.ok(elements(given).includes(`-services ${NODE_IP} tcp 30080`));
});

test('an address that was the node’s and an external IP of the same port stays the Service’s when the node loses it', () => {
  const port = servicePort({ port: 30080, nodePort: 30080, externalIPs: [OTHER_IP], cluster: remote('1.0.0.1') });
  const made = planner([port], withAddresses([NODE_IP, OTHER_IP]));
  const plan = made.apply(partial([], [], withAddresses([NODE_IP])));
  assert.equal([servers(plan), plan.bind], [[], [OTHER_IP]]);
  assert.ok(standing(made).includes(`${OTHER_IP} tcp 30080: 1.0.0.1=1`));
});

test('policy Local: outside by the address, inside by a mark; without a difference there is no mark', () => {
  const port = servicePort({
    externalPolicy: 'Local',
    externalIPs: [VIP],
    nodePort: 30080,
    cluster: remote('1.0.0.1', '1.0.0.2'),
    local: endpoints('1.0.0.2'),
  });
  const made = planner([]);
  const plan = made.apply(partial([port]));
  assert.ok(servers(plan).includes(`mark ${FIRST_MARK}: none -> 1.0.0.1=1 1.0.0.2=1`));
  assert.ok(servers(plan).includes(`${VIP} tcp 80: none -> 1.0.0.2=1`));
  assert.equal(rows(plan.late), [`+marks ${VIP} tcp 80 > ${FIRST_MARK}`, `+nodeport-marks tcp 30080 > ${FIRST_MARK}`]);
  assert.ok(rows(plan.early).includes(`+mark-numbers ${FIRST_MARK}`));
  assert.ok(![...planner([{ ...port, cluster: [] }]).servers()].some(({ server }) => 'mark' in server));
  const same = made.apply(partial([{ ...port, externalPolicy: 'Cluster' }]));
  assert.ok(servers(same).includes(`mark ${FIRST_MARK}: 1.0.0.1=1 1.0.0.2=1 -> none`));
  assert.equal(
    rows(same.early)
      .filter((row) => row.includes('mark'))
      .sort(),
    [`-marks ${VIP} tcp 80`, '-nodeport-marks tcp 30080'],
  );
  assert.ok(rows(same.late).includes(`-mark-numbers ${FIRST_MARK}`));
});

test('with session affinity the virtual server of the mark hashes the client, since it could not translate ports', () => {
  const made = planner([servicePort({ affinitySeconds: 600, externalPolicy: 'Local', externalIPs: [VIP], local: [] })]);
  const [marked] = [...made.servers()].filter(({ server }) => 'mark' in server);
  assert.equal(
    [marked!.server.scheduler, marked!.server.persistenceSeconds, marked!.server.hashFallback],
    ['mh', 0, true],
  );
  const plain = [...made.servers()].filter(({ server }) => !('mark' in server));
  assert.ok(plain.every(({ server }) => server.persistenceSeconds === 600));
});

test('another zone of the node weighs endpoints anew, of Services that name weights only', () => {
  const cluster = [endpoint('1.0.0.1', { zone: 'zone-b' })];
  const weighted = servicePort({
    name: 'a',
    clusterIP: '10.96.0.1',
    cluster,
    annotations: { [WEIGHT_ANNOTATION]: 'same-zone=5' },
  });
  const made = planner([weighted, servicePort({ cluster })]);
  const plan = made.apply(partial([], [], { ...NODE, zone: 'zone-b' }));
  assert.equal(servers(plan), ['10.96.0.1 tcp 80: 1.0.0.1=1 -> 1.0.0.1=5']);
});

test('a Service that was refused its scheduler gets it with the first full sync that finds it', () => {
  const lacks = ['sed'];
  const made = empty(lacks);
  const port = servicePort({ annotations: { [SCHEDULER_ANNOTATION]: 'sed' } });
  assert.is(made.adopt(full([port]), () => undefined).length, 1);
  const schedulers = () => [...made.servers()].map(({ server }) => server.scheduler);
  assert.is(made.apply(full([port])).complaints.length, 1, 'said with each full sync');
  lacks.length = 0;
  assert.equal(made.apply(partial([], [], view())).complaints, []);
  assert.equal(schedulers(), ['rr']);
  const plan = made.apply(full([port]));
  assert.equal([plan.complaints, plan.servers.length, schedulers()], [[], 1, ['sed']]);
});

test('the health check port of several service ports is one element, and goes with the last of them', () => {
  const [one, two] = ['a', 'b'].map((name) =>
    servicePort({ name, clusterIP: `10.96.0.${name === 'a' ? 1 : 2}`, healthCheckNodePort: 31999 }),
  );
  const made = planner([]);
  const health = (plan: Plan) => elements(plan).filter((row) => row.includes('health'));
  assert.equal(health(made.apply(partial([one!]))), ['+health-ports 31999']);
  assert.equal(health(made.apply(partial([two!]))), []);
  assert.equal(health(made.apply(partial([], [one!.key]))), []);
  assert.equal(health(made.apply(partial([{ ...two!, healthCheckNodePort: 0 }]))), ['-health-ports 31999']);
});

test('the chains change with the node, and with what is used for the first or the last time', () => {
  const made = planner([servicePort({ cluster: remote('1.0.0.1') })]);
  const names = (plan: Plan) => plan.changedChains.map(({ name }) => name).sort();
  const other = servicePort({ name: 'b', clusterIP: '10.96.0.2', nodePort: 30080, cluster: remote('1.0.0.1') });
  assert.equal(names(made.apply(partial([other]))), ['filter-input', 'masquerading', 'services']);
  assert.equal(names(made.apply(partial([{ ...other, name: 'c', key: 'x', nodePort: 30081 }]))), []);
  assert.equal(names(made.apply(partial([], [], { ...NODE, masqueradeAll: true }))), ['to-cluster-ip']);
});

test('totals count what there is', () => {
  const made = planner([servicePort({ nodePort: 30080, externalIPs: [VIP] }), ...many(2)]);
  assert.equal(made.totals(), { virtual_servers: 6, real_servers: 12, addresses: 4 });
  made.apply(full([]));
  assert.equal(made.totals(), { virtual_servers: 0, real_servers: 0, addresses: 0 });
});

test('the interface is the one whose addresses the core does not take for the node’s', () => {
  assert.is(INTERFACE, IPVS_DEVICE);
});

test.run();
