/** What is ours and what is not: foreign flushes are repaired, an upstream's leftovers go, everything else stays. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hash16 } from '../../plugins/iptables/names.ts';
import { endpointSlice, service } from '../conformance/objects.ts';
import { addressTests } from './backend-addresses.ts';
import { answersFrom, BOTH, cleanup, play, serviceOf, VIP } from './backend-scene.ts';
import { iptablesPlane, save, VARIANTS, type Variant, variantFlags } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';
import type { World } from './world.ts';

await isolateTests();
const test = suite('iptables ownership');

const webObjects = (world: World) => serviceOf({ name: 'web', clusterIPs: BOTH, affinitySeconds: 600 }, world.pods);

async function iptables(world: World, variant: Variant, line: string): Promise<void> {
  await world.exec('node', `iptables-${variant}`, line.split(' '));
}

/** Rules of a network plugin and an administrator, which nobody may touch. */
async function foreignRules(world: World, variant: Variant): Promise<void> {
  await iptables(world, variant, '-N CNI-FORWARD');
  await iptables(world, variant, '-A CNI-FORWARD -s 10.9.0.0/16 -j ACCEPT');
  await iptables(world, variant, '-A FORWARD -j CNI-FORWARD');
  await iptables(world, variant, '-t nat -N KUBE-MARK-DROP');
  await iptables(world, variant, '-t nat -A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000');
  await iptables(world, variant, '-t nat -A PREROUTING -p tcp --dport 2222 -j DNAT --to-destination 10.9.9.9:22');
}

/** The saved lines that have to do with those rules. */
function foreignLines(saved: string): string[] {
  return saved.split('\n').filter((line) => /CNI-FORWARD|KUBE-MARK-DROP|2222|KUBE-NWPLCY/.test(line));
}

