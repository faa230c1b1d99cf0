/** What rules count into the kernel's counters (nfacct), in both variants of iptables. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { openPacketCounters } from '../../core/netlink/nfacct.ts';
import { INVALID_DROPPED, LOCALHOST_ACCEPTED } from '../../plugins/iptables/packet-counters.ts';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import { skip } from '../skip.ts';
import { answerer, BOTH, cleanup, play, serviceOf } from './backend-scene.ts';
import { VARIANTS, variantFlags } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import type { World } from './world.ts';

await isolateTests();
const test = suite('iptables counters');
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

const READER = `
  import { openPacketCounters } from ${JSON.stringify(new URL('../../core/netlink/nfacct.ts', import.meta.url).href)};
  const counters = openPacketCounters();
  const names = ${JSON.stringify([INVALID_DROPPED, LOCALHOST_ACCEPTED])};
  console.log(JSON.stringify(names.map((name) => counters.read(name)?.packets ?? 'none')));`;

/** Packets dropped as INVALID, and packets accepted on node ports of loopback addresses; "none" without the counter. */
async function counted(world: World): Promise<readonly [invalid: number | 'none', localhost: number | 'none']> {
  const { stdout } = await world.exec('node', process.execPath, ['--input-type=module', '-e', READER]);
  return JSON.parse(stdout);
}

for (const variant of VARIANTS) {
  const flags = variantFlags(variant);

  test(`${variant}: connections to node ports on loopback addresses are counted, others are not`, async () => {
    const objects = (world: World) =>
      serviceOf({ name: 'np', clusterIPs: BOTH, type: 'NodePort', nodePort: 30090 }, world.pods);
    await play({ flags, objects }, async ({ world, proxy }) => {
      assert.equal(await counted(world), [0, 0]);
      const connect = async (destinationIP: string, destinationPort: number) => {
        const request = { protocol: 'TCP' as const, destinationIP, destinationPort, timeoutMs: 1500 };
        assert.match(answerer(await world.request('node', request)), /^pod-/, destinationIP);
      };
      for (const ip of ['127.0.0.1', '127.0.0.1', '127.0.0.9']) await connect(ip, 30090);
      assert.is((await counted(world))[1], 3);
      for (const ip of [world.nodeIPs.IPv4[0]!, world.nodeIPs.IPv6[0]!]) await connect(ip, 30090);
      await connect(BOTH.IPv4, 80);
      assert.is((await counted(world))[1], 3);
      await proxy.close();
      assert.is((await counted(world))[1], 3, 'counting goes on without the program');
      assert.is((await cleanup(world))[0], 0);
      assert.equal(await counted(world), ['none', 'none']);
    });
  });

  test(`${variant}: packets that are dropped because conntrack calls them INVALID are counted, of both families`, async () => {
    // Connections older than any use of conntrack here: no entry knows them, and strictly none may be made for them.
    const held: Awaited<ReturnType<World['hold']>>[] = [];
    const prepare = async (world: World) => {
      await world.exec('node', 'sh', ['-c', 'echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose']);
      for (const family of FAMILIES) {
        const destinationIP = world.pods[0]!.ip[family];
        held.push(await world.hold('client', { protocol: 'TCP', destinationIP, destinationPort: ENDPOINT_PORT }));
      }
    };
    const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods);
    await play({ flags, objects, prepare }, async ({ world }) => {
      let before = (await counted(world))[0];
      assert.is(before, 0);
      for (const [index, flow] of held.entries()) {
        assert.is(answerer(await flow.ping(600)), 'timeout');
        const [now] = await counted(world);
        assert.ok(Number(now) > Number(before), `${FAMILIES[index]}: ${before} to ${now}`);
        before = now;
      }
    });
  });
}

const counters = openPacketCounters();
try {
  counters.read(INVALID_DROPPED);
  test.run();
} catch (error) {
  skip('iptables counters', (error as Error).message);
} finally {
  counters.close();
}
