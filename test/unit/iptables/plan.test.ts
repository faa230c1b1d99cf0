import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ServicePort } from '../../../core/backend.ts';
import { createPlanner, type Plan, type Planner, type PlanSettings } from '../../../plugins/iptables/plan.ts';
import { endpoint, full, node, partial, servicePort } from './samples.ts';

const test = suite('iptables plan');
const SETTINGS: PlanSettings = {
  family: 'IPv4',
  masqueradeBit: 14,
  affinity: 'ipset',
  hairpin: 'bpf',
  counters: false,
};
const LOOPBACK = node({ nodePortAddresses: { match: 'all', loopback: true } });
const NO_LOOPBACK = node({ nodePortAddresses: { match: 'all', loopback: false } });

function touched(plan: Plan): string[] {
  return (['mangle', 'nat', 'filter'] as const).flatMap((table) =>
    [...plan.edits[table]].map(([chain, text]) => `${table} ${text === undefined ? 'delete ' : ''}${chain}`),
  );
}

function bytes(plan: Plan): number {
  return Object.values(plan.edits).reduce(
    (sum, edits) => sum + [...edits].reduce((inner, [chain, text]) => inner + chain.length + (text?.length ?? 0), 0),
    0,
  );
}

/** Everything that the planner wants, as one comparable value. */
function everything(planner: Planner): unknown {
  const tables = (['mangle', 'nat', 'filter'] as const).map((table) => [...planner.desired(table)].sort());
  return [tables, [...planner.sets()].sort()];
}

function many(count: number): ServicePort[] {
  return Array.from({ length: count }, (_, i) =>
    servicePort({ name: `s${i}`, clusterIP: `10.${96 + (i >> 14)}.${(i >> 6) & 255}.${1 + (i & 63)}` }),
  );
}

test('a changed endpoint touches the chain of its service port and nothing else', () => {
  const planner = createPlanner(SETTINGS);
  planner.apply(full([servicePort(), servicePort({ name: 'other', clusterIP: '10.96.0.11' })]));
  const plan = planner.apply(partial([servicePort({ cluster: [endpoint('10.244.1.13')] })]));
  assert.is(touched(plan).length, 1, touched(plan).join());
  assert.match(touched(plan)[0]!, /^nat KUBE-SVC-/);
});

test('one endpoint change writes the same bytes among 100,000 service ports as among 10', () => {
  const written = [10, 100_000].map((count) => {
    const planner = createPlanner(SETTINGS);
    planner.apply(full(many(count)));
    return bytes(planner.apply(partial([{ ...many(4)[3]!, cluster: [endpoint('10.244.1.13')] }])));
  });
  assert.is(written[0], written[1]);
});

test('an unchanged service port touches nothing', () => {
  const planner = createPlanner(SETTINGS);
  planner.apply(full([servicePort()]));
  assert.equal(touched(planner.apply(partial([servicePort()]))), []);
});

test('after any sequence of changes the chains are those of the final state alone', () => {
  let seed = 42;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return seed % n;
  };
  const draw = (i: number): ServicePort => {
    const local = [endpoint('10.244.1.11'), endpoint('10.244.1.12')].slice(0, random(3));
    const cluster = [...local, ...(random(2) ? [endpoint('10.244.2.11', { isLocal: false })] : [])];
    return servicePort({
      name: `s${i}`,
      clusterIP: `10.96.0.${i + 1}`,
      nodePort: random(2) ? 30000 + random(8) : 0,
      externalIPs: random(3) ? [] : [`203.0.113.${random(4)}`],
      loadBalancerVIPs: random(3) ? [] : [`203.0.113.${random(4)}`],
      sourceRanges: random(2) ? [] : ['192.168.50.0/24'],
      internalPolicy: random(2) ? 'Cluster' : 'Local',
      externalPolicy: random(2) ? 'Cluster' : 'Local',
      affinitySeconds: random(2) ? 0 : 60,
      healthCheckNodePort: random(3) ? 0 : 31000 + random(3),
      cluster,
      local,
      hasEndpoints: cluster.length > 0,
    });
  };
  for (const hairpin of ['bpf', 'rules'] as const) {
    const settings = { ...SETTINGS, hairpin, counters: hairpin === 'rules' };
    for (let round = 0; round < 60; round++) {
      const planner = createPlanner(settings);
      const live = new Map<string, ServicePort>();
      let view = node();
      planner.apply(full([], view));
      for (let step = 0; step < 12; step++) {
        const upsert = Array.from({ length: random(6) }, () => draw(random(30)));
        const remove = [...live.keys()].filter((key) => random(5) === 0 && !upsert.some((port) => port.key === key));
        if (random(4) === 0) {
          const { nodePortAddresses } = random(2) === 0 ? LOOPBACK : NO_LOOPBACK;
          view = node({ masqueradeAll: random(2) === 0, tcpBeLiberal: random(2) === 0, nodePortAddresses });
        }
        for (const port of upsert) live.set(port.key, port);
        for (const key of remove) live.delete(key);
        planner.apply(partial([...new Map(upsert.map((port) => [port.key, port])).values()], remove, view));
      }
      const fresh = createPlanner(settings);
      fresh.apply(full([...live.values()], view));
      assert.equal(everything(planner), everything(fresh), `round ${round}`);
      for (const table of ['mangle', 'nat', 'filter'] as const)
        assert.is(planner.ruleCount(table), fresh.ruleCount(table));
    }
  }
});

