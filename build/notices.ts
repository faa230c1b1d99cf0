/**
 * THIRD-PARTY-NOTICES: the licences of everything in the executables that is not this project's, as they ask for:
 *
 *   node-linux-ARCH/LICENSE ───────▶ Node.js, and all that Node.js is made of
 *   koffi/LICENSE.txt, vendor/ ────▶ the native library that opens netlink sockets
 *   LICENSE, NOTICE of packages ───▶ npm packages in the bundle
 *
 * No times and no paths: the same packages give the same text, for executables of either architecture.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { npmPackage } from './npm-package.ts';

/**
 * Packages that come inside a file of another one, where esbuild sees that one alone. In which version, they do not say:
 * the one that npm installs beside it may be newer, and has the same licence.
 */
const CARRIED: Readonly<Record<string, readonly string[]>> = {
  'node_modules/jsonpath-plus': [
    'node_modules/@jsep-plugin/assignment',
    'node_modules/@jsep-plugin/regex',
    'node_modules/jsep',
  ],
};

/** With what is compiled into the native library; their other folder is that of the headers of Node.js itself. */
const KOFFI = ['node_modules/koffi', 'node_modules/koffi/vendor/node-addon-api'];

const RULE = '='.repeat(80);

/** Those inside a package of the bundle, as folders from the root. */
export function carriedBy(folder: string): readonly string[] {
  return CARRIED[folder] ?? [];
}

/** Throws, naming the package, for one that has no licence. `packages` are those of the bundle, folders from `root`. */
export function thirdPartyNotices(root: string, packages: readonly string[]): string {
  const node = npmPackage(`node-linux-${process.arch}`);
  const name = (folder: string): string => folder.replace(/^.*node_modules\//, '');
  const parts = [
    part(titleOf('Node.js', node), node),
    ...[...KOFFI, ...packages].flatMap((folder) => {
      const title = titleOf(name(folder), join(root, folder));
      const inside = carriedBy(folder).map((each) => part(`${name(each)}, in ${title}`, join(root, each)));
      return [part(title, join(root, folder)), ...inside];
    }),
  ];
  return [
    'kube-proxy contains the works below. Their licences are those that follow, and not the one of kube-proxy.\n',
    ...parts,
  ].join('\n');
}

function part(title: string, folder: string): string {
  const texts = licencesIn(folder).map((file) => readFileSync(file, 'utf8').replaceAll('\r\n', '\n').trim());
  if (texts.length === 0 || texts.some((text) => text === '')) {
    throw new Error(`notices: ${title} has no licence text in ${folder}; what has none cannot be handed on`);
  }
  return [RULE, title, RULE, '', texts.join('\n\n'), ''].join('\n');
}

/** Without a version for sources that are no package of their own. */
function titleOf(name: string, folder: string): string {
  const manifest = join(folder, 'package.json');
  if (!existsSync(manifest)) return name;
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { readonly version?: string };
  return `${name} ${version}`;
}

/** LICENSE, license.md, LICENCE.txt, LICENSE-MIT, COPYING, and NOTICE, which Apache-2.0 asks to be handed on. */
function licencesIn(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && /^(licen[cs]e|copying|notice)\b[^/]*$/i.test(entry.name))
    .map(({ name }) => join(folder, name))
    .sort();
}
