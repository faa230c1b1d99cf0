/**
 * The container image, without a container runtime: what the Dockerfile collects is collected here by the same script,
 * for both architectures, examined, and for this machine's run in, as a container with a read-only root would.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { insideIsolation } from '../../build/isolate.ts';
import { isolateTests } from '../netns/isolated.ts';
import { skip } from '../skip.ts';
import { until } from './booted-systemd.ts';
import { parseDockerfile } from './dockerfile.ts';
import { type ElfFile, readElf } from './elf.ts';
import { program, ROOT } from './program.ts';
import { pathsBelow, snapshot } from './release-folder.ts';
import { EXAMPLES, SERVED_BACKENDS } from './served-backends.ts';

const FOLDER = join(ROOT, 'release', 'docker');
const ARCHITECTURES = { amd64: 'x64', arm64: 'arm64' } as const;
type Name = keyof typeof ARCHITECTURES;
const NATIVE: Name = process.arch === 'arm64' ? 'arm64' : 'amd64';
/** Where it is mounted to be run in. */
const IMAGE = '/run/image';
/** MB beside the program; arm64 aligns its libraries to 64 KiB. */
const LARGEST: Readonly<Record<Name, number>> = { amd64: 10, arm64: 15 };

/** Debian is only reached from outside the private network, so that collecting comes before it. */
if (!insideIsolation()) {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-image-test-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  process.env.KUBE_PROXY_TEST_COLLECTED = JSON.stringify({ folder, problem: collectAll(folder) });
}
await isolateTests(['iptables', 'nftables']);
const { folder, problem } = JSON.parse(process.env.KUBE_PROXY_TEST_COLLECTED ?? '{}') as Collected;
const test = suite('container image');
const kubeProxy = program();

interface Collected {
  readonly folder: string;
  /** Why nothing could be collected; "" if all was. */
  readonly problem: string;
}

const dockerfile = parseDockerfile(readFileSync(join(FOLDER, 'Dockerfile'), 'utf8'));
const last = dockerfile.stages.at(-1)!;
const all = dockerfile.stages.flatMap(({ instructions }) => instructions);

test('the Dockerfile ends from scratch, and takes nothing from the network but a Debian to collect in', () => {
  assert.is(last.base, 'scratch');
  const names = dockerfile.stages.map(({ name }) => name);
  for (const { base, name } of dockerfile.stages) {
    assert.match(base, /^(scratch|\$\{COLLECTOR\}|program-\$\{TARGETARCH\})$/, name);
  }
  for (const name of Object.keys(ARCHITECTURES)) assert.ok(names.includes(`program-${name}`), name);
  assert.equal(
    all.filter((each) => ['ADD', 'VOLUME', 'ONBUILD', 'SHELL'].includes(each.name)),
    [],
  );
  const runs = dockerfile.stages.flatMap((stage) =>
    stage.instructions.filter((each) => each.name === 'RUN').map((each) => [stage.name, each.words.join(' ')]),
  );
  assert.equal(runs, [['collected', 'sh /collect.sh "$TARGETARCH" /collected "$DEBIAN"']]);
});

test('the Debian to collect in is an argument, which may carry a digest, and otherwise is that of the libraries', () => {
  const { COLLECTOR = '', ...others } = dockerfile.globals;
  assert.equal(Object.keys(others), ['DEBIAN']);
  assert.is(COLLECTOR.replace(/\$\{DEBIAN\}/, 'SUITE'), 'debian:SUITE-slim');
  const collected = dockerfile.stages.find(({ name }) => name === 'collected');
  assert.match(
    collected?.base ?? '',
    /^\$\{COLLECTOR\}$/,
    'nothing is added to it, so that a digest can stand at its end',
  );
});

