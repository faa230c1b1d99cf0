/**
 * The example backend of release/sdk/haproxy/, as its reader would run it: the whole program with the file named on the
 * command line, a real HAProxy, real connections to node ports.
 */
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type KubernetesObject, service } from '../conformance/objects.ts';
import type { LogLine } from '../conformance/proxy.ts';
import { answersFrom, ask, BOTH, play, type Scene, serviceOf } from '../netns/backend-scene.ts';
import { isolateTests } from '../netns/isolated.ts';
import type { World } from '../netns/world.ts';
import { skip } from '../skip.ts';
import { MAIN } from '../unit/cli/program.ts';

await isolateTests(['iptables', 'haproxy']);
if (!/^\s*0\s+0\s/.test(readFileSync('/proc/self/uid_map', 'utf8'))) {
  skip(`all of ${relative(process.cwd(), process.argv[1] ?? '')}`, 'HAProxy changes to its own user, which needs root');
  process.exit(0);
}

const test = suite('the HAProxy example');
const RUN = '/run/kube-proxy-haproxy';
const NODE_IP = '192.168.50.10';
const NODE_IP6 = 'fd00:50::10';
const PORT = 30080;
/** What a program of the test's own holds to be in the way. */
const TAKEN = 30081;

// Root's own file, which nobody else may write: a checkout need not be that.
const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-sdk-'));
const PLUGIN = join(folder, 'haproxy.js');
copyFileSync(join(import.meta.dirname, '../../release/sdk/haproxy/haproxy.js'), PLUGIN);
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const FLAGS = [`--backend=${PLUGIN}`];

const web = (world: World, pods: readonly number[], nodePort = PORT): KubernetesObject[] =>
  serviceOf(
    { name: 'web', type: 'NodePort', clusterIPs: BOTH, nodePort },
    pods.map((at) => world.pods[at]!),
  );

/** The scene, and afterwards nothing of ours left: HAProxy outlives kube-proxy on purpose. */
async function scene(
  objects: (world: World) => readonly KubernetesObject[],
  act: (scene: Scene) => Promise<void>,
  flags: readonly string[] = [],
): Promise<void> {
  await play({ flags: [...FLAGS, ...flags], objects }, async (playing) => {
    try {
      await act(playing);
    } finally {
      await playing.proxy.stop();
      await cleanUp(playing.world);
    }
  });
}

async function cleanUp(world: World): Promise<string> {
  const { status, stdout, stderr } = await world.exec(
    'node',
    process.execPath,
    [MAIN, 'cleanup', `--backend=${PLUGIN}`],
    { anyStatus: true },
  );
  assert.is(status, 0, stderr);
  return stdout;
}

/** Process ids of HAProxies that run by our files; a zombie has no command line. */
function ours(): readonly string[] {
  const commandOf = (pid: string): string => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    } catch {
      return '';
    }
  };
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(`\0${RUN}/`));
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(50)) if (await holds()) return;
  assert.unreachable(`${what}: not within 30 s`);
}

const configuration = (): string => readFileSync(`${RUN}/IPv4.cfg`, 'utf8');
/** Syncs that wrote something; the others are not logged. */
const written = (scene: Scene, from = 0): readonly LogLine[] =>
  scene.proxy.lines.slice(from).filter(({ msg, operations }) => msg === 'Synced' && operations !== 0);

test('node ports answer in both families, from outside and from the node, with every endpoint', async () => {
  await scene(
    (world) => web(world, [0, 1, 2]),
    async ({ world }) => {
      for (const ip of [NODE_IP, NODE_IP6, '192.168.60.10']) {
        for (const from of ['client', 'node', 'pod-a']) {
          const answers = await ask(world, from, Array(6).fill(undefined), ip, PORT);
          assert.equal([...new Set(answers)].sort(), ['pod-a', 'pod-b', 'pod-c'], `${from} to ${ip}`);
        }
      }
    },
  );
});

