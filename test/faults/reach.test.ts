/** Ways to the server that are not there yet, break for a while, or lead nowhere. */
import dns from 'node:dns';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { parse, stringify } from 'yaml';
import type { ApiServer } from '../apiserver/server.ts';
import { mostRequests, RESOURCES } from './bounds.ts';
import { startConnectProxy } from './connect-proxy.ts';
import { faultSuite } from './fault-suite.ts';
import { running, type Scene, scene, tokenKubeconfig } from './scene.ts';

const test = faultSuite('faults: reach');
/** Nothing listens there: it is reserved. */
const NOWHERE = 1;

/** The kubeconfig with something else in its cluster. */
function kubeconfig(server: ApiServer, cluster: Readonly<Record<string, string>>): string {
  const { path } = tokenKubeconfig(server);
  const config = parse(readFileSync(path, 'utf8')) as { clusters: { cluster: Record<string, string> }[] };
  Object.assign(config.clusters[0]!.cluster, cluster);
  writeFileSync(path, stringify(config));
  return path;
}

function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Nothing is delivered meanwhile, and attempts keep to the backoff. */
async function outOfReachFor(
  { clock, during, recorder }: Scene,
  milliseconds: number,
  leastPerResource = 1,
): Promise<void> {
  const calls = recorder.calls() + recorder.syncs();
  const { asked } = await during(() => clock.sleep(milliseconds));
  assert.is(recorder.calls() + recorder.syncs(), calls);
  const most = mostRequests(milliseconds) * RESOURCES.length;
  const least = leastPerResource * RESOURCES.length;
  assert.ok(asked >= least && asked <= most, `${asked} requests were tried, ${least} to ${most} are due`);
}

test('a server that is not up yet is found within a minute of its start', () =>
  scene({}, async (stage) => {
    const { server, start, settled, log } = stage;
    await server.down();
    await start();
    await outOfReachFor(stage, 120_000, 8);
    assert.ok(log.at('warn').length <= 4, 'one line a minute at most');
    await server.up();
    await settled();
  }));

test('a server that is away for ten minutes is found again within a minute, with the last state in force', () =>
  running({ pace: 600 }, async (stage) => {
    const { server, churn, settled, log } = stage;
    await server.down('reset');
    for (let write = 0; write < 200; write++) churn.step();
    await outOfReachFor(stage, 600_000, 20);
    assert.ok(log.at('warn').length <= 7, `${log.at('warn').length} lines in ten minutes`);
    await server.up();
    await settled();
    assert.ok(log.at('info').some(({ message }) => message === 'The API server answers again'));
  }));

test('connections that are reset five times a second make neither a busy loop nor a gap', () =>
  running({ pace: 40 }, async ({ server, churn, clock, settled, during }) => {
    churn.start(clock, 100);
    const { requests, asked } = await during(async () => {
      for (let round = 0; round < 100; round++) {
        server.dropConnections('reset');
        await clock.sleep(200);
      }
    });
    churn.stop();
    // Each watch that brought something ends one row of failures, so that the shortest pause is all there is.
    const most = RESOURCES.length * 2 * (20_000 / 400 + 1);
    assert.ok(requests.length <= most && asked <= most, `${asked} requests in twenty seconds, at most ${most}`);
    await settled();
  }));

test('TLS handshakes that never end are given up', () =>
  running({ pace: 400 }, async (stage) => {
    const { server, settled, log } = stage;
    const before = openFiles();
    server.stallHandshakes(true);
    server.dropConnections('reset');
    await outOfReachFor(stage, 300_000, 5);
    assert.ok(
      log.at('warn').some(({ values }) => String(values.error).endsWith('no connection came about within 10 s')),
    );
    // The server's ends stay: it does not look at them. Of ours, one for each resource at most is open.
    const ours = openFiles() - (before - 2 * RESOURCES.length) - server.connections();
    assert.ok(ours <= RESOURCES.length, `${ours} connections are held`);
    server.stallHandshakes(false);
    await settled();
  }));

test('TLS handshakes that never end from the start are given up', () =>
  scene({ pace: 400 }, async (stage) => {
    const { server, start, settled } = stage;
    server.stallHandshakes(true);
    await start();
    await outOfReachFor(stage, 120_000, 3);
    server.stallHandshakes(false);
    server.dropConnections('close');
    await settled();
  }));

test('a wrong port is corrected in the kubeconfig while it runs', () =>
  scene(
    { connect: (server) => ({ kubeconfig: kubeconfig(server, { server: `https://127.0.0.1:${NOWHERE}` }) }) },
    async (stage) => {
      await stage.start();
      await outOfReachFor(stage, 60_000, 5);
      kubeconfig(stage.server, {});
      await stage.settled();
    },
  ));

test("a server's name that cannot be resolved for a while is asked for again", async () => {
  const { lookup } = dns;
  let fails = true;
  let lookups = 0;
  const answer = (name: string, options: never, callback: (...result: unknown[]) => void): void => {
    if (name !== 'kubernetes.default.svc') {
      lookup(name, options, callback as never);
      return;
    }
    lookups++;
    const { all = false } = options as { all?: boolean };
    const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), {
      code: 'ENOTFOUND',
      syscall: 'getaddrinfo',
    });
    if (fails) setImmediate(callback, error);
    else if (all) setImmediate(callback, null, [{ address: '127.0.0.1', family: 4 }]);
    else setImmediate(callback, null, '127.0.0.1', 4);
  };
  dns.lookup = answer as unknown as typeof lookup;
  try {
    const named = (server: ApiServer) =>
      kubeconfig(server, { server: `https://kubernetes.default.svc:${server.port}` });
    await scene({ connect: (server) => ({ kubeconfig: named(server) }) }, async (stage) => {
      await stage.start();
      await outOfReachFor(stage, 60_000, 5);
      assert.ok(lookups >= RESOURCES.length * 5 && lookups <= stage.asked.length, `${lookups} names were looked up`);
      fails = false;
      await stage.settled();
      fails = true;
      stage.server.dropConnections('reset');
      await outOfReachFor(stage, 60_000, 5);
      fails = false;
      await stage.settled();
    });
  } finally {
    dns.lookup = lookup;
  }
});

test('a proxy that dies is waited for, and used again', async () => {
  const proxy = await startConnectProxy();
  try {
    const through = (server: ApiServer) => kubeconfig(server, { 'proxy-url': proxy.url });
    await running({ connect: (server) => ({ kubeconfig: through(server) }) }, async (stage) => {
      const { settled, server } = stage;
      assert.ok(proxy.asked() >= 1);
      await proxy.down();
      await outOfReachFor(stage, 120_000, 5);
      assert.is(server.connections(), 0, 'nothing goes around it');
      await proxy.up();
      await settled();
      for (const how of [407, 502, 'silence'] as const) {
        proxy.behave(how);
        server.dropConnections('reset');
        await outOfReachFor(stage, 120_000, 2);
        proxy.behave('work');
        await settled(65_000);
      }
    });
  } finally {
    await proxy.down();
  }
});

test.run();
