/** Hosts that are not as one would wish: other programs' rules in our way, held locks, odd Services, endpoints on the node. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { judge } from '../conformance/judge.ts';
import { ENDPOINT_PORT, probes, roundTrips } from '../conformance/matrix.ts';
import { DEFAULT_SETTINGS, modelState } from '../conformance/model-state.ts';
import { endpointSlice, type KubernetesObject, type ServiceSpec, service } from '../conformance/objects.ts';
import { startProxy } from '../conformance/proxy.ts';
import { answerer, play, save, serviceOf, VARIANTS, type Variant, variantFlags } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import { nodeAddresses } from './node-addresses.ts';
import type { World } from './world.ts';
import { CLUSTER_CIDR } from './world-topology.ts';

await isolateTests(['iptables', 'ipset', 'nftables']);
const MAIN = fileURLToPath(new URL('../../core/main.ts', import.meta.url));
const VIP = '10.96.0.10';
const BOTH = { IPv4: VIP, IPv6: 'fd00:10:96::10' };
const test = suite('iptables on adverse hosts');

const webObjects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 600 }, world.pods);

async function run(world: World, line: string): Promise<void> {
  const [command, ...args] = line.split(' ');
  await world.exec('node', command!, args);
}

async function answersClient(world: World): Promise<string> {
  const request = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 1500 };
  return answerer(await world.request('client', request));
}

/** Exit status of `kube-proxy cleanup` and what it said. */
async function cleanup(world: World): Promise<[status: number, said: string]> {
  const child = world.spawn('node', process.execPath, [MAIN, 'cleanup'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [status] = (await once(child, 'close')) as [number];
  return [status, said];
}

/** Lines of ours, but for what kubelet shares. */
function ours(saved: string): string[] {
  return saved.split('\n').filter((line) => line.includes('KUBE-') && !line.includes('KUBE-FIREWALL'));
}

for (const variant of VARIANTS) {
  const flags = variantFlags(variant);
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

  test(`${variant}: a node without Services and without an address for node ports raises no alarm`, async () => {
    const none = [...flags, '--nodeport-addresses', '198.51.100.0/24', '--iptables-sync-period', '500ms'];
    await play({ flags: none, objects: () => [] }, async ({ proxy }) => {
      // The marker Service of startProxy has no endpoints, so that the nat table's KUBE-SERVICES is empty.
      const from = proxy.lines.length;
      await sleep(2500);
      assert.equal(proxy.lines.slice(from), []);
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
      await run(world, 'ipset create KUBE-LOOP-BACK hash:ip,port,ip');
      await iptables(world, '-A FORWARD -m set --match-set KUBE-SEP-A src -j ACCEPT');
    };
    await play({ flags, objects: webObjects, prepare }, async ({ world, proxy }) => {
      await proxy.stop();
      const [status, said] = await cleanup(world);
      assert.is(status, 1, said);
      assert.match(said, /ipset destroy KUBE-SEP-A: IPSET_ERR_BUSY/);
      const { stdout } = await world.exec('node', 'ipset', ['list', '-name']);
      assert.equal(stdout.trim().split('\n').sort(), ['KUBE-LOOP-BACK', 'KUBE-SEP-A']);
    });
  });

  test(`${variant}: endpoints on the node, shared addresses and disputed ports do as the oracle says`, async () => {
    const settings = { ...DEFAULT_SETTINGS, clusterCIDRs: [CLUSTER_CIDR.IPv4, CLUSTER_CIDR.IPv6] };
    const families: readonly IPFamily[] = ['IPv4', 'IPv6'];
    const objects = (world: World) => families.flatMap((family) => oddServices(world, family));
    const prepare = async (world: World): Promise<void> => {
      const addresses = families.map((family) => world.nodeIPs[family][0]!);
      await world.serve('node', { protocol: 'TCP', port: ENDPOINT_PORT, server: 'node process', addresses });
    };
    await play({ flags, objects, prepare }, async ({ world }) => {
      const addresses = await nodeAddresses(world);
      for (const family of families) {
        const state = modelState(family, oddServices(world, family), settings, addresses);
        const questions = probes(state.ports, state.node, family, world).filter(roundTrips);
        const faults: string[] = [];
        for (const [namespace, asked] of Map.groupBy(questions, (question) => question.namespace)) {
          const outcomes = await world.requests(
            namespace,
            asked.map(({ packet }) => packet),
          );
          for (const [index, outcome] of outcomes.entries()) {
            // What is delivered on this very node passes no POSTROUTING, and needs no masquerading.
            const delivered = outcome.outcome === 'answered' && outcome.server === 'node process';
            const fault = judge(asked[index]!, outcome, state.node);
            if (fault !== undefined && !(delivered && fault.includes('address masqueraded'))) faults.push(fault);
          }
        }
        console.log(`# ${family}: ${questions.length} requests, ${faults.length} wrong`);
        assert.equal(faults.slice(0, 8), []);
        assert.ok(questions.length > 200);
      }
    });
  });
}

/** Each in a namespace of its family, so that both families can be served at once. */
function oddServices(world: World, family: IPFamily): KubernetesObject[] {
  const six = family === 'IPv6';
  const namespace = family.toLowerCase();
  const external = (n: number) => (six ? `2001:db8:113::${n}` : `203.0.113.${n}`);
  const [here, second] = world.nodeIPs[family] as readonly [string, string];
  const pods = world.pods.map((pod) => ({ ip: pod.ip[family], nodeName: 'node' }));
  const [first, other, third] = pods as [(typeof pods)[0], (typeof pods)[0], (typeof pods)[0]];
  const onNode = { ip: here, nodeName: 'node' };
  const remote = { ip: world.remotePods[0]!.ip[family], nodeName: 'remote' };
  const denied = { sourceRanges: [six ? '2001:db8:100::/64' : '198.51.100.0/24', six ? 'fd99::/16' : '198.51.0.0/16'] };
  const objects: KubernetesObject[] = [];
  const add = (
    spec: Partial<Omit<ServiceSpec, 'ports'>> & { port?: number; nodePort?: number },
    endpoints: readonly (typeof onNode)[],
  ): void => {
    const { port = 80, nodePort = 0, ...rest } = spec;
    const n = objects.length + 1;
    const { name = `odd-${n}` } = rest;
    const clusterIPs = { [family]: six ? `fd00:10:96::5${n.toString(16).padStart(2, '0')}` : `10.96.5.${n}` };
    const type = nodePort === 0 ? 'ClusterIP' : 'NodePort';
    objects.push(
      service({ type, ...rest, name, namespace, clusterIPs, ports: [{ name: '', protocol: 'TCP', port, nodePort }] }),
    );
    const at = { name: '', protocol: 'TCP' as const, port: ENDPOINT_PORT };
    objects.push(endpointSlice({ service: name, namespace, family, port: at, endpoints }));
  };
  // A pod that reaches itself, and a process of the node that is an endpoint, by every way and policy.
  let nodePort = six ? 31000 : 30000;
  for (const externalPolicy of ['Cluster', 'Local'] as const) {
    for (const internalPolicy of ['Cluster', 'Local'] as const) {
      for (const endpoints of [[first], [onNode], [onNode, first]]) {
        const externalIPs = [external(objects.length + 1)];
        add(
          { nodePort: ++nodePort, externalIPs, externalPolicy, internalPolicy, affinitySeconds: nodePort % 2 },
          endpoints,
        );
      }
    }
  }
  // An address of the node as VIP or external IP, on the port of another Service's node port.
  const contested: readonly (readonly [Parameters<typeof add>[0], readonly (typeof onNode)[]])[] = [
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here] }, [third]],
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here] }, []],
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here], ...denied }, [first]],
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here], ...denied }, []],
    [{ externalIPs: [second] }, []],
    [{ externalIPs: [second], externalPolicy: 'Local' }, [remote]],
  ];
  for (const [spec, endpoints] of contested) {
    add({ nodePort: ++nodePort }, [other]);
    add({ ...spec, port: nodePort }, endpoints);
  }
  // One node port, claimed twice; the smaller name has it, endpoints or not.
  add({ name: 'disputed-a', nodePort: ++nodePort, externalPolicy: 'Local' }, [remote]);
  add({ name: 'disputed-b', nodePort }, [other]);
  // Many ports of one external address: deep in the dispatch tree.
  for (let k = 0; k < 40; k++) add({ externalIPs: [external(240)], port: 1000 + k * 37 }, [pods[k % 3]!]);
  return objects;
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
