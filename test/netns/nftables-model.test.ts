/**
 * The whole backend on a real kernel, without packets: what is rendered is what the kernel lists, and after random
 * changes, restarts and extremes what is read back means what a fresh table would.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type {
  Backend,
  BackendPlugin,
  Change,
  Endpoint,
  Host,
  IPFamily,
  Nftables,
  NftElement,
  NftSet,
  NftTable,
  SelfChecking,
  ServicePort,
} from '../../core/backend.ts';
import type { OpenNetlink } from '../../core/netlink/netlink.ts';
import { createHost } from '../../core/node/host.ts';
import plugin from '../../plugins/nftables/index.ts';
import { COUNT_MASK, layoutOf, MAX_AFFINITY_HANDLES, TABLE } from '../../plugins/nftables/layout.ts';
import { createPlanner } from '../../plugins/nftables/plan.ts';
import { tableOf } from '../../plugins/shared/table/whole.ts';
import { changesOf, goldenCases, renderCase } from '../golden/cases.ts';
import { skip } from '../skip.ts';
import { seeded } from '../unit/model/random.ts';
import { servicePort, view } from '../unit/model/samples.ts';
import { elementsOf, listsOf, meaningOf, rowsOf } from '../unit/nftables/meaning.ts';
import { createRandomModel, POOLS } from '../unit/nftables/random-model.ts';
import { fakeLog } from '../unit/sync/fake-log.ts';
import { isolateTests } from './isolated.ts';
import { normalTable } from './nftables-text.ts';

await isolateTests(['nftables']);
const test = suite('nftables model in the kernel');
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const SEQUENCES = 5;
const CHANGES = 12;

interface Running {
  readonly host: Host;
  readonly backend: Backend & SelfChecking;
  /** As when the process ends. */
  end(): void;
}

async function start(options: Readonly<Record<string, string>>): Promise<Running> {
  const host = createHost({ log: fakeLog(), signal: new AbortController().signal, requestFullSync() {} });
  const backend = (await (plugin satisfies BackendPlugin).create(host, options)) as Backend & SelfChecking;
  const one: Running = {
    host,
    backend,
    end() {
      (host.netlink as OpenNetlink).close();
      started.delete(one);
    },
  };
  started.add(one);
  return one;
}

const started = new Set<Running>();
test.after.each(() => {
  for (const { end } of started) end();
});

const first = await start({});
const canOwn = await first.host.netlink.nftables().supportsOwnership();
first.end();

test.before.each(async () => {
  const { backend, end } = await start({});
  await backend.cleanup();
  end();
});

/** While the kernel resizes a set that has just grown, a listing repeats some elements instead of others. */
async function readSet(nftables: Nftables, family: 'ip' | 'ip6', set: NftSet): Promise<readonly NftElement[]> {
  for (let attempt = 0; ; attempt++) {
    const elements: NftElement[] = [];
    await nftables.elements(family, TABLE, set, (element) => void elements.push(element));
    if (new Set(elements.map(({ key }) => key.join(' '))).size === elements.length) return elements;
    assert.ok(attempt < 20, `${set.name} is listed wrongly again and again`);
    await sleep(50);
  }
}

/** What the kernel holds; rules are compared by `assertSame`. */
async function readTable({ host }: Running, family: IPFamily): Promise<NftTable> {
  const nftables = host.netlink.nftables();
  const layout = layoutOf(family);
  const content = await nftables.read(layout.table, TABLE);
  assert.ok(content, 'there is a table');
  const sets: NftTable['sets'][number][] = [];
  for (const set of Object.values(layout.sets)) {
    sets.push({ ...set, elements: await readSet(nftables, layout.table, set) });
  }
  return { family: layout.table, name: TABLE, sets, chains: content!.chains.map(({ name }) => ({ name, rules: [] })) };
}

