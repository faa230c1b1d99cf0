/** What an upstream kube-proxy in IPVS mode left in iptables and in IP sets goes, and nothing that is called alike. */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import { upstreamIPVSSets } from '../../plugins/iptables/names.ts';
import { nftablesPlane } from './backend-nftables.ts';
import { answersFrom, BOTH, cleanup, flagsOf, play, run, type SceneOptions, serviceOf } from './backend-scene.ts';
import { save, VARIANTS, type Variant, variantFlags } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import { createWorld, type World } from './world.ts';

await isolateTests(['iptables', 'ipset', 'nftables']);
const test = suite("what upstream's IPVS mode left");

const OTHER = { IPv4: '10.96.0.11', IPv6: 'fd00:96::11' } as const;
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
/** Of other programs, with names that begin alike. */
const FOREIGN_SETS = ['KUBE-CLUSTER-IPS', 'KUBE-6-CLUSTER-IPS', 'KUBE-LOAD-BALANCER-'];

/** "hash:ip,port family inet6 hashsize 1024 maxelem 65536", say, as upstream makes the set of that name. */
function typeOf(name: string, family: IPFamily): string {
  const isPorts = /NODE-PORT/.test(name) && !/SCTP/.test(name);
  if (isPorts) return 'bitmap:port range 0-65535';
  const type =
    name.endsWith('LOOP-BACK') || name.endsWith('SOURCE-IP')
      ? 'hash:ip,port,ip'
      : /SOURCE-CID/.test(name)
        ? 'hash:ip,port,net'
        : name.endsWith('IPVS-IPS')
          ? 'hash:ip'
          : 'hash:ip,port';
  return `${type} family ${family === 'IPv4' ? 'inet' : 'inet6'} hashsize 1024 maxelem 65536`;
}

/** Its rules, with each set in use that rules may name; `set` makes a name that of the family. */
function upstreamRules(set: (name: string) => string): string {
  const comment = (text: string) => `-m comment --comment "${text}"`;
  return [
    '*nat',
    ...['KUBE-SERVICES', 'KUBE-POSTROUTING', 'KUBE-NODE-PORT', 'KUBE-LOAD-BALANCER', 'KUBE-MARK-MASQ'].map(
      (chain) => `:${chain} - [0:0]`,
    ),
    `-A PREROUTING ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
    `-A OUTPUT ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
    `-A POSTROUTING ${comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING`,
    '-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000',
    `-A KUBE-SERVICES -m set --match-set ${set('KUBE-LOAD-BALANCER')} dst,dst -j KUBE-LOAD-BALANCER`,
    `-A KUBE-SERVICES -m set --match-set ${set('KUBE-CLUSTER-IP')} src,dst -j KUBE-MARK-MASQ`,
    '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT',
    `-A KUBE-SERVICES -m set --match-set ${set('KUBE-CLUSTER-IP')} dst,dst -j ACCEPT`,
    `-A KUBE-LOAD-BALANCER -m set --match-set ${set('KUBE-LOAD-BALANCER-LOCAL')} dst,dst -j RETURN`,
    '-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ',
    `-A KUBE-NODE-PORT -p tcp -m set --match-set ${set('KUBE-NODE-PORT-TCP')} dst -j KUBE-MARK-MASQ`,
    `-A KUBE-POSTROUTING -m set --match-set ${set('KUBE-LOOP-BACK')} dst,dst,src -j MASQUERADE`,
    'COMMIT',
    '*filter',
    ...['FORWARD', 'NODE-PORT', 'PROXY-FIREWALL', 'SOURCE-RANGES-FIREWALL', 'IPVS-FILTER', 'IPVS-OUT-FILTER'].map(
      (chain) => `:KUBE-${chain} - [0:0]`,
    ),
    `-A FORWARD ${comment('kubernetes forwarding rules')} -j KUBE-FORWARD`,
    `-A INPUT ${comment('kubernetes health check rules')} -j KUBE-NODE-PORT`,
    `-A INPUT ${comment('kube-proxy firewall rules')} -j KUBE-PROXY-FIREWALL`,
    `-A FORWARD ${comment('kube-proxy firewall rules')} -j KUBE-PROXY-FIREWALL`,
    `-A INPUT ${comment('kubernetes ipvs access filter')} -j KUBE-IPVS-FILTER`,
    `-A OUTPUT ${comment('kubernetes ipvs access filter')} -j KUBE-IPVS-OUT-FILTER`,
    `-A KUBE-NODE-PORT -m set --match-set ${set('KUBE-HEALTH-CHECK-NODE-PORT')} dst -j ACCEPT`,
    `-A KUBE-PROXY-FIREWALL -m set --match-set ${set('KUBE-LOAD-BALANCER-FW')} dst,dst -j KUBE-SOURCE-RANGES-FIREWALL`,
    `-A KUBE-SOURCE-RANGES-FIREWALL -m set --match-set ${set('KUBE-LOAD-BALANCER-SOURCE-CIDR')} dst,dst,src -j RETURN`,
    '-A KUBE-SOURCE-RANGES-FIREWALL -j DROP',
    `-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set ${set('KUBE-IPVS-IPS')} dst -j REJECT`,
    'COMMIT',
    '*filter',
    ':KUBE-NODE-PORTS - [0:0]',
    `-A INPUT -m set --match-set ${set('KUBE-CLUSTER-IPS')} src -j KUBE-NODE-PORTS`,
    'COMMIT',
    '',
  ].join('\n');
}

