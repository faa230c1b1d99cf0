/** userspace without any rights: the process is nobody, has no capability, and serves what it may bind. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ENDPOINT_PORT, endpointSlice, type KubernetesObject, service } from '../conformance/objects.ts';
import { type Proxy, startProxy } from '../conformance/proxy.ts';
import { answersFrom, serviceOf, VIP } from './backend-scene.ts';
import { programFromSources } from './from-sources.ts';
import { isolateTests } from './isolated.ts';
import { createWorld, type World } from './world.ts';
import { CLUSTER_CIDR } from './world-topology.ts';

await isolateTests(['nftables']);
const test = suite('userspace direct');

/** VIP as a process of the node reaches it. */
const LOOPBACK = '127.96.0.10';
const NOBODY = [
  'setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all',
  ...programFromSources(),
].join(' ');
/** Its folder of manifests, the first two arguments, is to be readable. */
const PROGRAM = ['sh', '-c', `chmod 755 "$2" && exec ${NOBODY} "$@"`, 'sh'];

interface Scene {
  readonly objects: (world: World) => readonly KubernetesObject[];
  /** The first port that needs no rights; the kernel's default is 1024. */
  readonly freePorts?: number;
  readonly options?: readonly string[];
}

async function play(
  { objects, freePorts, options = ['way=direct'] }: Scene,
  act: (world: World, proxy: Proxy) => Promise<void>,
): Promise<void> {
  const world = await createWorld();
  try {
    await world.servePods({ port: ENDPOINT_PORT });
    if (freePorts !== undefined) {
      await world.exec('node', 'sysctl', ['-w', `net.ipv4.ip_unprivileged_port_start=${freePorts}`]);
    }
    const cidrs = `${CLUSTER_CIDR.IPv4},${CLUSTER_CIDR.IPv6}`;
    const backend = ['--backend', 'userspace', ...options.flatMap((option) => ['--backend-option', option])];
    const flags = ['--cluster-cidr', cidrs, ...backend];
    const proxy = await startProxy({ world, flags, objects: objects(world), program: PROGRAM });
    try {
      await act(world, proxy);
    } finally {
      await proxy.close();
    }
  } finally {
    await world.close();
  }
}

/** "default/web at tcp 127.96.0.10 80", one for each line that says that a Service is reachable. */
function reachable(proxy: Proxy): string[] {
  return proxy.lines
    .filter(({ msg }) => msg === 'A Service is reachable')
    .map((line) => `${line.service} at ${line.at}`);
}

/** What was said last in such a line. */
function lastLine(proxy: Proxy, message: string): Readonly<Record<string, unknown>> {
  return proxy.lines.findLast(({ msg }) => msg === message) ?? {};
}

test('without rights, way=auto serves directly and says why', async () => {
  const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: { IPv4: VIP } }, world.pods);
  await play({ objects, freePorts: 0, options: [] }, async (world, proxy) => {
    const said = lastLine(
      proxy,
      'Connections cannot be redirected here; Services are served on addresses that this process may bind',
    );
    assert.match(String(said.reason), /EPERM|not permitted/i);
    assert.match(await answersFrom(world, 'node', LOOPBACK), /^pod-/);
    assert.is((await world.exec('node', 'nft', ['list', 'ruleset'])).stdout.trim(), '', 'it made no table');
  });
});

test('without rights, way=redirect is refused with the remedy', async () => {
  const attempt = play({ objects: () => [], options: ['way=redirect'] }, async () => {});
  const error = await attempt.then(
    () => new Error('it started'),
    (caught: Error) => caught,
  );
  assert.match(error.message, /cannot redirect here.*way=direct/);
});