test('edits of endpoints, node ports and Services are followed, and a node port without endpoints refuses', async () => {
  await scene(
    (world) => web(world, [0]),
    async ({ world, proxy }) => {
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'pod-a');
      await proxy.apply(web(world, [1]));
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'pod-b');
      await proxy.apply(web(world, [1], 30090));
      await until(
        'the old port is closed',
        async () => (await answersFrom(world, 'client', NODE_IP, PORT)) === 'refused',
      );
      assert.is(await answersFrom(world, 'client', NODE_IP6, 30090), 'pod-b');
      await proxy.apply(web(world, []));
      await until('no endpoint', async () => (await answersFrom(world, 'client', NODE_IP, PORT)) === 'refused');
      await proxy.apply(web(world, [2]));
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'pod-c');
      await proxy.apply([]);
      await until('the Service is gone', async () => (await answersFrom(world, 'client', NODE_IP, PORT)) === 'refused');
    },
  );
});

test('a change keeps established connections, and no new connection fails meanwhile', async () => {
  await scene(
    (world) => web(world, [0]),
    async ({ world, proxy }) => {
      const request = { protocol: 'TCP' as const, destinationIP: NODE_IP, destinationPort: PORT, timeoutMs: 2000 };
      const held = await world.hold('client', request);
      const flood = await world.flood('client', { request, concurrency: 4, limitMs: 60_000 });
      for (const pods of [[1], [0, 1], [1]]) await proxy.apply(web(world, pods));
      const { total, outcomes } = await flood.stop();
      assert.ok(total > 0);
      assert.equal(outcomes, { answered: total });
      const answer = await held.ping();
      assert.is(answer.outcome === 'answered' ? answer.server : answer.outcome, 'pod-a');
      await held.close();
    },
  );
});

test('what HAProxy cannot run with never replaces what it runs with, and is tried again', async () => {
  await scene(
    (world) => web(world, [0]),
    async ({ world, proxy }) => {
      const good = configuration();
      const blocker = world.spawn(
        'node',
        process.execPath,
        ['-e', `require('net').createServer().listen(${TAKEN}, '0.0.0.0', () => console.log('listens'))`],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      await once(blocker.stdout!, 'data');
      proxy.write(web(world, [1], TAKEN));
      const failed = await proxy.waitFor('a failed sync', ({ msg, level }) => level !== 'info' && /sync/i.test(msg));
      assert.match(JSON.stringify(failed), /cannot bind socket.*30081/);
      assert.is(configuration(), good);
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'pod-a');
      const gone = once(blocker, 'exit');
      blocker.kill();
      await gone;
      await until('the next attempt', async () => (await answersFrom(world, 'client', NODE_IP, TAKEN)) === 'pod-b');
    },
  );
});

test('a HAProxy that was killed, and a file that was edited, are noticed and made right', async () => {
  await scene(
    (world) => web(world, [0]),
    async ({ world }) => {
      const good = configuration();
      for (const pid of ours()) process.kill(Number(pid), 'SIGKILL');
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'refused');
      await until('it runs again', async () => (await answersFrom(world, 'client', NODE_IP, PORT)) === 'pod-a');
      writeFileSync(`${RUN}/IPv4.cfg`, '# mine now\n');
      await until('the file is right again', () => configuration() === good);
    },
  );
});

test('it serves on while kube-proxy is away, and a restart that finds it right writes nothing', async () => {
  await scene(
    (world) => web(world, [0]),
    async (playing) => {
      const { world, proxy } = playing;
      const pids = ours();
      assert.is(await proxy.stop(), 0);
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'pod-a');
      const from = proxy.lines.length;
      await proxy.start();
      assert.equal(written(playing, from), []);
      assert.equal(ours(), pids);
    },
  );
});

