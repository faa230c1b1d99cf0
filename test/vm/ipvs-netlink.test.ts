/**
 * Our IPVS and dummy interface, `ipvsadm` and `ip`, and the kernel of all of them: each must see what the other made, and
 * the IPVS in memory must do what the kernel does.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { enterIsolation } from '../../build/isolate.ts';
import type { IPVSConnection, IPVSStep, RealServer, VirtualServer, VirtualServerKey } from '../../core/ipvs.ts';
import { type OpenIPVS, openIPVS } from '../../core/netlink/ipvs.ts';
import { createFakeIPVS } from '../../core/netlink/ipvs-fake.ts';
import { serverName } from '../../core/netlink/ipvs-protocol.ts';
import { openDummyLink } from '../../core/netlink/link.ts';
import { openNftables } from '../../core/netlink/nftables/kernel.ts';
import type { NftSet } from '../../core/nftables.ts';
import { seeded } from '../unit/model/random.ts';
import { fault, rejection } from '../unit/netlink/fault.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
await enterIsolation({ packages: ['ipvsadm'] });

const run = (program: string, ...args: readonly string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
const ipvsadm = (line: string): string => run('ipvsadm', ...line.split(' '));
/** Sorted, as the IPVS in memory dumps; ipvsadm sorts addresses as numbers. */
const saved = (): string =>
  ipvsadm('-Sn')
    .split('\n')
    .filter((line) => line !== '')
    .sort()
    .map((line) => `${line.trimEnd()}\n`)
    .join('');

// Real servers must be unicast addresses, which takes a route.
run('ip', 'link', 'add', 'uplink', 'type', 'dummy');
run('ip', 'link', 'set', 'uplink', 'up');
run('ip', 'route', 'add', 'default', 'dev', 'uplink');
run('ip', '-6', 'route', 'add', 'default', 'dev', 'uplink');

const SERVER = { protocol: 'TCP', ip: '10.96.0.10', port: 53 } as const;
const V6 = { protocol: 'UDP', ip: 'fd00:10::a', port: 53 } as const;
const MARK = { mark: 1234, family: 'IPv4' } as const;
const MARK_V6 = { mark: 1234, family: 'IPv6' } as const;
const plain = <Key extends VirtualServerKey>(server: Key) => ({ ...server, scheduler: 'rr', persistenceSeconds: 0 });
const real = (ip: string, weight = 1): RealServer => ({ ip, port: 8080, weight });

/** Asks in a process of its own, run by `wrapper`, and returns the message of the error. */
function messageUnder(wrapper: readonly string[], call: string): string {
  const module = JSON.stringify(new URL('../../core/netlink/ipvs.ts', import.meta.url).href);
  const script = `import { openIPVS } from ${module};
    try { const ipvs = openIPVS(); ${call} } catch (error) { console.log(error.message); }`;
  const [program = '', ...args] = [...wrapper, process.execPath, '--input-type=module', '-e', script];
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  return stdout || stderr;
}

const loading = suite('the module of IPVS');

/** modprobe's configuration, for the kernel's own calls of it, too. */
const NO_ALIAS = '/etc/modprobe.d/no-ipvs-alias.conf';

async function unload(): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const { status, stderr } = spawnSync('modprobe', [
      '-r',
      'xt_ipvs',
      ...SCHEDULERS.map((name) => `ip_vs_${name}`),
      'ip_vs',
    ]);
    if (status === 0) return;
    // The network namespaces of tests before are taken apart in the background.
    if (attempt === 50) throw new Error(String(stderr));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'fo', 'ovf', 'lblc', 'lblcr', 'dh', 'sh', 'mh', 'sed', 'nq'];
const VERSION = 'console.log((await ipvs.info()).version);';

loading('is loaded by the kernel when it is asked for the family', async () => {
  await unload();
  assert.is(messageUnder([], VERSION), '1.2.1\n');
});

