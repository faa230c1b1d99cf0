/** What must not pass, or only in another's name: source ranges, INVALID packets, loopback from outside, masquerading. */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { cidrContains } from '../../core/model/ip.ts';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import { answerer, ask, BOTH, type DataPlane, flagsOf, play, run, serviceOf } from './backend-scene.ts';
import type { World } from './world.ts';

const LB_VIP: Readonly<Record<IPFamily, string>> = { IPv4: '203.0.113.8', IPv6: '2001:db8:113::8' };
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

/** Of loopback addresses see `loopbackTest`. */
export function guardTests(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);
  const webObjects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods);

  test(`${plane.title}: source ranges of many lengths that overlap let in exactly whom they contain`, async () => {
    const objects = (world: World, sourceRanges: readonly string[]) => [
      ...serviceOf(
        { name: 'lb', clusterIPs: BOTH, type: 'LoadBalancer', loadBalancerVIPs: Object.values(LB_VIP), sourceRanges },
        world.pods,
      ),
      // Its ranges must not leak into the first one's, nor the other way round.
      ...serviceOf(
        {
          name: 'other',
          clusterIPs: { IPv4: '10.96.0.11', IPv6: 'fd00:10:96::11' },
          type: 'LoadBalancer',
          loadBalancerVIPs: ['203.0.113.9', '2001:db8:113::9'],
          sourceRanges: ['192.168.50.109/32', 'fd00:50::109/128'],
        },
        world.pods,
      ),
    ];
    const states = [
      // Nested, adjacent, equal starts, equal ends, one address alone.
      ['192.168.50.96/29', '192.168.50.100/30', '192.168.50.103/32', '192.168.50.104/31', '192.168.50.108/32'],
      ['192.168.50.103/32', '192.168.50.0/25', '192.168.50.96/27', '192.168.50.112/28'],
      ['10.0.0.0/8', '192.168.50.105/32'],
      ['192.168.50.105/32', '0.0.0.0/0'],
      [],
    ];
    const six = (range: string) => {
      if (range === '0.0.0.0/0') return '::/0';
      const [address = '', length] = range.split('/');
      if (!address.startsWith('192.168.50.')) return 'fd77::/16';
      return `fd00:50::${Number(address.split('.')[3]).toString(16)}/${96 + Number(length)}`;
    };
    await play(
      { flags, objects: (world) => objects(world, ['192.168.50.111/32']), world: { clientAddressCount: 12 } },
      async ({ world, proxy }) => {
        // By number, so that both families' sources are in the same ranges.
        for (let n = 100; n < 112; n++) {
          const address = `fd00:50::${n.toString(16)}/64`;
          await world.exec('client', 'ip', ['address', 'replace', address, 'dev', 'eth0', 'nodad']);
        }
        for (const ranges of states) {
          await proxy.apply(objects(world, [...ranges, ...ranges.map(six)]));
          for (const family of FAMILIES) {
            const sources = Array.from({ length: 12 }, (_, k) =>
              family === 'IPv4' ? `192.168.50.${100 + k}` : `fd00:50::${(100 + k).toString(16)}`,
            );
            const own = family === 'IPv4' ? ranges : ranges.map(six);
            const expected = sources.map((ip) => own.length === 0 || own.some((range) => cidrContains(range, ip)));
            const requests = sources.map((sourceIP, index) => ({
              protocol: 'TCP' as const,
              sourceIP,
              destinationIP: LB_VIP[family],
              destinationPort: 80,
              timeoutMs: expected[index] ? 3000 : 400,
            }));
            const outcomes = (await world.requests('client', requests)).map(answerer);
            assert.equal(
              outcomes.map((who) => (who.startsWith('pod-') ? 'let in' : who)),
              expected.map((allowed) => (allowed ? 'let in' : 'timeout')),
              `${family}, ${own.join(' ')}`,
            );
          }
        }
      },
    );
  });

  test(`${plane.title}: with --masquerade-all even a pod's connection to a clusterIP shows the node's address`, async () => {
    const all = [...flags, '--masquerade-all=true'];
    await play({ flags: all, objects: webObjects }, async ({ world }) => {
      for (const family of FAMILIES) {
        const request = { protocol: 'TCP' as const, destinationIP: BOTH[family], destinationPort: 80, timeoutMs: 1500 };
        for (const namespace of ['pod-a', 'client']) {
          const outcome = await world.request(namespace, request);
          const peer = outcome.outcome === 'answered' ? outcome.peer : outcome.outcome;
          assert.ok(world.nodeIPs[family].includes(peer), `${namespace}: ${peer}`);
        }
        // What goes to no Service is nobody's business.
        const direct = { ...request, destinationIP: world.pods[1]!.ip[family], destinationPort: ENDPOINT_PORT };
        const outcome = await world.request('pod-a', direct);
        assert.is(outcome.outcome === 'answered' && outcome.peer, world.pods[0]!.ip[family]);
      }
    });
  });

  // Where the node itself answers, what it forwards between others is not the data plane's business.
  for (const liberal of plane.hidesSources ? [] : [false, true]) {
    const what = liberal ? 'pass with --conntrack-tcp-be-liberal' : 'are dropped';
    test(`${plane.title}: packets that conntrack calls INVALID ${what}`, async () => {
      // A connection older than any use of conntrack here: no entry knows it, and strictly none may be made for it.
      let held: Awaited<ReturnType<World['hold']>>[] = [];
      const prepare = async (world: World) => {
        await world.exec('node', 'sh', ['-c', 'echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose']);
        held = await Promise.all(
          FAMILIES.map((family) => {
            const destinationIP = world.pods[0]!.ip[family];
            return world.hold('client', { protocol: 'TCP', destinationIP, destinationPort: ENDPOINT_PORT });
          }),
        );
        for (const flow of held) assert.is(answerer(flow.first), 'pod-a');
      };
      const options = { flags: [...flags, `--conntrack-tcp-be-liberal=${liberal}`], objects: webObjects, prepare };
      await play(options, async () => {
        const answers = await Promise.all(held.map(async (flow) => answerer(await flow.ping(liberal ? 3000 : 600))));
        assert.equal(answers, liberal ? ['pod-a', 'pod-a'] : ['timeout', 'timeout']);
      });
    });
  }

  test(`${plane.title}: with node ports switched off on localhost, its own programs have the port there`, async () => {
    const objects = (world: World) =>
      serviceOf({ name: 'np', clusterIPs: BOTH, type: 'NodePort', nodePort: 30090 }, world.pods);
    const off = [...flags, '--iptables-localhost-nodeports=false'];
    await play({ flags: off, objects }, async ({ world }) => {
      await world.serve('node', { protocol: 'TCP', port: 30090, server: 'own', addresses: ['127.0.0.1', '::1'] });
      for (const destinationIP of ['127.0.0.1', '::1']) {
        const request = { protocol: 'TCP' as const, destinationIP, destinationPort: 30090 };
        assert.is(answerer(await world.request('node', request)), 'own');
      }
      assert.match((await ask(world, 'client', [undefined], world.nodeIPs.IPv4[0], 30090))[0]!, /^pod-/);
      assert.is((await run(world, 'cat /proc/sys/net/ipv4/conf/all/route_localnet')).trim(), '0');
    });
  });
}

