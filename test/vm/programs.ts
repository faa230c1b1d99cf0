/**
 * The programs that tests start over and over, each made of one file and a few parts: finding, reading and compiling
 * two hundred files takes an emulated processor several seconds at every start. The sources' own entry files only
 * import these there.
 */
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const ENTRIES = ['core/main.ts', 'test/netns/agent-main.ts'];
/** Two folders down, as every source that looks for others beside it or above it: ../../core/main.ts, agent-main.ts. */
const FOLDER = 'test/netns';
/** Loaded by their own means, or not there at all. */
const APART = ['koffi', '@kubernetes/client-node', '@kubernetes/client-node/*'];
/** For what is in packages of the older kind of modules. */
const REQUIRE = `import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);`;

/** File, from the root → its text, in place of what the sources have there. */
export async function bundledPrograms(): Promise<ReadonlyMap<string, string>> {
  const { outputFiles } = await build({
    entryPoints: ENTRIES.map((path) => ({ in: path, out: `bundled-${basename(path, '.ts')}` })),
    absWorkingDir: ROOT,
    outdir: join(ROOT, FOLDER),
    chunkNames: 'bundled-part-[hash]',
    outExtension: { '.js': '.mjs' },
    write: false,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    external: APART,
    banner: { js: REQUIRE },
    logLevel: 'warning',
  });
  const entries = ENTRIES.map((path): [string, string] => {
    const bundled = join(FOLDER, `bundled-${basename(path, '.ts')}.mjs`);
    return [path, `import '${relative(dirname(path), bundled).replace(/^(?!\.)/, './')}';\n`];
  });
  return new Map([...outputFiles.map(({ path, text }): [string, string] => [relative(ROOT, path), text]), ...entries]);
}
