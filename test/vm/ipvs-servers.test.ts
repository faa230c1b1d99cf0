/** What an operator sees of ipvs by ipvsadm(8) and ip(8), and whose ports and servers it leaves alone. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ENDPOINT_PORT, endpointSlice, type KubernetesObject, service } from '../conformance/objects.ts';
import { boundAddresses, connections, INTERFACE, ipvsPlane, savedServers, TABLE } from '../netns/backend-ipvs.ts';
import {
  answerer,
  answersFrom,
  BOTH,
  cleanup,
  flagsOf,
  play,
  run,
  serviceOf,
  VIP,
  VIP6,
} from '../netns/backend-scene.ts';
import { isolateTests } from '../netns/isolated.ts';
import type { World } from '../netns/world.ts';
import { onlyInVm } from './inside.ts';
import { until } from './until.ts';

onlyInVm();
await isolateTests(['ipvsadm', 'nftables']);
const test = suite('ipvs as an operator sees it');
const flags = flagsOf(ipvsPlane());
/** Of startProxy's own Service. */
const MARKER = '10.111.255.254';

const serversAt = (lines: readonly string[], ip: string): readonly string[] =>
  lines.filter((line) => line.includes(` ${ip}:`) && line.startsWith('-A'));

test('ipvsadm lists a virtual server for every way to a Service, with its endpoints, and the connections', async () => {
  const objects = (world: World) =>
    serviceOf(
      {
        name: 'web',
        clusterIPs: BOTH,
        type: 'LoadBalancer',
        nodePort: 30080,
        externalIPs: ['203.0.113.7'],
        loadBalancerVIPs: ['203.0.113.8'],
      },
      world.pods.slice(0, 2),
    );
  await play({ flags, objects }, async ({ world }) => {
    const servers = (await savedServers(world)).filter((line) => !line.includes(MARKER) && !line.includes('['));
    const destinations = [`${VIP}:80`, '203.0.113.7:80', '203.0.113.8:80'].concat(
      world.nodeIPs.IPv4.map((ip) => `${ip}:30080`),
    );
    const expected = destinations.flatMap((destination) => [
      `-A -t ${destination} -s rr`,
      ...world.pods.slice(0, 2).map(({ ip }) => `-a -t ${destination} -r ${ip.IPv4}:8080 -m -w 1`),
    ]);
    assert.equal(servers, expected.sort());
    const own = (await boundAddresses(world, 'IPv4')).filter((ip) => ip !== MARKER);
    assert.equal(own, [VIP, '203.0.113.7', '203.0.113.8'].sort());
    assert.ok((await boundAddresses(world, 'IPv6')).includes(VIP6));

    const flow = await world.hold('client', { protocol: 'TCP', destinationIP: VIP, destinationPort: 80 });
    const server = world.pods.find(({ name }) => name === answerer(flow.first));
    const listed = (await connections(world)).filter(({ virtual }) => virtual === `${VIP}:80`);
    assert.equal(
      listed.map(({ protocol, state, real }) => ({ protocol, state, real })),
      [{ protocol: 'TCP', state: 'ESTABLISHED', real: `${server?.ip.IPv4}:8080` }],
    );
    await flow.close();
  });
});

test('ports of the node’s own processes are not reached through a clusterIP, and stay reachable at the node', async () => {
  const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods);
  const prepare = async (world: World) => {
    const addresses = ['0.0.0.0', '::'];
    for (const port of [80, 9090]) {
      await world.serve('node', { protocol: 'TCP', port, server: 'node process', addresses });
    }
  };
  await play({ flags, objects, prepare }, async ({ world }) => {
    for (const namespace of ['client', 'pod-a', 'node']) {
      for (const vip of [VIP, VIP6]) {
        assert.match(await answersFrom(world, namespace, vip, 80), /^pod-/, `${namespace} ${vip}`);
        assert.is(await answersFrom(world, namespace, vip, 9090), 'refused', `${namespace} ${vip}`);
      }
      assert.is(await answersFrom(world, namespace, world.nodeIPs.IPv4[0], 9090), 'node process', namespace);
    }
  });
});

test('a node port and the same port of a clusterIP do not collide', async () => {
  const other = '10.96.0.11';
  const objects = (world: World): readonly KubernetesObject[] => [
    ...portOf(serviceOf({ name: 'a', clusterIPs: { IPv4: VIP } }, world.pods.slice(0, 1)), 30080),
    ...serviceOf({ name: 'b', clusterIPs: { IPv4: other }, type: 'NodePort', nodePort: 30080 }, world.pods.slice(1, 2)),
  ];
  await play({ flags, objects }, async ({ world }) => {
    for (const namespace of ['client', 'pod-c', 'node']) {
      assert.is(await answersFrom(world, namespace, VIP, 30080), 'pod-a', namespace);
      assert.is(await answersFrom(world, namespace, other, 80), 'pod-b', namespace);
      assert.is(await answersFrom(world, namespace, other, 30080), 'refused', namespace);
      for (const ip of world.nodeIPs.IPv4) assert.is(await answersFrom(world, namespace, ip, 30080), 'pod-b', ip);
    }
  });
});

