/** What clients live through: endpoints that come and go, restarts and crashes. */

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Request } from './agent-protocol.ts';
import { answerer, ask, BOTH, type DataPlane, flagsOf, play, serviceOf, VIP } from './backend-scene.ts';
import { SLOW } from './slow.ts';
import type { World } from './world.ts';

const TWO_CLIENTS = { clientAddressCount: 2 };

/**
 * The same of a client with another address: IPVS tells connections of one client address and port to one endpoint not
 * apart, whichever frontends they came by, and two floods from one address choose a common port now and then.
 */
function toNodePort(world: World, request: Request): Request {
  const [, sourceIP] = world.clientIPs.IPv4;
  return { ...request, sourceIP: sourceIP!, destinationIP: world.nodeIPs.IPv4[0]!, destinationPort: 30080 };
}

export function changeTests(test: Test, plane: DataPlane): void {
  comingAndGoingTest(test, plane);
  restartTest(test, plane);
  killedTest(test, plane);
}

export function comingAndGoingTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: while endpoints come and go, no connection fails and none reaches an endpoint that left`, async () => {
    const objects = (world: World, count: number) =>
      serviceOf({ name: 'web', clusterIPs: BOTH, nodePort: 30080, type: 'NodePort' }, world.pods.slice(0, count));
    await play({ flags, world: TWO_CLIENTS, objects: (world) => objects(world, 3) }, async ({ world, proxy }) => {
      const request = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 };
      const floods = await Promise.all([
        world.flood('client', { request, limitMs: 60_000 }),
        world.flood('pod-a', { request, limitMs: 60_000 }),
        world.flood('client', { request: toNodePort(world, request), limitMs: 60_000 }),
      ]);
      for (let round = 0; round < 12; round++) await proxy.apply(objects(world, 1 + (round % 3)));
      for (const flood of floods) {
        const { total, outcomes } = await flood.stop();
        assert.equal(outcomes, { answered: total });
        assert.ok(total > 50, `${total} connections`);
      }
      await proxy.apply(objects(world, 1));
      const servers = await ask(world, 'client', new Array(60).fill(undefined));
      assert.equal([...new Set(servers)], ['pod-a']);
    });
  });
}

/** Where nothing passes through the program. */
function restartTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: a restart breaks nothing, writes nothing, and keeps affinity`, async () => {
    const objects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 600 }, world.pods);
    await play(
      { flags: [...flags, '-v', '2'], objects, world: { clientAddressCount: 20 } },
      async ({ world, proxy }) => {
        const first = await ask(world, 'client', world.clientIPs.IPv4);
        const request = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 };
        const held = await world.hold('client', request);
        const flood = await world.flood('pod-b', { request, limitMs: 60_000 });
        const before = await plane.rules(world);
        for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
          const from = proxy.lines.length;
          await proxy.stop(signal);
          await proxy.start();
          for (const family of ['IPv4', 'IPv6']) {
            const line = await proxy.waitFor(
              'the first sync',
              ({ msg, ...line }) => msg.startsWith('Synced') && line.family === family,
              from,
            );
            assert.is(line.operations, 0, JSON.stringify(line));
          }
        }
        assert.is(await plane.rules(world), before);
        const { total, outcomes } = await flood.stop();
        assert.equal(outcomes, { answered: total });
        assert.is(answerer(await held.ping()), answerer(held.first));
        assert.equal(await ask(world, 'client', world.clientIPs.IPv4), first);
      },
    );
  });
}

export function killedTest(test: Test, plane: DataPlane): void {
  const flags = flagsOf(plane);

  test(`${plane.title}: killed at any moment between changes, the next start makes the rules right`, async () => {
    const objects = (world: World, round: number) => [
      ...serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods.slice(round % 3, (round % 3) + 1)),
      ...serviceOf({ name: `extra-${round}`, clusterIPs: { IPv4: `10.97.0.${round + 1}` } }, world.pods),
    ];
    await play({ flags, objects: (world) => objects(world, 0) }, async ({ world, proxy }) => {
      for (let round = 1; round <= 4; round++) {
        const applying = proxy.apply(objects(world, round)).catch(() => undefined);
        await sleep(round * 15);
        await proxy.stop('SIGKILL');
        await applying;
        await proxy.start();
        const servers = await ask(world, 'client', new Array(10).fill(undefined));
        assert.equal([...new Set(servers)], [world.pods[round % 3]!.name], `round ${round}`);
        const rules = await plane.rules(world);
        if (plane.countServices) {
          assert.is(plane.countServices(rules), 2, `round ${round}: the rules of a Service that is gone stay`);
        }
        const extra = new Set(rules.match(/\b10\.97\.0\.\d+/g));
        assert.equal([...extra], [`10.97.0.${round + 1}`]);
      }
    });
  });
}

const FLIPS_MS = 4000;
/** On a slow machine more time, until so much was tried. */
const [ENOUGH_FLIPS, LONGEST_MS] = [30, FLIPS_MS * SLOW];
const FLIPPER = fileURLToPath(new URL('backend-flipper.ts', import.meta.url));