test('what the Dockerfile copies is there, is let through to the builder, and nothing else is', () => {
  const copied = all.filter(({ name, flags }) => name === 'COPY' && flags.from === undefined);
  const sources = copied.flatMap(({ words }) => words.slice(0, -1));
  const programs = Object.values(ARCHITECTURES).map((arch) => `dist/kube-proxy-linux-${arch}`);
  const built = [...programs, 'dist/THIRD-PARTY-NOTICES'];
  for (const source of sources) assert.ok(built.includes(source) || existsSync(join(ROOT, source)), source);
  const [nothing, ...allowed] = readFileSync(join(FOLDER, 'Dockerfile.dockerignore'), 'utf8').trim().split('\n');
  assert.is(nothing, '*');
  const matches = (pattern: string, source: string): boolean =>
    new RegExp(`^${pattern.slice(1).replaceAll('.', '\\.').replaceAll('*', '[^/]*')}$`).test(source);
  for (const source of sources)
    assert.ok(
      allowed.some((pattern) => matches(pattern, source)),
      source,
    );
  for (const pattern of allowed)
    assert.ok(
      sources.some((source) => matches(pattern, source)),
      pattern,
    );
  const stages = dockerfile.stages.map(({ name }) => name);
  for (const { name, flags } of all) if (name === 'COPY' && flags.from) assert.ok(stages.includes(flags.from));
});

test('the image starts the program as root by its path, says what it is, and holds no secrets', () => {
  const one = (name: string): readonly string[] => {
    const found = last.instructions.filter((each) => each.name === name);
    assert.is(found.length, 1, name);
    return found[0]!.words;
  };
  assert.equal(one('USER'), ['0:0']);
  assert.equal(one('ENTRYPOINT'), ['/usr/local/bin/kube-proxy']);
  const copied = last.instructions.filter(({ name }) => name === 'COPY').map(({ words }) => words.at(-1));
  for (const path of [
    'local/bin/kube-proxy',
    'share/doc/kube-proxy/copyright',
    'share/doc/kube-proxy/THIRD-PARTY-NOTICES',
  ])
    assert.ok(copied.includes(`/usr/${path}`), path);
  const labels = one('LABEL').map((label) => label.split('=')[0]);
  for (const name of ['title', 'description', 'licenses', 'version', 'revision']) {
    assert.ok(labels.includes(`org.opencontainers.image.${name}`), name);
  }
  // `docker history` shows both.
  const variables = all.filter(({ name }) => name === 'ARG' || name === 'ENV').flatMap(({ words }) => words);
  for (const word of [...variables, ...Object.keys(dockerfile.globals)])
    assert.not.match(word, /token|secret|passw|credential|key/i);
});

if (problem) skip('what the image holds', problem);
else {
  for (const name of Object.keys(ARCHITECTURES) as Name[]) testContent(name);
  testRunning();
}

const running = new Set<ChildProcess>();
test.after(() => {
  for (const child of running) child.kill('SIGKILL');
});
test.run();

function testContent(name: Name): void {
  const root = join(folder, name);
  const arch = ARCHITECTURES[name];
  const files = filesOf(root);
  const libraries = join(root, 'usr/lib', arch === 'x64' ? 'x86_64-linux-gnu' : 'aarch64-linux-gnu');

  test(`${name}: every library that something in it loads is there, for that machine, and no library more`, () => {
    const inside = files.flatMap((file) => readElf(file) ?? []);
    const outside = programsOf(arch);
    console.log(
      `# ${name}: ${inside.length} programs and libraries, and ${outside.map(({ what }) => what).join(', ')}`,
    );
    const elves: readonly ElfFile[] = [...inside, ...outside.map(({ elf }) => elf)];
    assert.ok(inside.length > 80, 'extensions of iptables');
    for (const { machine } of elves) assert.is(machine, arch);
    const loaders = new Set(elves.map(({ interpreter }) => interpreter).filter((path) => path !== ''));
    assert.is(loaders.size, 1);
    const [loader = ''] = loaders;
    assert.ok(existsSync(join(root, dirname(loader).slice(1), basename(loader))), loader);

    const needed = new Set(elves.flatMap((elf) => elf.needed));
    for (const library of needed) assert.ok(existsSync(join(libraries, library)), library);
    const names = readdirSync(libraries).filter((file) => file.includes('.so'));
    const reached = new Set(
      [...needed, basename(loader)].flatMap((each) => [each, basename(realpathSync(join(libraries, each)))]),
    );
    assert.equal(
      names.filter((each) => !reached.has(each)),
      [],
    );
  });

  test(`${name}: there is no shell, nothing that gives privileges away, and nothing that others can write to`, () => {
    const programs = ['bin', 'sbin', 'local/bin'].flatMap((each) => readdirSync(join(root, 'usr', each)));
    assert.ok(programs.includes('iptables-legacy-restore') && programs.includes('ip6tables-nft-save'));
    assert.equal(
      programs.filter((each) => !/^(ip6?tables|xtables-(nft|legacy)-multi$)/.test(each)),
      [],
    );
    for (const path of pathsBelow(root)) {
      const { mode, uid, gid } = lstatSync(join(root, path));
      if (lstatSync(join(root, path)).isSymbolicLink()) continue;
      assert.is(mode & 0o6000, 0, path);
      assert.is((mode & 0o002) !== 0, path === 'tmp' || path === 'var/tmp', path);
      assert.equal([uid, gid], [0, 0], path);
    }
  });

  test(`${name}: scanners find its packages, and each has its licence`, () => {
    const packages = readdirSync(join(root, 'var/lib/dpkg/status.d'));
    for (const needed of ['iptables', 'libc6', 'libstdc++6']) assert.ok(packages.includes(needed), needed);
    for (const each of packages) {
      const text = readFileSync(join(root, 'var/lib/dpkg/status.d', each), 'utf8');
      assert.match(text, new RegExp(`^Architecture: (${name}|all)$`, 'm'));
      assert.match(text, /^Version: \S/m);
      assert.ok(readFileSync(join(root, 'usr/share/doc', each, 'copyright'), 'utf8').length > 100, each);
    }
    assert.match(readFileSync(join(root, 'etc/os-release'), 'utf8'), /^ID=debian$/m);
  });

  test(`${name}: beside the program it is small`, () => {
    const bytes = files.reduce((sum, file) => sum + lstatSync(file).size, 0);
    console.log(`# ${name}: ${(bytes / 1e6).toFixed(1)} MB beside the program`);
    assert.ok(bytes < LARGEST[name] * 1e6, `${bytes}`);
  });
}

