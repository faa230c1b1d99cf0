/**
 * What `npm run build` leaves in dist/: the same bytes from the same sources, sums that fit, a true list of contents, and
 * the licences that go with them.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bundle } from '../../build/bundle.ts';
import { ARCHITECTURES, makeExecutable } from '../../build/executable.ts';
import { carriedBy, thirdPartyNotices } from '../../build/notices.ts';
import lock from '../../package-lock.json' with { type: 'json' };
import { DIST, EXECUTABLE, ROOT, run } from './executable.ts';

const test = suite('build');
const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
const NAME = `kube-proxy-linux-${process.arch}`;
const MODULES = join(ROOT, 'node_modules');
const readJson = (name: string): unknown => JSON.parse(readFileSync(join(DIST, name), 'utf8'));

interface Part {
  readonly name: string;
  readonly 'bom-ref': string;
  readonly version?: string;
  readonly purl?: string;
  readonly components?: readonly Part[];
}

interface Bom {
  readonly metadata: { readonly component: { readonly hashes: readonly { readonly content: string }[] } };
  readonly components: readonly Part[];
}

/** Asked for by files that are not taken, or in part. */
const LEFT_OUT = [
  ...['form-data', 'isomorphic-ws', 'stream-buffers', 'tar-fs', 'undici', 'ws'].map(
    (name) => `@kubernetes/client-node ▶ ${name}`,
  ),
  'js-yaml ▶ argparse',
  'openid-client ▶ jose',
  'prom-client ▶ @opentelemetry/api',
  'prom-client ▶ tdigest',
];

