/**
 * The program that the tests of the release run: the packed executable where it has been built from these very sources,
 * otherwise a stand-in of the same behaviour, Node.js on core/main.ts. Says which; KUBE_PROXY_PROGRAM names another.
 */
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'core', 'main.ts');
/** What goes into the executable. */
const SOURCES = ['core', 'plugins', 'build', 'release/sdk', 'package.json', 'package-lock.json'];

export interface Program {
  /** An executable file. The stand-in needs the sources, Node.js and a shell where they are now. */
  readonly file: string;
  readonly isPacked: boolean;
  /** The words that run it where there is no shell: the stand-in is then Node.js with the path of its sources. */
  readonly command: readonly [file: string, ...args: readonly string[]];
}

let chosen: Program | undefined;

export function program(): Program {
  if (chosen) return chosen;
  const packed = process.env.KUBE_PROXY_PROGRAM || join(ROOT, 'dist', `kube-proxy-linux-${process.arch}`);
  const fault = process.env.KUBE_PROXY_PROGRAM ? '' : whyNot(packed);
  console.log(fault === '' ? `# the program is ${packed}` : `# the program is a stand-in: ${fault}`);
  chosen = fault === '' ? { file: packed, isPacked: true, command: [packed] } : standIn();
  return chosen;
}

function whyNot(packed: string): string {
  const builtMs = changedMs(packed);
  if (builtMs === undefined) return `${packed} has not been built (npm run build)`;
  for (const source of SOURCES) {
    const newest = newestBelow(join(ROOT, source));
    if (newest && newest.ms > builtMs) return `${packed} is older than ${newest.file}`;
  }
  return '';
}

function standIn(): Program {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-stand-in-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const file = join(folder, 'kube-proxy');
  const quoted = [process.execPath, MAIN].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  writeFileSync(file, `#!/bin/sh\nexec ${quoted} "$@"\n`, { mode: 0o755 });
  return { file, isPacked: false, command: [process.execPath, MAIN] };
}

function newestBelow(path: string): { readonly file: string; readonly ms: number } | undefined {
  const files = [path];
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    files.push(...readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name)));
  }
  let newest: { file: string; ms: number } | undefined;
  for (const file of files) {
    const ms = changedMs(file);
    if (ms !== undefined && (newest === undefined || ms > newest.ms)) newest = { file, ms };
  }
  return newest;
}

/** Undefined for what is no file: folders change whenever an editor leaves a file of its own in them. */
function changedMs(file: string): number | undefined {
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats?.isFile() ? stats.mtimeMs : undefined;
}
