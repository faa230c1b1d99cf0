/** What clients and endpoints can do to the process, and that it outlives it: the data plane is the process. */
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ENDPOINT_PORT, endpointSlice, type KubernetesObject, service } from '../conformance/objects.ts';
import { type Proxy, startProxy } from '../conformance/proxy.ts';
import { answerer, answersFrom, flagsOf, serviceOf, VIP } from './backend-scene.ts';
import { userspacePlane } from './backend-userspace.ts';
import { programFromSources } from './from-sources.ts';
import { isolateTests } from './isolated.ts';
import { SLOW } from './slow.ts';
import type { Load, Told } from './userspace-load.ts';
import { createWorld, type World } from './world.ts';

await isolateTests(['nftables']);
const test = suite('userspace faults');

const OTHER_VIP = '10.96.0.11';
const POUR_PORT = 9000;
const PATIENCE_MS = 60_000 * SLOW;
const LOAD = new URL('userspace-load.ts', import.meta.url).pathname;

/** `web` at VIP answers from pod-a, `other` at OTHER_VIP from pod-b, `pour` at VIP:81 is poured from pod-c. */
function objects(world: World): readonly KubernetesObject[] {
  const port = { name: '', protocol: 'TCP' as const };
  return [
    ...serviceOf({ name: 'web', clusterIPs: { IPv4: VIP } }, world.pods.slice(0, 1)),
    ...serviceOf({ name: 'other', clusterIPs: { IPv4: OTHER_VIP } }, world.pods.slice(1, 2)),
    service({ name: 'pour', clusterIPs: { IPv4: VIP }, ports: [{ ...port, port: 81, nodePort: 0 }] }),
    endpointSlice({
      service: 'pour',
      family: 'IPv4',
      port: { ...port, port: POUR_PORT },
      endpoints: [{ ip: world.pods[2]!.ip.IPv4, nodeName: world.pods[2]!.nodeName }],
    }),
  ];
}

interface Scene {
  readonly world: World;
  readonly proxy: Proxy;
}

interface SceneOptions {
  /** Descriptors that the daemon may have. */
  readonly descriptors: number;
  readonly options?: readonly string[];
}

async function play({ descriptors, options = [] }: SceneOptions, act: (scene: Scene) => Promise<void>): Promise<void> {
  const world = await createWorld();
  try {
    await world.servePods({ port: ENDPOINT_PORT, protocols: ['TCP'] });
    const program = ['prlimit', `--nofile=${descriptors}:${descriptors}`, ...programFromSources()];
    const flags = flagsOf(userspacePlane('threads=2', ...options));
    const proxy = await startProxy({ world, flags, objects: objects(world), program });
    try {
      await act({ world, proxy });
      assert.ok(proxy.running);
      assert.equal(
        proxy.lines.filter(({ msg }) => msg.includes('thread')),
        [],
      );
    } finally {
      await proxy.close();
    }
  } finally {
    await world.close();
  }
}

interface RunningLoad {
  readonly ready: Extract<Told, { readonly told: 'ready' }>;
  readonly ended: () => Extract<Told, { readonly told: 'ended' }>;
  end(): void;
}

async function start(world: World, namespace: string, load: Load): Promise<RunningLoad> {
  const child = world.spawn(namespace, process.execPath, [LOAD, JSON.stringify(load)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const first = Promise.withResolvers<RunningLoad['ready']>();
  let ended: Extract<Told, { readonly told: 'ended' }> = { told: 'ended', how: {}, bytes: 0 };
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const told = JSON.parse(line) as Told;
    if (told.told === 'ready') first.resolve(told);
    else ended = told;
  });
  child.once('exit', () => first.reject(new Error('the load ended')));
  return { ready: await first.promise, ended: () => ended, end: () => child.stdin!.end() };
}

const READ_METRICS = `
const text = await (await fetch('http://127.0.0.1:10249/metrics')).text();
console.log(text.split('\\n').filter((line) => line.startsWith('kubeproxy_userspace_')).join('\\n'));`;

/** Of all Services together; `label`: of lines that contain it. */
async function metric(world: World, name: string, label = ''): Promise<number> {
  const args = ['--input-type=module', '-e', READ_METRICS];
  const { stdout } = await world.exec('node', process.execPath, args);
  const lines = stdout.split('\n').filter((line) => line.startsWith(`kubeproxy_userspace_${name}{`));
  return lines.filter((line) => line.includes(label)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const begin = performance.now(); performance.now() - begin < PATIENCE_MS; await sleep(100)) {
    if (await holds()) return;
  }
  throw new Error(`never: ${what}`);
}

function nothingIsOpen(world: World): Promise<void> {
  return until('no connection is open', async () => (await metric(world, 'open_connections')) === 0);
}

/** Of the daemon, in MiB. */
function memory(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(ofDaemon('status'))?.[1]) / 1024;
}

function ofDaemon(file: string): string {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    if (words.includes('--manifests') && words[1]?.endsWith('main.ts'))
      return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  }
  throw new Error('there is no daemon');
}

