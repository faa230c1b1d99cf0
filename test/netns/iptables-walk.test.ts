/**
 * Small steps and a fresh start come to the same: after a random walk of partial syncs against the real kernel, with
 * other detectors, node addresses and policies on the way, a restart finds nothing to write and no leftover.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, IPFamily, LocalDetector, NodeView, SelfChecking, ServicePort } from '../../core/backend.ts';
import { createHost } from '../../core/node/host.ts';
import plugin from '../../plugins/iptables/index.ts';
import { seededRandom } from '../conformance/matrix.ts';
import { endpoint, node, servicePort } from '../unit/iptables/samples.ts';
import { isolateTests } from './isolated.ts';

await isolateTests();
const test = suite('iptables walk');
const STEPS = 16;

type Random = (below: number) => number;

function address(family: IPFamily, net: number, host: number): string {
  return family === 'IPv4' ? `10.${net}.${host >> 3}.${1 + host * 5}` : `fd00:${net}::${(1 + host * 77).toString(16)}`;
}

function drawPort(random: Random, family: IPFamily): ServicePort {
  const pick = <T>(...choices: readonly T[]): T => choices[random(choices.length)]!;
  const count = pick(0, 1, 2, 40);
  const cluster = Array.from({ length: count }, (_, k) =>
    endpoint(address(family, 244, k), { port: pick(1, 8080, 65535), isLocal: k % 2 === 0 }),
  );
  const long = 'n'.repeat(250);
  const index = random(40);
  return servicePort({
    name: index % 10 === 0 ? `${long}${index}` : `s${index}`,
    portName: pick('', 'p'),
    protocol: pick('TCP', 'UDP', 'SCTP'),
    clusterIP: address(family, 96, index),
    port: pick(1, 80, 65535),
    nodePort: pick(0, 1 + random(40) * 1600),
    externalIPs: pick([], [address(family, 60, random(20))]),
    loadBalancerVIPs: pick([], [address(family, 61, random(20)), address(family, 60, random(20))]),
    sourceRanges: pick(
      [],
      family === 'IPv4' ? ['192.168.0.0/16', '192.168.50.0/25'] : ['fd00:50::/64', 'fd00:50::1/128'],
    ),
    internalPolicy: pick('Cluster', 'Local'),
    externalPolicy: pick('Cluster', 'Local'),
    affinitySeconds: pick(0, 0, 1, 86400),
    healthCheckNodePort: pick(0, 31000 + random(3)),
    cluster,
    local: cluster.filter((one) => one.isLocal && random(4) > 0),
    hasEndpoints: count > 0,
  });
}

function drawNode(random: Random, family: IPFamily): NodeView {
  const detectors: readonly LocalDetector[] = [
    { kind: 'none' },
    { kind: 'cidr', cidr: family === 'IPv4' ? '10.244.0.0/16' : 'fd00:244::/32' },
    { kind: 'interface', name: 'cni0' },
    { kind: 'interfacePrefix', prefix: 'veth' },
    { kind: 'interfacePrefix', prefix: 'fifteen-letters' },
  ];
  const addresses = family === 'IPv4' ? ['127.0.0.1', '192.168.50.10'] : ['fd00:50::10', 'fe80::1'];
  return node({
    addresses,
    nodePortAddresses: random(2)
      ? { match: 'all', loopback: family === 'IPv4' && random(2) === 0 }
      : { match: 'list', addresses: addresses.slice(0, random(3)) },
    localDetector: detectors[random(detectors.length)]!,
    masqueradeAll: random(2) === 0,
    tcpBeLiberal: random(2) === 0,
  });
}

async function start(options: Readonly<Record<string, string>>): Promise<Backend & SelfChecking> {
  const log = { error() {}, warn() {}, info() {}, verbose() {}, enabled: () => false };
  const host = createHost({ log, signal: new AbortController().signal, requestFullSync() {} });
  return (await plugin.create(host, options)) as Backend & SelfChecking;
}

/** What the kernel holds of ours, chain by chain. */
function kernel(command: string): string[] {
  const lines = execFileSync(`${command}-save`, { encoding: 'utf8' }).split('\n');
  let table = '';
  return lines
    .map((line) => {
      if (line.startsWith('*')) table = line;
      return `${table} ${line.replace(/ \[\d+:\d+\]$/, '')}`;
    })
    .filter((line) => /KUBE-/.test(line) && !/KUBE-FIREWALL/.test(line));
}

// The clock of a backend that waits keeps no process alive.
const alive = setInterval(() => {}, 60_000);
let seed = 1;
for (const variant of ['nft', 'legacy'] as const) {
  for (const [affinity, hairpin] of [
    ['ipset', 'bpf'],
    ['recent', 'rules'],
  ] as const) {
    for (const family of ['IPv4', 'IPv6'] as const) {
      const walkSeed = 9000 + seed++;
      test(`${variant}, ${family}, affinity by ${affinity}: a restart after a random walk has nothing to do`, async () => {
        const draw = seededRandom(walkSeed);
        for (let warm = 0; warm < 20; warm++) draw();
        const random: Random = (below) => Math.floor(draw() * below);
        const options = { variant, affinity, hairpin };
        const live = new Map<string, ServicePort>();
        let view = drawNode(random, family);
        const backend = await start(options);
        await backend.sync({ family, full: true, node: view, upsert: [], remove: [] });
        for (let step = 0; step < STEPS; step++) {
          const drawn = Array.from({ length: random(14) }, () => drawPort(random, family));
          const upsert = new Map(drawn.map((port) => [port.key, port]));
          const remove = [...live.keys()].filter((key) => random(6) === 0 && !upsert.has(key));
          if (random(3) === 0) view = drawNode(random, family);
          for (const key of remove) live.delete(key);
          for (const [key, port] of upsert) live.set(key, port);
          await backend.sync({ family, full: false, node: view, upsert: [...upsert.values()], remove });
          assert.equal(await backend.check(family), { intact: true }, `step ${step} of seed ${walkSeed}`);
        }
        assert.ok(live.size > 10, `${live.size} service ports`);
        const all = { family, full: true, node: view, upsert: [...live.values()], remove: [] };
        const command = `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}`;
        const walked = kernel(command);
        const restarted = await (await start(options)).sync(all);
        assert.equal([restarted.operations, restarted.bytes], [0, 0], `seed ${walkSeed}`);
        await backend.cleanup();
        assert.equal(kernel(command), []);
        await (await start(options)).sync(all);
        assert.equal(kernel(command).sort(), walked.sort());
        await backend.cleanup();
      });
    }
  }
}
test.after(() => clearInterval(alive));
test.run();