test('every chain that a rule leads to exists', () => {
  const planner = createPlanner({ ...SETTINGS, hairpin: 'rules' });
  const ports = many(300).map((port, i) => ({
    ...port,
    nodePort: 30000 + i,
    externalPolicy: i % 2 ? ('Local' as const) : ('Cluster' as const),
    loadBalancerVIPs: [`203.0.${i >> 8}.${i & 255}`],
    sourceRanges: i % 3 ? ['10.0.0.0/8'] : [],
    hasEndpoints: i % 5 !== 0,
    affinitySeconds: i % 7 ? 0 : 30,
  }));
  planner.apply(full(ports));
  for (const table of ['nat', 'filter'] as const) {
    const chains = planner.desired(table);
    for (const [chain, text] of chains) {
      for (const [, target = ''] of text.matchAll(/ -j (KUBE-\S+)/g))
        assert.ok(chains.has(target), `${chain} → ${target}`);
      assert.ok(chain.length <= 28, chain);
    }
  }
});

test('an address that the node gains rewrites the two roots and no service chain', () => {
  const list = (...addresses: string[]) => node({ nodePortAddresses: { match: 'list', addresses } });
  const planner = createPlanner(SETTINGS);
  planner.apply(full([servicePort({ nodePort: 30080 })], list('192.168.50.10')));
  const plan = planner.apply(partial([], [], list('192.168.50.10', '192.168.50.11')));
  assert.equal(touched(plan).sort(), ['filter KUBE-EXTERNAL-SERVICES', 'nat KUBE-SERVICES']);
});

test('affinity sets come with their endpoint and go with it', () => {
  const planner = createPlanner(SETTINGS);
  const first = planner.apply(full([servicePort({ affinitySeconds: 60 })]));
  assert.is(first.createSets.size, 2);
  const second = planner.apply(partial([servicePort({ affinitySeconds: 60, cluster: [endpoint('10.244.1.11')] })]));
  assert.is(second.createSets.size, 0);
  assert.is(second.destroySets.length, 1);
  const third = planner.apply(partial([], ['default/web:http/TCP']));
  assert.is(third.destroySets.length, 1);
  assert.is(planner.sets().size, 0);
});

test('without a conntrack that drops INVALID by itself the guard goes, and nothing else', () => {
  const planner = createPlanner(SETTINGS);
  planner.apply(full([servicePort()]));
  const plan = planner.apply(partial([], [], node({ tcpBeLiberal: true })));
  assert.equal(touched(plan), ['filter KUBE-FORWARD']);
  assert.not.match(planner.desired('filter').get('KUBE-FORWARD')!, /INVALID/);
});

const COUNTING: PlanSettings = { ...SETTINGS, counters: true };
const nodePortRules = (planner: Planner) =>
  planner
    .desired('nat')
    .get('KUBE-NODEPORTS')!
    .split('\n')
    .filter((rule) => rule.includes('-j KUBE-EXT-'));

test('where the kernel counts, INVALID packets are counted before they are dropped, in both families', () => {
  for (const family of ['IPv4', 'IPv6'] as const) {
    const planner = createPlanner({ ...COUNTING, family });
    planner.apply({ ...full([]), family });
    assert.is(
      planner.desired('filter').get('KUBE-FORWARD')!.split('\n')[0],
      '-m conntrack --ctstate INVALID -m nfacct --nfacct-name ct_state_invalid_dropped_pkts -j DROP',
    );
  }
});

test('where the kernel counts, a node port on loopback addresses has a counting rule before the one for all', () => {
  const planner = createPlanner(COUNTING);
  planner.apply(full([servicePort({ nodePort: 30080 })], LOOPBACK));
  const [counting = '', plain = '', ...others] = nodePortRules(planner);
  assert.equal(others, []);
  const target = /-j (KUBE-EXT-\S+)$/.exec(plain)?.[1] ?? 'no jump';
  assert.is(
    counting,
    '-d 127.0.0.0/8 -p tcp -m comment --comment "default/web:http node port" -m tcp --dport 30080 ' +
      `-m nfacct --nfacct-name localhost_nps_accepted_pkts -j ${target}`,
  );
  assert.not.match(plain, /nfacct|127/);
});

test('no node port has a counting rule without counters, loopback addresses or endpoints', () => {
  const port = servicePort({ nodePort: 30080 });
  const refused = servicePort({ nodePort: 30080, cluster: [], hasEndpoints: false });
  for (const [settings, ports, view] of [
    [SETTINGS, [port], LOOPBACK],
    [COUNTING, [port], NO_LOOPBACK],
    [{ ...COUNTING, family: 'IPv6' }, [port], LOOPBACK],
    [COUNTING, [refused], LOOPBACK],
  ] as const) {
    const planner = createPlanner(settings);
    planner.apply({ ...full(ports, view), family: settings.family });
    assert.not.match(planner.desired('nat').get('KUBE-NODEPORTS')!, /nfacct/);
  }
});

test('when node ports come to answer on loopback addresses, or cease to, their counting rules follow', () => {
  const planner = createPlanner(COUNTING);
  planner.apply(full([servicePort({ nodePort: 30080 })], NO_LOOPBACK));
  assert.is(nodePortRules(planner).length, 1);
  planner.apply(partial([], [], LOOPBACK));
  assert.is(nodePortRules(planner).length, 2);
  planner.apply(partial([], [], NO_LOOPBACK));
  assert.is(nodePortRules(planner).length, 1);
});

test.run();
