/**
 * Bundles the program: one CommonJS file that runs at start, and one for each part that only some runs need, which
 * become assets of the executable and are loaded when they are asked for.
 *
 *   core/main.ts ───────────────▶ main.cjs
 *   plugins/NAME/index.ts ──────▶ backend-NAME.cjs        (built-in backends, by core/cli/backends.ts)
 *   core/node/thread-start.ts ──▶ thread.cjs              (threads of backends, and in each:)
 *   plugins/NAME/worker.ts ─────▶ thread-NAME.cjs         (what a built-in one runs there)
 *   @kubernetes/client-node ────▶ kubeconfig.cjs          (only with an API server)
 *   test/conformance/kit.ts ────▶ conformance-kit.cjs     (kube-proxy plugin test)
 *
 * What the sources import from there is replaced by a call of `loadAsset`, and the address of a backend's own file by
 * one that build/packed/thread-code.ts understands. Names are kept, so that a stack trace can be read.
 */
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { build, type Metafile, type OnResolveArgs, type Plugin } from 'esbuild';

export const ROOT = resolve(import.meta.dirname, '..');

export interface BundleOptions {
  /** Where the files go; exists. */
  readonly folder: string;
  /** Of the repository; "" = unknown. */
  readonly commit: string;
}

export interface Bundle {
  /** The file that runs at start. */
  readonly main: string;
  /** Parts loaded later: name of the asset and its file. */
  readonly assets: Readonly<Record<string, string>>;
  /** Packages of which anything is in it, as folders below node_modules. */
  readonly packages: readonly string[];
}

interface Part {
  readonly asset: string;
  /** A file, from the root, or a module of a package. */
  readonly entry: string;
}

/** Read by programs in the packed executable, replacing files that look for theirs beside the sources. */
const REPLACED: Readonly<Record<string, string>> = {
  'core/netlink/load-koffi.ts': 'build/packed/load-koffi.ts',
  'core/cli/sdk-types.ts': 'build/packed/sdk-types.ts',
  'core/node/thread-code.ts': 'build/packed/thread-code.ts',
};

/** Of @kubernetes/client-node, as core/source/api/load-kubeconfig.ts does it when the sources run. */
const STAND_INS: Readonly<Record<string, string>> = {
  './gen/index.js': 'export const createConfiguration = undefined, ServerConfiguration = undefined;',
  undici: 'export const Agent = undefined, ProxyAgent = undefined;',
};

const PARTS: readonly Part[] = [
  ...readdirSync(join(ROOT, 'plugins'))
    .filter((name) => name !== 'shared')
    .map((name): Part => ({ asset: `backend-${name}.cjs`, entry: `plugins/${name}/index.ts` })),
  ...globSync('plugins/**/worker.ts', { cwd: ROOT })
    .sort()
    .map((entry): Part => ({ asset: `thread-${entry.split('/').slice(1, -1).join('-')}.cjs`, entry })),
  { asset: 'thread.cjs', entry: 'core/node/thread-start.ts' },
  { asset: 'kubeconfig.cjs', entry: '@kubernetes/client-node/dist/config.js' },
  { asset: 'conformance-kit.cjs', entry: 'test/conformance/kit.ts' },
];

/** Writes the files. Throws if anything cannot be bundled. */
export async function bundle({ folder, commit }: BundleOptions): Promise<Bundle> {
  const packages = new Set<string>();
  const one = async (entry: string, file: string): Promise<string> => {
    const outfile = join(folder, file);
    const { metafile } = await build({
      entryPoints: [entry.startsWith('@') ? entry : join(ROOT, entry)],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      target: 'node24',
      absWorkingDir: ROOT,
      legalComments: 'none',
      metafile: true,
      logLevel: 'warning',
      // A file that finds others beside it asks for this; what is packed never takes that way.
      logOverride: { 'empty-import-meta': 'silent' },
      define: { KUBE_PROXY_COMMIT: JSON.stringify(commit) },
      plugins: [replaced, addressed, standIns, apart(entry)],
    });
    for (const name of packagesOf(metafile)) packages.add(name);
    return outfile;
  };
  const assets: Record<string, string> = {};
  for (const { asset, entry } of PARTS) assets[asset] = await one(entry, asset);
  return { main: await one('core/main.ts', 'main.cjs'), assets, packages: [...packages].sort() };
}

const fromRoot = ({ resolveDir, path }: OnResolveArgs): string => relative(ROOT, resolve(resolveDir, path));

const replaced: Plugin = {
  name: 'replaced',
  setup({ onResolve }) {
    onResolve({ filter: /^\./ }, (args) => {
      const file = REPLACED[fromRoot(args)];
      return file === undefined ? undefined : { path: join(ROOT, file) };
    });
  },
};

/** A backend's modules name others by where they lie; in a bundle of CommonJS that is nowhere. */
const addressed: Plugin = {
  name: 'addressed',
  setup({ onLoad }) {
    onLoad({ filter: /\/plugins\/.*\.ts$/ }, ({ path }) => {
      if (!path.startsWith(join(ROOT, 'plugins/'))) return undefined;
      const url = `kube-proxy:///${relative(ROOT, path)}`;
      const contents = readFileSync(path, 'utf8').replaceAll('import.meta.url', JSON.stringify(url));
      return { contents, loader: 'ts' };
    });
  },
};

const standIns: Plugin = {
  name: 'stand-ins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(\.\/gen\/index\.js|undici)$/ }, ({ path, importer }) =>
      importer.endsWith('/@kubernetes/client-node/dist/config.js') ? { path, namespace: 'stand-in' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'stand-in' }, ({ path }) => ({ contents: STAND_INS[path] ?? '', loader: 'js' }));
  },
};

/** The other parts stay outside: a dynamic import of one becomes a call that loads its asset. */
function apart(own: string): Plugin {
  return {
    name: 'apart',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /.*/ }, (args) => {
        if (args.kind !== 'dynamic-import') return undefined;
        const wanted = args.path.startsWith('.') ? fromRoot(args) : args.path;
        const part = PARTS.find(({ entry }) => entry === wanted && entry !== own);
        return part && { path: part.asset, namespace: 'part' };
      });
      onLoad({ filter: /.*/, namespace: 'part' }, ({ path }) => ({
        // A module that imports CommonJS, as ours do, sees its whole exports as the default.
        contents: `const part = require('./build/packed/load-asset.ts').loadAsset(${JSON.stringify(path)});
                   module.exports = part.default ?? part;`,
        loader: 'js',
        resolveDir: ROOT,
      }));
    },
  };
}

function packagesOf({ outputs }: Metafile): readonly string[] {
  const inputs = Object.values(outputs).flatMap((output) => Object.entries(output.inputs));
  return inputs.flatMap(([input, { bytesInOutput }]) => {
    if (bytesInOutput === 0) return [];
    const [, folder] = /^(?:.*\/)?(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)\//.exec(input) ?? [];
    return folder === undefined ? [] : [folder];
  });
}
