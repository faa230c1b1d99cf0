/** What `npm run build` leaves in dist/: the same bytes from the same sources, sums that fit, a true list of contents. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bundle } from '../../build/bundle.ts';
import { makeExecutable } from '../../build/executable.ts';
import lock from '../../package-lock.json' with { type: 'json' };
import { DIST, EXECUTABLE, ROOT, run } from './executable.ts';

const test = suite('build');
const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
const NAME = `kube-proxy-linux-${process.arch}`;

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
  const bom = JSON.parse(text) as {
    readonly metadata: { readonly component: { readonly hashes: readonly { readonly content: string }[] } };
    readonly components: readonly { readonly name: string; readonly version: string; readonly purl?: string }[];
  };
  assert.is(bom.metadata.component.hashes[0]?.content, sha256(EXECUTABLE));
  const versionOf = (name: string): string | undefined => bom.components.find((part) => part.name === name)?.version;
  assert.is(versionOf('node'), process.versions.node);
  assert.is(versionOf('openssl'), process.versions.openssl);
  const packages: Readonly<Record<string, { readonly version?: string }>> = lock.packages;
  for (const name of ['yaml', 'prom-client', '@kubernetes/client-node', `@koromix/koffi-linux-${process.arch}`]) {
    assert.is(versionOf(name), packages[`node_modules/${name}`]?.version, name);
  }
  assert.is(versionOf('typescript'), undefined);
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
