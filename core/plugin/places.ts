/**
 * Every place that a path leads through, with who may change it: the folders from "/" on, the links and where these
 * lead, and the file in the end. The way itself is walked, since the file's real path alone does not tell who could
 * make a link lead elsewhere.
 */
import { accessSync, constants, lstatSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pluginFault } from './fault.ts';
import type { Place } from './trust.ts';

export interface Way {
  readonly places: readonly Place[];
  /** Without links. */
  readonly realPath: string;
  readonly kind: 'file' | 'folder';
}

/** As many as the kernel follows (path_resolution(7)). */
const MOST_LINKS = 40;

/** Throws KP_PLUGIN_NOT_FOUND if it leads to neither a file nor a folder. `path` is absolute. */
export function wayTo(path: string): Way {
  const places: Place[] = [placeAt('/', path)];
  const ahead = namesOf(path);
  let at = '/';
  let links = 0;
  while (ahead.length > 0) {
    const name = ahead.shift()!;
    const next = name === '..' ? dirname(at) : join(at, name);
    const place = placeAt(next, path);
    places.push(place);
    if (place.kind !== 'link') {
      at = next;
      continue;
    }
    if (++links > MOST_LINKS)
      throw pluginFault('KP_PLUGIN_NOT_FOUND', `${path}: its links lead nowhere; give the file`);
    const target = readlinkSync(next);
    if (target.startsWith('/')) at = '/';
    ahead.unshift(...namesOf(target));
  }
  const kind = places.at(-1)?.kind === 'file' ? 'file' : 'folder';
  return { places: distinct(places), realPath: at, kind };
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

function distinct(places: readonly Place[]): readonly Place[] {
  return places.filter(({ path }, index) => places.findIndex((other) => other.path === path) === index);
}

function placeAt(path: string, wanted: string): Place {
  try {
    const stats = lstatSync(path);
    const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'folder' : stats.isSymbolicLink() ? 'link' : undefined;
    if (!kind) throw pluginFault('KP_PLUGIN_NOT_FOUND', `${wanted}: ${path} is no file; give the plugin's file`);
    const mode = stats.mode & 0o7777;
    const readOnly = kind !== 'link' && (mode & 0o022) !== 0 && isReadOnly(path);
    return { path, kind, uid: stats.uid, gid: stats.gid, mode, readOnly };
  } catch (error) {
    const code = codeOf(error);
    const what = path === wanted ? '' : `${path} `;
    if (code === 'ENOENT') throw notFound(wanted, `${what}does not exist; give the path of a plugin's file`);
    if (code === 'ENOTDIR') throw notFound(wanted, `${dirname(path)} is no folder; give the path of a plugin's file`);
    if (code === 'EACCES' || code === 'EPERM') {
      throw notFound(wanted, `${what}may not be looked at by this user; change its permissions, or run as root`);
    }
    throw error;
  }
}

function notFound(path: string, what: string): Error {
  return pluginFault('KP_PLUGIN_NOT_FOUND', `${path}: ${what}`);
}

/** access(2) says EROFS for a mount that is read-only, before it looks at who asks. */
function isReadOnly(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return codeOf(error) === 'EROFS';
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
