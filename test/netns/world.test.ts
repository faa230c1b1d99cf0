/** The world without any proxy: what the packet tests take for granted. */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { skip } from '../skip.ts';
import type { Outcome, Transport } from './agent-protocol.ts';
import { sctpProblem } from './agent-sctp.ts';
import { isolateTests } from './isolated.ts';
import { createWorld, type World } from './world.ts';
import type { WorldOptions } from './world-topology.ts';

await isolateTests();

const PORT = 8080;
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const VIP = { IPv4: '203.0.113.7', IPv6: '2001:db8:113::7' };
const each = (protocols: readonly Transport[], run: (family: IPFamily, protocol: Transport) => Promise<void>) =>
  Promise.all(FAMILIES.flatMap((family) => protocols.map((protocol) => run(family, protocol))));

/** The node's iptables of that family: Debian's own choice of nft or legacy. */
const iptables = (world: World, family: IPFamily, rule: string) =>
  world.exec('node', family === 'IPv4' ? 'iptables' : 'ip6tables', ['-w', ...rule.split(' ')]);
const literal = (ip: string) => (ip.includes(':') ? `[${ip}]` : ip);

function answered(outcome: Outcome): Extract<Outcome, { outcome: 'answered' }> {
  if (outcome.outcome !== 'answered') throw new Error(`not answered but ${JSON.stringify(outcome)}`);
  return outcome;
}