test('ClusterIPs answer on 127.x.y.z, node ports and external IPs on the addresses that exist; the log says where', async () => {
  const objects = (world: World) =>
    serviceOf(
      {
        name: 'web',
        clusterIPs: { IPv4: VIP, IPv6: 'fd00:10:96::10' },
        type: 'NodePort',
        nodePort: 30080,
        externalIPs: [world.nodeIPs.IPv4[1]!, '203.0.113.7'],
      },
      world.pods,
    );
  await play({ objects, freePorts: 0 }, async (world, proxy) => {
    const [primary, second] = world.nodeIPs.IPv4 as [string, string];
    assert.match(await answersFrom(world, 'node', LOOPBACK), /^pod-/);
    assert.match(await answersFrom(world, 'node', '127.0.0.1', 30080), /^pod-/);
    for (const namespace of ['client', 'pod-a', 'node']) {
      assert.match(await answersFrom(world, namespace, primary, 30080), /^pod-/, namespace);
      assert.match(await answersFrom(world, namespace, world.nodeIPs.IPv6[0]!, 30080), /^pod-/, namespace);
      assert.match(await answersFrom(world, namespace, second), /^pod-/, `${namespace}, external IP`);
    }
    assert.equal(
      reachable(proxy).sort(),
      [
        `tcp ${LOOPBACK} 80`,
        `tcp ${second} 80`,
        ...['127.0.0.1', primary, second, ...world.nodeIPs.IPv6].map((ip) => `tcp ${ip} 30080`),
      ]
        .map((at) => `default/web at ${at}`)
        .sort(),
    );
  });
});

test('UDP is served as TCP is', async () => {
  const port = { name: '', protocol: 'UDP' as const, port: 53 };
  const objects = (world: World) => [
    service({ name: 'dns', clusterIPs: { IPv4: VIP }, ports: [{ ...port, nodePort: 30053 }], type: 'NodePort' }),
    endpointSlice({
      service: 'dns',
      family: 'IPv4',
      port: { ...port, port: ENDPOINT_PORT },
      endpoints: world.pods.slice(0, 1).map(({ ip, nodeName }) => ({ ip: ip.IPv4, nodeName })),
    }),
  ];
  await play({ objects, freePorts: 0 }, async (world) => {
    for (const [namespace, destinationIP, destinationPort] of [
      ['node', LOOPBACK, 53],
      ['client', world.nodeIPs.IPv4[0]!, 30053],
    ] as const) {
      const outcome = await world.request(namespace, {
        protocol: 'UDP',
        destinationIP,
        destinationPort,
        timeoutMs: 1500,
      });
      assert.is(outcome.outcome === 'answered' && outcome.server, 'pod-a', namespace);
    }
  });
});

test('a port that may not be bound is served portOffset higher, and one that is meant for another Service is not taken', async () => {
  const objects = (world: World) => [...serviceOf({ name: 'web', clusterIPs: { IPv4: VIP } }, world.pods.slice(0, 1))];
  const high = (world: World) => {
    const port = { name: '', protocol: 'TCP' as const, port: 8080 };
    return [
      service({ name: 'high', clusterIPs: { IPv4: VIP }, ports: [{ ...port, nodePort: 0 }] }),
      endpointSlice({
        service: 'high',
        family: 'IPv4',
        port: { ...port, port: ENDPOINT_PORT },
        endpoints: world.pods.slice(1, 2).map(({ ip, nodeName }) => ({ ip: ip.IPv4, nodeName })),
      }),
    ];
  };
  await play({ objects, options: ['way=direct', 'portOffset=8000'] }, async (world, proxy) => {
    assert.is(await answersFrom(world, 'node', LOOPBACK), 'refused');
    assert.is(await answersFrom(world, 'node', LOOPBACK, 8080), 'pod-a');
    assert.equal(reachable(proxy), [`default/web at tcp ${LOOPBACK} 8080`]);
    await proxy.apply([...objects(world), ...high(world)]);
    assert.is(await answersFrom(world, 'node', LOOPBACK, 8080), 'pod-b');
    const refused = lastLine(proxy, 'A Service cannot be served here');
    assert.is(refused.at, `tcp ${LOOPBACK} 80`);
    assert.match(String(refused.reason), /permission denied/);
    await proxy.apply(objects(world));
    assert.is(await answersFrom(world, 'node', LOOPBACK, 8080), 'pod-a');
  });
});

