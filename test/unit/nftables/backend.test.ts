/** The backend on a kernel in memory: building, changing, adopting, replacing, checking, cleaning up. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NftOperation } from '../../../core/backend.ts';
import { createFakeNftables, createFakeState, type FakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { cleanup } from '../../../plugins/nftables/backend.ts';
import { TABLE, TABLE_COMMENT, UPSTREAM_TABLE } from '../../../plugins/nftables/layout.ts';
import { MOST_LISTED } from '../../../plugins/shared/table/mirror.ts';
import { view } from '../model/samples.ts';
import { endpoints, full, many, NODE, NODE6, partial, remote, servicePort } from './samples.ts';
import { fakeHost, type Stage, stage } from './stage.ts';

const test = suite('nftables backend');
const WEB = servicePort({ affinitySeconds: 600, nodePort: 30080, loadBalancerVIPs: ['203.0.113.1'] });
const NO_LOOPBACK = view({ nodePortAddresses: { match: 'list', addresses: [] } });

async function makeTable(kernel: FakeNftables, name: string, comment: string, owned: boolean): Promise<void> {
  const table = { family: 'ip', table: name } as const;
  await kernel.commit({
    ...table,
    operations: [
      { do: 'add table', owned, comment },
      { do: 'add chain', chain: { name: 'theirs', hook: { type: 'nat', hook: 'prerouting', priority: -100 } } },
      { do: 'add rule', chain: 'theirs', rule: { statements: [{ verdict: 'accept' }] } },
    ],
  });
}

function steps({ kernel }: Stage): string[] {
  return kernel.commits.map(({ operations }) => [...new Set(operations.map((step) => step.do))].join());
}

test('a table is built out of sight and hooked in last', async () => {
  const one = stage();
  const { operations, bytes, totals } = await one.sync(full([WEB]));
  assert.equal(steps(one), ['add table,add set,add chain,add rule', 'add elements', 'add chain,add rule']);
  const hooks = one.kernel.commits.map(({ operations: list }) =>
    list.filter((step) => step.do === 'add chain' && step.chain.hook !== undefined),
  );
  assert.equal(
    hooks.map(({ length }) => length > 0),
    [false, false, true],
  );
  assert.ok(operations > 50 && bytes > 1000);
  assert.ok(Number(totals?.services) > 0 && Number(totals?.chains) > 0);
});

test('a hairpin outlives by one commit the elements that made it', async () => {
  const one = stage();
  await one.sync(full([servicePort()]));
  await one.sync(partial([servicePort({ cluster: remote('10.244.1.11', '10.244.1.12') })]));
  const last = one.kernel.commits.at(-1)!.operations;
  assert.equal(
    last.map((step) => ('set' in step ? `${step.do} ${step.set.name}` : step.do)),
    ['delete elements hairpin'],
  );
});

test('a large table is built in portions', async () => {
  const one = stage();
  await one.sync(full(many(4000, { cluster: endpoints('1.0.0.1', '1.0.0.2', '1.0.0.3', '1.0.0.4', '1.0.0.5') })));
  const sizes = one.kernel.commits
    .slice(1, -1)
    .map(({ operations }) =>
      operations.reduce((sum, step) => sum + ('elements' in step ? [...step.elements].length : 0), 0),
    );
  assert.ok(sizes.length > 1, sizes.join());
  assert.ok(
    sizes.every((size) => size < 21_000),
    sizes.join(),
  );
});

test('one change is the same operations and bytes among 10 Services as among 10,000', async () => {
  const reports = [];
  for (const count of [10, 10_000]) {
    const one = stage();
    await one.sync(full(many(count)));
    const before = one.kernel.commits.length;
    reports.push(await one.sync(partial([{ ...many(3)[2]!, cluster: endpoints('10.244.1.11', '10.244.1.99') }])));
    assert.is(one.kernel.commits.length, before + 1);
  }
  const [few, lots] = reports;
  assert.equal([few!.operations, few!.bytes], [lots!.operations, lots!.bytes]);
  // The old and the new endpoint, and its hairpin.
  assert.is(few!.operations, 3);
});

test('chains are committed before the elements that lead to them, and deleted after', async () => {
  const one = stage();
  const before = servicePort({ cluster: remote('1.0.0.1') });
  await one.sync(full([before]));
  const from = one.kernel.commits.length;
  await one.sync(partial([servicePort({ cluster: remote('1.0.0.1', '1.0.0.2', '1.0.0.3') })]));
  await one.sync(full([before]));
  assert.equal(steps(one).slice(from), [
    'add chain,add rule,add elements',
    'delete elements,add elements',
    'delete elements,add elements',
    'delete elements,flush chain,delete chain',
  ]);
});

for (const owned of [true, false]) {
  const settings = { owned };
  test(`owned ${owned}: a restart takes over what there is, writes nothing and keeps order, ids and handles`, async () => {
    const state = createFakeState();
    const one = stage(settings, state);
    await one.sync(full([WEB, ...many(5, { affinitySeconds: 60 })]));
    // Out of byte order, with gaps in ids and handles.
    const moved = { ...WEB, cluster: endpoints('10.244.1.10', '10.244.1.12', '10.244.1.14') };
    const ports = [moved, ...many(5, { affinitySeconds: 60 }).slice(2)];
    await one.sync(full(ports));
    one.kernel.packet('ip', TABLE, 'affinity', { key: ['198.18.0.9', 16384], data: [16386], timeoutSeconds: 600 });
    const before = one.kernel.dump();
    one.kernel.close();
    const two = stage(settings, state);
    assert.equal(await two.sync(full(ports)).then(({ operations }) => operations), 0);
    assert.is(two.kernel.dump(), before);
    assert.equal(await two.backend.check('IPv4'), { intact: true });
    // And goes on from there: one endpoint is one endpoint.
    await two.sync(partial([{ ...moved, cluster: endpoints('10.244.1.10', '10.244.1.12') }]));
    const last = two.kernel.table('ip', TABLE)!.sets.find(({ name }) => name === 'affinity')!;
    assert.is([...last.elements].length, 1, 'what clients are remembered by stays');
  });

  test(`owned ${owned}: a table of another layout, or without a set, is replaced in one commit`, async () => {
    for (const damage of ['comment', 'set'] as const) {
      const state = createFakeState();
      const before = stage(settings, state);
      if (damage === 'set') await makeTable(before.kernel, TABLE, TABLE_COMMENT, owned);
      else {
        await before.sync(full([WEB]));
        Object.assign(state.tables.get(`ip ${TABLE}`)!, { comment: 'Kubernetes Services; layout 0' });
      }
      before.kernel.close();
      const one = stage(settings, state);
      await one.sync(full([WEB]));
      const replacing = one.kernel.commits.filter(({ operations }) => operations.length > 1);
      assert.is(replacing.length, 1);
      assert.is(replacing[0]!.operations[0]!.do, 'delete table');
      const fresh = stage(settings);
      await fresh.sync(full([WEB]));
      assert.is(one.kernel.dump(), fresh.kernel.dump());
      assert.equal(await one.backend.check('IPv4'), { intact: true });
    }
  });

  test(`owned ${owned}: foreign chains, rules, sets and elements in our table are removed, other tables stay`, async () => {
    const state = createFakeState();
    const before = stage(settings, state);
    await before.sync(full([WEB]));
    const wanted = before.kernel.dump();
    const { sets } = before.kernel.table('ip', TABLE)!;
    const services = sets.find(({ name }) => name === 'services')!;
    const foreign: NftOperation[] = [
      { do: 'add set', set: { name: 'theirs', key: ['mark'] } },
      { do: 'add chain', chain: { name: 'theirs' } },
      { do: 'add chain', chain: { name: 'theirs-too', hook: { type: 'filter', hook: 'input', priority: 5 } } },
      { do: 'add rule', chain: 'theirs-too', rule: { statements: [{ verdict: 'jump', chain: 'theirs' }] } },
      {
        do: 'add rule',
        chain: 'theirs',
        rule: { statements: [{ in: 'theirs', key: ['meta priority'] }, { verdict: 'drop' }] },
      },
      { do: 'add rule', chain: 'services', rule: { statements: [{ verdict: 'drop' }] } },
      { do: 'add elements', set: services, elements: [{ key: ['192.0.2.1', 'tcp', 1], data: [1] }] },
    ];
    await before.kernel.commit({ family: 'ip', table: TABLE, operations: foreign });
    await makeTable(before.kernel, 'other', '', false);
    before.kernel.close();
    const other = before.kernel.dump('ip', 'other');
    const one = stage(settings, state);
    await one.sync(full([WEB]));
    assert.is(one.kernel.dump('ip', TABLE), wanted);
    assert.is(one.kernel.dump('ip', 'other'), other);
  });

  test(`owned ${owned}: a table that has, or has no owner against what is asked for is replaced`, async () => {
    const state = createFakeState();
    const before = stage({ owned: !owned }, state);
    await before.sync(full([WEB]));
    before.kernel.close();
    const one = stage(settings, state);
    await one.sync(full([WEB]));
    const [info] = await one.kernel.tables('ip');
    assert.is(info?.owned, owned);
    assert.is(info?.owner, owned ? one.kernel.port : 0);
  });

  test(`owned ${owned}: an upstream kube-proxy's table is deleted once ours is live, and only then`, async () => {
    const state = createFakeState();
    const upstream = createFakeNftables(state);
    await makeTable(upstream, UPSTREAM_TABLE, 'rules for kube-proxy', false);
    const one = stage(settings, state);
    await one.sync(full([WEB]));
    assert.equal(one.events.at(-1), 'net/ipv4/conf/all/route_localnet=1');
    assert.is(one.events.filter((event) => event.startsWith('commit')).at(-1), `commit ip ${UPSTREAM_TABLE}`);
    assert.equal(
      (await one.kernel.tables('ip')).map(({ name }) => name),
      [TABLE],
    );
    // Once: later it would be somebody's wish.
    await makeTable(upstream, UPSTREAM_TABLE, 'rules for kube-proxy', false);
    await one.sync(full([WEB]));
    assert.is((await one.kernel.tables('ip')).length, 2);
  });

  test(`owned ${owned}: cleanup deletes our tables and upstream's, of both families, whoever made them, and no other`, async () => {
    const state = createFakeState();
    const before = stage(settings, state);
    await before.sync(full([WEB]));
    await before.sync(full([], NODE6, 'IPv6'));
    await makeTable(before.kernel, UPSTREAM_TABLE, '', false);
    await makeTable(before.kernel, 'other', '', false);
    before.kernel.close();
    const { host } = fakeHost(createFakeNftables(state));
    await cleanup(host);
    assert.equal([...state.tables.keys()], ['ip other']);
    await cleanup(host);
  });
}

test('a table that another process owns is neither taken nor deleted: sync and cleanup say so', async () => {
  const state = createFakeState();
  const first = stage({}, state);
  await first.sync(full([WEB]));
  const second = stage({}, state);
  for (const attempt of [() => second.sync(full([WEB])), () => second.backend.cleanup()]) {
    try {
      await attempt();
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, /EPERM/);
    }
  }
  assert.equal(await first.backend.check('IPv4'), { intact: true });
});

test('a table of an upstream kube-proxy that cannot be deleted is a warning, not a failure', async () => {
  const state = createFakeState();
  await makeTable(createFakeNftables(state), UPSTREAM_TABLE, '', true);
  const one = stage({}, state);
  await one.sync(full([WEB]));
  assert.match(one.log.at('warn')[0]?.message ?? '', /upstream kube-proxy/);
});

test('a table that cannot be mended is made anew by the next full sync', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  const wanted = one.kernel.dump();
  const vandal = createFakeNftables(one.kernel.state);
  await vandal.commit({ family: 'ip', table: TABLE, operations: [{ do: 'flush chain', chain: 'services' }] });
  one.kernel.failNext({ code: 'KP_NETLINK_REFUSED', errno: 'EBUSY', text: 'somebody refers to it' });
  try {
    await one.sync(full([WEB]));
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /EBUSY/);
  }
  await one.sync(full([WEB]));
  assert.is(one.kernel.commits.at(-1)!.operations[0]!.do, 'delete table');
  assert.is(one.kernel.dump(), wanted);
  const { operations } = await one.sync(full([WEB]));
  assert.is(operations, 0, 'once');
});

test('a set too large to be listed is emptied and filled at once, and is then the same', async () => {
  const state = createFakeState();
  const one = stage({}, state);
  const cluster = Array.from({ length: 11_000 }, (_, index) => remote(`10.${index >> 8}.${index & 255}.1`)[0]!);
  const externalIPs = Array.from({ length: 24 }, (_, index) => `198.51.100.${index}`);
  const large = servicePort({ name: 'large', clusterIP: '10.96.0.9', cluster, externalIPs });
  await one.sync(full([WEB, large]));
  const count = (kernel: FakeNftables) =>
    [...kernel.table('ip', TABLE)!.sets.find(({ name }) => name === 'endpoints')!.elements].length;
  const before = count(one.kernel);
  assert.ok(before > MOST_LISTED);
  one.kernel.close();
  const two = stage({}, state);
  const listed: string[] = [];
  const { elements } = two.kernel;
  Object.assign(two.host.netlink.nftables(), {
    elements(...args: Parameters<typeof elements>) {
      listed.push(args[2].name);
      return elements(...args);
    },
  });
  await two.sync(full([WEB, { ...large, cluster: cluster.slice(1) }]));
  assert.ok(listed.includes('services') && !listed.includes('endpoints'), listed.join());
  const filling = two.kernel.commits.find(({ operations }) => operations.some((step) => step.do === 'flush set'))!;
  assert.ok(filling.operations.some((step) => step.do === 'add elements' && step.set.name === 'endpoints'));
  assert.is(count(two.kernel), before - 25);
});

test('kernel parameters are set only when they are needed, and loopback routing only behind its guard', async () => {
  const one = stage();
  await one.sync(full([WEB], NO_LOOPBACK));
  assert.equal(
    one.events.filter((event) => event.includes('=')),
    [],
  );
  await one.sync(partial([], [], { ...NODE, tcpBeLiberal: true }));
  assert.equal(
    one.events.filter((event) => event.includes('=')),
    ['net/ipv4/conf/all/route_localnet=1', 'net/netfilter/nf_conntrack_tcp_be_liberal=1'],
  );
  const at = one.events.indexOf('net/ipv4/conf/all/route_localnet=1');
  assert.is(one.events[at - 1], `commit ip ${TABLE}`);
  const guard = one.kernel.table('ip', TABLE)!.chains.find(({ name }) => name === 'filter-input');
  assert.is(guard?.rules.length, 1);
});

test('a family that this host does not have is refused', async () => {
  const one = stage({ families: ['IPv4'] });
  try {
    await one.sync(full([], NODE6, 'IPv6'));
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /does not serve IPv6/);
  }
});

test.run();