async function leaveUpstream(world: World, variant: Variant): Promise<void> {
  const sets = FAMILIES.flatMap((family) =>
    upstreamIPVSSets(family).map((name) => [name, typeOf(name, family)] as const),
  );
  const foreign = FOREIGN_SETS.map(
    (name) => [name, `hash:ip family ${name.includes('-6-') ? 'inet6' : 'inet'}`] as const,
  );
  const input = [...sets, ...foreign].map(([name, type]) => `create ${name} ${type}\n`).join('');
  await world.exec('node', 'ipset', ['restore'], { stdin: `${input}add KUBE-CLUSTER-IP 10.96.0.10,tcp:80\n` });
  for (const family of FAMILIES) {
    const command = `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}-restore`;
    const set = (name: string): string => (family === 'IPv4' ? name : name.replace('KUBE-', 'KUBE-6-').slice(0, 31));
    await world.exec('node', command, ['--noflush'], { stdin: upstreamRules(set) });
  }
}

const setNames = async (world: World): Promise<readonly string[]> =>
  (await run(world, 'ipset list -n'))
    .split('\n')
    .filter((name) => name !== '')
    .sort();

/** Lines that have to do with what only upstream's IPVS mode makes, and with what is foreign. */
async function lines(world: World, variant: Variant): Promise<{ upstream: string[]; foreign: string[] }> {
  const saved = (await Promise.all(FAMILIES.map((family) => save(world, variant, family)))).join('').split('\n');
  const foreign = saved.filter((line) => line.includes('KUBE-NODE-PORTS'));
  const upstream = saved.filter(
    (line) => !foreign.includes(line) && /KUBE-(LOAD-BALANCER|NODE-PORT|IPVS|SOURCE-RANGES)|--match-set/.test(line),
  );
  return { upstream, foreign };
}

const sorted = (names: readonly string[]): readonly string[] => [...names].sort();
const objects: SceneOptions['objects'] = (world) => serviceOf({ name: 'web', clusterIPs: BOTH }, world.pods);

for (const variant of VARIANTS) {
  const prepare = (world: World) => leaveUpstream(world, variant);

  test(`${variant}: the iptables backend takes it over`, async () => {
    await play({ flags: variantFlags(variant), objects, prepare }, async ({ world, proxy }) => {
      const { upstream, foreign } = await lines(world, variant);
      assert.equal(upstream, []);
      assert.is(foreign.length, 4);
      assert.match(await answersFrom(world, 'client'), /^pod-/);
      // The kernel may hold sets for a moment after the rules; each family's next sync destroys its own.
      await proxy.apply(objects(world).concat(serviceOf({ name: 'other', clusterIPs: OTHER }, world.pods)));
      assert.equal(await setNames(world), sorted(FOREIGN_SETS));
    });
  });

  test(`${variant}: it goes when another backend has taken over`, async () => {
    await play({ flags: flagsOf(nftablesPlane()), objects, prepare }, async ({ world, proxy }) => {
      await proxy.waitFor('the removal', ({ msg, command }) => msg === 'Removed rules' && /^ip6/.test(String(command)));
      await until('sets are gone', async () => (await setNames(world)).length === FOREIGN_SETS.length);
      assert.equal(await setNames(world), sorted(FOREIGN_SETS));
      const { upstream, foreign } = await lines(world, variant);
      assert.equal([upstream.length, foreign.length], [0, 4]);
      assert.match(await answersFrom(world, 'client'), /^pod-/);
    });
  });

  test(`${variant}: it goes by cleanup, and a set that somebody else uses is named`, async () => {
    const world = await createWorld();
    try {
      await leaveUpstream(world, variant);
      assert.ok((await lines(world, variant)).upstream.length > 40);
      const used = '-A OUTPUT -m set --match-set KUBE-LOOP-BACK dst,dst,src -j ACCEPT';
      await run(world, `iptables-${variant} ${used}`);
      const [status, said] = await cleanup(world);
      assert.is(status, 1);
      assert.match(said, /KUBE-LOOP-BACK/);
      assert.equal(await setNames(world), sorted([...FOREIGN_SETS, 'KUBE-LOOP-BACK']));
      assert.equal((await lines(world, variant)).upstream, [used]);
      await run(world, `iptables-${variant} ${used.replace('-A', '-D')}`);
      assert.is((await cleanup(world))[0], 0);
      assert.equal(await setNames(world), sorted(FOREIGN_SETS));
      assert.is((await lines(world, variant)).foreign.length, 4);
    } finally {
      await world.close();
    }
  });
}

/** Bounded: sets go a moment after the rules. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await holds()) return;
    await sleep(100);
  }
  throw new Error(`${what}: not within 10 s`);
}

test.run();