/** `spare`: classes that nobody uses any more may have kept their chains. */
async function assertSame(running: Running, whole: Change, spare: boolean): Promise<void> {
  const nftables = running.host.netlink.nftables();
  const planner = createPlanner({ family: whole.family, comments: true });
  planner.adopt(whole, undefined);
  const wanted = tableOf(planner);
  const meant = meaningOf(wanted);
  const held = meaningOf(await readTable(running, whole.family));
  for (const [set, rows] of Object.entries(meant.sets)) {
    const found = held.sets[set] ?? [];
    const wrong = [...rows.filter((row, at) => found[at] !== row), ...found.filter((row, at) => rows[at] !== row)];
    assert.equal(wrong.slice(0, 6), [], set);
  }
  const content = (await nftables.read(wanted.family, TABLE))!;
  const chains = new Map(content.chains.map((chain) => [chain.name, chain]));
  for (const { name, hook, rules } of wanted.chains) {
    const chain = chains.get(name);
    assert.equal(chain?.hook, hook, name);
    assert.equal(
      chain?.rules,
      rules.map((rule) => nftables.fingerprint(wanted.family, rule)),
      name,
    );
    chains.delete(name);
  }
  if (spare) return;
  assert.equal([...chains.keys()], []);
  assert.equal(held.verdicts, meant.verdicts);
}

function list(family: 'ip' | 'ip6'): string {
  const { status, stdout, stderr } = spawnSync('nft', ['list', 'table', family, TABLE], { encoding: 'utf8' });
  assert.is(status, 0, stderr);
  return stdout;
}

for (const golden of goldenCases()) {
  test(`${golden.name}: what is rendered is what nft lists after the first sync`, async () => {
    const running = await start({ ownership: 'off' });
    for (const change of await changesOf(golden, 'nftables')) {
      await running.backend.sync(change);
      const rendered = await renderCase(golden, 'nftables', ['--family', change.family]);
      const listed = list(change.family === 'IPv4' ? 'ip' : 'ip6');
      assert.equal(normalTable(listed), normalTable(rendered), change.family);
      assert.equal(await running.backend.check(change.family), { intact: true });
    }
    running.end();
  });
}

for (const ownership of ['on', 'off'] as const) {
  const title = `ownership=${ownership}: random changes and restarts are all accepted, and read back as they were meant`;
  if (ownership === 'on' && !canOwn) {
    skip(title, 'this kernel has no tables that outlive their owner');
    continue;
  }
  test(title, async () => {
    for (let seed = 1; seed <= SEQUENCES; seed++) {
      const random = seeded(seed);
      const contests = random.chance(0.5);
      let running = await start({ ownership });
      for (const family of FAMILIES) {
        const where = `seed ${seed}, ${family}`;
        try {
          const model = createRandomModel(random, family, { contests });
          // The table of the last sequence is still there, and is made into this one.
          await running.backend.sync(model.whole());
          for (let step = 0; step < CHANGES; step++) {
            const change = model.next();
            await running.backend.sync(change);
            await assertSame(running, model.whole(), !change.full);
          }
          await running.backend.sync(model.whole());
          await assertSame(running, model.whole(), false);
          assert.equal(await running.backend.check(family), { intact: true });
          running.end();
          running = await start({ ownership });
          const { operations } = await running.backend.sync(model.whole());
          if (!contests) assert.is(operations, 0, 'after a restart nothing is to be done');
          await assertSame(running, model.whole(), false);
        } catch (error) {
          throw new Error(`${where}: ${error instanceof Error ? error.stack : error}`);
        }
      }
      running.end();
    }
  });
}

function endpoints(family: IPFamily, count: number): Endpoint[] {
  const address = (index: number): string =>
    family === 'IPv4'
      ? `10.${128 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`
      : `fd00:244:${(index >> 12).toString(16)}:1::${((index & 4095) + 1).toString(16)}`;
  return Array.from({ length: count }, (_, index) => ({
    ip: address(index),
    port: 8080,
    isLocal: false,
    ready: true,
    nodeName: 'node-b',
    zone: '',
  }));
}

function plain(family: IPFamily, index: number, rest: Partial<ServicePort> = {}): ServicePort {
  const name = rest.name ?? `s${index}`;
  return servicePort({
    key: `ns/${name}:p/TCP`,
    namespace: 'ns',
    name,
    portName: 'p',
    clusterIP: POOLS[family].clusterIP(index),
    nodePort: 0,
    externalIPs: [],
    loadBalancerVIPs: [],
    cluster: endpoints(family, 2),
    local: [],
    ...rest,
  });
}

function full(family: IPFamily, upsert: readonly ServicePort[]): Change {
  const { nodeAddresses: addresses, podCIDR: cidr } = POOLS[family];
  const nodePortAddresses = { match: 'all', loopback: family === 'IPv4' } as const;
  const node = view({ addresses, nodePortAddresses, localDetector: { kind: 'cidr', cidr } });
  return { family, full: true, node, upsert, remove: [] };
}

