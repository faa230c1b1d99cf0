/**
 * The disk side of manifests: which files there are, and what they hold. No parsing.
 *
 * A folder's manifests are its *.yaml, *.yml and *.json, one level deep; hidden ones are not. Symbolic links are
 * followed, so that a mounted ConfigMap (web.yaml → ..data/web.yaml, ..data → ..2025_11_23…) reads as its target.
 */
import type { BigIntStats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { compareBytes } from './catalog.ts';

export interface ManifestFile {
  /** As the operator would write it: the path given, and the name. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Differs whenever the file may have other content, even with its size and time put back. */
  readonly fingerprint: string;
}

export interface ManifestFiles {
  /** In byte order. */
  readonly files: readonly ManifestFile[];
  /** The folder to watch: an editor replaces a file, so that watching the file itself would watch the old one. */
  readonly folder: string;
  /** Changes when another folder takes that path. */
  readonly folderIdentity: string;
}

export const LARGEST_MANIFEST_BYTES = 64 * 1024 * 1024;

/** A fault of the manifests that the operator must mend. The message has one line per fault. */
export function manifestError(problems: readonly string[]): Error {
  return Object.assign(new Error(problems.join('\n')), { code: 'KP_MANIFEST' });
}

/** Rejects (KP_MANIFEST) when the path itself, or the folder of a path to a file, cannot be read. */
export async function listManifests(path: string): Promise<ManifestFiles> {
  try {
    const target = await stat(path, { bigint: true });
    if (!target.isDirectory() && !target.isFile()) throw new Error('it is neither');
    if (!target.isDirectory()) return await listOne(path, target);
    const files: ManifestFile[] = [];
    for (const name of (await readdir(path)).filter(isManifestName).sort(compareBytes)) {
      const file = join(path, name);
      const found = await look(file);
      if (found) files.push(found);
    }
    return { files, folder: path, folderIdentity: identityOf(target) };
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** A path that was a file and is missing now: no file, as long as its folder is still there. */
export async function listManifestFile(path: string): Promise<ManifestFiles> {
  try {
    return await listOne(path, await statUnlessMissing(path));
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Rejects (KP_MANIFEST) when the file is too large or cannot be read. */
export async function readManifest(file: ManifestFile): Promise<string> {
  if (file.sizeBytes > LARGEST_MANIFEST_BYTES) {
    throw manifestError([
      `${file.path}: has ${file.sizeBytes} bytes, more than the ${LARGEST_MANIFEST_BYTES} that are read; split it`,
    ]);
  }
  try {
    return await readFile(file.path, 'utf8');
  } catch (error) {
    throw unreadable(file.path, error);
  }
}

/** Which syntax a name announces; anything but .json is YAML. */
export function formatOf(path: string): 'yaml' | 'json' {
  return /\.json$/i.test(path) ? 'json' : 'yaml';
}

async function listOne(path: string, stats: BigIntStats | undefined): Promise<ManifestFiles> {
  const folder = dirname(path);
  const folderIdentity = identityOf(await stat(folder, { bigint: true }));
  return { files: stats ? [describe(path, stats)] : [], folder, folderIdentity };
}

/** One name in the folder; undefined when it is no file. What cannot even be looked at fails when it is read. */
async function look(path: string): Promise<ManifestFile | undefined> {
  try {
    const stats = await statUnlessMissing(path);
    return stats?.isFile() ? describe(path, stats) : undefined;
  } catch (error) {
    return { path, sizeBytes: 0, fingerprint: `fault: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function isManifestName(name: string): boolean {
  return !name.startsWith('.') && /\.(ya?ml|json)$/i.test(name);
}

/** Undefined for a file that is gone or a link that dangles, as happens while a ConfigMap is swapped. */
async function statUnlessMissing(path: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function describe(path: string, stats: BigIntStats): ManifestFile {
  const fingerprint = `${identityOf(stats)}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
  return { path, sizeBytes: Number(stats.size), fingerprint };
}

function identityOf(stats: BigIntStats): string {
  return `${stats.dev}:${stats.ino}`;
}

function unreadable(path: string, error: unknown): Error {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const reason = error instanceof Error ? error.message : String(error);
  if (code === 'ENOENT') return manifestError([`${path}: does not exist; give a file or a folder of manifests`]);
  if (code === 'EACCES' || code === 'EPERM') {
    return manifestError([`${path}: may not be read by this user; change its permissions or its owner`]);
  }
  return manifestError([`${path}: cannot be read (${reason}); give a file or a folder of manifests`]);
}
