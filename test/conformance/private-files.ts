/** The files that were written in private namespaces: those of /run, and those of /etc and /var that differ from the host's. */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { insidePrivateNetwork, PRIVATE_LAYERS } from './private-network.ts';

/** Where it is seen, and what is in it. */
export type PrivateFiles = ReadonlyMap<string, string>;

/** Of programs, not of whoever runs them: iptables makes it and leaves it. */
const PASSED_OVER: readonly string[] = ['/run/xtables.lock'];
const MOST = 2000;

/** Empty where files are the host's own. */
export function privateFiles(): PrivateFiles {
  const found = new Map<string, string>();
  if (!insidePrivateNetwork() || lstatSync(PRIVATE_LAYERS, { throwIfNoEntry: false }) === undefined) return found;
  const walk = (folder: string, shown: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const [path, seen] = [join(folder, entry.name), join(shown, entry.name)];
      if (found.size >= MOST || path === PRIVATE_LAYERS || PASSED_OVER.includes(seen)) continue;
      if (entry.isDirectory()) walk(path, seen);
      else if (entry.isFile())
        found.set(seen, createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12));
      else if (entry.isSymbolicLink()) found.set(seen, `link to ${readlinkSync(path)}`);
      else found.set(seen, entry.isSocket() ? 'socket' : 'deleted, or no file');
    }
  };
  try {
    walk('/run', '/run');
    for (const folder of ['/etc', '/var']) {
      const upper = join(PRIVATE_LAYERS, folder, 'upper');
      if (lstatSync(upper, { throwIfNoEntry: false })) walk(upper, folder);
    }
  } catch {
    // Something went while it was looked at; what was found counts.
  }
  return found;
}

/** Takes away what was not there before. */
export function removePrivateFiles(before: PrivateFiles): void {
  for (const path of privateFiles().keys()) {
    if (!before.has(path)) rmSync(path, { force: true });
  }
}