loading(
  'is loaded by way of the match that needs it where the kernel does not know it to be the family’s',
  async () => {
    run('mkdir', '-p', '/etc/modprobe.d');
    writeFileSync(NO_ALIAS, 'alias net-pf-16-proto-16-family-IPVS off\n');
    try {
      await unload();
      assert.is(messageUnder([], VERSION), '1.2.1\n');
      assert.match(run('lsmod'), /^xt_ipvs/m);
      await unload();
      writeFileSync(NO_ALIAS, 'alias net-pf-16-proto-16-family-IPVS off\nalias ipt_ipvs off\n');
      assert.match(messageUnder([], VERSION), /^ipvs open: ENOENT \(this kernel has no IPVS\): .*CONFIG_IP_VS\n/);
    } finally {
      rmSync(NO_ALIAS);
    }
  },
);

loading.run();

let ipvs: OpenIPVS;
const kernel = suite('IPVS of the kernel');
kernel.before(() => {
  ipvs = openIPVS();
});
kernel.before.each(() => void ipvsadm('-C'));
kernel.after(() => {
  ipvsadm('-C');
  ipvs.close();
});

const EVERYTHING: readonly IPVSStep[] = [
  { do: 'add virtual server', server: { ...plain(SERVER), persistenceSeconds: 10800, persistencePrefix: 24 } },
  { do: 'add virtual server', server: { ...plain(V6), scheduler: 'mh', hashPort: true, hashFallback: true } },
  { do: 'add virtual server', server: { ...plain(V6), port: 54, persistenceSeconds: 50, persistencePrefix: 64 } },
  {
    do: 'add virtual server',
    server: { ...plain(SERVER), protocol: 'SCTP', port: 99, scheduler: 'sh', hashPort: true },
  },
  { do: 'add virtual server', server: { ...plain(SERVER), protocol: 'UDP', scheduler: 'wlc', onePacket: true } },
  { do: 'add virtual server', server: plain(MARK) },
  { do: 'add virtual server', server: { ...plain(MARK_V6), persistenceSeconds: 60, persistencePrefix: 48 } },
  { do: 'add virtual server', server: { ...plain(MARK), mark: 0x7fffffff, scheduler: 'mh', hashPort: true } },
  { do: 'add real server', server: MARK, real: real('10.244.1.5', 3) },
  { do: 'add real server', server: MARK_V6, real: real('fd00:244::1') },
  { do: 'add real server', server: SERVER, real: real('10.244.1.5', 7) },
  { do: 'add real server', server: SERVER, real: { ...real('10.244.1.6'), upperThreshold: 100, lowerThreshold: 50 } },
  { do: 'add real server', server: V6, real: { ...real('fd00:244::1', 0), forwarding: 'direct' } },
  { do: 'add real server', server: V6, real: { ...real('10.244.9.9'), forwarding: 'tunnel' } },
];

kernel('shows ipvsadm what we add, and the IPVS in memory shows the same', async () => {
  const fake = createFakeIPVS();
  assert.equal((await ipvs.apply(EVERYTHING)).refused, []);
  await fake.apply(EVERYTHING);
  // ipvsadm saves no thresholds.
  assert.is(saved(), fake.dump().replace(' -x 100 -y 50', ''));
  assert.match(ipvsadm('-Ln --thresholds'), /10\.244\.1\.6:8080\s+100\s+50/);
});

kernel('shows us what we added as the IPVS in memory does', async () => {
  const fake = createFakeIPVS();
  await ipvs.apply(EVERYTHING);
  await fake.apply(EVERYTHING);
  for (const family of ['IPv4', 'IPv6'] as const) {
    const sorted = (servers: readonly VirtualServer[]) =>
      [...servers].sort((a, b) => (serverName(a) < serverName(b) ? -1 : 1));
    const [ours, theirs] = [await ipvs.virtualServers(family), await fake.virtualServers(family)];
    assert.equal(sorted(ours), sorted(theirs));
    for (const server of ours) {
      assert.equal(await ipvs.virtualServer(server), server);
      assert.equal(await ipvs.realServers(server), await fake.realServers(server));
    }
  }
});