function wiring(options: WorldOptions): void {
  const test = suite(`world with ${options.pods} pods`);
  let world: World;
  test.before(async () => {
    world = await createWorld(options);
    await world.servePods({ port: PORT });
    await Promise.all(
      (['TCP', 'UDP'] as const).map((protocol) => world.serve('client', { protocol, port: PORT, server: 'client' })),
    );
  });
  test.after(() => world.close());

  test('pods reach one another, remote pods and the client, with addresses kept', async () => {
    const [podA, podB] = world.pods;
    await each(['TCP', 'UDP'], async (family, protocol) => {
      const targets = [
        [podB!.name, podB!.ip[family]],
        [world.remotePods[0]!.name, world.remotePods[0]!.ip[family]],
        ['client', world.clientIPs[family][0]!],
      ] as const;
      for (const [name, destinationIP] of targets) {
        const request = { protocol, destinationIP, destinationPort: PORT };
        const { server, peer, peerPort, localPort, address } = answered(await world.request(podA!.namespace, request));
        assert.is(server, name);
        assert.is(address, `${literal(destinationIP)}:${PORT}`);
        assert.is(peer, podA!.ip[family]);
        assert.is(peerPort, localPort);
      }
    });
  });

  test('the client, the node and the remote node reach pods from their own addresses', async () => {
    const pod = world.pods[0]!;
    await each(['TCP', 'UDP'], async (family, protocol) => {
      const request = { protocol, destinationIP: pod.ip[family], destinationPort: PORT };
      assert.is(answered(await world.request('client', request)).peer, world.clientIPs[family][0]);
      assert.is(answered(await world.request('remote', request)).peer, world.remoteNodeIP[family]);
      // On a bridge, the node's nearest address is the bridge's.
      const expected =
        options.pods === 'bridge' ? { IPv4: '10.244.1.1', IPv6: 'fd00:244:1::1' }[family] : world.nodeIPs[family][0];
      assert.is(answered(await world.request('node', request)).peer, expected);
    });
  });

  test('a pod reaches itself and the node reaches itself, loopback included', async () => {
    await Promise.all(
      (['TCP', 'UDP'] as const).map((protocol) => world.serve('node', { protocol, port: PORT, server: 'node' })),
    );
    await each(['TCP', 'UDP'], async (family, protocol) => {
      const pod = world.pods[0]!;
      const toItself = { protocol, destinationIP: pod.ip[family], destinationPort: PORT };
      assert.is(answered(await world.request(pod.namespace, toItself)).server, pod.name);
      const loopback = { protocol, destinationIP: { IPv4: '127.0.0.1', IPv6: '::1' }[family], destinationPort: PORT };
      assert.is(answered(await world.request('node', loopback)).server, 'node');
    });
  });

  test('a closed port refuses; a VIP that nobody serves is silence, for the client, a pod and the node', async () => {
    await each(['TCP', 'UDP'], async (family, protocol) => {
      const closed = { protocol, destinationIP: world.pods[0]!.ip[family], destinationPort: 9 };
      assert.is((await world.request('client', closed)).outcome, 'refused');
      const vip = { protocol, destinationIP: VIP[family], destinationPort: 80 };
      const outcomes = await Promise.all(['client', 'pod-a', 'node'].map((from) => world.request(from, vip)));
      assert.equal(outcomes, [{ outcome: 'timeout' }, { outcome: 'timeout' }, { outcome: 'timeout' }]);
    });
  });

  test('REJECT and DROP in the node are told apart, a hundred REJECTs in a row too', async () => {
    const pod = world.pods[0]!;
    await Promise.all(
      FAMILIES.map(async (family) => {
        const to = `-d ${pod.ip[family]} --dport`;
        await iptables(world, family, `-A FORWARD -p tcp ${to} 81 -j REJECT`);
        await iptables(world, family, `-A FORWARD -p udp ${to} 81 -j REJECT`);
        await iptables(world, family, `-A FORWARD -p tcp ${to} 82 -j REJECT --reject-with tcp-reset`);
        await iptables(world, family, `-A FORWARD -p tcp ${to} 83 -j DROP`);
        await iptables(world, family, `-A FORWARD -p udp ${to} 83 -j DROP`);
      }),
    );
    await each(['TCP', 'UDP'], async (family, protocol) => {
      const ask = (destinationPort: number) => ({ protocol, destinationIP: pod.ip[family], destinationPort });
      const rejected = await world.requests('client', Array<ReturnType<typeof ask>>(100).fill(ask(81)));
      assert.is(rejected.filter(({ outcome }) => outcome === 'refused').length, 100);
      if (protocol === 'TCP') assert.is((await world.request('client', ask(82))).outcome, 'refused');
      assert.equal(await world.request('client', ask(83)), { outcome: 'timeout' });
    });
  });

  test('a translated VIP reaches a pod, and back to the pod that asks when masqueraded', async () => {
    const pod = world.pods[0]!;
    await Promise.all(
      FAMILIES.map(async (family) => {
        for (const protocol of ['tcp', 'udp']) {
          const dnat = `-j DNAT --to-destination ${literal(pod.ip[family])}:${PORT}`;
          await iptables(world, family, `-t nat -A PREROUTING -p ${protocol} -d ${VIP[family]} --dport 80 ${dnat}`);
          await iptables(world, family, `-t nat -A OUTPUT -p ${protocol} -d ${VIP[family]} --dport 80 ${dnat}`);
        }
        await iptables(world, family, `-t nat -A POSTROUTING -s ${pod.ip[family]} -d ${pod.ip[family]} -j MASQUERADE`);
      }),
    );
    await each(['TCP', 'UDP'], async (family, protocol) => {
      const request = { protocol, destinationIP: VIP[family], destinationPort: 80 };
      const fromClient = answered(await world.request('client', request));
      assert.is(fromClient.server, pod.name);
      assert.is(fromClient.peer, world.clientIPs[family][0]);
      assert.is(answered(await world.request('node', request)).server, pod.name);
      const hairpin = answered(await world.request(pod.namespace, request));
      assert.is(hairpin.server, pod.name);
      const nearest = { IPv4: '10.244.1.1', IPv6: 'fd00:244:1::1' }[family];
      assert.is(hairpin.peer, options.pods === 'bridge' ? nearest : world.nodeIPs[family][0]);
    });
  });

  test.run();
}

wiring({ pods: 'routed' });
wiring({ pods: 'bridge' });

const agents = suite('agents');
let world: World;
agents.before(async () => {
  world = await createWorld({ podCount: 1, remotePodCount: 1, clientAddressCount: 250 });
  await world.servePods({ port: PORT });
});
agents.after(() => world.close());

agents('the client asks from each of 250 addresses', async () => {
  await each(['TCP', 'UDP'], async (family, protocol) => {
    const destinationIP = world.pods[0]!.ip[family];
    const requests = world.clientIPs[family].map((sourceIP) => ({
      protocol,
      destinationIP,
      destinationPort: PORT,
      sourceIP,
    }));
    const outcomes = await world.requests('client', requests);
    assert.equal(
      outcomes.map((outcome) => answered(outcome).peer),
      world.clientIPs[family],
    );
  });
});

