/**
 * `npm run sdk`: the contract of core/backend.ts, core/nftables.ts and core/ipvs.ts as one file of types, which plugin
 * authors copy.
 *
 *   core/backend.ts + core/nftables.ts + core/ipvs.ts ──▶ release/sdk/kube-proxy.d.ts
 *                     (their text, word for word, without the imports between them and without values)
 *
 * The committed file is also the record of what plugins rely on: it is not replaced by one that would break them while
 * BACKEND_API_VERSION is the same (build/api-breaks.ts).
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
export const SDK_TYPES = join(ROOT, 'release', 'sdk', 'kube-proxy.d.ts');

const HEAD = `// The plugin API of kube-proxy, as one file to keep beside a backend. Types only; made by \`npm run sdk\`, do not edit.
//   in JavaScript:  /** @import { BackendPlugin } from './kube-proxy.d.ts' */
//   in TypeScript:  import type { BackendPlugin } from './kube-proxy.d.ts';
`;

export interface ContractSources {
  /** Text of core/backend.ts. */
  readonly backend: string;
  /** Text of core/nftables.ts. */
  readonly nftables: string;
  /** Text of core/ipvs.ts. */
  readonly ipvs: string;
}

export function contractSources(): ContractSources {
  const text = (name: string): string => readFileSync(join(ROOT, 'core', name), 'utf8');
  return { backend: text('backend.ts'), nftables: text('nftables.ts'), ipvs: text('ipvs.ts') };
}

/** The types as one text. Throws if the sources hold something that is no type. */
export function apiTypes({ backend, nftables, ipvs }: ContractSources): string {
  const version = apiVersion(backend);
  const types = `${HEAD}\n${ownText(backend)}\n${ownText(nftables)}\n${ownText(ipvs)}`
    .replace(/^export const BACKEND_API_VERSION = \d+;$/m, `export type ApiVersion = ${version};`)
    .replaceAll('typeof BACKEND_API_VERSION', 'ApiVersion');
  const alien = types
    .split('\n')
    .find((line) => /^(import|export (?!interface |type \w+)|const|let|function)\b/.test(line));
  if (alien !== undefined) {
    throw new Error(
      `core/backend.ts, core/nftables.ts and core/ipvs.ts may hold types alone; "${alien}" is something else`,
    );
  }
  return types;
}

/** BACKEND_API_VERSION as core/backend.ts, or ApiVersion as a generated file states it. */
export function apiVersion(text: string): number {
  const [, version] = /^export (?:const BACKEND_API_VERSION|type ApiVersion) = (\d+);$/m.exec(text) ?? [];
  if (version === undefined) throw new Error('the contract does not say its version: BACKEND_API_VERSION is missing');
  return Number(version);
}

/** Without what joins the files. */
function ownText(source: string): string {
  return source
    .replaceAll(/^import type \{[^}]*\} from '\.\/(?:nftables|ipvs)\.ts';\n\n?/gm, '\n')
    .replaceAll(/^export type \* from '\.\/(?:nftables|ipvs)\.ts';\n\n?/gm, '')
    .replaceAll(/\n{3,}/g, '\n\n');
}

/** Returns what to tell. Throws if the new text breaks plugins of the version that it states. */
export async function writeTypes(file: string, next: string): Promise<string> {
  const before = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  if (before === next) return `${file} is as the sources say\n`;
  if (before !== undefined && apiVersion(before) === apiVersion(next)) {
    const { apiBreaks } = await import('./api-breaks.ts');
    const [broken] = apiBreaks([{ name: 'the contract', before, now: next }]);
    if (broken && broken.faults.length > 0) {
      const remedy =
        'raise BACKEND_API_VERSION in core/backend.ts, or keep what plugins rely on. ' +
        `If this contract was never released, delete ${file} and run this again.`;
      throw new Error(
        `this breaks plugins written for version ${apiVersion(before)}; ${remedy}\n${broken.faults.join('\n')}`,
      );
    }
  }
  writeFileSync(file, next);
  return `wrote ${file}\n`;
}

if (import.meta.main) {
  try {
    process.stdout.write(await writeTypes(SDK_TYPES, apiTypes(contractSources())));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