test('two builds, in folders of other names, have the same bytes', async () => {
  const sums: string[] = [];
  for (const _ of [1, 2]) {
    const folder = mkdtempSync(join(DIST, '.test-'));
    try {
      const bundled = await bundle({ folder, commit: 'the same' });
      const output = join(folder, 'kube-proxy');
      const architecture = process.arch === 'arm64' ? 'arm64' : 'x64';
      await makeExecutable({ bundle: bundled, architecture, output, folder });
      sums.push(sha256(output));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  assert.is(sums[0], sums[1]);
});

test('SHA256SUMS names every file beside it, as sha256sum reads it', () => {
  const { status, stdout } = run(['sha256sum', '--check', '--strict', 'SHA256SUMS'], { cwd: DIST });
  assert.is(status, 0, stdout);
  const named = stdout
    .trim()
    .split('\n')
    .map((line) => line.replace(/: OK$/, ''));
  const there = readdirSync(DIST).filter((file) => !file.startsWith('.') && file !== 'SHA256SUMS');
  assert.equal(named.sort(), there.sort());
});

test('the executable is stripped and can be run by everyone, and by its owner alone be changed', () => {
  const { stdout } = run(['sh', '-c', `stat -c %a ${EXECUTABLE}; readelf -S ${EXECUTABLE} 2>&1 | grep -c '\\.symtab'`]);
  assert.is(stdout, '755\n0\n');
});

test('the bill of materials is valid CycloneDX, and its digest is that of the executable', async () => {
  const text = readFileSync(join(DIST, `${NAME}.cdx.json`), 'utf8');
  const faults = await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text);
  assert.is(faults, null, JSON.stringify(faults)?.slice(0, 1000));
  const bom = JSON.parse(text) as Bom;
  assert.is(bom.metadata.component.hashes[0]?.content, sha256(EXECUTABLE));
  const versionOf = (name: string): string | undefined => bom.components.find((part) => part.name === name)?.version;
  assert.is(versionOf('node'), process.versions.node);
  assert.is(versionOf('openssl'), process.versions.openssl);
  const packages: Readonly<Record<string, { readonly version?: string }>> = lock.packages;
  for (const name of ['yaml', 'prom-client', '@kubernetes/client-node', `@koromix/koffi-linux-${process.arch}`]) {
    assert.is(versionOf(name), packages[`node_modules/${name}`]?.version, name);
  }
  assert.is(versionOf('typescript'), undefined);
  for (const { name, version } of bom.components) assert.match(version ?? '', /^\S+$/, name);
  const carrier = bom.components.find(({ name }) => name === 'jsonpath-plus');
  assert.ok(carrier?.components?.some(({ name }) => name === 'jsep'));
});

test('of what Node.js is made of, the bill of materials has what is in this one, and nothing else', () => {
  const parts = (readJson(`${NAME}.cdx.json`) as Bom).components.filter((part) => part['bom-ref'].startsWith('node:'));
  const isThing = ([name, version = '']: readonly [string, string | undefined]): boolean =>
    version !== '' && !['node', 'modules', 'napi', 'unicode', 'cldr', 'tz'].includes(name);
  const there = Object.entries(process.versions).filter(isThing);
  assert.ok(there.length > 15);
  assert.equal(parts.map(({ name, version }) => [name, version]).sort(), there.sort());
});

test('dist has our licence, and the texts of the licences of all that the bill of materials names', () => {
  assert.is(readFileSync(join(DIST, 'LICENSE'), 'utf8'), readFileSync(join(ROOT, 'LICENSE'), 'utf8'));
  const notices = readFileSync(join(DIST, 'THIRD-PARTY-NOTICES'), 'utf8');
  const titles = [...notices.matchAll(/^={80}\n(.+)\n={80}$/gm)].map(([, title]) => title);
  assert.is(titles.length, new Set(titles).size);
  const has = (title: string, licence: string): void => {
    assert.ok(titles.includes(title), title);
    const [, text = ''] = notices.split(`${title}\n${'='.repeat(80)}\n`);
    assert.ok(
      text.split('='.repeat(80))[0]!.includes(readFileSync(join(ROOT, 'node_modules', licence), 'utf8').trim()),
    );
  };
  has(`Node.js ${process.versions.node}`, `node-linux-${process.arch}/LICENSE`);
  has(`koffi ${lock.packages['node_modules/koffi'].version}`, 'koffi/LICENSE.txt');
  has('koffi/vendor/node-addon-api', 'koffi/vendor/node-addon-api/LICENSE.md');
  const packages = (readJson(`${NAME}.cdx.json`) as Bom).components.filter(({ purl }) => purl?.startsWith('pkg:npm/'));
  assert.ok(packages.length > 10);
  for (const { name, version, components = [] } of packages) {
    if (name.startsWith('@koromix/koffi-')) continue;
    const licence = (of: string): string =>
      globSync(`${of}/{LICENSE,LICENSE.md,license.md}`, { cwd: MODULES })[0] ?? '';
    has(`${name} ${version}`, licence(name));
    for (const inside of components) has(`${inside.name}, in ${name} ${version}`, licence(inside.name));
  }
});

test('the notices are the same for the same packages, and a package without a licence ends the build by its name', () => {
  const packages = ['node_modules/jsonpath-plus', 'node_modules/yaml'];
  assert.is(thirdPartyNotices(ROOT, packages), thirdPartyNotices(ROOT, packages));
  const root = mkdtempSync(join(DIST, '.test-'));
  try {
    const folder = join(root, 'node_modules', '@scope', 'bare');
    mkdirSync(folder, { recursive: true });
    symlinkSync(join(MODULES, 'koffi'), join(root, 'node_modules', 'koffi'));
    writeFileSync(join(folder, 'package.json'), '{ "name": "@scope/bare", "version": "1.2.3" }');
    const attempt = (): string => thirdPartyNotices(root, ['node_modules/@scope/bare']);
    assert.throws(attempt, /^notices: @scope\/bare 1\.2\.3 has no licence text in /);
    writeFileSync(join(folder, 'LICENCE.txt'), '\n');
    assert.throws(attempt, /^notices: @scope\/bare 1\.2\.3 has no licence text in /);
    writeFileSync(join(folder, 'LICENCE.txt'), 'do as you please\r\n');
    writeFileSync(join(folder, 'NOTICE'), 'made by somebody\n');
    assert.match(attempt(), '\n@scope/bare 1.2.3\n');
    assert.ok(attempt().endsWith('\n\ndo as you please\n\nmade by somebody\n'));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test('each package that one of the bundle depends on is in it, too, inside that one, or known to be left out', async () => {
  const folder = mkdtempSync(join(DIST, '.test-'));
  try {
    const { packages } = await bundle({ folder, commit: '' });
    const left = packages.flatMap((carrier) => {
      const { dependencies = {} } = JSON.parse(readFileSync(join(ROOT, carrier, 'package.json'), 'utf8')) as {
        readonly dependencies?: Readonly<Record<string, string>>;
      };
      const there = [...packages, ...carriedBy(carrier)];
      const names = Object.keys(dependencies).filter((name) => !there.includes(`node_modules/${name}`));
      return names.map((name) => `${carrier.replace('node_modules/', '')} ▶ ${name}`);
    });
    // Of a new one here, look whether the other has it in a file of its own.
    assert.equal(left.filter((each) => !each.includes(' ▶ @types/')).sort(), LEFT_OUT);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the page for nodes names the C and C++ libraries that the executables need, and no newer ones', () => {
  const page = readFileSync(join(ROOT, 'release', 'docs', 'node.md'), 'utf8');
  const [, glibc = '', glibcxx = ''] = /glibc (\S+) or newer, libstdc\+\+ with GLIBCXX_(\S+) or newer/.exec(page) ?? [];
  for (const architecture of ARCHITECTURES) {
    const program = join(DIST, `kube-proxy-linux-${architecture}`);
    if (!existsSync(program)) continue;
    const koffi = globSync(join(MODULES, '@koromix', `koffi-linux-${architecture}`, 'linux_*', 'koffi.node'));
    const { stdout } = run(['readelf', '--version-info', program, ...koffi], { maxBuffer: 1 << 26 });
    const newest = (prefix: string): string =>
      [...stdout.matchAll(new RegExp(`\\b${prefix}_([0-9.]+)`, 'g'))]
        .map(([, version]) => version!)
        .sort(byNumbers)
        .at(-1) ?? '';
    assert.equal([newest('GLIBC'), newest('GLIBCXX')], [glibc, glibcxx], architecture);
  }
});

test('every package of which code is in the executable is in the list', async () => {
  const listed = readFileSync(join(DIST, `${NAME}.cdx.json`), 'utf8');
  const folder = mkdtempSync(join(DIST, '.test-'));
  try {
    const { main, assets } = await bundle({ folder, commit: '' });
    const text = [main, ...Object.values(assets)].map((file) => readFileSync(file, 'utf8')).join('\n');
    // esbuild begins what it takes from a file with the name of that file.
    const taken = text.matchAll(/^\s*(?:\/\/ |")node_modules\/((?:@[^/\s]+\/)?[^/\s]+)\/[^"\s]+/gm);
    const names = new Set([...taken].map(([, name = '']) => name));
    assert.ok(names.size > 10, `${names.size} packages`);
    for (const name of names) assert.ok(listed.includes(`"name": "${name}"`), name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a build says which architectures there are when it is asked for another', () => {
  const { status, stderr } = run([process.execPath, join(ROOT, 'build', 'build.ts'), 'mips']);
  assert.is(status, 2);
  assert.match(stderr, 'build: there is no architecture "mips"; give x64, arm64 or all');
});

test('the man page lies beside it', () => {
  assert.ok(existsSync(join(DIST, 'kube-proxy.8')));
});

test.run();

/** 2.9 before 2.28. */
function byNumbers(a: string, b: string): number {
  const [first, second] = [a, b].map((version) => version.split('.').map(Number));
  const at = first!.findIndex((number, index) => number !== second![index]);
  return at < 0 ? first!.length - second!.length : first![at]! - (second![at] ?? -1);
}
