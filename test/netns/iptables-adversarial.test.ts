/** Hosts that are not as one would wish: other programs' rules in our way, held locks, odd Services, endpoints on the node. */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { startProxy } from '../conformance/proxy.ts';
import { quietTest } from './backend-addresses.ts';
import { oddServicesTest } from './backend-odd-services.ts';
import { answerer, answersFrom, BOTH, cleanup, play, run, serviceOf, VIP } from './backend-scene.ts';
import { iptablesPlane, save, VARIANTS, type Variant, variantFlags } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import type { World } from './world.ts';

await isolateTests(['iptables', 'ipset', 'nftables']);
const test = suite('iptables on adverse hosts');

const webObjects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 600 }, world.pods);

const answersClient = (world: World) => answersFrom(world, 'client');

/** Lines of ours, but for what kubelet shares. */
function ours(saved: string): string[] {
  return saved.split('\n').filter((line) => line.includes('KUBE-') && !line.includes('KUBE-FIREWALL'));
}

for (const variant of VARIANTS) {
  const flags = variantFlags(variant);
  quietTest(test, iptablesPlane(variant));
  oddServicesTest(test, iptablesPlane(variant));
  const iptables = (world: World, line: string) => run(world, `iptables-${variant} ${line}`);

  test(`${variant}: rules of other programs that lead to our chains stay, through restarts and cleanup`, async () => {
    const foreign = async (world: World) => {
      const saved = (await save(world, variant)).split('\n');
      return saved.filter((line) => /^-A (CNI-HOSTPORT|PREROUTING .*8099|OUTPUT .*8098)/.test(line));
    };
    await play({ flags, objects: webObjects }, async ({ world, proxy }) => {
      await iptables(world, '-t nat -N CNI-HOSTPORT');
      await iptables(world, '-t nat -A CNI-HOSTPORT -s 10.1.1.1 -j KUBE-MARK-MASQ');
      await iptables(world, '-t nat -I PREROUTING -p tcp --dport 8099 -j KUBE-MARK-MASQ');
      await iptables(world, '-t nat -A OUTPUT -p tcp --dport 8098 -j KUBE-MARK-MASQ');
      const expected = await foreign(world);
      assert.is(expected.length, 3);
      await proxy.stop();
      await proxy.start();
      await proxy.apply(serviceOf({ name: 'other', clusterIPs: BOTH }, world.pods));
      assert.equal(await foreign(world), expected);
      await proxy.stop();
      const [status, said] = await cleanup(world);
      assert.is(status, 1);
      assert.match(said, /KUBE-MARK-MASQ of the nat table is empty but stays, for another program's rule: -A /);
      assert.equal(await foreign(world), expected);
      assert.equal(
        ours(await save(world, variant)).filter((line) => !expected.includes(line)),
        [':KUBE-MARK-MASQ - [0:0]'],
      );
      for (const chain of ['CNI-HOSTPORT', 'PREROUTING', 'OUTPUT']) await iptables(world, `-t nat -F ${chain}`);
      assert.is((await cleanup(world))[0], 0);
      assert.equal(ours(await save(world, variant)), []);
    });
  });

  test(`${variant}: a chain of ours that someone else refers to when it must go holds up no sync`, async () => {
    await play({ flags, objects: webObjects }, async ({ world, proxy }) => {
      const chain = /^:(KUBE-SVC-\S+)/m.exec(await save(world, variant))![1]!;
      await iptables(world, '-t nat -N FOREIGN');
      await iptables(world, `-t nat -A FOREIGN -j ${chain}`);
      const next = serviceOf({ name: 'next', clusterIPs: BOTH }, world.pods.slice(1, 2));
      await proxy.apply(next);
      assert.is(await answersClient(world), 'pod-b');
      const saved = await save(world, variant);
      assert.match(saved, new RegExp(`^-A FOREIGN -j ${chain}$`, 'm'));
      assert.not.match(saved, new RegExp(`^-A ${chain} `, 'm'), 'it is empty');
    });
  });

  test(`${variant}: a loopback address that appears later is guarded before it answers on node ports`, async () => {
    const objects = (world: World) =>
      serviceOf({ name: 'np', clusterIPs: { IPv4: VIP }, type: 'NodePort', nodePort: 30090 }, world.pods);
    const prepare = (world: World) => run(world, 'ip address del 127.0.0.1/8 dev lo');
    const loopback = [...flags, '--nodeport-addresses', '127.0.0.0/8'];
    await play({ flags: loopback, objects, prepare }, async ({ world, proxy }) => {
      assert.not.match(await save(world, variant), /KUBE-FIREWALL/);
      const from = proxy.lines.length;
      await run(world, 'ip address add 127.0.0.1/8 dev lo');
      await proxy.waitFor('a sync', (line) => line.msg === 'Synced' && line.family === 'IPv4', from);
      assert.match(await save(world, variant), /-A KUBE-FIREWALL ! -s 127\.0\.0\.0\/8 -d 127\.0\.0\.0\/8 .* -j DROP/);
      const request = { protocol: 'TCP' as const, destinationIP: '127.0.0.1', destinationPort: 30090, timeoutMs: 1500 };
      assert.match(answerer(await world.request('node', request)), /^pod-/);
    });
  });

  test(`${variant}: a set of ours that another program's rule uses is named by cleanup, the rest goes`, async () => {
    const prepare = async (world: World) => {
      for (const name of ['KUBE-SEP-A', 'KUBE-SEP-B']) await run(world, `ipset create ${name} hash:ip timeout 5`);
      await run(world, 'ipset create KUBE-SOMEBODY hash:ip,port,ip');
      await iptables(world, '-A FORWARD -m set --match-set KUBE-SEP-A src -j ACCEPT');
    };
    await play({ flags, objects: webObjects, prepare }, async ({ world, proxy }) => {
      await proxy.stop();
      const [status, said] = await cleanup(world);
      assert.is(status, 1, said);
      assert.match(said, /ipset destroy KUBE-SEP-A: IPSET_ERR_BUSY/);
      const { stdout } = await world.exec('node', 'ipset', ['list', '-name']);
      assert.equal(stdout.trim().split('\n').sort(), ['KUBE-SEP-A', 'KUBE-SOMEBODY']);
    });
  });
}

for (const [before, after] of [
  ['nft', 'legacy'],
  ['legacy', 'nft'],
] as const) {
  test(`a node whose proxy used ${before} before and ${after} now has the rules of ${after} only`, async () => {
    await play({ flags: variantFlags(before), objects: webObjects }, async ({ world, proxy }) => {
      await run(world, `iptables-${before} -A FORWARD -s 10.9.0.0/16 -j ACCEPT`);
      await proxy.stop();
      const next = serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(1, 2));
      const second = await startProxy({ world, flags: variantFlags(after), objects: next });
      try {
        assert.equal(ours(await save(world, before)), []);
        assert.equal(ours(await save(world, before, 'IPv6')), []);
        assert.match(await save(world, before), /-A FORWARD -s 10\.9\.0\.0\/16 -j ACCEPT/);
        for (let request = 0; request < 8; request++) assert.is(await answersClient(world), 'pod-b');
      } finally {
        await second.close();
      }
    });
  });
}