for (const variant of VARIANTS) {
  const flags = variantFlags(variant);
  addressTests(test, iptablesPlane(variant));

  const vandalism: readonly (readonly [title: string, commands: readonly string[]])[] = [
    ['the nat table is flushed', ['-t nat -F']],
    ['our jumps are deleted from PREROUTING', ['-t nat -F PREROUTING']],
    ['KUBE-SERVICES is emptied', ['-t nat -F KUBE-SERVICES']],
    [
      'all tables are flushed and their chains deleted',
      ['-F', '-X', '-t nat -F', '-t nat -X', '-t mangle -F', '-t mangle -X'],
    ],
    ['the filter jumps are deleted', ['-F FORWARD']],
    ['the chain of one Service is emptied', [`-t nat -F KUBE-SVC-${hash16('default/webtcp')}`]],
    ['a rule is put into a chain of ours', ['-I KUBE-FORWARD -j DROP']],
  ];
  for (const [index, [title, commands]] of vandalism.entries()) {
    // The first with the usual pause between two looks, which is 5 s.
    const pause = index === 0 ? [] : ['--iptables-sync-period', '1s'];
    test(`${variant}: ${title}: noticed and repaired within seconds`, async () => {
      const prepare = (world: World) => foreignRules(world, variant);
      await play({ flags: [...flags, ...pause], objects: webObjects, prepare }, async ({ world, proxy }) => {
        const before = (await save(world, variant)).split('\n').filter((line) => line.includes('KUBE-'));
        const from = proxy.lines.length;
        for (const command of commands) await iptables(world, variant, command);
        const warning = await proxy.waitFor('a warning', (line) => line.level === 'warn', from);
        assert.match(String(warning.reason), /KUBE-/);
        await proxy.waitFor('the repair', (line) => line.msg === 'Synced' && line.sync === 'full', from);
        const after = (await save(world, variant)).split('\n').filter((line) => line.includes('KUBE-'));
        const ours = (lines: string[]) => lines.filter((line) => !line.includes('KUBE-MARK-DROP')).sort();
        assert.equal(ours(after), ours(before));
        assert.match(await answersFrom(world, 'client'), /^pod-/);
      });
    });
  }

  test(`${variant}: rules of other programs stay exactly as they are, through start, changes and cleanup`, async () => {
    const prepare = (world: World) => foreignRules(world, variant);
    await play({ flags, objects: webObjects, prepare }, async ({ world, proxy }) => {
      const expected = foreignLines(await save(world, variant));
      assert.is(expected.length, 6, expected.join('\n'));
      await proxy.apply(serviceOf({ name: 'other', clusterIPs: BOTH }, world.pods));
      assert.equal(foreignLines(await save(world, variant)), expected);
      await proxy.stop();
      const [status, said] = await cleanup(world);
      assert.is(status, 0, said);
      const left = await save(world, variant);
      assert.equal(foreignLines(left), expected);
      // KUBE-FIREWALL guards what route_localnet opened and is kubelet's too.
      const kube = left.split('\n').filter((line) => /KUBE-/.test(line) && !/KUBE-FIREWALL|KUBE-MARK-DROP/.test(line));
      assert.equal(kube, []);
      assert.not.match(await save(world, variant, 'IPv6'), /KUBE-/);
    });
  });

  test(`${variant}: what an upstream kube-proxy left is taken over: its chains go, its jumps are not doubled`, async () => {
    const comment = (text: string) => `-m comment --comment "${text}"`;
    const prepare = async (world: World): Promise<void> => {
      await foreignRules(world, variant);
      const rules = [
        '*nat',
        ':KUBE-SERVICES - [0:0]',
        ':KUBE-NODEPORTS - [0:0]',
        ':KUBE-POSTROUTING - [0:0]',
        ':KUBE-MARK-MASQ - [0:0]',
        ':KUBE-SVC-OLDOLDOLDOLDOLDO - [0:0]',
        ':KUBE-SEP-OLDOLDOLDOLDOLD1 - [0:0]',
        ':KUBE-SEP-OLDOLDOLDOLDOLD2 - [0:0]',
        ':KUBE-PROXY-CANARY - [0:0]',
        `-A PREROUTING ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
        `-A OUTPUT ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
        `-A OUTPUT ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
        `-A POSTROUTING ${comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING`,
        `-A KUBE-SERVICES -d ${VIP}/32 -p tcp ${comment('default/web cluster IP')} -m tcp --dport 80 -j KUBE-SVC-OLDOLDOLDOLDOLDO`,
        '-A KUBE-SVC-OLDOLDOLDOLDOLDO -m statistic --mode random --probability 0.5 -j KUBE-SEP-OLDOLDOLDOLDOLD1',
        '-A KUBE-SVC-OLDOLDOLDOLDOLDO -j KUBE-SEP-OLDOLDOLDOLDOLD2',
        '-A KUBE-SEP-OLDOLDOLDOLDOLD1 -s 10.244.1.11/32 -j KUBE-MARK-MASQ',
        `-A KUBE-SEP-OLDOLDOLDOLDOLD1 -p tcp -m tcp -j DNAT --to-destination ${world.pods[0]!.ip.IPv4}:8080`,
        `-A KUBE-SEP-OLDOLDOLDOLDOLD2 -p tcp -m tcp -j DNAT --to-destination ${world.pods[1]!.ip.IPv4}:8080`,
        'COMMIT',
        '*filter',
        ':KUBE-FORWARD - [0:0]',
        ':KUBE-NWPLCY-FOREIGN - [0:0]',
        `-A FORWARD ${comment('kubernetes forwarding rules')} -j KUBE-FORWARD`,
        '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
        'COMMIT',
        '',
      ];
      await world.exec('node', `iptables-${variant}-restore`, ['--noflush'], { stdin: rules.join('\n') });
      assert.match(await answersFrom(world, 'client'), /^pod-/);
    };
    await play({ flags, objects: webObjects, prepare }, async ({ world }) => {
      const saved = await save(world, variant);
      assert.not.match(saved, /OLDOLD/);
      for (const chain of ['PREROUTING', 'OUTPUT']) {
        const jumps = saved.match(new RegExp(`^-A ${chain} .*-j KUBE-SERVICES$`, 'gm'))?.length;
        assert.is(jumps, chain === 'OUTPUT' ? 2 : 1, `${chain}: one jump in nat, and one in filter's OUTPUT`);
      }
      assert.match(saved, /KUBE-NWPLCY-FOREIGN/);
      assert.match(await answersFrom(world, 'client'), /^pod-/);
    });
  });

  test(`${variant}: the health check node port is let in where INPUT drops by default`, async () => {
    const objects = (world: World) => [
      service({
        name: 'lb',
        clusterIPs: { IPv4: VIP },
        type: 'LoadBalancer',
        externalPolicy: 'Local',
        healthCheckNodePort: 31999,
        loadBalancerVIPs: ['203.0.113.8'],
        ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: 30091 }],
      }),
      endpointSlice({
        service: 'lb',
        family: 'IPv4',
        port: { name: '', protocol: 'TCP', port: 8080 },
        endpoints: [{ ip: world.pods[0]!.ip.IPv4, nodeName: 'node' }],
      }),
    ];
    await play({ flags, objects }, async ({ world }) => {
      await iptables(world, variant, '-P INPUT DROP');
      await world.serve('node', { protocol: 'TCP', port: 31998, server: 'port 31998' });
      const node = world.nodeIPs.IPv4[0]!;
      assert.is(await answersFrom(world, 'client', node, 31998), 'timeout');
      // On this one the program itself answers.
      const script =
        `fetch('http://${node}:31999/', { signal: AbortSignal.timeout(5000) }).then((answer) => ` +
        `console.log(answer.status, answer.headers.get('x-load-balancing-endpoint-weight')))`;
      const { stdout } = await world.exec('client', process.execPath, ['-e', script]);
      assert.is(stdout.trim(), '200 1');
    });
  });

  test(`${variant}: a sync that fails is told, tried again, and nothing is lost`, async () => {
    await play({ flags, objects: webObjects }, async ({ world, proxy }) => {
      const from = proxy.lines.length;
      // A foreign rule that refers to a chain of ours keeps it from being deleted: the commit fails as a whole.
      const chain = /^:(KUBE-SVC-\S+)/m.exec(await save(world, variant))![1]!;
      await iptables(world, variant, '-t nat -N FOREIGN');
      await iptables(world, variant, `-t nat -A FOREIGN -j ${chain}`);
      const applied = proxy.apply(serviceOf({ name: 'other', clusterIPs: { IPv4: '10.96.0.11' } }, world.pods));
      const failure = await proxy.waitFor('an error', (line) => line.level === 'error', from);
      assert.match(String(failure.error), /backend iptables: IPv4: .*iptables-/);
      await iptables(world, variant, '-t nat -F FOREIGN');
      await applied;
      assert.match(await answersFrom(world, 'client', '10.96.0.11'), /^pod-/);
      assert.not.match(await save(world, variant), new RegExp(chain));
    });
  });
}
test.run();
