/**
 * The systemd unit: is it right, how far does it confine, and does the program live within it? What systemd does with it
 * is tried with a real one where the host can boot it in namespaces, and imitated with setpriv(1) everywhere else, too.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FIELD_LIST } from '../../core/config/fields.ts';
import { isolateTests } from '../netns/isolated.ts';
import { skip } from '../skip.ts';
import { type BootedSystemd, bootSystemd, systemdProblem, until } from './booted-systemd.ts';
import { coverFolders } from './covered-folders.ts';
import { program, ROOT } from './program.ts';
import { EXAMPLES, SERVED_BACKENDS } from './served-backends.ts';

await isolateTests(['iptables', 'nftables']);
const test = suite('systemd unit');

const FOLDER = join(ROOT, 'release', 'systemd');
const UNIT = join(FOLDER, 'kube-proxy.service');
const unit = readFileSync(UNIT, 'utf8');
const page = readFileSync(join(ROOT, 'release', 'docs', 'node.md'), 'utf8');
const NODE = '--hostname-override=node';
const kubeProxy = program();

/** Values of a setting, in order. */
const settings = (name: string): readonly string[] =>
  [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value!);

const covered = failure(() => coverFolders(['/usr/local', '/etc', '/var/lib']));
if (covered === '') {
  copyFileSync(kubeProxy.file, '/usr/local/bin/kube-proxy');
  copyFileSync(UNIT, '/etc/systemd/system/kube-proxy.service');
  cpSync(FOLDER, '/etc/kube-proxy', { recursive: true });
  cpSync(EXAMPLES, '/etc/kube-proxy/manifests', { recursive: true });
}

/** The fields at the top of what --write-config-to makes of a configuration. */
function written(config: string): { readonly text: string; readonly fields: readonly string[] } {
  const to = '/run/written.yaml';
  const { status, stderr } = run(...kubeProxy.command, '--config', config, '--write-config-to', to);
  assert.is(status, 0, stderr);
  const text = readFileSync(to, 'utf8');
  return { text, fields: [...text.matchAll(/^(\w+):/gm)].map(([, name]) => name!) };
}