function testRunning(): void {
  const enter = mountImage();

  test('collecting again gives the same files, as old as before', () => {
    const again = join(folder, 'again');
    assert.equal(snapshot(again), snapshot(join(folder, NATIVE)));
    for (const file of filesOf(again)) assert.is(lstatSync(file).mtimeMs, 0, file);
  });

  test('in it, with its root read-only, the program says its version and prints rules', () => {
    const version = run(enter('version'));
    assert.is(version.status, 0, version.stderr);
    assert.match(version.stdout, /^kube-proxy \d+\.\d+\.\d+/);
    for (const backend of ['iptables', 'nftables']) {
      const flags = ['render', '--backend', backend, '--hostname-override=node', '--manifests'];
      const inside = run(enter(...flags, '/manifests'));
      assert.is(inside.status, 0, inside.stderr);
      assert.ok(inside.stdout.includes('10.96.0.10'));
      assert.is(inside.stdout, run([...kubeProxy.command, ...flags, EXAMPLES]).stdout);
    }
  });

  test('in it are both variants of iptables', () => {
    for (const [variant, inBrackets] of [
      ['-nft', 'nf_tables'],
      ['-legacy', 'legacy'],
      ['', 'nf_tables'],
    ]) {
      for (const family of ['iptables', 'ip6tables']) {
        const { stdout } = run(['chroot', IMAGE, `/usr/sbin/${family}${variant}-restore`, '--version']);
        assert.match(stdout, new RegExp(`v1\\.8\\.\\d+ \\(${inBrackets}\\)`), `${family}${variant}`);
      }
    }
  });

  for (const backend of SERVED_BACKENDS) {
    test(`in it ${backend.title} serves, and started again finds its own rules right`, async () => {
      const cleanup = run(enter('cleanup'));
      assert.is(cleanup.status, 0, cleanup.stderr);
      assert.not(backend.isServing());
      const flags = ['--manifests=/manifests', '--hostname-override=node', '--healthz-bind-address=0', '-v2'];
      for (const [count, said] of [/ Synced backend/g, / Synced; nothing had to change/g].entries()) {
        const log = await serveOnce(enter(...flags, '--metrics-bind-address=0', '--oom-score-adj=0', ...backend.flags));
        assert.is(log.match(said)?.length, 2, `start ${count + 1}: ${log}`);
        assert.not.match(log, /^[WE]\d{4} /m);
        assert.ok(backend.isServing());
      }
    });
  }
}

