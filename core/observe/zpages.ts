/** /flagz and /statusz: what was asked of this process and how it is, for people. No format is promised. */
import { rfc3339Nano } from './health.ts';

export interface FlagzFacts {
  /** Every flag and its value, in the command line's words. None of them is a secret. */
  readonly flags: Readonly<Record<string, string>>;
}

export interface StatuszFacts {
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
  readonly nowMs: number;
  /** Of this program, and of the Kubernetes that it behaves like. */
  readonly version: string;
  readonly kubernetesVersion: string;
  readonly nodeVersion: string;
  readonly backend: string;
  /** That this server answers. */
  readonly paths: readonly string[];
}

const NOTICE = 'For people who debug: not to be parsed, its format may change at any time.';

export function flagz({ flags }: FlagzFacts): string {
  const lines = Object.entries(flags)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`);
  return ['kube-proxy flags', NOTICE, '', ...lines, ''].join('\n');
}

export function statusz(facts: StatuszFacts): string {
  return [
    'kube-proxy status',
    NOTICE,
    '',
    `Started: ${rfc3339Nano(facts.startedAtMs)}`,
    `Up: ${duration(facts.nowMs - facts.startedAtMs)}`,
    `Node.js version: ${facts.nodeVersion}`,
    `Binary version: ${facts.version}`,
    `Emulation version: ${facts.kubernetesVersion}`,
    `Backend: ${facts.backend}`,
    `Paths: ${facts.paths.join(' ')}`,
    '',
  ].join('\n');
}

/** "26 h 03 min 09 s". */
function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min ${two(seconds % 60)} s`;
}