test('the example of a configuration is one, and so it is with all that is commented out there', () => {
  const example = join(FOLDER, 'kube-proxy-config.yaml');
  const text = readFileSync(example, 'utf8');
  const { text: effective, fields } = written(example);
  assert.match(effective, /^mode: nftables$/m);
  const whole = '/run/whole.yaml';
  writeFileSync(whole, text.replace(/^#(?=[a-z])/gim, ''));
  const more = written(whole).fields;
  for (const [, name] of text.matchAll(/^#?([a-z]\w+):/gim)) assert.ok(more.includes(name!), name);
  // As the example and the man page say of --write-config-to.
  const ours = FIELD_LIST.flatMap(([path, field]) => (field.ours ? [path] : []));
  assert.equal(more.filter((name) => !fields.includes(name)).sort(), [...ours].sort());
});

test('the example of flags names the example of a configuration', () => {
  const [flags] = /^KUBE_PROXY_FLAGS=.*$/m.exec(readFileSync(join(FOLDER, 'kube-proxy.env'), 'utf8')) ?? [];
  assert.equal(settings('Environment'), [`"${flags}"`], 'without the file, the flags are the same');
});

test('the page for nodes and the unit name the same version of systemd', () => {
  const [, version] = /systemd \(version (\d+) or newer\)/.exec(unit) ?? [];
  assert.match(page, `| systemd ${version} or newer`);
});

test('the manifest of the page for nodes serves what the page says', () => {
  const [manifest = ''] = /^ {4}apiVersion: v1\n[\s\S]*?\n\n/m.exec(page) ?? [];
  writeFileSync('/run/web.yaml', manifest.replace(/^ {4}/gm, ''));
  const { status, stdout, stderr } = run(
    ...kubeProxy.command,
    ...['render', '--manifests=/run/web.yaml', '--backend=dry-run', NODE],
  );
  assert.is(status, 0, stderr);
  assert.match(stdout, /10\.96\.0\.10:80 -> 192\.168\.50\.21:8080, 192\.168\.50\.22:8080$/m);
});

const analyze = run('systemd-analyze', '--version').status === 0 ? '' : 'there is no systemd-analyze';
const unverifiable = analyze || covered;
if (unverifiable) skip('systemd finds nothing wrong with the unit', unverifiable);
else {
  test('systemd finds nothing wrong with the unit', () => {
    const { status, stderr } = run('systemd-analyze', 'verify', '--man=no', '/etc/systemd/system/kube-proxy.service');
    // It looks at the units of the host that ours names, too.
    assert.equal(
      stderr.split('\n').filter((line) => line.includes('kube-proxy')),
      [],
    );
    assert.is(status, 0, stderr);
  });
}

const offline =
  analyze || (run('systemd-analyze', 'security', '--help').stdout.includes('--offline') ? '' : 'it is old');
if (offline) skip('systemd calls the exposure of the service low', offline);
else {
  test('systemd calls the exposure of the service low', () => {
    // In tenths. A service that says nothing is at 96; of ours, half is the network, which it is for.
    const { status, stdout } = run('systemd-analyze', 'security', '--offline=yes', '--threshold=25', UNIT);
    assert.is(status, 0, stdout.split('\n').at(-2));
  });
}

/** What systemd gives to the process, by other means. */
const capabilities = settings('CapabilityBoundingSet').flatMap((names) => names.split(' '));
const confined = (names: readonly string[]): readonly string[] => {
  const set = ['-all', ...names.map((name) => name.replace(/^CAP_/, '+').toLowerCase())].join(',');
  return ['setpriv', '--bounding-set', set, '--inh-caps=-all', '--no-new-privs', ...kubeProxy.command];
};
const flagsOf = (backend: (typeof SERVED_BACKENDS)[number]): readonly string[] => [
  `--manifests=${EXAMPLES}`,
  NODE,
  '--healthz-bind-address=0',
  '--metrics-bind-address=0',
  // To set it takes CAP_SYS_RESOURCE, and it is systemd that does.
  '--oom-score-adj=0',
  ...backend.flags,
];

if (covered) skip('with the capabilities of the unit, and no less, it serves', covered);
else {
  for (const backend of SERVED_BACKENDS) {
    test(`${backend.title}: with the capabilities of the unit it serves without a complaint, and rules outlive it`, async () => {
      await cleanUp();
      assert.not(backend.isServing());
      const daemon = start(...confined(capabilities), ...flagsOf(backend));
      await daemon.says(/Ready/);
      assert.ok(backend.isServing());
      assert.is(await daemon.stop(), 0);
      assert.equal(complaints(daemon.log()), []);
      assert.ok(backend.isServing());
    });
  }

  for (const capability of capabilities) {
    test(`${capability} is needed: without it some backend does not work`, async () => {
      const rest = capabilities.filter((each) => each !== capability);
      const outcomes: string[] = [];
      for (const backend of SERVED_BACKENDS) {
        const daemon = start(...confined(rest), ...flagsOf(backend));
        outcomes.push(
          await daemon.says(/Ready/).then(
            () => 'ready',
            () => 'failed',
          ),
        );
        await daemon.stop();
      }
      assert.ok(outcomes.includes('failed'), `${outcomes}`);
    });
  }

  test('without CAP_NET_RAW the nft variant of iptables, too, has no IP sets; with it, it has', async () => {
    const nft = SERVED_BACKENDS.find(({ title }) => title.endsWith('nft'))!;
    for (const names of [capabilities.filter((name) => name !== 'CAP_NET_RAW'), capabilities]) {
      await cleanUp();
      const daemon = start(...confined(names), ...flagsOf(nft), '--backend-option=affinity=ipset');
      await daemon.says(names === capabilities ? /Ready/ : /Sync failed;.*ipset/);
      await daemon.stop();
    }
  });
}

const hidden = [ROOT, process.execPath].some((path) => /^\/(home|root|run\/user|tmp|var\/tmp)\//.test(path));
const unbootable =
  covered ||
  systemdProblem() ||
  (hidden && !kubeProxy.isPacked ? 'the service sees nothing below /home, /root and /tmp' : '');
if (unbootable) skip('a real systemd runs the service', unbootable);
else {
  let systemd: BootedSystemd;
  test.before(async () => {
    systemd = await bootSystemd();
  });
  test.after(async () => {
    await systemd.shutDown();
  });

  const startWith = async (...flags: readonly string[]): Promise<void> => {
    writeFileSync('/etc/kube-proxy/kube-proxy.env', `KUBE_PROXY_FLAGS=${flags.join(' ')}\n`);
    const before = systemd.log('kube-proxy').length;
    const started = systemd.systemctl('start', 'kube-proxy');
    assert.is(started.status, 0, started.stderr);
    await ready(before);
  };
  const ready = (from: number): Promise<void> =>
    until(
      () => / Ready /.test(systemd.log('kube-proxy').slice(from)),
      () => `not ready: ${systemd.log('kube-proxy').slice(from)}`,
    );

  for (const backend of SERVED_BACKENDS) {
    test(`${backend.title}: a real systemd starts it confined, it serves without a complaint, and rules outlive it`, async () => {
      await cleanUp();
      const before = systemd.log('kube-proxy').length;
      writeFileSync('/proc/sys/net/ipv4/conf/all/route_localnet', '0');
      await startWith('--manifests=/etc/kube-proxy/manifests', NODE, ...backend.flags);
      assert.ok(backend.isServing());
      assert.is(
        readFileSync('/proc/sys/net/ipv4/conf/all/route_localnet', 'utf8'),
        '1\n',
        'it sets kernel parameters of the network',
      );
      const status = readFileSync(join(systemd.process(systemd.property('kube-proxy', 'MainPID')), 'status'), 'utf8');
      assert.match(status, /^CapBnd:\t0000000000003000$/m);
      assert.match(status, /^CapEff:\t0000000000003000$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      assert.match(status, /^Seccomp:\t2$/m);

      const stopped = systemd.systemctl('stop', 'kube-proxy');
      assert.is(stopped.status, 0, stopped.stderr);
      assert.is(systemd.property('kube-proxy', 'Result'), 'success');
      assert.is(systemd.property('kube-proxy', 'ExecMainStatus'), '0');
      assert.equal(complaints(systemd.log('kube-proxy').slice(before)), []);
      assert.ok(backend.isServing());
    });
  }

  test('systemd starts it again when it is killed', async () => {
    await startWith('--manifests=/etc/kube-proxy/manifests', NODE, '--backend=nftables');
    const first = systemd.property('kube-proxy', 'MainPID');
    const before = systemd.log('kube-proxy').length;
    systemd.systemctl('kill', '--kill-who=main', '--signal=KILL', 'kube-proxy');
    await ready(before);
    assert.is.not(systemd.property('kube-proxy', 'MainPID'), first);
    systemd.systemctl('stop', 'kube-proxy');
  });

  test('with a configuration that is wrong it does not run, is tried again, and the log says what is wrong', async () => {
    const before = systemd.log('kube-proxy').length;
    writeFileSync('/etc/kube-proxy/kube-proxy.env', 'KUBE_PROXY_FLAGS=--config=/etc/kube-proxy/nothing.yaml\n');
    systemd.systemctl('start', 'kube-proxy');
    await until(() => systemd.property('kube-proxy', 'NRestarts') !== '0', 'it is not tried again');
    assert.match(systemd.log('kube-proxy').slice(before), /nothing\.yaml/);
    systemd.systemctl('stop', 'kube-proxy');
  });

  test('the lock of iptables that the unit makes is for root only', () => {
    assert.is(statSync('/run/xtables.lock').mode & 0o777, 0o600);
  });

  test('what the service has no business with is refused, and granted by a drop-in', () => {
    const attempts: Readonly<Record<string, string>> = {
      'write below /usr': 'touch /usr/local/bin/attempt',
      'write its configuration': 'touch /etc/kube-proxy/attempt',
      'write to /run': 'touch /run/attempt',
      'read the home of root': 'ls /root',
      'give a file away': 'touch /tmp/given && chown 1 /tmp/given',
      'make a device': 'mknod /tmp/device b 8 0',
      'make a namespace': 'unshare --net true',
      'speak with systemd': 'systemctl is-active multi-user.target',
      'write to /tmp': 'touch /tmp/attempt',
      'take the lock of iptables': 'flock /run/xtables.lock true',
      'set a kernel parameter of the network': 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet',
    };
    const allowed = ['write to /tmp', 'take the lock of iptables', 'set a kernel parameter of the network'];
    const script = Object.entries(attempts).map(
      ([what, command]) =>
        `if (${command}) >/dev/null 2>&1; then echo "can: ${what}"; else echo "cannot: ${what}"; fi\n`,
    );
    writeFileSync('/run/attempts', script.join(''));
    const asService = unit
      .replace(/^ExecStart=.*$/m, 'ExecStart=/bin/sh /run/attempts')
      .replace(/^Type=.*$/m, 'Type=oneshot')
      .replace(/^Restart=.*$/m, '');
    writeFileSync('/etc/systemd/system/attempts.service', asService);
    // As the page for nodes says.
    mkdirSync('/etc/systemd/system/more.service.d');
    writeFileSync('/etc/systemd/system/more.service', asService);
    const more = 'RestrictAddressFamilies=AF_UNIX\nReadWritePaths=/etc/kube-proxy\nProtectHome=read-only\n';
    writeFileSync('/etc/systemd/system/more.service.d/override.conf', `[Service]\n${more}`);
    systemd.systemctl('daemon-reload');
    for (const name of ['attempts', 'more']) systemd.systemctl('start', name);
    const found = (text: string, word: string): string[] =>
      text.split('\n').flatMap((line) => (line.startsWith(`${word}: `) ? [line.slice(word.length + 2)] : []));
    assert.equal(found(systemd.log('attempts'), 'can'), allowed);
    assert.equal(found(systemd.log('attempts'), 'cannot').length, Object.keys(attempts).length - allowed.length);
    const added = ['write its configuration', 'read the home of root', 'speak with systemd'];
    assert.equal(found(systemd.log('more'), 'can'), [...added, ...allowed]);
    // Else the refusals would not be the unit's.
    assert.equal(found(systemd.run('sh', '/run/attempts').stdout, 'cannot'), []);
  });
}

const running = new Set<ChildProcess>();
test.after(() => {
  for (const child of running) child.kill('SIGKILL');
});
test.run();

/** What the log tells beyond ordinary events. Systemd has set the OOM score, unless it is not allowed to itself. */
function complaints(log: string): readonly string[] {
  return log
    .split('\n')
    .filter((line) => line !== '' && !/^I\d{4} /.test(line))
    .concat(mayLowerOomScore() ? log.split('\n').filter((line) => line.includes('out-of-memory')) : []);
}

function mayLowerOomScore(): boolean {
  const [, effective = '0'] = /^CapEff:\t([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  const CAP_SYS_RESOURCE = 24n; // linux/capability.h
  return ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
}

async function cleanUp(): Promise<void> {
  const { status, stderr } = run(...kubeProxy.command, 'cleanup');
  assert.is(status, 0, stderr);
}

interface Daemon {
  log(): string;
  says(pattern: RegExp): Promise<void>;
  /** Resolves with the exit status. */
  stop(): Promise<number>;
}

function start(...[file = '', ...args]: readonly string[]): Daemon {
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += chunk;
  });
  const ended = once(child, 'close').then(() => running.delete(child));
  return {
    log: () => log,
    async says(pattern) {
      const fault = () => `no ${pattern} in: ${log}`;
      await until(() => pattern.test(log) || !running.has(child), fault);
      if (!pattern.test(log)) throw new Error(fault());
    },
    async stop() {
      child.kill('SIGTERM');
      await ended;
      return child.exitCode ?? -1;
    },
  };
}

function run(file: string, ...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', timeout: 60_000 });
  return { status, stdout: stdout ?? '', stderr: stderr ?? '' };
}

/** The message of what it throws; "" if it does not. */
function failure(action: () => void): string {
  try {
    action();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}