for (const family of FAMILIES) {
  test(`${family}: extremes of every kind are accepted and read back`, async () => {
    const { clusterIP, shared, ranges, clients } = POOLS[family];
    const long = { namespace: 'n'.repeat(63), name: 's'.repeat(63), portName: 'p'.repeat(15) };
    const corners =
      family === 'IPv4'
        ? ['0.0.0.1', '255.255.255.254', '1.0.0.0', '223.255.255.255']
        : [
            '::2',
            '1::',
            '0:1::',
            '::1:0:0:0',
            'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
            '1:0:0:2::3',
            '0:1:2:3:4:5:6:7',
          ];
    const ports = [
      plain(family, 1, { cluster: endpoints(family, 1000), affinitySeconds: 86_400 }),
      plain(family, 2, { ...long, key: `${long.namespace}/${long.name}:${long.portName}/SCTP`, protocol: 'SCTP' }),
      plain(family, 3, { port: 1, nodePort: 1 }),
      plain(family, 4, { port: 65_535, nodePort: 65_535, protocol: 'UDP', key: 'ns/s4:p/UDP' }),
      plain(family, 5, { externalIPs: corners }),
      plain(family, 6, { loadBalancerVIPs: [shared[0]!], sourceRanges: ranges }),
      plain(family, 7, {
        loadBalancerVIPs: [clusterIP(900)],
        sourceRanges: ranges.filter((range) => !/\/[01]$/.test(range)),
      }),
      plain(family, 8, { loadBalancerVIPs: [clusterIP(901)], sourceRanges: ranges.slice(2, 4) }),
      plain(family, 9, {
        loadBalancerVIPs: [clusterIP(902)],
        sourceRanges: clients.map((ip) => `${ip}/${family === 'IPv4' ? 32 : 128}`),
      }),
      ...Array.from({ length: 120 }, (_, index) =>
        plain(family, 20 + index, { affinitySeconds: 1 + index * 726, nodePort: 31_000 + index }),
      ),
    ];
    const running = await start({});
    await running.backend.sync(full(family, ports));
    await assertSame(running, full(family, ports), false);
    const table = await readTable(running, family);
    const comment = rowsOf(table, 'services').get(`${clusterIP(2)} sctp 80`) ?? '';
    assert.match(comment, /# n{63}\/s+\.\.\.$/);
    assert.is(Buffer.byteLength(comment.replace(/^.* # /, '')), 120);
    running.end();
    const again = await start({});
    assert.is((await again.backend.sync(full(family, ports))).operations, 0);
    again.end();
  });

  test(`${family}: of 65,540 endpoints 65,535 are used, and one that leaves makes room for one that was left out`, async () => {
    const one = await start({});
    const many = plain(family, 1, { cluster: endpoints(family, 65_540) });
    await one.backend.sync(full(family, [many]));
    const held = async () => listsOf(await readTable(one, family), 'endpoints').get(`${many.clusterIP} tcp 80`) ?? [];
    assert.is((await held()).length, COUNT_MASK);
    const fewer = { ...many, cluster: many.cluster.filter((_, index) => index !== 5) };
    const { operations } = await one.backend.sync({ ...full(family, [fewer]), full: false });
    assert.ok(operations < 20, String(operations));
    // Which ones are left out is free.
    const list = await held();
    assert.is(list.length, COUNT_MASK);
    const offered = new Set(fewer.cluster.map(({ ip, port }) => `${ip} ${port}`));
    assert.ok(list.every((endpoint) => offered.has(endpoint)));
  });
}

test('session affinity has handles for 16,383 endpoints of a service port; the others are without', async () => {
  const one = await start({});
  const many = plain('IPv4', 1, { cluster: endpoints('IPv4', 16_390), affinitySeconds: 60 });
  await one.backend.sync(full('IPv4', [many]));
  await assertSame(one, full('IPv4', [many]), false);
  const table = await readTable(one, 'IPv4');
  assert.is(elementsOf(table, 'affinity-handles').length, MAX_AFFINITY_HANDLES);
  assert.is(elementsOf(table, 'affinity-endpoints').length, MAX_AFFINITY_HANDLES);
  assert.is(elementsOf(table, 'endpoints').length, 16_390);
});

test.run();
