/** Our IP sets and the `ipset` tool's, side by side on a real kernel: each must see what the other made. */
import { execFileSync, spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { enterIsolation } from '../../build/isolate.ts';
import { type OpenIPSets, openIPSets } from '../../core/netlink/ipset.ts';
import { fault } from '../unit/netlink/fault.ts';

const KUBE_A = { name: 'KUBE-A', family: 'IPv4', timeoutSeconds: 100, maxElements: 1000 } as const;
const KUBE_6 = { name: 'KUBE-6', family: 'IPv6', timeoutSeconds: 2147483, maxElements: 65536 } as const;

const tool = (...args: readonly string[]): string => execFileSync('ipset', args, { encoding: 'utf8' });

function testsOf(sets: OpenIPSets): ReturnType<typeof suite> {
  const kernel = suite('IP sets of the kernel');
  kernel.before.each(() => void tool('destroy'));
  kernel.after(() => {
    tool('destroy');
    sets.close();
  });

  kernel('that we create are what the tool sees', () => {
    sets.createHashIP(KUBE_A);
    sets.createHashIP(KUBE_6);
    assert.is(
      tool('save'),
      'create KUBE-A hash:ip family inet hashsize 1024 maxelem 1000 timeout 100\n' +
        'create KUBE-6 hash:ip family inet6 hashsize 1024 maxelem 65536 timeout 2147483\n',
    );
  });

  kernel('that the tool creates, with whatever revision, are what we need', () => {
    tool('create', 'KUBE-A', 'hash:ip', 'timeout', '100', 'maxelem', '1000');
    tool('create', 'KUBE-6', 'hash:ip', 'family', 'inet6', 'timeout', '9');
    sets.createHashIP(KUBE_A);
    sets.createHashIP(KUBE_6);
    assert.equal([...sets.names()].sort(), ['KUBE-6', 'KUBE-A']);
  });

  kernel('that we create can be created again by the tool, and by us with other parameters', () => {
    sets.createHashIP(KUBE_A);
    tool('create', 'KUBE-A', 'hash:ip', 'timeout', '100', 'maxelem', '1000', '-exist');
    sets.createHashIP(KUBE_A);
    sets.createHashIP({ ...KUBE_A, timeoutSeconds: 7 });
    assert.match(tool('list', '-t', 'KUBE-A'), 'timeout 100');
  });

  kernel('of another kind with our name are named, and stay', () => {
    for (const [command, words] of [
      [['hash:ip,port', 'timeout', '100'], 'of type hash:ip,port'],
      [['hash:ip', 'family', 'inet6', 'timeout', '100', 'maxelem', '1000'], 'not of family IPv4'],
      [['hash:ip', 'maxelem', '1000'], 'without timeouts'],
    ] as const) {
      tool('create', 'KUBE-A', ...command);
      const error = fault(() => sets.createHashIP(KUBE_A));
      assert.is(error.code, 'KP_NETLINK_CONFLICT');
      assert.match(error.message, words);
      assert.match(tool('list', '-t', 'KUBE-A'), command[0]);
      tool('destroy', 'KUBE-A');
    }
  });

  kernel('show us the elements that the tool adds, with their time', () => {
    sets.createHashIP(KUBE_A);
    sets.createHashIP(KUBE_6);
    tool('add', 'KUBE-A', '10.0.0.1');
    tool('add', 'KUBE-A', '10.0.0.2', 'timeout', '0');
    tool('add', 'KUBE-6', '2001:DB8:0::A', 'timeout', '50');
    const byIP = new Map(sets.members('KUBE-A').map(({ ip, remainingSeconds }) => [ip, remainingSeconds]));
    assert.equal([...byIP.keys()].sort(), ['10.0.0.1', '10.0.0.2']);
    const left = byIP.get('10.0.0.1')!;
    assert.ok(left > 90 && left <= 100, String(left));
    assert.is(byIP.get('10.0.0.2'), 0);
    assert.equal(
      sets.members('KUBE-6').map(({ ip }) => ip),
      ['2001:db8::a'],
    );
    sets.flush('KUBE-A');
    assert.equal(sets.members('KUBE-A'), []);
    assert.is(fault(() => sets.members('KUBE-B')).errno, 'ENOENT');
    assert.is(fault(() => sets.flush('KUBE-B')).errno, 'ENOENT');
  });

  kernel('with more elements than a datagram holds show them all', () => {
    sets.createHashIP({ ...KUBE_A, maxElements: 10000 });
    const expected = Array.from({ length: 5000 }, (_, n) => `10.0.${n >> 8}.${n & 255}`).sort();
    execFileSync('ipset', ['restore'], { input: expected.map((ip) => `add KUBE-A ${ip}\n`).join('') });
    const seen = sets.members('KUBE-A').map(({ ip }) => ip);
    assert.equal(seen.sort(), expected);
  });

  kernel('are destroyed, and destroying what is not there succeeds', () => {
    sets.createHashIP(KUBE_A);
    sets.createHashIP(KUBE_6);
    sets.destroy('KUBE-A');
    sets.destroy('KUBE-A');
    assert.is(tool('list', '-n'), 'KUBE-6\n');
  });

  kernel('that something refers to are not destroyed, and the error says so', () => {
    sets.createHashIP(KUBE_A);
    tool('create', 'LIST', 'list:set');
    tool('add', 'LIST', 'KUBE-A');
    const error = fault(() => sets.destroy('KUBE-A'));
    assert.match(error.message, /^ipset destroy KUBE-A: IPSET_ERR_BUSY /);
    tool('del', 'LIST', 'KUBE-A');
    sets.destroy('KUBE-A');
  });

  kernel('are listed completely when there are a thousand', () => {
    const names = Array.from({ length: 1000 }, (_, n) => `KUBE-${String(n).padStart(4, '0')}-${'x'.repeat(21)}`);
    for (const name of names) sets.createHashIP({ ...KUBE_A, name });
    assert.equal([...sets.names()].sort(), names);
    for (const name of names) sets.destroy(name);
    assert.equal(sets.names(), []);
  });

  kernel('work in a user namespace with a network namespace of its own', () => {
    const unshare = ['--user', '--map-root-user', '--net', process.execPath, '--input-type=module', '-e'];
    const result = spawnSync('unshare', [...unshare, childScript], { encoding: 'utf8' });
    assert.is(result.stdout, 'KUBE-A\n', result.stderr);
  });

  kernel('ask for CAP_NET_ADMIN when it is missing', () => {
    const setpriv = [
      '--bounding-set=-net_admin',
      '--inh-caps=-net_admin',
      process.execPath,
      '--input-type=module',
      '-e',
    ];
    const result = spawnSync('setpriv', [...setpriv, childScript], { encoding: 'utf8' });
    assert.match(result.stdout, /^ipset open: EPERM \(operation not permitted\): needs CAP_NET_ADMIN/, result.stderr);
  });

  return kernel;
}

const childScript = `
  import { openIPSets } from ${JSON.stringify(new URL('../../core/netlink/ipset.ts', import.meta.url).href)};
  try {
    const sets = openIPSets();
    sets.createHashIP(${JSON.stringify(KUBE_A)});
    console.log(sets.names().join());
  } catch (error) {
    console.log(error.message);
  }`;

/** The kernel's sets, or why there are none to test. */
async function enter(): Promise<OpenIPSets | string> {
  try {
    await enterIsolation({ packages: ['ipset'] });
    return openIPSets();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const { message } = error as Error;
    if (['KP_ISOLATION', 'KP_PACKAGES', 'KP_NETLINK_UNSUPPORTED'].includes(code)) return message;
    throw error;
  }
}

const sets = await enter();
if (typeof sets === 'string') console.log(`skipped: ${sets}`);
else testsOf(sets).run();