test('10,000 idle connections stay open, cost little, and leave nothing', async () => {
  // Two descriptors each; a limit that this test itself has it cannot raise for others.
  const most = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
  const descriptors = Math.min(25_000, most);
  const count = Math.min(10_000, Math.floor(descriptors / 2) - 400);
  await play({ descriptors }, async ({ world }) => {
    // What the first hundred cost is made once.
    const few = await start(world, 'client', { do: 'connect', ip: VIP, port: 80, count: 100, reads: true });
    const before = memory();
    const crowd = await start(world, 'client', { do: 'connect', ip: VIP, port: 80, count, reads: true });
    assert.equal(crowd.ready, { told: 'ready', open: count, failed: 0 });
    const grown = memory() - before;
    console.log(
      `# ${((grown * 1024) / count).toFixed(1)} KiB for each of ${count} connections, ${grown.toFixed(0)} MiB in all`,
    );
    assert.ok(grown < 400, `${grown} MiB`);
    assert.is(await metric(world, 'open_connections'), count + 100);
    assert.is(await answersFrom(world, 'pod-a', OTHER_VIP), 'pod-b');
    assert.equal(crowd.ended().how, {});
    for (const load of [few, crowd]) load.end();
    await nothingIsOpen(world);
    assert.is(await answersFrom(world, 'client'), 'pod-a');
  });
});

test('clients that do not read what an endpoint pours do not make the process grow, nor hold up others', async () => {
  await play({ descriptors: 1_000 }, async ({ world }) => {
    const pouring = await start(world, 'pod-c', { do: 'pour', ip: world.pods[2]!.ip.IPv4, port: POUR_PORT });
    const before = memory();
    const count = 60;
    const slow = await start(world, 'client', { do: 'connect', ip: VIP, port: 81, count, reads: false });
    assert.is(slow.ready.open, count);
    let sent = -1;
    await until('everything is full', async () => {
      const last = sent;
      sent = await metric(world, 'sent_bytes_total');
      return sent === last;
    });
    const grown = memory() - before;
    console.log(`# ${(sent / 2 ** 20).toFixed(0)} MiB on their way, the process grew by ${grown.toFixed(0)} MiB`);
    assert.ok(grown < 80, `${grown} MiB`);
    assert.is(await answersFrom(world, 'client', OTHER_VIP), 'pod-b');
    slow.end();
    await nothingIsOpen(world);
    pouring.end();
  });
});

test('an endpoint that dies while it sends is a reset to its clients', async () => {
  await play({ descriptors: 1_000 }, async ({ world }) => {
    const pouring = await start(world, 'pod-c', { do: 'pour', ip: world.pods[2]!.ip.IPv4, port: POUR_PORT });
    const clients = await start(world, 'client', { do: 'connect', ip: VIP, port: 81, count: 5, reads: true });
    assert.is(clients.ready.open, 5);
    pouring.end();
    await until('all have ended', () => Object.values(clients.ended().how).reduce((sum, n) => sum + n, 0) === 5);
    assert.equal(clients.ended().how, { ECONNRESET: 5 });
    assert.is(await metric(world, 'failures_total', 'reason="endpoint_reset"'), 5);
    await nothingIsOpen(world);
    clients.end();
  });
});

test('connections of clients that are gone without a word are noticed by keep-alives', async () => {
  await play({ descriptors: 1_000, options: ['keepAliveSeconds=1'] }, async ({ world }) => {
    const clients = await start(world, 'client', { do: 'connect', ip: VIP, port: 80, count: 20, reads: true });
    const held = await world.hold('pod-b', { protocol: 'TCP', destinationIP: VIP, destinationPort: 80 });
    assert.is(await metric(world, 'open_connections'), 21);
    await world.exec('client', 'ip', ['link', 'set', 'eth0', 'down']);
    await until('they are gone', async () => (await metric(world, 'open_connections')) === 1);
    assert.is(answerer(await held.ping()), 'pod-a');
    await held.close();
    await nothingIsOpen(world);
    clients.end();
  });
});

const BOUNDS = [
  [
    'without descriptors',
    { descriptors: 300, options: ['maxConnections=1000'] },
    'No descriptor is left',
    [51, 149],
    false,
  ],
  // 144 of both threads together, one of which is held; threads that accept at the same time may take one more.
  [
    'where as many are open as may be',
    { descriptors: 800 },
    'As many connections are open as may be',
    [143, 144],
    true,
  ],
] as const;
for (const [title, settings, complaint, [least, most], areCounted] of BOUNDS) {
  test(`${title} what is open goes on, nothing ends, and all Services serve again when there is room`, async () => {
    await play(settings, async ({ world, proxy }) => {
      const held = await world.hold('pod-c', { protocol: 'TCP', destinationIP: OTHER_VIP, destinationPort: 80 });
      const crowd = await start(world, 'client', { do: 'connect', ip: VIP, port: 80, count: 400, reads: true });
      console.log(`# ${crowd.ready.open} of 400 connections with ${settings.descriptors} descriptors`);
      assert.ok(crowd.ready.open >= least && crowd.ready.open <= most, `${crowd.ready.open}`);
      assert.is(answerer(await held.ping()), 'pod-b');
      assert.ok(proxy.lines.some(({ msg }) => msg.startsWith(complaint)));
      const refused = await metric(world, 'failures_total', 'reason="limit"');
      // Without a descriptor nobody can tell for which Service a connection was.
      if (areCounted) assert.is(refused, 400 - crowd.ready.open);
      crowd.end();
      await until('Services are served', async () => (await answersFrom(world, 'client', OTHER_VIP)) === 'pod-b');
      assert.is(await answersFrom(world, 'client'), 'pod-a');
      assert.is(answerer(await held.ping()), 'pod-b');
      await held.close();
      await nothingIsOpen(world);
    });
  });
}

test.run();