kernel('names virtual servers of marks as our errors do', async () => {
  await ipvs.apply(EVERYTHING);
  const listed = ipvsadm('-Ln')
    .split('\n')
    .map((line) => line.trim().replaceAll(/ +/g, ' '));
  for (const key of [MARK, MARK_V6]) assert.ok(listed.some((line) => line.startsWith(`${serverName(key)} rr`)));
  const highest = { ...MARK, mark: 0xffffffff };
  await ipvs.apply([{ do: 'add virtual server', server: plain(highest) }]);
  assert.is((await ipvs.virtualServer(highest))?.scheduler, 'rr');
  const { refused } = await ipvs.apply([
    { do: 'add virtual server', server: plain(MARK) },
    { do: 'set virtual server', server: plain({ ...MARK, mark: 9 }) },
    { do: 'add real server', server: MARK_V6, real: real('10.0.0.1') },
    { do: 'delete virtual server', server: { ...MARK, mark: 9 } },
    { do: 'delete real server', server: MARK, real: real('10.0.0.9') },
  ]);
  assert.equal(
    refused.map(({ errno }) => errno),
    ['EEXIST', 'ESRCH', 'EINVAL'],
  );
});

kernel('shows us what ipvsadm adds', async () => {
  ipvsadm('-A -f 7 -s rr -p 60');
  ipvsadm('-a -f 7 -r 10.0.0.1:80 -m -w 9');
  ipvsadm('-A -u 10.96.0.13:5060 -s rr -p 60 --pe sip');
  ipvsadm('-A -t 10.96.0.1:80 -s mh -b mh-fallback,mh-port');
  ipvsadm('-a -t 10.96.0.1:80 -r 10.0.0.1:80 -g -w 9 -x 8 -y 7');
  ipvsadm('-A -t [fd00::1]:80 -s lc -p 60 -M 48');
  const servers = new Map((await ipvs.virtualServers('IPv4')).map((server) => [serverName(server), server]));
  assert.equal([...servers.keys()].sort(), ['FWM 7', 'TCP 10.96.0.1:80', 'UDP 10.96.0.13:5060']);
  const marked = servers.get('FWM 7')!;
  assert.equal([marked.persistenceSeconds, marked.persistencePrefix], [60, 32]);
  assert.equal(
    (await ipvs.realServers(marked)).map(({ ip, port, weight }) => [ip, port, weight]),
    [['10.0.0.1', 80, 9]],
  );
  const { persistenceEngine, persistenceSeconds } = servers.get('UDP 10.96.0.13:5060')!;
  assert.equal([persistenceEngine, persistenceSeconds], ['sip', 60]);
  const { scheduler, hashFallback, hashPort } = servers.get('TCP 10.96.0.1:80')!;
  assert.equal([scheduler, hashFallback, hashPort], ['mh', true, true]);
  const [found] = await ipvs.realServers(servers.get('TCP 10.96.0.1:80')!);
  assert.equal([found?.forwarding, found?.weight, found?.upperThreshold, found?.lowerThreshold], ['direct', 9, 8, 7]);
  const [v6] = await ipvs.virtualServers('IPv6');
  assert.equal([v6 && serverName(v6), v6?.scheduler, v6?.persistencePrefix], ['TCP [fd00::1]:80', 'lc', 48]);
});

kernel('takes back with `set` what ipvsadm has set beside', async () => {
  ipvsadm('-A -t 10.96.0.10:53 -s sh -b sh-port -p 60 -M 255.255.0.0');
  ipvsadm('-a -t 10.96.0.10:53 -r 10.0.0.1:8080 -m -w 9 -x 8 -y 7');
  const { refused } = await ipvs.apply([
    { do: 'set virtual server', server: plain(SERVER) },
    { do: 'set real server', server: SERVER, real: real('10.0.0.1', 0) },
  ]);
  assert.equal(refused, []);
  assert.is(saved(), '-A -t 10.96.0.10:53 -s rr\n-a -t 10.96.0.10:53 -r 10.0.0.1:8080 -m -w 0\n');
  assert.is((await ipvs.realServers(SERVER))[0]?.upperThreshold, 0);
});

