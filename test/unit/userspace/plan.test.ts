/** What a change alters: elements of the table, and what the engines are to know. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../../core/backend.ts';
import { createPlanner, type Listeners, type Plan, type Planner } from '../../../plugins/userspace/plan.ts';
import { PROXY_PROTOCOL_ANNOTATION } from '../../../plugins/userspace/services.ts';
import { endpoints, full, many, NODE, partial, remote, servicePort } from '../nftables/samples.ts';

const test = suite('userspace plan');
const VIP = '203.0.113.1';
const LISTENERS: Listeners = {
  ip: '192.168.50.10',
  ports: { 'inside tcp': 1001, 'inside udp': 1002, 'outside tcp': 1003, 'outside udp': 1004 },
};

function planner(family: IPFamily = 'IPv4', proxyProtocol = false): Planner {
  return createPlanner({ family, comments: true, proxyProtocol });
}

/** "services 10.96.0.10 tcp 80 : 0", sorted. */
function lines(elements: Plan['adds']): string[] {
  const found = [...elements].flatMap(([set, list]) =>
    list.map(({ key, keyEnd, data }) => {
      const value = data === undefined ? '' : ` : ${'verdict' in data ? data.verdict : data.join(' ')}`;
      return `${set} ${key.join(' ')}${keyEnd === undefined ? '' : `-${keyEnd.join(' ')}`}${value}`;
    }),
  );
  return found.sort();
}

function engineLines({ engine }: Plan): string[] {
  const { upsert, set, remove, delete: gone } = engine;
  return [
    ...upsert.map(({ key }) => `+${key}`),
    ...remove.map((key) => `-${key}`),
    ...set.map(({ ip, port, protocol, kind, service }) => `+${protocol} ${ip}:${port} ${kind} ${service}`),
    ...gone.map(({ ip, port, protocol }) => `-${protocol} ${ip}:${port}`),
  ];
}

const WEB = servicePort({ nodePort: 30080, externalIPs: [VIP], cluster: remote('1.0.0.1') });
const KEY = `IPv4 ${WEB.key}`;

test('a service port is elements where it is reached, and told to the engines', () => {
  const one = planner();
  const plan = one.apply(full([WEB]), undefined);
  assert.equal(
    lines(plan.adds).filter((line) => /^(services|nodeports|cluster-ips)/.test(line)),
    [
      'cluster-ips 10.96.0.10',
      'nodeports tcp 30080 : 0',
      'services 10.96.0.10 tcp 80 : 0',
      `services ${VIP} tcp 80 : 0`,
    ],
  );
  assert.equal(engineLines(plan), [
    `+${KEY}`,
    `+TCP 10.96.0.10:80 clusterIP ${KEY}`,
    `+TCP ${VIP}:80 external ${KEY}`,
    `+TCP :30080 external ${KEY}`,
  ]);
  assert.equal(plan.engine.upsert[0]!.cluster, [{ ip: '1.0.0.1', port: 8080 }]);
  assert.equal(one.totals(), { services: 1, frontends: 3 });
});

test('an endpoint that comes or goes is told to the engines alone', () => {
  const one = planner();
  one.apply(full([WEB]), undefined);
  const plan = one.apply(partial([{ ...WEB, cluster: remote('1.0.0.1', '1.0.0.2') }]), undefined);
  assert.equal([lines(plan.adds), lines(plan.deletes), plan.changedChains], [[], [], []]);
  assert.equal(engineLines(plan), [`+${KEY}`]);
});

test('the last endpoint that goes makes the table refuse, and engines are told the empty list', () => {
  const one = planner();
  one.apply(full([WEB]), undefined);
  const plan = one.apply(partial([{ ...WEB, cluster: [], local: [], hasEndpoints: false }]), undefined);
  assert.equal(lines(plan.deletes), [
    'nodeports tcp 30080 : 0',
    'services 10.96.0.10 tcp 80 : 0',
    `services ${VIP} tcp 80 : 0`,
  ]);
  assert.is(lines(plan.adds).length, 3);
  assert.ok(lines(plan.adds).every((line) => !line.endsWith(': 0')));
  assert.equal(plan.engine.upsert[0]!.cluster, []);
});

test('what goes is forgotten by the engines after the table, and only once', () => {
  const one = planner();
  one.apply(full([WEB]), undefined);
  const plan = one.apply(partial([], [WEB.key, 'default/none/TCP']), undefined);
  assert.equal(engineLines(plan), [`-${KEY}`, '-TCP 10.96.0.10:80', `-TCP ${VIP}:80`, '-TCP :30080']);
  assert.is(lines(plan.deletes).length, 4);
  assert.equal(engineLines(one.apply(partial([], [WEB.key]), undefined)), []);
  assert.equal(one.totals(), { services: 0, frontends: 0 });
});

test('a full change drops what it does not name, and says nothing of what is as it was', () => {
  const one = planner();
  const [first, second] = many(2) as [typeof WEB, typeof WEB];
  one.apply(full([first, second]), undefined);
  assert.equal(
    engineLines(one.apply(full([second]), undefined)).filter((line) => line.startsWith('+')),
    [],
  );
  assert.equal(
    [...one.snapshot().upsert].map(({ key }) => key),
    [`IPv4 ${second.key}`],
  );
});

