/** The backends that a release must be able to run, as flags, and whether their rules for release/examples are in force. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { administratorPath } from '../../build/packages.ts';
import { ROOT } from './program.ts';

export interface ServedBackend {
  readonly title: string;
  readonly flags: readonly string[];
  isServing(): boolean;
}

export const EXAMPLES = join(ROOT, 'release', 'examples');
/** A ClusterIP of theirs. */
const CLUSTER_IP = '10.96.0.10';

export const SERVED_BACKENDS: readonly ServedBackend[] = [
  {
    title: 'nftables',
    flags: ['--backend=nftables'],
    isServing: () => prints('nft', 'list', 'map', 'ip', 'kube-services', 'services').includes(CLUSTER_IP),
  },
  ...['nft', 'legacy'].map((variant) => ({
    title: `iptables, variant ${variant}`,
    flags: ['--backend=iptables', `--backend-option=variant=${variant}`],
    isServing: () => prints(`iptables-${variant}-save`, '-t', 'nat').includes(`-d ${CLUSTER_IP}/32`),
  })),
];

/** "" if it fails, as it does where there is no such table. */
function prints(program: string, ...args: readonly string[]): string {
  const env = { ...process.env, PATH: administratorPath() };
  return spawnSync(program, args, { encoding: 'utf8', env }).stdout ?? '';
}