/** Endpoints that change as fast as the program takes it, under new connections all the time. */
export function flipTests(test: Test, plane: DataPlane): void {
  const request = { protocol: 'TCP' as const, destinationIP: VIP, destinationPort: 80, timeoutMs: 3000 };
  const everyone = (world: World) => [...world.pods, ...world.remotePods];
  const kinds: readonly (readonly [
    title: string,
    affinitySeconds: number,
    pick: (round: number) => readonly number[],
  ])[] = [
    ['one endpoint is exchanged for another', 0, (round) => [round % 5]],
    ['endpoints grow and shrink between one and five', 0, (round) => [0, 1, 2, 3, 4].slice(0, 1 + ((round * 7) % 5))],
    ['the first ones leave and come back', 0, (round) => [0, 1, 2, 3, 4].slice(round % 5)],
    ['endpoints of a Service with affinity change', 600, (round) => [round % 5, (round + 2) % 5]],
  ];
  for (const [title, affinitySeconds, pick] of kinds) {
    test(`${plane.title}: ${title} as fast as can be, and every new connection is answered`, async () => {
      const objects = (world: World, round: number) =>
        serviceOf(
          { name: 'web', clusterIPs: BOTH, nodePort: 30080, type: 'NodePort', affinitySeconds },
          pick(round).map((index) => everyone(world)[index]!),
        );
      const scene = { flags: flagsOf(plane), world: TWO_CLIENTS, objects: (world: World) => objects(world, 0) };
      await play(scene, async ({ world, proxy }) => {
        const limitMs = 60_000;
        const toNode = toNodePort(world, request);
        const floods = await Promise.all([
          world.flood('client', { request, limitMs, concurrency: 4, pauseMs: 1 }),
          world.flood('pod-a', { request: { ...request, destinationIP: BOTH.IPv6 }, limitMs, pauseMs: 1 }),
          world.flood('client', { request: toNode, limitMs, pauseMs: 1 }),
        ]);
        let rounds = 0;
        const begin = performance.now();
        for (let ms = 0; ms < FLIPS_MS || (rounds < ENOUGH_FLIPS && ms < LONGEST_MS); ms = performance.now() - begin) {
          await proxy.apply(objects(world, ++rounds));
        }
        let sum = 0;
        for (const flood of floods) {
          const { total, outcomes } = await flood.stop();
          assert.equal(outcomes, { answered: total });
          sum += total;
        }
        console.log(`# ${rounds} changes, ${sum} connections`);
        assert.ok(rounds > 20 && sum > 500, `${rounds} changes, ${sum} connections`);
        const expected = pick(rounds).map((index) => everyone(world)[index]!.name);
        const servers = await ask(world, 'pod-b', new Array(100).fill(undefined));
        assert.ok(
          servers.every((server) => expected.includes(server)),
          `${[...new Set(servers)]} instead of ${expected}`,
        );
      });
    });
  }

  for (const affinitySeconds of [0, 600]) {
    const affinity = affinitySeconds > 0 ? ' of a Service with affinity' : '';
    test(`${plane.title}: thousands of changes a second to the endpoints${affinity} fail no new connection`, async () => {
      await play({ flags: flagsOf(plane), world: TWO_CLIENTS, objects: () => [] }, async ({ world, proxy }) => {
        await proxy.stop();
        const input = {
          backend: plane.backend,
          servicePort: { clusterIP: VIP, nodePort: 30080, affinitySeconds },
          // Not the pod that asks: what it sends to itself is masqueraded, which is decided a moment later.
          endpoints: everyone(world)
            .slice(1)
            .map((pod) => pod.ip.IPv4),
        };
        const flipper = world.spawn('node', process.execPath, [FLIPPER, JSON.stringify(input)], { stdio: 'pipe' });
        let said = '';
        for (const stream of [flipper.stdout!, flipper.stderr!]) {
          stream.on('data', (chunk: Buffer) => {
            said += chunk.toString();
          });
        }
        for (let k = 0; k < 250 && !said.includes('begun') && flipper.exitCode === null; k++) await sleep(20);
        assert.match(said, 'begun');
        const limitMs = 60_000;
        const toNode = toNodePort(world, request);
        const floods = await Promise.all([
          world.flood('client', { request, limitMs, concurrency: 4, pauseMs: 1 }),
          world.flood('pod-a', { request, limitMs, concurrency: 2, pauseMs: 1 }),
          world.flood('client', { request: toNode, limitMs, concurrency: 2, pauseMs: 1 }),
        ]);
        await sleep(SLOW > 1 ? 2 * FLIPS_MS : FLIPS_MS);
        for (const flood of floods) {
          const { total, outcomes } = await flood.stop();
          assert.equal(outcomes, { answered: total }, said);
          assert.ok(total > (SLOW > 1 ? 20 : 100), `${total} connections`);
        }
        const closed = once(flipper, 'close');
        flipper.stdin!.end();
        await closed;
        console.log(`# ${said.trim().replaceAll('\n', ', ')}`);
        assert.is(flipper.exitCode, 0, said);
      });
    });
  }
}
