/**
 * The configuration's `mode` edited while the program runs: the other backend takes over under traffic, with the same
 * store of objects, and then what the one before made goes.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Proxy, startProxy } from '../conformance/proxy.ts';
import { answerer, answersFrom, BOTH, serviceOf, VIP, VIP6 } from './backend-scene.ts';
import { isolateTests } from './isolated.ts';
import { createWorld, type World } from './world.ts';
import { CLUSTER_CIDR } from './world-topology.ts';

await isolateTests();
const test = suite('switching backends live');
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
