/**
 * What clients live through under userspace, redirected. What cannot hold where the process itself is the data plane:
 *
 *   connections survive a restart or a crash   they end here, and affinity is the process's memory
 *   endpoints see the client's address         they see the node's
 *   SCTP                                       Node.js does not speak it
 *
 * Instead: a restart leaves the table as it is, and serves at once.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  affinityTests,
  askEachWay,
  prolongedAffinityTest,
  reachedEachWay,
  switchedAffinityTest,
  udpAffinityTest,
} from './backend-affinity.ts';
import { comingAndGoingTest, flipTests, killedTest } from './backend-changes.ts';
import { loopbackTest } from './backend-guards.ts';
import { rollingTest } from './backend-rolling.ts';
import { ask, BOTH, flagsOf, play, serviceOf } from './backend-scene.ts';
import { tableTests } from './backend-tables.ts';
import { userspacePlane } from './backend-userspace.ts';
import { isolateTests } from './isolated.ts';
import type { World } from './world.ts';

await isolateTests(['nftables']);
const test = suite('userspace traffic');
const plane = userspacePlane();
tableTests(test, plane);
loopbackTest(test, plane);
affinityTests(test, plane);
prolongedAffinityTest(test, plane);
switchedAffinityTest(test, plane);
udpAffinityTest(test, plane);
comingAndGoingTest(test, plane);
killedTest(test, plane);
rollingTest(test, plane);
flipTests(test, plane);

test(`${plane.title}: clients keep one endpoint whichever way they come to a Service port`, async () => {
  const objects = (world: World) => reachedEachWay([...world.pods, ...world.remotePods]);
  await play({ flags: flagsOf(plane), objects, world: { clientAddressCount: 40 } }, async ({ world }) => {
    const servers = await askEachWay(world, world.clientIPs.IPv4);
    assert.ok(new Set(servers).size > 1);
  });
});

test(`${plane.title}: a restart writes nothing, and serves by the ports that the table names`, async () => {
  const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods);
  await play({ flags: [...flagsOf(plane), '-v', '2'], objects }, async ({ world, proxy }) => {
    const before = await plane.rules(world);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const from = proxy.lines.length;
      await proxy.stop(signal);
      await proxy.start();
      for (const family of ['IPv4', 'IPv6']) {
        const fits = ({ msg, ...line }: { msg: string; family?: unknown }) =>
          msg.startsWith('Synced') && line.family === family;
        const line = await proxy.waitFor('the first sync', fits, from);
        assert.is(line.operations, 0, JSON.stringify(line));
      }
      for (const namespace of ['client', 'pod-a', 'node']) {
        for (const destination of Object.values(BOTH)) {
          const servers = await ask(world, namespace, new Array(4).fill(undefined), destination);
          assert.ok(
            servers.every((server) => server.startsWith('pod-')),
            servers.join(),
          );
        }
      }
    }
    assert.is(await plane.rules(world), before);
  });
});

test.run();