test('policy Local uses the endpoints of this node, and affinity keeps a client with one', async () => {
  const local = (world: World): KubernetesObject[] =>
    serviceOf({ name: 'web', type: 'NodePort', clusterIPs: BOTH, nodePort: PORT, externalPolicy: 'Local' }, [
      world.pods[1]!,
      ...world.remotePods,
    ]);
  const sticky = (world: World): KubernetesObject[] =>
    serviceOf({ name: 'web', type: 'NodePort', clusterIPs: BOTH, nodePort: PORT, affinitySeconds: 60 }, world.pods);
  await scene(local, async ({ world, proxy }) => {
    const answers = await ask(world, 'client', Array(6).fill(undefined), NODE_IP, PORT);
    assert.equal([...new Set(answers)], ['pod-b']);
    await proxy.apply(sticky(world));
    const again = await ask(world, 'client', Array(6).fill(undefined), NODE_IP, PORT);
    assert.is(new Set(again).size, 1, again.join(', '));
  });
});

test('--nodeport-addresses says on which addresses it listens', async () => {
  await scene(
    (world) => web(world, [0]),
    async ({ world }) => {
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'pod-a');
      assert.is(await answersFrom(world, 'client', NODE_IP6, PORT), 'pod-a');
      for (const ip of ['192.168.60.10', 'fd00:60::10'])
        assert.is(await answersFrom(world, 'client', ip, PORT), 'refused', ip);
    },
    ['--nodeport-addresses', '192.168.50.0/24,fd00:50::/64'],
  );
});

test('a node port that it cannot serve, being UDP, is named in the log once', async () => {
  const udp = service({
    name: 'dns',
    type: 'NodePort',
    clusterIPs: { IPv4: '10.96.0.53' },
    ports: [{ name: '', protocol: 'UDP', port: 53, nodePort: 30053 }],
  });
  await scene(
    (world) => [...web(world, [0]), udp],
    async ({ world, proxy }) => {
      // A full sync brings every service port again.
      for (const pid of ours()) process.kill(Number(pid), 'SIGKILL');
      await until('it runs again', async () => (await answersFrom(world, 'client', NODE_IP, PORT)) === 'pod-a');
      const named = proxy.lines.filter(({ servicePort }) => servicePort === 'default/dns/UDP');
      assert.equal(
        named.map(({ msg }) => msg),
        ['HAProxy serves TCP only, and not this node port'],
      );
    },
  );
});

test('cleaning up ends every HAProxy of ours, those with connections too, and no other', async () => {
  await play({ flags: FLAGS, objects: (world) => web(world, [0]) }, async ({ world, proxy }) => {
    const request = { protocol: 'TCP' as const, destinationIP: NODE_IP, destinationPort: PORT };
    const held = await world.hold('client', request);
    await proxy.apply(web(world, [1]));
    assert.ok(ours().length >= 3, 'the one with the connection, and one for each family');
    await proxy.stop();
    const foreign = join(folder, 'foreign.cfg');
    writeFileSync(foreign, 'defaults\n  mode tcp\n  timeout client 9s\nfrontend x\n  bind 127.0.0.1:30099\n');
    await world.exec('node', 'haproxy', ['-D', '-f', foreign, '-p', join(folder, 'foreign.pid')]);
    const foreignPid = Number(readFileSync(join(folder, 'foreign.pid'), 'utf8'));
    try {
      assert.match(await cleanUp(world), /haproxy: cleaned up/);
      await until('all have ended', () => ours().length === 0);
      assert.not.ok(existsSync(RUN));
      assert.is(await answersFrom(world, 'client', NODE_IP, PORT), 'refused');
      assert.ok(readFileSync(`/proc/${foreignPid}/cmdline`, 'utf8').includes('foreign.cfg'));
      assert.match(await cleanUp(world), /haproxy: cleaned up/, 'there is nothing to clean up any more');
    } finally {
      process.kill(foreignPid, 'SIGKILL');
      await held.close();
    }
  });
});

test('options that it does not have are refused before anything is done', async () => {
  await play({ flags: ['--backend=dry-run'], objects: () => [] }, async ({ world }) => {
    const flags = ['--manifests', folder, `--backend=${PLUGIN}`, '--backend-option', 'user=root'];
    const run = await world.exec('node', process.execPath, [MAIN, ...flags], { anyStatus: true });
    assert.is(run.status, 2, run.stderr);
    assert.match(run.stderr, /haproxy: there is no option user/);
    assert.not.ok(existsSync(RUN));
  });
});

test.run();