agents('a request leaves from the port that it names', async () => {
  for (const [index, family] of FAMILIES.entries()) {
    for (const protocol of ['TCP', 'UDP'] as const) {
      const destinationIP = world.pods[0]!.ip[family];
      const request = { protocol, destinationIP, destinationPort: PORT, sourcePort: 20123 + index };
      assert.is(answered(await world.request('client', request)).peerPort, 20123 + index);
    }
  }
});

agents('a held flow is asked again over the same port, notices silence, and recovers', async () => {
  await each(['TCP', 'UDP'], async (family, protocol) => {
    const pod = world.pods[0]!;
    const flow = await world.hold('client', { protocol, destinationIP: pod.ip[family], destinationPort: PORT });
    const port = answered(flow.first).peerPort;
    assert.is(answered(await flow.ping()).peerPort, port);
    const drop = `-p ${protocol.toLowerCase()} --sport ${port} -d ${pod.ip[family]} -j DROP`;
    await iptables(world, family, `-I FORWARD ${drop}`);
    assert.equal(await flow.ping(200), { outcome: 'timeout' });
    await iptables(world, family, `-D FORWARD ${drop}`);
    // TCP repeats what was lost within a second or so.
    assert.is(answered(await flow.ping(3000)).peerPort, port);
    await flow.close();
  });
});

agents('a held TCP connection that its server ends stays ended', async () => {
  const { IPv4: destinationIP } = world.pods[0]!.ip;
  const server = await world.serve('pod-a', {
    protocol: 'TCP',
    port: 90,
    server: 'passing',
    addresses: [destinationIP],
  });
  const flow = await world.hold('client', { protocol: 'TCP', destinationIP, destinationPort: 90 });
  assert.is(answered(flow.first).server, 'passing');
  await server.close();
  assert.is((await flow.ping()).outcome, 'closed');
  assert.is((await flow.ping()).outcome, 'closed');
  assert.is(
    (await world.request('client', { protocol: 'TCP', destinationIP, destinationPort: 90 })).outcome,
    'refused',
  );
});

agents('a flood counts outcomes and servers, until stopped or its time is over', async () => {
  const request = { protocol: 'TCP', destinationIP: world.pods[0]!.ip.IPv4, destinationPort: PORT } as const;
  const begin = performance.now();
  const stopped = await (await world.flood('client', { request, limitMs: 60_000 })).stop();
  assert.ok(performance.now() - begin < 5000);
  assert.ok(stopped.total >= 1);
  const { total, outcomes, servers } = await (await world.flood('client', { request, limitMs: 200 })).done();
  assert.ok(total > 2);
  assert.equal(outcomes, { answered: total });
  assert.equal(servers, { 'pod-a': total });
});

agents('a flood closes as it is told, and comes from the same few ports again and again', async () => {
  const request = { protocol: 'TCP', destinationIP: world.pods[0]!.ip.IPv4, destinationPort: PORT } as const;
  const sourcePorts = [20_001, 20_002, 20_003, 20_004];
  const seen = async () => (await world.exec('pod-a', 'ss', ['-Htan'])).stdout;
  for (const closing of ['reset', 'by server'] as const) {
    const flood = await world.flood('client', { request, limitMs: 60_000, closing, sourcePorts });
    for (let k = 0; k < 200 && closing === 'by server' && !/TIME-WAIT.*:20001\b/.test(await seen()); k++)
      await sleep(20);
    const { total, outcomes } = await flood.stop();
    assert.equal(outcomes, { answered: total }, closing);
    const waiting = (await seen()).split('\n').filter((line) => line.startsWith('TIME-WAIT'));
    if (closing === 'reset') assert.equal(waiting, []);
    else assert.ok(waiting.length > 0 && waiting.every((line) => /:2000[1-4]\b/.test(line)), waiting.join('\n'));
  }
});

