/** The disk side of --config: reading the file, with a fault that says what to do about it. */
import { readFile, stat } from 'node:fs/promises';

/** A ConfigMap holds at most 1 MiB. */
const LARGEST_BYTES = 4 * 1024 * 1024;

/** Rejects with an error (KP_CONFIG) that names the file and the remedy. */
export async function readConfigFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > LARGEST_BYTES) throw new Error(`it has ${size} bytes, more than ${LARGEST_BYTES}`);
    return await readFile(path, 'utf8');
  } catch (error) {
    throw Object.assign(new Error(`${path}: ${reason(error)}`), { code: 'KP_CONFIG' });
  }
}

function reason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'does not exist; give the file of a KubeProxyConfiguration';
  if (code === 'EISDIR') return 'is a folder; give the file in it that holds the KubeProxyConfiguration';
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read by this user; change its permissions or its owner';
  return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
}
