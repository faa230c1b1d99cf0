import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseOptions } from '../../../plugins/iptables/options.ts';
import { probe } from '../../../plugins/iptables/probe.ts';
import { fakeHost, type Program } from './fake-host.ts';

const test = suite('iptables probe');
const OPTIONS = parseOptions({});
const LOCKED = { status: 4, stderr: 'Another app is currently holding the xtables lock. Stopped waiting after 5s.\n' };

/** A host on which these commands exist and do what they are told, the kubelet's hints apart. */
function installed(...commands: readonly string[]): Program {
  return (line) => {
    const program = line.split(' ')[0]!.replace(/-restore$|-save$/, '');
    if (!commands.includes(program)) return undefined;
    return / -S KUBE-/.test(line) ? { status: 1 } : {};
  };
}

test('a lock that is held for a while keeps no family from being served and no match from being found', async () => {
  const works = installed('iptables', 'ip6tables', 'iptables-legacy');
  // Every program finds the lock held the first three times.
  const refusals = new Map<string, number>();
  const host = fakeHost((line, stdin) => {
    const answer = works(line, stdin);
    const times = (refusals.get(line + stdin) ?? 0) + 1;
    refusals.set(line + stdin, times);
    return answer !== undefined && !line.endsWith('--version') && times <= 3 ? LOCKED : answer;
  });
  const support = await probe(host, OPTIONS);
  assert.equal([...support.tools.keys()], ['IPv4', 'IPv6']);
  assert.equal([support.affinity, support.hairpin], ['ipset', 'bpf']);
  assert.equal(host.warnings, []);
});

test('a lock that is never free is an error, not a host without iptables', async () => {
  const works = installed('iptables', 'ip6tables');
  const host = fakeHost((line, stdin) =>
    line.endsWith('--version') ? works(line, stdin) : works(line, stdin) && LOCKED,
  );
  try {
    await probe(host, OPTIONS);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'KP_BACKEND_FAILED');
    assert.match((error as Error).message, /lock of iptables for 30 s.*fuser/);
  }
});

test('who is not allowed is told so at once, and not that a lock is held', async () => {
  const denied = {
    status: 4,
    stderr:
      'iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n',
  };
  const works = installed('iptables', 'ip6tables', 'iptables-nft');
  const host = fakeHost((line, stdin) =>
    line.endsWith('--version') ? works(line, stdin) : works(line, stdin) && denied,
  );
  try {
    await probe(host, OPTIONS);
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /Permission denied.*run as root or with CAP_NET_ADMIN/);
    assert.is(host.clock.now(), 0, 'nothing was waited for');
  }
});

test('without a program of the plain name, the variant that is installed is used', async () => {
  for (const [names, expected] of [
    [['iptables-legacy', 'ip6tables-legacy'], 'iptables-legacy'],
    [['iptables-nft', 'ip6tables-nft'], 'iptables-nft'],
    [['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'iptables', 'ip6tables'], 'iptables'],
  ] as const) {
    const { tools } = await probe(fakeHost(installed(...names)), OPTIONS);
    assert.is(tools.get('IPv4')?.command, expected);
  }
});

test('one family without its program is told and left out', async () => {
  const host = fakeHost(installed('iptables'));
  const { tools } = await probe(host, OPTIONS);
  assert.equal([...tools.keys()], ['IPv4']);
  assert.equal(host.warnings, ['One IP family cannot be served']);
});

test('a kernel that refuses a match gets the plainer rules', async () => {
  const works = installed('iptables', 'ip6tables');
  const refused = { status: 2, stderr: "Couldn't load match\n" };
  const host = fakeHost((line, stdin) => (/bpf|match-set/.test(stdin) ? refused : works(line, stdin)));
  const support = await probe(host, OPTIONS);
  assert.equal([support.affinity, support.hairpin, support.counters], ['recent', 'rules', true]);
});

test('counters are used where the kernel has them and takes a rule with one, and what was tried is taken back', async () => {
  const works = installed('iptables', 'ip6tables');
  const refused = { status: 2, stderr: "Couldn't load match `nfacct'\n" };
  const lacking = new Error('nfacct create: EINVAL (this kernel has no packet counters)');
  for (const [hasCounters, takesRules, expected] of [
    [true, true, true],
    [true, false, false],
    [false, true, false],
  ] as const) {
    const made = new Set<string>();
    const counters = {
      ensure(name: string) {
        if (!hasCounters) throw lacking;
        made.add(name);
      },
      read: () => undefined,
      delete: (name: string) => void made.delete(name),
    };
    const plain = fakeHost((line, stdin) => {
      if (/nfacct/.test(stdin) && made.size === 0) return { status: 1, stderr: 'No such file or directory' };
      return /nfacct/.test(stdin) && !takesRules ? refused : works(line, stdin);
    });
    const host = { ...plain, netlink: { ...plain.netlink, nfacct: () => counters } };
    const support = await probe(host, OPTIONS);
    assert.is(support.counters, expected);
    assert.is(made.size, 0);
    assert.equal(plain.warnings, []);
  }
});

test.run();
