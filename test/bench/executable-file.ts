/** The executable that benchmarks start: the one in dist/, built if there is none. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../..');

export function builtExecutable(): string {
  const file = join(ROOT, 'dist', `kube-proxy-linux-${process.arch}`);
  if (existsSync(file)) return file;
  const { status } = spawnSync(process.execPath, ['build/build.ts'], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${file} could not be built; type: npm run build`);
  return file;
}