/** Steps over few objects, so that they often meet. */
function randomStep(below: (limit: number) => number): IPVSStep {
  const isV6 = below(2) === 0;
  const ip = isV6 ? `fd00:10::${1 + below(2)}` : `10.96.0.${1 + below(2)}`;
  const protocol = (['TCP', 'UDP', 'SCTP'] as const)[below(3)]!;
  const isMarked = below(3) === 0;
  const address: VirtualServerKey = isMarked
    ? { mark: 1 + below(2), family: isV6 ? 'IPv6' : 'IPv4' }
    : { protocol, ip, port: 80 };
  const server: VirtualServer = {
    ...address,
    scheduler: ['rr', 'wrr', 'mh', 'none', 'nosuch'][below(5)]!,
    persistenceSeconds: below(2) * 60,
    persistencePrefix: 16 + below(17),
    hashPort: below(2) === 0,
    onePacket: protocol === 'UDP' && below(3) === 0,
  };
  const v4Reals = ['10.0.0.1', '10.0.0.2', '127.0.0.1', '224.0.0.1', '0.0.0.0', '255.255.255.255'];
  const v6Reals = ['fd00::1', 'fd00::2', '::1', 'ff02::1', '::', 'fe80::1'];
  const reals = below(8) === 0 ? (isV6 ? v4Reals : v6Reals) : isV6 ? v6Reals : v4Reals;
  const upperThreshold = below(3);
  const target: RealServer = {
    ip: reals[below(reals.length)]!,
    port: 8080,
    weight: below(4),
    forwarding: (['masquerade', 'masquerade', 'direct', 'tunnel'] as const)[below(4)]!,
    upperThreshold,
    lowerThreshold: below(upperThreshold + 1),
  };
  switch (below(9)) {
    case 0:
    case 1:
      return { do: 'add virtual server', server };
    case 2:
      return { do: 'set virtual server', server };
    case 3:
      return { do: 'delete virtual server', server: address };
    case 4:
    case 5:
    case 6:
      return { do: 'add real server', server: address, real: target };
    case 7:
      return { do: 'set real server', server: address, real: target };
    default:
      return { do: 'delete real server', server: address, real: target };
  }
}

for (const seed of [1, 2, 3]) {
  kernel(`and the IPVS in memory take the same of random steps, and refuse the same (seed ${seed})`, async () => {
    const { below } = seeded(seed);
    const fake = createFakeIPVS();
    const reasons = new Set<string>();
    for (let round = 0; round < 12; round++) {
      const steps = Array.from({ length: 30 }, () => randomStep(below));
      const [ours, theirs] = [await ipvs.apply(steps), await fake.apply(steps)];
      const told = ({ refused }: typeof ours) => refused.map(({ step, errno }) => `${steps.indexOf(step)} ${errno}`);
      assert.equal(told(ours), told(theirs));
      assert.is(ours.operations, theirs.operations);
      for (const { errno } of ours.refused) reasons.add(errno);
      assert.is(saved(), fake.dump().replaceAll(/ -x \d+ -y \d+/g, ''));
      for (const server of await fake.virtualServers('IPv4')) {
        assert.equal(await ipvs.realServers(server), await fake.realServers(server));
      }
    }
    assert.equal([...reasons].sort(), ['EEXIST', 'EINVAL', 'ENOENT', 'ESRCH']);
  });
}

kernel('lists thousands of virtual servers, and of real servers of one, completely', async () => {
  const ips = (second: number) => Array.from({ length: 3000 }, (_, n) => `10.${second}.${n >> 8}.${n & 255}`);
  await ipvs.apply([{ do: 'add virtual server', server: plain(SERVER) }]);
  const { operations } = await ipvs.apply([
    ...ips(97).map((ip): IPVSStep => ({ do: 'add virtual server', server: { ...plain(SERVER), ip } })),
    ...ips(98).map((ip): IPVSStep => ({ do: 'add real server', server: SERVER, real: real(ip) })),
  ]);
  assert.is(operations, 6000);
  const servers = (await ipvs.virtualServers('IPv4')).map(serverName);
  assert.equal(servers.sort(), [...ips(97), SERVER.ip].map((ip) => serverName({ ...SERVER, ip })).sort());
  const reals = (await ipvs.realServers(SERVER)).map(({ ip }) => ip);
  assert.equal(reals, ips(98).reverse());
  const again = ips(97).map((ip): IPVSStep => ({ do: 'add virtual server', server: { ...plain(SERVER), ip } }));
  const { refused } = await ipvs.apply(again);
  assert.is(refused.length, 3000);
  assert.is(refused[2999]?.step, again[2999]);
  assert.is(refused[2999]?.errno, 'EEXIST');
});

