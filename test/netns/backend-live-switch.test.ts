/**
 * The configuration's `mode` edited while the program runs: the other backend takes over under traffic, with the same
 * store of objects, and then what the one before made goes.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ENDPOINT_PORT, endpointSlice, service } from '../conformance/objects.ts';
import { type Proxy, startProxy } from '../conformance/proxy.ts';
import type { Outcome } from './agent-protocol.ts';
import { answerer, answersFrom, BOTH, serviceOf, VIP, VIP6 } from './backend-scene.ts';
import { isolateTests } from './isolated.ts';
import { createWorld, type World } from './world.ts';
import { CLUSTER_CIDR } from './world-topology.ts';

await isolateTests();
const test = suite('switching backends live');
const DNS = '10.96.0.53';
const folder = mkdtempSync(join(tmpdir(), 'live-switch-'));
const config = join(folder, 'config.conf');

test.after(() => rmSync(folder, { recursive: true }));

function write(mode: string, more = ''): void {
  writeFileSync(
    config,
    `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${mode}
clusterCIDR: ${CLUSTER_CIDR.IPv4},${CLUSTER_CIDR.IPv6}
${more}
`,
  );
}

/** Which backends have left rules in the node. */
async function present(world: World): Promise<string[]> {
  const found: string[] = [];
  const nft = (await world.exec('node', 'nft', ['list', 'tables'])).stdout;
  if (nft.includes('kube-services')) found.push('nftables');
  if (nft.includes('kube-userspace')) found.push('userspace');
  const iptables = (await world.exec('node', 'iptables-nft-save', [])).stdout;
  if (/^:KUBE-SERVICES/m.test(iptables)) found.push('iptables');
  return found;
}

/** Until only this backend's rules are there. */
async function onlyRulesOf(world: World, backend: string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while ((await present(world)).join() !== backend && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(await present(world), [backend]);
}

async function switchTo(proxy: Proxy, world: World, mode: string): Promise<void> {
  const from = proxy.lines.length;
  write(mode);
  await proxy.waitFor(`Ready with ${mode}`, ({ msg, backend }) => msg === 'Ready' && backend === mode, from);
  await onlyRulesOf(world, mode);
}

test('connections live on and new ones never fail while mode goes from iptables to nftables and back', async () => {
  const world = await createWorld();
  try {
    await world.servePods({ port: 8080 });
    const [first, second] = world.pods;
    let watching = true;
    write('iptables');
    const spec = { name: 'web', clusterIPs: BOTH, nodePort: 30080 };
    const proxy = await startProxy({ world, flags: ['--config', config], objects: serviceOf(spec, [first!]) });
    try {
      const held = await Promise.all(
        [VIP, VIP6].map((destinationIP) =>
          world.hold('client', { protocol: 'TCP', destinationIP, destinationPort: 80 }),
        ),
      );
      const failures: string[] = [];
      const watch = (async () => {
        while (watching) {
          const answer = await answersFrom(world, 'client');
          if (answer !== first!.name && answer !== second!.name) failures.push(answer);
        }
      })();
      for (const mode of ['nftables', 'iptables', 'nftables']) {
        await switchTo(proxy, world, mode);
        for (const flow of held) assert.is(answerer(await flow.ping(3000)), first!.name, `held through ${mode}`);
      }
      // The store came along, and the loop of the new backend serves it.
      await proxy.apply(serviceOf(spec, [second!]));
      assert.is(await answersFrom(world, 'client'), second!.name);
      for (const flow of held) assert.is(answerer(await flow.ping(3000)), first!.name);
      watching = false;
      await watch;
      assert.equal(failures, []);
    } finally {
      watching = false;
      await proxy.close();
    }
  } finally {
    await world.close();
  }
});

test('new connections never fail, and UDP clients are served anew, while mode goes to userspace and back', async () => {
  const world = await createWorld();
  try {
    await world.servePods({ port: 8080 });
    const pods = world.pods.slice(0, 1);
    write('nftables');
    const port = { name: '', protocol: 'UDP' as const };
    const endpoints = pods.map((pod) => ({ ip: pod.ip.IPv4, nodeName: pod.nodeName }));
    const objects = [
      ...serviceOf({ name: 'web', clusterIPs: BOTH }, pods),
      service({ name: 'dns', clusterIPs: { IPv4: DNS }, ports: [{ ...port, port: 53, nodePort: 0 }] }),
      endpointSlice({ service: 'dns', family: 'IPv4', port: { ...port, port: ENDPOINT_PORT }, endpoints }),
    ];
    const proxy = await startProxy({ world, flags: ['--config', config], objects });
    try {
      const client = world.pods[1]!;
      const asking = await world.hold(client.namespace, { protocol: 'UDP', destinationIP: DNS, destinationPort: 53 });
      const peer = (outcome: Outcome): unknown => (outcome.outcome === 'answered' ? outcome.peer : outcome);
      assert.is(peer(asking.first), client.ip.IPv4);
      const request = { protocol: 'TCP', destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 } as const;
      const flood = await world.flood('client', { request, limitMs: 120_000 });
      for (const mode of ['userspace', 'nftables']) {
        await switchTo(proxy, world, mode);
        // The core deletes flows off the sync's path.
        const isRight = (from: unknown): boolean => (from === client.ip.IPv4) === (mode === 'nftables');
        let from: unknown;
        for (let k = 0; k < 100; k++) {
          from = peer(await asking.ping(1000));
          if (isRight(from)) break;
          await sleep(100);
        }
        assert.ok(typeof from === 'string' && isRight(from), `${mode}: ${JSON.stringify(from)}`);
      }
      const { total, outcomes } = await flood.stop();
      assert.equal(outcomes, { answered: total });
    } finally {
      await proxy.close();
    }
  } finally {
    await world.close();
  }
});

test('an option of userspace that is edited resets what is open, and new connections are served again', async () => {
  const world = await createWorld();
  try {
    await world.servePods({ port: 8080 });
    const pod = world.pods[0]!;
    write('userspace');
    const objects = serviceOf({ name: 'web', clusterIPs: BOTH }, [pod]);
    const proxy = await startProxy({ world, flags: ['--config', config], objects });
    try {
      const held = await world.hold('client', { protocol: 'TCP', destinationIP: VIP, destinationPort: 80 });
      assert.is(answerer(held.first), pod.name);
      const from = proxy.lines.length;
      write('userspace', 'backendOptions:\n  graceSeconds: "25"');
      await proxy.waitFor('the new one', ({ msg }) => msg === 'Ready', from);
      assert.equal(await held.ping(3000), { outcome: 'closed', code: 'ECONNRESET' });
      assert.is(await answersFrom(world, 'client'), pod.name);
    } finally {
      await proxy.close();
    }
  } finally {
    await world.close();
  }
});

test('a mode that cannot be leaves the rules and the traffic as they were', async () => {
  const world = await createWorld();
  try {
    await world.servePods({ port: 8080 });
    const [first, second] = world.pods;
    write('nftables');
    const spec = { name: 'web', clusterIPs: BOTH };
    const proxy = await startProxy({ world, flags: ['--config', config], objects: serviceOf(spec, [first!]) });
    try {
      const from = proxy.lines.length;
      write('iptables', 'backendOptions:\n  no-such-option: "1"');
      await proxy.waitFor('the refusal', ({ msg }) => msg.includes('refused'), from);
      await proxy.apply(serviceOf(spec, [second!]));
      assert.is(await answersFrom(world, 'client'), second!.name);
      assert.equal(await present(world), ['nftables']);
    } finally {
      await proxy.close();
    }
  } finally {
    await world.close();
  }
});

test.run();
