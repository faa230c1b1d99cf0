/** Folders as `npm run build` leaves them, with programs that a test can tell apart, and what they do to a tree. */
import { createHash } from 'node:crypto';
import { cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './program.ts';

export const INSTALLER = join(ROOT, 'release', 'install.sh');
const SERVICE = join(ROOT, 'release', 'systemd');

/** Programs that say this version and their architecture, a man page and licences; with a right SHA256SUMS. */
export function makeRelease(folder: string, version: string): string {
  mkdirSync(folder, { recursive: true });
  for (const arch of ['x64', 'arm64']) {
    const text = `#!/bin/sh\necho "kube-proxy ${version} (linux/${arch}) $*"\n`;
    writeFileSync(join(folder, `kube-proxy-linux-${arch}`), text, { mode: 0o755 });
  }
  writeFileSync(join(folder, 'kube-proxy.8'), `.TH KUBE-PROXY 8 "" "${version}"\n`);
  for (const name of ['LICENSE', 'THIRD-PARTY-NOTICES']) writeFileSync(join(folder, name), `${name} of ${version}\n`);
  cpSync(SERVICE, folder, { recursive: true });
  writeSums(folder);
  return folder;
}

export function writeSums(folder: string): void {
  const names = readdirSync(folder).filter((name) => name !== 'SHA256SUMS');
  const line = (name: string): string => `${sha256(readFileSync(join(folder, name)))}  ${name}\n`;
  writeFileSync(join(folder, 'SHA256SUMS'), names.map(line).join(''));
}

export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/**
 * Every file and link below a folder, by its path: mode and content. Two trees with equal snapshots are equal to whoever
 * uses them. `identity` adds what changes when a file is written again with the same content.
 */
export function snapshot(
  root: string,
  options: { readonly identity?: boolean } = {},
): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of pathsBelow(root)) {
    const path = join(root, name);
    const stats = lstatSync(path);
    if (stats.isDirectory()) continue;
    const content = stats.isSymbolicLink() ? `-> ${readlinkSync(path)}` : sha256(readFileSync(path));
    const identity = options.identity ? ` ${stats.ino} ${stats.mtimeMs}` : '';
    found[name] = `${(stats.mode & 0o7777).toString(8)} ${content}${identity}`;
  }
  return found;
}

/** Files, links and folders below one, relative to it, in order. Links to folders are links. */
export function pathsBelow(root: string): readonly string[] {
  // The `recursive` of readdir would follow them.
  return readdirSync(root, { withFileTypes: true })
    .flatMap((entry) => {
      const below = entry.isDirectory() ? pathsBelow(join(root, entry.name)) : [];
      return [entry.name, ...below.map((path) => join(entry.name, path))];
    })
    .sort();
}
