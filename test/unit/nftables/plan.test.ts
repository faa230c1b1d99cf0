/** Which elements and chains a change touches: what differs, and nothing else. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NftElement } from '../../../core/backend.ts';
import { GUARDED, type SetName } from '../../../plugins/nftables/layout.ts';
import { createPlanner, type Plan, type Planner } from '../../../plugins/nftables/plan.ts';
import { view } from '../model/samples.ts';
import { endpoint, endpoints, full, many, partial, servicePort } from './samples.ts';

const test = suite('nftables plan');
const SETTINGS = { family: 'IPv4', comments: false } as const;

function text({ key, keyEnd, data, comment }: NftElement): string {
  const answer = data === undefined ? '' : ` > ${'verdict' in data ? JSON.stringify(data) : data.join(' ')}`;
  const end = keyEnd === undefined ? '' : `-${keyEnd.join(' ')}`;
  return `${key.join(' ')}${end}${answer}${comment === undefined ? '' : ` # ${comment}`}`;
}

function rows(elements: ReadonlyMap<SetName, readonly NftElement[]>, sign: string): string[] {
  return [...elements].flatMap(([set, list]) => list.map((element) => `${sign}${set} ${text(element)}`));
}

/** "-set key", "+set key > data" of elements, "+chain", "~chain", "-chain" of chains. */
function edits({ deletes, adds, newChains, newVerdicts, changedChains, oldVerdicts, oldChains }: Plan): string[] {
  return [
    ...newChains.map(({ name }) => `+${name}`),
    ...newVerdicts.map(({ set, element }) => `+${set} ${element.key.join(' ')}`),
    ...changedChains.map(({ name }) => `~${name}`),
    ...rows(deletes, '-').map((row) => row.replace(/ > .*/, '')),
    ...rows(adds, '+'),
    ...oldVerdicts.map(({ set, element }) => `-${set} ${element.key.join(' ')}`),
    ...oldChains.map((name) => `-${name}`),
  ];
}

function planner(...args: Parameters<typeof full>): Planner {
  const made = createPlanner(SETTINGS);
  made.adopt(full(...args), undefined);
  return made;
}

test('an endpoint in the place of another is one element', () => {
  const made = planner([servicePort(), ...many(3, { cluster: endpoints('10.244.1.12', '10.244.1.13') })]);
  const port = servicePort({ cluster: endpoints('10.244.1.11', '10.244.1.13') });
  assert.equal(edits(made.apply(partial([port]))), [
    '-endpoints 10.96.0.10 tcp 80 1',
    '+endpoints 10.96.0.10 tcp 80 1 > 10.244.1.13 8080',
  ]);
});

test('one more endpoint is its element, the count, and the chain of the count if nobody had that many', () => {
  const made = planner([servicePort()]);
  const cluster = endpoints('10.244.1.11', '10.244.1.12', '10.244.1.13');
  const wanted = [
    '-services 10.96.0.10 tcp 80',
    '+services 10.96.0.10 tcp 80 > 3',
    '+endpoints 10.96.0.10 tcp 80 2 > 10.244.1.13 8080',
  ];
  const plan = edits(made.apply(partial([servicePort({ cluster })])));
  const chains = ['+lb-3', '+dispatch 3'];
  assert.equal([...plan].sort(), [...chains, ...wanted, '+hairpin 10.244.1.13 10.244.1.13'].sort());
  assert.equal(plan.slice(0, 2), chains, 'chains first');
  const other = servicePort({ name: 'other', clusterIP: '10.96.0.11', cluster });
  const again = edits(made.apply(partial([other])));
  assert.ok(!again.some((edit) => edit.startsWith('+lb-') || edit.startsWith('+dispatch')), again.join());
});

test('an endpoint that goes leaves no hole: the last one takes its index', () => {
  const made = planner([servicePort({ cluster: endpoints('10.244.1.1', '10.244.1.2', '10.244.1.3') })]);
  const plan = edits(made.apply(partial([servicePort({ cluster: endpoints('10.244.1.2', '10.244.1.3') })])));
  assert.equal(plan.filter((edit) => edit.includes('endpoints')).sort(), [
    '+endpoints 10.96.0.10 tcp 80 0 > 10.244.1.3 8080',
    '-endpoints 10.96.0.10 tcp 80 0',
    '-endpoints 10.96.0.10 tcp 80 2',
  ]);
});

test('an unchanged service port is nothing, given again or as a copy', () => {
  const port = servicePort({ affinitySeconds: 60, nodePort: 30080, loadBalancerVIPs: ['203.0.113.1'] });
  const made = planner([port]);
  assert.equal(edits(made.apply(partial([port]))), []);
  assert.equal(edits(made.apply(partial([{ ...port, cluster: [...port.cluster] }]))), []);
  assert.equal(edits(made.apply(full([{ ...port }]))), []);
});

test('the same change is the same edits among 10 service ports as among 10,000', () => {
  const [few, lots] = [10, 10_000].map((count) => {
    const made = planner(many(count));
    const [changed, gone] = [many(3)[1]!, many(3)[2]!];
    return edits(made.apply(partial([{ ...changed, cluster: endpoints('10.244.1.99') }], [gone.key])));
  });
  assert.equal(few, lots);
  assert.ok(few!.length > 3);
});

test('a full change deletes what it does not name; a class without users goes with it, and not before', () => {
  const three = servicePort({
    name: 'three',
    clusterIP: '10.96.0.3',
    cluster: endpoints('1.0.0.1', '1.0.0.2', '1.0.0.3'),
  });
  const made = planner([servicePort(), three]);
  const gone = edits(made.apply(partial([], [three.key])));
  assert.ok(!gone.includes('-lb-3'));
  const swept = edits(made.apply(full([servicePort()])));
  assert.equal(swept, ['-dispatch 3', '-lb-3']);
  assert.equal(
    edits(made.apply(full([]))).filter((edit) => edit.includes('lb-')),
    ['-lb-2', '-lb-1'],
  );
});