/** For data planes that can send what comes from a loopback address elsewhere. */
export function loopbackTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: node ports answer on loopback addresses, and what listens only there stays the node's own`, async () => {
    const local = '127.0.0.9';
    const objects = (world: World) =>
      serviceOf({ name: 'np', clusterIPs: BOTH, type: 'NodePort', nodePort: 30090 }, world.pods);
    const fromClient = (world: World, destinationPort: number) =>
      world.request('client', { protocol: 'TCP', destinationIP: local, destinationPort, timeoutMs: 600 });
    const prepare = async (world: World) => {
      // A neighbour that sends packets to 127.0.0.9 by way of the node, and what would happen if nothing stopped it.
      for (const line of [
        'rule add pref 50 to 127.0.0.9 lookup 77',
        'rule add pref 100 lookup local',
        'rule del pref 0',
        'route add 127.0.0.9 via 192.168.50.10 src 192.168.50.100 table 77',
      ]) {
        await world.exec('client', 'ip', line.split(' '));
      }
      const allow = 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet';
      await world.exec('client', 'sh', ['-c', allow]);
      await world.exec('node', 'sh', ['-c', allow]);
      await world.serve('node', { protocol: 'TCP', port: 9999, server: 'private', addresses: [local] });
      assert.is(answerer(await fromClient(world, 9999)), 'private', 'the attack works where nothing guards');
    };
    await play({ flags, objects, prepare }, async ({ world }) => {
      assert.is(answerer(await fromClient(world, 9999)), 'timeout');
      for (const destinationIP of ['127.0.0.1', local]) {
        const request = { protocol: 'TCP' as const, destinationIP, destinationPort: 30090, timeoutMs: 1500 };
        assert.match(answerer(await world.request('node', request)), /^pod-/, destinationIP);
      }
      const own = { protocol: 'TCP' as const, destinationIP: local, destinationPort: 9999 };
      assert.is(answerer(await world.request('node', own)), 'private');
    });
  });
}