test('with portOffset=0 a port that may not be bound is told, and others are served', async () => {
  const objects = (world: World) =>
    serviceOf({ name: 'web', clusterIPs: { IPv4: VIP }, type: 'NodePort', nodePort: 30080 }, world.pods);
  await play({ objects, options: ['way=direct', 'portOffset=0'] }, async (world, proxy) => {
    assert.is(lastLine(proxy, 'A Service cannot be served here').service, 'default/web');
    assert.match(await answersFrom(world, 'client', world.nodeIPs.IPv4[0], 30080), /^pod-/);
  });
});

test('endpoints come and go; without any the port is refused, and with the Service it is gone', async () => {
  const objects = (world: World, count: number) =>
    serviceOf(
      { name: 'web', clusterIPs: { IPv4: VIP }, type: 'NodePort', nodePort: 30080 },
      world.pods.slice(0, count),
    );
  await play({ objects: (world) => objects(world, 2), freePorts: 0 }, async (world, proxy) => {
    const ask = () =>
      Promise.all([
        answersFrom(world, 'node', LOOPBACK),
        answersFrom(world, 'node', LOOPBACK),
        answersFrom(world, 'client', world.nodeIPs.IPv4[0], 30080),
      ]);
    await proxy.apply(objects(world, 1));
    assert.equal(await ask(), ['pod-a', 'pod-a', 'pod-a']);
    await proxy.apply(objects(world, 0));
    assert.equal(await ask(), ['refused', 'refused', 'refused']);
    assert.ok(proxy.lines.some(({ msg, at }) => msg.includes('no longer reachable') && at === `tcp ${LOOPBACK} 80`));
    await proxy.apply(objects(world, 1));
    assert.equal(await ask(), ['pod-a', 'pod-a', 'pod-a']);
    await proxy.apply([]);
    assert.equal(await ask(), ['refused', 'refused', 'refused']);
  });
});

test('policy Local serves clients outside from this node, and everybody inside from all', async () => {
  const objects = (world: World, pods = [...world.pods.slice(0, 1), ...world.remotePods.slice(0, 1)]) =>
    serviceOf(
      { name: 'web', clusterIPs: { IPv4: VIP }, type: 'NodePort', nodePort: 30080, externalPolicy: 'Local' },
      pods,
    );
  await play({ objects, freePorts: 0 }, async (world, proxy) => {
    const ask = async (namespace: string) => {
      const answers = Array.from({ length: 8 }, () => answersFrom(world, namespace, world.nodeIPs.IPv4[0], 30080));
      return [...new Set(await Promise.all(answers))].sort();
    };
    assert.equal(await ask('client'), ['pod-a']);
    for (const namespace of ['pod-b', 'node']) assert.equal(await ask(namespace), ['pod-a', 'remote-a'], namespace);
    await proxy.apply(objects(world, world.remotePods.slice(0, 1)));
    // A listener cannot tell before it has accepted.
    assert.not.match((await ask('client')).join(), /pod|remote/);
    assert.equal(await ask('pod-b'), ['remote-a']);
  });
});

test('source ranges guard an address of a load balancer that the host has', async () => {
  const objects = (world: World) =>
    serviceOf(
      {
        name: 'lb',
        clusterIPs: { IPv4: VIP },
        type: 'LoadBalancer',
        loadBalancerVIPs: [world.nodeIPs.IPv4[1]!],
        sourceRanges: [`${world.clientIPs.IPv4[1]}/32`],
      },
      world.pods,
    );
  await play({ objects, freePorts: 0 }, async (world) => {
    const outcomes = await world.requests(
      'client',
      world.clientIPs.IPv4.slice(0, 2).map((sourceIP) => ({
        protocol: 'TCP' as const,
        sourceIP,
        destinationIP: world.nodeIPs.IPv4[1]!,
        destinationPort: 80,
        timeoutMs: 1500,
      })),
    );
    assert.equal(
      outcomes.map(({ outcome }) => outcome === 'answered'),
      [false, true],
    );
  });
});

test.run();
