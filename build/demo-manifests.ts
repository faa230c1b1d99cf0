/**
 * The manifests that the demo's program lives on: a copy of release/examples in the private /run (gone with the
 * namespaces), edited there as an operator would with an editor, and read here by the program's own parser for what
 * the oracle must know.
 */
import { cpSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { IPFamily } from '../core/backend.ts';
import { backendNames } from '../core/cli/backends.ts';
import { changes } from '../core/cli/render.ts';
import { parseCommandLine } from '../core/config/command-line.ts';
import { checkSettings } from '../core/config/settings.ts';
import type { OracleState } from '../core/model/oracle.ts';
import { readManifests } from '../core/source/manifests/read-manifests.ts';
import type { States } from './demo-questions.ts';

const EXAMPLES = fileURLToPath(new URL('../release/examples', import.meta.url));
export const MANIFESTS = '/run/manifests';

export function copyExamples(): void {
  cpSync(EXAMPLES, MANIFESTS, { recursive: true });
}

/** What the program should make of its manifests, given its flags and the addresses on the node's interfaces. */
export async function expectedStates(flags: readonly string[], addresses: readonly string[]): Promise<States> {
  const { settings, faults } = checkSettings(parseCommandLine(flags), backendNames());
  const objects = await readManifests(MANIFESTS);
  const problems = [...faults.map(({ where, what }) => `${where}: ${what}`), ...objects.problems];
  if (problems.length > 0) throw new Error(`release/examples: ${problems.join('; ')}; correct it`);
  const state = (family: IPFamily): OracleState => {
    const [change] = changes(objects, { ...settings, families: [family], nodeAddresses: addresses });
    return { node: change!.node, ports: change!.upsert };
  };
  return { IPv4: state('IPv4'), IPv6: state('IPv6') };
}

export interface Edit {
  /** The file's name. */
  readonly file: string;
  readonly removed: string;
  readonly added: string;
  /** Replaces the file, at once. */
  save(): void;
}

/** One endpoint of an EndpointSlice gives way to another; nothing is written before save(). */
export function replaceEndpoint(slice: string, from: string, to: string): Edit {
  for (const file of readdirSync(MANIFESTS)) {
    const lines = readFileSync(join(MANIFESTS, file), 'utf8').split('\n');
    const start = lines.findIndex((line) => line.trim() === `name: ${slice}`);
    const at = lines.findIndex((line, index) => index > start && line.includes(`addresses: [${from}]`));
    const end = lines.indexOf('---', start);
    if (start < 0 || at < 0 || (end >= 0 && at > end)) continue;
    const removed = lines[at]!;
    const added = removed.replace(`[${from}]`, `[${to}]`);
    return {
      file,
      removed: removed.trim(),
      added: added.trim(),
      save() {
        // The name that does not end in .yaml is nothing to the program.
        const temporary = join(MANIFESTS, `.${file}.next`);
        writeFileSync(temporary, lines.with(at, added).join('\n'));
        renameSync(temporary, join(MANIFESTS, file));
      },
    };
  }
  throw new Error(`release/examples: no EndpointSlice ${slice} with the endpoint ${from}, which the demo removes`);
}