test('an address that two claim is the stronger one’s; the other one has it when that goes', () => {
  const one = planner();
  const other = servicePort({ name: 'aa', clusterIP: '10.96.0.11', loadBalancerVIPs: [VIP] });
  one.apply(full([WEB]), undefined);
  const plan = one.apply(partial([other]), undefined);
  assert.ok(engineLines(plan).includes(`+TCP ${VIP}:80 loadBalancerVIP IPv4 ${other.key}`));
  assert.equal(lines(plan.deletes), [`services ${VIP} tcp 80 : 0`], 'its comment names another Service');
  assert.equal(
    one
      .snapshot()
      .set.filter(({ ip }) => ip === VIP)
      .map(({ service }) => service),
    [`IPv4 ${other.key}`],
  );
  const back = one.apply(partial([], [other.key]), undefined);
  assert.ok(engineLines(back).includes(`+TCP ${VIP}:80 external ${KEY}`));
  assert.not.ok(engineLines(back).includes(`-TCP ${VIP}:80`));
});

test('source ranges are ranges of the table, for load balancer addresses only', () => {
  const guarded = servicePort({ loadBalancerVIPs: [VIP], sourceRanges: ['198.18.0.0/24', '198.18.0.0/25'] });
  const plan = planner().apply(full([guarded]), undefined);
  assert.equal(
    lines(plan.adds).filter((line) => line.startsWith('source-ranges')),
    [`source-ranges ${VIP} tcp 80 198.18.0.0-${VIP} tcp 80 198.18.0.255`],
  );
  assert.equal(plan.engine.upsert[0]!.sourceRanges, guarded.sourceRanges);
});

test('listeners are elements; others take their place', () => {
  const one = planner();
  const plan = one.apply(full([]), LISTENERS);
  assert.equal(
    lines(plan.adds).filter((line) => line.includes('listeners')),
    [
      'inside-listeners tcp : 192.168.50.10 1001',
      'inside-listeners udp : 192.168.50.10 1002',
      'outside-listeners tcp : 192.168.50.10 1003',
      'outside-listeners udp : 192.168.50.10 1004',
    ],
  );
  const moved = one.apply(partial([]), { ...LISTENERS, ip: '192.168.60.10' });
  assert.is(lines(moved.deletes).length, 4);
  assert.equal(
    lines(moved.adds).map((line) => line.split(' ')[3]),
    new Array(4).fill('192.168.60.10'),
  );
  assert.equal(lines(one.apply(partial([]), undefined).deletes).length, 4);
});

test('a change of the node alters its elements and the chains that ask for it, and no engine', () => {
  const one = planner();
  one.apply(full([WEB]), undefined);
  const next = { ...NODE, localDetector: { kind: 'interface', name: 'cni0' }, serviceCIDRs: ['10.96.0.0/12'] } as const;
  const plan = one.apply(partial([], [], next), undefined);
  assert.equal(lines(plan.adds), ['service-cidrs 10.96.0.0-10.111.255.255']);
  assert.ok(plan.changedChains.some(({ name }) => name === 'bring-in'));
  assert.ok(plan.changedChains.some(({ name }) => name === 'services'));
  assert.equal(engineLines(plan), []);
  assert.equal(one.apply(partial([], [], next), undefined).changedChains, []);
});

test('SCTP is refused and complained of, and no engine hears of it', () => {
  const sctp = servicePort({ protocol: 'SCTP', portName: '' });
  const plan = planner().apply(full([sctp]), undefined);
  assert.equal(engineLines(plan), []);
  assert.equal(
    plan.complaints.map(({ reason }) => reason),
    ['UnsupportedProtocol'],
  );
  const [line = ''] = lines(plan.adds).filter((text) => text.startsWith('services'));
  assert.not.match(line, / : 0$/);
});

test('the PROXY protocol is the Service’s choice, else the node’s, and for TCP only', () => {
  const asking = (value: string) => servicePort({ annotations: { [PROXY_PROTOCOL_ANNOTATION]: value } });
  const chosen = (one: Planner, port: typeof WEB) => one.apply(full([port]), undefined).engine.upsert[0]!.proxyProtocol;
  assert.equal([chosen(planner(), WEB), chosen(planner('IPv4', true), WEB)], [false, true]);
  assert.equal([chosen(planner(), asking('v2')), chosen(planner('IPv4', true), asking('off'))], [true, false]);
  assert.is(chosen(planner('IPv4', true), servicePort({ protocol: 'UDP' })), false);
  const plan = planner('IPv4', true).apply(full([asking('v1')]), undefined);
  assert.equal([plan.complaints[0]?.reason, plan.engine.upsert[0]!.proxyProtocol], ['InvalidProxyProtocol', true]);
});

test('one change is as much among 10 Services as among 5,000', () => {
  const sizes = [10, 5_000].map((count) => {
    const one = planner();
    one.apply(full(many(count, { nodePort: 0 })), LISTENERS);
    const plan = one.apply(
      partial([{ ...many(3)[2]!, cluster: endpoints('10.244.1.99'), externalIPs: [VIP] }]),
      LISTENERS,
    );
    return [lines(plan.adds), lines(plan.deletes), engineLines(plan), plan.changedChains.length];
  });
  assert.equal(sizes[0], sizes[1]);
});

test.run();
