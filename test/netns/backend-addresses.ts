/** Who owns an address and port when several could: Services among each other, node ports, the host's own programs. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { service } from '../conformance/objects.ts';
import type { Outcome } from './agent-protocol.ts';
import { answerer, answersFrom, BOTH, type DataPlane, flagsOf, play, serviceOf, VIP } from './backend-scene.ts';
import type { World } from './world.ts';
import { SERVICE_CIDR } from './world-topology.ts';

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

export function addressTests(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: the same external address in two Services belongs to one of them, and passes on`, async () => {
    const objects = (world: World, names: readonly string[]) =>
      names.flatMap((name) =>
        serviceOf(
          { name, clusterIPs: { IPv4: `10.96.0.${20 + name.charCodeAt(0) - 97}` }, externalIPs: ['203.0.113.7'] },
          world.pods.slice(name.charCodeAt(0) - 97, name.charCodeAt(0) - 96),
        ),
      );
    await play({ flags, objects: (world) => objects(world, ['b', 'a']) }, async ({ world, proxy }) => {
      assert.is(await answersFrom(world, 'client', '203.0.113.7'), 'pod-a');
      await proxy.apply(objects(world, ['b']));
      assert.is(await answersFrom(world, 'client', '203.0.113.7'), 'pod-b');
      await proxy.apply(objects(world, ['a', 'b']));
      assert.is(await answersFrom(world, 'client', '203.0.113.7'), 'pod-a');
    });
  });

  test(`${plane.title}: a node port without endpoints leaves other addresses of the host to the host's own programs`, async () => {
    const objects = () => [
      service({
        name: 'np',
        clusterIPs: { IPv4: VIP },
        type: 'NodePort',
        ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: 30090 }],
      }),
    ];
    await play({ flags: [...flags, '--nodeport-addresses', '192.168.50.0/24'], objects }, async ({ world }) => {
      const [primary, second] = world.nodeIPs.IPv4;
      await world.serve('node', { protocol: 'TCP', port: 30090, server: 'host process' });
      assert.is(await answersFrom(world, 'client', primary, 30090), 'refused');
      assert.is(await answersFrom(world, 'client', second, 30090), 'host process');
    });
  });

  test(`${plane.title}: a clusterIP that is an address of the node, too, is refused rather than passed to a node port`, async () => {
    const port = { name: '', protocol: 'TCP' as const, port: 30092, nodePort: 0 };
    const objects = (world: World) => [
      service({ name: 'empty', clusterIPs: { IPv4: world.nodeIPs.IPv4[1]! }, ports: [port] }),
      ...serviceOf({ name: 'np', clusterIPs: { IPv4: VIP }, type: 'NodePort', nodePort: 30092 }, world.pods),
    ];
    await play({ flags, objects }, async ({ world }) => {
      const [primary, second] = world.nodeIPs.IPv4;
      for (const namespace of ['client', 'pod-a', 'node']) {
        assert.is(await answersFrom(world, namespace, second, 30092), 'refused', namespace);
        assert.match(await answersFrom(world, namespace, primary, 30092), /^pod-/, namespace);
      }
    });
  });

  test(`${plane.title}: an address that the node gains answers on node ports within seconds`, async () => {
    const objects = (world: World) =>
      serviceOf({ name: 'np', clusterIPs: { IPv4: VIP }, type: 'NodePort', nodePort: 30090 }, world.pods);
    await play({ flags: [...flags, '--nodeport-addresses', '192.168.60.0/24'], objects }, async ({ world, proxy }) => {
      const from = proxy.lines.length;
      await world.exec('node', 'ip', ['address', 'add', '192.168.60.77/24', 'dev', 'eth0']);
      await proxy.waitFor('a sync', (line) => line.msg === 'Synced', from);
      assert.match(await answersFrom(world, 'client', '192.168.60.77', 30090), /^pod-/);
      assert.is(await answersFrom(world, 'client', world.nodeIPs.IPv4[0], 30090), 'refused');
    });
  });
}

export function quietTest(test: Test, plane: DataPlane): void {
  test(`${plane.title}: a node without Services and without an address for node ports raises no alarm`, async () => {
    const often = ['--iptables-sync-period', '500ms', '--ipvs-sync-period', '500ms'];
    const none = [...flagsOf(plane), '--nodeport-addresses', '198.51.100.0/24', ...often];
    await play({ flags: none, objects: () => [] }, async ({ proxy }) => {
      // The marker Service of startProxy has no endpoints, so that the nat table's KUBE-SERVICES is empty.
      const from = proxy.lines.length;
      await sleep(2500);
      assert.equal(proxy.lines.slice(from), []);
    });
  });
}

const UNALLOCATED: Readonly<Record<IPFamily, string>> = { IPv4: '10.96.77.77', IPv6: 'fd00:10:96::7777' };

/** For data planes that answer for whole clusterIPs and for the ranges they come from. */
export function clusterIPTests(test: Test, plane: DataPlane): void {
  const namespaces = ['client', 'pod-a', 'node'];

  test(`${plane.title}: ports that a clusterIP does not have are refused; unallocated ones of --service-cidr are silence`, async () => {
    const flags = flagsOf(plane, '--service-cidr', `${SERVICE_CIDR.IPv4},${SERVICE_CIDR.IPv6}`);
    const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods);
    await play({ flags, objects }, async ({ world, proxy }) => {
      // Its own host tells a UDP sender of REJECT and DROP alike by a failing send.
      const told = (outcome: Outcome) =>
        outcome.outcome === 'unreachable' && outcome.code === 'EPERM' ? 'EPERM' : answerer(outcome);
      const asking = namespaces.map(async (namespace) => {
        const asked = (['TCP', 'UDP'] as const).flatMap((protocol) =>
          FAMILIES.flatMap((family) => [
            { expected: 'refused', protocol, destinationIP: BOTH[family], destinationPort: 81, timeoutMs: 600 },
            { expected: 'timeout', protocol, destinationIP: UNALLOCATED[family], destinationPort: 80, timeoutMs: 600 },
          ]),
        );
        const outcomes = await world.requests(namespace, asked);
        for (const [index, { expected, protocol, destinationIP, destinationPort }] of asked.entries()) {
          const got = told(outcomes[index]!);
          const what = `${protocol} from ${namespace} to ${destinationIP} port ${destinationPort}: ${got}`;
          assert.ok([expected, 'EPERM'].includes(got), what);
        }
      });
      await Promise.all(asking);
      // What is dropped is told by its absence on the wire, since nobody answers there in any case.
      await world.exec('lan', 'nft', ['-f', '-'], { stdin: COUNT_LOST });
      await world.request('pod-a', { protocol: 'TCP', destinationIP: UNALLOCATED.IPv4, destinationPort: 80 });
      const lost = async () => (await world.exec('lan', 'nft', ['list', 'table', 'ip', 'lost'])).stdout;
      assert.match(await lost(), /counter packets 0 /);
      // Allocated now, and let go again.
      const more = serviceOf({ name: 'more', clusterIPs: UNALLOCATED }, world.pods);
      await proxy.apply([...objects(world), ...more]);
      assert.match(await answersFrom(world, 'client', UNALLOCATED.IPv4), /^pod-/);
      assert.is(await answersFrom(world, 'client', UNALLOCATED.IPv4, 81), 'refused');
      await proxy.apply(objects(world));
      assert.is(await answersFrom(world, 'client', UNALLOCATED.IPv4), 'timeout');
    });
  });

  test(`${plane.title}: a clusterIP without endpoints is refused, and silent where only other nodes have some`, async () => {
    const objects = (world: World, count: number) => [
      ...serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(0, count)),
      ...serviceOf(
        { name: 'local', clusterIPs: { IPv4: '10.96.0.11', IPv6: 'fd00:10:96::11' }, internalPolicy: 'Local' },
        world.remotePods,
      ),
    ];
    await play({ flags: flagsOf(plane), objects: (world) => objects(world, 0) }, async ({ world, proxy }) => {
      for (const count of [0, 1, 0]) {
        await proxy.apply(objects(world, count));
        const asked = namespaces.flatMap((namespace) =>
          FAMILIES.map((family) => answersFrom(world, namespace, BOTH[family])),
        );
        assert.equal([...new Set(await Promise.all(asked))], [count === 0 ? 'refused' : 'pod-a']);
      }
      const silent = [answersFrom(world, 'pod-a', '10.96.0.11'), answersFrom(world, 'client', 'fd00:10:96::11')];
      assert.equal(await Promise.all(silent), ['timeout', 'timeout']);
    });
  });
}

const COUNT_LOST = `table ip lost {
  chain c {
    type filter hook prerouting priority 0;
    ip daddr ${UNALLOCATED.IPv4} counter
  }
}
`;