test('virtual servers, addresses and interfaces of others are left alone, by cleanup, too', async () => {
  const objects = (world: World, count: number) =>
    serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(0, count));
  const foreign = '198.51.100.7';
  const lines = (world: World) => [
    `-A -t ${foreign}:80 -s wlc`,
    `-a -t ${foreign}:80 -r ${world.pods[2]!.ip.IPv4}:8080 -m -w 7`,
  ];
  const prepare = async (world: World) => {
    await run(world, 'ip link add own0 type dummy');
    await run(world, `ip address add ${foreign}/32 dev own0`);
    for (const line of lines(world)) await run(world, `ipvsadm ${line}`);
  };
  await play({ flags, objects: (world) => objects(world, 1), prepare }, async ({ world, proxy }) => {
    const check = async (when: string) => {
      assert.equal(
        (await savedServers(world)).filter((line) => line.includes(foreign)),
        lines(world),
        when,
      );
      assert.is(await answersFrom(world, 'node', foreign), 'pod-c', when);
    };
    await check('after the first sync');
    await proxy.apply(objects(world, 2));
    await proxy.apply([]);
    assert.equal(serversAt(await savedServers(world), VIP), []);
    assert.not.ok((await boundAddresses(world, 'IPv4')).includes(VIP));
    await check('after changes');
    await proxy.stop();
    await proxy.start();
    await check('after a restart');
    await proxy.stop();
    const [status, said] = await cleanup(world);
    assert.is(status, 0, said);
    await check('after cleanup');
    assert.equal((await savedServers(world)).length, 2);
    assert.not.match(await run(world, 'ip -brief link show'), INTERFACE);
    assert.not.match(await run(world, 'nft list tables'), TABLE);
  });
});

test('the ipvs stanza is heeded: scheduler, excluded CIDRs, strict ARP, timeouts; and a Service chooses its scheduler', async () => {
  const chosen = {
    metadata: { name: 'own', namespace: 'default', annotations: { 'kube-proxy.io/ipvs-scheduler': 'mh' } },
  };
  const objects = (world: World): readonly KubernetesObject[] => [
    ...serviceOf({ name: 'web', clusterIPs: { IPv4: VIP }, externalIPs: ['203.0.113.7'] }, world.pods),
    ...serviceOf({ name: 'own', clusterIPs: { IPv4: '10.96.0.11' } }, world.pods).map((object) =>
      object.kind === 'Service' ? { ...object, ...chosen } : object,
    ),
  ];
  const stanza = [
    '--ipvs-scheduler=wlc',
    '--ipvs-exclude-cidrs=203.0.113.0/24',
    '--ipvs-strict-arp',
    '--ipvs-tcp-timeout=1000s',
    '--ipvs-tcpfin-timeout=50s',
    '--ipvs-udp-timeout=200s',
  ];
  const prepare = (world: World) => run(world, 'ipvsadm -A -t 203.0.113.7:80 -s sh');
  await play({ flags: [...flags, ...stanza], objects, prepare }, async ({ world }) => {
    const servers = await savedServers(world);
    assert.equal(serversAt(servers, VIP), [`-A -t ${VIP}:80 -s wlc`]);
    assert.match(serversAt(servers, '10.96.0.11').join(), / -s mh\b/);
    assert.equal(
      servers.filter((line) => line.includes('203.0.113.7')),
      ['-A -t 203.0.113.7:80 -s sh'],
    );
    assert.match(await run(world, 'ipvsadm -L --timeout'), '1000 50 200');
    const read = async (name: string) => (await run(world, `cat /proc/sys/net/ipv4/${name}`)).trim();
    assert.is(await read('conf/all/arp_ignore'), '1');
    assert.is(await read('conf/all/arp_announce'), '2');
    assert.is(await read('vs/conntrack'), '1');
    assert.is(await read('vs/conn_reuse_mode'), '1');
  });
});

test('affinity is persistence, and ends when its time is over and the client has no connection left', async () => {
  const port = { name: '', protocol: 'UDP' as const };
  const objects = (world: World) => [
    service({
      name: 'dns',
      clusterIPs: { IPv4: VIP },
      affinitySeconds: 2,
      ports: [{ ...port, port: 53, nodePort: 0 }],
    }),
    endpointSlice({
      service: 'dns',
      family: 'IPv4',
      port: { ...port, port: ENDPOINT_PORT },
      endpoints: world.pods.map(({ ip, nodeName }) => ({ ip: ip.IPv4, nodeName })),
    }),
  ];
  await play({ flags: [...flags, '--ipvs-udp-timeout=1s'], objects }, async ({ world }) => {
    const lines = await savedServers(world);
    assert.ok(lines.includes(`-A -u ${VIP}:53 -s rr -p 2`), lines.join('\n'));
    const request = { protocol: 'UDP' as const, destinationIP: VIP, destinationPort: 53, timeoutMs: 1500 };
    const answers = (await world.requests('client', new Array(12).fill(request), 1)).map(answerer);
    assert.is(new Set(answers).size, 1, answers.join(' '));
    const remembered = async () => (await connections(world)).filter(({ client }) => client.endsWith(':0'));
    assert.is((await remembered()).length, 1);
    await until('the client is forgotten', async () => (await remembered()).length === 0);
  });
});

/** The Service's port, and its slices' as it is. */
function portOf(objects: readonly KubernetesObject[], port: number): readonly KubernetesObject[] {
  return objects.map((object) => {
    if (object.kind !== 'Service') return object;
    const spec = object.spec as Readonly<Record<string, unknown>>;
    return { ...object, spec: { ...spec, ports: [{ name: '', protocol: 'TCP', port }] } };
  });
}

test.run();
