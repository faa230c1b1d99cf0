/**
 * What is given to the virtual machine anew at each run, as an archive behind the image's: the project's sources, the
 * packages that they import, and the job. Types are taken out of the sources here already, by blanks of the same
 * length so that positions stay: Node would do it inside at every start of a program.
 */
import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Entry } from './cpio.ts';
import { JOB, SOURCES } from './init.ts';
import { bundledPrograms } from './programs.ts';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const FOLDERS = ['build', 'core', 'plugins', 'release', 'test'];
/** Of node_modules, with what they depend on. */
const PACKAGES = ['ipaddr.js', 'koffi', 'prom-client', 'tinybench', 'uvu', 'yaml'];
/** Never read at run time. */
const LEFT_OUT = /\.(md|map|d\.[cm]?ts)$|\/musl_x64\//;

/** In the machine: tells Node that what ends in .ts has no types in it any more. */
const PLAIN_TYPES = 'plain-types.cjs';
const PLAIN_TYPES_TEXT = `const { readFileSync } = require('node:fs');
const { registerHooks } = require('node:module');
const { fileURLToPath } = require('node:url');

registerHooks({
  load(url, context, next) {
    if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context);
    return { format: 'module', source: readFileSync(fileURLToPath(url), 'utf8'), shortCircuit: true };
  },
});
`;
/** The environment's, so that programs started by tests have it too. */
export const NODE_OPTIONS = `--require=/${SOURCES}/${PLAIN_TYPES}`;

/** `job` is a script for sh. */
export async function sourceEntries(job: string): Promise<readonly Entry[]> {
  const made = new Map([...(await bundledPrograms()), [PLAIN_TYPES, PLAIN_TYPES_TEXT]]);
  const own = ['package.json', ...FOLDERS.flatMap(filesIn)].filter((path) => !made.has(path));
  const others = packageFolders(PACKAGES).flatMap(filesIn);
  return [
    { path: JOB, kind: 'file', content: () => Buffer.from(job) },
    ...[...made].map(([path, text]) => entry(path, () => Buffer.from(text))),
    ...own.map((path) => entry(path, () => (path.endsWith('.ts') ? stripped(path) : read(path)))),
    ...others.filter((path) => !LEFT_OUT.test(path)).map((path) => entry(path, () => read(path))),
  ];
}

function packageFolders(names: readonly string[]): readonly string[] {
  const folders = new Set<string>();
  const take = (name: string, optional: boolean) => {
    const folder = join('node_modules', name);
    if (folders.has(folder)) return;
    if (!existsSync(join(ROOT, folder))) {
      // Those of other machines.
      if (optional) return;
      throw new Error(`no ${folder} to give to the virtual machine: npm ci`);
    }
    folders.add(folder);
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      readFileSync(join(ROOT, folder, 'package.json'), 'utf8'),
    ) as Readonly<Partial<Record<'dependencies' | 'optionalDependencies', Record<string, string>>>>;
    for (const each of Object.keys(optionalDependencies)) take(each, true);
    for (const each of Object.keys(dependencies)) take(each, false);
  };
  for (const name of names) take(name, false);
  return [...folders];
}

function filesIn(folder: string): readonly string[] {
  return globSync(`${folder}/**/*`, { cwd: ROOT, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name).slice(ROOT.length + 1));
}

function entry(path: string, content: () => Buffer): Entry {
  const source = join(ROOT, path);
  const executable = existsSync(source) && (statSync(source).mode & 0o100) !== 0;
  return { path: join(SOURCES, path), kind: 'file', executable, content };
}

function read(path: string): Buffer {
  return readFileSync(join(ROOT, path));
}

/** As it is where it is no TypeScript: only the test that imports it is to fail. */
function stripped(path: string): Buffer {
  const source = read(path);
  // Node 24 says at its first use that it is experimental, which concerns nobody who reads the results of tests.
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return Buffer.from(stripTypeScriptTypes(source.toString()));
  } catch {
    return source;
  } finally {
    process.emitWarning = emitWarning;
  }
}
