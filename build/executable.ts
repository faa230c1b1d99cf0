/**
 * One executable: Node.js of the target's architecture, stripped, with the bundle in it as a single executable
 * application (https://nodejs.org/api/single-executable-applications.html), by @yao-pkg/pkg.
 *
 *   node-linux-ARCH (npm) ──eu-strip──▶ node ─┐
 *   bundle, koffi.node, … ──▶ SEA blob ───────┴─ inject ──▶ kube-proxy-linux-ARCH
 *
 * pkg would download Node.js; it finds the stripped one in the cache where it looks for its downloads, below a HOME of
 * the build's own. Stripping comes first: an executable stripped after the injection crashes.
 */
import { type execFile, execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { type Bundle, ROOT } from './bundle.ts';
import { locked, npmPackage } from './npm-package.ts';
import { ensurePackages } from './packages.ts';

export const ARCHITECTURES = ['x64', 'arm64'] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

export interface ExecutableOptions {
  readonly bundle: Bundle;
  readonly architecture: Architecture;
  /** The file to be made. */
  readonly output: string;
  /** For what is made on the way; exists, on the same file system. */
  readonly folder: string;
}

/** What we use of pkg: a file that is none of its documented entry points, hence the pinned version. */
interface Sea {
  default(
    entry: string,
    options: {
      readonly targets: readonly {
        readonly nodeRange: string;
        readonly platform: string;
        readonly arch: string;
        readonly output: string;
      }[];
      readonly signature: false;
      readonly seaConfig: Readonly<Record<string, unknown>>;
    },
  ): Promise<void>;
}
const SEA_MODULE = '@yao-pkg/pkg/lib-es5/sea.js';

/** The same sources give the same bytes. Throws if a part is missing. */
export async function makeExecutable({ bundle, architecture, output, folder }: ExecutableOptions): Promise<void> {
  const version = nodeVersion();
  const assets: Record<string, string> = {
    ...bundle.assets,
    'koffi.node': koffiLibrary(architecture),
    'kube-proxy.d.ts': join(ROOT, 'release', 'sdk', 'kube-proxy.d.ts'),
  };
  seedNode(join(folder, 'home'), version, architecture);
  const { HOME = '', TMPDIR = '/tmp' } = process.env;
  const here = process.cwd();
  try {
    // The blob holds the path of its main file as it is given. pkg makes it in a new folder of TMPDIR, so that a path
    // from there is the same each time.
    Object.assign(process.env, { HOME: join(folder, 'home'), TMPDIR: folder });
    const { default: sea } = loadSea();
    const fromScratch = (file: string): string => join('..', relative(folder, file));
    await sea(bundle.main, {
      targets: [{ nodeRange: `node${version}`, platform: 'linux', arch: architecture, output }],
      signature: false,
      seaConfig: {
        main: fromScratch(bundle.main),
        assets,
        // Otherwise the signal opens a debugger on a port that no configuration names.
        execArgv: ['--disable-sigusr1'],
        // Made by V8 for the machine that it runs on.
        useCodeCache: architecture === process.arch,
      },
    });
  } finally {
    process.chdir(here);
    Object.assign(process.env, { HOME, TMPDIR });
  }
  chmodSync(output, 0o755);
}

/**
 * V8 hashes strings with a random seed, which the code cache would show. pkg runs the program that makes the blob
 * without a way to add an argument, so that it gets an `execFile` that does.
 */
function loadSea(): Sea {
  const require = createRequire(import.meta.url);
  const processes = require('node:child_process') as { execFile: typeof execFile };
  const original = processes.execFile;
  const steady = (file: string, args: readonly string[], done: Parameters<typeof execFile>[3]) =>
    original(file, args[0] === '--experimental-sea-config' ? ['--random-seed=1', ...args] : [...args], {}, done);
  Object.assign(processes, { execFile: steady });
  try {
    return require(SEA_MODULE) as Sea;
  } finally {
    Object.assign(processes, { execFile: original });
  }
}

/** The version of npm's package, which must be that of the Node.js that makes the blob. */
function nodeVersion(): string {
  const { version } = locked(`node-linux-${process.arch}`);
  if (version !== process.versions.node) {
    throw new Error(`the build needs Node.js ${version}, this is ${process.versions.node}; type: npm run build`);
  }
  return version;
}

/** Where pkg looks for what it has downloaded; empty files say that it is complete. */
function seedNode(home: string, version: string, architecture: Architecture): void {
  ensurePackages(['elfutils']);
  const name = `node-v${version}-linux-${architecture}`;
  const bin = join(home, '.pkg-cache', 'sea', name, 'bin');
  if (existsSync(join(bin, 'node.ok'))) return;
  rmSync(bin, { recursive: true, force: true });
  mkdirSync(bin, { recursive: true });
  copyFileSync(join(npmPackage(`node-linux-${architecture}`), 'bin', 'node'), join(bin, 'node'));
  execFileSync('eu-strip', [join(bin, 'node')], { stdio: 'inherit' });
  for (const file of [join(bin, 'node.ok'), join(bin, '..', '..', `${name}.tar.gz`)]) writeFileSync(file, '');
  writeFileSync(join(bin, '..', '..', `${name}.tar.gz.ok`), '');
}

function koffiLibrary(architecture: Architecture): string {
  const name = `@koromix/koffi-linux-${architecture}`;
  return join(npmPackage(name), `linux_${architecture}`, 'koffi.node');
}
