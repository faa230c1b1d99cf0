/** What connections meet: balancing, hairpin, SCTP. */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { ENDPOINT_PORT } from '../conformance/matrix.ts';
import { endpointSlice, service } from '../conformance/objects.ts';
import {
  answerer,
  answersFrom,
  ask,
  BOTH,
  type DataPlane,
  flagsOf,
  play,
  serviceOf,
  VIP,
  VIP6,
} from './backend-scene.ts';
import type { World } from './world.ts';

export function trafficTests(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: connections spread evenly over the endpoints`, async () => {
    const pods = (world: World) => [...world.pods, ...world.remotePods];
    await play(
      { flags, objects: (world) => serviceOf({ name: 'web', clusterIPs: BOTH }, pods(world)) },
      async ({ world }) => {
        for (const destination of [VIP, VIP6]) {
          const servers = await ask(world, 'pod-a', new Array(1000).fill(undefined), destination);
          const counts = Object.values(Object.groupBy(servers, (server) => server)).map((list) => list!.length);
          assert.is(counts.length, 5, [...new Set(servers)].join(', '));
          // Chi-square, 4 degrees of freedom: 23.5 is exceeded once in 10,000 runs by a fair choice.
          const chiSquare = counts.reduce((sum, n) => sum + (n - 200) ** 2 / 200, 0);
          assert.ok(chiSquare < 23.5, `${counts.join(', ')}: chi-square ${chiSquare}`);
        }
      },
    );
  });

  if (plane.lacks?.includes('SCTP')) return;
  test(`${plane.title}: SCTP is translated`, async () => {
    const port = { name: '', protocol: 'SCTP' as const, port: 80 };
    await play(
      {
        flags,
        objects: (world) => [
          service({ name: 'sctp', clusterIPs: { IPv4: VIP }, ports: [{ ...port, nodePort: 30080 }], type: 'NodePort' }),
          endpointSlice({
            service: 'sctp',
            family: 'IPv4',
            port: { ...port, port: ENDPOINT_PORT },
            endpoints: world.pods.slice(0, 1).map((pod) => ({ ip: pod.ip.IPv4, nodeName: pod.nodeName })),
          }),
        ],
        prepare: (world) => world.servePods({ port: ENDPOINT_PORT, protocols: ['SCTP'] }),
      },
      async ({ world }) => {
        for (const [namespace, destinationIP, destinationPort] of [
          ['pod-b', VIP, 80],
          ['client', VIP, 80],
          ['client', world.nodeIPs.IPv4[0]!, 30080],
        ] as const) {
          const outcome = await world.request(namespace, {
            protocol: 'SCTP',
            destinationIP,
            destinationPort,
            timeoutMs: 1000,
          });
          assert.is(answerer(outcome), 'pod-a', `${namespace} ${destinationIP}`);
        }
      },
    );
  });
}

/** `how` the plane does it, where it has several ways. */
export function hairpinTest(test: Test, plane: DataPlane, how = ''): void {
  test(`${plane.title}: a pod reaches itself through its Service (hairpin${how})`, async () => {
    const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(0, 1));
    await play({ flags: flagsOf(plane), objects }, async ({ world }) => {
      for (const [destinationIP, family] of [
        [VIP, 'IPv4'],
        [VIP6, 'IPv6'],
      ] as const) {
        const outcome = await world.request('pod-a', { protocol: 'TCP', destinationIP, destinationPort: 80 });
        assert.is(answerer(outcome), 'pod-a', JSON.stringify(outcome));
        if (outcome.outcome === 'answered') assert.not.equal(outcome.peer, world.pods[0]!.ip[family]);
        if (plane.hidesSources) continue;
        // Another pod of the node keeps its address.
        const other = await world.request('pod-b', { protocol: 'TCP', destinationIP, destinationPort: 80 });
        assert.is(other.outcome === 'answered' && other.peer, world.pods[1]!.ip[family]);
      }
    });
  });
}

/** Slices that somebody wrote by hand often do not say which node an endpoint is on. */
export function namelessHairpinTest(test: Test, plane: DataPlane): void {
  test(`${plane.title}: a pod reaches itself even where its slice does not name the node`, async () => {
    const objects = (world: World) =>
      serviceOf({ name: 'web', clusterIPs: BOTH }, [{ ...world.pods[0]!, nodeName: '' }]);
    await play({ flags: flagsOf(plane), objects }, async ({ world }) => {
      for (const destination of [VIP, VIP6]) assert.is(await answersFrom(world, 'pod-a', destination), 'pod-a');
    });
  });
}