agents('a server that is to stop when it is idle serves whoever is connected, and then refuses', async () => {
  const [pod] = world.pods;
  const addresses = [pod!.ip.IPv4];
  const server = await world.serve(pod!.namespace, { protocol: 'TCP', port: 8099, server: 'idle', addresses });
  const request = { protocol: 'TCP', destinationIP: pod!.ip.IPv4, destinationPort: 8099 } as const;
  const flow = await world.hold('client', request);
  let stopped = false;
  const closing = server.close(true).then(() => {
    stopped = true;
  });
  assert.is(answered(await flow.ping()).server, 'idle');
  assert.not.ok(stopped);
  await flow.close();
  await closing;
  assert.is((await world.request('client', request)).outcome, 'refused');
});

agents('what is the test own mistake is an error, not an outcome', async () => {
  const request = {
    protocol: 'TCP',
    destinationIP: '10.244.1.11',
    destinationPort: PORT,
    sourceIP: '8.8.8.8',
  } as const;
  for (const protocol of ['TCP', 'UDP'] as const) {
    const message = await world
      .request('client', { ...request, protocol })
      .then(String, (error: Error) => error.message);
    assert.match(message, 'EADDRNOTAVAIL');
  }
  const busy = await world
    .serve('pod-a', { protocol: 'TCP', port: PORT, server: 'x' })
    .then(String, (error: Error) => error.message);
  assert.match(busy, 'EADDRINUSE');
  const nowhere = await world.exec('nowhere', 'true', []).then(String, (error: Error) => error.message);
  assert.match(nowhere, 'no namespace nowhere');
});

agents('programs run in their namespace, are given stdin, and failures say what was on stderr', async () => {
  const { stdout } = await world.exec('pod-a', 'sh', ['-c', 'cat; ip -brief addr show eth0'], { stdin: 'hello\n' });
  assert.match(stdout, 'hello');
  assert.match(stdout, '10.244.1.11/32');
  const failing = await world
    .exec('pod-a', 'sh', ['-c', 'echo why >&2; exit 3'])
    .then(String, (error: Error) => error.message);
  assert.match(failing, 'status 3: why');
});

agents('closing the world ends its programs and frees its names', async () => {
  const child = world.spawn('client', 'sleep', ['86400'], { stdio: 'ignore' });
  await world.close();
  await world.close();
  assert.is(child.signalCode, 'SIGTERM');
  const late = await world.exec('client', 'true', []).then(String, (error: Error) => error.message);
  assert.match(late, 'the world is closed');
  await (await createWorld({ podCount: 1, remotePodCount: 1 })).close();
});

agents.run();

const sctp = suite('SCTP by packets');
const problem = sctpProblem();
if (problem !== '') skip('SCTP reaches pods, is translated, dropped and rejected', problem);
else {
  sctp('SCTP reaches pods, is translated, dropped and rejected', async () => {
    const own = await createWorld({ podCount: 2, remotePodCount: 1 });
    try {
      await own.servePods({ port: PORT, protocols: ['SCTP'] });
      await each(['SCTP'], async (family, protocol) => {
        const pod = own.pods[1]!;
        const direct = { protocol, destinationIP: pod.ip[family], destinationPort: PORT };
        const { server, peer, peerPort, localPort } = answered(await own.request('client', direct));
        assert.equal([server, peer, peerPort], [pod.name, own.clientIPs[family][0], localPort]);
        const vip = { ...direct, destinationIP: VIP[family], destinationPort: 80 };
        assert.equal(await own.request('client', vip), { outcome: 'timeout' });
        const rule = `-t nat -A PREROUTING -p sctp -d ${VIP[family]} --dport 80 -j DNAT`;
        await iptables(own, family, `${rule} --to-destination ${literal(pod.ip[family])}:${PORT}`);
        assert.is(answered(await own.request('client', vip)).server, pod.name);
        await iptables(own, family, `-A FORWARD -p sctp --dport 81 -j REJECT`);
        assert.is((await own.request('client', { ...direct, destinationPort: 81 })).outcome, 'refused');
        await iptables(own, family, `-A FORWARD -p sctp --dport 82 -j DROP`);
        assert.is((await own.request('client', { ...direct, destinationPort: 82 })).outcome, 'timeout');
      });
    } finally {
      await own.close();
    }
  });
}
sctp.run();

const options = suite('world options');
options('an impossible number of pods is refused by name', async () => {
  const message = await createWorld({ podCount: 27 }).then(String, (error: Error) => error.message);
  assert.match(message, 'podCount is 27');
});
options.run();