test('source ranges put a guard before the VIP only, nested ranges once', () => {
  const made = planner([]);
  const sourceRanges = ['10.0.0.0/8', '10.1.0.0/16', '192.0.2.1/32'];
  const port = servicePort({ loadBalancerVIPs: ['203.0.113.1'], externalIPs: ['203.0.113.2'], sourceRanges });
  const added = edits(made.apply(partial([port])));
  assert.ok(added.includes(`+services 203.0.113.1 tcp 80 > ${GUARDED}`));
  assert.ok(added.includes('+guarded-services 203.0.113.1 tcp 80 > 2'));
  assert.ok(added.includes('+services 203.0.113.2 tcp 80 > 2'));
  assert.equal(
    added.filter((edit) => edit.includes('source-ranges')),
    [
      '+source-ranges 203.0.113.1 tcp 80 10.0.0.0-203.0.113.1 tcp 80 10.255.255.255',
      '+source-ranges 203.0.113.1 tcp 80 192.0.2.1-203.0.113.1 tcp 80 192.0.2.1',
    ],
  );
});

test('a contested address changes hands at once when its owner goes, and when a stronger one comes', () => {
  const ip = '203.0.113.1';
  const external = servicePort({ name: 'b', clusterIP: '10.96.0.2', externalIPs: [ip], cluster: endpoints('1.0.0.2') });
  const rival = servicePort({ name: 'c', clusterIP: '10.96.0.3', externalIPs: [ip], cluster: endpoints('1.0.0.3') });
  const vip = servicePort({ name: 'd', clusterIP: '10.96.0.4', loadBalancerVIPs: [ip], cluster: endpoints('1.0.0.4') });
  const made = planner([rival]);
  const target = (plan: Plan) => edits(plan).filter((edit) => edit.startsWith(`+endpoints ${ip} `));
  assert.equal(target(made.apply(partial([external]))), [`+endpoints ${ip} tcp 80 0 > 1.0.0.2 8080`]);
  assert.equal(target(made.apply(partial([vip]))), [`+endpoints ${ip} tcp 80 0 > 1.0.0.4 8080`]);
  assert.equal(target(made.apply(partial([], [external.key]))), []);
  assert.equal(target(made.apply(partial([], [vip.key]))), [`+endpoints ${ip} tcp 80 0 > 1.0.0.3 8080`]);
});

test('hairpins are kept as long as any service port has the endpoint, local or of an unknown node', () => {
  const [here, unknown] = [endpoint('10.244.1.1'), endpoint('10.244.9.9', { isLocal: false, nodeName: '' })];
  const there = endpoint('10.244.2.1', { isLocal: false, nodeName: 'node-b' });
  const one = servicePort({ name: 'one', clusterIP: '10.96.0.1', cluster: [here, there, unknown] });
  const two = servicePort({ name: 'two', clusterIP: '10.96.0.2', cluster: [here] });
  const made = planner([]);
  const hairpins = (plan: Plan) => edits(plan).filter((edit) => edit.includes('hairpin'));
  assert.equal(hairpins(made.apply(partial([one, two]))).sort(), [
    '+hairpin 10.244.1.1 10.244.1.1',
    '+hairpin 10.244.9.9 10.244.9.9',
  ]);
  assert.equal(hairpins(made.apply(partial([], [one.key]))), ['-hairpin 10.244.9.9 10.244.9.9']);
  assert.equal(hairpins(made.apply(partial([], [two.key]))), ['-hairpin 10.244.1.1 10.244.1.1']);
});

test('a changed timeout of session affinity is two elements and its chains', () => {
  const made = planner([servicePort({ affinitySeconds: 60 })]);
  const plan = edits(made.apply(partial([servicePort({ affinitySeconds: 120 })])));
  assert.equal(
    plan.filter((edit) => edit.includes('affinity-timeouts')),
    ['-affinity-timeouts 16384', '+affinity-timeouts 16384 > 120'],
  );
  assert.equal(
    plan.filter((edit) => /endpoints|handles|services/.test(edit)),
    [],
  );
  assert.ok(plan.includes('+record-120'));
});

test('another node rewrites the chains that say so and nothing of the Services', () => {
  const made = planner([servicePort()]);
  const plan = edits(made.apply(partial([], [], view({ localDetector: { kind: 'interface', name: 'cni0' } }))));
  assert.equal(plan, ['~clusterip-source', '~local-policy-source']);
  assert.equal(edits(made.apply(partial([], [], view({ localDetector: { kind: 'interface', name: 'cni0' } })))), []);
});

test('totals count what there is', () => {
  const made = planner([servicePort({ nodePort: 30080 }), ...many(2)]);
  const { services, endpoints: targets } = made.totals();
  assert.equal([services, targets], [4, 8]);
  made.apply(full([]));
  const after = made.totals();
  assert.equal([after.services, after.endpoints], [0, 0]);
});

test('elements come in portions that together are everything, each service port whole', () => {
  const made = planner(many(50, { affinitySeconds: 60 }));
  const small = [...made.elements(20)];
  const [whole] = [...made.elements(Number.POSITIVE_INFINITY)];
  assert.ok(small.length > 10);
  assert.equal(small.flatMap((portion) => rows(portion, '')).sort(), rows(whole!, '').sort());
});

test.run();
