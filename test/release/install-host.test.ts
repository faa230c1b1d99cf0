/**
 * install.sh on this very host, with nothing of the host written to: its folders are covered, and systemd is one of the
 * test's own. The program is the real one.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isolateTests } from '../netns/isolated.ts';
import { skip } from '../skip.ts';
import { type BootedSystemd, bootSystemd, systemdProblem, until } from './booted-systemd.ts';
import { coverFolders } from './covered-folders.ts';
import { program, ROOT } from './program.ts';
import { INSTALLER, makeRelease, pathsBelow, sha256, snapshot, writeSums } from './release-folder.ts';
import { EXAMPLES, SERVED_BACKENDS } from './served-backends.ts';

await isolateTests(['iptables', 'nftables']);
const test = suite('install.sh on a host');

const COVERED = ['/usr/local', '/etc', '/var/lib'];
const PROGRAM = '/usr/local/bin/kube-proxy';
const UNIT = '/etc/systemd/system/kube-proxy.service';
const CONFIG = '/etc/kube-proxy';
const FROM = '/run/release';
// Systemd sees another /tmp, in which the sources may be.
const SCRIPT = '/run/install.sh';
const kubeProxy = program();
const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
const problem = coverProblem();

if (problem) {
  skip('an executable that does not run here is refused before anything changes', problem);
} else {
  rmSync(CONFIG, { recursive: true, force: true });
  copyFileSync(INSTALLER, SCRIPT);
  makeRelease(FROM, '1.0.0');
  copyFileSync(kubeProxy.file, join(FROM, `kube-proxy-linux-${arch}`));
  writeSums(FROM);

  test('an executable that does not run here is refused before anything changes', () => {
    const broken = makeRelease('/run/broken', '1.0.0');
    writeFileSync(join(broken, `kube-proxy-linux-${arch}`), '#!/nowhere/loader\n', { mode: 0o755 });
    writeSums(broken);
    const look = () => ({ etc: snapshot('/etc'), local: pathsBelow('/usr/local'), records: pathsBelow('/var/lib') });
    const before = look();
    const { status, stderr } = spawnSync('sh', [SCRIPT, '--from', broken], { encoding: 'utf8' });
    assert.is(status, 1);
    assert.match(stderr, /does not run on this machine: .*nothing was changed/);
    assert.equal(look(), before);
  });
}

const hidden = [ROOT, process.execPath].some((path) => /^\/(home|root|run\/user|tmp|var\/tmp)\//.test(path));
const unbootable =
  problem ||
  systemdProblem() ||
  (hidden && !kubeProxy.isPacked ? 'the service sees nothing below /home, /root and /tmp' : '');
if (unbootable)
  skip('installed, it serves as a service of systemd, and uninstalled, nothing of it is left', unbootable);
else {
  let systemd: BootedSystemd;
  test.before(async () => {
    systemd = await bootSystemd();
  });
  test.after(async () => {
    await systemd.shutDown();
  });

  const install = (...args: readonly string[]): string => {
    const { status, stdout, stderr } = systemd.run('sh', SCRIPT, ...args);
    assert.is(status, 0, stdout + stderr);
    return stdout;
  };
  const [nftables] = SERVED_BACKENDS;
  const configure = (): void => {
    cpSync(EXAMPLES, `${CONFIG}/manifests`, { recursive: true });
    const flags = [`--manifests=${CONFIG}/manifests`, '--hostname-override=node', ...nftables!.flags];
    writeFileSync(`${CONFIG}/kube-proxy.env`, `KUBE_PROXY_FLAGS=${flags.join(' ')}\n`);
  };
  const serving = (): Promise<void> =>
    until(
      () => nftables!.isServing(),
      () => systemd.log('kube-proxy'),
    );

  test('installed, it serves as a service of systemd, and uninstalled, nothing of it is left', async () => {
    const look = () => [...COVERED.map((folder) => snapshot(folder)), pathsBelow('/usr/local'), pathsBelow('/var/lib')];
    const before = look();
    assert.match(install('--from', FROM), /systemctl enable --now kube-proxy/);
    assert.match(install('--version'), /^kube-proxy \d+\.\d+\.\d+/m);
    configure();
    assert.is(systemd.systemctl('enable', '--now', 'kube-proxy').status, 0);
    await serving();
    assert.match(install('--from', FROM), /nothing was changed/);
    assert.is(systemd.systemctl('is-active', 'kube-proxy').status, 0, 'it goes on');

    const upgrade = '/run/upgrade';
    cpSync(FROM, upgrade, { recursive: true });
    writeFileSync(join(upgrade, 'kube-proxy.8'), '.TH KUBE-PROXY 8\n');
    writeSums(upgrade);
    assert.match(install('--from', upgrade), /systemctl restart kube-proxy/);

    const said = install('--uninstall', '--cleanup');
    assert.match(said, /left, because they were changed: \/etc\/kube-proxy\/kube-proxy\.env/);
    assert.not.ok(nftables!.isServing(), 'rules are gone');
    assert.is.not(systemd.systemctl('is-active', 'kube-proxy').status, 0);
    rmSync(CONFIG, { recursive: true });
    assert.equal(look(), before);
  });

  test('the steps of the page for a host without a cluster, typed as they stand there, make it serve', async () => {
    const page = readFileSync(join(ROOT, 'release', 'docs', 'node.md'), 'utf8');
    const [, section = ''] = page.split('\n## Without a cluster\n');
    const steps = section.split('\n## ')[0]!.match(/^ {4}.*(?:\n(?: {4}.*)?)*/gm) ?? [];
    const [makeFolder, flags, manifest, render, go] = steps.map((step) => step.replace(/^ {4}/gm, '').trim());
    const type = (command: string): string => {
      const { status, stdout, stderr } = systemd.run('sh', '-c', command);
      assert.is(status, 0, `${command}: ${stdout}${stderr}`);
      return stdout;
    };
    install('--from', FROM);
    type(makeFolder!);
    writeFileSync(`${CONFIG}/kube-proxy.env`, `${flags}\n`);
    writeFileSync(`${CONFIG}/manifests/web.yaml`, `${manifest}\n`);
    assert.match(type(render!), /10\.96\.0\.10:80 -> /);
    type(go!.split('\n')[0]!);
    await serving();
    install('--uninstall', '--cleanup');
    rmSync(CONFIG, { recursive: true });
  });

  test('a service that was there and ran gives way, and runs again when ours is uninstalled; rules stay', async () => {
    const other = '#!/bin/sh\necho the other\nexec sleep 1000\n';
    writeFileSync(PROGRAM, other, { mode: 0o755 });
    writeFileSync(UNIT, `[Service]\nExecStart=${PROGRAM}\n[Install]\nWantedBy=multi-user.target\n`);
    const unit = readFileSync(UNIT);
    systemd.systemctl('daemon-reload');
    systemd.systemctl('enable', '--now', 'kube-proxy');
    assert.match(install('--from', FROM), /the service still runs what was there before/);
    configure();
    systemd.systemctl('restart', 'kube-proxy');
    await serving();

    assert.match(install('--uninstall'), /rules that kube-proxy made are still in force/);
    assert.ok(nftables!.isServing());
    assert.is(readFileSync(PROGRAM, 'utf8'), other);
    assert.is(sha256(readFileSync(UNIT)), sha256(unit));
    await until(() => systemd.log('kube-proxy').endsWith('the other\n'), 'the other runs again');
    assert.is(systemd.systemctl('is-active', 'kube-proxy').status, 0);
    assert.is(systemd.systemctl('is-enabled', 'kube-proxy').stdout.trim(), 'enabled');
  });
}

test.run();

/** Why this host's folders cannot be covered; "" if they are now. */
function coverProblem(): string {
  try {
    coverFolders(COVERED);
    mkdirSync('/etc/systemd/system', { recursive: true });
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}
