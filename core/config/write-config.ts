/** --write-config-to: the configuration in force as a file that --config can name. */
import { chmod, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { KubeProxyConfiguration } from './configuration.ts';
import { printConfiguration } from './external.ts';

/** Whole or not at all: who reads the file meanwhile has the old one. Rejects with an error that names the file. */
export async function writeConfigFile(path: string, configuration: KubeProxyConfiguration): Promise<void> {
  const text = printConfiguration(configuration);
  // A device or a pipe is written to; a file in its place would be a surprise.
  const isSpecial = await stat(path).then(
    (stats) => !stats.isFile() && !stats.isDirectory(),
    () => false,
  );
  if (isSpecial) return writeFile(path, text);
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  try {
    await writeFile(temporary, text);
    // There is nothing secret in it, and who runs with --config later may be another user.
    await chmod(temporary, 0o644);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${path}: cannot be written (${reason}); give a file in a folder that exists and may be written`);
  }
}
