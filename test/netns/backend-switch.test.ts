/**
 * Another backend takes over: its rules come first, then those of the one before go, and connections made through
 * these live on.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { startProxy } from '../conformance/proxy.ts';
import { nftablesPlane } from './backend-nftables.ts';
import { answersFrom, BOTH, type DataPlane, flagsOf, serviceOf, VIP, VIP6 } from './backend-scene.ts';
import { iptablesPlane } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import { createWorld } from './world.ts';

await isolateTests();
const test = suite('switching backends');

const PAIRS: readonly (readonly [DataPlane, DataPlane])[] = [
  [iptablesPlane('nft'), nftablesPlane()],
  [iptablesPlane('legacy'), nftablesPlane()],
  [nftablesPlane(), iptablesPlane('nft')],
  [nftablesPlane('ownership=off'), iptablesPlane('legacy')],
];

for (const [before, after] of PAIRS) {
  test(`from ${before.title} to ${after.title}: the old rules go, without a moment in which nobody answers`, async () => {
    const world = await createWorld();
    try {
      await world.servePods({ port: 8080 });
      const [first, second] = world.pods;
      const objects = serviceOf({ name: 'web', clusterIPs: BOTH, nodePort: 30080 }, [first!]);
      const old = await startProxy({ world, flags: flagsOf(before), objects });
      assert.is(await answersFrom(world, 'client'), first!.name);
      await old.close();
      assert.is(await answersFrom(world, 'client'), first!.name, 'rules outlive the process');

      let watching = true;
      const failures: string[] = [];
      const watch = (async () => {
        while (watching) {
          const answer = await answersFrom(world, 'client');
          if (answer !== first!.name && answer !== second!.name) failures.push(answer);
        }
      })();
      // Only the new backend knows the second pod.
      const moved = serviceOf({ name: 'web', clusterIPs: BOTH, nodePort: 30080 }, [second!]);
      const now = await startProxy({ world, flags: flagsOf(after), objects: moved });
      try {
        await now.waitFor('the removal of the old rules', ({ msg }) => /^Removed (rules|a table)$/.test(String(msg)));
        for (const vip of [VIP, VIP6]) assert.is(await answersFrom(world, 'client', vip), second!.name);
        watching = false;
        await watch;
        assert.equal(failures, []);
        const deadline = Date.now() + 10_000;
        const left = async (): Promise<string[]> => {
          const nft = (await world.exec('node', 'nft', ['list', 'tables'])).stdout;
          const legacy = (await world.exec('node', 'iptables-legacy-save', [])).stdout;
          const xtables = (await world.exec('node', 'iptables-nft-save', [])).stdout;
          const found: string[] = [];
          if (nft.includes('kube-services')) found.push('nftables');
          if (/^:KUBE-SERVICES/m.test(legacy)) found.push('iptables legacy');
          if (/^:KUBE-SERVICES/m.test(xtables)) found.push('iptables nft');
          return found;
        };
        while ((await left()).length > 1 && Date.now() < deadline)
          await new Promise((resolve) => setTimeout(resolve, 100));
        assert.equal(await left(), [after.title.startsWith('nftables') ? 'nftables' : `iptables ${after.title}`]);
      } finally {
        watching = false;
        await now.close();
      }
    } finally {
      await world.close();
    }
  });
}

test.run();
