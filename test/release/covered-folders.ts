/**
 * Folders of the host as they are, and yet writable without the host noticing: what is written goes to memory, and with
 * the test's private mounts. For tests of what an operator does as root without any --root.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { insideIsolation } from '../../build/isolate.ts';

const LAYERS = '/run/test-layers';

/** Throws where this is not the test's own mount namespace, or the kernel has no overlayfs. */
export function coverFolders(folders: readonly string[]): void {
  if (!insideIsolation()) throw new Error('this would change the host; call isolateTests first');
  const [inside, outside] = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/);
  if (inside !== '0' || outside !== '0') throw new Error('root of a user namespace cannot write to what is covered');
  for (const folder of folders) {
    const [upper, work] = ['upper', 'work'].map((layer) => join(LAYERS, layer, folder.replaceAll('/', '-')));
    mkdirSync(upper!, { recursive: true });
    mkdirSync(work!, { recursive: true });
    const options = `lowerdir=${folder},upperdir=${upper},workdir=${work}`;
    const mount = spawnSync('mount', ['-t', 'overlay', 'overlay', '-o', options, folder], { encoding: 'utf8' });
    if (mount.status !== 0) throw new Error(`${folder} cannot be covered: ${(mount.stderr ?? '').trim()}`);
  }
}