kernel('has no answer about virtual servers that are not there', async () => {
  assert.is(await ipvs.virtualServer(SERVER), undefined);
  assert.equal(await ipvs.realServers(SERVER), []);
  await ipvs.apply([{ do: 'add virtual server', server: plain(SERVER) }]);
  assert.is((await ipvs.virtualServer(SERVER))?.scheduler, 'rr');
  assert.is(await ipvs.virtualServer({ ...SERVER, protocol: 'UDP' }), undefined);
});

kernel(
  'has the schedulers of its configuration, in both families, and we name the option of one that it lacks',
  async () => {
    for (const scheduler of SCHEDULERS) {
      await ipvs.probe('IPv4', scheduler);
      await ipvs.probe('IPv6', scheduler);
    }
    const error = await rejection(ipvs.probe('IPv4', 'twos'));
    assert.is(error.code, 'KP_NETLINK_UNSUPPORTED');
    assert.match(error.message, /CONFIG_IP_VS_TWOS$/);
    assert.is(saved(), '');
  },
);

kernel('keeps the timeouts that are set, and others as they were', async () => {
  const before = await ipvs.timeouts();
  await ipvs.setTimeouts({ tcpSeconds: 1000, udpSeconds: 77 });
  assert.equal(await ipvs.timeouts(), { ...before, tcpSeconds: 1000, udpSeconds: 77 });
  assert.match(ipvsadm('-L --timeout'), /1000 \d+ 77/);
  await ipvs.setTimeouts(before);
  assert.match((await ipvs.info()).version, /^\d+\.\d+\.\d+$/);
});

kernel('lets only the initial user namespace’s root change it, and we say so', () => {
  const ask = 'await ipvs.timeouts();';
  const dropped = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];
  assert.match(messageUnder(dropped, ask), /^ipvs read timeouts: EPERM .*CAP_NET_ADMIN in the initial user namespace/);
  assert.match(messageUnder(['unshare', '--user', '--map-root-user', '--net'], ask), /EPERM .*initial user namespace/);
});

