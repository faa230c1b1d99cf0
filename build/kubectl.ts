/**
 * kubectl for tests that want its opinion: the installed one if it is recent, otherwise that of a newer suite of
 * Debian, unpacked into a folder that git ignores:
 *
 *   node_modules/.cache/kubectl/1.32.3/usr/bin/kubectl
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchFromSuite, run, type SuitePackages } from './debian-suite.ts';

const CACHE = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules', '.cache', 'kubectl');
const VERSION = '1.32.3';
const RELEASE: SuitePackages = {
  suite: 'trixie',
  pins: [
    {
      name: 'kubectl',
      version: '1.32.3+ds-2',
      sha256: '9825aaf4c14913027aae04af8688e580459f781c829bd5de00cc4dc2cc5a867f',
    },
  ],
};
/** Older ones want the OpenAPI of version 2, as protobuf, before they apply anything. */
const OLDEST_MINOR = 27;

export type Kubectl = { readonly command: string } | { readonly missing: string };

/** Fetches it when there is none; never throws. */
export function getKubectl(): Kubectl {
  const installed = run('kubectl', ['version', '--client']).stdout ?? '';
  const [, minor = '0'] = /(?:Client Version: v|GitVersion:"v)1\.(\d+)/.exec(installed) ?? [];
  if (Number(minor) >= OLDEST_MINOR) return { command: 'kubectl' };
  const folder = join(CACHE, VERSION);
  const command = join(folder, 'usr', 'bin', 'kubectl');
  if (existsSync(command)) return { command };
  const scratch = join(CACHE, `${VERSION}.${process.pid}`);
  try {
    console.error(`fetching kubectl ${VERSION} from Debian`);
    mkdirSync(scratch, { recursive: true });
    fetchFromSuite(scratch, RELEASE);
    // Two runs may fetch at once; whoever ends first is the one that counts.
    if (!existsSync(folder)) renameSync(join(scratch, 'root'), folder);
    return { command };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      missing: `no kubectl of version 1.${OLDEST_MINOR} or newer is installed, and fetching one failed: ${reason}`,
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
