/**
 * `npm run build [-- x64 arm64]`: dist/kube-proxy-linux-ARCH for this machine's architecture, or for those named (all:
 * both), with the list of what is in it, and what installs it on a node: install.sh, the systemd unit with examples of
 * its files, the man page, the licences, and the checksums of all of that.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { bundle, ROOT } from './bundle.ts';
import { ARCHITECTURES, makeExecutable } from './executable.ts';
import { manPage } from './man-page.ts';
import { thirdPartyNotices } from './notices.ts';
import { billOfMaterials } from './sbom.ts';

const DIST = join(ROOT, 'dist');
const RELEASE = join(ROOT, 'release');

process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  const unknown = words.find((word) => word !== 'all' && !ARCHITECTURES.some((each) => each === word));
  if (unknown !== undefined) {
    console.error(`build: there is no architecture "${unknown}"; give ${ARCHITECTURES.join(', ')} or all`);
    return 2;
  }
  const wanted = words.length === 0 ? [process.arch] : words;
  const architectures = ARCHITECTURES.filter((each) => wanted.includes('all') || wanted.includes(each));
  mkdirSync(DIST, { recursive: true });
  const folder = mkdtempSync(join(DIST, '.build-'));
  try {
    const from = commit();
    const bundled = await bundle({ folder, commit: from });
    const { packages } = bundled;
    // A licence that is missing ends the build before anything is made.
    const notices = thirdPartyNotices(ROOT, packages);
    for (const architecture of architectures) {
      const name = `kube-proxy-linux-${architecture}`;
      const made = join(folder, name);
      await makeExecutable({ bundle: bundled, architecture, output: made, folder });
      const digest = sha256(made);
      const sbom = billOfMaterials({ architecture, commit: from, packages, versions: process.versions, digest });
      writeFileSync(join(folder, `${name}.cdx.json`), sbom);
      for (const file of [name, `${name}.cdx.json`]) renameSync(join(folder, file), join(DIST, file));
      console.log(`dist/${name}  ${(statSync(join(DIST, name)).size / 1e6).toFixed(1)} MB  sha256 ${digest}`);
    }
    for (const [name, text] of Object.entries({ 'kube-proxy.8': manPage(), 'THIRD-PARTY-NOTICES': notices })) {
      writeFileSync(join(folder, name), text);
      renameSync(join(folder, name), join(DIST, name));
    }
    const service = readdirSync(join(RELEASE, 'systemd')).map((name) => join(RELEASE, 'systemd', name));
    for (const file of [join(ROOT, 'LICENSE'), join(RELEASE, 'install.sh'), ...service]) {
      const name = basename(file);
      copyFileSync(file, join(folder, name));
      renameSync(join(folder, name), join(DIST, name));
    }
    const files = readdirSync(DIST).filter((name) => !name.startsWith('.') && name !== 'SHA256SUMS');
    const sums = files.sort().map((name) => `${sha256(join(DIST, name))}  ${name}\n`);
    writeFileSync(join(DIST, 'SHA256SUMS'), sums.join(''));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** What the sources are: a commit, with "-modified" if they are not quite that; "" where git does not say. */
function commit(): string {
  const git = (...args: readonly string[]): string =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '-modified');
  } catch {
    return '';
  }
}