/** A server on a port of every address, which keeps its connections open. */
async function listening(port: number): Promise<{ close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.listen(port, '::');
  await once(server, 'listening');
  return {
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function opened(port: number, host: string): Promise<Socket> {
  const socket = connect(port, host);
  await once(socket, 'connect');
  return socket;
}

kernel('balances over addresses of a dummy interface that is down, and counts the connections', async () => {
  const link = openDummyLink('kube-ipvs0');
  link.ensure();
  await link.change({ add: [SERVER.ip, V6.ip] });
  const servers = [SERVER.ip, V6.ip].map((ip) => ({ protocol: 'TCP', ip, port: 80 }) as const);
  const target = (ip: string): RealServer => ({ ...real(ip.includes(':') ? '::1' : '127.0.0.1'), port: 8080 });
  const service = await listening(8080);
  try {
    for (const server of servers) {
      await ipvs.apply([
        { do: 'add virtual server', server: { ...server, scheduler: 'rr', persistenceSeconds: 300 } },
        { do: 'add real server', server, real: target(server.ip) },
      ]);
      const client = await opened(80, server.ip);
      const [counted] = await ipvs.realServers(server);
      assert.equal([counted?.activeConnections, counted?.persistentConnections], [1, 1], server.ip);
      const counts = async () => (await ipvs.realServers(server))[0]?.statistics.connections;
      // The kernel adds them up every two seconds.
      for (let wait = 0; wait < 100 && (await counts()) === 0; wait++) await new Promise((go) => setTimeout(go, 100));
      assert.is(await counts(), 1);
      const seen: IPVSConnection[] = [];
      await ipvs.connections((connection) => {
        if (connection.ip === server.ip) seen.push(connection);
      });
      assert.equal(
        seen
          .map(({ protocol, port, realPort, clientPort, state }) => [protocol, port, realPort, clientPort > 0, state])
          .sort(),
        [
          ['TCP', 80, 8080, false, 'ASSURED'],
          ['TCP', 80, 8080, true, 'ESTABLISHED'],
        ],
      );
      // What is deleted with a connection is found again when it is added.
      await ipvs.apply([
        { do: 'delete real server', server, real: target(server.ip) },
        { do: 'add real server', server, real: target(server.ip) },
      ]);
      assert.is((await ipvs.realServers(server))[0]?.activeConnections, 1);
      client.destroy();
    }
  } finally {
    service.close();
    link.delete();
    link.close();
  }
});

kernel('gives marked packets to the virtual server of their mark, others to that of their address', async () => {
  const tables = openNftables();
  const link = openDummyLink('kube-ipvs0');
  link.ensure();
  // Which no test before has connected to: IPVS remembers connections for minutes.
  const ips = ['10.96.0.77', 'fd00:10::77'];
  await link.change({ add: ips });
  const services = [await listening(8080), await listening(80)];
  try {
    for (const ip of ips) {
      const isV6 = ip.includes(':');
      const byAddress = { protocol: 'TCP', ip, port: 80 } as const;
      const byMark = isV6 ? MARK_V6 : MARK;
      const target = { ...real(isV6 ? '::1' : '127.0.0.1'), port: 8080 };
      await ipvs.apply([
        { do: 'add virtual server', server: plain(byAddress) },
        { do: 'add virtual server', server: plain(byMark) },
        { do: 'add real server', server: byMark, real: target },
      ]);
      const family = isV6 ? 'ip6' : 'ip';
      const marks: NftSet = {
        name: 'marks',
        key: [isV6 ? 'ipv6_addr' : 'ipv4_addr', 'inet_proto', 'inet_service'],
        data: ['mark'],
      };
      const key = [`${family} daddr`, 'meta l4proto', 'th dport'] as const;
      await tables.commit({
        family,
        table: 'marking',
        operations: [
          { do: 'add table', owned: false },
          { do: 'add set', set: marks },
          { do: 'add elements', set: marks, elements: [{ key: [ip, 'tcp', 80], data: [byMark.mark] }] },
          { do: 'add chain', chain: { name: 'c', hook: { type: 'filter', hook: 'output', priority: -150 } } },
          { do: 'add rule', chain: 'c', rule: { statements: [{ mark: { map: 'marks', key } }] } },
        ],
      });
      const counts = async () => {
        const [counted] = await ipvs.realServers(byMark);
        return [counted?.activeConnections, counted?.persistentConnections];
      };
      const seen = async () => {
        const found: (readonly [string, string, number, number])[] = [];
        await ipvs.connections((connection) => {
          const { protocol, port, realPort } = connection;
          const isRemembered = protocol === 'IP' && connection.ip.includes(':') === isV6;
          if (connection.ip === ip || isRemembered) found.push([protocol, connection.ip, port, realPort]);
        });
        return found.sort();
      };
      const client = await opened(80, ip);
      assert.equal([await counts(), await seen()], [[1, 0], [['TCP', ip, 80, 8080]]]);
      // Whoever remembers clients keeps the port.
      await ipvs.apply([{ do: 'set virtual server', server: { ...plain(byMark), persistenceSeconds: 300 } }]);
      const other = await opened(80, ip);
      assert.equal(
        [await counts(), await seen()],
        [
          [2, 1],
          [
            ['IP', isV6 ? '0:4d2::' : '0.0.4.210', 0, 0],
            ['TCP', ip, 80, 80],
            ['TCP', ip, 80, 8080],
          ],
        ],
      );
      for (const socket of [client, other]) socket.destroy();
      await tables.commit({ family, table: 'marking', operations: [{ do: 'delete table' }] });
      // That of the address has no real server.
      assert.match(String(await opened(80, ip).catch((error: unknown) => error)), /ECONNREFUSED/);
      ipvsadm('-C');
    }
  } finally {
    for (const service of services) service.close();
    tables.close();
    link.delete();
    link.close();
  }
});

kernel.run();

const dummy = suite('a dummy interface of the kernel');
const link = openDummyLink('kube-ipvs0');
dummy.after(() => link.close());
dummy.after.each(() => void spawnSync('ip', ['link', 'del', 'kube-ipvs0']));

dummy('is what `ip` sees, down, and goes with its addresses', async () => {
  link.ensure();
  link.ensure();
  assert.match(run('ip', '-d', 'link', 'show', 'kube-ipvs0'), /<BROADCAST,NOARP>.*state DOWN.*\n.*\n\s+dummy/);
  await link.change({ add: ['10.96.0.1'] });
  link.delete();
  link.delete();
  assert.is(link.addresses('IPv4'), undefined);
  assert.is(spawnSync('ip', ['link', 'show', 'kube-ipvs0']).status, 1);
});

dummy('makes its addresses local in both families, at once', async () => {
  link.ensure();
  await link.change({ add: ['10.96.0.1', 'fd00:10::1'] });
  assert.match(run('ip', 'route', 'get', '10.96.0.1'), /^local 10\.96\.0\.1 /);
  assert.match(run('ip', 'route', 'get', 'fd00:10::1'), /^local fd00:10::1 /);
  const shown = run('ip', '-o', 'address', 'show', 'dev', 'kube-ipvs0');
  assert.match(shown, /inet 10\.96\.0\.1\/32 scope global/);
  assert.match(shown, /inet6 fd00:10::1\/128 scope global nodad/);
  assert.not.match(shown, 'tentative');
  const service = await listening(9090);
  for (const ip of ['10.96.0.1', 'fd00:10::1']) (await opened(9090, ip)).destroy();
  service.close();
});

dummy('gets and loses thousands of addresses, and those that are so already are no error', async () => {
  link.ensure();
  const v4 = Array.from({ length: 3000 }, (_, n) => `10.97.${n >> 8}.${n & 255}`);
  const v6 = Array.from({ length: 1000 }, (_, n) => `fd00:97::${(n + 1).toString(16)}`);
  assert.is((await link.change({ add: [...v4, ...v6] })).operations, 4000);
  assert.equal([...link.addresses('IPv4')!].sort(), [...v4].sort());
  assert.equal([...link.addresses('IPv6')!].sort(), [...v6].sort());
  const { operations } = await link.change({
    add: [...v4.slice(0, 10), '10.98.0.1'],
    remove: [...v4.slice(10), '10.99.0.1'],
  });
  assert.is(operations, 1 + 2990);
  assert.equal([...link.addresses('IPv4')!].sort(), [...v4.slice(0, 10), '10.98.0.1'].sort());
});

dummy('shows only addresses that are of the kind that we add', async () => {
  link.ensure();
  run('ip', 'address', 'add', '10.1.0.1/24', 'dev', 'kube-ipvs0');
  run('ip', 'address', 'add', '10.1.0.2/32', 'dev', 'kube-ipvs0');
  assert.equal(link.addresses('IPv4'), ['10.1.0.2']);
  assert.equal(link.addresses('IPv6'), []);
});

dummy('without IPv6 says so, and takes the other addresses', async () => {
  link.ensure();
  run('sysctl', '-w', 'net.ipv6.conf.kube-ipvs0.disable_ipv6=1');
  const error = await rejection(link.change({ add: ['fd00::1', '10.96.0.1'] }));
  assert.match(error.message, /^address add fd00::1 on kube-ipvs0: EACCES .*disable_ipv6 to 0$/);
  assert.equal(link.addresses('IPv4'), ['10.96.0.1']);
});

dummy('of our name but of another kind is never touched', async () => {
  run('ip', 'link', 'add', 'kube-ipvs0', 'type', 'bridge');
  assert.is(fault(() => link.ensure()).code, 'KP_NETLINK_CONFLICT');
  assert.match(fault(() => link.delete()).message, /of kind bridge, not dummy/);
  assert.is((await rejection(link.change({ add: ['10.0.0.1'] }))).code, 'KP_NETLINK_CONFLICT');
  assert.match(fault(() => openDummyLink('lo').ensure()).message, /a physical one, not dummy/);
  assert.is(spawnSync('ip', ['link', 'show', 'kube-ipvs0']).status, 0);
});

dummy.run();
