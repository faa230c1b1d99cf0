/** What `check` notices, with ownership and without, and that the full sync after it mends. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeNftables } from '../../../core/netlink/nftables/fake.ts';
import { TABLE } from '../../../plugins/nftables/layout.ts';
import { full, NODE6, partial, servicePort } from './samples.ts';
import { stage } from './stage.ts';

const test = suite('nftables checks');
const WEB = servicePort({ affinitySeconds: 600, nodePort: 30080, loadBalancerVIPs: ['203.0.113.1'] });

test('with ownership a check notices the loss of it and of the table, and looks at nothing else', async () => {
  const one = stage();
  assert.is((await one.backend.check('IPv4')).intact, false, 'before the first sync');
  await one.sync(full([WEB]));
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  const table = one.kernel.state.tables.get(`ip ${TABLE}`)!;
  table.owner = 0;
  const lost = await one.backend.check('IPv4');
  assert.match(lost.intact ? '' : lost.reason, /owner/);
  await one.sync(full([WEB]));
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  one.kernel.state.tables.delete(`ip ${TABLE}`);
  const gone = await one.backend.check('IPv4');
  assert.match(gone.intact ? '' : gone.reason, /gone/);
  await one.sync(full([WEB]));
  assert.equal(await one.backend.check('IPv4'), { intact: true });
});

test('without ownership, as long as nobody commits to nf_tables a check reads nothing', async () => {
  const one = stage({ owned: false });
  const other = createFakeNftables(one.kernel.state);
  let reads = 0;
  const nftables = one.host.netlink.nftables();
  const { read } = one.kernel;
  Object.assign(nftables, {
    read(...args: Parameters<typeof read>) {
      reads++;
      return read(...args);
    },
  });
  const looks = async (): Promise<number> => {
    const before = reads;
    assert.equal(await one.backend.check('IPv4'), { intact: true });
    return reads - before;
  };
  await one.sync(full([WEB]));
  await looks();
  assert.is(await looks(), 0);
  await one.sync(partial([servicePort({ name: 'x', clusterIP: '10.96.0.77' })]));
  assert.is(await looks(), 0, 'what we commit ourselves is no reason to look');
  await other.commit({ family: 'ip', table: 'other', operations: [{ do: 'add table', owned: false }] });
  assert.is(await looks(), 1);
  assert.is(await looks(), 0);
});

test('without ownership, a commit of our own does not hide what somebody else did before it', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  const vandal = createFakeNftables(one.kernel.state);
  await vandal.commit({ family: 'ip', table: TABLE, operations: [{ do: 'flush chain', chain: 'services' }] });
  await one.sync(partial([servicePort({ name: 'x', clusterIP: '10.96.0.77' })]));
  assert.is((await one.backend.check('IPv4')).intact, false);
});

test('without ownership, what is committed while we commit is looked at', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  const { commit } = one.kernel;
  Object.assign(one.host.netlink.nftables(), {
    async commit(transaction: Parameters<typeof commit>[0]) {
      const done = await commit(transaction);
      await createFakeNftables(one.kernel.state).commit({
        family: 'ip',
        table: TABLE,
        operations: [{ do: 'flush chain', chain: 'services' }],
      });
      return done;
    },
  });
  await one.sync(partial([servicePort({ name: 'x', clusterIP: '10.96.0.77' })]));
  assert.is((await one.backend.check('IPv4')).intact, false);
});

test('a hook that somebody made drop packets, and a table switched off, are noticed and switched back', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  const { read, tables, commit } = one.kernel;
  let damage: 'none' | 'policy' | 'dormant' = 'none';
  const written: string[] = [];
  Object.assign(one.host.netlink.nftables(), {
    async read(...args: Parameters<typeof read>) {
      const content = await read(...args);
      if (content === undefined || damage !== 'policy') return content;
      const drops = (name: string) => (name === 'filter-forward' ? { policy: 'drop' as const } : {});
      return { ...content, chains: content.chains.map((chain) => ({ ...chain, ...drops(chain.name) })) };
    },
    async tables(...args: Parameters<typeof tables>) {
      const found = await tables(...args);
      return damage === 'dormant' ? found.map((info) => ({ ...info, dormant: true as const })) : found;
    },
    commit(transaction: Parameters<typeof commit>[0]) {
      const operations = [...transaction.operations];
      for (const step of operations) written.push(step.do === 'add chain' ? `add ${step.chain.name}` : step.do);
      return commit({ ...transaction, operations });
    },
  });
  for (const [kind, repair] of [
    ['policy', 'add filter-forward'],
    ['dormant', 'add table'],
  ] as const) {
    damage = kind;
    one.kernel.state.generation++;
    assert.is((await one.backend.check('IPv4')).intact, false, kind);
    written.length = 0;
    await one.sync(full([WEB]));
    assert.ok(written.includes(repair), `${kind}: ${written.join()}`);
    assert.ok(!written.includes('delete table'));
  }
});

test('without ownership each family is looked at for itself', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  await one.sync(full([], NODE6, 'IPv6'));
  one.kernel.state.tables.delete(`ip6 ${TABLE}`);
  one.kernel.state.generation++;
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  assert.is((await one.backend.check('IPv6')).intact, false);
});

test('a sync that somebody else made necessary says so and mends in one go', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  const dump = one.kernel.dump();
  const vandal = createFakeNftables(one.kernel.state);
  await vandal.commit({ family: 'ip', table: TABLE, operations: [{ do: 'flush chain', chain: 'services' }] });
  const found = await one.backend.check('IPv4');
  assert.match(found.intact ? '' : found.reason, /services/);
  await one.sync(full([WEB]));
  assert.is(one.kernel.dump(), dump);
});

test.run();
