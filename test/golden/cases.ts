/** The golden cases: a folder each, with objects.yaml and flags.json in and one text per backend out. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Change } from '../../core/backend.ts';
import { backendNames } from '../../core/cli/backends.ts';
import { main } from '../../core/cli/main.ts';
import { changes } from '../../core/cli/render.ts';
import { parseCommandLine } from '../../core/config/command-line.ts';
import { checkSettings } from '../../core/config/settings.ts';
import { readManifests } from '../../core/source/manifests/read-manifests.ts';

const FOLDER = dirname(fileURLToPath(import.meta.url));

export interface GoldenCase {
  readonly name: string;
  /** Where its files are. */
  readonly folder: string;
}

export function goldenCases(): GoldenCase[] {
  return readdirSync(FOLDER, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ name, folder: join(FOLDER, name) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The words of the command line that renders the case. */
export function argvOf({ folder }: GoldenCase, backend: string, more: readonly string[] = []): readonly string[] {
  const flags = JSON.parse(readFileSync(join(folder, 'flags.json'), 'utf8')) as string[];
  const own = backend === 'iptables' ? flags : withoutOptions(flags);
  return ['render', '--backend', backend, '--manifests', join(folder, 'objects.yaml'), ...own, ...more];
}

/** The first sync of the case, one full change for each family: what `kube-proxy render` gives to the backend. */
export async function changesOf(golden: GoldenCase, backend: string): Promise<readonly Change[]> {
  const { settings, faults } = checkSettings(parseCommandLine(argvOf(golden, backend)), backendNames());
  if (settings === undefined || faults.length > 0) throw new Error(JSON.stringify(faults));
  return changes(await readManifests(settings.manifests), settings);
}

/** What `kube-proxy render` prints for the case; throws what it says on stderr if that is anything. */
export async function renderCase(golden: GoldenCase, backend: string, more: readonly string[] = []): Promise<string> {
  const argv = argvOf(golden, backend, more);
  let stdout = '';
  let stderr = '';
  const status = await main(argv, {
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
    nodeVersion: process.versions.node,
  });
  if (status !== 0 || stderr !== '') throw new Error(`render ended with ${status}: ${stderr}`);
  return stdout;
}

/** Options belong to one backend; the other would refuse them. */
function withoutOptions(flags: readonly string[]): string[] {
  return flags.filter((flag, i) => flag !== '--backend-option' && flags[i - 1] !== '--backend-option');
}