test('legacy: a lock held for longer than iptables waits costs no family at start', async () => {
  let holder: ReturnType<World['spawn']> | undefined;
  const prepare = async (world: World) => {
    holder = world.spawn('node', 'flock', ['/run/xtables.lock', 'sleep', '6.5']);
    await sleep(200);
  };
  await play({ flags: variantFlags('legacy'), objects: webObjects, prepare }, async ({ world, proxy }) => {
    assert.is(holder?.exitCode, 0, 'the lock was held until its time was over');
    assert.is(proxy.lines.find((line) => line.msg === 'Ready')?.families, 'IPv4,IPv6');
    assert.match(await answersClient(world), /^pod-/);
    assert.match(await save(world, 'legacy'), /--match-set KUBE-SEP-/, 'nor the better affinity');
  });
});

test('nft: a rule that iptables has no words for doubles no jump, and cleanup removes ours beside it', async () => {
  const variant: Variant = 'nft';
  const hidden = 'add rule ip nat theirs meta mark & 0x00ff0000 == 0x00040000 counter masquerade';
  await play({ flags: variantFlags(variant), objects: webObjects }, async ({ world, proxy }) => {
    await world.exec('node', 'nft', ['add chain ip nat theirs']);
    await world.exec('node', 'nft', [hidden]);
    assert.match((await world.exec('node', 'iptables-nft-save', [])).stdout, /Table `nat' is incompatible/);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await proxy.stop(signal);
      await proxy.start();
    }
    await proxy.apply(serviceOf({ name: 'next', clusterIPs: BOTH }, world.pods.slice(1, 2)));
    assert.is(await answersClient(world), 'pod-b');
    const ruleset = async () => (await world.exec('node', 'nft', ['list', 'table', 'ip', 'nat'])).stdout;
    assert.is((await ruleset()).match(/jump KUBE-SERVICES/g)?.length, 2, 'PREROUTING and OUTPUT');
    await proxy.stop();
    const [status, said] = await cleanup(world);
    assert.is(status, 0, said);
    const left = await ruleset();
    assert.match(left, /chain theirs \{\s+meta mark/);
    assert.not.match(left, /KUBE-/);
  });
});
test.run();
