/**
 * The userspace backend beside HAProxy in TCP mode (Debian's): the same client, server and namespaces, in turn.
 *
 *   client ── wrk ──▶ node: HAProxy on an address and port of its own ──▶ pod: a small HTTP server
 *                     node: kube-proxy, the ClusterIP redirected       ──▶ the same
 *
 * What is compared is work: requests, or bytes, for each second of processor time of the proxy, whatever else the machine
 * does. Options: --rounds N (3), --seconds N (4), --connections N (64), --idle N (5,000), --threads N (of both; 2).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { enterIsolation } from '../../build/isolate.ts';
import { ensurePackages } from '../../build/packages.ts';
import { startProxy } from '../conformance/proxy.ts';
import { flagsOf, serviceOf } from '../netns/backend-scene.ts';
import { userspacePlane } from '../netns/backend-userspace.ts';
import { createWorld, type World } from '../netns/world.ts';
import { median } from './cost.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    connections: { type: 'string', default: '64' },
    idle: { type: 'string', default: '5000' },
    threads: { type: 'string', default: '2' },
    'max-services': { type: 'string' },
  },
});
const [rounds, seconds, connections, idle, threads] = [
  Number(values.rounds),
  Number(values.seconds),
  Number(values.connections),
  Number(values.idle),
  Number(values.threads),
];

const TICKS = 100;
const CLUSTER_IP = '10.96.0.10';
const LARGE = 8 * 1024 * 1024;

interface Target {
  readonly name: 'userspace' | 'haproxy';
  readonly pid: number;
  readonly address: string;
}

interface Figures {
  readonly perSecond: number;
  readonly perCPUSecond: number;
  readonly p99Ms: number;
}

ensurePackages(['haproxy', 'wrk', 'nftables', 'iproute2']);
await enterIsolation({ packages: ['nftables', 'haproxy', 'wrk'] });
await main();

async function main(): Promise<void> {
  const world = await createWorld();
  try {
    const pod = world.pods[0]!;
    const large = '/tmp/userspace-bench-body';
    writeFileSync(large, Buffer.alloc(LARGE, 'x'));
    world.spawn(pod.namespace, 'haproxy', ['-f', serverConfig(pod.ip.IPv4, large)]);
    const reference = world.spawn('node', 'haproxy', ['-f', haproxyConfig(pod.ip.IPv4)]);
    const proxy = await startProxy({
      world,
      flags: flagsOf(userspacePlane(`threads=${threads}`)),
      objects: serviceOf({ name: 'web', clusterIPs: { IPv4: CLUSTER_IP } }, [pod]),
    });
    try {
      const targets: readonly Target[] = [
        { name: 'haproxy', pid: reference.pid ?? 0, address: `${world.nodeIPs.IPv4[0]}:9000` },
        { name: 'userspace', pid: proxy.pid, address: `${CLUSTER_IP}:80` },
      ];
      await measure(world, targets);
    } finally {
      await proxy.close();
    }
  } finally {
    await world.close();
  }
}

async function measure(world: World, targets: readonly Target[]): Promise<void> {
  const tests = [
    { title: 'new connections', path: '/', args: ['-H', 'Connection: close'], connections },
    { title: 'requests on open connections', path: '/', args: [], connections },
    { title: 'one connection, large answers', path: '/large', args: [], connections: 1 },
  ] as const;
  for (const { title, path, args, connections: count } of tests) {
    const found = new Map<string, Figures[]>();
    for (let round = 0; round <= rounds; round++) {
      for (const target of targets) {
        const figures = await load(world, target, path, args, count);
        // The first round warms up.
        if (round > 0) found.set(target.name, [...(found.get(target.name) ?? []), figures]);
      }
    }
    print(title, path === '/large', found);
  }
  for (const target of targets) await idleMemory(world, target);
}

async function load(
  world: World,
  { pid, address }: Target,
  path: string,
  args: readonly string[],
  count: number,
): Promise<Figures> {
  const before = ticks(pid);
  const words = ['-t1', `-c${count}`, `-d${seconds}`, '--latency', ...args, `http://${address}${path}`];
  const { stdout } = await world.exec('client', 'wrk', words);
  const spent = (ticks(pid) - before) / TICKS;
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1] ?? 0);
  const [, number = '0', unit = 'ms'] = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout) ?? [];
  return {
    perSecond,
    perCPUSecond: requests / spent,
    p99Ms: Number(number) * { us: 0.001, ms: 1, s: 1000 }[unit as 'us' | 'ms' | 's'],
  };
}

function print(title: string, isLarge: boolean, found: ReadonlyMap<string, readonly Figures[]>): void {
  const of = (name: string, read: (figures: Figures) => number): number => median((found.get(name) ?? []).map(read));
  const unit = isLarge ? LARGE / 2 ** 20 : 1;
  const rows: readonly (readonly [string, (figures: Figures) => number])[] = [
    [isLarge ? 'MiB per second' : 'per second', ({ perSecond }) => perSecond * unit],
    [isLarge ? 'MiB per CPU second' : 'per CPU second', ({ perCPUSecond }) => perCPUSecond * unit],
    ['p99 (ms)', ({ p99Ms }) => p99Ms],
  ];
  console.log(`\n${title}${' '.repeat(Math.max(0, 34 - title.length))}      HAProxy    userspace   ratio`);
  for (const [name, read] of rows) {
    const [reference, ours] = [of('haproxy', read), of('userspace', read)];
    const cells = [shown(reference), shown(ours), (ours / reference).toFixed(2)];
    console.log(`  ${name.padEnd(34)}${cells.map((cell) => cell.padStart(11)).join(' ')}`);
  }
}

/** Connections that carry nothing, and what the proxy's own memory has grown by. */
async function idleMemory(world: World, { name, pid, address }: Target): Promise<void> {
  const before = privateBytes(pid);
  const [ip = '', port = ''] = address.split(':');
  const script = `
    const net = require('node:net');
    const all = [];
    let left = ${idle};
    const one = () => { if (left-- <= 0) return; const s = net.connect(${port}, '${ip}', one); s.on('error', (e) => { console.log('error', e.code); process.exit(1); }); all.push(s); };
    for (let i = 0; i < 32; i++) one();
    setTimeout(() => console.log('open', all.length), 8000);
    setInterval(() => {}, 1000);`;
  const child = world.spawn('client', process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve) => {
    child.stdout?.once('data', () => resolve());
    child.once('exit', () => resolve());
  });
  const each = (privateBytes(pid) - before) / idle;
  console.log(`${name}: private memory for each of ${idle} idle connections: ${(each / 1024).toFixed(1)} KiB`);
  child.kill();
}

function ticks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function privateBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/Private_Dirty:\s+(\d+)/.exec(rollup)?.[1] ?? 0) * 1024;
}

function shown(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(2);
}

function serverConfig(ip: string, body: string): string {
  return config('server', [
    'global',
    '  nbthread 1',
    '  maxconn 9000',
    '  tune.bufsize 33554432',
    ...defaults('http'),
    'frontend all',
    `  bind ${ip}:8080`,
    `  http-request return status 200 content-type text/plain file ${body} if { path /large }`,
    '  http-request return status 200 content-type text/plain string "hello"',
  ]);
}

function haproxyConfig(ip: string): string {
  return config('proxy', [
    'global',
    `  nbthread ${threads}`,
    '  maxconn 9000',
    ...defaults('tcp'),
    'frontend all',
    '  bind :9000',
    '  default_backend pod',
    'backend pod',
    `  server pod ${ip}:8080`,
  ]);
}

function defaults(mode: string): readonly string[] {
  return ['defaults', `  mode ${mode}`, '  timeout client 60s', '  timeout server 60s', '  timeout connect 5s'];
}

function config(name: string, lines: readonly string[]): string {
  const file = `/tmp/userspace-bench-${name}.cfg`;
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}