/** Collects in the folders amd64, arm64 and, once more, again. Returns why it cannot be done here; "" if it was. */
function collectAll(into: string): string {
  if (process.getuid?.() !== 0) return 'only root can own what an image holds';
  for (const [name, arch] of [
    ['amd64', 'amd64'],
    ['arm64', 'arm64'],
    ['again', NATIVE],
  ]) {
    const script = join(FOLDER, 'collect.sh');
    const { status, stderr, error } = spawnSync('sh', [script, arch!, join(into, name!)], { encoding: 'utf8' });
    if (status === 3) return `Debian cannot be reached: ${stderr.trim().split('\n').at(-1)}`;
    if (status !== 0) {
      console.error(`collect.sh ${arch} failed: ${stderr || error?.message}`);
      process.exit(1);
    }
  }
  return '';
}

/** What runs in the image and is not of Debian: the program, else what it will be made of. */
function programsOf(arch: 'x64' | 'arm64'): readonly { readonly what: string; readonly elf: ElfFile }[] {
  const packed = join(ROOT, 'dist', `kube-proxy-linux-${arch}`);
  const node = join(ROOT, 'node_modules', `node-linux-${arch}`, 'bin', 'node');
  const koffi = globSync(join(ROOT, 'node_modules', '@koromix', `koffi-linux-${arch}`, 'linux_*', 'koffi.node'));
  return [existsSync(packed) ? packed : node, ...koffi].flatMap((file) => {
    const elf = existsSync(file) ? readElf(file) : undefined;
    return elf ? [{ what: file.replace(`${ROOT}/`, ''), elf }] : [];
  });
}

/** The root of a container: the image read-only, what Kubernetes mounts, and the program. Returns how to run it there. */
function mountImage(): (...args: readonly string[]) => readonly string[] {
  const mount = (...args: readonly string[]): void => {
    const { status, stderr } = run(['mount', ...args]);
    if (status !== 0) throw new Error(`mount ${args.join(' ')}: ${stderr}`);
  };
  const [upper, work] = ['/run/image-upper', '/run/image-work'];
  for (const each of [IMAGE, upper, work]) mkdirSync(each!);
  mount('-t', 'overlay', 'overlay', '-o', `lowerdir=${join(folder, NATIVE)},upperdir=${upper},workdir=${work}`, IMAGE);
  // Mount points, which a container runtime makes before it makes the root read-only.
  cpSync(EXAMPLES, join(IMAGE, 'manifests'), { recursive: true });
  writeFileSync('/run/xtables.lock', '');
  writeFileSync(join(IMAGE, 'run/xtables.lock'), '');
  const sources = kubeProxy.isPacked ? [] : [ROOT, dirname(process.execPath)];
  for (const each of sources) mkdirSync(join(IMAGE, each), { recursive: true });
  if (kubeProxy.isPacked) copyFileSync(kubeProxy.file, join(IMAGE, 'usr/local/bin/kube-proxy'));
  mount('-o', 'remount,ro', IMAGE);
  mount('-t', 'proc', 'proc', join(IMAGE, 'proc'));
  mount('--rbind', '/dev', join(IMAGE, 'dev'));
  mount('-t', 'tmpfs', 'tmpfs', join(IMAGE, 'tmp'));
  mount('--bind', '/run/xtables.lock', join(IMAGE, 'run/xtables.lock'));
  for (const each of sources) mount('--bind', each, join(IMAGE, each));
  const command = kubeProxy.isPacked ? ['/usr/local/bin/kube-proxy'] : kubeProxy.command;
  const environment = ['env', '-i', 'PATH=/usr/local/bin:/usr/sbin:/usr/bin'];
  // env(1) is the host's: the image has none.
  return (...args) => [...environment, which('chroot'), IMAGE, ...command, ...args];
}

/** Until it is ready, then SIGTERM. Resolves with the log. */
async function serveOnce([file = '', ...args]: readonly string[]): Promise<string> {
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += chunk;
  });
  const ended = once(child, 'close').then(() => running.delete(child));
  await until(
    () => / Ready /.test(log) || !running.has(child),
    () => `not ready: ${log}`,
  );
  child.kill('SIGTERM');
  await ended;
  assert.is(child.exitCode, 0, log);
  return log;
}

function filesOf(root: string): readonly string[] {
  return pathsBelow(root)
    .map((name) => join(root, name))
    .filter((path) => lstatSync(path).isFile());
}

function run([file = '', ...args]: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  return { status, stdout: stdout ?? '', stderr: stderr ?? '' };
}

function which(name: string): string {
  return run(['sh', '-c', 'command -v "$1"', 'sh', name]).stdout.trim();
}
