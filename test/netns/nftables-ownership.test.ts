/** What is ours stays ours, by ownership where the kernel has it, by repair where not; what is others' stays theirs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { skip } from '../skip.ts';
import {
  chainNames,
  listTable,
  NFT_FAMILY,
  nftablesPlane,
  ownershipProblem,
  someElements,
  TABLE,
  tableHandle,
  tableNames,
} from './backend-nftables.ts';
import { answersFrom, ask, BOTH, cleanup, flagsOf, play, serviceOf, VIP, VIP6 } from './backend-scene.ts';
import { isolateTests } from './isolated.ts';
import type { World } from './world.ts';

await isolateTests(['nftables']);
const test = suite('nftables ownership');
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const owned = flagsOf(nftablesPlane());
const open = flagsOf(nftablesPlane('ownership=off'));
const REQUEST = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 };

const webObjects = (world: World) => [
  ...serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 600, type: 'NodePort', nodePort: 30080 }, world.pods),
  ...serviceOf({ name: 'plain', clusterIPs: { IPv4: '10.96.0.11', IPv6: 'fd00:10:96::11' } }, world.pods.slice(0, 1)),
  ...serviceOf({ name: 'empty', clusterIPs: { IPv4: '10.96.0.12', IPv6: 'fd00:10:96::12' } }, []),
];

/** Status and error text of an nft command, words parted by single blanks. */
async function nft(world: World, line: string): Promise<string> {
  try {
    await world.exec('node', 'nft', line.split(' '));
    return 'done';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Lines of listings that only one has, in whatever order; but for the marker of test/conformance/proxy.ts. */
function differences(actual: string, expected: string): string[] {
  const lines = (listing: string) =>
    listing.split('\n').filter((line) => !/marker-|10\.111\.255\.254|::fffe/.test(line));
  const left = new Set(lines(expected));
  const added = lines(actual).filter((line) => !left.delete(line));
  return [...added.map((line) => `+ ${line}`), ...[...left].map((line) => `- ${line}`)];
}

async function both(world: World): Promise<string> {
  return (await Promise.all(FAMILIES.map((family) => listTable(world, family)))).join('\n');
}

async function served(world: World): Promise<void> {
  for (const address of [VIP, VIP6]) assert.match(await answersFrom(world, 'client', address), /^pod-/, address);
  assert.is(await answersFrom(world, 'pod-b', '10.96.0.11'), 'pod-a');
  assert.is(await answersFrom(world, 'client', '10.96.0.12'), 'refused');
  assert.match(await answersFrom(world, 'client', world.nodeIPs.IPv4[0], 30080), /^pod-/);
}

/** Runs lines of nft over and over, each by itself, until stopped; returns what the last round said. */
function inLoop(world: World, lines: readonly string[]): { stop(): Promise<string> } {
  const script = `while [ ! -e /run/enough ]; do { ${lines.map((line) => `nft '${line}'`).join('; ')}; } >/run/said 2>&1; done`;
  const child = world.spawn('node', 'sh', ['-c', script], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return {
    async stop() {
      await world.exec('node', 'sh', ['-c', 'touch /run/enough']);
      await ended;
      const { stdout } = await world.exec('node', 'sh', ['-c', 'cat /run/said; rm -f /run/said /run/enough']);
      return stdout;
    },
  };
}

const problem = ownershipProblem();
const ownedTest = (title: string, run: () => Promise<void>): void => {
  if (problem === '') test(title, run);
  else skip(title, problem);
};

ownedTest('a foreign flush of the whole ruleset takes nothing of ours, and no connection fails', async () => {
  await play({ flags: owned, objects: webObjects }, async ({ world, proxy }) => {
    const before = await both(world);
    const from = proxy.lines.length;
    const flood = await world.flood('client', { request: REQUEST, limitMs: 60_000 });
    await nft(world, 'add table ip someone');
    for (let k = 0; k < 5; k++) assert.is(await nft(world, 'flush ruleset'), 'done');
    assert.not.ok((await tableNames(world)).includes('ip someone'));
    assert.equal(differences(await both(world), before), []);
    await sleep(1500);
    const { total, outcomes } = await flood.stop();
    assert.equal(outcomes, { answered: total });
    assert.equal(
      proxy.lines.slice(from).filter(({ level }) => level !== 'info'),
      [],
    );
    await served(world);
  });
});

ownedTest('a hostile writer is refused whatever it tries, for as long as it tries, and changes go on', async () => {
  await play({ flags: owned, objects: webObjects }, async ({ world, proxy }) => {
    const chains = await chainNames(world);
    const elements = await someElements(world);
    assert.ok(chains.length > 0 && elements.length > 0);
    const attacks = [
      `delete table ip ${TABLE}`,
      `flush table ip ${TABLE}`,
      `add rule ip ${TABLE} ${chains[0]} drop`,
      `flush chain ip ${TABLE} ${chains[0]}`,
      `add chain ip ${TABLE} intruder`,
      `delete element ip ${TABLE} ${elements[0]!.set} { ${elements[0]!.key} }`,
    ];
    const before = await both(world);
    for (const attack of attacks) assert.match(await nft(world, attack), /Operation not permitted/, attack);
    const flood = await world.flood('client', { request: REQUEST, limitMs: 60_000 });
    const writer = inLoop(world, [...attacks, 'flush ruleset', 'add table ip noise', 'delete table ip noise']);
    await sleep(1000);
    for (let round = 0; round < 5; round++) {
      const more = serviceOf({ name: 'more', clusterIPs: { IPv4: `10.96.1.${round + 1}` } }, world.pods.slice(0, 1));
      await proxy.apply([...webObjects(world), ...more]);
      assert.is(await answersFrom(world, 'client', `10.96.1.${round + 1}`), 'pod-a');
    }
    await proxy.apply(webObjects(world));
    const said = await writer.stop();
    assert.is(said.match(/Operation not permitted/g)?.length, attacks.length, said);
    const { total, outcomes } = await flood.stop();
    assert.equal(outcomes, { answered: total });
    assert.equal(differences(await both(world), before), []);
    await served(world);
    assert.is(await proxy.stop(), 0, 'the program lives until told to end');
  });
});

ownedTest('our table survives the end of the program, and the next start takes it over as it is', async () => {
  await play({ flags: [...owned, '-v', '2'], objects: webObjects }, async ({ world, proxy }) => {
    const handles = async () => [await tableHandle(world), await tableHandle(world, 'IPv6')];
    const [before, handlesBefore] = [await both(world), await handles()];
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      assert.is(await nft(world, 'flush ruleset'), 'done');
      await proxy.stop(signal);
      // Now anyone may delete it; that nobody does is all that a table without an owner can hope for.
      await served(world);
      await proxy.start();
      assert.equal(await handles(), handlesBefore);
      assert.equal(differences(await both(world), before), []);
      assert.match(await nft(world, `delete table ip ${TABLE}`), /Operation not permitted/, 'owned again');
    }
  });
});

ownedTest(
  'a table of our name that another process owns is told of, and ours as soon as that process ends',
  async () => {
    let holder: ReturnType<World['spawn']> | undefined;
    const prepare = async (world: World) => {
      holder = world.spawn('node', 'nft', ['-i'], { stdio: ['pipe', 'ignore', 'ignore'] });
      holder.stdin!.write(`add table ip ${TABLE} { flags owner; }\n`);
      for (let k = 0; k < 100 && !(await tableNames(world)).includes(`ip ${TABLE}`); k++) await sleep(20);
      setTimeout(() => holder?.stdin?.end(), 2500);
    };
    await play({ flags: owned, objects: webObjects, prepare }, async ({ world, proxy }) => {
      const failure = proxy.lines.find((line) => line.level === 'error');
      assert.match(String(failure?.error), /IPv4.*(own|EPERM)/s);
      await proxy.waitFor('a sync of IPv4', (line) => line.msg === 'Synced' && line.family === 'IPv4');
      await served(world);
    });
  },
);

type Vandalism = (world: World, family: IPFamily) => Promise<readonly string[]>;
const prefix = (family: IPFamily) => `${NFT_FAMILY[family]} ${TABLE}`;
const vandalism: readonly (readonly [title: string, commands: Vandalism])[] = [
  ['the whole ruleset is flushed', async (_, family) => [`flush ruleset ${NFT_FAMILY[family]}`]],
  ['our table is deleted', async (_, family) => [`delete table ${prefix(family)}`]],
  ['the rules of our table are flushed', async (_, family) => [`flush table ${prefix(family)}`]],
  [
    'a rule is put into a chain of ours',
    async (world, family) => [`insert rule ${prefix(family)} ${(await chainNames(world, family))[0]} counter drop`],
  ],
  [
    'each chain of ours that packets enter loses its rules',
    async (world, family) => {
      const chains = (await chainNames(world, family)).slice(0, 3);
      return chains.map((chain) => `flush chain ${prefix(family)} ${chain}`);
    },
  ],
  ['a chain is added to our table', async (_, family) => [`add chain ${prefix(family)} intruder`]],
  [
    'an element of each of our sets is deleted',
    async (world, family) =>
      (await someElements(world, family)).map(({ set, key }) => `delete element ${prefix(family)} ${set} { ${key} }`),
  ],
  [
    'all elements of a set are flushed',
    async (world, family) => {
      const [first] = await someElements(world, family);
      return [`flush ${first!.kind} ${prefix(family)} ${first!.set}`];
    },
  ],
];
for (const [index, [title, commands]] of vandalism.entries()) {
  // The first with the usual pause between two looks, which is 5 s.
  const flags = index === 0 ? open : [...open, '--iptables-sync-period', '1s'];
  test(`without ownership: ${title}: noticed and repaired within seconds`, async () => {
    await play({ flags, objects: webObjects }, async ({ world, proxy }) => {
      for (const family of FAMILIES) {
        const before = await listTable(world, family);
        const from = proxy.lines.length;
        const lines = await commands(world, family);
        assert.ok(lines.length > 0);
        const results = await Promise.all(lines.map((line) => nft(world, line)));
        assert.ok(results.includes('done'), results.join('\n'));
        const ofFamily = (level: string) => (line: { level: string; family?: unknown }) =>
          line.level === level && line.family === family;
        const warning = await proxy.waitFor('a warning', ofFamily('warn'), from);
        assert.ok(String(warning.reason).length > 10, String(warning.reason));
        await proxy.waitFor('the repair', (line) => line.sync === 'full' && line.family === family, from);
        assert.equal(differences(await listTable(world, family), before), []);
      }
      await served(world);
    });
  });
}

test('without ownership: a writer that deletes our table in a loop wins while it runs, and not a second longer', async () => {
  await play({ flags: [...open, '--iptables-sync-period', '1s'], objects: webObjects }, async ({ world, proxy }) => {
    const before = await both(world);
    const chain = (await chainNames(world))[0]!;
    const [element] = await someElements(world);
    const writer = inLoop(world, [
      `delete element ip ${TABLE} ${element!.set} { ${element!.key} }`,
      `add rule ip ${TABLE} ${chain} drop`,
      `delete table ip ${TABLE}`,
      `flush ruleset`,
    ]);
    await sleep(1500);
    // Changes are tried all the same.
    const changed = proxy.apply([
      ...webObjects(world),
      ...serviceOf({ name: 'x', clusterIPs: { IPv4: '10.96.9.9' } }, []),
    ]);
    await sleep(1500);
    await writer.stop();
    await changed;
    await proxy.apply(webObjects(world));
    for (let k = 0; k < 100 && differences(await both(world), before).length > 0; k++) await sleep(100);
    assert.equal(differences(await both(world), before), []);
    await served(world);
    assert.is(await proxy.stop(), 0, 'the program survived');
  });
});

test('what stands in a table of our name but is not ours is replaced, and what is ours in it is kept', async () => {
  const prepare = (world: World) =>
    world.exec('node', 'nft', ['-f', '-'], {
      stdin: `table ip ${TABLE} {
  map endpoints { type ipv4_addr : ipv4_addr; }
  chain prerouting {
    type nat hook prerouting priority -110;
    ip daddr ${VIP} tcp dport 80 dnat to 10.9.9.9:1
  }
  chain someones {
    tcp dport 1 drop
  }
}
`,
    });
  await play({ flags: owned, objects: webObjects, prepare }, async ({ world }) => {
    assert.not.match(await listTable(world), /someones|10\.9\.9\.9/);
    await served(world);
  });
});

test('the tables of an upstream kube-proxy go when ours are live, and no connection fails on the way', async () => {
  const prepare = async (world: World) => {
    const { IPv4, IPv6 } = world.pods[0]!.ip;
    const table = (family: string, ip: string, vip: string, endpoint: string) => `table ${family} kube-proxy {
  comment "rules for kube-proxy"
  chain services { ${ip} daddr ${vip} tcp dport 80 dnat to ${endpoint}:8080; }
  chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
}
`;
    const stdin = [
      table('ip', 'ip', VIP, IPv4),
      table('ip6', 'ip6', VIP6, `[${IPv6}]`),
      'table inet kube-proxy-notes { chain mine { counter; }\n}\n',
      'table inet kube-proxy { chain mine { counter; }\n}\n',
    ].join('');
    await world.exec('node', 'nft', ['-f', '-'], { stdin });
    assert.is(await answersFrom(world, 'client'), 'pod-a');
    flood = await world.flood('client', { request: REQUEST, limitMs: 60_000 });
  };
  let flood: Awaited<ReturnType<World['flood']>> | undefined;
  const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(1, 2));
  await play({ flags: owned, objects, prepare }, async ({ world }) => {
    for (let k = 0; k < 250 && (await tableNames(world)).some((name) => /^ip6? kube-proxy$/.test(name)); k++) {
      await sleep(20);
    }
    const { total, outcomes } = await flood!.stop();
    assert.equal(outcomes, { answered: total });
    for (const address of [VIP, VIP6]) {
      const servers = await ask(world, 'client', new Array(20).fill(undefined), address);
      assert.equal([...new Set(servers)], ['pod-b']);
    }
    assert.equal((await tableNames(world)).toSorted(), [
      'inet kube-proxy',
      'inet kube-proxy-notes',
      `ip ${TABLE}`,
      `ip6 ${TABLE}`,
    ]);
  });
});

for (const [title, flags] of [
  ['with ownership', owned],
  ['without ownership', open],
] as const) {
  test(`${title}: cleanup removes what a killed program left, and nothing of anyone else`, async () => {
    const prepare = (world: World) =>
      world.exec('node', 'nft', ['-f', '-'], {
        stdin: `table ip mine { set s { type ipv4_addr; elements = { 10.1.1.1 }; }
  chain forward { type filter hook forward priority 0; ip saddr @s drop; }\n}
table inet ${TABLE} { chain c { counter; }\n}\n`,
      });
    await play({ flags, objects: webObjects, prepare }, async ({ world, proxy }) => {
      const foreign = async () => (await world.exec('node', 'nft', ['list', 'table', 'ip', 'mine'])).stdout;
      const before = await foreign();
      await proxy.stop('SIGKILL');
      const [status, said] = await cleanup(world);
      assert.is(status, 0, said);
      const tables = await tableNames(world);
      for (const name of [`inet ${TABLE}`, 'ip mine']) assert.ok(tables.includes(name), name);
      assert.equal(
        tables.filter((name) => /^ip6? kube-/.test(name)),
        [],
      );
      assert.is(await foreign(), before);
      assert.is(await answersFrom(world, 'client'), 'timeout');
      assert.is((await cleanup(world))[0], 0, 'cleaning up again finds nothing to do');
    });
  });
}
test.run();
